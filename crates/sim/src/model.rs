//! What should come of a run, written a second time: slowly, from the requirements, as rules applied until nothing
//! changes. It shares no code with the governor beyond the words of events.
//!
//! It does not guess what nobody can know in advance: the ids of agents and gates, the jitter of a retry, and which of
//! several stages that became ready in the same moment gets a free agent. Those it reads from the decision, and checks
//! that they are among what is allowed.

mod agent;
mod people;
mod rules;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use eparch_domain::{AgentId, Digest, GateId, LedgerTime, Moment, Name, RunId, RunStatus, StageStatus, Tier};
use eparch_governor::{Answer, Decision, Event, Fact, GateOpened, GatePurpose, Operator};
use eparch_pipeline::{Pipeline, StageIx};
use serde_json::Value;

use crate::score::Score;
use crate::seen::Seen;
use agent::Agent;

/// What the model believes.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    scores: BTreeMap<Digest, Score>,
    people: BTreeMap<Name, Operator>,
    at_once: usize,
    runs: BTreeMap<RunId, Run>,
    ended: BTreeMap<RunId, RunStatus>,
    closed: BTreeMap<GateId, bool>,
    keys: BTreeMap<String, (RunId, Digest)>,
    /// How many events there were: two stages that became ready in one of them may be served in either order.
    turn: u64,
    /// Runs that ended in this turn, with how their stages stood.
    just_ended: Vec<(RunId, Vec<StageStatus>)>,
}

#[derive(Debug, Clone)]
struct Run {
    pipeline: Arc<Pipeline>,
    score: Score,
    requester: Name,
    go: bool,
    deadline: LedgerTime,
    ending: Option<RunStatus>,
    cells: Vec<Cell>,
}

/// One stage of one run.
#[derive(Debug, Clone)]
struct Cell {
    status: StageStatus,
    doing: Doing,
    /// Lists of a parallel or condition stage that have been begun.
    begun: BTreeSet<u16>,
    /// A parallel stage that cancelled what is in it.
    given_up: bool,
    attempts: u32,
    interruptions: u32,
    until: Option<LedgerTime>,
    expired: bool,
    outputs: BTreeMap<String, Value>,
}

#[derive(Debug, Clone)]
enum Doing {
    Nothing,
    /// Since which turn.
    Queued(u64),
    Backoff(LedgerTime),
    Agent(Box<Agent>),
    Gate(Box<OpenGate>),
}

#[derive(Debug, Clone)]
struct OpenGate {
    opened: GateOpened,
    approvals: BTreeSet<Name>,
}

/// What only the decision can tell.
struct Hints {
    begun: VecDeque<(RunId, StageIx, AgentId)>,
    gates: BTreeMap<(RunId, StageIx), GateOpened>,
    retries: BTreeMap<(RunId, StageIx), LedgerTime>,
}

/// Deadlines in the order in which they are kept when they fall together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Run(RunId),
    Stage(RunId, StageIx),
    Retry(RunId, StageIx),
    Start(AgentId),
    Execute(AgentId),
    Idle(AgentId),
    Gate(GateId),
}

impl Hints {
    fn of(decision: &Decision) -> Hints {
        let mut hints = Hints { begun: VecDeque::new(), gates: BTreeMap::new(), retries: BTreeMap::new() };
        for fact in &decision.facts {
            match fact {
                Fact::AttemptBegan { run, stage, agent, .. } => hints.begun.push_back((*run, *stage, *agent)),
                Fact::GateOpened(opened) => {
                    hints.gates.insert((opened.run, opened.stage), opened.as_ref().clone());
                }
                Fact::RetryScheduled { run, stage, at } => {
                    hints.retries.insert((*run, *stage), *at);
                }
                _ => {}
            }
        }
        hints
    }
}

impl Model {
    /// A model that knows some pipelines.
    pub(crate) fn new(scores: &[Score]) -> Model {
        Model {
            scores: scores.iter().map(|score| (score.pipeline.digest(), score.clone())).collect(),
            people: BTreeMap::new(),
            at_once: 0,
            runs: BTreeMap::new(),
            ended: BTreeMap::new(),
            closed: BTreeMap::new(),
            keys: BTreeMap::new(),
            turn: 0,
            just_ended: Vec::new(),
        }
    }

