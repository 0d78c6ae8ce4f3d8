//! What the driver asks of a journal. One home today, the embedded ledger; the simulator brings its own faulty disk.

use std::sync::Arc;

use eparch_domain::{Clock, Digest, Name};
use eparch_ledger::{Append, Appended, Document, EffectRef, Entry, Ledger, Snapshot};

/// What went wrong with the journal, in words; nothing of what was asked counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JournalError(pub String);

impl JournalError {
    /// The whole chain of causes in one line.
    pub(crate) fn of(error: &dyn std::error::Error) -> JournalError {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        JournalError(text)
    }
}

/// An append-only journal, as the driver uses it.
pub trait Journal {
    /// Adds entries, all or none, durably; within `limits::LEDGER_WRITE_DEADLINE` or not at all as far as the caller may
    /// assume (G1).
    fn append(&self, request: Append) -> Result<Appended, JournalError>;
    /// Up to `limit` entries from `from` on.
    fn entries(&self, tenant: &Name, from: u64, limit: usize) -> Result<Vec<Entry>, JournalError>;
    /// A document by its digest.
    fn document(&self, tenant: &Name, digest: &Digest) -> Result<Option<Document>, JournalError>;
    /// Effects without a result.
    fn due(&self, tenant: &Name) -> Result<Vec<EffectRef>, JournalError>;
    /// The last snapshot.
    fn snapshot(&self, tenant: &Name) -> Result<Option<Snapshot>, JournalError>;
    /// Saves a snapshot.
    fn save_snapshot(&self, tenant: &Name, seq: u64, body: Vec<u8>) -> Result<(), JournalError>;
    /// After a failure: begins a new epoch on what is durable, and returns its number.
    fn reopen(&self) -> Result<u64, JournalError>;
}

/// The embedded ledger with the clock its boots are recorded by.
#[derive(Clone)]
pub struct LedgerJournal {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for LedgerJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerJournal").field("ledger", &self.ledger.settings().path).finish_non_exhaustive()
    }
}

impl LedgerJournal {
    /// The ledger as the driver's journal.
    pub fn new(ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> LedgerJournal {
        LedgerJournal { ledger, clock }
    }
}

impl Journal for LedgerJournal {
    fn append(&self, request: Append) -> Result<Appended, JournalError> {
        self.ledger.append(request).map_err(|error| JournalError::of(&error))
    }

    fn entries(&self, tenant: &Name, from: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.ledger.read().page(tenant, from, limit as u64).map_err(|error| JournalError::of(&error))
    }

    fn document(&self, tenant: &Name, digest: &Digest) -> Result<Option<Document>, JournalError> {
        self.ledger.document(tenant, digest).map_err(|error| JournalError::of(&error))
    }

    fn due(&self, tenant: &Name) -> Result<Vec<EffectRef>, JournalError> {
        self.ledger.outbox(tenant).map_err(|error| JournalError::of(&error))
    }

    fn snapshot(&self, tenant: &Name) -> Result<Option<Snapshot>, JournalError> {
        self.ledger.snapshot(tenant).map_err(|error| JournalError::of(&error))
    }

    fn save_snapshot(&self, tenant: &Name, seq: u64, body: Vec<u8>) -> Result<(), JournalError> {
        self.ledger.save_snapshot(tenant, Snapshot { seq, body }).map_err(|error| JournalError::of(&error))
    }

    fn reopen(&self) -> Result<u64, JournalError> {
        self.ledger.reopen(self.clock.now().wall).map_err(|error| JournalError::of(&error))
    }
}
