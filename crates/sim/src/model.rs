//! What should come of a run, written a second time: slowly, from the requirements, as rules applied until nothing
//! changes. It shares no code with the governor beyond the words of events, and the numbers of `limits`.
//!
//! It does not guess what nobody can know in advance: the ids of agents and gates, the jitter of a retry, and which of
//! several stages that became ready in the same moment gets a free agent. Those it reads from the decision, and checks
//! that they are among what is allowed.

mod actions;
mod agent;
mod diagnosis;
mod emergencies;
mod gates;
mod governing;
mod heartbeats;
mod leases;
mod locks;
mod operators;
mod people;
mod questions;
mod rules;
mod standing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use eparch_domain::{
    Action, AgentId, BreakGlassId, Digest, GateId, LedgerTime, Moment, Name, RunId, RunStatus, StageStatus,
    StandingId, Tier, Timestamp, ViolationType, limits,
};
use eparch_governor::{
    Answer, Decision, Event, Fact, GateAnswer, GateOpened, Operator, RunRequest, RunSpawned, SecretAccess,
};
use eparch_pipeline::{Pipeline, StageIx, Work};
use serde_json::Value;

use crate::policies::Rules;
use crate::score::Score;
use crate::seen::Seen;
use crate::strings::Strings;
use actions::Word;
use agent::Agent;
use leases::{Behind, Lease};

/// What the model believes.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    scores: BTreeMap<Digest, Score>,
    people: BTreeMap<Name, Person>,
    /// Who was given a key by whom, in which turn.
    strings: Strings,
    at_once: usize,
    runs: BTreeMap<RunId, Run>,
    ended: BTreeMap<RunId, RunStatus>,
    closed: BTreeMap<GateId, bool>,
    /// What agents have earned.
    kinds: BTreeMap<StandingId, standing::Kind>,
    /// Requests that came with a key, by it.
    asked: BTreeMap<String, RunRequest>,
    /// How many events there were: two stages that became ready in one of them may be served in either order.
    turn: u64,
    now: LedgerTime,
    /// What the wall clock says, in milliseconds.
    wall: i64,
    /// The lease of each run that has one.
    leases: BTreeMap<RunId, Lease>,
    /// How many leases each run has had.
    lease_numbers: BTreeMap<RunId, u32>,
    /// In which order stages have come to wait for their turn.
    ranks: locks::Ranks,
    /// The wall clock, while nobody believes it.
    behind: Option<Behind>,
    /// Runs that ended in this turn, with how their stages stood.
    just_ended: Vec<(RunId, Vec<StageStatus>)>,
    /// The pipeline that looks at runs whose agents make too many errors.
    looks: Option<Digest>,
    /// The policies in force.
    rules: Option<Rules>,
    /// Who could have looked at policies in this epoch and went, or was given another key: who pulled the strings of each.
    gone_lookers: Vec<BTreeSet<Name>>,
    /// Those that wait for somebody else.
    offer: Option<governing::Offer>,
    /// What is found in this turn of what agents ask for.
    said: Vec<Word>,
    /// Who is found silent in this turn.
    silent: Vec<AgentId>,
    /// Whether somebody says in this turn that it lives.
    lives: bool,
    /// Whether everything is stopped.
    stopped: bool,
    /// What two people let pass, or are asked to.
    glasses: BTreeMap<BreakGlassId, emergencies::Glass>,
    /// Those of them that are over.
    glasses_over: BTreeSet<BreakGlassId>,
}

/// Somebody who may act.
#[derive(Debug, Clone)]
struct Person {
    operator: Operator,
}

#[derive(Debug, Clone)]
struct Run {
    /// The turn in which it was asked for.
    asked: u64,
    pipeline: Arc<Pipeline>,
    score: Score,
    /// The digest of what was asked for: pipeline and inputs.
    plan: Digest,
    requester: Name,
    go: bool,
    deadline: LedgerTime,
    ending: Option<RunStatus>,
    /// Whether it began by itself, to look at another one.
    looks: bool,
    /// Whether another one looks at it, or has.
    looked_at: bool,
    cells: Vec<Cell>,
    /// When its agents made errors.
    errors_at: Vec<LedgerTime>,
    /// What people said no to in it.
    denied: BTreeSet<(Action, String)>,
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
    /// How it will have ended, when it was given up while nobody knew whether its agent lives.
    given_up_as: Option<StageStatus>,
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
    /// The public keys that answers were signed with, and whose.
    signed_with: BTreeMap<Name, String>,
}

impl OpenGate {
    /// Somebody said yes.
    fn approve(&mut self, answer: &GateAnswer) {
        self.approvals.insert(answer.by.clone());
        let signed = answer.signed.as_ref().map(|signed| signed.public_key.to_lowercase());
        self.signed_with.extend(signed.map(|key| (answer.by.clone(), key)));
    }

