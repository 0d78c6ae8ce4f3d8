//! The driver over a journal that fails when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;

use eparch_domain::{Digest, LedgerTime, ManualClock, Moment, Phase, RunId, Tier, Timestamp};
use eparch_governor::{Answer, Key, Operator, OperatorRole, Outcome, RunRequest, Signal};
use eparch_ledger::{Append, Appended, Document, Entry, Snapshot};
use eparch_pipeline::{Catalogue, Known, Pipeline, check};

use super::*;
use crate::home::Home;

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

impl Journal for Memory {
    fn append(&self, request: Append) -> Result<Appended, JournalError> {
        let mut kept = self.kept();
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

    fn save_snapshot(&self, _: &Name, seq: u64, body: Vec<u8>) -> Result<(), JournalError> {
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

#[test]
fn g1_what_was_written_is_found_however_short_the_pages_are() {
    let journal = Memory::default();
    let mut core = core(&journal);
    let inputs: Vec<Input> =
        vec![core.boot(1).unwrap(), Event::ClockTurned.into(), Event::ClockTurned.into()];
    let done = core.turn(&inputs, Moment::default()).unwrap();
    let found = |done: &[Done]| super::core::was_written(&journal, core.tenant(), done).unwrap();
    assert!(done.len() > PAGE && found(&done) && !found(&[]));
    let last = done.last().unwrap();
    let beyond = Done { seq: last.seq + 1, record: last.record.clone() };
    assert!(!found(&[&done[..], &[beyond]].concat()), "more than there is");
    let other = Done { seq: last.seq, record: done[0].record.clone() };
    assert!(!found(&[&done[..PAGE], &[other]].concat()), "something else at its end");
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
fn g7_one_failed_commit_with_agents_in_flight_is_one_new_epoch() {
    let driven = drive(Memory::default());
    assert_eq!(driven.began(), 1);
    let agents = driven.agents();
    driven.journal.kept().fails_in = Some(0);
    let (at, agent) = agents[0];
    driven.handle.decide(failed(agent, at)).unwrap_err();
    driven.next(|told| matches!(told, Told::Stopped).then_some(()));
    assert_eq!(driven.began(), 2);
    let reaps: Vec<_> = (0..3)
        .map(|_| {
            driven.next(|told| match told {
                Told::Do(at, Effect::Reap { agent, .. }) => Some((at.unwrap(), agent)),
                _ => None,
            })
        })
        .collect();
    // What was under way in the first epoch reports only now, and to nobody's harm.
    for (at, agent) in &agents {
        driven.handle.decide(failed(*agent, *at)).unwrap();
    }
    for (at, agent) in reaps {
        let event = Event::TreeProvenDead { agent, killed: true };
        let report = Input { acknowledges: vec![at], ..event.into() };
        // The same word twice settles it once.
        driven.handle.decide(report.clone()).unwrap();
        driven.handle.decide(report).unwrap();
    }
    let journal = driven.end();
    assert_eq!((journal.boots(), journal.kept().epoch), (2, 2));
}

#[test]
fn g1_whoever_asked_is_told_what_became_of_a_commit_that_failed() {
    for (writes_all_the_same, leaves) in
        [(false, Left::Nothing), (false, Left::Unknown), (true, Left::Unknown)]
    {
        let driven = drive(Memory::default());
        driven.began();
        {
            let mut kept = driven.journal.kept();
            (kept.fails_in, kept.leaves, kept.writes_all_the_same) =
                (Some(0), Some(leaves), writes_all_the_same);
        }
        let answer = driven.handle.decide(Event::ClockTurned.into());
        let head = driven.journal.kept().entries.len() as u64;
        match answer {
            Ok(done) => {
                assert_eq!((writes_all_the_same, done.seq), (true, head - 1), "the boot came after it")
            }
            Err(SubmitError::Ledger(_)) => assert!(!writes_all_the_same),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(driven.end().boots(), 2);
    }
}

#[test]
fn g1_nobody_is_told_that_nothing_was_done_while_that_is_open() {
    for writes_all_the_same in [false, true] {
        let driven = drive(Memory::default());
        driven.began();
        {
            let mut kept = driven.journal.kept();
            (kept.fails_in, kept.writes_all_the_same, kept.stays_shut) = (Some(0), writes_all_the_same, 1);
        }
        let answer = driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
        assert!(matches!(answer, SubmitError::Unknown(_)), "{answer}");
        driven.end();
    }
}

#[test]
fn a_driver_whose_journal_was_taken_over_ends() {
    let driven = drive(Memory::default());
    driven.began();
    {
        let mut kept = driven.journal.kept();
        (kept.fails_in, kept.leaves, kept.taken_over) = (Some(0), Some(Left::TakenOver), true);
    }
    let answer = driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    assert!(matches!(answer, SubmitError::Ledger(_)), "{answer}");
    driven.thread.join().unwrap();
    let answer = driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    assert!(matches!(answer, SubmitError::Gone), "{answer}");
}

#[test]
fn a_stopped_tenant_notices_by_itself_that_its_disk_is_well_again() {
    let driven = drive(Memory::default());
    driven.began();
    {
        let mut kept = driven.journal.kept();
        (kept.fails_in, kept.stays_shut) = (Some(0), 2);
    }
    driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    // Nobody says anything from here on.
    assert_eq!(driven.began(), 2);
    assert_eq!(driven.end().boots(), 2);
}

#[test]
fn a_key_whose_decision_was_open_is_settled_once_the_ledger_says_what_became_of_it() {
    let ada = Name::new("ada").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for written in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::create(&folder.path().join("home"), &ada).unwrap();
        let hash = |home: &Home| Digest::of(home.operator_key(&ada).unwrap().as_bytes());
        let driven = drive(Memory::default());
        driven.began();
        driven.agents();
        let (old, draft) = (hash(&home), home.draft_operator_key(&ada).unwrap());
        let new = draft.hash();
        {
            let mut kept = driven.journal.kept();
            (kept.fails_in, kept.writes_all_the_same, kept.stays_shut) = (Some(0), written, 1);
        }
        let key = Key::Home { hash: new };
        let rotated = Event::OperatorRotated { by: ada.clone(), name: ada.clone(), key };
        let open = driven.handle.decide(rotated.into()).unwrap_err();
        assert!(matches!(open, SubmitError::Unknown(_)), "{open}");
        runtime.block_on(crate::api::operators::settle(driven.handle.clone(), ada.clone(), draft));
        assert_eq!(hash(&home), if written { new } else { old });
        driven.end();
    }
}

#[test]
fn a_stopped_tenant_says_why_it_cannot_be_rebuilt() {
    let driven = drive(Memory::default());
    driven.began();
    driven.agents();
    {
        let mut kept = driven.journal.kept();
        (kept.fails_in, kept.leaves) = (Some(0), Some(Left::Nothing));
        kept.documents.clear();
    }
    driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    let refused = driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    assert!(refused.to_string().contains(&three().digest().to_string()), "{refused}");
    let told = driven.next(|told| if let Told::Unable(why) = told { Some(why) } else { None });
    assert!(told.contains("definition"), "{told}");
    driven.end();
}

#[test]
fn a_stopped_tenant_is_left_alone_by_whoever_only_looks_now_and_then() {
    let journal = Memory::default();
    let (to, told) = channel();
    let (mut driver, _handle) = Driver::new(core(&journal), 8, Arc::new(ManualClock::default()), |_| Ear(to));
    driver.begin_epoch();
    (journal.kept().fails_in, journal.kept().stays_shut) = (Some(0), 1);
    driver.turn(vec![(Event::ClockTurned.into(), None)]);
    let (due, boots) = (driver.retry_at, journal.boots());
    let look = |driver: &mut Driver<Memory, Ear>, retry| {
        let (to, seen) = channel();
        let look: Look = Box::new(move |governor| to.send(governor.is_ok()).unwrap());
        driver.take(Message::Look(look, retry), &mut Vec::new());
        seen.recv().unwrap()
    };
    for _ in 0..10 {
        assert!(!look(&mut driver, Retry::InTime));
    }
    assert_eq!((driver.retry_at, journal.boots()), (due, boots), "neither tried nor put off");
    assert!(look(&mut driver, Retry::Now));
    assert_eq!(journal.boots(), boots + 1);
    drop(told);
}

#[test]
fn a_journal_that_fails_with_everything_is_not_given_epoch_after_epoch() {
    let driven = drive(Memory::default());
    driven.began();
    driven.journal.kept().fails_in = Some(0);
    driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    assert_eq!(driven.began(), 2);
    driven.journal.kept().fails_in = Some(0);
    driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    // It is left alone now, until its time has come or somebody wants something.
    assert_eq!(driven.end().boots(), 2);
}

/// A value that nests so deeply that no JSON reader takes it in a record.
fn deep() -> serde_json::Value {
    (0..130).fold(serde_json::Value::Null, |inner, _| vec![inner].into())
}

#[test]
fn g7_what_could_not_be_read_back_is_refused_and_nobody_else_is_disturbed() {
    let driven = drive(Memory::default());
    driven.began();
    let agents = driven.agents();
    let signal = Signal::Output { name: "x".to_owned(), value: deep() };
    let event = Event::AgentSignalled { agent: agents[0].1, signal };
    let refused = driven.handle.decide(event.into()).unwrap_err();
    assert!(matches!(refused, SubmitError::Unreadable(_)), "{refused}");
    let (at, agent) = agents[1];
    driven.handle.decide(failed(agent, at)).unwrap();
    let journal = driven.end();
    assert_eq!(journal.boots(), 1);
    let again = core(&journal);
    assert_eq!(again.governor().live_runs(), 1, "everything can be read back");
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

/// What entries say of the clock, each with its place.
fn clock_entries(journal: &Memory) -> Vec<(u64, String)> {
    let told = |entry: &Entry| {
        let record = eparch_governor::Record::from_bytes(&entry.body).unwrap();
        let what = match record.event {
            Event::Booted { clock_moved, .. } => {
                format!("boot {}", clock_moved.map_or(0, |moved| moved.by_ms))
            }
            Event::ClockJumped { by_ms } => format!("jump {by_ms}"),
            _ => return None,
        };
        Some((entry.seq, what))
    };
    journal.kept().entries.iter().filter_map(told).collect()
}

#[test]
fn g7_f17_a_clock_moved_while_nobody_held_the_home_is_decided_on_with_the_boot_and_never_before_it() {
    const HOUR: i64 = 3_600_000;
    let begun = Moment { ledger: LedgerTime::from_millis(1_000), wall: Timestamp::from_millis(100 * HOUR) };
    let clock = Arc::new(ManualClock::at(begun));
    let driven = drive_by(Memory::default(), clock.clone());
    driven.began();
    driven.agents();
    let mut journal = driven.end();
    let mut expected = vec![(1, "boot 0".to_owned())];
    for by_ms in [-HOUR, 2 * HOUR, -2_001, 2_001, -2_000, 2_000] {
        clock.jump_wall(by_ms);
        let driven = drive_by(journal, clock.clone());
        driven.began();
        // A holder that lives is told of it first, before whatever comes next.
        clock.jump_wall(by_ms);
        driven.handle.decide(Event::ClockTurned.into()).unwrap();
        let boot = driven.journal.kept().entries.len() as u64;
        journal = driven.end();
        if by_ms.abs() > 2_000 {
            expected.extend([(boot - 2, format!("boot {by_ms}")), (boot - 1, format!("jump {by_ms}"))]);
        } else {
            expected.push((boot - 1, "boot 0".to_owned()));
        }
    }
    assert_eq!(clock_entries(&journal), expected);
}

#[test]
fn a_clock_that_moves_while_a_commit_fails_is_no_reason_to_doubt_it() {
    let begun = Moment { ledger: LedgerTime::from_millis(1_000), wall: Timestamp::from_millis(360_000_000) };
    let clock = Arc::new(ManualClock::at(begun));
    let driven = drive_by(Memory::default(), clock.clone());
    driven.began();
    driven.journal.kept().fails_in = Some(0);
    clock.jump_wall(-3_600_000);
    driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    driven.began();
    // This process has measured the time all along.
    let found = clock_entries(&driven.end());
    let found: Vec<&str> = found.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(found, ["boot 0", "boot 0", "jump -3600000"]);
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

/// A stop of everything that cannot be written cuts whoever lives, since the ledger failed, and is decided on before anything
/// begins again: a ledger that comes back does not bring the agents back (G1, G2).
#[test]
fn g1_g2_a_stop_of_everything_outlasts_a_ledger_that_cannot_be_written() {
    let driven = drive(Memory::default());
    assert_eq!(driven.began(), 1);
    driven.agents();
    {
        let mut kept = driven.journal.kept();
        (kept.fails_in, kept.leaves, kept.stays_shut) = (Some(0), Some(Left::Nothing), 2);
    }
    let by = Name::new("ada").unwrap();
    let stop = Event::StopAllRequested { by: by.clone(), reason: "they run wild".to_owned() };
    assert!(matches!(driven.handle.decide(stop.into()), Err(SubmitError::Ledger(_))));
    driven.next(|told| matches!(told, Told::Stopped).then_some(()));
    assert_eq!(driven.began(), 2);
    // What the new epoch is told to do: to prove dead whoever lived, and to make nobody ready.
    let run = RunRequest {
        run: RunId::from_bits(8),
        pipeline: three().digest(),
        inputs: BTreeMap::new(),
        env: BTreeMap::new(),
        requester: by,
        grant: None,
        root: "/".to_owned(),
        idempotency_key: None,
        lineage: None,
    };
    let asked = Input { definition: Some(three()), ..Event::RunRequested(Box::new(run)).into() };
    let answer = driven.handle.decide(asked).unwrap().record.decision.answer.clone();
    assert!(matches!(&answer, Answer::Refused(refusal) if refusal.code() == "EP0650"), "{answer:?}");
    let told: Vec<Told> = driven.told.try_iter().collect();
    assert!(!told.iter().any(|told| matches!(told, Told::Do(_, Effect::Prepare(_)))), "{told:?}");
    let journal = driven.end();
    let facts = |entry: &Entry| eparch_governor::Record::from_bytes(&entry.body).unwrap().decision.facts;
    let all: Vec<_> = journal.kept().entries.iter().flat_map(facts).collect();
    let stops = all.iter().filter(|fact| matches!(fact, eparch_governor::Fact::AllStopped { .. })).count();
    assert_eq!(stops, 1);
}
