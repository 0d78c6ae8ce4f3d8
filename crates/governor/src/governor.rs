//! The governor: an event and the time go in, facts and effects come out. It routes; the rules stand in the modules it
//! routes to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use eparch_domain::{AgentId, Digest, GateId, Moment, RunId};
use eparch_pipeline::{Pipeline, StageIx};

use crate::decision::{Answer, Decision, Refusal};
use crate::effect::Effect;
use crate::event::Event;
use crate::fact::Fact;
use crate::graph::Graph;
use crate::state::{Attempt, Doing, Run, StageState, State};
use crate::timers::{Deadline, Timers};
use crate::{agent, ending, gate, operators, request, run, waking};

/// Timers that fire in one event at most, so that a decision stays small after a long sleep; the next event takes the
/// rest.
const TIMERS_PER_TURN: usize = 256;

/// Definitions kept at hand although no live run uses them.
const IDLE_DEFINITIONS: usize = 256;

/// The state machine of one tenant. Touches nothing: no clock, no dice, no disk, no network.
#[derive(Debug, Clone, Default)]
pub struct Governor {
    pub(crate) state: State,
    /// Definitions at hand, by digest. A cache of documents, not state: it never changes a decision.
    pub(crate) definitions: BTreeMap<Digest, Arc<Graph>>,
    // The indexes below follow from the state; restoring a snapshot builds them again.
    pub(crate) timers: Timers,
    pub(crate) agents: BTreeMap<AgentId, (RunId, StageIx)>,
    pub(crate) gates: BTreeMap<GateId, (RunId, StageIx)>,
    /// Stages that wait for a free agent, first come first served.
    pub(crate) queue: BTreeMap<u64, (RunId, StageIx)>,
}

impl Governor {
    /// A governor that knows nothing yet.
    pub fn new() -> Governor {
        Governor::default()
    }

    /// Has a definition at hand before an event or a recorded fact that names it. Content-addressed: doing it twice, or
    /// too early, changes nothing.
    pub fn learn(&mut self, pipeline: Arc<Pipeline>) -> Digest {
        let digest = pipeline.digest();
        self.learn_as(digest, pipeline);
        digest
    }

    /// [`Governor::learn`] for a caller that knows the digest.
    pub fn learn_as(&mut self, digest: Digest, pipeline: Arc<Pipeline>) {
        if self.definitions.len() > IDLE_DEFINITIONS {
            let in_use: std::collections::BTreeSet<Digest> =
                self.state.runs.values().map(|run| run.spawned.pipeline).collect();
            if self.definitions.len() > in_use.len() + IDLE_DEFINITIONS {
                self.definitions.retain(|known, _| in_use.contains(known));
            }
        }
        self.definitions.entry(digest).or_insert_with(|| Arc::new(Graph::of(pipeline)));
    }

    /// Whether a definition is at hand.
    pub fn knows(&self, pipeline: &Digest) -> bool {
        self.definitions.contains_key(pipeline)
    }

    /// Takes in one event and returns everything that follows from it. Cannot fail: nonsense is an outcome too.
    pub fn handle(&mut self, event: &Event, now: Moment) -> Decision {
        let mut turn = Turn { governor: self, now, decision: Decision::default(), over: VecDeque::new() };
        turn.decide(event);
        turn.decision
    }

    /// Makes one recorded fact so. The only way state changes; recovery calls it with what the ledger holds.
    pub fn apply(&mut self, fact: &Fact, now: Moment) {
        crate::apply::apply(self, fact, now);
    }

