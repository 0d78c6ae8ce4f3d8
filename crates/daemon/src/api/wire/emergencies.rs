//! What callers send and get back when something is very wrong.

use eparch_domain::{BreakGlassId, Digest, Name, Span, Timestamp};
use eparch_governor::{Allowed, GlassScope, GlassStands, Separation};
use serde::{Deserialize, Serialize};

/// Everything is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedShown {
    /// Who did it.
    pub by: Name,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Whether everything is stopped, as it stands after what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopAllShown {
    /// Who stopped everything, when and why; nothing when it is not stopped.
    pub stopped: Option<StoppedShown>,
    /// The entry in which this was decided.
    pub decided: u64,
    /// Whether that changed anything: what is stopped already cannot be stopped again, and what is not cannot be lifted.
    pub changed: bool,
    /// Agents whose processes are being ended still. None of them has authority.
    pub ending: usize,
}

/// Stops everything, or lets things begin again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopAll {
    /// Why.
    pub reason: String,
}

/// Asks two people's leave for what policy denies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskBreakGlass {
    /// For whom.
    pub scope: GlassScope,
    /// What.
    pub allows: Vec<Allowed>,
    /// For how long.
    pub time: Span,
    /// Why.
    pub reason: String,
}

/// What two people let pass, or one asks another to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassShown {
    /// Its name.
    pub grant: BreakGlassId,
    /// For whom.
    pub scope: GlassScope,
    /// What.
    pub allows: Vec<Allowed>,
    /// Who asked.
    pub requested_by: Name,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// For how long, from when it is approved.
    pub time: Span,
    /// The least separation an approval must have.
    pub needs: Separation,
    /// How it stands.
    #[serde(flatten)]
    pub stands: GlassStands,
    /// When it is over by itself, by the wall clock; nothing when it is over.
    pub ends_at: Option<Timestamp>,
    /// What was allowed under it, each once.
    pub used: Vec<Allowed>,
    /// The digest of what is asked for: what an answer is to.
    pub subject: Digest,
}
