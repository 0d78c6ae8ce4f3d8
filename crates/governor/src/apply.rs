//! Making a fact so. Nothing here decides; nothing elsewhere changes state.

mod emergencies;
mod heartbeats;
mod leases;
mod locks;
mod people;

use std::collections::BTreeMap;
use std::sync::Arc;

use eparch_domain::{
    AgentId, Artifact, Moment, Phase, RunId, RunStatus, Severity, Span, StageStatus, Tier, limits,
};
use eparch_pipeline::{StageIx, Work};
use eparch_policy::{Decision as Says, History};
use serde_json::Value;

use crate::action;
use crate::asking::Questions;
use crate::attempt_end::AttemptEnd;
use crate::ends;
use crate::evidence::{Conduct, is_planning, is_proven_by_files};
use crate::fact::{Fact, GateOpened, GateOutcome, GatePurpose, RunSpawned};
use crate::governor::Governor;
use crate::heartbeat::Heartbeats;
use crate::lookers::{self, GoneLookers};
use crate::performance::Performing;
use crate::permit::{Actions, Stands};
use crate::person;
use crate::revocation::slide;
use crate::standing;
use crate::state::{Attempt, Doing, Gate, Run, StageState, Vote};
use crate::timers::Timer;
use crate::written;

/// What "in a minute" means: any 60 seconds (2.C rule 2).
const MINUTE: Span = Span::from_secs(60);

