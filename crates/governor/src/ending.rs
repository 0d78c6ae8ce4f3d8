//! Ending a run or a branch from outside: nothing new starts, and what is alive is cancelled.

use eparch_domain::{Name, RunId, RunStatus, StageStatus, limits};
use eparch_pipeline::StageIx;

use crate::agent;
use crate::attempt_end::AttemptEnd;
use crate::decision::{Answer, Refusal};
use crate::fact::{Fact, GateOutcome};
use crate::gate;
use crate::governor::Turn;
use crate::operators;
use crate::run::{end_stage, mark_nested, outcome_of, over_if_done};
use crate::state::Doing;

/// Somebody asked a run to end. Asking twice is the same as asking once.
pub(crate) fn stop(turn: &mut Turn<'_>, run: RunId, by: &Name, reason: &str) {
    if operators::require(turn, by, "stop runs", |known| known.role.may_run()).is_none() {
        return;
    }
    if turn.governor.run(run).is_none() {
        return match turn.governor.state.ended_runs.get(&run) {
            Some(RunStatus::Stopped) => turn.decision.answer = Answer::Already { run },
            Some(status) => turn.refuse(Refusal::RunEnded { run, status: *status }),
            None => turn.refuse(Refusal::UnknownRun { run }),
        };
    }
    let reason = cut(reason, limits::RATIONALE_BYTES);
    end_run(turn, run, RunStatus::Stopped, reason, Some(by.clone()));
}

/// The beginning of a text, of so many bytes at most.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Ends a run from outside: nothing new starts, everything live is cancelled, and the status is settled.
pub(crate) fn end_run(turn: &mut Turn<'_>, run: RunId, status: RunStatus, reason: &str, by: Option<Name>) {
    let Some(live) = turn.governor.run(run) else { return };
    if live.ending.is_some() {
        return;
    }
    let top = live.graph().top.clone();
    turn.record(Fact::RunEnding { run, status, reason: reason.to_owned(), by });
    // The run has it in full; a thousand stages need not.
    let reason = cut(reason, limits::STAGE_REASON_BYTES);
    for ix in &top {
        cancel(turn, run, *ix, reason);
    }
    over_if_done(turn, run, None);
}

/// Cancels everything inside a stage.
pub(crate) fn cancel_inside(turn: &mut Turn<'_>, run: RunId, ix: StageIx, reason: &str) {
    let Some(graph) = turn.governor.run(run).map(|live| live.graph().clone()) else { return };
    for list in 0..graph.lists(ix) {
        for nested in graph.list(ix, list) {
            cancel(turn, run, *nested, reason);
        }
    }
}

/// Cancels a stage: at once when nothing of it is alive, otherwise when its process tree is dead.
fn cancel(turn: &mut Turn<'_>, run: RunId, ix: StageIx, reason: &str) {
    let Some(live) = turn.governor.run(run) else { return };
    let state = live.stage(ix);
    if state.status.is_terminal() {
        return;
    }
    match &state.doing {
        Doing::Attempt(attempt) => {
            let agent = attempt.agent;
            agent::end(turn, agent, AttemptEnd::Cancelled { reason: reason.to_owned() });
        }
        Doing::Gate(open) => {
            let gate = open.opened.gate;
            gate::close(turn, gate, GateOutcome::Cancelled, reason);
        }
        Doing::Nothing if state.status == StageStatus::Running => {
            cancel_inside(turn, run, ix, reason);
            let Some(live) = turn.governor.run(run) else { return };
            let graph = live.graph().clone();
            let mut nested = (0..graph.lists(ix)).flat_map(|list| graph.list(ix, list));
            if nested.all(|nested| live.stage(*nested).status.is_terminal()) {
                // The same whether the last of it ends now or, being killed, later.
                let (status, why) = outcome_of(live, ix);
                let reason = if status == StageStatus::Cancelled { reason } else { &why };
                end_stage(turn, run, ix, status, reason);
            }
        }
        Doing::Nothing | Doing::Queued(_) | Doing::Locks(_) | Doing::Backoff(_) => {
            mark_nested(turn, run, ix, StageStatus::Cancelled, reason);
            end_stage(turn, run, ix, StageStatus::Cancelled, reason);
        }
    }
}
