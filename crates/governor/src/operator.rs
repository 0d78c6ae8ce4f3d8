//! People and programs that may act on a home.

use eparch_domain::{Digest, Name, OperatorRole, Tier};
use serde::{Deserialize, Serialize};

/// Somebody who may act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Their name.
    pub name: Name,
    /// What they may do.
    pub role: OperatorRole,
    /// Groups they belong to; a gate may list a group.
    pub groups: Vec<Name>,
    /// The highest tier they may grant to a run (X35).
    pub max_tier: Tier,
    /// How they prove who they are.
    pub key: Key,
}

/// How an operator proves who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kept", rename_all = "snake_case")]
pub enum Key {
    /// A bearer key this home made; only its hash is kept.
    Home {
        /// SHA-256 of the key.
        hash: Digest,
    },
    /// An Ed25519 key this home never held.
    Remote {
        /// The public key, 64 hexadecimal digits.
        public_key: String,
    },
}

impl Key {
    /// Whether it is the same key: digits of a public key may be written large or small.
    pub fn is(&self, other: &Key) -> bool {
        match (self, other) {
            (Key::Home { hash }, Key::Home { hash: other }) => hash == other,
            (Key::Remote { public_key }, Key::Remote { public_key: other }) => {
                public_key.eq_ignore_ascii_case(other)
            }
            _ => false,
        }
    }

    /// Whether it lies in this home.
    pub fn is_home(&self) -> bool {
        matches!(self, Key::Home { .. })
    }
}

/// How far apart the people at a gate are, as far as keys can say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Separation {
    /// The key lies in this home: whoever holds the home can use it.
    SameHome,
    /// The answer is signed by a key this home never held.
    RemoteKey,
}

impl Operator {
    /// Whether an approver's entry in a pipeline means this operator: their name, a group of theirs, or their role.
    pub fn is_meant_by(&self, entry: &Name) -> bool {
        self.name == *entry || self.groups.contains(entry) || self.role.as_str() == entry.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_however_it_is_written_and_another_where_it_is_kept_elsewhere() {
        let remote = |digits: &str| Key::Remote { public_key: digits.repeat(32) };
        assert!(remote("ab").is(&remote("AB")) && !remote("ab").is(&remote("ac")));
        let home = |of: &[u8]| Key::Home { hash: Digest::of(of) };
        assert!(home(b"key").is(&home(b"key")) && !home(b"key").is(&home(b"other")));
        let digits = Digest::of(b"key").hex();
        assert!(!home(b"key").is(&Key::Remote { public_key: digits }));
    }
}
