//! What the ledger keeps of one decision: the exact bytes that were decided on, and everything that followed.

use eparch_domain::{Digest, Moment};
use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::event::Event;

/// The format of [`Record`]; raised when a field changes its meaning.
pub const RECORD_FORMAT: u32 = 2;

/// What a record of every format begins with.
#[derive(Deserialize)]
struct Format {
    v: u32,
}

/// Why bytes are not a record of this build.
#[derive(Debug)]
pub enum RecordError {
    /// They are not a record.
    Unreadable(serde_json::Error),
    /// They were written by another version.
    Format {
        /// The format found.
        found: u32,
    },
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RecordError::Unreadable(_) => write!(f, "cannot read the record"),
            RecordError::Format { found } => {
                write!(f, "the record has format {found}; this build reads {RECORD_FORMAT}")
            }
        }
    }
}

impl std::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RecordError::Unreadable(source) => Some(source),
            RecordError::Format { .. } => None,
        }
    }
}

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
    /// The policies in force when it was decided; none in a home that has none yet.
    pub policy: Option<Digest>,
    /// What happened.
    pub event: Event,
    /// What followed.
    #[serde(flatten)]
    pub decision: Decision,
}

/// Most records have fewer: one that grows is copied each time.
const USUAL_BYTES: usize = 2_048;

impl Record {
    /// The record's bytes: what is hashed, and what is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut bytes, self).expect("a record has no map with keys that are not text");
        bytes
    }

    /// Reads a record back. One of another format is refused even where it could be read: its facts may mean something
    /// else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Record, RecordError> {
        let unreadable = match serde_json::from_slice::<Record>(bytes) {
            Ok(record) if record.v == RECORD_FORMAT => return Ok(record),
            Ok(record) => return Err(RecordError::Format { found: record.v }),
            Err(problem) => problem,
        };
        match serde_json::from_slice::<Format>(bytes) {
            Ok(read) if read.v != RECORD_FORMAT => Err(RecordError::Format { found: read.v }),
            _ => Err(RecordError::Unreadable(unreadable)),
        }
    }

    /// The policies that were put in force, or wait for another person, by the digest of their document.
    pub fn policies(&self) -> Option<Digest> {
        self.decision.facts.iter().find_map(|fact| match fact {
            crate::fact::Fact::PoliciesInForce { policies, .. } => Some(*policies),
            crate::fact::Fact::PoliciesProposed(proposed) => Some(proposed.policies),
            _ => None,
        })
    }

    /// The definitions that must be at hand before its facts can be applied.
    pub fn definitions(&self) -> impl Iterator<Item = Digest> + '_ {
        self.decision.facts.iter().filter_map(|fact| match fact {
            crate::fact::Fact::RunSpawned(spawned) => Some(spawned.pipeline),
            crate::fact::Fact::DiagnosticKnown { pipeline } => Some(*pipeline),
            _ => None,
        })
    }
}
