//! An agent that is alive: its cage, its log, its listener.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use eparch_domain::{AgentId, Digest, Span, limits};
use eparch_governor::{AgentSpec, Check, Ended, Measure, Usage};
use eparch_sandbox::{Cage, CageSpec, StillAlive, TreeId};
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::agents::capture::Log;
use crate::agents::doom::Doom;
use crate::agents::performances::Performances;
use crate::agents::roster::Roster;

/// How long a dead cage may take to be gone; the kernel needs milliseconds.
pub(crate) const CLOSE_DEADLINE: Span = Span::from_secs(10);

/// An agent whose cage is open.
pub(crate) struct Live {
    pub(crate) spec: Arc<AgentSpec>,
    pub(crate) cage: Cage,
    /// What it was shown when it was made ready.
    pub(crate) shown: CageSpec,
    pub(crate) log: Arc<Log>,
    pub(crate) env: BTreeMap<String, String>,
    /// The place of the entry that began it, for its evidence.
    pub(crate) first_seq: u64,
    pub(crate) packet: Digest,
    pub(crate) plan: Digest,
    pub(crate) confinement: Vec<Measure>,
    pub(crate) listener: Mutex<Option<AbortHandle>>,
    /// What is performed for it under permits.
    pub(crate) performances: Arc<Performances>,
    /// Set when it has to end; whatever of it runs or would run next is over.
    pub(crate) doom: Arc<Doom>,
    /// What EXECUTE came to, for the phases after it.
    pub(crate) executed: Mutex<Option<Executed>>,
}

/// What EXECUTE came to.
#[derive(Debug, Clone)]
pub(crate) struct Executed {
    pub(crate) ended: Ended,
    pub(crate) outputs: BTreeMap<String, Value>,
    pub(crate) artifacts: Vec<eparch_domain::Artifact>,
    /// What it left and was not kept.
    pub(crate) lost: Vec<Lost>,
    pub(crate) usage: Usage,
    pub(crate) leftovers: u32,
    pub(crate) verified: Vec<Check>,
}

/// A result that was not kept, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The check that fails for it: `outputs`, `artifacts`, or `artifact PATH` for a declared one.
    pub(crate) check: String,
    /// What of it was lost, and why.
    pub(crate) why: String,
}

impl Live {
    /// Ends whatever of it runs: SIGTERM, then SIGKILL. Returns at once; its listener lets nothing more in by then.
    pub(crate) fn doom(&self) {
        self.doom.seal();
        self.cage.stop(limits::KILL_GRACE);
        self.performances.doom();
    }

    pub(crate) fn is_doomed(&self) -> bool {
        self.doom.is_sealed()
    }

    /// Kills everything of it. Returns at once, before it is dead.
    pub(crate) fn kill(&self) {
        self.doom.seal();
        self.hang_up();
        self.cage.kill_now();
        self.performances.kill();
    }

    /// Kills everything of it and proves it dead (R011).
    pub(crate) fn put_away(&self, deadline: Span) -> Result<(), StillAlive> {
        self.kill();
        prove_dead(self.cage.tree(), deadline)?;
        self.performances.put_away(deadline)
    }

    /// Closes its listener; nothing it says is heard any more.
    fn hang_up(&self) {
        if let Some(listener) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            listener.abort();
        }
    }
}

/// Kills a tree and proves it dead. A folder of its own that the kernel does not let go of yet lives no more than it does.
pub(crate) fn prove_dead(tree: &TreeId, deadline: Span) -> Result<(), StillAlive> {
    match tree.kill_and_wait(deadline) {
        Err(_) if tree.is_dead().unwrap_or(false) => Ok(()),
        proven => proven,
    }
}

/// Every agent that is alive in this process.
pub(crate) type Agents = Roster<Live>;

impl Agents {
    /// Ends an agent, also one that is not ready yet.
    pub(crate) fn doom(&self, agent: AgentId) {
        if let Some(live) = self.condemn(agent) {
            live.doom();
        }
    }

    /// Kills everything, and waits until it is dead: the holder leaves.
    pub(crate) fn kill_all(&self) {
        let all = self.end_epoch();
        all.iter().for_each(|live| live.kill());
        for live in all {
            if live.put_away(limits::KILL_GRACE).is_ok() {
                self.gone(live.spec.agent);
            }
        }
    }
}
