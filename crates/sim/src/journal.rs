//! A journal in memory whose disk can fail: before anything is written, or after everything is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use eparch_daemon::driver::SavedState;
use eparch_daemon::journal::{Journal, JournalError, Left, Then};
use eparch_domain::{Digest, Name};
use eparch_ledger::{Append, Appended, Document, EffectRef, Entry, Snapshot};

/// Entries a page at most: a journal may end a page early, as the ledger does after some megabytes.
const PAGE: usize = 3;

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
    /// How many entries were read back.
    read: usize,
    /// Whether policies cannot be read back.
    hides_policies: bool,
}

impl SimJournal {
    /// Says what happens to the next append, once.
    pub(crate) fn break_with(&self, disk: Disk) {
        self.0.borrow_mut().disk = disk;
    }

    /// Recovers without the policies: they are no state, and reading them takes longer than everything else.
    pub(crate) fn hide_policies(&self, hidden: bool) {
        self.0.borrow_mut().hides_policies = hidden;
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().entries.len()
    }
}

impl SimJournal {
    fn write(&self, request: Append) -> Result<Appended, JournalError> {
        let mut kept = self.0.borrow_mut();
        let disk = std::mem::take(&mut kept.disk);
        if disk == Disk::Fails {
            return Err(JournalError::new("the disk is gone", Left::Nothing));
        }
        let first_seq = kept.entries.len() as u64 + 1;
        if request.after + 1 != first_seq {
            return Err(JournalError::new("the history has moved on", Left::Nothing));
        }
        for (entry, seq) in request.entries.into_iter().zip(first_seq..) {
            for done in entry.acknowledges {
                if !kept.due.remove(&done) {
                    return Err(JournalError::new(format!("{done:?} is not due"), Left::Nothing));
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
            Disk::WritesAndFails => {
                Err(JournalError::new("nobody knows whether it was written", Left::Unknown))
            }
            _ => Ok(Appended { first_seq, last_seq: kept.entries.len() as u64 }),
        }
    }
}

impl Journal for SimJournal {
    fn append_then(&self, request: Append, then: Then) {
        then(self.write(request));
    }

    fn entries(&self, _: &Name, from: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let mut kept = self.0.borrow_mut();
        let found: Vec<Entry> =
            kept.entries.iter().filter(|entry| entry.seq >= from).take(limit.min(PAGE)).cloned().collect();
        kept.read += found.len();
        Ok(found)
    }

    fn document(&self, _: &Name, digest: &Digest) -> Result<Option<Document>, JournalError> {
        let kept = self.0.borrow();
        let document = kept.documents.get(digest);
        Ok(document.filter(|found| !kept.hides_policies || found.kind != "policies").cloned())
    }

    fn due(&self, _: &Name) -> Result<Vec<EffectRef>, JournalError> {
        Ok(self.0.borrow().due.iter().copied().collect())
    }

    fn snapshot(&self, _: &Name) -> Result<Option<Snapshot>, JournalError> {
        Ok(self.0.borrow().snapshot.clone())
    }

    fn save_snapshot(&self, _: &Name, seq: u64, state: SavedState) -> Result<(), JournalError> {
        let body = state.to_bytes();
        self.0.borrow_mut().snapshot = Some(Snapshot { seq, body });
        Ok(())
    }

    fn reopen(&self) -> Result<u64, JournalError> {
        let mut kept = self.0.borrow_mut();
        kept.epoch += 1;
        Ok(kept.epoch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use eparch_daemon::driver::{Core, Input, TurnError, Unreadable};
    use eparch_domain::{LedgerTime, Moment, RunId, Timestamp};
    use eparch_governor::{Event, RunRequest};
    use eparch_ledger::BODY_MAX;

    use super::*;
    use crate::dice::Dice;
    use crate::people;
    use crate::policies::Rules;
    use crate::score::Score;

    fn at(millis: u32) -> Moment {
        let ledger = LedgerTime::from_millis(millis.into());
        Moment { ledger, wall: Timestamp::from_millis(millis.into()) }
    }

    /// A home in which each of many runs is of a pipeline of its own.
    fn crowded(runs: u32) -> (SimJournal, Core<SimJournal>) {
        let journal = SimJournal::default();
        let tenant = Name::new("sim").expect("a word is a name");
        let mut core = Core::recover(journal.clone(), tenant, 1).unwrap();
        let dice = &mut Dice::new(1);
        let root = people::people(dice).remove(0);
        let mut inputs = vec![core.boot(4).unwrap()];
        inputs.push(Event::OperatorAdded { by: None, operator: root.clone() }.into());
        let policies = Rules::Few.set();
        let offered = Event::PoliciesOffered { by: None, policies: policies.digest() };
        inputs.push(Input { policies: Some(policies), ..offered.into() });
        for number in 1..=runs {
            let pipeline = Score::random(dice, &format!("p{number}"), 3).pipeline;
            let request = RunRequest {
                run: RunId::from_bits(number.into()),
                pipeline: pipeline.digest(),
                inputs: BTreeMap::new(),
                env: BTreeMap::new(),
                requester: root.name.clone(),
                grant: Some(root.max_tier),
                root: "/project".to_owned(),
                idempotency_key: None,
                lineage: None,
            };
            let event = Event::RunRequested(Box::new(request));
            inputs.push(Input { definition: Some(Arc::clone(&pipeline)), ..event.into() });
        }
        core.turn(&inputs, at(1)).unwrap();
        (journal, core)
    }

    fn recovered(journal: &SimJournal) -> (Core<SimJournal>, usize) {
        let before = journal.0.borrow().read;
        let core = Core::recover(journal.clone(), Name::new("sim").expect("a word is a name"), 2).unwrap();
        let read = journal.0.borrow().read - before;
        (core, read)
    }

    #[test]
    fn the_snapshot_of_many_pipelines_is_used_and_nothing_before_it_is_read() {
        let (journal, core) = crowded(600);
        let live = core.governor().live_runs();
        assert!(live > 300, "{live} runs live");
        core.journal().save_snapshot(core.tenant(), core.seq(), core.state()).unwrap();
        let (again, read) = recovered(&journal);
        assert_eq!((read, again.unused_snapshot()), (0, None));
        assert!(again.governor().agrees_with(core.governor()));
        // Without it everything is read, and comes to the same.
        journal.0.borrow_mut().snapshot = None;
        let (again, read) = recovered(&journal);
        assert_eq!(read, journal.len());
        assert!(again.governor().agrees_with(core.governor()));
    }

    #[test]
    fn a_snapshot_that_cannot_be_used_is_done_without_and_not_in_silence() {
        let (journal, core) = crowded(3);
        let good = String::from_utf8(core.state().to_bytes()).unwrap();
        let older = good.replacen("\"format\":5", "\"format\":4", 1);
        assert_ne!(older, good);
        for (body, why) in [
            (older, "the snapshot has format 4; this build reads 5"),
            (good[..good.len() / 2].to_owned(), "cannot read the snapshot"),
            (String::new(), "cannot read the snapshot"),
        ] {
            journal.0.borrow_mut().snapshot = Some(Snapshot { seq: core.seq(), body: body.into_bytes() });
            let (again, read) = recovered(&journal);
            let said = format!("the snapshot of entry {} is not used: {why}", core.seq());
            assert_eq!((read, again.unused_snapshot()), (journal.len(), Some(said.as_str())));
            assert!(again.governor().agrees_with(core.governor()));
        }
    }

    #[test]
    fn a_record_that_the_ledger_would_not_take_is_refused_alone_and_disturbs_nothing() {
        let (journal, mut core) = crowded(1);
        let (before, entries) = (core.governor().clone(), journal.len());
        let stop = |bytes: usize| Event::StopRequested {
            run: RunId::from_bits(999),
            by: Name::new("root").expect("a word is a name"),
            reason: "x".repeat(bytes),
        };
        let inputs = [Event::ClockTurned.into(), stop(BODY_MAX).into()];
        let refused = core.turn(&inputs, at(2)).unwrap_err();
        assert!(matches!(refused, TurnError::Unreadable(Unreadable { input: 1, .. })), "{refused}");
        assert!(core.governor().agrees_with(&before));
        let inputs = [Event::ClockTurned.into(), stop(BODY_MAX - 4_096).into()];
        assert_eq!(core.turn(&inputs, at(2)).unwrap().len(), 2);
        assert_eq!(journal.len(), entries + 2);
    }
}
