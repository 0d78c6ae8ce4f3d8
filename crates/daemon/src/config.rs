//! `eparch.toml`: what can be set, read strictly. Each part owns its section.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use eparch_domain::{Digest, limits};
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
}

impl Settings {
    /// Reads settings: the file that was named, else `eparch.toml` in the home, else the defaults.
    pub fn load(named: Option<&Path>, home: &Path) -> Result<Settings, ConfigError> {
        let path = named.map_or_else(|| home.join("eparch.toml"), Path::to_owned);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(missing) if named.is_none() && missing.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Settings::default());
            }
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        };
        Settings::parse(&text).map_err(|problem| ConfigError::Bad { path, problem })
    }

    /// Reads settings from text; the problem names line and column.
    pub fn parse(text: &str) -> Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(|problem| problem.to_string())?;
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
        let relative =
            self.sandbox.expose.iter().chain(&self.ledger.witness_dirs).find(|path| !path.is_absolute());
        match relative {
            Some(path) => Err(format!("{} must be an absolute path", path.display())),
            None => Ok(()),
        }
    }
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
    }
}
