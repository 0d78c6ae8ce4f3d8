//! Why something was not written.

use std::sync::Arc;

use eparch_domain::{Digest, Name};

use crate::entry::EffectRef;
use crate::open::OpenError;
use crate::read::ReadError;

/// Why a request to the writer was not carried out. Only after [`Late`](WriteError::Late), [`Storage`](WriteError::Storage)
/// and [`Closed`](WriteError::Closed) is it open whether something was written; the journal knows.
/// [`is_refusal`](WriteError::is_refusal) tells the others apart by whose fault they are.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The history has moved on since the caller looked.
    #[error("expected the history to end at {expected}, but it ends at {found}")]
    Conflict {
        /// The newest seq the caller knew.
        expected: u64,
        /// The newest there is.
        found: u64,
    },
    /// No entries were given.
    #[error("an append needs at least one entry")]
    Empty,
    /// The tenant has 2⁴⁰ − 1 entries.
    #[error("the tenant's history is full")]
    Full,
    /// An acknowledged effect is not in the outbox: it never was, or has its result already.
    #[error("effect {}/{} does not wait for a result", effect.seq, effect.idx)]
    NotOutstanding {
        /// Which effect.
        effect: EffectRef,
    },
    /// A value is longer than any that is kept.
    #[error("{what} has {bytes} bytes; at most {limit} are kept")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A document's bytes have another digest.
    #[error("a document's bytes are not those of {digest}")]
    BadDocument {
        /// The digest it came with.
        digest: Digest,
    },
    /// A snapshot of a state that is not written yet.
    #[error("cannot save a snapshot after entry {seq}; the history ends at {head}")]
    BeyondHead {
        /// The snapshot's.
        seq: u64,
        /// The newest there is.
        head: u64,
    },
    /// A tenant without any entry.
    #[error("tenant {0} has no history")]
    NoTenant(Name),
    /// The schema or a size limit refused a value.
    #[error("the journal refused the request")]
    Refused(#[source] Arc<rusqlite::Error>),
    /// The tenant's history could not be continued because it is damaged.
    #[error("the history cannot be continued")]
    Unreadable(#[source] Arc<ReadError>),
    /// Not answered in time. Treat the tenant as stopped: the request may still be carried out.
    #[error("the ledger did not answer in time")]
    Late,
    /// Another process holds SQLite's write lock; nothing was written.
    #[error("another process is writing to the journal")]
    Busy,
    /// Another process has opened the ledger for writing since. This one has lost it for good, and wrote nothing:
    /// reopening does not win it back.
    #[error("another process has taken over the journal (boot {found} follows ours, {ours})")]
    Fenced {
        /// The newest boot that is ours.
        ours: u64,
        /// The newest there is.
        found: u64,
    },
    /// The disk or the database failed. Every later request fails the same way until the ledger is reopened.
    #[error("the journal cannot be written until it is reopened")]
    Storage(#[source] Arc<rusqlite::Error>),
    /// The disk failed to take a saved state. What was saved before is there still, and the journal has everything.
    #[error("the state cannot be saved")]
    State(#[source] Arc<std::io::Error>),
    /// Reopening failed; every later request fails the same way until it succeeds.
    #[error("the journal cannot be reopened")]
    Reopen(#[source] Arc<OpenError>),
    /// The ledger has been closed.
    #[error("the ledger is closed")]
    Closed,
}

impl WriteError {
    /// Whether the fault lies with the request, or with its tenant's history, alone: nothing of it was written, nothing
    /// is wrong with the journal, and other requests go on.
    pub fn is_refusal(&self) -> bool {
        match self {
            WriteError::Conflict { .. }
            | WriteError::Empty
            | WriteError::Full
            | WriteError::NotOutstanding { .. }
            | WriteError::TooLong { .. }
            | WriteError::BadDocument { .. }
            | WriteError::BeyondHead { .. }
            | WriteError::NoTenant(_)
            | WriteError::Refused(_)
            | WriteError::Unreadable(_) => true,
            WriteError::Late
            | WriteError::Busy
            | WriteError::Fenced { .. }
            | WriteError::Storage(_)
            | WriteError::State(_)
            | WriteError::Reopen(_)
            | WriteError::Closed => false,
        }
    }
}
