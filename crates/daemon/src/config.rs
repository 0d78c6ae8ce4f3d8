//! `eparch.toml`: what can be set, read strictly. Each part owns its section.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use eparch_domain::{Digest, limits};
use eparch_vault::{KEY_VARIABLE, SERVER_VARIABLES};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How agents work.
    pub agents: AgentSettings,
    /// What agents see beside the system.
    pub sandbox: SandboxSettings,
    /// The audit trail.
    pub ledger: LedgerSettings,
    /// What pipelines may read of the shell they are started from.
    pub environment: EnvironmentSettings,
    /// What looks at runs whose agents make too many errors.
    pub diagnostic: DiagnosticSettings,
    /// Where secrets and tokens are kept.
    pub vault: eparch_vault::Settings,
}

/// How agents work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSettings {
    /// How many work at once in this home; others wait.
    pub at_once: u32,
}

impl Default for AgentSettings {
    fn default() -> Self {
        AgentSettings { at_once: u32::try_from(limits::AGENTS_AT_ONCE).unwrap_or(u32::MAX) }
    }
}

/// What agents see beside the system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxSettings {
    /// Folders that every agent sees, read-only, at the same place: tools outside the system folders. Each is searched
    /// for programs, and its `bin`.
    pub expose: Vec<PathBuf>,
}

/// The audit trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// Folders outside the home that every signed checkpoint is also written to. They are not made: a disk that is not
    /// mounted must not be taken for one that is.
    pub witness_dirs: Vec<PathBuf>,
}

/// What pipelines may read of the shell they are started from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvironmentSettings {
    /// Names of variables; nothing unless it is listed. What is read becomes part of the plan and of the ledger: a secret
    /// has no place here.
    pub allow: BTreeSet<String>,
}

/// What looks at runs whose agents make too many errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiagnosticSettings {
    /// The pipeline that does [default: diagnostic.yaml in the home when there is one, else the one that ships].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// Why settings could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It does not say what settings can say.
    #[error("{}: {problem}", path.display())]
    Bad {
        /// Which.
        path: PathBuf,
        /// Where and why.
        problem: String,
    },
    /// The vault cannot be as the file and the environment together say.
    #[error("{problem}{}", match variables.as_slice() {
        [] => format!(" ({})", path.display()),
        set => format!(" ({}, and in the environment: {})", path.display(), set.join(", ")),
    })]
    Vault {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// The variables that say something of it.
        variables: Vec<&'static str>,
    },
}

impl Settings {
    /// Reads settings: the file that was named, else `eparch.toml` in the home, else the defaults; over them what the
    /// environment says (`variable`).
    pub fn load(
        named: Option<&Path>,
        home: &Path,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Settings, ConfigError> {
        let path = named.map_or_else(|| home.join("eparch.toml"), Path::to_owned);
        let mut settings = match std::fs::read_to_string(&path) {
            Ok(text) => {
                Settings::parse(&text).map_err(|problem| ConfigError::Bad { path: path.clone(), problem })?
            }
            Err(missing) if named.is_none() && missing.kind() == std::io::ErrorKind::NotFound => {
                Settings::default()
            }
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        };
        settings.vault = settings.vault.overridden(&variable);
        settings.vault.check().map_err(|problem| {
            let is_set = |name: &&str| variable(name).is_some_and(|text| !text.is_empty());
            let known = SERVER_VARIABLES.into_iter().chain([KEY_VARIABLE]);
            ConfigError::Vault { path, problem, variables: known.filter(is_set).collect() }
        })?;
        Ok(settings)
    }

    /// Reads settings from text; the problem names line and column. What the environment may still say of the vault is
    /// not missed yet.
    fn parse(text: &str) -> Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(told)?;
        settings.check()?;
        Ok(settings)
    }

    /// What tells these settings from others.
    pub fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).expect("settings are plain data"))
    }

    /// The JSON Schema of the settings, for editors: `eparch.toml` read as JSON.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Settings).to_value()
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=4_096).contains(&self.agents.at_once) {
            return Err(format!("agents.at_once is {}; it must be between 1 and 4096", self.agents.at_once));
        }
        if let Some(bad) = self.environment.allow.iter().find(|name| !is_variable(name)) {
            return Err(format!("environment.allow lists {bad:?}, which is no name of a variable"));
        }
        let secret = [KEY_VARIABLE, "VAULT_SECRET_ID"];
        if let Some(bad) = self.environment.allow.iter().find(|name| secret.contains(&name.as_str())) {
            return Err(format!("environment.allow lists {bad}, which holds a secret"));
        }
        let named = self.sandbox.expose.iter().chain(&self.ledger.witness_dirs).chain(&self.diagnostic.file);
        let relative = named.into_iter().find(|path| !path.is_absolute());
        match relative {
            Some(path) => Err(format!("{} must be an absolute path", path.display())),
            None => Ok(()),
        }
    }
}

