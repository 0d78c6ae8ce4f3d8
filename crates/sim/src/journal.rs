//! A journal in memory whose disk can fail: before anything is written, or after everything is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use eparch_daemon::journal::{Journal, JournalError};
use eparch_domain::{Digest, Name};
use eparch_ledger::{Append, Appended, Document, EffectRef, Entry, Snapshot};

/// What the disk does with the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Disk {
    /// It writes and says so.
    #[default]
    Well,
    /// It writes nothing and says so.
    Fails,
    /// It writes, and the word of it is lost: whoever waits sees a failure.
    WritesAndFails,
}

/// The journal of one tenant. A copy is another handle to the same one: it outlives the holder that dies.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimJournal(Rc<RefCell<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<Entry>,
    documents: BTreeMap<Digest, Document>,
    due: BTreeSet<EffectRef>,
    snapshot: Option<Snapshot>,
    epoch: u64,
    disk: Disk,
}

impl SimJournal {
    /// Says what happens to the next append, once.
    pub(crate) fn break_with(&self, disk: Disk) {
        self.0.borrow_mut().disk = disk;
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().entries.len()
    }
}

impl Journal for SimJournal {
    fn append(&self, request: Append) -> Result<Appended, JournalError> {
        let mut kept = self.0.borrow_mut();
        let disk = std::mem::take(&mut kept.disk);
        if disk == Disk::Fails {
            return Err(JournalError("the disk is gone".to_owned()));
        }
        let first_seq = kept.entries.len() as u64 + 1;
        if request.after + 1 != first_seq {
            return Err(JournalError("the history has moved on".to_owned()));
        }
        for (entry, seq) in request.entries.into_iter().zip(first_seq..) {
            for done in entry.acknowledges {
                if !kept.due.remove(&done) {
                    return Err(JournalError(format!("{done:?} is not due")));
                }
            }
            kept.due.extend((0..entry.effects_due).map(|idx| EffectRef { seq, idx }));
            for new in entry.documents {
                let document = Document { kind: new.kind, seq, bytes: new.bytes };
                kept.documents.entry(new.digest).or_insert(document);
            }
            kept.entries.push(Entry { seq, body: entry.body });
        }
        match disk {
            Disk::WritesAndFails => Err(JournalError("nobody knows whether it was written".to_owned())),
            _ => Ok(Appended { first_seq, last_seq: kept.entries.len() as u64 }),
        }
    }

    fn entries(&self, _: &Name, from: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let kept = self.0.borrow();
        Ok(kept.entries.iter().filter(|entry| entry.seq >= from).take(limit).cloned().collect())
    }

    fn document(&self, _: &Name, digest: &Digest) -> Result<Option<Document>, JournalError> {
        Ok(self.0.borrow().documents.get(digest).cloned())
    }

    fn due(&self, _: &Name) -> Result<Vec<EffectRef>, JournalError> {
        Ok(self.0.borrow().due.iter().copied().collect())
    }

    fn snapshot(&self, _: &Name) -> Result<Option<Snapshot>, JournalError> {
        Ok(self.0.borrow().snapshot.clone())
    }

    fn save_snapshot(&self, _: &Name, seq: u64, body: Vec<u8>) -> Result<(), JournalError> {
        self.0.borrow_mut().snapshot = Some(Snapshot { seq, body });
        Ok(())
    }

    fn reopen(&self) -> Result<u64, JournalError> {
        let mut kept = self.0.borrow_mut();
        kept.epoch += 1;
        Ok(kept.epoch)
    }
}
