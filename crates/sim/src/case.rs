//! A history to be played: pipelines and steps. Playing one checks everything that is checked, after every step.

use std::collections::BTreeMap;
use std::sync::Arc;

use eparch_daemon::driver::{Core, Done, Input};
use eparch_daemon::journal::Journal;
use eparch_domain::{AgentId, Digest, Moment, Name};
use eparch_governor::{Event, Governor, Record};
use eparch_ledger::EffectRef;
use eparch_pipeline::Pipeline;

use crate::invariants;
use crate::journal::{Disk, SimJournal};
use crate::model::Model;
use crate::policies::Rules;
use crate::score::Score;
use crate::seen::Seen;

/// Something that happens, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When.
    pub at: Moment,
    /// What.
    pub what: What,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Events are decided on in one go, and written in two commits when they are more than one.
    Events(Vec<Event>),
    /// Events are decided on, and the commit of the first half of them fails. Whether it was written all the same is told to
    /// nobody; of the other half nothing is.
    LostCommit {
        /// The events.
        events: Vec<Event>,
        /// Whether that half was written.
        written: bool,
    },
    /// The holder dies between two commits.
    Crash,
}

/// Pipelines and what happens to them.
#[derive(Debug, Clone)]
pub struct Case {
    /// The pipelines.
    pub scores: Vec<Score>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// What did not hold, and after which step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The number of the step, from 0.
    pub step: usize,
    /// What did not hold.
    pub why: String,
}

impl Case {
    /// Plays the whole case.
    ///
    /// # Errors
    ///
    /// The first thing that does not hold.
    pub fn play(&self) -> Result<(), Broken> {
        let mut player = Player::new(&self.scores);
        for (at, step) in self.steps.iter().enumerate() {
            player.step(step).map_err(|why| Broken { step: at, why })?;
        }
        Ok(())
    }
}

/// The subject of an answer to whatever its gate shows when it is given: played again with a smaller pipeline, that is
/// another digest, and still the right one.
pub(crate) fn shown() -> Digest {
    Digest::of(b"what the gate shows")
}

/// A snapshot is saved after so many entries; a prime, so that it falls on every kind of event.
const SNAPSHOT_EVERY: usize = 13;

/// Plays steps through the daemon's own driver core, on a journal that fails when a step says so, and checks what holds
/// after each.
#[derive(Debug)]
pub struct Player {
    core: Option<Core<SimJournal>>,
    journal: SimJournal,
    tenant: Name,
    pipelines: BTreeMap<Digest, Arc<Pipeline>>,
    /// Effects whose results have not been reported; a report that comes after a boot names those of before it, as the
    /// daemon's shell does.
    due: BTreeMap<AgentId, Vec<EffectRef>>,
    /// A governor that only ever applies recorded facts; a copy of it decides again on what led to them.
    replayed: Governor,
    seen: Seen,
    model: Model,
    /// The digest of every entry so far: two plays of one seed have the same (G10).
    trace: Digest,
}

impl Player {
    /// A player in an empty home.
    pub fn new(scores: &[Score]) -> Player {
        let looks = Score::looks();
        let known = scores.iter().chain([&looks]);
        let pipelines: BTreeMap<_, _> =
            known.map(|score| (score.pipeline.digest(), score.pipeline.clone())).collect();
        let mut replayed = Governor::new();
        for pipeline in pipelines.values() {
            replayed.learn(pipeline.clone());
        }
        let (journal, tenant) = (SimJournal::default(), Name::new("sim").expect("a word is a name"));
        let mut player = Player {
            core: None,
            journal,
            tenant,
            pipelines,
            due: BTreeMap::new(),
            replayed,
            seen: Seen::default(),
            model: Model::new(scores),
            trace: Digest::of(b"an empty home"),
        };
        player.core = Some(player.recovered().expect("nothing is read back from an empty journal"));
        player
    }

