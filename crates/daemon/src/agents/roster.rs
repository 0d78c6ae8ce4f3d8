//! Who is alive in this process, and in which epoch they were born.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eparch_domain::AgentId;
use eparch_ledger::EffectRef;

/// What may be done with an agent that has just become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    /// It goes on.
    On,
    /// It was ended before it was ready.
    Doomed,
    /// Its epoch is over: nobody will ever ask for it again.
    Over,
}

/// The agents of this process. An epoch ends without the process: what was alive in it is remembered until it is proven
/// dead, and what becomes ready only after its end is not let in.
pub(crate) struct Roster<L> {
    state: Mutex<State<L>>,
    prepared: Condvar,
}

struct State<L> {
    /// Rises with each epoch that ends.
    epoch: u64,
    live: BTreeMap<AgentId, Arc<L>>,
    /// Agents that have to end and are not ready yet.
    doomed: BTreeSet<AgentId>,
    /// Agents that are being made ready, of whatever epoch.
    preparing: BTreeSet<AgentId>,
    /// Agents of earlier epochs that are not proven dead.
    left: BTreeMap<AgentId, Arc<L>>,
    /// What waits for the proof that an agent of an earlier epoch is dead.
    doubted: BTreeMap<AgentId, BTreeSet<EffectRef>>,
}

impl<L> Default for Roster<L> {
    fn default() -> Roster<L> {
        let state = State {
            epoch: 0,
            live: BTreeMap::new(),
            doomed: BTreeSet::new(),
            preparing: BTreeSet::new(),
            left: BTreeMap::new(),
            doubted: BTreeMap::new(),
        };
        Roster { state: Mutex::new(state), prepared: Condvar::new() }
    }
}

impl<L> Roster<L> {
    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch now. A number of this process, not the ledger's.
    pub(crate) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Begins to make an agent ready; nothing when the epoch it was asked for in is over.
    pub(crate) fn prepare(&self, agent: AgentId, born: u64) -> Option<Preparing<'_, L>> {
        let mut state = self.state();
        (state.epoch == born).then(|| {
            state.preparing.insert(agent);
            Preparing { roster: self, agent, born }
        })
    }

    pub(crate) fn get(&self, agent: AgentId) -> Option<Arc<L>> {
        self.state().live.get(&agent).cloned()
    }

    /// Notes that an agent has to end. One that is not ready yet finds the note.
    pub(crate) fn condemn(&self, agent: AgentId) -> Option<Arc<L>> {
        let mut state = self.state();
        let live = state.live.get(&agent).cloned();
        if live.is_none() {
            state.doomed.insert(agent);
        }
        live
    }

    /// An agent is proven dead, and whatever it held is free.
    pub(crate) fn gone(&self, agent: AgentId) {
        let mut state = self.state();
        state.doomed.remove(&agent);
        state.preparing.remove(&agent);
        let held = (state.live.remove(&agent), state.left.remove(&agent));
        drop(state);
        self.prepared.notify_all();
        // What closes with it takes its time, and nobody else's.
        drop(held);
    }

    /// The epoch is over: what was alive in it has to be killed, and is remembered until it is proven dead.
    pub(crate) fn end_epoch(&self) -> Vec<Arc<L>> {
        let mut state = self.state();
        state.epoch += 1;
        state.doomed.clear();
        state.doubted.clear();
        let mut ended = std::mem::take(&mut state.live);
        let all = ended.values().cloned().collect();
        state.left.append(&mut ended);
        all
    }

    /// What an earlier epoch of this process left of an agent; waits until it is no longer being made ready. An error when
    /// it still is after `patience`.
    pub(crate) fn left(&self, agent: AgentId, patience: Duration) -> Result<Option<Arc<L>>, StillPreparing> {
        let (state, waited) = self
            .prepared
            .wait_timeout_while(self.state(), patience, |state| state.preparing.contains(&agent))
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(StillPreparing);
        }
        Ok(state.left.get(&agent).cloned())
    }

    /// Notes that something waits for the proof that an agent is dead, until it is proven or the epoch ends. False when the
    /// epoch is over.
    pub(crate) fn doubt(&self, agent: AgentId, at: Option<EffectRef>, born: u64) -> bool {
        let mut state = self.state();
        if state.epoch == born {
            state.doubted.entry(agent).or_default().extend(at);
        }
        state.epoch == born
    }

    /// The agent is dead; everything that waited for it. Nothing when somebody else has said so already, or the epoch in
    /// which it was to be proven is over.
    pub(crate) fn proven(&self, agent: AgentId, born: u64) -> Option<BTreeSet<EffectRef>> {
        let mut state = self.state();
        if state.epoch == born { state.doubted.remove(&agent) } else { None }
    }
}

/// An agent is still being made ready by a job of an earlier epoch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StillPreparing;