pub(crate) fn apply(governor: &mut Governor, fact: &Fact, now: Moment) {
    match fact {
        Fact::EpochBegan { epoch, agents_at_once } => {
            governor.state.epoch = *epoch;
            governor.state.agents_at_once = *agents_at_once;
            governor.state.gone_lookers = GoneLookers::default();
        }
        Fact::OperatorKnown { operator, by } => {
            person::note_key(&mut governor.state, &operator.name, by.as_ref());
            governor.state.operators.insert(operator.name.clone(), operator.clone());
        }
        Fact::OperatorRekeyed { name, key, by } => {
            if by.as_ref() != Some(name) {
                lookers::note(&mut governor.state, name);
            }
            person::note_key(&mut governor.state, name, by.as_ref());
            if let Some(operator) = governor.state.operators.get_mut(name) {
                operator.key = key.clone();
            }
        }
        Fact::OperatorForgotten { name } => {
            lookers::note(&mut governor.state, name);
            governor.state.operators.remove(name);
            governor.state.key_origins.remove(name);
            people::forgotten(governor, name);
        }
        Fact::RunSpawned(spawned) => {
            spawn(governor, spawned);
            governor.forget_idle_definitions();
        }
        Fact::RunEnding { run, status, reason, .. } => {
            if let Some(live) = governor.state.runs.get_mut(run) {
                Arc::make_mut(live).ending = Some((*status, reason.clone()));
                governor.timers.clear(Timer::Run(*run));
            }
        }
        Fact::RunChanged { run, status, .. } => change_run(governor, *run, *status),
        Fact::StageChanged { run, stage, status, reason } => {
            change_stage(governor, *run, *stage, *status, reason, now)
        }
        Fact::StageKept { run, stage, kept } => {
            if let Some(state) = governor.stage_mut(*run, *stage) {
                state.status = StageStatus::Completed;
                state.outputs = kept.outputs.clone();
                state.artifacts = kept.artifacts.clone();
                state.count_put_out();
            }
            go_on_with_history(governor, *run);
        }
        Fact::AttemptBegan { run, stage, agent, start_by, .. } => {
            unqueue(governor, *run, *stage);
            governor.timers.clear(Timer::Retry(*run, *stage));
            if let Some(state) = governor.stage_mut(*run, *stage) {
                state.attempts += 1;
                state.last_agent = Some(*agent);
                state.doing = Doing::Attempt(Box::new(Attempt::begun(*agent, *start_by)));
                governor.agents.insert(*agent, (*run, *stage));
                governor.timers.set(Timer::Start(*agent), *start_by);
            }
            let writes = may_write_unseen(governor, *run, *stage);
            with_attempt(governor, *agent, |attempt| attempt.conduct.acted = writes);
        }
        Fact::PhaseEntered { agent, phase } => {
            with_attempt(governor, *agent, |attempt| attempt.phase = *phase);
            // The attempt's own clocks are for its program; the stage's timeout covers what follows.
            if *phase > Phase::Execute {
                with_attempt(governor, *agent, Attempt::stop_its_clocks);
                governor.timers.clear_agent(*agent);
                // The program of an agent that is being killed has ended; what is left takes its time again.
                if governor.attempt(*agent).is_some_and(|(_, _, attempt)| attempt.being_killed) {
                    await_death(governor, *agent, now);
                }
            }
        }
        Fact::TreeKnown { agent, tree } => {
            with_attempt(governor, *agent, |attempt| attempt.tree = Some(tree.clone()))
        }
        Fact::PlanSettled { agent, plan, actions } => with_attempt(governor, *agent, |attempt| {
            attempt.plan = Some(*plan);
            attempt.may_ask.clone_from(actions);
        }),
        Fact::PoliciesInForce { policies, .. } => {
            governor.state.policy = Some(*policies);
            people::policies_wait(governor, fact);
            governor.policies.retain(|known, _| known == policies);
        }
        Fact::PoliciesProposed(_) | Fact::PoliciesApproved { .. } | Fact::PoliciesProposalOver { .. } => {
            people::policies_wait(governor, fact);
        }
        Fact::ActionDecided(ruled) => {
            let counts = action::counts_against_it(ruled);
            with_attempt(governor, ruled.agent, |attempt| {
                attempt.conduct.escalated |= ruled.escalates();
                attempt.actions.remember(ruled, counts, now);
                if let (Some(gate), true) = (ruled.gate, ruled.verdict.decision != Says::Ask) {
                    attempt.questions.approved.remove(&gate);
                }
            });
        }
        Fact::PermitSpent { agent, permit } => {
            let Some((run, _, attempt)) = governor.attempt(*agent) else { return };
            let ruled = attempt.actions.permitted(*permit).map(|asked| asked.ruled.clone());
            with_attempt(governor, *agent, |attempt| attempt.actions.set(*permit, Stands::Doing));
            let mut noted = Vec::new();
            if let (Some(ruled), Some(live)) = (ruled, governor.state.runs.get_mut(&run)) {
                noted = action::note(&mut Arc::make_mut(live).history, &ruled);
            }
            with_attempt(governor, *agent, |attempt| {
                attempt.actions.set_noted(*permit, noted);
                let ruled = attempt.actions.permitted(*permit).map(|asked| asked.ruled.action);
                attempt.conduct.acted |= !ruled.is_some_and(is_planning);
            });
        }
        Fact::PerformanceBegan { agent, permit, shut, .. } => {
            // What is performed has a time of its own: the agent's stands still meanwhile (2.C rule 3).
            with_attempt(governor, *agent, |attempt| {
                attempt.actions.set(*permit, Stands::Performing);
                let performing = Performing { shut: shut.clone(), ..Performing::default() };
                attempt.performing.insert(*permit, performing);
                attempt.idle_by = None;
            });
            governor.timers.clear(Timer::Idle(*agent));
            heartbeats::stand_still(governor, *agent, now);
        }
        Fact::PerformanceReleased { agent, permit, tree } => with_attempt(governor, *agent, |attempt| {
            let released = Performing { released: true, tree: tree.clone(), ..Performing::default() };
            attempt.performing.insert(*permit, released);
        }),
        Fact::PerformanceEnding { agent, permit, because } => with_attempt(governor, *agent, |attempt| {
            if let Some(performing) = attempt.performing.get_mut(permit) {
                performing.ending = Some(because.clone());
            }
        }),
        Fact::PerformanceEnded { agent, permit, end } => {
            with_attempt(governor, *agent, |attempt| {
                // What two people let pass says nothing of what it may do by itself.
                let asked =
                    attempt.actions.permitted(*permit).filter(|asked| asked.ruled.break_glass.is_none());
                let action = asked.map(|asked| asked.ruled.action);
                attempt.conduct.did.extend(action.filter(|_| end.is_ok()));
                attempt.actions.set(*permit, Stands::Over);
                attempt.performing.remove(permit);
            });
            progress(governor, *agent, now);
            heartbeats::go_on(governor, *agent, now);
        }
        Fact::ActionEnded { agent, permit, ok, .. } => with_attempt(governor, *agent, |attempt| {
            let action = attempt.actions.permitted(*permit).map(|asked| asked.ruled.action);
            attempt.conduct.did.extend(action.filter(|action| *ok && is_proven_by_files(*action)));
            attempt.actions.set(*permit, Stands::Over);
        }),
        Fact::PlanClarified { agent, .. } => {
            with_attempt(governor, *agent, |attempt| attempt.clarified = true)
        }
        Fact::DiagnosticKnown { pipeline } => governor.state.diagnostic = Some(*pipeline),
        Fact::DiagnosisSkipped { .. } => {}
        Fact::ProgramReleased { agent, execute_by } => {
            with_attempt(governor, *agent, |attempt| attempt.execute_by = Some(*execute_by));
            governor.timers.clear(Timer::Start(*agent));
            governor.timers.set(Timer::Execute(*agent), *execute_by);
            progress(governor, *agent, now);
        }
        Fact::ProgressSeen { agent } => progress(governor, *agent, now),
        Fact::AgentEnding { agent, end, to_prove } => {
            let known = governor.attempt(*agent).is_some_and(|(_, _, attempt)| attempt.being_killed);
            with_attempt(governor, *agent, |attempt| {
                attempt.end = Some(end.clone());
                attempt.being_killed = true;
                attempt.to_prove |= to_prove;
                attempt.stop_its_clocks();
            });
            governor.timers.clear_agent(*agent);
            leases::take_token(governor, *agent);
            locks::stop_renewing(governor, *agent);
            if !known {
                await_death(governor, *agent, now);
            }
        }
        Fact::OutputSeen { agent, outputs, artifacts } => {
            with_attempt(governor, *agent, |attempt| attempt.take(outputs, artifacts));
        }
        Fact::LeaseBegan { .. }
        | Fact::LeaseRenewed { .. }
        | Fact::LeaseEnded { .. }
        | Fact::TokenIssued { .. }
        | Fact::TokenRenewed { .. }
        | Fact::CredentialKnown { .. }
        | Fact::CredentialEnding(_)
        | Fact::CredentialEnded { .. }
        | Fact::EndingGoesOn { .. }
        | Fact::CredentialLost { .. }
        | Fact::ClockSetBack { .. }
        | Fact::ClockDoubted { .. }
        | Fact::ClockTrusted { .. } => leases::apply(governor, fact, now),
        Fact::LockWaiting { .. }
        | Fact::LockWaitOver { .. }
        | Fact::LockAcquired { .. }
        | Fact::LocksRenewed { .. }
        | Fact::LockLost { .. }
        | Fact::LockMissed { .. }
        | Fact::LockReleased { .. } => locks::apply(governor, fact, now),
        Fact::HeartbeatSeen { agent } => heartbeats::seen(governor, *agent, now),
        Fact::HeartbeatsMissed { agent, .. } => heartbeats::missed(governor, *agent),
        Fact::ErrorCounted { agent, code } => {
            with_attempt(governor, *agent, |attempt| attempt.budget.count_error(code));
            let run = governor.agents.get(agent).map(|(run, _)| *run);
            if let Some(live) = run.and_then(|run| governor.state.runs.get_mut(&run)) {
                slide(&mut Arc::make_mut(live).errors_at, now.ledger, MINUTE);
            }
        }
        Fact::CallsLimited { agent } => with_attempt(governor, *agent, |attempt| {
            slide(&mut attempt.limited_at, now.ledger, limits::LIMITED_WITHIN);
        }),
        Fact::ViolationFound { agent, violation, .. } => {
            with_attempt(governor, *agent, |attempt| {
                attempt.conduct.violations = attempt.conduct.violations.saturating_add(1);
                if violation.severity() == Severity::High {
                    attempt.budget.count_procedure_violation();
                }
            });
            standing::note_violation(governor, *agent, now);
        }
        Fact::PromotionRequested(opened) => standing::open(governor, opened, now),
        Fact::PromotionAnswered { standing, by, decision, public_key, .. } => {
            let vote = Vote { decision: *decision, public_key: public_key.clone() };
            standing::vote(governor, *standing, by, vote, now);
        }
        Fact::PromotionApproved { standing, to, .. } => standing::close(governor, *standing, Some(*to), now),
        Fact::PromotionDenied { standing, .. } => standing::close(governor, *standing, None, now),
        Fact::StandingLowered { standing, to, because, .. } => {
            standing::lower(governor, *standing, *to, because, now);
        }
        Fact::AttemptSpoiled { agent, end } => {
            with_attempt(governor, *agent, |attempt| {
                attempt.end = Some(end.clone());
                attempt.stop_its_clocks();
            });
            governor.timers.clear_agent(*agent);
            leases::take_token(governor, *agent);
        }
        Fact::Packaged { agent, manifest } => {
            with_attempt(governor, *agent, |attempt| attempt.package = Some(*manifest))
        }
        Fact::AllStopped { .. }
        | Fact::StoppingGoesOn { .. }
        | Fact::AllLifted { .. }
        | Fact::BreakGlassAsked(_)
        | Fact::BreakGlassOpened { .. }
        | Fact::BreakGlassBound { .. }
        | Fact::BreakGlassOver { .. }
        | Fact::AlarmRaised { .. } => emergencies::apply(governor, fact, now),
        // What follows from a revocation stands in the facts after it, from a secret or an alert nothing.
        Fact::Revoked { .. }
        | Fact::AlertRaised { .. }
        | Fact::PermitRefused { .. }
        | Fact::SecretGranted { .. }
        | Fact::Reported { .. }
        | Fact::ReportMisplaced { .. }
        | Fact::OutputDropped { .. } => {}
        // A condition that had to wait for another turn waits no longer.
        Fact::ConditionDecided { run, stage, .. } => unqueue(governor, *run, *stage),
        Fact::AttemptCutOff { agent } => cut_off(governor, *agent, now),
        Fact::AgentLingers { agent, asked, again_at } => {
            with_attempt(governor, *agent, |attempt| {
                attempt.asked_in_vain = *asked;
                attempt.gone_by = Some(*again_at);
            });
            governor.timers.set(Timer::Gone(*agent), *again_at);
        }
        Fact::AttemptEnded { agent, end } => end_attempt(governor, *agent, end, now),
        Fact::StageEnding { run, stage, status, reason } => {
            if let Some(state) = governor.stage_mut(*run, *stage) {
                state.ending = Some((*status, reason.clone()));
            }
        }
        Fact::StageExpired { run, stage } => {
            governor.timers.clear(Timer::Stage(*run, *stage));
            if let Some(state) = governor.stage_mut(*run, *stage) {
                state.deadline = None;
                state.expired = true;
            }
        }
        Fact::RetryScheduled { run, stage, at } => {
            if let Some(state) = governor.stage_mut(*run, *stage) {
                state.doing = Doing::Backoff(*at);
                governor.timers.set(Timer::Retry(*run, *stage), *at);
            }
        }
        Fact::EndsSooner => ends::end_sooner(governor, now),
        Fact::BackoffOver { run, stage } => {
            governor.timers.clear(Timer::Retry(*run, *stage));
            enqueue(governor, *run, *stage);
        }
        Fact::GateOpened(opened) if opened.purpose == GatePurpose::Action => ask(governor, opened, now),
        Fact::GateOpened(opened) => {
            unqueue(governor, opened.run, opened.stage);
            if let Some(state) = governor.stage_mut(opened.run, opened.stage) {
                let gate = Gate { opened: opened.as_ref().clone(), votes: BTreeMap::new() };
                state.doing = Doing::Gate(Box::new(gate));
                governor.gates.insert(opened.gate, (opened.run, opened.stage));
                governor.timers.set_until(Timer::Gate(opened.gate), opened.deadline);
            }
        }
        Fact::VoteCast { gate, by, decision, public_key, .. } => {
            if let Some(open) = governor.open_gate_mut(*gate) {
                let vote = Vote { decision: *decision, public_key: public_key.clone() };
                open.votes.insert(by.clone(), vote);
            }
        }
        Fact::GateClosed { gate, outcome } => {
            if *outcome == GateOutcome::Denied {
                people::denied(governor, *gate);
            }
            if let Some((run, ix)) = governor.gates.remove(gate) {
                match governor.stage_mut(run, ix).map(|state| &mut state.doing) {
                    Some(Doing::Attempt(attempt)) => {
                        let agent = attempt.agent;
                        attempt.questions.close(*gate, *outcome);
                        idle_goes_on(governor, agent, now);
                        heartbeats::go_on(governor, agent, now);
                    }
                    Some(doing) => *doing = Doing::Nothing,
                    None => {}
                }
                governor.timers.clear(Timer::Gate(*gate));
                governor.state.closed_gates.put(*gate, *outcome);
            }
        }
    }
}

