//! One agent: its eight phases, its errors, its end.

use eparch_domain::{
    AgentId, ClarifiedPlan, Digest, InOrder, Phase, RunId, Span, StageStatus, ViolationType, limits,
};
use eparch_pipeline::{AgentWork, Fuel, OnInterrupt, StageIx, Text, Work};

use crate::asking;
use crate::attempt_end::AttemptEnd;
use crate::decision::Refusal;
use crate::effect::Effect;
use crate::event::{Check, Ended, Outcome, Signal, Usage};
use crate::fact::Fact;
use crate::gate;
use crate::governor::Turn;
use crate::lease;
use crate::lock;
use crate::performance;
use crate::put_out::put_out;
use crate::retry;
use crate::revocation;
use crate::run;
use crate::scope;
use crate::state::Run;
use crate::written;

/// What the pipeline says about the stage an agent works at.
pub(crate) fn work_of<'t>(turn: &'t Turn<'_>, agent: AgentId) -> Option<&'t AgentWork> {
    let (run, ix) = *turn.governor.agents.get(&agent)?;
    work_at(turn.governor.run(run)?, ix)
}

/// What the pipeline says about a stage of a run at which agents work.
pub(crate) fn work_at(live: &Run, ix: StageIx) -> Option<&AgentWork> {
    match &live.graph().pipeline.stage(ix).work {
        Work::Agent(work) => Some(work),
        _ => None,
    }
}

/// Begins the next attempt at a stage.
pub(crate) fn begin(turn: &mut Turn<'_>, run: RunId, ix: StageIx) {
    let Some(live) = turn.governor.run(run) else { return };
    let Some(work) = work_at(live, ix) else { return };
    let attempt = live.stage(ix).attempts + 1;
    let mut fuel = Fuel::default();
    let (scope, copied) = scope::scope_for(live, work.texts().flat_map(Text::expressions));
    let (full, resolved) = (
        fuel.left(),
        scope::resolve(live, ix, work, attempt, turn.governor.tier_at(live, ix), &scope, &mut fuel),
    );
    let evaluations = work.texts().flat_map(Text::expressions).count() as u64 * scope::EVALUATION;
    let around = live.graph().weight + scope::cost_of(copied);
    let (start_timeout, cost) = (work.start_timeout, full - fuel.left() + evaluations + around);
    turn.spend(cost);
    match resolved {
        Err(problem) => {
            let reason = format!("its configuration cannot be resolved: {problem}");
            turn.write(reason.len());
            run::end_stage(turn, run, ix, StageStatus::Failed, &reason);
        }
        Ok(mut spec) => {
            let names = spec.locks.keys().cloned().collect();
            if !lock::can_have(turn, run, ix, &names) {
                return;
            }
            spec.locks = lock::fences(turn.governor, &names);
            turn.write(written::length(&spec));
            let start_by = turn.now.ledger.after(start_timeout);
            turn.record(Fact::AttemptBegan { run, stage: ix, agent: spec.agent, attempt, start_by });
            lock::take(turn, (run, ix), spec.agent, &spec.locks);
            turn.record(Fact::StageChanged {
                run,
                stage: ix,
                status: StageStatus::Running,
                reason: String::new(),
            });
            turn.record(Fact::PhaseEntered { agent: spec.agent, phase: Phase::Bootstrap });
            lease::ensure(turn, run);
            turn.ask(Effect::Prepare(Box::new(spec)));
        }
    }
}

/// The shell carried an agent through some phases. What comes of an agent that has ended is late and changes nothing; what
/// it may hold again goes.
pub(crate) fn advanced(turn: &mut Turn<'_>, agent: AgentId, outcomes: &[Outcome]) {
    if turn.governor.attempt(agent).is_none() {
        return turn.ask(Effect::Release { agent });
    }
    lock::look(turn, agent);
    let mut moved = false;
    for outcome in outcomes {
        let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
        if attempt.cut_off {
            return;
        }
        // EXECUTE is entered when the program is let go, which is written down first: nothing comes of it before.
        if outcome.phase() != attempt.phase {
            let detail = format!("{} came in {}", outcome.phase(), attempt.phase);
            turn.record(Fact::ReportMisplaced { agent, detail });
            break;
        }
        // A revoked agent puts out nothing more, not even a report (R012).
        if let Some(end) = attempt.end.as_ref().filter(|end| end.is_revocation())
            && attempt.phase >= Phase::Execute
        {
            let end = end.clone();
            return goes_no_further(turn, agent, end);
        }
        step(turn, agent, outcome);
        // What could not be carried out leaves it where it is, and so does whatever else was said to have come after it.
        match turn.governor.attempt(agent) {
            Some((_, _, attempt)) if attempt.phase != outcome.phase() => moved = true,
            _ => return,
        }
    }
    // Only an outcome that was taken means that the shell has done what it was asked for and is asked for the rest.
    if let (true, Some((_, _, attempt))) = (moved, turn.governor.attempt(agent))
        && attempt.phase > Phase::Execute
    {
        let (from, failure) = (attempt.phase, attempt.end.as_ref().map(AttemptEnd::reason));
        turn.ask(Effect::Conclude { agent, from, failure });
    }
}

