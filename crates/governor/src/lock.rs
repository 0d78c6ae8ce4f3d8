//! Locks: names of things that only one attempt may work on at a time. All that a stage names are taken together, in the entry
//! in which its attempt begins, or none is. Each taking has a fencing number, higher than any before. They are let go when
//! nothing of the attempt lives; until then nobody else has them, whatever became of its right to them.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{AgentId, LedgerTime, Moment, Name, Phase, RunId, Span, ViolationType, limits};
use eparch_pipeline::StageIx;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::agent;
use crate::attempt_end::AttemptEnd;
use crate::decision::{Answer, Refusal};
use crate::ending::cut;
use crate::fact::Fact;
use crate::governor::{Governor, Turn};
use crate::operators;
use crate::revocation;
use crate::state::{Attempt, Doing};
use crate::until::{end, is_over, left};
use crate::written;

/// Why an attempt has a lock no longer, although it has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum LockLoss {
    /// Its lease was over before it was renewed: the holder was away, or the wall clock has jumped.
    Expired,
    /// A person took it away.
    Taken {
        /// Who.
        by: Name,
        /// Why.
        reason: String,
    },
}

impl std::fmt::Display for LockLoss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockLoss::Expired => f.write_str("its lease was over before it was renewed"),
            LockLoss::Taken { by, reason } => write!(f, "{by} took it away: {reason}"),
        }
    }
}

/// A stage of a run that has a lock, or wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockUser {
    /// The run.
    pub run: RunId,
    /// The stage of it.
    pub stage: Name,
}

/// What a stage waits for that waits for locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockWait {
    /// The first of its locks that it cannot have.
    pub lock: Name,
    /// Who has it, or is to have it before.
    pub of: LockUser,
    /// Whether that one has it, rather than waiting for it as well.
    pub held: bool,
}

impl std::fmt::Display for LockWait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LockWait { lock, of: LockUser { run, stage }, held } = self;
        match held {
            true => write!(f, "waiting for lock {lock} held by {run} stage {stage}"),
            false => write!(f, "waiting for lock {lock}, which {run} stage {stage} has asked for before"),
        }
    }
}

/// Why nobody else can have a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockStanding {
    /// An attempt holds it and works.
    Held,
    /// Its attempt is being ended, or has lost it: it is free when nothing of the attempt lives.
    Ending,
    /// Nobody knows yet whether anything of its attempt lives: its holder died.
    Unknown,
}

/// A lock that somebody has, as it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockShown {
    /// Its name.
    pub lock: Name,
    /// The number of this taking: higher than that of any before.
    pub fence: u64,
    /// Whose attempt has it.
    pub agent: AgentId,
    /// Where that works.
    pub of: LockUser,
    /// Since when.
    pub since: Moment,
    /// When its lease is over, unless it is renewed.
    pub expires: Moment,
    /// How it stands.
    pub standing: LockStanding,
    /// How it was lost, if it was.
    pub lost: Option<LockLoss>,
    /// Who waits for it, in order.
    pub waiting: Vec<LockUser>,
}

impl LockShown {
    /// What its lease has left.
    pub fn left(&self, now: Moment) -> Span {
        left(self.expires, now)
    }
}

/// Who has which lock. One number for all names: it rises for each of them, and nothing is remembered of names that nobody
/// uses any more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Locks {
    /// The last fencing number that was given.
    pub(crate) fence: u64,
    pub(crate) held: OrdMap<Name, Held>,
}

/// A lock that an attempt has, or had and has not ended since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) fence: u64,
    pub(crate) agent: AgentId,
    pub(crate) of: LockUser,
    pub(crate) since: Moment,
    pub(crate) lost: Option<LockLoss>,
}

/// The locks of one attempt, which share one lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Holding {
    pub(crate) names: BTreeSet<Name>,
    pub(crate) expires: Moment,
    pub(crate) renew_at: LedgerTime,
    /// The first that was lost.
    pub(crate) lost: Option<Name>,
    /// It asked for something after that, and was told so.
    pub(crate) told: bool,
    /// It asked once more, although it had been told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) insisted: bool,
}

/// A stage that waits for locks. It keeps the place it had in the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) place: u64,
    pub(crate) names: BTreeSet<Name>,
    pub(crate) wait: LockWait,
    /// It can have them all, and stands in the queue for a free agent.
    pub(crate) ready: bool,
}

impl Governor {
    /// Every lock that somebody has, by name.
    pub fn locks(&self) -> Vec<LockShown> {
        let shown = |(lock, held): (&Name, &Held)| {
            let (_, _, attempt) = self.attempt(held.agent)?;
            let standing = match attempt {
                attempt if attempt.cut_off => LockStanding::Unknown,
                attempt if attempt.being_killed || held.lost.is_some() => LockStanding::Ending,
                _ => LockStanding::Held,
            };
            let waiting = self.wanted.get(lock).into_iter().flatten();
            Some(LockShown {
                lock: lock.clone(),
                fence: held.fence,
                agent: held.agent,
                of: held.of.clone(),
                since: held.since,
                expires: attempt.locks.as_ref()?.expires,
                standing,
                lost: held.lost.clone(),
                waiting: waiting.filter_map(|place| self.waiter(*place)).collect(),
            })
        };
        self.state.locks.held.iter().filter_map(shown).collect()
    }

