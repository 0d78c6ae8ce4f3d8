//! What is known of heartbeats. While somebody waits for people, or for what is performed for it, nobody waits for its
//! heartbeat: the clock stands still for that as for progress (2.C rule 3).

use eparch_domain::{AgentId, Moment, Phase, limits};

use super::with_attempt;
use crate::governor::Governor;
use crate::heartbeat::Heartbeats;
use crate::timers::Timer;

/// An agent has said that it lives: the next is expected.
pub(super) fn seen(governor: &mut Governor, agent: AgentId, now: Moment) {
    with_attempt(governor, agent, |attempt| {
        let left = Some(limits::HEARTBEATS_MISSED);
        attempt.heartbeats = Heartbeats { last: Some(now.ledger), due_by: None, left };
    });
    governor.timers.clear(Timer::Heartbeat(agent));
    go_on(governor, agent, now);
}

/// None came.
pub(super) fn missed(governor: &mut Governor, agent: AgentId) {
    with_attempt(governor, agent, |attempt| attempt.heartbeats.due_by = None);
    governor.timers.clear(Timer::Heartbeat(agent));
}

/// The next is waited for again, for as long as was left, unless something keeps the agent.
pub(super) fn go_on(governor: &mut Governor, agent: AgentId, now: Moment) {
    let Some((_, _, attempt)) = governor.attempt(agent) else { return };
    let runs = attempt.end.is_none() && !attempt.cut_off && attempt.phase == Phase::Execute;
    if !runs || !attempt.questions.open.is_empty() || !attempt.performing.is_empty() {
        return;
    }
    let Some(left) = attempt.heartbeats.left else { return };
    let due_by = now.ledger.after(left);
    with_attempt(governor, agent, |attempt| {
        attempt.heartbeats.left = None;
        attempt.heartbeats.due_by = Some(due_by);
    });
    governor.timers.set(Timer::Heartbeat(agent), due_by);
}

/// Nobody waits for the next one.
pub(super) fn stand_still(governor: &mut Governor, agent: AgentId, now: Moment) {
    with_attempt(governor, agent, |attempt| {
        if let Some(at) = attempt.heartbeats.due_by.take() {
            attempt.heartbeats.left = Some(at.since(now.ledger));
        }
    });
    governor.timers.clear(Timer::Heartbeat(agent));
}