fn step(turn: &mut Turn<'_>, agent: AgentId, outcome: &Outcome) {
    match outcome {
        Outcome::Bootstrap { token, tree, .. } => {
            lease::issue(turn, agent, *token);
            if let Some(tree) = tree {
                turn.record(Fact::TreeKnown { agent, tree: tree.clone() });
            }
            enter(turn, agent, Phase::Preflight);
        }
        Outcome::Preflight { checks, .. } => match first_failed(checks).or_else(|| missing_check(checks)) {
            Some(reason) => goes_no_further(turn, agent, failed("EP0230", reason)),
            None => enter(turn, agent, Phase::Plan),
        },
        Outcome::Plan { problem: Some(problem), .. } => {
            goes_no_further(turn, agent, failed("EP0231", problem.clone()))
        }
        Outcome::Plan { actions, problem: None, .. } if actions.is_empty() => {
            goes_no_further(turn, agent, failed("EP0231", "it names no action".to_owned()))
        }
        Outcome::Plan { plan, actions, problem: None } => planned(turn, agent, *plan, actions),
        Outcome::Execute { ended, outputs, artifacts, usage, .. } => {
            revocation::breached(turn, agent, usage.breaches);
            let lost = turn.governor.attempt(agent).and_then(|(_, _, attempt)| attempt.end.clone());
            // Nothing of what it left counts (R012).
            if let Some(end) = lost.filter(AttemptEnd::is_revocation) {
                return goes_no_further(turn, agent, end);
            }
            let dropped = put_out(turn, agent, outputs, artifacts);
            // A stage has all its results or none: whoever reads them later would miss what is gone in another's name.
            let lost = || dropped.reason().map(|reason| failed("EP0233", reason));
            if let Some(end) = failure_of(ended, usage).or_else(lost) {
                spoil(turn, agent, end);
            }
            enter(turn, agent, Phase::Verify);
        }
        Outcome::Verify { checks } => {
            if let Some(reason) = first_failed(checks) {
                spoil(turn, agent, failed("EP0233", reason));
            }
            enter(turn, agent, Phase::Package);
        }
        Outcome::Package { manifest } => {
            turn.record(Fact::Packaged { agent, manifest: *manifest });
            enter(turn, agent, Phase::Report);
        }
        Outcome::Report { report, package } => {
            let known = turn.governor.attempt(agent).and_then(|(_, _, attempt)| attempt.package);
            if known == Some(*package) {
                turn.record(Fact::Reported { agent, report: *report });
                enter(turn, agent, Phase::Exit);
            } else {
                let detail = "its report does not refer to its evidence".to_owned();
                let violation = ViolationType::EvidenceMissing;
                revocation::found(turn, agent, violation, &detail);
                goes_no_further(turn, agent, failed("EP0234", detail));
            }
        }
        Outcome::Exit => {
            let end = turn.governor.attempt(agent).and_then(|(_, _, attempt)| attempt.end.clone());
            ended(turn, agent, end.unwrap_or(AttemptEnd::Completed));
        }
        Outcome::Failed { in_phase: Phase::Execute, code, reason } => {
            spoil(turn, agent, failed(code, reason.clone()));
            enter(turn, agent, Phase::Verify);
        }
        Outcome::Failed { code, reason, .. } => goes_no_further(turn, agent, failed(code, reason.clone())),
    }
}

