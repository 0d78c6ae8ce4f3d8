//! The driver over a journal that fails when it is told to.

mod clocks;
mod commits;
mod meanwhile;
mod stopped;
mod stops;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;

use eparch_domain::{Digest, LedgerTime, ManualClock, Moment, Phase, RunId, Tier, Timestamp};
use eparch_governor::{Answer, Key, Operator, OperatorRole, Outcome, RunRequest, Signal};
use eparch_ledger::{Append, Appended, Document, Entry, Snapshot};
use eparch_pipeline::{Catalogue, Known, Pipeline, check};
use eparch_policy::PolicySet;

use super::*;
use crate::home::Home;
use crate::journal::Then;

/// Entries a page at most: a journal may end a page early, as the ledger does after some megabytes.
const PAGE: usize = 2;

/// A journal in memory that is as strict as the ledger: what is acknowledged must be due.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    entries: Vec<Entry>,
    documents: BTreeMap<Digest, Document>,
    due: BTreeSet<EffectRef>,
    snapshot: Option<Snapshot>,
    epoch: u64,
    /// Appends until one fails, and what it leaves behind.
    fails_in: Option<u32>,
    leaves: Option<Left>,
    /// That one writes all the same.
    writes_all_the_same: bool,
    /// Somebody else has it.
    taken_over: bool,
    /// Appends go there, and wait until somebody writes them.
    held: Option<Sender<(Append, Then)>>,
    /// Nothing that it is given is written in time.
    is_late: bool,
    /// Reopenings that fail from now on.
    stays_shut: u32,
    read: usize,
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    fn boots(&self) -> usize {
        let is_boot = |entry: &Entry| {
            let record = eparch_governor::Record::from_bytes(&entry.body).unwrap();
            matches!(record.event, Event::Booted { .. })
        };
        self.kept().entries.iter().filter(|entry| is_boot(entry)).count()
    }
}

impl Kept {
    fn write(&mut self, request: Append) -> Result<Appended, JournalError> {
        let kept = self;
        let mut failure = None;
        if let Some(left) = kept.fails_in {
            kept.fails_in = left.checked_sub(1);
            if left == 0 {
                failure =
                    Some(JournalError::new("the disk failed once", kept.leaves.unwrap_or(Left::Unknown)));
            }
        }
        if let Some(failure) = &failure
            && !kept.writes_all_the_same
        {
            return Err(failure.clone());
        }
        let first_seq = kept.entries.len() as u64 + 1;
        assert_eq!(request.after + 1, first_seq, "the history has moved on");
        let mut due = kept.due.clone();
        for (entry, seq) in request.entries.iter().zip(first_seq..) {
            if let Some(settled) = entry.acknowledges.iter().find(|effect| !due.remove(effect)) {
                let why = format!("{settled:?} does not wait for a result");
                return Err(JournalError::new(why, Left::Nothing));
            }
            due.extend((0..entry.effects_due).map(|idx| EffectRef { seq, idx }));
        }
        kept.due = due;
        for (entry, seq) in request.entries.into_iter().zip(first_seq..) {
            kept.entries.push(Entry { seq, body: entry.body });
            for new in entry.documents {
                kept.documents.insert(new.digest, Document { kind: new.kind, seq, bytes: new.bytes });
            }
        }
        failure.map_or(Ok(Appended { first_seq, last_seq: kept.entries.len() as u64 }), Err)
    }
}

impl Journal for Memory {
    fn append_then(&self, request: Append, then: Then) {
        let mut kept = self.kept();
        if let Some(held) = &kept.held {
            held.send((request, then)).unwrap();
            return;
        }
        let outcome = kept.write(request);
        drop(kept);
        then(outcome);
    }

    fn write_within(&self) -> Duration {
        if self.kept().is_late { Duration::ZERO } else { limits::LEDGER_WRITE_DEADLINE.as_duration() }
    }