    /// Takes in one event, with the decision that the governor made on it.
    ///
    /// # Errors
    ///
    /// Where the decision is not what the model expects.
    pub(crate) fn step(&mut self, event: &Event, now: Moment, decision: &Decision) -> Result<(), String> {
        let mut hints = Hints::of(decision);
        self.turn += 1;
        self.just_ended.clear();
        let now = now.ledger;
        if let Event::Booted { agents_at_once, .. } = event {
            self.at_once = usize::try_from(*agents_at_once).unwrap_or(usize::MAX);
            for agent in self.agents_mut() {
                agent.cut_off = true;
            }
        }
        // As many as the governor takes in one turn.
        for _ in 0..256 {
            let Some((_, due)) = self.due().filter(|(at, _)| *at <= now) else { break };
            self.time_came(due, now, &mut hints)?;
            self.settle(now, &mut hints)?;
        }
        let refusals = self.happened(event, now, &mut hints)?;
        self.settle(now, &mut hints)?;
        if let Some(begun) = hints.begun.front() {
            return Err(format!("{begun:?} began and should not have"));
        }
        match (&decision.answer, refusals.is_empty()) {
            (Answer::Refused(refusal), _) if refusals.contains(refusal.code()) => Ok(()),
            (Answer::Taken, true) => Ok(()),
            (Answer::Already { .. }, _) if refusals.contains("already") => Ok(()),
            (answer, _) => Err(format!("the answer is {answer:?}, expected one of {refusals:?}")),
        }
    }

    /// What an event brings; the codes of the reasons to refuse it, none when it must be taken.
    fn happened(
        &mut self,
        event: &Event,
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<BTreeSet<&'static str>, String> {
        match event {
            Event::Booted { .. } | Event::ClockTurned | Event::ClockJumped { .. } => {}
            Event::OperatorAdded { operator, .. } => {
                self.people.insert(operator.name.clone(), operator.clone());
            }
            Event::OperatorRotated { .. } | Event::OperatorRemoved { .. } => {}
            Event::RunRequested(request) => return Ok(self.requested(request, now)),
            Event::StopRequested { run, by, .. } => return Ok(self.stopped(*run, by)),
            Event::AgentAdvanced { agent, outcomes } => self.advanced(*agent, outcomes, now, hints)?,
            Event::AgentSignalled { agent, signal } => self.signalled(*agent, signal, now),
            Event::TreeProvenDead { agent, .. } => self.proven_dead(*agent, now, hints)?,
            Event::GateAnswered(answer) => return Ok(self.answered(answer, now)),
        }
        Ok(BTreeSet::new())
    }

