//! What facts about locks make so.

use eparch_domain::{AgentId, Moment, RunId};
use eparch_pipeline::StageIx;

use crate::fact::Fact;
use crate::governor::Governor;
use crate::lock::{Held, Holding, Waiting};
use crate::state::Doing;
use crate::timers::Timer;

/// Makes one such fact so; any other is none of these.
pub(super) fn apply(governor: &mut Governor, fact: &Fact, now: Moment) {
    match fact {
        Fact::LockWaiting { run, stage, names, wait } => {
            let place = match governor.run(*run).map(|live| &live.stage(*stage).doing) {
                Some(Doing::Queued(place)) => *place,
                Some(Doing::Locks(waiting)) => waiting.place,
                _ => return,
            };
            governor.queue.remove(&place);
            governor.waiting.insert(place, (*run, *stage));
            for name in names {
                governor.wanted.entry(name.clone()).or_default().insert(place);
            }
            let (names, wait) = (names.clone(), wait.clone());
            set(governor, *run, *stage, &wait.to_string(), Waiting { place, names, wait, ready: false });
        }
        Fact::LockWaitOver { run, stage } => {
            let Some(Doing::Locks(waiting)) = governor.run(*run).map(|live| &live.stage(*stage).doing) else {
                return;
            };
            let waiting = Waiting { ready: true, ..waiting.as_ref().clone() };
            governor.queue.insert(waiting.place, (*run, *stage));
            set(governor, *run, *stage, "", waiting);
        }
        Fact::LockAcquired { lock, fence, agent, run, stage, expires, renew_at } => {
            governor.state.locks.fence = governor.state.locks.fence.max(*fence);
            let Some(of) = governor.lock_user(*run, *stage) else { return };
            let held = Held { fence: *fence, agent: *agent, of, since: now, lost: None };
            governor.state.locks.held.insert(lock.clone(), held);
            if let Some(attempt) = governor.attempt_mut(*agent) {
                let holding = attempt.locks.get_or_insert_with(|| {
                    let (names, lost) = (std::collections::BTreeSet::new(), None);
                    let (told, insisted) = (false, false);
                    Box::new(Holding { names, expires: *expires, renew_at: *renew_at, lost, told, insisted })
                });
                holding.names.insert(lock.clone());
                governor.timers.set(Timer::Lock(*agent), *renew_at);
            }
        }
        Fact::LocksRenewed { agent, expires, renew_at } => {
            if let Some(holding) = holding_of(governor, *agent) {
                (holding.expires, holding.renew_at) = (*expires, *renew_at);
                governor.timers.set(Timer::Lock(*agent), *renew_at);
            }
        }
        Fact::LockLost { lock, agent, because, .. } => {
            if let Some(held) = governor.state.locks.held.get_mut(lock) {
                held.lost = Some(because.clone());
            }
            if let Some(holding) = holding_of(governor, *agent) {
                holding.lost.get_or_insert_with(|| lock.clone());
            }
            stop_renewing(governor, *agent);
        }
        Fact::LockMissed { agent, .. } => {
            if let Some(holding) = holding_of(governor, *agent) {
                (holding.told, holding.insisted) = (true, holding.told);
            }
        }
        Fact::LockReleased { lock, .. } => {
            governor.state.locks.held.remove(lock);
            if governor.wanted.contains_key(lock) {
                governor.freed.insert(lock.clone());
            }
        }
        _ => {}
    }
}

fn set(governor: &mut Governor, run: RunId, ix: StageIx, reason: &str, waiting: Waiting) {
    if let Some(state) = governor.stage_mut(run, ix) {
        reason.clone_into(&mut state.reason);
        state.doing = Doing::Locks(Box::new(waiting));
    }
}

fn holding_of(governor: &mut Governor, agent: AgentId) -> Option<&mut Holding> {
    governor.attempt_mut(agent)?.locks.as_deref_mut()
}

/// An attempt is being ended, or its holder died: what it holds stays its own, and is renewed no more.
pub(super) fn stop_renewing(governor: &mut Governor, agent: AgentId) {
    governor.timers.clear(Timer::Lock(agent));
}

/// A stage waits for locks no longer: whoever comes after it may have them.
pub(super) fn give_up_waiting(governor: &mut Governor, run: RunId, ix: StageIx) {
    let Some(Doing::Locks(waiting)) = governor.run(run).map(|live| &live.stage(ix).doing) else { return };
    let Waiting { place, names, .. } = waiting.as_ref().clone();
    governor.queue.remove(&place);
    governor.waiting.remove(&place);
    for name in names {
        let Some(places) = governor.wanted.get_mut(&name) else { continue };
        places.remove(&place);
        if places.is_empty() {
            governor.wanted.remove(&name);
        } else {
            governor.freed.insert(name);
        }
    }
    if let Some(state) = governor.stage_mut(run, ix) {
        state.doing = Doing::Nothing;
    }
}
