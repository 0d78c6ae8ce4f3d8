//! The governor: an event and the time go in, facts and effects come out. It routes; the rules stand in the modules it
//! routes to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use eparch_domain::{AgentId, Digest, GateId, LedgerTime, Moment, Name, RunId, limits};
use eparch_pipeline::{Pipeline, StageIx, Work};
use eparch_policy::PolicySet;

use crate::decision::{Answer, Decision, Refusal};
use crate::effect::Effect;
use crate::event::Event;
use crate::fact::Fact;
use crate::graph::Graph;
use crate::state::{Attempt, Doing, Gate, Run, StageState, State};
use crate::timers::{Deadline, Timer, Timers};
use crate::{
    action, agent, break_glass, clock_doubt, credential, diagnostic, ending, gate, governing, identity,
    lease, lock, operators, performance, promotion, request, revocation, run, secrets, spending, stop_all,
    waking,
};

/// The state machine of one tenant. Touches nothing: no clock, no dice, no disk, no network.
#[derive(Debug, Clone, Default)]
pub struct Governor {
    pub(crate) state: State,
    /// Definitions at hand, by digest. A cache of documents, not state: it never changes a decision.
    pub(crate) definitions: BTreeMap<Digest, Arc<Graph>>,
    /// Policies at hand, by digest; as the definitions, a cache of documents. Those in force, those that wait, and those that are
    /// offered next.
    pub(crate) policies: BTreeMap<Digest, Arc<PolicySet>>,
    /// So many definitions may be at hand before those that no live run uses are looked for.
    pub(crate) definitions_at_most: usize,
    // The indexes below follow from the state; restoring a snapshot builds them again.
    pub(crate) timers: Timers,
    pub(crate) agents: BTreeMap<AgentId, (RunId, StageIx)>,
    pub(crate) gates: BTreeMap<GateId, (RunId, StageIx)>,
    /// Stages that wait for a free agent, first come first served.
    pub(crate) queue: BTreeMap<u64, (RunId, StageIx)>,
    /// Conditions and gates that wait for a turn with work left.
    pub(crate) put_off: BTreeMap<u64, (RunId, StageIx)>,
    /// Stages that wait for locks, by the place they have in the queue.
    pub(crate) waiting: BTreeMap<u64, (RunId, StageIx)>,
    /// The places at which somebody waits for a lock.
    pub(crate) wanted: BTreeMap<Name, BTreeSet<u64>>,
    /// Locks that were let go, or are waited for by fewer, since it was last looked who can have them.
    pub(crate) freed: BTreeSet<Name>,
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
        self.definitions.entry(digest).or_insert_with(|| Arc::new(Graph::of(pipeline)));
    }

    /// Has policies at hand before an event offers them, or when they are in force already.
    pub fn learn_policies(&mut self, policies: Arc<PolicySet>) {
        let waiting = self.state.proposal.as_ref().map(|waits| waits.proposed.policies);
        let needed = [self.state.policy, waiting];
        self.policies.retain(|known, _| needed.contains(&Some(*known)));
        self.policies.insert(policies.digest(), policies);
    }

    /// The policies in force, by the digest of their document.
    pub fn policy(&self) -> Option<Digest> {
        self.state.policy
    }

    /// The pipeline that looks at runs whose agents make too many errors, by the digest of its definition.
    pub fn diagnostic(&self) -> Option<Digest> {
        self.state.diagnostic
    }

    /// The policies in force, if they are at hand: without them nothing is allowed (G4).
    pub fn policies_in_force(&self) -> Option<Arc<PolicySet>> {
        self.policies.get(&self.state.policy?).cloned()
    }

    /// Forgets definitions that no live run uses when there are many. Never while one is learned: it may be for a snapshot
    /// that is about to be restored, or for the next fact.
    pub(crate) fn forget_idle_definitions(&mut self) {
        if self.definitions.len() <= self.definitions_at_most.max(limits::IDLE_DEFINITIONS) {
            return;
        }
        let in_use: BTreeSet<Digest> = self.state.definitions().collect();
        if self.definitions.len() > in_use.len() + limits::IDLE_DEFINITIONS {
            self.definitions.retain(|known, _| in_use.contains(known));
        }
        self.definitions_at_most = in_use.len() + limits::IDLE_DEFINITIONS;
    }

    /// Whether a definition is at hand.
    pub fn knows(&self, pipeline: &Digest) -> bool {
        self.definitions.contains_key(pipeline)
    }

    /// Takes in one event and returns everything that follows from it. Cannot fail: nonsense is an outcome too.
    pub fn handle(&mut self, event: &Event, now: Moment) -> Decision {
        // Every turn looks at what it has freed itself; what is here comes of facts that were only applied.
        self.freed.clear();
        let mut turn = Turn {
            governor: self,
            now,
            decision: Decision::default(),
            over: VecDeque::new(),
            branches: BTreeSet::new(),
            contested: BTreeSet::new(),
            work: limits::TURN_WORK,
            room: limits::TURN_BYTES,
        };
        turn.decide(event);
        let decision = turn.decision;
        // A request that was refused has left its definition.
        self.forget_idle_definitions();
        decision
    }

    /// Makes one recorded fact so. The only way state changes; recovery calls it with what the ledger holds.
    pub fn apply(&mut self, fact: &Fact, now: Moment) {
        crate::apply::apply(self, fact, now);
    }

    /// The earliest moment the governor wants to be woken, and why.
    pub fn next_deadline(&self) -> Option<Deadline> {
        if self.next_to_begin().is_some() {
            return Some(Deadline {
                at: LedgerTime::default(),
                why: "there was more to begin than one decision may",
            });
        }
        self.timers.first().map(|(at, timer)| Deadline { at, why: timer.why() })
    }

    /// By when something is decided about an agent, whatever is reported of it or is not; every agent that lives has one.
    pub fn agent_deadline(&self, agent: AgentId) -> Option<Deadline> {
        let (run, ix, _) = self.attempt(agent)?;
        let own = [Timer::Start(agent), Timer::Execute(agent), Timer::Idle(agent), Timer::Gone(agent)];
        let set = own.into_iter().chain([Timer::Stage(run, ix)]);
        let set = set.filter_map(|timer| Some(Deadline { at: self.timers.at(timer)?, why: timer.why() }));
        set.min_by_key(|deadline| deadline.at)
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
        self.open_gate(gate).map(|open| &open.opened)
    }

    /// A gate that waits, with the answers so far: that of a stage, or one at which its agent has people asked.
    pub(crate) fn open_gate(&self, gate: GateId) -> Option<&Gate> {
        let (run, ix) = *self.gates.get(&gate)?;
        match &self.run(run)?.stage(ix).doing {
            Doing::Gate(open) => Some(open),
            Doing::Attempt(attempt) => attempt.questions.open.get(&gate),
            _ => None,
        }
    }

    pub(crate) fn open_gate_mut(&mut self, gate: GateId) -> Option<&mut Gate> {
        let (run, ix) = *self.gates.get(&gate)?;
        match &mut self.stage_mut(run, ix)?.doing {
            Doing::Gate(open) => Some(open),
            Doing::Attempt(attempt) => attempt.questions.open.get_mut(&gate),
            _ => None,
        }
    }

    /// What could begin if a turn had work left for it: a condition or gate first, or a stage for which an agent is free.
    pub(crate) fn next_to_begin(&self) -> Option<(RunId, StageIx)> {
        if self.stopped().is_some() {
            return None;
        }
        if let Some((_, waits)) = self.put_off.first_key_value() {
            return Some(*waits);
        }
        let limit = usize::try_from(self.state.agents_at_once).unwrap_or(usize::MAX);
        // Whoever began would have authority, and nobody could say how long.
        let free = self.agents.len() < limit && self.state.leases.doubt.is_none();
        self.queue.first_key_value().filter(|_| free).map(|(_, waits)| *waits)
    }

    /// The queue that a stage waits in.
    pub(crate) fn queue_of(&mut self, run: RunId, ix: StageIx) -> &mut BTreeMap<u64, (RunId, StageIx)> {
        let work = self.run(run).map(|live| &live.graph().pipeline.stage(ix).work);
        match work {
            Some(Work::Condition(_) | Work::Gate(_)) => &mut self.put_off,
            _ => &mut self.queue,
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
    /// Parallel stages in which stages have ended: what that means for their branches has not been looked at yet.
    pub(crate) branches: BTreeSet<(RunId, StageIx)>,
    /// Locks that changed hands in this turn: who waits for them has not been told yet.
    pub(crate) contested: BTreeSet<Name>,
    /// What may still be begun and evaluated in this turn, in nodes of an expression.
    work: u64,
    /// What may still be written down of what is begun in this turn, in bytes.
    room: usize,
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

    /// Counts work done; what it comes to follows from state and event alone.
    pub(crate) fn spend(&mut self, work: u64) {
        self.work = self.work.saturating_sub(work);
    }

    /// Counts what is written down.
    pub(crate) fn write(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
    }

    /// Whether more may be begun in this turn.
    pub(crate) fn has_work_left(&self) -> bool {
        self.work > 0 && self.room > 0
    }

    /// Whether what the facts so far take leaves room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.told() < self.room
    }

    /// What the facts so far take, about.
    fn told(&self) -> usize {
        self.decision.facts.len() * limits::FACT_BYTES
    }

    fn decide(&mut self, event: &Event) {
        clock_doubt::caught_up(self);
        // Whatever was in flight ended with its holder, before any deadline that passed since: nothing may begin under a
        // due timer only to be cut off by the boot that follows.
        if let Event::Booted { epoch, agents_at_once, clock_moved, .. } = event {
            waking::booted(self, *epoch, *agents_at_once, clock_moved.as_ref());
            governing::booted(self);
        }
        // Time has passed up to `now`: what was due by then comes before the event, and before anything begins that it
        // would end. After a long sleep more may be due than one turn takes. The event is decided on all the same, the next
        // turn takes the rest, and nothing begins until then.
        for _ in 0..limits::TIMERS_PER_TURN {
            match self.governor.timers.due(self.now) {
                Some(timer) if self.has_room() => waking::timer_fired(self, timer),
                _ => break,
            }
            self.tell_neighbours();
        }
        if self.governor.timers.due(self.now).is_some() {
            self.work = 0;
        }
        match event {
            Event::Booted { .. } | Event::ClockTurned => {}
            // Durations are measured in ledger time, which did not jump; authority ends by both times.
            Event::ClockJumped { .. } => clock_doubt::jumped(self),
            Event::OperatorAdded { by, operator } => operators::add(self, by.as_ref(), operator),
            Event::OperatorRotated { by, name, key } => operators::rotate(self, by, name, key),
            Event::OperatorRemoved { by, name } => operators::remove(self, by, name),
            Event::RunRequested(request) => request::requested(self, request),
            Event::StopRequested { run, by, reason } => ending::stop(self, *run, by, reason),
            Event::RevokeRequested { bearer, by, reason } => revocation::requested(self, *bearer, by, reason),
            Event::StopAllRequested { by, reason } => stop_all::requested(self, by, reason),
            Event::StopAllLifted { by, reason } => stop_all::lifted(self, by, reason),
            Event::BreakGlassRequested(request) => break_glass::requested(self, request),
            Event::BreakGlassAnswered(answer) => break_glass::answered(self, answer),
            Event::BreakGlassEndRequested { grant, by, reason } => {
                break_glass::end_requested(self, *grant, by, reason);
            }
            Event::PromotionRequested { standing, by, to, rationale } => {
                promotion::requested(self, *standing, by, *to, rationale);
            }
            Event::PromotionAnswered(answer) => promotion::answered(self, answer),
            Event::DemotionRequested { standing, by, reason } => {
                promotion::demoted(self, *standing, by, reason);
            }
            Event::PoliciesOffered { by, policies } => governing::offered(self, by.as_ref(), *policies),
            Event::PoliciesAnswered(answer) => governing::answered(self, answer),
            Event::ActionAsked(asked) => action::asked(self, asked),
            Event::PermitUsed { agent, permit, params } => {
                spending::permit_used(self, *agent, *permit, params)
            }
            Event::PerformanceAsked { agent, permit, command } => {
                performance::asked(self, *agent, *permit, command)
            }
            Event::PerformanceReady { agent, permit, tree, .. } => {
                performance::ready(self, *agent, *permit, tree.as_ref())
            }
            Event::PerformanceEnded { agent, permit, end, breaches } => {
                performance::ended(self, *agent, *permit, end, *breaches)
            }
            Event::ActionEnded { agent, permit, ok, detail } => {
                spending::ended(self, *agent, *permit, *ok, detail)
            }
            Event::CallsLimited { agent } => revocation::calls_limited(self, *agent),
            Event::TokenShown { agent, token } => identity::token_shown(self, *agent, token),
            Event::SecretAsked { by, path, tier, access } => secrets::asked(self, by, path, *tier, *access),
            Event::SecretServed { .. } => {}
            Event::LockReleaseRequested { lock, by, reason } => {
                lock::release_requested(self, lock, by, reason);
            }
            Event::CredentialIssued { lease, credential } => credential::issued(self, *lease, credential),
            Event::CredentialTold { accessor, outcome } => credential::told(self, accessor, outcome),
            Event::CredentialsFound { found } => credential::found(self, found),
            Event::ClockVouched { by } => clock_doubt::vouched(self, by),
            Event::AgentAdvanced { agent, outcomes } => agent::advanced(self, *agent, outcomes),
            Event::AgentSignalled { agent, signal } => agent::signalled(self, *agent, signal),
            Event::DiagnosticOffered { pipeline } => diagnostic::offered(self, *pipeline),
            Event::TreeProvenDead { agent, .. } => agent::proven_dead(self, *agent),
            Event::GateAnswered(answer) => gate::answered(self, answer),
        }
        self.tell_neighbours();
        self.write(self.told());
        // What may begin begins, as far as one turn goes.
        lock::wake(self);
        while run::begin_next(self) {
            self.tell_neighbours();
            lock::wake(self);
        }
        lock::tell(self);
        break_glass::look(self);
        governing::look(self);
        lease::settle(self);
    }

    /// Tells the neighbours of every stage that ended, and then those in other branches, until nothing more ends.
    fn tell_neighbours(&mut self) {
        loop {
            if let Some((run, ix)) = self.over.pop_front() {
                run::stage_over(self, run, ix);
            } else if let Some((run, ix)) = self.branches.pop_first() {
                run::look_at_branches(self, run, ix);
            } else {
                return;
            }
        }
    }
}