/// Notes how an attempt will have ended although it goes on to package its evidence; what was decided first stands.
fn spoil(turn: &mut Turn<'_>, agent: AgentId, end: AttemptEnd) {
    if turn.governor.attempt(agent).is_some_and(|(_, _, attempt)| attempt.end.is_none()) {
        turn.record(Fact::AttemptSpoiled { agent, end });
        asking::withdraw(turn, agent);
    }
}

fn failed(code: &str, reason: String) -> AttemptEnd {
    AttemptEnd::Failed { code: code.to_owned(), reason }
}

/// What PREFLIGHT has to look at (R005).
const PREFLIGHT_CHECKS: [&str; 3] = ["sandbox", "inventory", "dependencies"];

fn missing_check(checks: &[Check]) -> Option<String> {
    let made = |wanted: &&&str| checks.iter().any(|check| check.name == **wanted);
    PREFLIGHT_CHECKS.iter().find(|wanted| !made(wanted)).map(|wanted| format!("{wanted}: it was not checked"))
}

fn first_failed(checks: &[Check]) -> Option<String> {
    checks.iter().find(|check| !check.ok).map(|check| format!("{}: {}", check.name, check.detail))
}

/// The stable code of a program that ended badly.
const PROGRAM_FAILED: &str = "EP0232";

fn failure_of(ended: &Ended, usage: &Usage) -> Option<AttemptEnd> {
    let how = match ended {
        Ended::Code { code: 0 } => return None,
        Ended::Code { code } => format!("it exited with {code}"),
        Ended::Signal { signal } => format!("it was ended by signal {signal}"),
        Ended::Killed => return Some(AttemptEnd::Cancelled { reason: "it was killed".to_owned() }),
    };
    // It may have been a process of it: then its program only says that something failed.
    let why = if usage.out_of_memory { MEMORY_RAN_OUT } else { "" };
    Some(failed(PROGRAM_FAILED, format!("{how}{why}")))
}

/// What an attempt's end says when the kernel ended processes of it for the memory they took together.
const MEMORY_RAN_OUT: &str = "; memory ran out: it may use 4 GiB beside its workspace";
const _: () = assert!(limits::AGENT_MEMORY_BYTES == 4 << 30, "the text names it");

fn enter(turn: &mut Turn<'_>, agent: AgentId, phase: Phase) {
    turn.record(Fact::PhaseEntered { agent, phase });
    if phase > Phase::Execute {
        // Its program has ended: nobody comes back for an answer.
        asking::withdraw(turn, agent);
    }
}

/// The plan is settled: EXECUTE, unless the agent is being ended already.
fn planned(turn: &mut Turn<'_>, agent: AgentId, plan: Digest, actions: &[String]) {
    let end = turn.governor.attempt(agent).and_then(|(_, _, attempt)| attempt.end.clone());
    if let Some(end) = end {
        return goes_no_further(turn, agent, end);
    }
    let Some(work) = work_of(turn, agent) else { return };
    let execute_by = turn.now.ledger.after(work.attempt_timeout.unwrap_or(work.timeout));
    turn.record(Fact::PlanSettled { agent, plan, actions: actions.to_vec() });
    enter(turn, agent, Phase::Execute);
    turn.record(Fact::ProgramReleased { agent, execute_by });
    turn.ask(Effect::Execute { agent, plan });
}

/// An attempt goes no further and will not reach EXIT, which would have been the proof that nothing of it lives. Before its
/// program was let go nothing of it has run, and it has ended: what it holds is released. From then on something of it may live,
/// and it ends when that is proven dead: until then it keeps its locks, and nobody takes its place (G6, G7).
fn goes_no_further(turn: &mut Turn<'_>, agent: AgentId, end: AttemptEnd) {
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let end = attempt.end.clone().unwrap_or(end);
    if attempt.phase < Phase::Execute {
        turn.ask(Effect::Release { agent });
        return ended(turn, agent, end);
    }
    let (tree, performances) = (attempt.tree.clone(), performance::cages(attempt));
    turn.record(Fact::AgentEnding { agent, end, to_prove: true });
    turn.ask(Effect::Reap { agent, tree, performances });
}

