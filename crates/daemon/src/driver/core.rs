//! One turn of the loop, without threads and without a clock: what the simulator drives, too.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eparch_domain::{Digest, Moment, Name};
use eparch_governor::{Effect, Event, Governor, RECORD_FORMAT, Record, RecordError, RestoreError, Snapshot};
use eparch_ledger::{Append, EffectRef, Entry, NewDocument, NewEntry};
use eparch_pipeline::Pipeline;
use eparch_policy::PolicySet;

use super::due::Due;
use super::keepable::{effects_due, keepable};
use crate::journal::{Journal, JournalError};

/// The version of the engine that decides; recorded with every decision. Only the same one is expected to decide the same
/// again (G10): the number after the plus rises with each change in what is decided between two releases of the program.
pub const ENGINE: &str = concat!(env!("CARGO_PKG_VERSION"), "+4");

/// The kind under which definitions are kept.
const DEFINITION: &str = "pipeline";

/// The kind under which policies are kept.
const POLICY_SET: &str = "policies";

/// Entries read at once during recovery.
const RECOVERY_PAGE: usize = 4_096;

/// One thing to decide on.
#[derive(Debug, Clone)]
pub struct Input {
    /// What happened.
    pub event: Event,
    /// The definition it speaks of; kept in the ledger when the decision names it.
    pub definition: Option<Arc<Pipeline>>,
    /// The policies it offers; kept in the ledger when they come into force, or wait for another person.
    pub policies: Option<Arc<PolicySet>>,
    /// Effects whose results it reports.
    pub acknowledges: Vec<EffectRef>,
}

impl From<Event> for Input {
    fn from(event: Event) -> Input {
        Input { event, definition: None, policies: None, acknowledges: Vec::new() }
    }
}

/// One decision that is durable.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its place in the ledger.
    pub seq: u64,
    /// What was decided.
    pub record: Arc<Record>,
}

impl Done {
    /// The effects to perform, each with the name its result acknowledges, if it has one.
    pub fn effects(&self) -> impl Iterator<Item = (Option<EffectRef>, &Effect)> {
        let mut next = 0u16;
        self.record.decision.effects.iter().map(move |effect| {
            let at = effect.has_result().then(|| {
                let at = EffectRef { seq: self.seq, idx: next };
                next += 1;
                at
            });
            (at, effect)
        })
    }
}

/// One decision that is not written yet.
#[derive(Debug)]
pub struct Decided {
    /// What it is once it is.
    done: Done,
    entry: NewEntry,
}