    /// A core of the next epoch, on what is durable.
    fn recovered(&self) -> Result<Core<SimJournal>, String> {
        let epoch = self.journal.reopen().map_err(|error| error.to_string())?;
        Core::recover(self.journal.clone(), self.tenant.clone(), epoch).map_err(|error| error.to_string())
    }

    /// Plays one step; the decisions that are known to be durable.
    ///
    /// # Errors
    ///
    /// What does not hold after it.
    pub fn step(&mut self, step: &Step) -> Result<Vec<Record>, String> {
        let mut core = self.core.take().expect("a player that has failed is not played on");
        let before = self.journal.len();
        let mut told = Vec::new();
        match &step.what {
            What::Events(events) => {
                let inputs = self.inputs(&core, events)?;
                let done = self
                    .turn(&mut core, &inputs, step.at)
                    .map_err(|error| format!("a good disk failed: {error}"))?;
                for done in &done {
                    let reported = done.effects().filter_map(|(at, effect)| Some((effect.agent()?, at?)));
                    for (agent, at) in reported {
                        self.due.entry(agent).or_default().push(at);
                    }
                    told.push(done.record.as_ref().clone());
                }
            }
            What::Crash => core = self.recovered()?,
            What::LostCommit { events, written } => {
                let inputs = self.inputs(&core, events)?;
                self.journal.break_with(if *written { Disk::WritesAndFails } else { Disk::Fails });
                if self.turn(&mut core, &inputs, step.at).is_ok() {
                    return Err("a bad disk did not fail".to_owned());
                }
                core = self.recovered()?;
            }
        }
        let durable = self.records_after(before)?;
        if matches!(step.what, What::Events(_)) && durable != told {
            return Err("what was written is not what was decided".to_owned());
        }
        for (at, record) in durable.iter().enumerate() {
            // Only after the last entry does the live governor stand where the facts have led to.
            self.check(record, &core, at + 1 == durable.len())?;
        }
        if !self.replayed.agrees_with(core.governor()) {
            return Err("the recorded facts make another state".to_owned());
        }
        if self.journal.len() / SNAPSHOT_EVERY > before / SNAPSHOT_EVERY {
            self.save(&core)?;
        }
        self.core = Some(core);
        Ok(told)
    }

    /// As the driver does: what comes second is decided on before what came first is written, and given to the disk after it.
    fn turn(
        &self,
        core: &mut Core<SimJournal>,
        inputs: &[Input],
        at: Moment,
    ) -> Result<Vec<Done>, Box<dyn std::error::Error>> {
        let (first, second) = inputs.split_at(inputs.len().div_ceil(2));
        let first = core.decide(first, at)?;
        let second = core.decide(second, at)?;
        let mut all = Vec::new();
        for (done, request) in [first, second].into_iter().filter_map(|decided| core.request(decided)) {
            self.journal.append(request)?;
            all.extend(done);
        }
        Ok(all)
    }

    /// What the driver hands in: with an event its definition, and the effects it reports on.
    fn inputs(&mut self, core: &Core<SimJournal>, events: &[Event]) -> Result<Vec<Input>, String> {
        let mut inputs = Vec::with_capacity(events.len());
        for event in events {
            let mut input = Input::from(self.as_it_happens(event));
            match event {
                Event::Booted { agents_at_once, .. } => {
                    input.acknowledges =
                        core.boot(*agents_at_once).map_err(|error| error.to_string())?.acknowledges;
                }
                Event::RunRequested(request) => {
                    input.definition = self.pipelines.get(&request.pipeline).cloned()
                }
                Event::DiagnosticOffered { pipeline } => {
                    input.definition = self.pipelines.get(pipeline).cloned()
                }
                Event::PoliciesOffered { policies, .. } => {
                    input.policies = Rules::of(*policies).map(Rules::set);
                }
                Event::AgentAdvanced { agent, .. } | Event::TreeProvenDead { agent, .. } => {
                    input.acknowledges = self.due.remove(agent).unwrap_or_default();
                }
                _ => {}
            }
            inputs.push(input);
        }
        Ok(inputs)
    }

