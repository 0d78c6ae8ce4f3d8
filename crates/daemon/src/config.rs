//! `eparch.toml`: what can be set, read strictly. Each part owns its section.

use std::path::{Path, PathBuf};

use eparch_domain::limits;
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How agents work.
    pub agents: AgentSettings,
    /// What agents see beside the system.
    pub sandbox: SandboxSettings,
    /// The audit trail.
    pub ledger: LedgerSettings,
}

/// How agents work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxSettings {
    /// Folders that every agent sees, read-only, at the same place: tools outside the system folders. Each is searched
    /// for programs, and its `bin`.
    pub expose: Vec<PathBuf>,
}

/// The audit trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// Folders outside the home that every signed checkpoint is also written to.
    pub witness_dirs: Vec<PathBuf>,
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

    fn check(&self) -> Result<(), String> {
        if !(1..=4_096).contains(&self.agents.at_once) {
            return Err(format!("agents.at_once is {}; it must be between 1 and 4096", self.agents.at_once));
        }
        let relative =
            self.sandbox.expose.iter().chain(&self.ledger.witness_dirs).find(|path| !path.is_absolute());
        match relative {
            Some(path) => Err(format!("{} must be an absolute path", path.display())),
            None => Ok(()),
        }
    }
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
    }
}
