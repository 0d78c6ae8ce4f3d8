//! How the ledger is doing, for whoever asks; written by the writer, read by all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use eparch_domain::Name;

use crate::write_error::WriteError;

/// Notices that are kept: the first tell what happened, the rest repeat it.
const NOTICES: usize = 20;

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
