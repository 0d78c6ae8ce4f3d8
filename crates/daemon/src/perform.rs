//! Doing what was decided and written down. Everything here touches the world; nothing here decides.

mod conclude;
mod ready;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ed25519_dalek::SigningKey;
use eparch_domain::{AgentId, Clock, Digest, Name, Phase, Span};
use eparch_governor::{Effect, Ended, Event, Outcome, Usage};
use eparch_ledger::{EffectRef, Ledger};
use eparch_pipeline::Pipeline;
use eparch_sandbox::{Launcher, TreeId};
use tokio::runtime::Handle as Runtime;

use crate::agents::live::{Agents, Executed};
use crate::agents::prepare;
use crate::artifacts::Artifacts;
use crate::driver::{Done, Handle, Input, Shell};
use crate::home::Home;
use crate::journal::JournalError;
use crate::live_events::Broadcast;

/// How long a dead cage may take to be gone; the kernel needs milliseconds.
const CLOSE_DEADLINE: Span = Span::from_secs(10);

/// What performing needs of the world.
pub(crate) struct Tools {
    pub(crate) home: Home,
    pub(crate) tenant: Name,
    pub(crate) secret: Vec<u8>,
    pub(crate) signing: SigningKey,
    pub(crate) launcher: Launcher,
    pub(crate) expose: Vec<PathBuf>,
    /// Variables that expressions may read.
    pub(crate) readable_env: BTreeSet<String>,
    pub(crate) artifacts: Artifacts,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) broadcast: Broadcast,
    pub(crate) runtime: Runtime,
    pub(crate) agents: Agents,
    pub(crate) definitions: Mutex<BTreeMap<Digest, Arc<Pipeline>>>,
    /// Told after every commit.
    pub(crate) head: tokio::sync::watch::Sender<u64>,
}

/// The shell: what the driver's decisions become.
pub(crate) struct Performer {
    tools: Arc<Tools>,
    driver: Handle,
}

impl Performer {
    pub(crate) fn new(tools: Arc<Tools>, driver: Handle) -> Performer {
        Performer { tools, driver }
    }

    /// Does something that blocks, away from the driver's thread.
    fn aside(&self, work: impl FnOnce(&Job) + Send + 'static) {
        let job = Job { tools: self.tools.clone(), driver: self.driver.clone() };
        self.tools.runtime.spawn_blocking(move || work(&job));
    }
}

impl Shell for Performer {
    fn committed(&mut self, done: &Done) {
        self.tools.broadcast.committed(done);
        self.tools.head.send_replace(done.seq);
    }

    fn perform(&mut self, at: Option<EffectRef>, effect: &Effect) {
        match effect.clone() {
            Effect::Prepare(spec) => self.aside(move |job| job.prepare(at, *spec)),
            Effect::Execute { agent } => self.aside(move |job| job.execute(at, agent)),
            Effect::Conclude { agent, from, failure } => {
                self.aside(move |job| job.conclude(at, agent, from, failure))
            }
            Effect::Kill { agent, .. } => self.tools.agents.doom(agent),
            Effect::Release { agent } => self.aside(move |job| job.release(agent)),
            Effect::Reap { agent, tree } => self.aside(move |job| job.reap(at, agent, tree)),
            Effect::Seal { .. } => self.aside(|job| {
                // A checkpoint that cannot be signed now is signed with the next one; health says so meanwhile.
                let _ = job.tools.ledger.checkpoint_now(&job.tools.tenant);
            }),
        }
    }

    fn stopped(&mut self, _why: &JournalError) {
        self.tools.agents.kill_all();
    }
}

/// One effect being performed.
struct Job {
    tools: Arc<Tools>,
    driver: Handle,
}

impl Job {
    /// Reports what came of an effect. A report that cannot be written belongs to an epoch that is over: its agents are
    /// dead, and the next epoch decides anew.
    fn report(&self, at: Option<EffectRef>, event: Event) {
        let _ = self.driver.decide(Input { event, definition: None, acknowledges: at.into_iter().collect() });
    }

    fn advanced(&self, at: Option<EffectRef>, agent: AgentId, outcomes: Vec<Outcome>) {
        self.report(at, Event::AgentAdvanced { agent, outcomes });
    }

    /// A run's definition, from memory or from the ledger.
    fn definition(&self, digest: &Digest) -> Result<Arc<Pipeline>, String> {
        let known = |tools: &Tools| {
            tools.definitions.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
        };
        if let Some(found) = known(&self.tools) {
            return Ok(found);
        }
        let document = self
            .tools
            .ledger
            .document(&self.tools.tenant, digest)
            .map_err(|problem| prepare::in_full(&problem))?;
        let bytes = document.ok_or_else(|| format!("the definition {digest} is not in the ledger"))?.bytes;
        let pipeline = Arc::new(Pipeline::from_bytes(&bytes).map_err(|problem| problem.to_string())?);
        let mut definitions = self.tools.definitions.lock().unwrap_or_else(PoisonError::into_inner);
        // A cache, not a memory: it may start over at any time.
        if definitions.len() > 256 {
            definitions.clear();
        }
        definitions.insert(*digest, pipeline.clone());
        Ok(pipeline)
    }

    fn release(&self, agent: AgentId) {
        // Nothing waits for it: a tree that would not die is found by the next boot.
        let _ = self.put_away(agent);
    }

    /// Ends everything of an agent and proves it dead (R011).
    fn put_away(&self, agent: AgentId) -> Result<(), String> {
        let Some(live) = self.tools.agents.remove(agent) else { return Ok(()) };
        live.doomed.store(true, std::sync::atomic::Ordering::SeqCst);
        live.hang_up();
        live.cage.kill_now();
        live.cage.tree().kill_and_wait(CLOSE_DEADLINE).map_err(|problem| prepare::in_full(&problem))
    }

    fn reap(&self, at: Option<EffectRef>, agent: AgentId, tree: Option<serde_json::Value>) {
        // The epoch may be over without this process having ended: what it still holds goes first.
        let _ = self.put_away(agent);
        let tree: Option<TreeId> = tree.and_then(|tree| serde_json::from_value(tree).ok());
        let mut killed = false;
        if let Some(tree) = tree {
            killed = !tree.is_dead().unwrap_or(false);
            // Not proven is not decided: the attempt stays in doubt until it is.
            if tree.kill_and_wait(CLOSE_DEADLINE).is_err() {
                return;
            }
        }
        self.report(at, Event::TreeProvenDead { agent, killed });
    }
}

/// The log file of one attempt at a stage.
pub(crate) fn log_name(stage: &Name, attempt: u32) -> String {
    format!("{stage}.{attempt}.jsonl")
}

fn failed(in_phase: Phase, code: &str, reason: &str) -> Outcome {
    Outcome::Failed { in_phase, code: code.to_owned(), reason: reason.to_owned() }
}

fn never_ran() -> Executed {
    Executed {
        ended: Ended::Killed,
        outputs: BTreeMap::new(),
        artifacts: Vec::new(),
        missing: Vec::new(),
        usage: Usage::default(),
        leftovers: 0,
        verified: Vec::new(),
    }
}