/// What is wrong with a file, with the line it stands in; the line of a secret is not shown.
fn told(problem: toml::de::Error) -> String {
    let told = problem.to_string();
    let shows_secret = |line: &str| {
        let quoted = line.split_once(" | ").filter(|(number, _)| number.trim().parse::<usize>().is_ok());
        quoted.is_some_and(|(_, source)| source.to_ascii_lowercase().contains("secret"))
    };
    if !told.lines().any(shows_secret) {
        return told;
    }
    let place = told.lines().next().unwrap_or_default();
    format!(
        "{place}\nvault.secret_id is written once, as a text in quotes; better still, give it as VAULT_SECRET_ID"
    )
}

/// A letter or an underscore, then letters, digits and underscores (POSIX 8.1).
fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_strictly() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
        assert_eq!(Settings::parse("[agents]\nat_once = 3\n").unwrap().agents.at_once, 3);
        let problem = Settings::parse("[agents]\nat_onec = 3\n").unwrap_err();
        assert!(problem.contains("at_onec") && problem.contains("line 2"), "{problem}");
        assert!(Settings::parse("[agents]\nat_once = 0\n").is_err());
        assert!(Settings::parse("[sandbox]\nexpose = [\"tools\"]\n").unwrap_err().contains("absolute"));
        let listed = Settings::parse("[environment]\nallow = [\"TARGET\"]\n").unwrap();
        assert!(listed.environment.allow.contains("TARGET"));
        assert!(Settings::parse("[environment]\nallow = [\"A B\"]\n").unwrap_err().contains("A B"));
        let secret = Settings::parse("[environment]\nallow = [\"VAULT_SECRET_ID\"]\n").unwrap_err();
        assert!(secret.ends_with("VAULT_SECRET_ID, which holds a secret"), "{secret}");
    }

    #[test]
    fn r125_the_vault_is_where_the_file_and_the_environment_say() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("eparch.toml");
        let load = |file: &str, set: &[(&str, &str)]| {
            std::fs::write(&path, file).unwrap();
            let variable =
                |asked: &str| set.iter().find(|(name, _)| *name == asked).map(|(_, text)| (*text).to_owned());
            Settings::load(None, dir.path(), variable).map_err(|problem| problem.to_string())
        };
        assert_eq!(load("", &[]), Ok(Settings::default()));
        let file =
            "[vault]\naddress = \"https://vault.example.org\"\nca_cert = \"/ca.pem\"\nrole_id = \"r\"\n";
        let whole = load(file, &[("VAULT_SECRET_ID", "s")]).unwrap().vault;
        assert_eq!((whole.role_id.as_deref(), whole.secret_id), (Some("r"), Some("s".into())));
        let named = |told: String| told.contains(&path.display().to_string());
        let told = load(file, &[]).unwrap_err();
        assert!(told.starts_with("vault.secret_id is not set") && named(told.clone()), "{told}");
        let told = load("", &[("VAULT_ADDR", "https://a"), ("VAULT_CACERT", "")]).unwrap_err();
        assert!(told.starts_with("vault.ca_cert is not set"), "{told}");
        assert!(told.ends_with("and in the environment: VAULT_ADDR)"), "{told}");
        let told = load("", &[(KEY_VARIABLE, "hunter2")]).unwrap_err();
        assert!(told.starts_with("EPARCH_VAULT_KEY does not hold") && !told.contains("hunter2"), "{told}");
        assert!(load("[vault]\nkey = \"x\"\n", &[]).unwrap_err().contains("unknown field `key`"));
    }

    #[test]
    fn g8_no_mistake_in_a_file_shows_the_secret_in_it() {
        for text in ["hunter2", "\"hunter2", "12345678", "[\"hunter2\"]", "\"a\"\nsecret_id = \"hunter2\""] {
            let told = Settings::parse(&format!("[vault]\nsecret_id = {text}\n")).unwrap_err();
            assert!(told.contains("line ") && told.contains("vault.secret_id is written"), "{told}");
            assert!(!told.contains("hunter2") && !told.contains("12345678"), "{told}");
        }
        let told = Settings::parse("[vault]\nSecret-ID = \"hunter2\"\n").unwrap_err();
        assert!(told.contains("line 2") && !told.contains("hunter2"), "{told}");
        let file = "[vault]\nsecret_id = \"hunter2\"\n";
        let told = format!("{:?}", Settings::parse(file).unwrap());
        assert!(!told.contains("hunter2"), "{told}");
    }
}
