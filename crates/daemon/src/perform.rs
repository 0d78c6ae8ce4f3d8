//! Doing what was decided and written down. Everything here touches the world; nothing here decides.

mod collect;
mod conclude;
pub(crate) mod credentials;
mod progress;
mod ready;
mod reap;
mod run;
mod under_permit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ed25519_dalek::SigningKey;
use eparch_domain::{AgentId, Clock, Digest, Name, Phase, in_full, limits};
use eparch_governor::{Effect, Ended, Event, Outcome, Usage};
use eparch_ledger::{EffectRef, Ledger};
use eparch_pipeline::Pipeline;
use eparch_sandbox::Launcher;
use tokio::runtime::Handle as Runtime;

use crate::agents::live::{Agents, CLOSE_DEADLINE, Executed, Live};
use crate::artifacts::Artifacts;
use crate::doors::Doors;
use crate::driver::{Done, Handle, Input, Shell};
use crate::home::Home;
use crate::journal::JournalError;
use crate::live_events::Broadcast;
use crate::vault::HomeVault;
use crate::watched::Watched;

/// What performing needs of the world.
pub(crate) struct Tools {
    /// Where secrets are. Before the ledger: whoever holds the home next finds the sealed file let go of.
    pub(crate) vault: Arc<HomeVault>,
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
    /// How often watched policies spoke.
    pub(crate) watched: Watched,
    pub(crate) runtime: Runtime,
    /// Where agents' doors are.
    pub(crate) doors: Doors,
    pub(crate) agents: Agents,
    pub(crate) definitions: Mutex<BTreeMap<Digest, Arc<Pipeline>>>,
    /// The digest of the settings in force.
    pub(crate) settings: Digest,
    /// What was met at the start that is worth knowing and stops nothing.
    pub(crate) notices: Vec<String>,
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
        let born = self.tools.agents.epoch();
        let job = Job { tools: self.tools.clone(), driver: self.driver.clone(), born };
        self.tools.runtime.spawn_blocking(move || work(&job));
    }
}

impl Shell for Performer {
    fn committed(&mut self, done: &Done) {
        self.tools.watched.committed(done);
        self.tools.broadcast.committed(done);
        self.tools.head.send_replace(done.seq);
        if let Event::ClockJumped { by_ms: ..0 } = done.record.event {
            let vault = self.tools.vault.clone();
            self.tools.runtime.spawn(async move { vault.clock_was_put_back().await });
        }
    }

    fn perform(&mut self, at: Option<EffectRef>, effect: &Effect) {
        match effect.clone() {
            Effect::Prepare(spec) => self.aside(move |job| job.prepare(at, *spec)),
            Effect::Execute { agent, plan } => self.aside(move |job| job.execute(at, agent, plan)),
            Effect::Perform(performance) => self.aside(move |job| job.perform(at, &performance)),
            Effect::Conclude { agent, from, failure } => {
                self.aside(move |job| job.conclude(at, agent, from, failure))
            }
            Effect::EndPerformance { agent, permit, .. } => {
                if let Some(live) = self.tools.agents.get(agent) {
                    live.performances.end(permit);
                }
            }
            Effect::Kill { agent, .. } => self.tools.agents.doom(agent),
            Effect::Release { agent } => self.aside(move |job| {
                if let Some(live) = job.tools.agents.get(agent) {
                    job.release(live);
                }
            }),
            Effect::Reap { agent, tree, performances } => {
                self.aside(move |job| job.reap(at, agent, tree, performances))
            }
            Effect::RenewCredential { accessor, ttl } => {
                self.aside(move |job| job.renew_credential(at, accessor, ttl))
            }
            Effect::EndCredential { run, accessor, at: issued_at } => {
                self.aside(move |job| job.end_credential(at, run, accessor, issued_at))
            }
            Effect::Seal { .. } => self.aside(|job| {
                // A checkpoint that cannot be signed now is signed with the next one; health says so meanwhile.
                let _ = job.tools.ledger.checkpoint_now(&job.tools.tenant);
            }),
        }
    }

    fn unable(&mut self, why: &str) {
        crate::holder::note(&format!("the ledger cannot be used yet: {why}"));
    }

    fn stopped(&mut self, why: &JournalError) {
        crate::holder::note(&format!("the ledger could not be written: {why}"));
        let ended = self.tools.agents.end_epoch();
        // All of them at once, and none of them waited for here.
        ended.iter().for_each(|live| live.kill());
        for live in ended {
            self.aside(move |job| job.release(live));
        }
        self.tools.broadcast.stopped(&why.to_string());
    }
}

/// One effect being performed.
#[derive(Clone)]
struct Job {
    tools: Arc<Tools>,
    driver: Handle,
    /// The epoch it was asked for in.
    born: u64,
}

impl Job {
    /// Whether the epoch it was asked for in is over. What it does then interests nobody: the next one decides anew.
    fn is_over(&self) -> bool {
        self.tools.agents.epoch() != self.born
    }

    /// Reports what came of an effect. A report that cannot be written belongs to an epoch that is over: its agents are
    /// dead, and the next epoch decides anew.
    fn report(&self, at: impl IntoIterator<Item = EffectRef>, event: Event) {
        if !self.is_over() {
            let acknowledges = at.into_iter().collect();
            let _ = self.driver.decide(Input { acknowledges, ..event.into() });
        }
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
        let document =
            self.tools.ledger.document(&self.tools.tenant, digest).map_err(|problem| in_full(&problem))?;
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

    /// Ends everything of an agent and proves it dead (R011).
    fn put_away(&self, live: &Live) -> Result<(), String> {
        live.put_away(CLOSE_DEADLINE).map_err(|problem| in_full(&problem))?;
        self.tools.agents.gone(live.spec.agent);
        Ok(())
    }

    /// Puts an agent away for which nobody waits; as often as it takes.
    fn release(&self, live: Arc<Live>) {
        let job = self.clone();
        until_done(&self.tools.runtime, 0, move || job.put_away(&live).is_ok());
    }
}

/// Makes an attempt; after one that fails others, away from here and with more and more time between, until one succeeds.
fn until_done(runtime: &Runtime, failures: u32, attempt: impl Fn() -> bool + Send + 'static) {
    if attempt() {
        return;
    }
    let (elsewhere, wait) = (runtime.clone(), again_after(failures));
    runtime.spawn(async move {
        tokio::time::sleep(wait).await;
        let next = elsewhere.clone();
        elsewhere.spawn_blocking(move || until_done(&next, failures.saturating_add(1), attempt));
    });
}

/// How long to wait before a tree that would not die is killed again.
fn again_after(failures: u32) -> std::time::Duration {
    let millis = limits::RELEASE_RETRY.millis().saturating_mul(1 << failures.min(16));
    std::time::Duration::from_millis(millis.min(limits::RELEASE_RETRY_MAX.millis()))
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
        lost: Vec::new(),
        usage: Usage::default(),
        leftovers: 0,
        verified: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_would_not_die_is_tried_again_until_it_is_dead() {
        // Its clock goes on as soon as there is nothing left to do but wait.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (dead, proof) = tokio::sync::oneshot::channel();
        let (attempts, dead) = (AtomicU32::new(0), Mutex::new(Some(dead)));
        until_done(runtime.handle(), 0, move || {
            let done = attempts.fetch_add(1, Ordering::SeqCst) == 3;
            if done && let Some(dead) = dead.lock().unwrap().take() {
                dead.send(()).unwrap();
            }
            done
        });
        runtime.block_on(proof).unwrap();
    }
}
