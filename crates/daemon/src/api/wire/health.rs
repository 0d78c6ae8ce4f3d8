//! How a holder is, and what is enforced.

use eparch_domain::{BreakerState, Digest};
use serde::{Deserialize, Serialize};

use super::{BreakGlassShown, StoppedShown};

/// Whether the holder is well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether decisions can be made.
    pub ok: bool,
    /// The holder's process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Its epoch.
    pub epoch: u64,
    /// The ledger's last entry.
    pub seq: u64,
    /// Runs alive.
    pub live_runs: usize,
    /// Why the ledger cannot be written, if it cannot.
    pub ledger_failure: Option<String>,
    /// Folders for signed checkpoints that cannot be written to, and why.
    #[serde(default)]
    pub anchors_behind: Vec<String>,
    /// What else was met that is worth knowing and stops nothing.
    #[serde(default)]
    pub notices: Vec<String>,
    /// The digest of the settings it works with: those there were when it began.
    #[serde(default)]
    pub settings: Option<Digest>,
    /// Where it serves over TCP, if it does.
    #[serde(default)]
    pub url: Option<String>,
    /// What decisions and agents need, each for itself. One that is not well stops what needs it, and nothing else.
    #[serde(default)]
    pub components: Vec<Component>,
    /// What is enforced, rather than loaded.
    #[serde(default)]
    pub enforced: Enforced,
    /// Who stopped everything, when and why, until an admin lifts it: nothing has authority meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StoppedShown>,
    /// What two people let pass now although policy denies it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<BreakGlassShown>,
}

/// Something that decisions or agents need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// What it is.
    pub name: String,
    /// Whether it can be relied on.
    pub healthy: bool,
    /// What was seen.
    pub detail: String,
    /// How the breaker before it stands, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerState>,
}

/// What is enforced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Enforced {
    /// The policies in force, by their digest; without any nothing is allowed.
    pub policies: Option<Digest>,
    /// How many of them decide.
    pub deciding: usize,
    /// Those that only record what they would have decided, by name.
    pub shadowed: Vec<String>,
    /// How often these spoke since this holder began, and what was decided meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<WatchedShown>,
    /// What confines agents here; nothing where it was not tried yet.
    pub confinement: Option<Vec<Confinement>>,
}

/// How often a watched policy said something beside a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedShown {
    /// The policy.
    pub policy: String,
    /// What it would have said.
    pub would: String,
    /// What was decided.
    pub decided: String,
    /// How often.
    pub times: u64,
}

/// A measure that confines agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Which.
    pub measure: String,
    /// Whether it holds.
    pub in_force: bool,
    /// By what, or why not.
    pub detail: String,
}