impl Attempt {
    fn begun(agent: AgentId, start_by: eparch_domain::LedgerTime) -> Attempt {
        Attempt {
            agent,
            phase: Phase::Bootstrap,
            start_by,
            execute_by: None,
            idle_by: None,
            gone_by: None,
            asked_in_vain: 0,
            tree: None,
            outputs: BTreeMap::new(),
            artifacts: Vec::new(),
            put_out: 0,
            budget: eparch_domain::ErrorBudget::default(),
            heartbeats: Heartbeats::default(),
            conduct: Conduct::default(),
            limited_at: Vec::new(),
            plan: None,
            may_ask: Vec::new(),
            actions: Actions::default(),
            performing: BTreeMap::new(),
            questions: Questions::default(),
            token: None,
            locks: None,
            clarified: false,
            package: None,
            end: None,
            being_killed: false,
            to_prove: false,
            cut_off: false,
        }
    }

    /// Its program has ended, or is to: nothing is expected of it any more.
    fn stop_its_clocks(&mut self) {
        self.idle_by = None;
        self.heartbeats = Heartbeats::default();
    }

    fn take(&mut self, outputs: &BTreeMap<String, Value>, artifacts: &[Artifact]) {
        for (name, value) in outputs {
            self.put_out += written::output(name, value);
            if let Some(before) = self.outputs.insert(name.clone(), value.clone()) {
                self.put_out -= written::output(name, &before);
            }
        }
        self.put_out += artifacts.iter().map(written::artifact).sum::<usize>();
        self.artifacts.extend(artifacts.iter().cloned());
    }
}

