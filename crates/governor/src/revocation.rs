//! Taking authority away: from one agent, or from a run with all its agents. What bore it is ended, and nothing it asks for
//! from then on counts.

use eparch_domain::{
    AgentId, LedgerTime, Name, Phase, RunId, RunStatus, Severity, Span, ViolationType, limits,
};
use eparch_pipeline::StageIx;
use serde::{Deserialize, Serialize};

use crate::agent;
use crate::attempt_end::AttemptEnd;
use crate::break_glass;
use crate::decision::{Answer, Refusal};
use crate::diagnostic;
use crate::ending::{cut, end_run};
use crate::event::Event;
use crate::fact::Fact;
use crate::governor::Turn;
use crate::operators;
use crate::standing;
use crate::state::Attempt;

/// What bears authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "bearer", rename_all = "snake_case")]
pub enum Bearer {
    /// One agent.
    Agent {
        /// Which.
        agent: AgentId,
    },
    /// A run, and with it every agent it has.
    Run {
        /// Which.
        run: RunId,
    },
}

/// Why authority was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// Somebody said so.
    Person {
        /// Who.
        by: Name,
    },
    /// A rule was broken; its [`eparch_domain::RevocationType`] follows from it (X07).
    Violation {
        /// Which.
        violation: ViolationType,
    },
}

impl Event {
    /// Whether it takes authority away, or may: such a thing is not to wait for those who have it.
    pub fn takes_authority_away(&self) -> bool {
        matches!(
            self,
            Event::RevokeRequested { .. }
                | Event::StopRequested { .. }
                | Event::StopAllRequested { .. }
                | Event::BreakGlassEndRequested { .. }
                | Event::DemotionRequested { .. }
                | Event::OperatorRemoved { .. }
                | Event::LockReleaseRequested { .. }
        )
    }
}

/// Somebody takes authority away. Asking twice is the same as asking once.
pub(crate) fn requested(turn: &mut Turn<'_>, bearer: Bearer, by: &Name, reason: &str) {
    if operators::require(turn, by, "take authority away", |known| known.role.may_run()).is_none() {
        return;
    }
    let cause = Cause::Person { by: by.clone() };
    let reason = cut(reason, limits::RATIONALE_BYTES);
    match bearer {
        Bearer::Agent { agent } => match turn.governor.attempt(agent) {
            None => turn.refuse(Refusal::UnknownAgent { agent }),
            Some((run, ix, attempt)) if is_done(turn, run, ix, attempt) => {
                turn.decision.answer = Answer::Already { run }
            }
            Some(_) => revoke(turn, agent, cause, reason),
        },
        Bearer::Run { run } => match turn.governor.run(run) {
            None => match turn.governor.state.ended_runs.get(&run) {
                Some(status) => turn.refuse(Refusal::RunEnded { run, status: *status }),
                None => turn.refuse(Refusal::UnknownRun { run }),
            },
            Some(live) if live.ending.is_some() => turn.decision.answer = Answer::Already { run },
            Some(_) => revoke_run(turn, run, cause, reason),
        },
    }
}

/// Whether nothing is left to take from an agent: it was revoked, only has to let go of what it holds, or its stage was given
/// up while nobody knew whether it lives.
pub(crate) fn is_done(turn: &Turn<'_>, run: RunId, ix: StageIx, attempt: &Attempt) -> bool {
    let given_up = || turn.governor.run(run).is_some_and(|live| live.stage(ix).ending.is_some());
    matches!(attempt.end, Some(AttemptEnd::Revoked { .. }))
        || attempt.phase == Phase::Exit
        || (attempt.cut_off && given_up())
}

/// Takes an agent's authority away.
pub(crate) fn revoke(turn: &mut Turn<'_>, agent: AgentId, cause: Cause, reason: &str) {
    take(turn, agent, cause, reason, AttemptEnd::Revoked { reason: reason.to_owned() });
}

fn take(turn: &mut Turn<'_>, agent: AgentId, cause: Cause, reason: &str, end: AttemptEnd) {
    // What is let pass for its run is still let pass for its partners, when it only stood still.
    let run = turn.governor.attempt(agent).map(|(run, ..)| run);
    let run = run.filter(|_| !matches!(end, AttemptEnd::Stalled { .. }));
    turn.record(Fact::Revoked { bearer: Bearer::Agent { agent }, cause, reason: reason.to_owned() });
    if let Some(run) = run {
        break_glass::revoked(turn, run);
    }
    agent::end(turn, agent, end);
}

/// An agent made no progress for as long as its stage allows: it alone loses its authority (R081, X01). Its partners keep
/// theirs, and its stage may be tried again.
pub(crate) fn made_no_progress(turn: &mut Turn<'_>, agent: AgentId, allowed: Span) {
    let violation = ViolationType::NoProgress;
    let reason = format!("it made no progress for {allowed}");
    found(turn, agent, violation, &reason);
    take(turn, agent, Cause::Violation { violation }, &reason, AttemptEnd::Stalled { allowed });
}

