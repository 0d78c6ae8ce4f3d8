//! How the ledger is doing, for whoever asks; written by the writer, read by all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eparch_domain::{Name, limits};

use crate::write_error::WriteError;

/// Notices that are kept: the first tell what happened, the rest repeat it.
const NOTICES: usize = 20;

/// How long a state may take to be saved before those who wait for what was asked meanwhile give up.
const SAVE_PATIENCE: Duration = Duration::from_secs(10);

/// What the ledger shows of how it is doing.
#[derive(Debug)]
pub(crate) struct Condition {
    epoch: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failure: Option<WriteError>,
    unsigned: BTreeMap<Name, WriteError>,
    notices: Vec<String>,
    /// Nobody gives up before this: a state is being saved, or was a moment ago.
    patience: Option<Instant>,
}

impl Condition {
    pub(crate) fn new(epoch: u64) -> Condition {
        Condition { epoch: AtomicU64::new(epoch), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a single assignment: a panic leaves nothing half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of this boot.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// A new epoch began, and nothing is wrong any more.
    pub(crate) fn begin(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::SeqCst);
        self.fail(None);
    }

    /// Why nothing can be written.
    pub(crate) fn failure(&self) -> Option<WriteError> {
        self.lock().failure.clone()
    }

    pub(crate) fn fail(&self, why: Option<WriteError>) {
        self.lock().failure = why;
    }

    /// When somebody gives up who wanted an answer by `deadline`. A large state that is being saved holds up what is asked
    /// meanwhile, which is no failure of the disk.
    pub(crate) fn patience(&self, deadline: Instant) -> Instant {
        self.lock().patience.map_or(deadline, |patience| patience.max(deadline))
    }

    /// A state that was to be saved by `deadline` is saved from now on; false when its caller has given up. Whoever asked
    /// for something later has not: what is carried out is never carried out behind somebody's back.
    pub(crate) fn saving(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        let waiting = now < state.patience.map_or(deadline, |patience| patience.max(deadline));
        if waiting {
            state.patience = Some(now + SAVE_PATIENCE);
        }
        waiting
    }

    /// It is saved, or not; what waited has its usual time from here on, and no more than it was told.
    pub(crate) fn saved(&self) {
        let mut state = self.lock();
        let usual = Instant::now() + limits::LEDGER_WRITE_DEADLINE.as_duration();
        state.patience = state.patience.map(|patience| patience.min(usual));
    }

    /// A tenant's checkpoint was due and could not be signed.
    pub(crate) fn cannot_sign(&self, tenant: Name, why: WriteError) {
        self.lock().unsigned.insert(tenant, why);
    }

    pub(crate) fn signed(&self, tenant: &Name) {
        self.lock().unsigned.remove(tenant);
    }

    /// The tenants that cannot be signed for, and why.
    pub(crate) fn unsigned(&self) -> BTreeMap<Name, WriteError> {
        self.lock().unsigned.clone()
    }

    /// Something that people should know and that stops nothing; said again, it is kept once.
    pub(crate) fn notice(&self, what: String) {
        let mut state = self.lock();
        if state.notices.len() < NOTICES && !state.notices.contains(&what) {
            state.notices.push(what);
        }
    }

    pub(crate) fn repaired(&self, epoch: u64, repaired: &[String]) {
        for what in repaired {
            self.notice(format!("{what} was damaged; boot {epoch} made it anew"));
        }
    }

    pub(crate) fn notices(&self) -> Vec<String> {
        self.lock().notices.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g1_a_save_buys_nobody_time_who_has_given_up() {
        let condition = Condition::new(1);
        let past = Instant::now();
        assert!(!condition.saving(past), "whoever asked for it is gone");
        assert_eq!(condition.patience(past), past);
        assert!(condition.saving(past + Duration::from_secs(60)));
        let told = condition.patience(past);
        assert!(told > past + limits::LEDGER_WRITE_DEADLINE.as_duration());
        condition.saved();
        assert!(condition.patience(past) < told, "the disk is given its usual time again");
        let later = told + Duration::from_secs(60);
        assert_eq!(condition.patience(later), later);
    }
}
