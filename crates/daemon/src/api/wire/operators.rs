//! What callers send and get back about people and the policies in force.

use eparch_domain::{Digest, Name, Tier, Timestamp};
use eparch_governor::OperatorRole;
use serde::{Deserialize, Serialize};

/// An operator to add.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddOperator {
    /// Their name.
    pub name: Name,
    /// What they may do.
    pub role: OperatorRole,
    /// Groups they belong to.
    #[serde(default)]
    pub groups: Vec<Name>,
    /// The highest tier they may grant; T2 when absent.
    #[serde(default)]
    pub max_tier: Option<Tier>,
    /// Their Ed25519 public key, 64 hexadecimal digits, when their key is kept elsewhere. Otherwise the home makes one.
    #[serde(default)]
    pub public_key: Option<String>,
}

/// An operator, as shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatorView {
    /// Their name.
    pub name: Name,
    /// What they may do.
    pub role: OperatorRole,
    /// Groups they belong to.
    pub groups: Vec<Name>,
    /// The highest tier they may grant.
    pub max_tier: Tier,
    /// `home` when the key lies in this home, `remote` when it never did.
    pub key: String,
    /// The key's fingerprint.
    pub fingerprint: String,
}

/// The policies in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// The set.
    pub digest: Digest,
    /// Each policy, as `eparch policy show --format json` has it.
    pub policies: Vec<serde_json::Value>,
    /// Those that wait for another person.
    #[serde(default)]
    pub waiting: Option<PoliciesWait>,
}

/// Policies that somebody offered, and that others have to approve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoliciesWait {
    /// The set: what an approval is of.
    pub digest: Digest,
    /// Who offered them.
    pub offered_by: Name,
    /// When.
    pub at: Timestamp,
    /// Unless they are approved before, they wait no longer then.
    pub until: Timestamp,
    /// How many others it takes.
    pub approvals: u16,
    /// Who has approved them.
    pub approved_by: Vec<Name>,
}

/// What somebody looks at before they approve it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfferedPolicies {
    /// Who offered them, and what it takes.
    pub waiting: PoliciesWait,
    /// The set as it is kept: JSON with the name and the text of each file. The digest that is approved is the SHA-256 of these bytes.
    pub document: String,
    /// The set in force in the same form; `None` where nothing is.
    pub in_force: Option<String>,
}

/// The home's policies were read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PutInForce {
    /// The entry that says so.
    pub decided: u64,
    /// The set.
    pub digest: Digest,
    /// Where it was read.
    pub place: String,
    /// How many policies it has.
    pub policies: usize,
    /// Whether others were in force before, and these are now.
    pub changed: bool,
    /// They are not in force yet: others have to approve them.
    #[serde(default)]
    pub waiting: Option<PoliciesWait>,
    /// They are in force, and nobody else could have looked at them.
    #[serde(default)]
    pub alone: bool,
}