/// An agent that is being made ready. Whatever becomes of it, it is not being prepared when this is dropped.
pub(crate) struct Preparing<'r, L> {
    roster: &'r Roster<L>,
    agent: AgentId,
    born: u64,
}

impl<L> Preparing<'_, L> {
    /// It is ready. An agent of an epoch that is over is remembered only until it is proven dead.
    pub(crate) fn ready(self, live: Arc<L>) -> Go {
        let mut state = self.roster.state();
        if state.epoch != self.born {
            state.left.insert(self.agent, live);
            return Go::Over;
        }
        state.live.insert(self.agent, live);
        if state.doomed.remove(&self.agent) { Go::Doomed } else { Go::On }
    }

    /// It will not be ready. Something of it may be alive, so it counts as being prepared until it is [gone](Roster::gone).
    pub(crate) fn failed(self) {
        std::mem::forget(self);
    }
}

impl<L> Drop for Preparing<'_, L> {
    fn drop(&mut self) {
        self.roster.state().preparing.remove(&self.agent);
        self.roster.prepared.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: AgentId = AgentId::from_bits(7);

    #[test]
    fn an_agent_is_let_in_by_the_epoch_it_was_born_in_only() {
        let roster = Roster::default();
        let born = roster.epoch();
        let first = roster.prepare(AGENT, born).unwrap();
        assert!(roster.end_epoch().is_empty(), "it is not ready yet");
        assert_eq!(first.ready(Arc::new("cage")), Go::Over);
        assert!(roster.get(AGENT).is_none());
        assert_eq!(roster.left(AGENT, Duration::ZERO).unwrap().as_deref(), Some(&"cage"));
        assert!(roster.prepare(AGENT, born).is_none(), "what was asked for then is not begun now");
        roster.gone(AGENT);
        assert_eq!(roster.left(AGENT, Duration::ZERO), Ok(None));
    }

    #[test]
    fn an_agent_that_has_to_end_before_it_is_ready_finds_the_note() {
        let roster = Roster::default();
        let preparing = roster.prepare(AGENT, 0).unwrap();
        assert!(roster.condemn(AGENT).is_none());
        assert_eq!(preparing.ready(Arc::new(())), Go::Doomed);
        assert!(roster.condemn(AGENT).is_some());
        assert_eq!(roster.end_epoch().len(), 1);
        assert!(roster.get(AGENT).is_none());
        assert!(roster.left(AGENT, Duration::ZERO).unwrap().is_some(), "it is not proven dead");
    }

    #[test]
    fn an_agent_whose_preparation_failed_is_in_doubt_until_it_is_gone_and_then_forgotten() {
        let roster = Roster::<()>::default();
        roster.prepare(AGENT, 0).unwrap().failed();
        assert!(roster.condemn(AGENT).is_none(), "it is ended as well");
        assert_eq!(roster.left(AGENT, Duration::ZERO), Err(StillPreparing), "something of it may be alive");
        roster.gone(AGENT);
        assert_eq!(roster.left(AGENT, Duration::ZERO), Ok(None));
        assert_eq!(roster.prepare(AGENT, 0).unwrap().ready(Arc::new(())), Go::On, "no note is left of it");
    }

    #[test]
    fn nothing_is_proven_while_an_agent_is_being_made_ready() {
        let roster = Arc::new(Roster::<&str>::default());
        let preparing = roster.prepare(AGENT, 0).unwrap();
        roster.end_epoch();
        assert_eq!(roster.left(AGENT, Duration::ZERO), Err(StillPreparing));
        let waiting = Arc::clone(&roster);
        let proof = std::thread::spawn(move || waiting.left(AGENT, Duration::from_secs(60)));
        preparing.ready(Arc::new("late"));
        assert_eq!(proof.join().unwrap().unwrap().as_deref(), Some(&"late"));
    }

    #[test]
    fn one_proof_settles_everything_that_was_asked_meanwhile() {
        let roster = Roster::<()>::default();
        let (first, second) = (EffectRef { seq: 3, idx: 0 }, EffectRef { seq: 9, idx: 1 });
        assert!(roster.doubt(AGENT, Some(first), 0) && roster.doubt(AGENT, Some(second), 0));
        assert_eq!(roster.proven(AGENT, 0), Some([first, second].into()));
        assert_eq!(roster.proven(AGENT, 0), None, "it is told once");
        roster.end_epoch();
        assert!(!roster.doubt(AGENT, Some(first), 0), "nobody waits for what an earlier epoch asked");
        assert!(roster.doubt(AGENT, Some(second), 1));
        assert_eq!(roster.proven(AGENT, 0), None, "and it takes away nothing of this one's");
        assert_eq!(roster.proven(AGENT, 1), Some([second].into()));
    }
}