fn with_attempt(governor: &mut Governor, agent: AgentId, change: impl FnOnce(&mut Attempt)) {
    if let Some(attempt) = governor.attempt_mut(agent) {
        change(attempt);
    }
}

/// Whether what works at a stage may write on the host by itself: nobody sees what it writes there, or whether it does.
fn may_write_unseen(governor: &Governor, run: RunId, ix: StageIx) -> bool {
    let Some(live) = governor.run(run) else { return false };
    match &live.graph().pipeline.stage(ix).work {
        Work::Agent(work) => !work.write.is_empty() && governor.tier_at(live, ix) >= Tier::T1,
        _ => false,
    }
}

/// An agent is to be dead: by when that must have been reported.
fn await_death(governor: &mut Governor, agent: AgentId, now: Moment) {
    let by = now.ledger.after(limits::GONE_AFTER);
    with_attempt(governor, agent, |attempt| attempt.gone_by = Some(by));
    governor.timers.set(Timer::Gone(agent), by);
}

/// The holder of an agent died. While nobody knows whether it lives, and while a person is asked, nothing of its stage
/// can run: the stage has a new timeout when it becomes ready again.
fn cut_off(governor: &mut Governor, agent: AgentId, now: Moment) {
    with_attempt(governor, agent, |attempt| {
        attempt.cut_off = true;
        attempt.stop_its_clocks();
        attempt.asked_in_vain = 0;
    });
    governor.timers.clear_agent(agent);
    leases::take_token(governor, agent);
    locks::stop_renewing(governor, agent);
    await_death(governor, agent, now);
    if let Some((run, ix)) = governor.agents.get(&agent).copied() {
        governor.timers.clear(Timer::Stage(run, ix));
        if let Some(state) = governor.stage_mut(run, ix) {
            state.deadline = None;
        }
    }
}

