//! When the governor wants to be woken, and why. It is woken by ledger time; what ends by the wall clock as well is looked at
//! whenever anything happens.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{AgentId, BreakGlassId, GateId, LedgerTime, Moment, RunId, Timestamp};
use eparch_pipeline::StageIx;

use crate::until::Until;

/// When the governor next wants to be woken, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: LedgerTime,
    /// Why, for the log.
    pub why: &'static str,
}

/// One thing that time can bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A run must have ended.
    Run(RunId),
    /// A stage must have ended, all attempts included.
    Stage(RunId, StageIx),
    /// A stage is tried again.
    Retry(RunId, StageIx),
    /// An agent must be ready to execute.
    Start(AgentId),
    /// An agent's program must have ended.
    Execute(AgentId),
    /// An agent's program must have moved.
    Idle(AgentId),
    /// An agent that gives heartbeats must have given one.
    Heartbeat(AgentId),
    /// An agent that is to be dead must have been reported on.
    Gone(AgentId),
    /// A run's lease is renewed.
    Lease(RunId),
    /// An agent's token is renewed.
    Token(AgentId),
    /// An attempt's locks are renewed.
    Lock(AgentId),
    /// The wall clock may have caught up.
    Clock,
    /// A gate has waited long enough.
    Gate(GateId),
    /// Everything was stopped, and more runs are to be ended than one decision ends.
    Stopping,
    /// More tokens are to be ended in the vault than one decision asks for.
    Ending,
    /// A break-glass grant, or the request for it, is over.
    BreakGlass(BreakGlassId),
    /// Policies have waited long enough for another person.
    Policies,
}

impl Timer {
    pub(crate) fn why(self) -> &'static str {
        match self {
            Timer::Run(_) => "pipeline timeout",
            Timer::Stage(..) => "stage timeout",
            Timer::Retry(..) => "backoff ends",
            Timer::Start(_) => "start timeout",
            Timer::Execute(_) => "attempt timeout",
            Timer::Idle(_) => "idle timeout",
            Timer::Heartbeat(_) => "three heartbeats are missed",
            Timer::Gone(_) => "an agent must be gone",
            Timer::Lease(_) => "a lease is renewed",
            Timer::Token(_) => "a token is renewed",
            Timer::Lock(_) => "locks are renewed",
            Timer::Clock => "the clock may be right again",
            Timer::Gate(_) => "gate timeout",
            Timer::Stopping => "everything is being stopped",
            Timer::Ending => "more tokens are to be ended in the vault",
            Timer::BreakGlass(_) => "break-glass ends",
            Timer::Policies => "policies have waited long enough",
        }
    }
}

/// Every timer that is set, in order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Timers {
    by_timer: BTreeMap<Timer, Until>,
    queue: BTreeSet<(LedgerTime, Timer)>,
    /// Those that the wall clock brings as well.
    by_wall: BTreeSet<(Timestamp, Timer)>,
}

impl Timers {
    /// Sets what ledger time alone brings.
    pub(crate) fn set(&mut self, timer: Timer, at: LedgerTime) {
        self.set_until(timer, Until { ledger: at, wall: None });
    }

    /// Sets what either time brings.
    pub(crate) fn set_until(&mut self, timer: Timer, until: Until) {
        self.clear(timer);
        self.by_timer.insert(timer, until);
        self.queue.insert((until.ledger, timer));
        self.by_wall.extend(until.wall.map(|wall| (wall, timer)));
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(until) = self.by_timer.remove(&timer) {
            self.queue.remove(&(until.ledger, timer));
            if let Some(wall) = until.wall {
                self.by_wall.remove(&(wall, timer));
            }
        }
    }

    /// Clears what an agent's program was allowed.
    pub(crate) fn clear_agent(&mut self, agent: AgentId) {
        for timer in [Timer::Start(agent), Timer::Execute(agent), Timer::Idle(agent), Timer::Heartbeat(agent)]
        {
            self.clear(timer);
        }
    }

    pub(crate) fn first(&self) -> Option<(LedgerTime, Timer)> {
        self.queue.first().copied()
    }

    pub(crate) fn at(&self, timer: Timer) -> Option<LedgerTime> {
        self.by_timer.get(&timer).map(|until| until.ledger)
    }

    /// What is due first: by ledger time, and then by the wall clock.
    pub(crate) fn due(&self, now: Moment) -> Option<Timer> {
        let by_ledger = self.queue.first().filter(|(at, _)| *at <= now.ledger).map(|(_, timer)| *timer);
        let by_wall = self.by_wall.first().filter(|(at, _)| *at <= now.wall).map(|(_, timer)| *timer);
        by_ledger.or(by_wall)
    }
}