    /// The earliest moment the governor wants to be woken, and why.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.timers.first().map(|(at, timer)| Deadline { at, why: timer.why() })
    }

    /// How many runs are alive.
    pub fn live_runs(&self) -> usize {
        self.state.runs.len()
    }

    /// The ids of the runs that are alive.
    pub fn live_run_ids(&self) -> impl Iterator<Item = RunId> + '_ {
        self.state.runs.keys().copied()
    }

    /// The ids of the agents that are alive, with their runs.
    pub fn live_agents(&self) -> impl Iterator<Item = (AgentId, RunId)> + '_ {
        self.agents.iter().map(|(agent, (run, _))| (*agent, *run))
    }

    /// Everybody who may act.
    pub fn operators(&self) -> impl Iterator<Item = &crate::operator::Operator> {
        self.state.operators.values()
    }

    /// A gate that waits.
    pub fn gate(&self, gate: GateId) -> Option<&crate::fact::GateOpened> {
        let (run, ix) = self.gates.get(&gate)?;
        match &self.state.runs.get(run)?.stage(*ix).doing {
            Doing::Gate(gate) => Some(&gate.opened),
            _ => None,
        }
    }

    pub(crate) fn run(&self, run: RunId) -> Option<&Run> {
        self.state.runs.get(&run).map(Arc::as_ref)
    }

    pub(crate) fn stage_mut(&mut self, run: RunId, ix: StageIx) -> Option<&mut StageState> {
        let run = self.state.runs.get_mut(&run)?;
        Arc::make_mut(run).stages.get_mut(ix.at()).map(Arc::make_mut)
    }

    pub(crate) fn attempt(&self, agent: AgentId) -> Option<(RunId, StageIx, &Attempt)> {
        let (run, ix) = *self.agents.get(&agent)?;
        match &self.run(run)?.stage(ix).doing {
            Doing::Attempt(attempt) => Some((run, ix, attempt)),
            _ => None,
        }
    }

    pub(crate) fn attempt_mut(&mut self, agent: AgentId) -> Option<&mut Attempt> {
        let (run, ix) = *self.agents.get(&agent)?;
        match &mut self.stage_mut(run, ix)?.doing {
            Doing::Attempt(attempt) => Some(attempt),
            _ => None,
        }
    }
}

/// One event being decided on: every fact is applied as it is found, so later rules see it.
pub(crate) struct Turn<'g> {
    pub(crate) governor: &'g mut Governor,
    pub(crate) now: Moment,
    pub(crate) decision: Decision,
    /// Stages that ended in this turn and whose neighbours have not been told yet.
    pub(crate) over: VecDeque<(RunId, StageIx)>,
}

impl Turn<'_> {
    pub(crate) fn record(&mut self, fact: Fact) {
        self.governor.apply(&fact, self.now);
        self.decision.facts.push(fact);
    }

    pub(crate) fn ask(&mut self, effect: Effect) {
        self.decision.effects.push(effect);
    }

    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.decision.answer = Answer::Refused(refusal);
    }

    fn decide(&mut self, event: &Event) {
        // Whatever was in flight ended with its holder, before any deadline that passed since: nothing may begin under a
        // due timer only to be cut off by the boot that follows.
        if let Event::Booted { epoch, agents_at_once, .. } = event {
            waking::booted(self, *epoch, *agents_at_once);
        }
        // Time has passed up to `now`: what was due by then came before the event.
        for _ in 0..TIMERS_PER_TURN {
            match self.governor.timers.first() {
                Some((at, timer)) if at <= self.now.ledger => waking::timer_fired(self, timer),
                _ => break,
            }
            self.settle();
        }
        match event {
            Event::Booted { .. } | Event::ClockTurned => {}
            // Durations are measured in ledger time, which did not jump; the entry itself is the record.
            Event::ClockJumped { .. } => {}
            Event::OperatorAdded { by, operator } => operators::add(self, by.as_ref(), operator),
            Event::OperatorRotated { by, name, key } => operators::rotate(self, by, name, key),
            Event::OperatorRemoved { by, name } => operators::remove(self, by, name),
            Event::RunRequested(request) => request::requested(self, request),
            Event::StopRequested { run, by, reason } => ending::stop(self, *run, by, reason),
            Event::AgentAdvanced { agent, outcomes } => agent::advanced(self, *agent, outcomes),
            Event::AgentSignalled { agent, signal } => agent::signalled(self, *agent, signal),
            Event::TreeProvenDead { agent, .. } => agent::proven_dead(self, *agent),
            Event::GateAnswered(answer) => gate::answered(self, answer),
        }
        self.settle();
    }

    /// Tells the neighbours of every stage that ended, until nothing more ends, and gives free agents to whoever waits.
    fn settle(&mut self) {
        loop {
            while let Some((run, ix)) = self.over.pop_front() {
                run::stage_over(self, run, ix);
            }
            if !run::start_next_queued(self) {
                break;
            }
        }
    }
}