/// Takes a run's authority away: that of every agent it has, and of what would still begin.
fn revoke_run(turn: &mut Turn<'_>, run: RunId, cause: Cause, reason: &str) {
    let by = match &cause {
        Cause::Person { by } => Some(by.clone()),
        Cause::Violation { .. } => None,
    };
    turn.record(Fact::Revoked { bearer: Bearer::Run { run }, cause, reason: reason.to_owned() });
    break_glass::revoked(turn, run);
    // One by one and before the run is ended, so that they end revoked and not merely cancelled.
    let of_run = turn.governor.agents.iter().filter(|(_, (of, _))| *of == run);
    let agents: Vec<AgentId> = of_run.map(|(agent, _)| *agent).collect();
    let short = cut(reason, limits::STAGE_REASON_BYTES).to_owned();
    for agent in agents {
        let Some((_, ix, attempt)) = turn.governor.attempt(agent) else { continue };
        if is_done(turn, run, ix, attempt) {
            continue;
        }
        agent::end(turn, agent, AttemptEnd::Revoked { reason: short.clone() });
    }
    end_run(turn, run, RunStatus::Failed, &format!("its authority was taken away: {reason}"), by);
}

/// An agent made an error: past its budget (R197–R199), or when its run has made more than `limits::ERRORS_PER_MINUTE` within a
/// minute (R080), it loses its authority; its run is looked at when it was that fast (R089).
///
/// The budget is the agent's, and the window its run's, whose agents are counted together (X13: "agent budget, pipeline rate
/// window"): otherwise each attempt of a stage, or each of several agents, would have five of its own. It is not the run that
/// loses authority, which only what is CRITICAL takes from all of it (1.4), but whoever errs while its run errs that fast.
pub(crate) fn after_error(turn: &mut Turn<'_>, agent: AgentId) {
    let Some((run, _, attempt)) = turn.governor.attempt(agent) else { return };
    let Some(live) = turn.governor.run(run).filter(|_| attempt.end.is_none()) else { return };
    let budget = &attempt.budget;
    let too_fast = live.errors_at.len() > limits::ERRORS_PER_MINUTE as usize;
    let rate = format!("its run made more than {} errors in a minute", limits::ERRORS_PER_MINUTE);
    let reason = if budget.is_exceeded() {
        let (errors, procedure) = (budget.total_errors, budget.procedure_violations);
        format!("its error budget is exceeded: {errors} errors, {procedure} violations of procedure")
    } else if too_fast {
        rate.clone()
    } else {
        return;
    };
    violated(turn, agent, ViolationType::BudgetExceeded, &reason);
    if too_fast {
        diagnostic::begin_for(turn, agent, &rate);
    }
}

/// The calls of an agent were limited, once more (R083): the first times it is only kept from calling.
pub(crate) fn calls_limited(turn: &mut Turn<'_>, agent: AgentId) {
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    if attempt.end.is_some() || attempt.cut_off || attempt.phase == Phase::Exit {
        return;
    }
    turn.record(Fact::CallsLimited { agent });
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    if attempt.limited_at.len() >= limits::LIMITED_WINDOWS {
        let reason = format!(
            "its calls were limited {} times within {}",
            limits::LIMITED_WINDOWS,
            limits::LIMITED_WITHIN
        );
        violated(turn, agent, ViolationType::RateLimitExceeded, &reason);
    }
}

/// A violation was found; what follows is a matter of how bad it is (1.4). CRITICAL takes the authority of the whole run (R082);
/// HIGH is a violation of procedure, of which the budget lets one pass; the others have rules of their own.
pub(crate) fn violation(turn: &mut Turn<'_>, agent: AgentId, violation: ViolationType, detail: &str) {
    found(turn, agent, violation, detail);
    let Some((run, ix, attempt)) = turn.governor.attempt(agent) else { return };
    let cause = Cause::Violation { violation };
    match violation.severity() {
        Severity::Critical => revoke_run(turn, run, cause, &format!("{violation}: {detail}")),
        // In EXIT it only lets go of what it holds.
        Severity::High if is_done(turn, run, ix, attempt) => {}
        Severity::High if attempt.budget.is_exceeded() => {
            revoke(turn, agent, cause, &format!("{violation}, once too often: {detail}"));
        }
        Severity::High | Severity::Medium | Severity::Low => {}
    }
}

/// The kernel ended processes of an agent that tried to leave their sandbox (1.4). However many there were, one report is one
/// violation: it is told when all of them have ended, so that there was nothing to learn from the first.
pub(crate) fn breached(turn: &mut Turn<'_>, agent: AgentId, breaches: u32) {
    let detail = match breaches {
        0 => return,
        1 => "the kernel ended a process of it that tried to leave its sandbox".to_owned(),
        several => format!("the kernel ended {several} processes of it that tried to leave their sandbox"),
    };
    violation(turn, agent, ViolationType::SandboxBreach, &detail);
}

/// Writes a violation down with what its standing and whoever watches learn of it, in the same entry. Every violation goes
/// through here.
pub(crate) fn found(turn: &mut Turn<'_>, agent: AgentId, violation: ViolationType, detail: &str) {
    turn.record(Fact::ViolationFound { agent, violation, detail: detail.to_owned() });
    standing::after_violation(turn, agent, violation);
}

fn violated(turn: &mut Turn<'_>, agent: AgentId, violation: ViolationType, reason: &str) {
    found(turn, agent, violation, reason);
    revoke(turn, agent, Cause::Violation { violation }, reason);
}

/// Adds a moment to those of a sliding window, and lets go of what is `span` old or older (2.C rule 2).
pub(crate) fn slide(window: &mut Vec<LedgerTime>, now: LedgerTime, span: Span) {
    window.retain(|at| now.since(*at) < span);
    window.push(now);
}