fn spawn(governor: &mut Governor, spawned: &RunSpawned) {
    let graph = governor.definitions.get(&spawned.pipeline).cloned();
    let graph = graph.expect("a definition is learned before the fact that names it is applied");
    let stages = graph.pipeline.stages.iter().map(|_| Arc::new(StageState::new())).collect();
    if let Some(key) = &spawned.idempotency_key {
        let asked = spawned.asked.unwrap_or(spawned.plan);
        governor.state.live_requests.insert(key.clone(), (spawned.run, asked));
    }
    governor.timers.set(Timer::Run(spawned.run), spawned.deadline);
    // What begins because of a run goes on under what people said no to in it, and after what was done there (decision 0021).
    let parent = spawned.parent.as_ref().and_then(|parent| governor.state.runs.get(&parent.run));
    let (denials, history) =
        parent.map(|parent| (parent.denials.clone(), parent.history.clone())).unwrap_or_default();
    let run = Run {
        spawned: Arc::new(spawned.clone()),
        keys_before: governor.state.keys_given,
        status: RunStatus::Spawned,
        ending: None,
        stages,
        history,
        leases_begun: 0,
        denials,
        diagnosed: false,
        errors_at: Vec::new(),
        graph: Some(graph),
    };
    if let Some(parent) = &spawned.parent
        && let Some(looked_at) = governor.state.runs.get_mut(&parent.run)
    {
        Arc::make_mut(looked_at).diagnosed = true;
    }
    governor.state.runs.insert(spawned.run, Arc::new(run));
}

