//! An agent that is alive: its cage, its log, its listener.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use eparch_domain::{AgentId, Digest, limits};
use eparch_governor::{AgentSpec, Check, Ended, Measure, Usage};
use eparch_sandbox::Cage;
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::agents::capture::Log;

/// An agent whose cage is open.
pub(crate) struct Live {
    pub(crate) spec: AgentSpec,
    pub(crate) cage: Cage,
    pub(crate) log: Log,
    pub(crate) env: BTreeMap<String, String>,
    /// The place of the entry that began it, for its evidence.
    pub(crate) first_seq: u64,
    pub(crate) packet: Digest,
    pub(crate) plan: Digest,
    pub(crate) confinement: Vec<Measure>,
    pub(crate) listener: Mutex<Option<AbortHandle>>,
    /// Set when it has to end; whatever of it runs or would run next is over.
    pub(crate) doomed: AtomicBool,
    /// What EXECUTE came to, for the phases after it.
    pub(crate) executed: Mutex<Option<Executed>>,
}

/// What EXECUTE came to.
#[derive(Debug, Clone)]
pub(crate) struct Executed {
    pub(crate) ended: Ended,
    pub(crate) outputs: BTreeMap<String, Value>,
    pub(crate) artifacts: Vec<eparch_domain::Artifact>,
    pub(crate) missing: Vec<String>,
    pub(crate) usage: Usage,
    pub(crate) leftovers: u32,
    pub(crate) verified: Vec<Check>,
}

impl Live {
    /// Ends whatever of it runs: SIGTERM, then SIGKILL. Returns at once.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::SeqCst);
        self.cage.stop(limits::KILL_GRACE);
    }

    pub(crate) fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::SeqCst)
    }

    /// Closes its listener; nothing it says is heard any more.
    pub(crate) fn hang_up(&self) {
        if let Some(listener) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            listener.abort();
        }
    }
}

/// Every agent that is alive in this process.
#[derive(Default)]
pub(crate) struct Agents {
    live: Mutex<BTreeMap<AgentId, Arc<Live>>>,
    /// Agents that have to end and are not ready yet.
    doomed: Mutex<BTreeSet<AgentId>>,
}

impl Agents {
    pub(crate) fn get(&self, agent: AgentId) -> Option<Arc<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).get(&agent).cloned()
    }

    /// Adds an agent whose cage has just opened; false when it has to end already.
    pub(crate) fn add(&self, live: Arc<Live>) -> bool {
        let agent = live.spec.agent;
        self.live.lock().unwrap_or_else(PoisonError::into_inner).insert(agent, live);
        !self.doomed.lock().unwrap_or_else(PoisonError::into_inner).remove(&agent)
    }

    pub(crate) fn remove(&self, agent: AgentId) -> Option<Arc<Live>> {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).remove(&agent);
        self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&agent)
    }

    /// Ends an agent, also one that is not ready yet.
    pub(crate) fn doom(&self, agent: AgentId) {
        // Noted before looking: an agent that becomes ready in between finds the note.
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).insert(agent);
        if let Some(live) = self.get(agent) {
            self.doomed.lock().unwrap_or_else(PoisonError::into_inner).remove(&agent);
            live.doom();
        }
    }

    /// Kills everything at once: the epoch is over.
    pub(crate) fn kill_all(&self) {
        let all = std::mem::take(&mut *self.live.lock().unwrap_or_else(PoisonError::into_inner));
        for live in all.into_values() {
            live.doomed.store(true, Ordering::SeqCst);
            live.hang_up();
            live.cage.kill_now();
        }
    }
}
