//! What the ledger keeps of one decision: the exact bytes that were decided on, and everything that followed.

use eparch_domain::{Digest, Moment};
use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::event::Event;

/// The format of [`Record`]; raised when a field changes its meaning.
pub const RECORD_FORMAT: u32 = 1;

/// One decision with its cause, as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_FORMAT`] of the writer.
    pub v: u32,
    /// The version of the engine that decided; only the same version is expected to decide the same again (G10).
    pub engine: String,
    /// The holder's epoch.
    pub epoch: u64,
    /// When it was decided.
    pub at: Moment,
    /// The policy set it was decided under; none in a home that has no policies yet.
    pub policy: Option<Digest>,
    /// What happened.
    pub event: Event,
    /// What followed.
    #[serde(flatten)]
    pub decision: Decision,
}

impl Record {
    /// The record's bytes: what is hashed, and what is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has no map with keys that are not text")
    }

    /// Reads a record back.
    pub fn from_bytes(bytes: &[u8]) -> Result<Record, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The definitions that must be at hand before its facts can be applied.
    pub fn definitions(&self) -> impl Iterator<Item = Digest> + '_ {
        self.decision.facts.iter().filter_map(|fact| match fact {
            crate::fact::Fact::RunSpawned(spawned) => Some(spawned.pipeline),
            _ => None,
        })
    }
}