    fn entries(&self, _: &Name, from: u64, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let mut kept = self.kept();
        let from = usize::try_from(from - 1).unwrap();
        let found: Vec<_> = kept.entries.iter().skip(from).take(limit.min(PAGE)).cloned().collect();
        kept.read += found.len();
        Ok(found)
    }

    fn document(&self, _: &Name, digest: &Digest) -> Result<Option<Document>, JournalError> {
        Ok(self.kept().documents.get(digest).cloned())
    }

    fn due(&self, _: &Name) -> Result<Vec<EffectRef>, JournalError> {
        Ok(self.kept().due.iter().copied().collect())
    }

    fn snapshot(&self, _: &Name) -> Result<Option<Snapshot>, JournalError> {
        Ok(self.kept().snapshot.clone())
    }

    fn save_snapshot(&self, _: &Name, seq: u64, state: SavedState) -> Result<(), JournalError> {
        let body = state.to_bytes();
        self.kept().snapshot = Some(Snapshot { seq, body });
        Ok(())
    }

    fn reopen(&self) -> Result<u64, JournalError> {
        let mut kept = self.kept();
        if kept.stays_shut > 0 {
            kept.stays_shut -= 1;
            return Err(JournalError::new("the disk is still full", Left::Unknown));
        }
        if kept.taken_over {
            return Err(JournalError::new("somebody else has it", Left::TakenOver));
        }
        kept.epoch += 1;
        Ok(kept.epoch)
    }
}

/// What the driver told of.
#[derive(Debug)]
enum Told {
    Began(u64),
    Do(Option<EffectRef>, Effect),
    Stopped,
    Unable(String),
}

struct Ear(Sender<Told>);

impl Shell for Ear {
    fn committed(&mut self, done: &Done) {
        if let Event::Booted { epoch, .. } = done.record.event {
            let _ = self.0.send(Told::Began(epoch));
        }
    }

    fn perform(&mut self, at: Option<EffectRef>, effect: &Effect) {
        let _ = self.0.send(Told::Do(at, effect.clone()));
    }

    fn unable(&mut self, why: &str) {
        let _ = self.0.send(Told::Unable(why.to_owned()));
    }

    fn stopped(&mut self, _: &JournalError) {
        let _ = self.0.send(Told::Stopped);
    }
}

struct Driven {
    journal: Memory,
    handle: Handle,
    told: Receiver<Told>,
    thread: JoinHandle<()>,
}

fn core(journal: &Memory) -> Core<Memory> {
    let epoch = journal.reopen().unwrap();
    Core::recover(journal.clone(), Name::new("t").unwrap(), epoch).unwrap()
}

fn drive(journal: Memory) -> Driven {
    drive_by(journal, Arc::new(ManualClock::default()))
}

fn drive_by(journal: Memory, clock: Arc<ManualClock>) -> Driven {
    let (to, told) = channel();
    let (driver, handle) = Driver::new(core(&journal), 8, clock, |_| Ear(to));
    let thread = std::thread::spawn(move || driver.run());
    Driven { journal, handle, told, thread }
}

impl Driven {
    fn end(self) -> Memory {
        self.handle.stop();
        self.thread.join().unwrap();
        self.journal
    }

