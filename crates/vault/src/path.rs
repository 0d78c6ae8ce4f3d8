//! Where a secret lies: `inventory/hosts`.

use std::fmt;
use std::str::FromStr;

use eparch_domain::{AgentId, limits};
use serde::{Deserialize, Serialize};

/// The place of a secret below the mount `secret`, as in `inventory/hosts`: parts of letters, digits, `.`, `_` and `-`, with
/// `/` between them, none of which begins with a dot. So it is one path in a URL, in a policy and in a message, and cannot lead
/// elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretPath(Box<str>);

/// Why a text is not a [`SecretPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Nothing, or nothing between two `/`.
    #[error(
        "a secret's path is made of parts with / between them, as in inventory/hosts, and no part is empty"
    )]
    EmptyPart,
    /// More than [`limits::VAULT_PATH_BYTES`].
    #[error("a secret's path has at most {} characters", limits::VAULT_PATH_BYTES)]
    TooLong,
    /// A part that begins with a dot, or a character that is not allowed.
    #[error(
        "{found:?} cannot stand at position {at} of a secret's path; allowed are letters, digits, '.', '_' and '-', not beginning with '.'"
    )]
    Character {
        /// The character.
        found: char,
        /// Where it stands, in bytes from 0.
        at: usize,
    },
}

/// The first part of the paths that belong to one agent each (R129).
const AGENTS: &str = "agents";

impl SecretPath {
    /// Checks `text` and takes it as a path.
    pub fn new(text: &str) -> Result<SecretPath, BadPath> {
        if text.len() > limits::VAULT_PATH_BYTES {
            return Err(BadPath::TooLong);
        }
        let mut begins = true;
        for (at, found) in text.char_indices() {
            match found {
                '/' if begins => return Err(BadPath::EmptyPart),
                '/' => begins = true,
                _ if found.is_ascii_alphanumeric() || matches!(found, '_' | '-') => begins = false,
                '.' if !begins => {}
                _ => return Err(BadPath::Character { found, at }),
            }
        }
        if begins { Err(BadPath::EmptyPart) } else { Ok(SecretPath(text.into())) }
    }

    /// An agent's own secrets, `agents/{agent}` (R129).
    pub fn of_agent(agent: AgentId) -> SecretPath {
        SecretPath(format!("{AGENTS}/{agent}").into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it lies where every agent has a place of its own.
    pub(crate) fn is_an_agents(&self) -> bool {
        self.0.split('/').next() == Some(AGENTS)
    }

    /// Whether it is an agent's own place, or lies below it.
    pub(crate) fn is_own_of(&self, agent: AgentId) -> bool {
        let own = SecretPath::of_agent(agent);
        self.0.strip_prefix(&*own.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SecretPath {
    type Err = BadPath;
    fn from_str(text: &str) -> Result<SecretPath, BadPath> {
        SecretPath::new(text)
    }
}

impl TryFrom<String> for SecretPath {
    type Error = BadPath;
    fn try_from(text: String) -> Result<SecretPath, BadPath> {
        SecretPath::new(&text)
    }
}

impl From<SecretPath> for String {
    fn from(path: SecretPath) -> String {
        path.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r129_r130_the_seeds_paths_are_paths() {
        for text in ["inventory/hosts", "api-keys/openrouter", "services/dragonfly", "a", "a.b_c-d/1"] {
            assert_eq!(SecretPath::new(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for text in ["", "/", "/a", "a/", "a//b"] {
            assert_eq!(SecretPath::new(text), Err(BadPath::EmptyPart), "{text:?}");
        }
        for text in ["..", ".", "a/..", "a/../b", ".a", "a b", "a?b", "a%2e", "a#", "ä", "a*", "a+b", "a\n"]
        {
            assert!(matches!(SecretPath::new(text), Err(BadPath::Character { .. })), "{text:?}");
        }
        let longest = "a".repeat(limits::VAULT_PATH_BYTES);
        assert!(SecretPath::new(&longest).is_ok());
        assert_eq!(SecretPath::new(&format!("{longest}a")), Err(BadPath::TooLong));
    }

    #[test]
    fn r129_an_agents_own_place_is_told_from_anothers() {
        let (own, other) = (AgentId::from_bits(1), AgentId::from_bits(2));
        let path = SecretPath::of_agent(own);
        assert!(path.is_an_agents() && path.is_own_of(own) && !path.is_own_of(other));
        let below = SecretPath::new(&format!("{path}/ssh")).unwrap();
        assert!(below.is_own_of(own));
        let beside = SecretPath::new(&format!("{path}x")).unwrap();
        assert!(beside.is_an_agents() && !beside.is_own_of(own));
        assert!(!SecretPath::new("inventory/agents").unwrap().is_an_agents());
    }

    proptest! {
        #[test]
        fn a_path_that_is_taken_is_the_text_it_was(text in "[a-z./_-]{0,12}|\\PC{0,20}") {
            if let Ok(path) = SecretPath::new(&text) {
                prop_assert_eq!(path.as_str(), text.as_str());
                prop_assert!(text.split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
            }
        }
    }
}