    /// Somebody may act no longer, and has said nothing.
    fn forget(&mut self, name: &Name) {
        self.approvals.remove(name);
        self.signed_with.remove(name);
    }
}

/// What only the decision can tell.
struct Hints {
    begun: VecDeque<(RunId, StageIx, AgentId)>,
    gates: BTreeMap<(RunId, StageIx), GateOpened>,
    retries: BTreeMap<(RunId, StageIx), LedgerTime>,
    /// The run that looks at another one, with what the decision says of it.
    looks: Option<RunSpawned>,
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
    Heartbeat(AgentId),
    Gone(AgentId),
    Lease(RunId),
    Token(AgentId),
    Lock(AgentId),
    Clock,
    Gate(GateId),
    Glass(BreakGlassId),
}

impl Hints {
    fn of(decision: &Decision) -> Hints {
        let (gates, retries) = (BTreeMap::new(), BTreeMap::new());
        let mut hints = Hints { begun: VecDeque::new(), gates, retries, looks: None };
        for fact in &decision.facts {
            match fact {
                Fact::AttemptBegan { run, stage, agent, .. } => hints.begun.push_back((*run, *stage, *agent)),
                Fact::GateOpened(opened) if opened.sought.is_none() => {
                    hints.gates.insert((opened.run, opened.stage), opened.as_ref().clone());
                }
                Fact::RunSpawned(spawned) if spawned.parent.is_some() => {
                    hints.looks = Some(spawned.as_ref().clone());
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
            scores: scores
                .iter()
                .cloned()
                .chain([Score::looks()])
                .map(|score| (score.pipeline.digest(), score))
                .collect(),
            looks: None,
            people: BTreeMap::new(),
            strings: Strings::default(),
            at_once: 0,
            runs: BTreeMap::new(),
            ended: BTreeMap::new(),
            closed: BTreeMap::new(),
            kinds: BTreeMap::new(),
            asked: BTreeMap::new(),
            turn: 0,
            now: LedgerTime::default(),
            wall: 0,
            leases: BTreeMap::new(),
            lease_numbers: BTreeMap::new(),
            ranks: locks::Ranks::new(),
            behind: None,
            just_ended: Vec::new(),
            rules: None,
            gone_lookers: Vec::new(),
            offer: None,
            said: Vec::new(),
            silent: Vec::new(),
            lives: false,
            stopped: false,
            glasses: BTreeMap::new(),
            glasses_over: BTreeSet::new(),
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
        self.note_ranks(decision);
        self.just_ended.clear();
        let revoked = self.revoked_in(decision);
        self.said.clear();
        self.silent.clear();
        self.lives = false;
        self.wall = now.wall.millis();
        let now = now.ledger;
        self.now = now;
        self.look_at_clock();
        if let Event::Booted { agents_at_once, clock_moved, .. } = event {
            self.at_once = usize::try_from(*agents_at_once).unwrap_or(usize::MAX);
            self.cut_off();
            (self.offer, self.gone_lookers) = (None, Vec::new());
            self.withdraw();
            self.leases_end(clock_moved.map(|moved| moved.from.millis()));
        }
        // What was due comes before the event, and nothing begins before both.
        for _ in 0..limits::TIMERS_PER_TURN {
            let by_ledger = self.due().filter(|(at, _)| *at <= now).map(|(_, due)| due);
            let Some(due) = by_ledger.or_else(|| self.due_by_wall()) else { break };
            self.time_came(due, now, &mut hints)?;
            self.change(now, &mut hints)?;
            self.withdraw();
        }
        let refusals = self.happened(event, now, decision, &mut hints)?;
        self.withdraw();
        self.settle(now, &mut hints)?;
        self.withdraw();
        self.glasses_end(&revoked);
        self.offer_ends();
        self.end_leases();
        self.feel_pulses();
        if let Some(begun) = hints.begun.front() {
            return Err(format!("{begun:?} began and should not have"));
        }
        if let Some(looks) = hints.looks {
            return Err(format!("{} looks at a run and should not", looks.run));
        }
        self.compare_words(event, decision)?;
        self.compare_pulses(event, decision)?;
        match (&decision.answer, refusals.is_empty()) {
            (Answer::Refused(refusal), _) if refusals.contains(refusal.code()) => Ok(()),
            (Answer::Taken, true) => Ok(()),
            (Answer::Already { .. }, _) if refusals.contains("already") => Ok(()),
            (Answer::Ruled(_), _) if refusals.contains("ruled") => Ok(()),
            (answer, _) => Err(format!("the answer is {answer:?}, expected one of {refusals:?}")),
        }
    }

    /// What an event brings; the codes of the reasons to refuse it, none when it must be taken.
    fn happened(
        &mut self,
        event: &Event,
        now: LedgerTime,
        decision: &Decision,
        hints: &mut Hints,
    ) -> Result<BTreeSet<&'static str>, String> {
        match event {
            Event::Booted { .. } | Event::ClockTurned => {}
            Event::ClockJumped { .. } => self.clock_jumped(),
            Event::LockReleaseRequested { lock, by, .. } => return Ok(self.lock_taken(lock, by)),
            Event::ClockVouched { by } => return Ok(self.vouched(by)),
            // Worlds have no vault.
            Event::CredentialIssued { .. }
            | Event::CredentialTold { .. }
            | Event::CredentialsFound { .. } => {}
            Event::OperatorAdded { by, operator } => return Ok(self.added(by.as_ref(), operator)),
            Event::OperatorRotated { by, name, key } => return Ok(self.rotated(by, name, key)),
            Event::OperatorRemoved { by, name } => return Ok(self.removed(by, name)),
            Event::RunRequested(request) => return Ok(self.requested(request, now)),
            Event::StopRequested { run, by, .. } => return Ok(self.stopped(*run, by)),
            Event::RevokeRequested { bearer, by, .. } => return Ok(self.revoked(*bearer, by)),
            Event::StopAllRequested { by, .. } => return Ok(self.all_stopped(by)),
            Event::StopAllLifted { by, .. } => return Ok(self.all_lifted(by)),
            Event::BreakGlassRequested(request) => return Ok(self.glass_asked(request, decision)),
            Event::BreakGlassAnswered(answer) => return Ok(self.glass_answered(answer)),
            Event::BreakGlassEndRequested { grant, by, .. } => return Ok(self.glass_ended(*grant, by)),
            Event::PromotionRequested { standing, by, to, .. } => {
                return Ok(self.promotion_requested(*standing, by, *to));
            }
            Event::PromotionAnswered(answer) => return Ok(self.promotion_answered(answer.standing)),
            Event::DemotionRequested { standing, by, .. } => return Ok(self.demoted(*standing, by)),
            Event::PoliciesOffered { by, policies } => return Ok(self.offered(by.as_ref(), *policies)),
            Event::PoliciesAnswered(answer) => return Ok(self.policies_answered(answer)),
            Event::ActionAsked(asked) => return self.asked(asked, decision),
            Event::PermitUsed { agent, permit, params } => {
                return Ok(self.permit_used(*agent, *permit, Some(*params)));
            }
            Event::PerformanceAsked { agent, permit, command } => {
                let params =
                    Digest::of(format!("{{\"command\":{}}}", Value::from(command.clone())).as_bytes());
                return Ok(self.performance_asked(*agent, *permit, params).into_iter().collect());
            }
            Event::PerformanceReady { agent, permit, .. } => {
                return Ok(self.performance_ready(*agent, *permit).into_iter().collect());
            }
            Event::PerformanceEnded { agent, permit, end, .. } => {
                self.performance_ended(*agent, *permit, end)
            }
            Event::ActionEnded { agent, permit, .. } => return Ok(self.action_ended(*agent, *permit)),
            Event::SecretAsked { by, tier, access, .. } => {
                let reads = matches!(access, SecretAccess::Read { .. });
                return Ok(self.secret_asked(by, *tier, reads));
            }
            Event::SecretServed { .. } => {}
            Event::CallsLimited { agent } => self.calls_limited(*agent, now),
            Event::TokenShown { agent, token } => self.token_shown(*agent, token),
            Event::AgentAdvanced { agent, outcomes } => self.advanced(*agent, outcomes, now, hints)?,
            Event::AgentSignalled { agent, signal } => return self.signalled(*agent, signal, now, hints),
            Event::DiagnosticOffered { pipeline } => return Ok(self.diagnostic_offered(*pipeline)),
            Event::TreeProvenDead { agent, .. } => self.proven_dead(*agent, now, hints)?,
            Event::GateAnswered(answer) => return Ok(self.answered(answer, now)),
        }
        Ok(BTreeSet::new())
    }

    /// What was found of what agents ask for is what should have been, and nothing else. Violations have other reasons, too.
    fn compare_words(&self, event: &Event, decision: &Decision) -> Result<(), String> {
        let asks = matches!(
            event,
            Event::ActionAsked(_)
                | Event::PermitUsed { .. }
                | Event::PerformanceAsked { .. }
                | Event::ActionEnded { .. }
                | Event::TokenShown { .. }
        );
        let counts = |word: &Word| match word {
            // Time brings it, whatever the event is.
            Word::Violated(violation) => asks && *violation != ViolationType::NoProgress,
            _ => true,
        };
        let found: Vec<Word> = actions::words_of(decision).filter(counts).collect();
        if found == self.said {
            Ok(())
        } else {
            Err(format!("{found:?} was found, expected {:?}", self.said))
        }
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
            self.approvals_are_its_own(seen, run)?;
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
        self.compare_locks(seen)?;
        self.compare_leases(seen)
    }

    fn agents(&self) -> impl Iterator<Item = (RunId, StageIx, &Agent)> {
        self.cells().filter_map(|(run, ix, cell)| match &cell.doing {
            Doing::Agent(agent) => Some((run, ix, agent.as_ref())),
            _ => None,
        })
    }

    /// A new holder: nobody knows whether what the old one let go still lives, and no time of their stages passes.
    fn cut_off(&mut self) {
        let now = self.now;
        for cell in self.runs.values_mut().flat_map(|run| run.cells.iter_mut()) {
            if let Doing::Agent(agent) = &mut cell.doing {
                (agent.cut_off, agent.in_vain) = (true, 0);
                agent.must_go(now);
                cell.until = None;
            }
        }
    }

    /// A stage is tried again after nobody knew how it stands: as soon as an agent is free, and with all its time.
    fn ready_anew(&mut self, run: RunId, ix: StageIx) {
        let (now, turn) = (self.now, self.turn);
        let timeout = match &self.runs[&run].pipeline.stage(ix).work {
            Work::Agent(work) => Some(work.timeout),
            _ => None,
        };
        let cell = self.cell(run, ix);
        let until = timeout.filter(|_| !cell.expired).map(|timeout| now.after(timeout));
        (cell.status, cell.doing, cell.until) = (StageStatus::Ready, Doing::Queued(turn), until);
    }

    fn agents_mut(&mut self) -> impl Iterator<Item = &mut Agent> {
        let cells = self.runs.values_mut().flat_map(|run| run.cells.iter_mut());
        cells.filter_map(|cell| match &mut cell.doing {
            Doing::Agent(agent) => Some(agent.as_mut()),
            _ => None,
        })
    }

    fn gates(&self) -> impl Iterator<Item = (RunId, StageIx, &OpenGate)> {
        let of_stages = self.cells().filter_map(|(run, ix, cell)| match &cell.doing {
            Doing::Gate(gate) => Some((run, ix, gate.as_ref())),
            _ => None,
        });
        of_stages.chain(self.questions())
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
                Doing::Gate(gate) => Some((gate.opened.deadline.ledger, Due::Gate(gate.opened.gate))),
                Doing::Agent(agent) => agent.due(),
                Doing::Nothing | Doing::Queued(_) => None,
            };
            [stage, other].into_iter().flatten()
        });
        let questions = self.questions();
        let questions =
            questions.map(|(_, _, open)| (open.opened.deadline.ledger, Due::Gate(open.opened.gate)));
        let leases = self.leases.iter().filter_map(|(run, lease)| Some((lease.renew?, Due::Lease(*run))));
        let tokens =
            self.agents().filter_map(|(_, _, agent)| Some((agent.live_token()?.renew, Due::Token(agent.id))));
        let locks = self.agents().filter_map(|(_, _, agent)| Some((agent.locks_due()?, Due::Lock(agent.id))));
        let clock = self.behind.map(|behind| (behind.look, Due::Clock));
        let glasses = self.glasses.iter().map(|(id, glass)| (glass.until(), Due::Glass(*id)));
        let authority = leases.chain(tokens).chain(locks).chain(clock).chain(glasses);
        runs.chain(stages).chain(questions).chain(authority).min()
    }

    /// The gate that has waited longest past its time by the wall clock.
    fn due_by_wall(&self) -> Option<Due> {
        let stages = self.cells().filter_map(|(_, _, cell)| match &cell.doing {
            Doing::Gate(gate) => Some(gate.as_ref()),
            _ => None,
        });
        let gates = stages.chain(self.questions().map(|(_, _, open)| open));
        let ends = gates.map(|open| (open.opened.deadline.wall.map(Timestamp::millis), open.opened.gate));
        ends.filter(|(wall, _)| wall.is_some_and(|wall| wall <= self.wall))
            .min()
            .map(|(_, gate)| Due::Gate(gate))
    }

    /// Whether answers need a key kept apart from the home.
    fn strictness(pipeline: &Pipeline) -> bool {
        let tiers = pipeline.stages.iter().filter_map(|stage| match &stage.work {
            Work::Agent(work) => Some(work.tier),
            _ => None,
        });
        pipeline.profile != eparch_domain::Profile::Startup
            || tiers.max().is_some_and(|tier| tier >= Tier::T3)
    }
}