/// A run works on with what an earlier one left, and so after what was done there: whoever repeats a run in part does not get rid
/// of that. What is not remembered any more may have been anything.
fn go_on_with_history(governor: &mut Governor, run: RunId) {
    let earlier = governor.run(run).and_then(|live| live.spawned.repeats.as_ref());
    let Some((earlier, _)) = earlier else { return };
    let lives = governor.run(*earlier).map(|live| live.history.clone());
    let ended = || governor.state.ended_histories.get(earlier).map(|history| history.as_ref().clone());
    let history = lives.or_else(ended).unwrap_or_else(History::unknown);
    if let Some(live) = governor.state.runs.get_mut(&run) {
        Arc::make_mut(live).history = history;
    }
}

fn change_run(governor: &mut Governor, run: RunId, status: RunStatus) {
    if status.is_terminal() {
        governor.timers.clear(Timer::Run(run));
        let ended = governor.state.runs.remove(&run);
        governor.state.ended_runs.put(run, status);
        if let Some(ended) = &ended {
            governor.state.ended_histories.put(run, Arc::new(ended.history.clone()));
        }
        if let Some(key) = ended.as_ref().and_then(|ended| ended.spawned.idempotency_key.as_ref())
            && let Some(request) = governor.state.live_requests.remove(key)
        {
            governor.state.ended_requests.put(key.clone(), request);
        }
    } else if let Some(live) = governor.state.runs.get_mut(&run) {
        Arc::make_mut(live).status = status;
    }
}

fn change_stage(
    governor: &mut Governor,
    run: RunId,
    ix: StageIx,
    status: StageStatus,
    reason: &str,
    now: Moment,
) {
    if status.is_terminal() {
        unqueue(governor, run, ix);
        governor.timers.clear(Timer::Stage(run, ix));
        governor.timers.clear(Timer::Retry(run, ix));
    }
    let timeout = governor.run(run).and_then(|live| match &live.graph().pipeline.stage(ix).work {
        Work::Agent(work) => Some(work.timeout),
        _ => None,
    });
    let Some(state) = governor.stage_mut(run, ix) else { return };
    state.status = status;
    reason.clone_into(&mut state.reason);
    if status.is_terminal() {
        state.doing = Doing::Nothing;
        state.deadline = None;
        state.ending = None;
        return;
    }
    if status != StageStatus::Ready {
        return;
    }
    // Ready without a backoff is waiting its turn.
    let waits = state.doing == Doing::Nothing;
    if let (Some(timeout), None, false) = (timeout, state.deadline, state.expired) {
        let at = now.ledger.after(timeout);
        state.deadline = Some(at);
        governor.timers.set(Timer::Stage(run, ix), at);
    }
    if waits {
        enqueue(governor, run, ix);
    }
}

