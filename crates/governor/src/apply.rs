//! Making a fact so. Nothing here decides; nothing elsewhere changes state.

use std::sync::Arc;

use eparch_domain::{AgentId, Moment, Phase, RunId, RunStatus, StageStatus};
use eparch_pipeline::{StageIx, Work};

use crate::fact::{Fact, RunSpawned};
use crate::governor::Governor;
use crate::state::{Attempt, Doing, Gate, Run, StageState};
use crate::timers::Timer;

pub(crate) fn apply(governor: &mut Governor, fact: &Fact, now: Moment) {
    match fact {
        Fact::EpochBegan { epoch, agents_at_once } => {
            governor.state.epoch = *epoch;
            governor.state.agents_at_once = *agents_at_once;
        }
        Fact::OperatorKnown { operator } => {
            governor.state.operators.insert(operator.name.clone(), operator.clone());
        }
        Fact::OperatorRekeyed { name, key } => {
            if let Some(operator) = governor.state.operators.get_mut(name) {
                operator.key = key.clone();
            }
        }
        Fact::OperatorForgotten { name } => {
            governor.state.operators.remove(name);
        }
        Fact::RunSpawned(spawned) => spawn(governor, spawned),
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
            }
        }
        Fact::AttemptBegan { run, stage, agent, start_by, .. } => {
            unqueue(governor, *run, *stage);
            governor.timers.clear(Timer::Retry(*run, *stage));
            let epoch = governor.state.epoch;
            if let Some(state) = governor.stage_mut(*run, *stage) {
                state.attempts += 1;
                state.last_agent = Some(*agent);
                state.doing = Doing::Attempt(Box::new(Attempt::begun(*agent, epoch, *start_by)));
                governor.agents.insert(*agent, (*run, *stage));
                governor.timers.set(Timer::Start(*agent), *start_by);
            }
        }
        Fact::PhaseEntered { agent, phase } => {
            with_attempt(governor, *agent, |attempt| attempt.phase = *phase);
            // The attempt's own clocks are for its program; the stage's timeout covers what follows.
            if *phase > Phase::Execute {
                with_attempt(governor, *agent, |attempt| attempt.idle_by = None);
                governor.timers.clear_agent(*agent);
            }
        }
        Fact::TreeKnown { agent, tree } => {
            with_attempt(governor, *agent, |attempt| attempt.tree = Some(tree.clone()))
        }
        Fact::PlanSettled { agent, plan } => {
            with_attempt(governor, *agent, |attempt| attempt.plan = Some(*plan))
        }
        Fact::PlanClarified { agent, clarified } => with_attempt(governor, *agent, |attempt| {
            attempt.plan = Some(clarified.plan);
            attempt.clarifications = clarified.crossing;
        }),
        Fact::ProgramReleased { agent, execute_by } => {
            with_attempt(governor, *agent, |attempt| attempt.execute_by = Some(*execute_by));
            governor.timers.clear(Timer::Start(*agent));
            governor.timers.set(Timer::Execute(*agent), *execute_by);
            progress(governor, *agent, now);
        }
        Fact::ProgressSeen { agent } => progress(governor, *agent, now),
        Fact::AgentEnding { agent, end } => {
            with_attempt(governor, *agent, |attempt| {
                attempt.end = Some(end.clone());
                attempt.being_killed = true;
                attempt.idle_by = None;
            });
            governor.timers.clear_agent(*agent);
        }
        Fact::OutputSeen { agent, outputs, artifacts } => {
            with_attempt(governor, *agent, |attempt| {
                attempt.outputs.extend(outputs.clone());
                attempt.artifacts.extend(artifacts.iter().cloned());
            });
        }
        Fact::ErrorCounted { agent, code } => {
            with_attempt(governor, *agent, |attempt| attempt.budget.count_error(code))
        }
        Fact::ViolationFound { agent, violation, .. } => with_attempt(governor, *agent, |attempt| {
            if *violation == eparch_domain::ViolationType::ProcedureSkipped {
                attempt.budget.count_procedure_violation();
            }
        }),
        Fact::AttemptSpoiled { agent, end } => {
            with_attempt(governor, *agent, |attempt| {
                attempt.end = Some(end.clone());
                attempt.idle_by = None;
            });
            governor.timers.clear_agent(*agent);
        }
        Fact::Packaged { agent, manifest } => {
            with_attempt(governor, *agent, |attempt| attempt.package = Some(*manifest))
        }
        Fact::Reported { .. } | Fact::ConditionDecided { .. } => {}
        Fact::AttemptCutOff { agent } => {
            with_attempt(governor, *agent, |attempt| {
                attempt.cut_off = true;
                attempt.idle_by = None;
            });
            governor.timers.clear_agent(*agent);
        }
        Fact::AttemptEnded { agent, end } => end_attempt(governor, *agent, end),
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
        Fact::BackoffOver { run, stage } => {
            governor.timers.clear(Timer::Retry(*run, *stage));
            enqueue(governor, *run, *stage);
        }
        Fact::GateOpened(opened) => {
            if let Some(state) = governor.stage_mut(opened.run, opened.stage) {
                let gate = Gate { opened: opened.as_ref().clone(), votes: std::collections::BTreeMap::new() };
                state.doing = Doing::Gate(Box::new(gate));
                governor.gates.insert(opened.gate, (opened.run, opened.stage));
                governor.timers.set(Timer::Gate(opened.gate), opened.deadline);
            }
        }
        Fact::VoteCast { gate, by, decision, .. } => {
            if let Some((run, ix)) = governor.gates.get(gate).copied()
                && let Some(Doing::Gate(open)) = governor.stage_mut(run, ix).map(|state| &mut state.doing)
            {
                open.votes.insert(by.clone(), *decision);
            }
        }
        Fact::GateClosed { gate, outcome } => {
            if let Some((run, ix)) = governor.gates.remove(gate) {
                if let Some(state) = governor.stage_mut(run, ix) {
                    state.doing = Doing::Nothing;
                }
                governor.timers.clear(Timer::Gate(*gate));
                governor.state.closed_gates.put(*gate, *outcome);
            }
        }
    }
}