    /// Holds the model against what the facts say.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub(crate) fn compare(&self, seen: &Seen) -> Result<(), String> {
        let ended = self.just_ended.iter().map(|(run, stages)| (*run, self.ended[run], stages.clone()));
        let live = self.runs.iter().map(|(run, live)| {
            (*run, RunStatus::Running, live.cells.iter().map(|cell| cell.status).collect::<Vec<_>>())
        });
        for (run, status, stages) in ended.chain(live) {
            let found = seen.runs.get(&run);
            if found != Some(&status) {
                return Err(format!("{run} is {found:?}, expected {status}"));
            }
            for (at, expected) in stages.into_iter().enumerate() {
                let ix = StageIx(u16::try_from(at).expect("a random pipeline is small"));
                let found = seen.stage(run, ix);
                if found != expected {
                    return Err(format!("stage s{at} of {run} is {found}, expected {expected}"));
                }
            }
        }
        let alive: BTreeSet<AgentId> = seen.alive().map(|(agent, _)| agent).collect();
        let expected: BTreeSet<AgentId> = self.agents().map(|(_, _, agent)| agent.id).collect();
        if alive != expected {
            return Err(format!("{alive:?} live, expected {expected:?}"));
        }
        let open: BTreeSet<GateId> = seen.open_gates().map(|opened| opened.gate).collect();
        let expected: BTreeSet<GateId> = self.gates().map(|(_, _, gate)| gate.opened.gate).collect();
        if open != expected {
            return Err(format!("{open:?} wait, expected {expected:?}"));
        }
        Ok(())
    }

    fn agents(&self) -> impl Iterator<Item = (RunId, StageIx, &Agent)> {
        self.cells().filter_map(|(run, ix, cell)| match &cell.doing {
            Doing::Agent(agent) => Some((run, ix, agent.as_ref())),
            _ => None,
        })
    }

    fn agents_mut(&mut self) -> impl Iterator<Item = &mut Agent> {
        let cells = self.runs.values_mut().flat_map(|run| run.cells.iter_mut());
        cells.filter_map(|cell| match &mut cell.doing {
            Doing::Agent(agent) => Some(agent.as_mut()),
            _ => None,
        })
    }

    fn gates(&self) -> impl Iterator<Item = (RunId, StageIx, &OpenGate)> {
        self.cells().filter_map(|(run, ix, cell)| match &cell.doing {
            Doing::Gate(gate) => Some((run, ix, gate.as_ref())),
            _ => None,
        })
    }

    fn cells(&self) -> impl Iterator<Item = (RunId, StageIx, &Cell)> {
        let of_run = |(id, run): (&RunId, &'_ Run)| (*id, run.cells.len());
        let places = self.runs.iter().map(of_run).flat_map(|(id, count)| (0..count).map(move |at| (id, at)));
        places.map(|(id, at)| {
            let ix = StageIx(u16::try_from(at).expect("a random pipeline is small"));
            (id, ix, &self.runs[&id].cells[at])
        })
    }

    fn cell(&mut self, run: RunId, ix: StageIx) -> &mut Cell {
        let cells = self.runs.get_mut(&run).map(|run| &mut run.cells);
        cells.and_then(|cells| cells.get_mut(ix.at())).expect("the model asks for stages of runs that live")
    }

    /// The earliest deadline.
    fn due(&self) -> Option<(LedgerTime, Due)> {
        let runs = self
            .runs
            .iter()
            .filter(|(_, run)| run.ending.is_none())
            .map(|(id, run)| (run.deadline, Due::Run(*id)));
        let stages = self.cells().flat_map(|(run, ix, cell)| {
            let stage = cell.until.map(|at| (at, Due::Stage(run, ix)));
            let other = match &cell.doing {
                Doing::Backoff(at) => Some((*at, Due::Retry(run, ix))),
                Doing::Gate(gate) => Some((gate.opened.deadline, Due::Gate(gate.opened.gate))),
                Doing::Agent(agent) => agent.due(),
                Doing::Nothing | Doing::Queued(_) => None,
            };
            [stage, other].into_iter().flatten()
        });
        runs.chain(stages).min()
    }

    /// The least separation that answers need in a run, and its highest tier.
    fn strictness(pipeline: &Pipeline) -> bool {
        let tiers = pipeline.stages.iter().filter_map(|stage| match &stage.work {
            eparch_pipeline::Work::Agent(work) => Some(work.tier),
            _ => None,
        });
        pipeline.profile != eparch_domain::Profile::Startup
            || tiers.max().is_some_and(|tier| tier >= Tier::T3)
    }

    /// Opens a gate, which the decision must have opened just so.
    fn open_gate(
        &mut self,
        (run, ix): (RunId, StageIx),
        purpose: GatePurpose,
        deadline: LedgerTime,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let Some(opened) = hints.gates.remove(&(run, ix)) else {
            return Err(format!("no gate was opened at stage s{} of {run}", ix.0));
        };
        if opened.purpose != purpose
            || opened.deadline != deadline
            || opened.requester != self.runs[&run].requester
        {
            return Err(format!("a gate was opened as it should not be: {opened:?}"));
        }
        let cell = self.cell(run, ix);
        cell.status = StageStatus::AwaitingApproval;
        cell.doing = Doing::Gate(Box::new(OpenGate { opened, approvals: BTreeSet::new() }));
        Ok(())
    }
}
