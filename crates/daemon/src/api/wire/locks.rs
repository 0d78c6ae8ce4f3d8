//! What callers send and get back about locks.

use eparch_domain::{AgentId, Name, RunId, Span, Timestamp};
use eparch_governor::{LockStanding, LockUser};
use serde::{Deserialize, Serialize};

/// Why a lock is taken away.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseLock {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A lock was taken away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockReleased {
    /// Which.
    pub lock: Name,
    /// From whom; nobody when its holder was being ended already.
    pub agent_id: Option<AgentId>,
    /// The entry it was decided in.
    pub decided: u64,
}

/// A lock that somebody has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockView {
    /// Its name.
    pub lock: Name,
    /// The number of this taking; it only ever rises.
    pub fence: u64,
    /// How it stands.
    pub standing: LockStanding,
    /// The run that has it.
    pub pipeline_id: RunId,
    /// The stage of it.
    pub stage: Name,
    /// The stage's agent.
    pub agent_id: AgentId,
    /// Since when.
    pub since: Timestamp,
    /// How long it is still held, unless it is renewed.
    pub ttl: Span,
    /// How it was lost, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Who waits for it, in order.
    pub waiting: Vec<LockUser>,
}
