//! A run that exists, as it is recorded.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, Digest, LedgerTime, Name, RunId, Tier};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A run exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpawned {
    /// Which.
    pub run: RunId,
    /// Of which pipeline.
    pub pipeline: Digest,
    /// Pipeline and inputs.
    pub plan: Digest,
    /// Its inputs.
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub inputs: BTreeMap<String, Value>,
    /// What its expressions see of the environment.
    pub env: BTreeMap<String, String>,
    /// Who asked.
    pub requester: Name,
    /// The highest tier in it.
    pub grant: Tier,
    /// The project's folder.
    pub root: String,
    /// The request's key.
    pub idempotency_key: Option<String>,
    /// The digest of what was asked for, the run's id aside; for a request with a key.
    pub asked: Option<Digest>,
    /// The run and stage it repeats.
    pub repeats: Option<(RunId, Name)>,
    /// What began it, where no person did: nobody vouches for it then, and its agents have the tiers they earned (X35).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SpawnedBy>,
    /// When it must have ended.
    pub deadline: LedgerTime,
}

/// What began a run that no person asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnedBy {
    /// The run in which it happened.
    pub run: RunId,
    /// The agent that it happened to.
    pub agent: AgentId,
    /// What happened.
    pub reason: String,
}