fn enqueue(governor: &mut Governor, run: RunId, ix: StageIx) {
    let place = governor.state.queue_next;
    let Some(state) = governor.stage_mut(run, ix) else { return };
    state.doing = Doing::Queued(place);
    governor.state.queue_next += 1;
    governor.queue_of(run, ix).insert(place, (run, ix));
}

fn unqueue(governor: &mut Governor, run: RunId, ix: StageIx) {
    locks::give_up_waiting(governor, run, ix);
    if let Some(Doing::Queued(place)) = governor.run(run).map(|live| &live.stage(ix).doing) {
        let place = *place;
        governor.queue_of(run, ix).remove(&place);
        if let Some(state) = governor.stage_mut(run, ix) {
            state.doing = Doing::Nothing;
        }
    }
}

/// The idle timeout is that of a program that runs: before it is let go, after it has ended, and while something is performed
/// for it, nothing is set, whatever moves.
fn progress(governor: &mut Governor, agent: AgentId, now: Moment) {
    let Some((run, ix, attempt)) = governor.attempt(agent) else { return };
    if attempt.end.is_some() || attempt.phase != Phase::Execute || !attempt.performing.is_empty() {
        return;
    }
    let idle = governor.run(run).and_then(|live| match &live.graph().pipeline.stage(ix).work {
        Work::Agent(work) => work.idle_timeout,
        _ => None,
    });
    let Some(idle) = idle else { return };
    with_attempt(governor, agent, |attempt| attempt.questions.idle_left = Some(idle));
    idle_goes_on(governor, agent, now);
}

/// The idle timeout runs, from what is left of it, unless people are asked for something or something is performed for it:
/// waiting for either is not standing still (2.C rule 3).
fn idle_goes_on(governor: &mut Governor, agent: AgentId, now: Moment) {
    let Some((_, _, attempt)) = governor.attempt(agent) else { return };
    let runs = attempt.end.is_none() && !attempt.cut_off && attempt.phase == Phase::Execute;
    if !runs || !attempt.questions.open.is_empty() || !attempt.performing.is_empty() {
        return;
    }
    let Some(left) = attempt.questions.idle_left else { return };
    let at = now.ledger.after(left);
    with_attempt(governor, agent, |attempt| {
        attempt.questions.idle_left = None;
        attempt.idle_by = Some(at);
    });
    governor.timers.set(Timer::Idle(agent), at);
}

/// People are asked for something that an agent seeks to do. Its stage stays as it is; its idle timeout stands still.
fn ask(governor: &mut Governor, opened: &GateOpened, now: Moment) {
    let Some(agent) = opened.sought.as_ref().map(|sought| sought.agent) else { return };
    with_attempt(governor, agent, |attempt| {
        if let Some(at) = attempt.idle_by.take() {
            attempt.questions.idle_left = Some(at.since(now.ledger));
        }
        let gate = Gate { opened: opened.clone(), votes: BTreeMap::new() };
        attempt.questions.open.insert(opened.gate, gate);
    });
    governor.timers.clear(Timer::Idle(agent));
    heartbeats::stand_still(governor, agent, now);
    governor.gates.insert(opened.gate, (opened.run, opened.stage));
    governor.timers.set_until(Timer::Gate(opened.gate), opened.deadline);
}

fn end_attempt(governor: &mut Governor, agent: AgentId, end: &AttemptEnd, now: Moment) {
    leases::take_token(governor, agent);
    locks::stop_renewing(governor, agent);
    let Some((run, ix)) = governor.agents.remove(&agent) else { return };
    governor.timers.clear_agent(agent);
    governor.timers.clear(Timer::Gone(agent));
    if let Some(state) = governor.stage_mut(run, ix) {
        let doing = std::mem::replace(&mut state.doing, Doing::Nothing);
        if let Doing::Attempt(attempt) = doing {
            let conduct = Conduct { left_files: !attempt.artifacts.is_empty(), ..attempt.conduct };
            match end {
                AttemptEnd::Completed => {
                    state.outputs = attempt.outputs;
                    state.artifacts = attempt.artifacts;
                    state.put_out = attempt.put_out;
                }
                AttemptEnd::Interrupted { .. } => state.interruptions += 1,
                _ => {}
            }
            standing::note_end(governor, (run, ix), end, &conduct, now);
        }
    }
}