    pub(crate) fn lock_user(&self, run: RunId, ix: StageIx) -> Option<LockUser> {
        Some(LockUser { run, stage: self.run(run)?.graph().pipeline.stage(ix).name.clone() })
    }

    fn waiter(&self, place: u64) -> Option<LockUser> {
        let (run, ix) = *self.waiting.get(&place)?;
        self.lock_user(run, ix)
    }

    /// Why the stage at a place of the queue cannot have its locks: the first, in order of name, that somebody has, or that a
    /// stage wants which was there before. Nobody overtakes, so nobody waits for ever; and whoever waits has nothing, so
    /// there is no circle to wait in.
    fn lock_wait(&self, place: u64, names: &BTreeSet<Name>) -> Option<LockWait> {
        names.iter().find_map(|lock| {
            if let Some(held) = self.state.locks.held.get(lock) {
                return Some(LockWait { lock: lock.clone(), of: held.of.clone(), held: true });
            }
            let first = self.wanted.get(lock)?.first().filter(|first| **first < place)?;
            let of =
                self.waiter(*first).expect("a place at which a lock is wanted is one at which a stage waits");
            Some(LockWait { lock: lock.clone(), of, held: false })
        })
    }

    fn place_of(&self, run: RunId, ix: StageIx) -> Option<u64> {
        match &self.run(run)?.stage(ix).doing {
            Doing::Queued(place) => Some(*place),
            Doing::Locks(waiting) => Some(waiting.place),
            _ => None,
        }
    }
}

/// Whether a stage whose turn has come can have its locks; otherwise it waits for them from now on.
pub(crate) fn can_have(turn: &mut Turn<'_>, run: RunId, ix: StageIx, names: &BTreeSet<Name>) -> bool {
    let Some(place) = turn.governor.place_of(run, ix) else { return true };
    let Some(wait) = turn.governor.lock_wait(place, names) else { return true };
    turn.write(written::length(names) + limits::FACT_BYTES);
    turn.record(Fact::LockWaiting { run, stage: ix, names: names.clone(), wait });
    false
}

/// The numbers with which an attempt would take its locks, in order of name.
pub(crate) fn fences(governor: &Governor, names: &BTreeSet<Name>) -> BTreeMap<Name, u64> {
    names.iter().cloned().zip(governor.state.locks.fence + 1..).collect()
}

/// An attempt has begun, and all its locks are its own.
pub(crate) fn take(
    turn: &mut Turn<'_>,
    (run, stage): (RunId, StageIx),
    agent: AgentId,
    fences: &BTreeMap<Name, u64>,
) {
    let (expires, renew_at) = lease(turn.now);
    for (lock, fence) in fences {
        let (lock, fence) = (lock.clone(), *fence);
        turn.record(Fact::LockAcquired { lock, fence, agent, run, stage, expires, renew_at });
    }
}

fn lease(now: Moment) -> (Moment, LedgerTime) {
    (end(now, limits::LOCK_TTL), now.ledger.after(limits::LOCK_RENEW_EVERY))
}

/// Nothing of an attempt lives any more: its locks are free.
pub(crate) fn let_go(turn: &mut Turn<'_>, agent: AgentId) {
    let of_agent = turn.governor.state.locks.held.iter().filter(|(_, held)| held.agent == agent);
    let held: Vec<(Name, u64)> = of_agent.map(|(lock, held)| (lock.clone(), held.fence)).collect();
    for (lock, fence) in held {
        turn.record(Fact::LockReleased { lock, fence, agent });
    }
}

/// Whether the locks of an attempt may be lost: it is not being ended, and has more to do than to let go of what it holds.
fn may_lose(attempt: &Attempt) -> bool {
    !attempt.being_killed && attempt.phase != Phase::Exit
}

/// An attempt's locks are renewed while it works. A lease that is over is not: somebody else may have taken that for free.
pub(crate) fn renew(turn: &mut Turn<'_>, agent: AgentId) {
    look(turn, agent);
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    if attempt.locks.is_none() || attempt.being_killed || attempt.cut_off {
        return;
    }
    let (expires, renew_at) = lease(turn.now);
    turn.record(Fact::LocksRenewed { agent, expires, renew_at });
}

/// Looks whether the lease of an attempt's locks is over, and ends the attempt if it is.
pub(crate) fn look(turn: &mut Turn<'_>, agent: AgentId) {
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let Some(holding) = attempt.locks.as_ref().filter(|_| may_lose(attempt) && !attempt.cut_off) else {
        return;
    };
    if is_over(holding.expires, turn.now) {
        let names = holding.names.clone();
        lose(turn, agent, names, &LockLoss::Expired);
    }
}

