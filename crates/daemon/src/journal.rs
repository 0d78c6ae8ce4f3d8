//! What the driver asks of a journal. One home today, the embedded ledger; the simulator brings its own faulty disk.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use eparch_domain::{Clock, Digest, Name, in_full, limits};
use eparch_ledger::{Append, Appended, Document, EffectRef, Entry, Ledger, Snapshot, WriteError};

use crate::driver::SavedState;

/// What went wrong with the journal, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct JournalError {
    what: String,
    /// What it leaves behind.
    pub left: Left,
}

/// What a request to the journal that failed leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing of it was written.
    Nothing,
    /// Whether it was written is open: the journal knows, once it is open again.
    Unknown,
    /// Nothing of it was written, and nothing will be: another process has this journal now, for good.
    TakenOver,
}

impl JournalError {
    /// An error in words.
    pub fn new(what: impl Into<String>, left: Left) -> JournalError {
        JournalError { what: what.into(), left }
    }

    /// The whole chain of causes in one line, of something that was to be read.
    pub(crate) fn of(error: &dyn std::error::Error) -> JournalError {
        JournalError::new(in_full(error), Left::Nothing)
    }
}

impl From<WriteError> for JournalError {
    fn from(error: WriteError) -> JournalError {
        let left = match &error {
            WriteError::Late | WriteError::Storage(_) | WriteError::Closed => Left::Unknown,
            WriteError::Fenced { .. } => Left::TakenOver,
            _ => Left::Nothing,
        };
        JournalError { left, ..JournalError::of(&error) }
    }
}

/// What became of entries that were to be added; called once, on whatever thread, and must return at once.
pub type Then = Box<dyn FnOnce(Result<Appended, JournalError>) + Send>;

/// An append-only journal, as the driver uses it.
pub trait Journal {
    /// Adds entries, all or none, durably, and says so: within [`Journal::write_within`], or the caller may rely on nothing of
    /// it (G1) until the reopened journal says what became of it.
    fn append_then(&self, request: Append, then: Then);

    /// [`Journal::append_then`], waiting for the word.
    fn append(&self, request: Append) -> Result<Appended, JournalError> {
        let (tell, told) = sync_channel(1);
        let tell = move |outcome| {
            // Whoever waited may have given up.
            let _ = tell.send(outcome);
        };
        self.append_then(request, Box::new(tell));
        told.recv_timeout(self.write_within()).unwrap_or_else(|none| {
            Err(match none {
                RecvTimeoutError::Timeout => WriteError::Late.into(),
                RecvTimeoutError::Disconnected => WriteError::Closed.into(),
            })
        })
    }

    /// How long to wait for that word.
    fn write_within(&self) -> Duration {
        limits::LEDGER_WRITE_DEADLINE.as_duration()
    }

    /// Up to `limit` entries from `from` on, or fewer: only a page without any is the end.
    fn entries(&self, tenant: &Name, from: u64, limit: usize) -> Result<Vec<Entry>, JournalError>;
    /// A document by its digest.
    fn document(&self, tenant: &Name, digest: &Digest) -> Result<Option<Document>, JournalError>;
    /// Effects without a result.
    fn due(&self, tenant: &Name) -> Result<Vec<EffectRef>, JournalError>;
    /// The last snapshot.
    fn snapshot(&self, tenant: &Name) -> Result<Option<Snapshot>, JournalError>;
    /// Saves a state as the snapshot after entry `seq`.
    fn save_snapshot(&self, tenant: &Name, seq: u64, state: SavedState) -> Result<(), JournalError>;
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
    fn append_then(&self, request: Append, then: Then) {
        self.ledger.append_then(request, move |outcome| then(outcome.map_err(JournalError::from)));
    }

    fn write_within(&self) -> Duration {
        self.ledger.settings().write_within.as_duration()
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

    fn save_snapshot(&self, tenant: &Name, seq: u64, state: SavedState) -> Result<(), JournalError> {
        Ok(self.ledger.save_snapshot(tenant, seq, move |to| state.write_to(to))?)
    }

    fn reopen(&self) -> Result<u64, JournalError> {
        Ok(self.ledger.reopen(self.clock.now().wall)?)
    }
}
