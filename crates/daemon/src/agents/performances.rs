//! What is performed for one agent, outside its own cage: who is at it, and what came of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use eparch_domain::{PermitId, Span, limits};
use eparch_governor::PerformanceEnd;
use eparch_sandbox::{Cage, StillAlive};
use tokio::sync::watch;

use crate::agents::live::prove_dead;

/// What an agent is told of what was performed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) end: PerformanceEnd,
    /// Processes of it that the kernel ended because they tried to leave their sandbox.
    pub(crate) breaches: u32,
    /// The beginning of what it printed, redacted.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Whether it printed more.
    pub(crate) cut: bool,
}

/// What is performed for one agent. Once it is closed nothing begins any more.
pub(crate) struct Performances {
    state: Mutex<State>,
    fewer: Condvar,
    over: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    closed: bool,
    /// What is performed, with its cage once that is open.
    running: BTreeMap<PermitId, Option<Arc<Cage>>>,
    /// Of those, what is to end before it is over.
    ending: BTreeSet<PermitId>,
    /// What somebody asked for and nobody has told the end of.
    awaited: BTreeSet<PermitId>,
    /// What came of those that are over, the latest last.
    told: VecDeque<(PermitId, Told)>,
}

impl Default for Performances {
    fn default() -> Performances {
        Performances { state: Mutex::default(), fewer: Condvar::new(), over: watch::Sender::new(0) }
    }
}

impl Performances {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody will ask for the end of it; false when somebody does already.
    pub(crate) fn expect(&self, permit: PermitId) -> bool {
        self.state().awaited.insert(permit)
    }

    /// It was refused: nobody will tell of it.
    pub(crate) fn forget(&self, permit: PermitId) {
        self.state().awaited.remove(&permit);
    }

    /// Begins one; false when nothing begins any more.
    pub(crate) fn begin(&self, permit: PermitId) -> bool {
        let mut state = self.state();
        if !state.closed {
            state.running.insert(permit, None);
        }
        !state.closed
    }

    /// Its cage is open: from now on it is ended with the agent. False when that has to end by now; the cage is remembered
    /// all the same until it is [over](Performances::over).
    pub(crate) fn opened(&self, permit: PermitId, cage: &Arc<Cage>) -> bool {
        let mut state = self.state();
        state.running.insert(permit, Some(Arc::clone(cage)));
        !state.closed
    }

    /// Whether nothing begins any more, and what runs has to end.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Whether this one has to end.
    pub(crate) fn must_end(&self, permit: PermitId) -> bool {
        let state = self.state();
        state.closed || state.ending.contains(&permit)
    }

    /// Ends one, also where it was let go and runs only in a moment: SIGTERM, then SIGKILL. Returns at once.
    pub(crate) fn end(&self, permit: PermitId) {
        let mut state = self.state();
        let Some(cage) = state.running.get(&permit).cloned() else { return };
        state.ending.insert(permit);
        drop(state);
        if let Some(cage) = cage {
            cage.stop(limits::KILL_GRACE);
        }
    }

    /// Nothing of it lives, and this came of it.
    pub(crate) fn over(&self, permit: PermitId, told: Told) {
        let mut state = self.state();
        let cage = state.running.remove(&permit);
        state.ending.remove(&permit);
        state.awaited.remove(&permit);
        state.told.push_back((permit, told));
        if state.told.len() > limits::PERFORMANCES_REMEMBERED {
            state.told.pop_front();
        }
        drop(state);
        self.fewer.notify_all();
        self.over.send_modify(|count| *count += 1);
        // What closes with it takes its time, and nobody else's.
        drop(cage);
    }

    /// Waits for the end of one, for a while: what came of it, if it is over.
    ///
    /// # Errors
    /// When nobody performs it, or what came of it is forgotten.
    pub(crate) async fn wait(&self, permit: PermitId, patience: Span) -> Result<Option<Told>, NotPerformed> {
        let mut changes = self.over.subscribe();
        let found = async {
            loop {
                {
                    let state = self.state();
                    let known = state.told.iter().rev().find(|(of, _)| *of == permit);
                    if let Some((_, told)) = known {
                        return Ok(told.clone());
                    }
                    if !state.awaited.contains(&permit) {
                        return Err(NotPerformed);
                    }
                }
                // Its sender lives as long as this does.
                let _ = changes.changed().await;
            }
        };
        match tokio::time::timeout(patience.as_duration(), found).await {
            Ok(found) => found.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Ends everything: SIGTERM, then SIGKILL. Returns at once.
    pub(crate) fn doom(&self) {
        self.close().iter().for_each(|cage| cage.stop(limits::KILL_GRACE));
    }

    /// Kills everything. Returns at once, before it is dead.
    pub(crate) fn kill(&self) {
        self.close().iter().for_each(|cage| cage.kill_now());
    }

    fn close(&self) -> Vec<Arc<Cage>> {
        let mut state = self.state();
        state.closed = true;
        state.running.values().flatten().cloned().collect()
    }

    /// Ends everything, and waits until whoever performs has told of it; no longer than `deadline`.
    pub(crate) fn finish(&self, deadline: Span) {
        self.doom();
        let wait = self
            .fewer
            .wait_timeout_while(self.state(), deadline.as_duration(), |state| !state.running.is_empty());
        drop(wait);
    }

    /// Kills everything and proves it dead.
    pub(crate) fn put_away(&self, deadline: Span) -> Result<(), StillAlive> {
        let cages = self.close();
        cages.iter().for_each(|cage| cage.kill_now());
        cages.iter().try_for_each(|cage| prove_dead(cage.tree(), deadline))
    }
}

/// Nothing of that name is performed, or what came of it is forgotten.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotPerformed;

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        let end = PerformanceEnd::Code { code: 0 };
        Told { end, breaches: 0, stdout: String::new(), stderr: String::new(), cut: false }
    }

    #[test]
    fn nothing_begins_once_its_agent_ends_and_whoever_waits_is_told() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let performances = Arc::new(Performances::default());
        let permit = |bits| PermitId::from_bits(bits);
        let wait = |permit| runtime.block_on(performances.wait(permit, Span::from_secs(1)));
        performances.expect(permit(1));
        assert!(performances.begin(permit(1)));
        assert_eq!(wait(permit(1)), Ok(None));
        assert_eq!(wait(permit(2)), Err(NotPerformed));
        let of = Arc::clone(&performances);
        let job = std::thread::spawn(move || {
            while !of.is_closed() {
                std::thread::yield_now();
            }
            of.over(PermitId::from_bits(1), told());
        });
        assert!(!performances.must_end(permit(1)));
        performances.end(permit(1));
        performances.end(permit(2));
        assert!(performances.must_end(permit(1)) && !performances.must_end(permit(2)));
        performances.finish(Span::from_secs(60));
        job.join().unwrap();
        assert_eq!(wait(permit(1)), Ok(Some(told())));
        assert!(!performances.begin(permit(3)));
        for bits in 10..10 + limits::PERFORMANCES_REMEMBERED as u128 {
            performances.over(permit(bits), told());
        }
        assert_eq!(wait(permit(1)), Err(NotPerformed), "the oldest is forgotten");
    }
}