/// The wall clock has jumped: what is over by now is lost, and what is not is renewed by the clock as it is now.
pub(crate) fn clock_jumped(turn: &mut Turn<'_>) {
    let holders: BTreeSet<AgentId> = turn.governor.state.locks.held.values().map(|held| held.agent).collect();
    for agent in holders {
        renew(turn, agent);
    }
}

/// From here on the attempt may do nothing more. Others can have the locks when nothing of it lives.
fn lose(turn: &mut Turn<'_>, agent: AgentId, names: BTreeSet<Name>, because: &LockLoss) {
    let Some(first) = names.first().cloned() else { return };
    for lock in names {
        let Some(fence) = turn.governor.state.locks.held.get(&lock).map(|held| held.fence) else { continue };
        turn.record(Fact::LockLost { lock, fence, agent, because: because.clone() });
    }
    agent::end(turn, agent, AttemptEnd::LockLost { lock: first, because: because.clone() });
}

/// Somebody takes a lock away from whoever has it. Asking twice is the same as asking once.
pub(crate) fn release_requested(turn: &mut Turn<'_>, lock: &Name, by: &Name, reason: &str) {
    if operators::require(turn, by, "take locks away", |known| known.role.may_run()).is_none() {
        return;
    }
    let held = turn.governor.state.locks.held.get(lock);
    let Some((held, (run, ix, attempt))) =
        held.and_then(|held| Some((held, turn.governor.attempt(held.agent)?)))
    else {
        return turn.refuse(Refusal::LockIsFree { lock: lock.clone() });
    };
    let agent = held.agent;
    let given_up = turn.governor.run(run).is_some_and(|live| live.stage(ix).ending.is_some());
    if held.lost.is_some() || !may_lose(attempt) || attempt.cut_off && given_up {
        turn.decision.answer = Answer::Already { run };
        return;
    }
    let reason = cut(reason, limits::STAGE_REASON_BYTES).to_owned();
    let because = LockLoss::Taken { by: by.clone(), reason };
    lose(turn, agent, [lock.clone()].into(), &because);
}

/// The lock that an agent has lost and that keeps it from everything; nothing while it has all of them. One whose holder died
/// is told that, and not this.
pub(crate) fn lost(attempt: &Attempt) -> Option<&Name> {
    attempt.locks.as_ref().filter(|_| !attempt.cut_off)?.lost.as_ref()
}

/// An agent that has lost a lock asks for something. The first time it is told: it cannot have known, and a denial alone is no
/// violation. That it asks again, knowing, is leaving a step out (1.4), and is found once.
pub(crate) fn asks_without(turn: &mut Turn<'_>, agent: AgentId) {
    if turn.governor.attempt(agent).is_none_or(|(_, _, attempt)| attempt.locks.is_none()) {
        return;
    }
    look(turn, agent);
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let Some(lock) = lost(attempt).cloned() else { return };
    let Some(holding) = attempt.locks.as_deref().filter(|holding| !holding.insisted) else { return };
    let knows = holding.told;
    let detail = format!("it asked for something after it was told that it had lost the lock {lock}");
    turn.record(Fact::LockMissed { agent, lock });
    if knows {
        revocation::violation(turn, agent, ViolationType::ProcedureSkipped, &detail);
    }
}

/// Whoever can have all its locks now stands in the queue again, at the place it had.
pub(crate) fn wake(turn: &mut Turn<'_>) {
    for lock in std::mem::take(&mut turn.governor.freed) {
        let first = turn.governor.wanted.get(&lock).and_then(BTreeSet::first).copied();
        if let Some((run, stage, waiting)) = first.and_then(|place| waiting_at(turn.governor, place))
            && !waiting.ready
            && turn.governor.lock_wait(waiting.place, &waiting.names).is_none()
        {
            turn.record(Fact::LockWaitOver { run, stage });
        }
        turn.contested.insert(lock);
    }
}

/// Whoever still waits for what changed hands is told whom they wait for now.
pub(crate) fn tell(turn: &mut Turn<'_>) {
    let mut told = 0;
    for lock in std::mem::take(&mut turn.contested) {
        let places = turn.governor.wanted.get(&lock).into_iter().flatten();
        for place in places.take(limits::LOCK_WAITERS_TOLD - told).copied().collect::<Vec<u64>>() {
            let Some((run, stage, waiting)) = waiting_at(turn.governor, place) else { continue };
            let Some(wait) = turn.governor.lock_wait(place, &waiting.names).filter(|_| !waiting.ready) else {
                continue;
            };
            if wait != waiting.wait {
                let names = waiting.names.clone();
                turn.record(Fact::LockWaiting { run, stage, names, wait });
                told += 1;
            }
        }
    }
}

fn waiting_at(governor: &Governor, place: u64) -> Option<(RunId, StageIx, &Waiting)> {
    let (run, ix) = *governor.waiting.get(&place)?;
    match &governor.run(run)?.stage(ix).doing {
        Doing::Locks(waiting) => Some((run, ix, waiting)),
        _ => None,
    }
}