impl Attempt {
    fn begun(agent: AgentId, epoch: u64, start_by: eparch_domain::LedgerTime) -> Attempt {
        Attempt {
            agent,
            phase: Phase::Bootstrap,
            epoch,
            start_by,
            execute_by: None,
            idle_by: None,
            tree: None,
            outputs: std::collections::BTreeMap::new(),
            artifacts: Vec::new(),
            budget: eparch_domain::ErrorBudget::default(),
            plan: None,
            clarifications: 0,
            package: None,
            end: None,
            being_killed: false,
            cut_off: false,
        }
    }
}

fn with_attempt(governor: &mut Governor, agent: AgentId, change: impl FnOnce(&mut Attempt)) {
    if let Some(attempt) = governor.attempt_mut(agent) {
        change(attempt);
    }
}

fn spawn(governor: &mut Governor, spawned: &RunSpawned) {
    let Some(graph) = governor.definitions.get(&spawned.pipeline).cloned() else { return };
    let stages = graph.pipeline.stages.iter().map(|_| Arc::new(StageState::new())).collect();
    if let Some(key) = &spawned.idempotency_key {
        governor.state.keys.put(key.clone(), (spawned.run, spawned.plan));
    }
    governor.timers.set(Timer::Run(spawned.run), spawned.deadline);
    let run = Run {
        spawned: Arc::new(spawned.clone()),
        status: RunStatus::Spawned,
        ending: None,
        stages,
        graph: Some(graph),
    };
    governor.state.runs.insert(spawned.run, Arc::new(run));
}

fn change_run(governor: &mut Governor, run: RunId, status: RunStatus) {
    if status.is_terminal() {
        governor.timers.clear(Timer::Run(run));
        governor.state.runs.remove(&run);
        governor.state.ended_runs.put(run, status);
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
        return;
    }
    // Ready without a backoff is waiting for a free agent.
    let waits = status == StageStatus::Ready && state.doing == Doing::Nothing;
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
    governor.queue.insert(place, (run, ix));
}

fn unqueue(governor: &mut Governor, run: RunId, ix: StageIx) {
    if let Some(Doing::Queued(place)) = governor.run(run).map(|live| &live.stage(ix).doing) {
        let place = *place;
        governor.queue.remove(&place);
        if let Some(state) = governor.stage_mut(run, ix) {
            state.doing = Doing::Nothing;
        }
    }
}

fn progress(governor: &mut Governor, agent: AgentId, now: Moment) {
    let Some((run, ix, attempt)) = governor.attempt(agent) else { return };
    if attempt.end.is_some() || attempt.execute_by.is_none() {
        return;
    }
    let idle = governor.run(run).and_then(|live| match &live.graph().pipeline.stage(ix).work {
        Work::Agent(work) => work.idle_timeout,
        _ => None,
    });
    if let Some(idle) = idle {
        let at = now.ledger.after(idle);
        with_attempt(governor, agent, |attempt| attempt.idle_by = Some(at));
        governor.timers.set(Timer::Idle(agent), at);
    }
}

fn end_attempt(governor: &mut Governor, agent: AgentId, end: &crate::event::AttemptEnd) {
    let Some((run, ix)) = governor.agents.remove(&agent) else { return };
    governor.timers.clear_agent(agent);
    if let Some(state) = governor.stage_mut(run, ix) {
        let doing = std::mem::replace(&mut state.doing, Doing::Nothing);
        if let Doing::Attempt(attempt) = doing {
            match end {
                crate::event::AttemptEnd::Completed => {
                    state.outputs = attempt.outputs;
                    state.artifacts = attempt.artifacts;
                }
                crate::event::AttemptEnd::Interrupted { .. } => state.interruptions += 1,
                _ => {}
            }
        }
    }
}