/// Decides how an agent will have ended and has its tree killed, once.
pub(crate) fn end(turn: &mut Turn<'_>, agent: AgentId, end: AttemptEnd) {
    let Some((run, ix, attempt)) = turn.governor.attempt(agent) else { return };
    if attempt.cut_off {
        // It was cut off, whatever is decided now; its tree is being proven dead already.
        return give_up(turn, run, ix, &end);
    }
    if attempt.being_killed {
        if matches!((&attempt.end, &end), (Some(AttemptEnd::Stalled { .. }), AttemptEnd::Cancelled { .. })) {
            // Its authority is gone and stays gone; its stage is given up.
            return give_up(turn, run, ix, &end);
        }
        let overrides = match (&attempt.end, &end) {
            // What is given up is not tried again, not even after a failure or a timeout that would have been.
            (Some(before), AttemptEnd::Cancelled { .. }) => matches!(
                before,
                AttemptEnd::Failed { .. } | AttemptEnd::TimedOut { .. } | AttemptEnd::LockLost { .. }
            ),
            // Whatever it is being ended for, nothing that comes of it counts without authority.
            (before, AttemptEnd::Revoked { .. }) => !matches!(before, Some(AttemptEnd::Revoked { .. })),
            _ => false,
        };
        if overrides {
            turn.record(Fact::AgentEnding { agent, end, to_prove: false });
        }
        return;
    }
    let because = end.reason();
    turn.record(Fact::AgentEnding { agent, end, to_prove: false });
    asking::withdraw(turn, agent);
    turn.ask(Effect::Kill { agent, because });
}

/// Gives up the stage of an attempt that was cut off, or that was to be followed by another; once is enough.
fn give_up(turn: &mut Turn<'_>, run: RunId, ix: StageIx, end: &AttemptEnd) {
    if turn.governor.run(run).is_some_and(|live| live.stage(ix).ending.is_none()) {
        let (status, reason) = (end.stage_status(), end.reason());
        turn.record(Fact::StageEnding { run, stage: ix, status, reason });
    }
}

/// Nothing was reported of an agent that is to be dead: it is asked for again, for as long as nothing is.
pub(crate) fn lingers(turn: &mut Turn<'_>, agent: AgentId) {
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let (tree, asked) = (attempt.tree.clone(), attempt.asked_in_vain + 1);
    let performances = performance::cages(attempt);
    let wait = limits::GONE_AFTER.millis() << asked.min(16);
    let again_at = turn.now.ledger.after(Span::from_millis(wait).min(limits::GONE_AFTER_MAX));
    turn.record(Fact::AgentLingers { agent, asked, again_at });
    turn.ask(Effect::Reap { agent, tree, performances });
}

/// An attempt has ended: the stage ends with it, or is tried again.
fn ended(turn: &mut Turn<'_>, agent: AgentId, end: AttemptEnd) {
    let Some((run, ix, _)) = turn.governor.attempt(agent) else { return };
    if end.is_revocation() {
        enter(turn, agent, Phase::Revoked);
    }
    performance::abandon(turn, agent);
    asking::withdraw(turn, agent);
    turn.record(Fact::AttemptEnded { agent, end: end.clone() });
    lock::let_go(turn, agent);
    let Some(live) = turn.governor.run(run) else { return };
    let state = live.stage(ix);
    if let Some((status, why)) = &state.ending {
        let (status, reason) = (*status, format!("{why}; {}", end.reason()));
        return run::end_stage(turn, run, ix, status, &reason);
    }
    let Some(work) = work_at(live, ix) else { return };
    let tries_left = state.attempts - state.interruptions <= work.retries.max;
    let may_retry = end.may_be_retried() && !state.expired;
    if may_retry && tries_left && live.ending.is_none() {
        let wait = retry::wait_before(&work.retries, run, ix, state.attempts - state.interruptions + 1);
        let at = turn.now.ledger.after(wait);
        turn.record(Fact::RetryScheduled { run, stage: ix, at });
        let reason = end.reason();
        turn.record(Fact::StageChanged { run, stage: ix, status: StageStatus::Ready, reason });
        return;
    }
    let status = if live.ending.is_some() && end != AttemptEnd::Completed {
        StageStatus::Cancelled
    } else {
        end.stage_status()
    };
    run::end_stage(turn, run, ix, status, &end.reason());
}

