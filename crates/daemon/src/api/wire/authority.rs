//! What callers send and get back about what runs and agents bear, and how it is taken away. Never a secret.

use eparch_domain::{AgentId, LeaseId, RunId, Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Why an agent's authority is taken away.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A run whose authority is taken away.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRun {
    /// Which.
    pub pipeline_id: RunId,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// An agent has no authority any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Revoked {
    /// Which.
    pub agent_id: AgentId,
    /// The entry it was decided in, or, when it had been before, that in which it was asked for again.
    pub decided: u64,
}

/// What a run bears; never a secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenShown {
    /// Which run.
    pub pipeline_id: RunId,
    /// Its lease; none while nobody of it works.
    #[serde(flatten)]
    pub lease: Option<LeaseShown>,
    /// Its tokens of the vault that are to be ended there and are not known to be. Here they are good for nothing any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<TokenOwed>,
}

/// A token that is over here and that the vault has not ended yet (EP0918).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenOwed {
    /// What it is called in the vault.
    pub vault_accessor: String,
    /// Whose it was, unless it was the run's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// How often the vault was asked in vain.
    pub asked: u32,
    /// The stable code of why it was in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it was in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A run's lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeaseShown {
    /// What it is called.
    pub accessor: LeaseId,
    /// What it has left, unless it is renewed.
    pub ttl: Span,
    /// When it is over, unless it is renewed.
    pub expires_at: Timestamp,
    /// How often it was.
    pub renewals: u32,
    /// Its policies.
    pub policies: Vec<String>,
    /// What its token is called in the vault, where it has one there.
    pub vault_accessor: Option<String>,
    /// Its agents' tokens.
    pub agents: Vec<AgentTokenShown>,
}

/// An agent's token of its run's lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentTokenShown {
    /// Whose.
    pub agent_id: AgentId,
    /// Which of the agent's, from 1.
    pub round: u32,
    /// What it has left, unless it is renewed.
    pub ttl: Span,
    /// When it is over, unless it is renewed.
    pub expires_at: Timestamp,
    /// How often it was.
    pub renewals: u32,
    /// Its policies.
    pub policies: Vec<String>,
    /// What it is called in the vault, where it has one there.
    pub vault_accessor: Option<String>,
}
