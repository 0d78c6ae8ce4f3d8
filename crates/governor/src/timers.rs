//! When the governor wants to be woken, and why.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{AgentId, BreakGlassId, GateId, LedgerTime, RunId};
use eparch_pipeline::StageIx;

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
        }
    }
}

/// Every timer that is set, in order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Timers {
    by_timer: BTreeMap<Timer, LedgerTime>,
    queue: BTreeSet<(LedgerTime, Timer)>,
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: LedgerTime) {
        if let Some(before) = self.by_timer.insert(timer, at) {
            self.queue.remove(&(before, timer));
        }
        self.queue.insert((at, timer));
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.by_timer.remove(&timer) {
            self.queue.remove(&(at, timer));
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
        self.by_timer.get(&timer).copied()
    }

    /// Whether anything is due.
    pub(crate) fn are_due(&self, now: LedgerTime) -> bool {
        self.first().is_some_and(|(at, _)| at <= now)
    }
}