/// The record of one input could not have been written or read back, and nobody could ever hold the home again.
#[derive(Debug, thiserror::Error)]
#[error("its record could not be kept: {why}")]
pub struct Unreadable {
    /// Which input, from 0.
    pub input: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The journal failed. The core counts no more: it is thrown away, and another one recovers.
    #[error("{problem}")]
    Journal {
        /// How.
        problem: JournalError,
        /// What was to be written. Whether it was may be open: the journal can be asked once it is open again.
        attempted: Vec<Done>,
    },
    /// The core stands where it stood before: without that input the others may be handed in again.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Why a home's state could not be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The journal cannot be read.
    #[error("cannot read the journal")]
    Journal(#[source] JournalError),
    /// An entry is not a record.
    #[error("entry {seq} of the journal is not a record of this version")]
    Record {
        /// Which.
        seq: u64,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// A definition that a run needs is missing or unreadable.
    #[error("the definition {digest} is missing from the journal, or unreadable")]
    Definition {
        /// Which.
        digest: Digest,
    },
}

/// The governor with its journal: what decides, and what it has written.
#[derive(Debug)]
pub struct Core<J> {
    journal: J,
    tenant: Name,
    epoch: u64,
    governor: Governor,
    seq: u64,
    last: Moment,
    /// Definitions this core has seen kept: asking for the same pipeline again does not write it out again.
    kept: BTreeSet<Digest>,
    due: Due,
    /// The entry of the last snapshot; 0 when there is none.
    saved: u64,
    /// Why the snapshot that there was could not be used.
    unused_snapshot: Option<String>,
    /// Policies that were at hand from the beginning.
    policies: Option<Arc<PolicySet>>,
}

/// Definitions remembered as kept; forgetting one costs writing it out once more.
const KEPT: usize = 1_024;

impl<J: Journal> Core<J> {
    /// Rebuilds the state of `tenant`: the last snapshot that can be used, and the facts recorded after it.
    pub fn recover(journal: J, tenant: Name, epoch: u64) -> Result<Core<J>, RecoverError> {
        Core::recover_with(journal, tenant, epoch, None)
    }

    /// [`Core::recover`] with policies at hand, which are most likely those in force: reading them again takes longer than
    /// everything else.
    pub fn recover_with(
        journal: J,
        tenant: Name,
        epoch: u64,
        policies: Option<Arc<PolicySet>>,
    ) -> Result<Core<J>, RecoverError> {
        let (governor, last, kept) = (Governor::new(), Moment::default(), BTreeSet::new());
        let mut core = Core {
            journal,
            tenant,
            epoch,
            governor,
            seq: 0,
            last,
            kept,
            due: Due::default(),
            saved: 0,
            unused_snapshot: None,
            policies,
        };
        core.load()?;
        Ok(core)
    }

    /// Becomes what the journal says, from nothing.
    fn load(&mut self) -> Result<(), RecoverError> {
        (self.governor, self.seq, self.last) = (Governor::new(), 0, Moment::default());
        self.restore_snapshot()?;
        loop {
            let page = self
                .journal
                .entries(&self.tenant, self.seq + 1, RECOVERY_PAGE)
                .map_err(RecoverError::Journal)?;
            if page.is_empty() {
                return self.learn_policies();
            }
            for entry in page {
                let record = Record::from_bytes(&entry.body)
                    .map_err(|source| RecoverError::Record { seq: entry.seq, source })?;
                for digest in record.definitions() {
                    self.learn(digest)?;
                }
                for fact in &record.decision.facts {
                    self.governor.apply(fact, record.at);
                }
                self.seq = entry.seq;
                self.last = record.at;
            }
        }
    }

    /// A snapshot that cannot be used is as good as none, only slower: everything is in the journal. Whoever looks after
    /// the home can find out that it is so.
    fn restore_snapshot(&mut self) -> Result<(), RecoverError> {
        let Some(saved) = self.journal.snapshot(&self.tenant).map_err(RecoverError::Journal)? else {
            return Ok(());
        };
        let saved_state = match SavedState::from_bytes(&saved.body) {
            Ok(saved_state) => saved_state,
            Err(problem) => return self.do_without_snapshot(saved.seq, &problem),
        };
        for digest in saved_state.snapshot.definitions() {
            self.learn(digest)?;
        }
        if let Err(problem) = self.governor.restore(saved_state.snapshot) {
            return self.do_without_snapshot(saved.seq, &problem);
        }
        self.seq = saved.seq;
        self.saved = saved.seq;
        self.last = saved_state.at;
        Ok(())
    }

    /// Has the policies in force at hand, and those that wait for another person. Those of another version cannot be read by this
    /// one: nothing is allowed until others are offered (G4).
    fn learn_policies(&mut self) -> Result<(), RecoverError> {
        let waiting = self.governor.policies_waiting().map(|(proposed, _)| proposed.policies);
        for digest in self.governor.policy().into_iter().chain(waiting) {
            if let Some(known) = self.policies.as_ref().filter(|known| known.digest() == digest) {
                self.governor.learn_policies(known.clone());
                continue;
            }
            let found = self.journal.document(&self.tenant, &digest).map_err(RecoverError::Journal)?;
            if let Some(policies) = found.and_then(|found| PolicySet::from_bytes(&found.bytes).ok()) {
                self.governor.learn_policies(Arc::new(policies));
            }
        }
        Ok(())
    }

    fn do_without_snapshot(&mut self, seq: u64, problem: &RestoreError) -> Result<(), RecoverError> {
        self.unused_snapshot = Some(format!("the snapshot of entry {seq} is not used: {problem}"));
        Ok(())
    }

    fn learn(&mut self, digest: Digest) -> Result<(), RecoverError> {
        if self.governor.knows(&digest) {
            return Ok(());
        }
        let found = self.journal.document(&self.tenant, &digest).map_err(RecoverError::Journal)?;
        let pipeline = found.and_then(|document| Pipeline::from_bytes(&document.bytes).ok());
        let pipeline = pipeline.ok_or(RecoverError::Definition { digest })?;
        self.governor.learn_as(digest, Arc::new(pipeline));
        Ok(())
    }

    /// Decides on everything waiting and writes it down in one commit. When that fails, nothing was decided.
    pub fn turn(&mut self, inputs: &[Input], now: Moment) -> Result<Vec<Done>, TurnError> {
        let decided = match self.decide(inputs, now) {
            Ok(decided) => decided,
            Err(unreadable) => {
                self.reload().map_err(|problem| TurnError::Journal { problem, attempted: Vec::new() })?;
                return Err(unreadable.into());
            }
        };
        let Some((done, request)) = self.request(decided) else { return Ok(Vec::new()) };
        match self.journal.append(request) {
            Ok(_) => Ok(done),
            Err(problem) => Err(TurnError::Journal { problem, attempted: done }),
        }
    }

    /// Decides, on what was decided before, be it written or not: what is to be written next. When that cannot be, nor can any of
    /// this: the core is thrown away, and another one recovers.
    ///
    /// # Errors
    ///
    /// [`Unreadable`], and then [`Core::reload`] comes before anything else: the governor has moved on with what must not be
    /// written.
    pub fn decide<'i>(
        &mut self,
        inputs: impl IntoIterator<Item = &'i Input>,
        now: Moment,
    ) -> Result<Vec<Decided>, Unreadable> {
        let now = Moment { ledger: now.ledger.max(self.last.ledger), wall: now.wall };
        let (mut decided, mut steps) = (Vec::new(), Vec::new());
        for (at, (input, seq)) in inputs.into_iter().zip(self.seq + 1..).enumerate() {
            let record = self.rule(input, now);
            let acknowledges = self.due.acknowledge(input, &mut steps);
            let entry = effects_due(&record.decision.effects)
                .map(|due| self.entry(input, &record, due, acknowledges))
                .and_then(|entry| keepable(&entry.body).map(|()| entry));
            let entry = match entry {
                Ok(entry) => entry,
                Err(why) => {
                    self.due.undo(steps);
                    return Err(Unreadable { input: at, why });
                }
            };
            self.due.ask(seq, entry.effects_due, &mut steps);
            self.remember_kept(&record);
            decided.push(Decided { done: Done { seq, record: Arc::new(record) }, entry });
        }
        if let Some(last) = decided.last() {
            (self.seq, self.last) = (last.done.seq, now);
        }
        Ok(decided)
    }

    /// Becomes what the journal says, after everything decided before is written.
    pub fn reload(&mut self) -> Result<(), JournalError> {
        self.kept.clear();
        self.load().map_err(|problem| JournalError::of(&problem))
    }

    /// What the journal is asked to write of what was decided in one go or several, if that is anything.
    pub fn request(&self, decided: Vec<Decided>) -> Option<(Vec<Done>, Append)> {
        let after = decided.first()?.done.seq - 1;
        let (done, entries) = decided.into_iter().map(|decided| (decided.done, decided.entry)).unzip();
        Some((done, Append { tenant: self.tenant.clone(), after, entries }))
    }

    fn rule(&mut self, input: &Input, now: Moment) -> Record {
        if let (Event::RunRequested(request), Some(definition)) = (&input.event, &input.definition) {
            self.governor.learn_as(request.pipeline, definition.clone());
        }
        if let (Event::DiagnosticOffered { pipeline }, Some(definition)) = (&input.event, &input.definition) {
            self.governor.learn_as(*pipeline, definition.clone());
        }
        if let Some(policies) = &input.policies {
            self.governor.learn_policies(policies.clone());
        }
        let policy = self.governor.policy();
        let decision = self.governor.handle(&input.event, now);
        Record {
            v: RECORD_FORMAT,
            engine: ENGINE.to_owned(),
            epoch: self.epoch,
            at: now,
            policy,
            event: input.event.clone(),
            decision,
        }
    }

    fn entry(&self, input: &Input, record: &Record, due: u16, acknowledges: Vec<EffectRef>) -> NewEntry {
        let definition = |digest: Digest| {
            let bytes = input.definition.as_ref()?.to_bytes();
            Some(NewDocument { digest, kind: DEFINITION.to_owned(), bytes })
        };
        let policies = record.policies().zip(input.policies.as_ref()).map(|(digest, policies)| {
            let bytes = policies.to_bytes().to_vec();
            NewDocument { digest, kind: POLICY_SET.to_owned(), bytes }
        });
        NewEntry {
            body: record.to_bytes(),
            effects_due: due,
            acknowledges,
            documents: record
                .definitions()
                .filter(|digest| !self.kept.contains(digest))
                .filter_map(definition)
                .chain(policies)
                .collect(),
        }
    }

    fn remember_kept(&mut self, record: &Record) {
        if self.kept.len() > KEPT {
            self.kept.clear();
        }
        self.kept.extend(record.definitions());
    }

    /// The event that begins an epoch. It acknowledges every effect still due: what is to be done about them is decided
    /// anew.
    pub fn boot(&self, agents_at_once: u32) -> Result<Input, JournalError> {
        let version = ENGINE.to_owned();
        let event = Event::Booted { epoch: self.epoch, version, agents_at_once, clock_moved: None };
        Ok(Input { acknowledges: self.journal.due(&self.tenant)?, ..event.into() })
    }

    /// The governor, to look at.
    pub fn governor(&self) -> &Governor {
        &self.governor
    }

    /// Whose it is.
    pub fn tenant(&self) -> &Name {
        &self.tenant
    }

    /// The journal.
    pub fn journal(&self) -> &J {
        &self.journal
    }

    /// The place of the last entry that was decided on; 0 when there is none.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The entry of the snapshot it was rebuilt from; 0 when there was none.
    pub fn saved(&self) -> u64 {
        self.saved
    }

    /// Why recovery read the whole journal although there was a snapshot.
    pub fn unused_snapshot(&self) -> Option<&str> {
        self.unused_snapshot.as_deref()
    }

    /// The moment of that entry.
    pub fn last(&self) -> Moment {
        self.last
    }

    /// The state now, to be saved under [`Core::seq`] once that is written: a copy of pointers.
    pub fn state(&self) -> SavedState {
        SavedState { at: self.last, snapshot: self.governor.snapshot(), size: Arc::default() }
    }

    /// Gives the journal back.
    pub fn into_journal(self) -> J {
        self.journal
    }
}

/// Whether the journal has what a turn was to write: all of it, byte for byte, since it takes all or none.
pub(super) fn was_written(
    journal: &impl Journal,
    tenant: &Name,
    attempted: &[Done],
) -> Result<bool, JournalError> {
    let mut left = attempted;
    while let Some(first) = left.first() {
        let page = journal.entries(tenant, first.seq, left.len())?;
        let same =
            |(entry, done): (&Entry, &Done)| entry.seq == done.seq && entry.body == done.record.to_bytes();
        if page.is_empty() || !page.iter().zip(left).all(same) {
            return Ok(false);
        }
        left = left.get(page.len()..).unwrap_or_default();
    }
    Ok(!attempted.is_empty())
}

/// Counts what goes by.
struct Counted<'w> {
    to: &'w mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A state is put out in pieces of so many bytes.
const PIECE: usize = 1 << 16;

/// A snapshot with the moment it is of.
#[derive(Debug, Clone)]
pub struct SavedState {
    at: Moment,
    snapshot: Snapshot,
    size: Arc<AtomicU64>,
}

impl SavedState {
    /// The same; once it is written out, whatever becomes of that, it is said there how many bytes it has.
    #[must_use]
    pub fn measured_into(self, size: Arc<AtomicU64>) -> SavedState {
        SavedState { size, ..self }
    }

    /// Writes what is to be saved: a line with the moment, then the snapshot. It is handed on in pieces of some size.
    ///
    /// # Errors
    ///
    /// What it is written into says.
    pub fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut to = BufWriter::with_capacity(PIECE, Counted { to, bytes: 0 });
        serde_json::to_writer(&mut to, &self.at)?;
        to.write_all(b"\n")?;
        self.snapshot.write_to(&mut to)?;
        to.flush()?;
        self.size.store(to.get_ref().bytes, Ordering::Relaxed);
        Ok(())
    }

    /// The same as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("memory takes everything");
        bytes
    }

    /// Reads what [`SavedState::write_to`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<SavedState, RestoreError> {
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let at = serde_json::from_slice(&bytes[..line]).map_err(RestoreError::Unreadable)?;
        let snapshot = Snapshot::from_bytes(bytes.get(line + 1..).unwrap_or_default())?;
        Ok(SavedState { at, snapshot, size: Arc::default() })
    }

    /// What the governor remembered.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}