    /// The next thing of a kind that is told of.
    fn next<T>(&self, wanted: impl Fn(Told) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.told.recv().unwrap()) {
                return found;
            }
        }
    }

    fn began(&self) -> u64 {
        self.next(|told| if let Told::Began(epoch) = told { Some(epoch) } else { None })
    }

    /// Starts a run of some agents side by side; what each is to be prepared by.
    fn agents(&self) -> Vec<(EffectRef, eparch_domain::AgentId)> {
        let name = Name::new("ada").unwrap();
        let operator = Operator {
            name: name.clone(),
            role: OperatorRole::Admin,
            groups: Vec::new(),
            max_tier: Tier::T1,
            key: Key::Home { hash: Digest::of(b"ada") },
        };
        self.handle.decide(Event::OperatorAdded { by: None, operator }.into()).unwrap();
        let policies = Arc::new(PolicySet::defaults());
        let offered = Event::PoliciesOffered { by: None, policies: policies.digest() };
        self.handle.decide(Input { policies: Some(policies), ..offered.into() }).unwrap();
        let pipeline = three();
        let request = RunRequest {
            run: RunId::from_bits(7),
            pipeline: pipeline.digest(),
            inputs: BTreeMap::new(),
            env: BTreeMap::new(),
            requester: name,
            grant: None,
            root: "/".to_owned(),
            idempotency_key: None,
            lineage: None,
        };
        let event = Event::RunRequested(Box::new(request));
        let asked = Input { definition: Some(pipeline), ..event.into() };
        assert_eq!(self.handle.decide(asked).unwrap().record.decision.answer, Answer::Taken);
        (0..3)
            .map(|_| {
                self.next(|told| match told {
                    Told::Do(at, Effect::Prepare(spec)) => Some((at.unwrap(), spec.agent)),
                    _ => None,
                })
            })
            .collect()
    }
}

fn three() -> Arc<Pipeline> {
    let mut text = "name: three\nstages:\n".to_owned();
    for name in ["a", "b", "c"] {
        text.push_str(&format!("  - {{name: {name}, type: agent, config: {{command: ['true']}}}}\n"));
    }
    let checked = check("three.yaml", &text, &Catalogue::built_in(), &Known::default());
    Arc::new(checked.pipeline.unwrap())
}

fn failed(agent: eparch_domain::AgentId, at: EffectRef) -> Input {
    let outcome = Outcome::Failed {
        in_phase: Phase::Bootstrap,
        code: "EP0240".to_owned(),
        reason: "its epoch ended".to_owned(),
    };
    let event = Event::AgentAdvanced { agent, outcomes: vec![outcome] };
    Input { acknowledges: vec![at], ..event.into() }
}

#[test]
fn recovery_reads_no_more_than_a_snapshots_distance_however_often_a_holder_dies() {
    let journal = Memory::default();
    let mut read_most = 0;
    for _ in 0..4 {
        let mut core = core(&journal);
        read_most = read_most.max(std::mem::take(&mut journal.kept().read));
        let (to, _told) = channel();
        let clock = Arc::new(ManualClock::default());
        let boot = core.boot(8).unwrap();
        core.turn(&[boot], Moment::default()).unwrap();
        let (mut driver, _handle) = Driver::new(core, 8, clock, |_| Ear(to));
        let inputs: Vec<Input> = vec![Event::ClockTurned.into(); 3_000];
        driver.turn(inputs.into_iter().map(|input| (input, None)).collect());
        driver.save_if_due();
        // It dies: nothing is saved at the end, but what was begun is.
        driver.saving.take().map(JoinHandle::join);
    }
    assert!(read_most <= 10_000 + 3_001, "{read_most} entries were read");
    assert!(journal.kept().snapshot.is_some());
}

#[test]
fn whoever_asks_where_many_wait_already_is_answered_after_them() {
    let journal = Memory::default();
    let (to, _told) = channel();
    let (driver, handle) = Driver::new(core(&journal), 8, Arc::new(ManualClock::default()), |_| Ear(to));
    for _ in 0..limits::DRIVER_QUEUE {
        handle.submit(Event::ClockTurned.into(), |_| {});
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let asker = handle.clone();
        let asking = tokio::spawn(async move { asker.ask(Event::ClockTurned.into()).await });
        // It has met the full queue by then.
        tokio::task::yield_now().await;
        let thread = std::thread::spawn(move || driver.run());
        let after_the_boot = 1 + limits::DRIVER_QUEUE as u64;
        assert_eq!(asking.await.unwrap().unwrap().seq, after_the_boot + 1);
        handle.stop();
        thread.join().unwrap();
        let gone = handle.ask(Event::ClockTurned.into()).await.unwrap_err();
        assert!(matches!(gone, SubmitError::Gone), "{gone}");
    });
}
