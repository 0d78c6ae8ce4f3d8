//! What holds of locks: each has one holder at a time, every taking a higher number than those before, nobody lets go of one
//! before nothing of it lives, and who has lost one does nothing more.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{AgentId, LedgerTime, Moment, Name, limits};
use eparch_governor::Fact;

use crate::seen::Seen;

/// Who has which lock, as the facts show it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SeenLocks {
    /// The agent of each lock that is not free, and the number it was taken with.
    pub(crate) held: BTreeMap<Name, (AgentId, u64)>,
    /// The highest number each lock ever was taken with.
    fences: BTreeMap<Name, u64>,
    /// When an agent's locks are over, and when they are renewed.
    pub(crate) leases: BTreeMap<AgentId, (Moment, LedgerTime)>,
    /// Agents that have lost a lock.
    lost: BTreeSet<AgentId>,
}

impl SeenLocks {
    /// Takes in one fact.
    pub(crate) fn take(&mut self, fact: &Fact) {
        match fact {
            Fact::LockAcquired { lock, fence, agent, expires, renew_at, .. } => {
                self.held.insert(lock.clone(), (*agent, *fence));
                self.fences.insert(lock.clone(), *fence);
                self.leases.insert(*agent, (*expires, *renew_at));
            }
            Fact::LocksRenewed { agent, expires, renew_at } => {
                self.leases.insert(*agent, (*expires, *renew_at));
            }
            Fact::LockLost { agent, .. } => drop(self.lost.insert(*agent)),
            Fact::LockReleased { lock, .. } => drop(self.held.remove(lock)),
            _ => {}
        }
    }
}

/// What a fact about locks may follow on, and what may not follow on the loss of one.
///
/// # Errors
///
/// What does not hold, in words.
pub(crate) fn before(seen: &Seen, fact: &Fact, now: Moment) -> Result<(), String> {
    let locks = &seen.locks;
    let lives = |agent: &AgentId| seen.agents.get(agent).is_some_and(|of| of.alive);
    let wrong = match fact {
        Fact::LockAcquired { lock, .. } if locks.held.contains_key(lock) => Some("a lock has two holders"),
        Fact::LockAcquired { lock, fence, .. }
            if locks.fences.get(lock).is_some_and(|last| last >= fence) =>
        {
            Some("a fencing number did not rise")
        }
        Fact::LockAcquired { agent, .. } if seen.agents.get(agent).is_none_or(|of| of.phase.is_some()) => {
            Some("a lock was taken by nobody, or after its attempt began")
        }
        Fact::LocksRenewed { agent, expires, .. } => match locks.leases.get(agent) {
            _ if locks.lost.contains(agent) => Some("locks were renewed after one was lost"),
            _ if *expires != later(now) => Some("locks are held for longer or shorter than they should"),
            Some((before, _)) if is_over(*before, now) && !is_leaving(seen, *agent) => {
                Some("locks were renewed past their time")
            }
            Some(_) if lives(agent) => None,
            _ => Some("locks were renewed that nobody has"),
        },
        Fact::LockLost { lock, fence, agent, .. } | Fact::LockReleased { lock, fence, agent }
            if locks.held.get(lock) != Some(&(*agent, *fence)) =>
        {
            Some("a lock was lost or let go by one that does not have it")
        }
        Fact::LockReleased { agent, .. } if lives(agent) => {
            Some("a lock was let go before nothing of its holder lives")
        }
        // R064: without its lock it does nothing more.
        Fact::PermitSpent { agent, .. }
        | Fact::PerformanceBegan { agent, .. }
        | Fact::PerformanceReleased { agent, .. }
        | Fact::ActionEnded { agent, .. }
        | Fact::ProgramReleased { agent, .. }
        | Fact::ProgressSeen { agent }
        | Fact::HeartbeatSeen { agent }
        | Fact::ErrorCounted { agent, .. }
            if locks.lost.contains(agent) =>
        {
            Some("an agent that has lost a lock did something that counts")
        }
        Fact::ActionDecided(ruled) if locks.lost.contains(&ruled.agent) => {
            Some("an agent that has lost a lock was answered")
        }
        _ => None,
    };
    wrong.map_or(Ok(()), |why| Err(format!("{why}: {fact:?}")))
}

/// What only lets go of what it holds loses nothing any more.
fn is_leaving(seen: &Seen, agent: AgentId) -> bool {
    seen.agents.get(&agent).is_some_and(|of| of.phase == Some(eparch_domain::Phase::Exit))
}

fn is_over(expires: Moment, now: Moment) -> bool {
    now.ledger >= expires.ledger || now.wall >= expires.wall
}

/// When locks that are taken or renewed now are over.
fn later(now: Moment) -> Moment {
    let ttl = limits::LOCK_TTL;
    let wall = eparch_domain::Timestamp::from_millis(now.wall.millis() + ttl.millis().cast_signed());
    Moment { ledger: now.ledger.after(ttl), wall }
}

/// What holds when a decision is whole: whoever is free has nothing.
///
/// # Errors
///
/// What does not hold, in words.
pub(crate) fn standing(seen: &Seen) -> Result<(), String> {
    let dead = |(_, (agent, _)): &(&Name, &(AgentId, u64))| seen.agents.get(agent).is_none_or(|of| !of.alive);
    match seen.locks.held.iter().find(dead) {
        Some((lock, (agent, _))) => Err(format!("{agent} has ended and has the lock {lock}")),
        None => Ok(()),
    }
}