/// The tree of an agent that is to be dead is: one that was cut off, that goes no further, or that was asked for in vain. Now its
/// end can be decided on. An end that was decided while its holder lived stands; of any other it is not known what it did.
pub(crate) fn proven_dead(turn: &mut Turn<'_>, agent: AgentId) {
    let Some((run, ix, attempt)) = turn.governor.attempt(agent) else { return };
    if !attempt.cut_off && !attempt.to_prove && attempt.asked_in_vain == 0 {
        return;
    }
    let ran = attempt.execute_by.is_some();
    if let Some(end) = attempt.end.clone() {
        return ended(turn, agent, end);
    }
    let end = AttemptEnd::Interrupted { ran };
    let reason = end.reason();
    performance::abandon(turn, agent);
    turn.record(Fact::AttemptEnded { agent, end });
    lock::let_go(turn, agent);
    let Some(live) = turn.governor.run(run) else { return };
    let state = live.stage(ix);
    let interruptions = state.interruptions;
    let Some(work) = work_at(live, ix) else { return };
    if let Some((status, why)) = &state.ending {
        let (status, reason) = (*status, format!("{why}; {reason}"));
        return run::end_stage(turn, run, ix, status, &reason);
    }
    if live.ending.is_some() {
        return run::end_stage(turn, run, ix, StageStatus::Cancelled, &reason);
    }
    if interruptions > limits::MAX_INTERRUPTIONS {
        return run::end_stage(
            turn,
            run,
            ix,
            StageStatus::Failed,
            &format!("{reason}; {interruptions} times"),
        );
    }
    // A program that never ran did nothing: there is nothing to ask about.
    match work.on_interrupt() {
        OnInterrupt::Retry => again(turn, run, ix, &reason),
        _ if !ran => again(turn, run, ix, &reason),
        OnInterrupt::Fail => run::end_stage(turn, run, ix, StageStatus::Failed, &reason),
        OnInterrupt::Ask => gate::open_interrupted(turn, run, ix),
    }
}

/// Has an attempt that was cut off made again, as soon as an agent is free.
pub(crate) fn again(turn: &mut Turn<'_>, run: RunId, ix: StageIx, reason: &str) {
    let reason = reason.to_owned();
    turn.record(Fact::StageChanged { run, stage: ix, status: StageStatus::Ready, reason });
}

/// An agent said something on its own listener.
pub(crate) fn signalled(turn: &mut Turn<'_>, agent: AgentId, signal: &Signal) {
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    if attempt.end.is_some() || attempt.cut_off || attempt.phase != Phase::Execute {
        return;
    }
    // Checked when it is used, not only when it was issued. That something moved is seen, and nobody says it.
    if *signal != Signal::Progress && lease::has_expired(attempt, turn.now) {
        return turn.refuse(Refusal::TokenExpired { agent });
    }
    match signal {
        // It is not progress (2.C rule 3).
        Signal::Heartbeat => turn.record(Fact::HeartbeatSeen { agent }),
        Signal::Progress | Signal::Message { .. } => turn.record(Fact::ProgressSeen { agent }),
        Signal::Output { name, value } => {
            put_out(turn, agent, &[(name.clone(), value.clone())].into(), &[]);
            turn.record(Fact::ProgressSeen { agent });
        }
        Signal::Error { code } => {
            let code = code.chars().take(limits::ERROR_CODE_CHARS).collect();
            turn.record(Fact::ErrorCounted { agent, code });
            revocation::after_error(turn, agent);
            clarify_plan(turn, agent);
        }
    }
}

/// Issues an agent's plan again, once, when it has used up more than half of its errors (R021): late enough that an
/// occasional error is no reason, early enough that what is left of the budget can still profit. What is issued is the plan
/// it was let go with, which nothing changes any more, with what has gone wrong so far. Errors only add up, so an attempt
/// crosses that line once at most; the next attempt begins with a plan and a budget of its own.
fn clarify_plan(turn: &mut Turn<'_>, agent: AgentId) {
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let (errors, most) = (attempt.budget.total_errors, attempt.budget.max_total_errors);
    let Some(replaces) = attempt.plan else { return };
    if attempt.end.is_some() || attempt.clarified || errors <= most / 2 {
        return;
    }
    let (crossing, reason) = (1, format!("{errors} of at most {most} errors were made"));
    let document = serde_json::json!({
        "v": 1,
        "plan": replaces,
        "clarification": crossing,
        "reason": reason,
        "errors": attempt.budget.by_code,
        "errors_left": most.saturating_sub(errors),
    });
    let document = serde_json::to_string(&InOrder(&document)).expect("a plan is plain data");
    let plan = Digest::of(document.as_bytes());
    let clarified = ClarifiedPlan { replaces, plan, crossing, reason };
    turn.record(Fact::PlanClarified { agent, clarified, document });
}