    /// The event with what only the moment says.
    fn as_it_happens(&self, event: &Event) -> Event {
        let mut event = event.clone();
        if let Event::GateAnswered(answer) = &mut event
            && answer.subject == shown()
            && let Some(gate) = self.seen.gates.get(&answer.gate)
        {
            answer.subject = gate.opened.subject;
        }
        event
    }

    fn records_after(&self, entries: usize) -> Result<Vec<Record>, String> {
        let mut records = Vec::new();
        loop {
            let from = entries as u64 + records.len() as u64 + 1;
            let page =
                self.journal.entries(&self.tenant, from, usize::MAX).map_err(|error| error.to_string())?;
            if page.is_empty() {
                return Ok(records);
            }
            for entry in page {
                records.push(Record::from_bytes(&entry.body).map_err(|error| error.to_string())?);
            }
        }
    }

    /// Saves a snapshot, and sees whether it brings the same state back.
    fn save(&self, core: &Core<SimJournal>) -> Result<(), String> {
        self.journal
            .save_snapshot(&self.tenant, core.seq(), core.state())
            .map_err(|error| error.to_string())?;
        self.journal.hide_policies(true);
        let again = Core::recover(self.journal.clone(), self.tenant.clone(), 0);
        self.journal.hide_policies(false);
        let again = again.map_err(|error| error.to_string())?;
        if again.governor().agrees_with(core.governor()) {
            Ok(())
        } else {
            Err("the snapshot brings back another state".to_owned())
        }
    }

    fn check(&mut self, record: &Record, core: &Core<SimJournal>, last: bool) -> Result<(), String> {
        self.decide_again(record)?;
        for fact in &record.decision.facts {
            self.replayed.apply(fact, record.at);
        }
        self.trace = Digest::of_parts(&[self.trace.as_bytes(), &record.to_bytes()]);
        let governor = if last { core.governor() } else { &self.replayed };
        invariants::check(&mut self.seen, &record.event, &record.decision, governor, record.at)?;
        self.model.step(&record.event, record.at, &record.decision).map_err(|why| format!("model: {why}"))?;
        self.model.compare(&self.seen).map_err(|why| format!("model: {why}"))?;
        self.model.compare_offer(governor).map_err(|why| format!("model: {why}"))?;
        self.model.compare_emergencies(governor).map_err(|why| format!("model: {why}"))?;
        self.model.compare_standings(governor).map_err(|why| format!("model: {why}"))
    }

    /// What was recorded leads to the same decision, whoever decides on it again, with the same at hand (G10).
    fn decide_again(&mut self, record: &Record) -> Result<(), String> {
        if let Event::PoliciesOffered { policies, .. } = &record.event
            && let Some(rules) = Rules::of(*policies)
        {
            self.replayed.learn_policies(rules.set());
        }
        let decided = self.replayed.clone().handle(&record.event, record.at);
        if decided == record.decision {
            Ok(())
        } else {
            Err("decided again it is decided otherwise".to_owned())
        }
    }

    /// An effect whose result nobody has reported, if there is one: what it is, and where it was asked for.
    pub(crate) fn left_undone(&self) -> Result<Option<String>, String> {
        let due = self.journal.due(&self.tenant).map_err(|error| error.to_string())?;
        let Some(first) = due.first() else { return Ok(None) };
        let entries = usize::try_from(first.seq - 1).expect("a world has few entries");
        let record = Arc::new(self.records_after(entries)?.swap_remove(0));
        let done = Done { seq: first.seq, record };
        let asked = done.effects().find(|(at, _)| *at == Some(*first));
        let (_, effect) = asked.expect("what is due was asked for");
        Ok(Some(format!("{effect:?} of entry {}", first.seq)))
    }

    /// The governor, to look at.
    pub fn governor(&self) -> &Governor {
        self.core.as_ref().expect("a player that has failed is not played on").governor()
    }

    /// What the facts say so far.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The digest of everything that was recorded.
    pub fn trace(&self) -> Digest {
        self.trace
    }
}
