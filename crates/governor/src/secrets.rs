//! Secrets that people ask for: who may, and the record of it. The governor never sees what a secret holds.

use eparch_domain::{Name, Tier};
use serde::{Deserialize, Serialize};

use crate::decision::Refusal;
use crate::fact::Fact;
use crate::governor::Turn;
use crate::operator::Operator;
use crate::operators;
use crate::people::{self, Wish};
use crate::stop_all;

/// What somebody wants of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "access", rename_all = "snake_case")]
pub enum SecretAccess {
    /// To read it.
    Read {
        /// Which version; `None` is the newest.
        version: Option<u32>,
    },
    /// To write a new version.
    Write {
        /// Only when this is the newest one; 0 says that there is none.
        expected: Option<u32>,
    },
}

impl SecretAccess {
    /// What it is, for people: somebody may or may not `…`.
    pub fn wish(self) -> &'static str {
        match self {
            SecretAccess::Read { .. } => "read secrets",
            SecretAccess::Write { .. } => "write secrets",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum SecretOutcome {
    /// It was read, and is handed over once this is durable.
    Read {
        /// Which version.
        version: u32,
    },
    /// It was written.
    Written {
        /// The new version.
        version: u32,
    },
    /// The vault did not do it, or nobody knows whether it did.
    Failed {
        /// The stable code of the reason.
        code: String,
    },
}

/// Somebody asks for a secret. What lies where only agents of a tier may read is for people of that tier, too: nobody gets
/// more through a secret than they may grant (G5).
pub(crate) fn asked(turn: &mut Turn<'_>, by: &Name, path: &str, tier: Tier, access: SecretAccess) {
    let may = |known: &Operator| known.role.may_administer();
    let Some(asking) = operators::require(turn, by, access.wish(), may) else { return };
    if asking.max_tier < tier {
        return turn.refuse(Refusal::BeyondOwnTier { name: asking.name, max: asking.max_tier });
    }
    if let Some(stopped) = stop_all::refusal(turn.governor) {
        return turn.refuse(stopped);
    }
    if let SecretAccess::Read { .. } = access
        && let Some(refusal) = people::refusal(turn.governor, &asking, &Wish::read_secret(path))
    {
        return turn.refuse(refusal);
    }
    turn.record(Fact::SecretGranted { by: by.clone(), path: path.to_owned(), access });
}
