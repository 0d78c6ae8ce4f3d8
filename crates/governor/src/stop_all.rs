//! Everything is stopped, at once, by one person, and stays stopped until an admin lifts it. From the decision on nothing has
//! authority here: every agent is revoked, every run ends, and nothing new is let begin.

use eparch_domain::{AgentId, LedgerTime, Name, RunId, RunStatus, Span, Timestamp, limits};
use serde::{Deserialize, Serialize};

use crate::alarm::{self, Alarm};
use crate::decision::Refusal;
use crate::ending::{cut, end_run};
use crate::fact::Fact;
use crate::governor::{Governor, Turn};
use crate::operators;
use crate::revocation::{self, Cause};

/// Everything is stopped: by whom, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Who did it.
    pub by: Name,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// When more runs are ended, where one decision could not end them all.
    pub(crate) again_at: Option<LedgerTime>,
}

impl Governor {
    /// Who stopped everything, when and why, until somebody lifts it.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.state.emergencies.stopped.as_ref()
    }
}

/// Somebody stops everything. Whoever asks again finds it done. Stopping gives nobody anything, so everybody may whose word
/// counts here: who runs, who answers, who administers.
pub(crate) fn requested(turn: &mut Turn<'_>, by: &Name, reason: &str) {
    if operators::require(turn, by, "stop everything", |known| known.role.may_answer()).is_none()
        || turn.governor.stopped().is_some()
    {
        return;
    }
    let reason = cut(reason, limits::RATIONALE_BYTES).to_owned();
    turn.record(Fact::AllStopped { by: by.clone(), reason: reason.clone() });
    alarm::raise(turn, Alarm::StoppedAll);
    crate::break_glass::end_all(turn);
    revoke_all(turn, by, &reason);
    go_on(turn);
}

/// Every agent loses its authority in this very decision. There are as many as work at once, so it is never too much.
fn revoke_all(turn: &mut Turn<'_>, by: &Name, reason: &str) {
    let short = cut(reason, limits::STAGE_REASON_BYTES);
    let agents: Vec<AgentId> = turn.governor.agents.keys().copied().collect();
    for agent in agents {
        let Some((run, ix, attempt)) = turn.governor.attempt(agent) else { continue };
        if !revocation::is_done(turn, run, ix, attempt) {
            revocation::revoke(turn, agent, Cause::Person { by: by.clone() }, short);
        }
    }
}

/// Ends the runs, as many as one decision may write down; the next one takes the rest. Nothing of theirs can begin meanwhile.
pub(crate) fn go_on(turn: &mut Turn<'_>) {
    let Some(Stopped { by, reason, again_at: before, .. }) = turn.governor.stopped().cloned() else { return };
    let reason = format!("everything was stopped: {}", cut(&reason, limits::STAGE_REASON_BYTES));
    let live: Vec<RunId> = still_going(turn.governor).collect();
    for run in live {
        if !turn.has_room() {
            let again_at = Some(turn.now.ledger.after(Span::from_millis(1)));
            return turn.record(Fact::StoppingGoesOn { again_at });
        }
        end_run(turn, run, RunStatus::Stopped, &reason, Some(by.clone()));
    }
    if before.is_some() {
        turn.record(Fact::StoppingGoesOn { again_at: None });
    }
}

/// The runs that nobody has ended yet.
fn still_going(governor: &Governor) -> impl Iterator<Item = RunId> + '_ {
    governor.state.runs.iter().filter(|(_, live)| live.ending.is_none()).map(|(run, _)| *run)
}

/// An admin lets things begin again. What was stopped stays stopped.
pub(crate) fn lifted(turn: &mut Turn<'_>, by: &Name, reason: &str) {
    let may = |known: &crate::operator::Operator| known.role.may_administer();
    if operators::require(turn, by, "lift a stop of everything", may).is_none() {
        return;
    }
    let Some(stopped) = turn.governor.stopped() else { return };
    if stopped.again_at.is_some() {
        return turn.refuse(Refusal::StillStopping);
    }
    let reason = cut(reason, limits::RATIONALE_BYTES).to_owned();
    turn.record(Fact::AllLifted { by: by.clone(), reason });
}

/// Why nothing that needs authority is done now, if everything is stopped.
pub(crate) fn refusal(governor: &Governor) -> Option<Refusal> {
    let Stopped { by, at, reason, .. } = governor.stopped()?;
    Some(Refusal::Stopped { by: by.clone(), at: *at, reason: reason.clone() })
}
