//! Doing what was decided and written down. Everything here touches the world; nothing here decides.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ed25519_dalek::SigningKey;
use eparch_domain::{AgentId, Artifact, Clock, Digest, Name, Phase, Span, limits};
use eparch_governor::{AgentSpec, Check, Effect, Ended, Event, Outcome, Signal, Usage};
use eparch_ledger::{EffectRef, Ledger};
use eparch_pipeline::Pipeline;
use eparch_sandbox::{Cage, Cause, Exit, Launcher, TreeId};
use tokio::runtime::Handle as Runtime;

use crate::agents::capture::Log;
use crate::agents::evidence::{Manifest, Report};
use crate::agents::listener::{self, Door};
use crate::agents::live::{Agents, Executed, Live};
use crate::agents::spec::{self, ARTIFACTS_FOLDER, OUTPUT_FILE};
use crate::agents::{outputs, packet, prepare};
use crate::artifacts::Artifacts;
use crate::driver::{Done, Handle, Input, Shell};
use crate::home::{Home, make_folder};
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

    fn prepare(&self, at: Option<EffectRef>, spec: AgentSpec) {
        let agent = spec.agent;
        let first_seq = at.map_or(0, |at| at.seq);
        match self.make_ready(spec, first_seq) {
            Ok((live, outcomes)) => {
                let go = self.tools.agents.add(live.clone());
                if go {
                    self.advanced(at, agent, outcomes);
                } else {
                    self.advanced(
                        at,
                        agent,
                        vec![failed(Phase::Bootstrap, "EP0240", "it was ended before it was ready")],
                    );
                }
            }
            Err(outcomes) => self.advanced(at, agent, outcomes),
        }
    }

    /// BOOTSTRAP, PREFLIGHT and PLAN. On failure the outcomes say what was reached, and nothing is left.
    fn make_ready(&self, spec: AgentSpec, first_seq: u64) -> Result<(Arc<Live>, Vec<Outcome>), Vec<Outcome>> {
        let tools = &self.tools;
        let cannot = |code: &str, reason: String| vec![failed(Phase::Bootstrap, code, &reason)];
        let token = token(&tools.secret, &spec);
        let token_hash = Digest::of(token.as_bytes());
        let packet = packet::write(&spec, tools.clock.now(), &tools.signing);
        let packet_digest = Digest::of(&packet.0);
        let identity = |tree| Outcome::Bootstrap { token: token_hash, packet: packet_digest, tree };
        let pipeline = self.definition(&spec.pipeline).map_err(|reason| cannot("EP0241", reason))?;

        let view = spec::view(&spec, tools.home.root(), &tools.expose);
        if !view.inventory.ok {
            let preflight = Outcome::Preflight { checks: vec![view.inventory], confinement: Vec::new() };
            return Err(vec![identity(None), preflight]);
        }
        let cage = Cage::open(&view.cage, &tools.launcher).map_err(|problem| {
            let (check, confinement) = prepare::refused(&problem);
            vec![
                identity(None),
                Outcome::Preflight { checks: vec![check, view.inventory.clone()], confinement },
            ]
        })?;
        prepare::furnish(&cage, &spec, &pipeline, &tools.artifacts, &packet)
            .map_err(|reason| cannot("EP0242", reason))?;
        let env = prepare::environment(&spec, cage.port(), &token, &tools.expose);
        let confinement = prepare::record(cage.measures());
        let held = confinement.iter().filter(|measure| measure.in_force).count();
        let sandbox = Check {
            name: "sandbox".to_owned(),
            ok: true,
            detail: format!("{held} of {} measures in force", confinement.len()),
        };
        let checks = vec![sandbox, view.inventory, prepare::dependencies(&cage, &spec, &env)];
        let tree = serde_json::to_value(cage.tree()).ok();
        let mut outcomes = vec![
            identity(tree),
            Outcome::Preflight { checks: checks.clone(), confinement: confinement.clone() },
        ];
        if checks.iter().any(|check| !check.ok) {
            return Err(outcomes);
        }
        let (plan_digest, plan) =
            prepare::plan(&spec, &tools.artifacts).map_err(|reason| cannot("EP0243", reason))?;
        outcomes.push(plan);
        let log = self
            .open_log(&spec, &token)
            .map_err(|problem| cannot("EP0244", format!("its log cannot be opened: {problem}")))?;
        let live = Arc::new(Live {
            spec,
            cage,
            log,
            env,
            first_seq,
            packet: packet_digest,
            plan: plan_digest,
            confinement,
            listener: Mutex::new(None),
            doomed: false.into(),
            executed: Mutex::new(None),
        });
        self.listen(&live, token_hash)
            .map_err(|problem| cannot("EP0245", format!("its listener cannot be served: {problem}")))?;
        Ok((live, outcomes))
    }

    fn open_log(&self, spec: &AgentSpec, token: &str) -> io::Result<Log> {
        let folder = self.tools.home.logs().join(spec.run.to_string());
        make_folder(&folder).map_err(io::Error::other)?;
        Log::create(folder.join(log_name(&spec.name, spec.attempt)), token.to_owned())
    }

    fn listen(&self, live: &Arc<Live>, token_hash: Digest) -> io::Result<()> {
        let tools = &self.tools;
        let listener = live.cage.listener().try_clone()?;
        listener.set_nonblocking(true)?;
        let _inside = tools.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let door =
            Door::new(live, token_hash, self.driver.clone(), tools.clock.clone(), tools.broadcast.clone());
        let routes = listener::routes(Arc::new(door));
        let task = tools.runtime.spawn(async move {
            // It ends with its agent, by being aborted.
            let _ = axum::serve(listener, routes).await;
        });
        *live.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        Ok(())
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

    fn execute(&self, at: Option<EffectRef>, agent: AgentId) {
        let Some(live) = self.tools.agents.get(agent) else {
            return self.advanced(at, agent, vec![failed(Phase::Execute, "EP0246", "its sandbox is gone")]);
        };
        let outcome = if live.is_doomed() {
            execution(never_ran())
        } else {
            match self.run_program(&live, &live.spec.command) {
                Ok((ended, leftovers, usage)) => {
                    let executed = self.collect(&live, ended, leftovers, usage);
                    *live.executed.lock().unwrap_or_else(PoisonError::into_inner) = Some(executed.clone());
                    execution(executed)
                }
                Err(reason) => failed(Phase::Execute, "EP0247", &reason),
            }
        };
        self.advanced(at, agent, vec![outcome]);
    }

    /// Runs a program to its end; everything it started is dead when this returns.
    fn run_program(&self, live: &Arc<Live>, command: &[String]) -> Result<(Ended, u32, Usage), String> {
        let begun = self.tools.clock.now();
        let mut running = live
            .cage
            .start(&prepare::program(command, &live.env))
            .map_err(|problem| prepare::in_full(&problem))?;
        if live.is_doomed() {
            // It was ended between looking and starting.
            running.stop(limits::KILL_GRACE);
        }
        let streams = [("stdout", running.take_stdout()), ("stderr", running.take_stderr())];
        let ended = std::thread::scope(|scope| {
            for (name, stream) in streams {
                let Some(stream) = stream else { continue };
                scope.spawn(move || self.follow(live, name, stream));
            }
            running.wait()
        });
        let ended = ended.map_err(|problem| prepare::in_full(&problem))?;
        let (lines, lines_dropped) = live.log.counts();
        let usage = Usage {
            cpu_ms: ended.cpu.millis(),
            max_rss_bytes: ended.max_rss_bytes,
            lines,
            lines_dropped,
            wall_ms: self.tools.clock.now().ledger.since(begun.ledger).millis(),
        };
        let how = match (ended.cause, ended.exit) {
            (Cause::Stopped | Cause::Timeout, _) => Ended::Killed,
            (Cause::Itself, Exit::Code(code)) => Ended::Code { code },
            (Cause::Itself, Exit::Signal(signal)) => Ended::Signal { signal },
        };
        Ok((how, ended.leftovers, usage))
    }

    fn follow(&self, live: &Arc<Live>, name: &str, stream: impl io::Read) {
        let tools = &self.tools;
        let told = Mutex::new(None);
        live.log.follow(name, stream, &|| tools.clock.now().wall, &|line| {
            tools.broadcast.log(&live.spec, line);
            // A line is progress (2.C rule 3); a quarter of the time allowed is soon enough to say so.
            if let Some(idle) = live.spec.idle_timeout {
                let now = tools.clock.now().ledger;
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                if told.is_none_or(|at| now.since(at).millis() * 4 >= idle.millis()) {
                    *told = Some(now);
                    let event = Event::AgentSignalled { agent: live.spec.agent, signal: Signal::Progress };
                    self.driver.submit(event.into(), |_| {});
                }
            }
        });
    }

    /// Collects what an ended program left: outputs and artifacts, durable before they are named.
    fn collect(&self, live: &Live, ended: Ended, leftovers: u32, usage: Usage) -> Executed {
        let workspace = live.cage.workspace();
        let mut missing = Vec::new();
        let text = match workspace.read_file(OUTPUT_FILE, limits::OUTPUT_FILE_BYTES) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(problem) => {
                missing.push(format!("outputs: {}", prepare::in_full(&problem)));
                String::new()
            }
        };
        let (values, problems) = outputs::parse(&text);
        let values = values.into_iter().map(|(name, value)| (name, live.log.hide(value))).collect();
        missing.extend(problems);
        let mut artifacts = Vec::new();
        let mut keep = |path: &str, file: &str| match self.keep(live, path, file) {
            Ok(artifact) => artifacts.push(artifact),
            Err(problem) => missing.push(problem),
        };
        for path in &live.spec.artifacts {
            keep(path, path);
        }
        match workspace.list(ARTIFACTS_FOLDER, limits::STAGE_ARTIFACTS) {
            Ok(found) => {
                for entry in found {
                    let file = entry.path.display().to_string();
                    let path = file
                        .strip_prefix(ARTIFACTS_FOLDER)
                        .unwrap_or(&file)
                        .trim_start_matches('/')
                        .to_owned();
                    keep(&path, &file);
                }
            }
            Err(problem) => missing.push(format!("artifacts: {}", prepare::in_full(&problem))),
        }
        Executed { ended, outputs: values, artifacts, missing, usage, leftovers, verified: Vec::new() }
    }

    fn keep(&self, live: &Live, path: &str, file: &str) -> Result<Artifact, String> {
        let mut content = live
            .cage
            .workspace()
            .open_file(file)
            .map_err(|problem| format!("{path}: {}", prepare::in_full(&problem)))?;
        let kept = self
            .tools
            .artifacts
            .keep(&mut content, limits::ARTIFACT_BYTES)
            .map_err(|problem| format!("{path}: {problem}"))?;
        let grade = Phase::Execute.grade().expect("EXECUTE puts something out");
        Ok(Artifact { path: path.to_owned(), digest: kept.digest, size: kept.size, grade })
    }

    fn conclude(&self, at: Option<EffectRef>, agent: AgentId, from: Phase, failure: Option<String>) {
        let outcomes = match self.tools.agents.get(agent) {
            None => vec![failed(from, "EP0246", "its sandbox is gone")],
            Some(live) => self.last_phases(&live, from, failure),
        };
        self.advanced(at, agent, outcomes);
    }

    /// VERIFY, PACKAGE, REPORT and EXIT, as far as they can be carried out.
    fn last_phases(&self, live: &Arc<Live>, from: Phase, failure: Option<String>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let executed = live.executed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut executed = executed.unwrap_or_else(never_ran);
        let mut failure = failure.unwrap_or_default();
        if from <= Phase::Verify {
            let checks = if failure.is_empty() { self.verify(live, &executed) } else { Vec::new() };
            if let Some(check) = checks.iter().find(|check| !check.ok) {
                failure = format!("{}: {}", check.name, check.detail);
            }
            executed.verified = checks.clone();
            outcomes.push(Outcome::Verify { checks });
        }
        let package = match self.package(live, &executed, &failure) {
            Ok(package) => package,
            Err(reason) => {
                outcomes.push(failed(Phase::Package, "EP0248", &reason));
                return outcomes;
            }
        };
        outcomes.push(Outcome::Package { manifest: package });
        match self.write_report(live, &failure, package) {
            Ok(report) => outcomes.push(Outcome::Report { report, package }),
            Err(reason) => {
                outcomes.push(failed(Phase::Report, "EP0249", &reason));
                return outcomes;
            }
        }
        if failure.is_empty() {
            self.show(live, &executed);
        }
        match self.put_away(live.spec.agent) {
            Ok(()) => outcomes.push(Outcome::Exit),
            Err(reason) => outcomes.push(failed(Phase::Exit, "EP0250", &reason)),
        }
        outcomes
    }

    /// Every declared artifact is there, and every command that checks the result succeeds.
    fn verify(&self, live: &Arc<Live>, executed: &Executed) -> Vec<Check> {
        let mut checks = Vec::new();
        for path in &live.spec.artifacts {
            let found = executed.artifacts.iter().find(|artifact| artifact.path == *path);
            let detail = match found {
                Some(artifact) => format!("{} bytes, {}", artifact.size, artifact.digest),
                None => executed
                    .missing
                    .iter()
                    .find(|line| line.starts_with(path.as_str()))
                    .cloned()
                    .unwrap_or_else(|| "it is missing".to_owned()),
            };
            checks.push(Check { name: format!("artifact {path}"), ok: found.is_some(), detail });
        }
        for command in &live.spec.verify {
            if live.is_doomed() {
                break;
            }
            let (ok, detail) = match self.run_program(live, command) {
                Ok((Ended::Code { code: 0 }, ..)) => (true, "exited with 0".to_owned()),
                Ok((Ended::Code { code }, ..)) => (false, format!("exited with {code}")),
                Ok((Ended::Signal { signal }, ..)) => (false, format!("ended by signal {signal}")),
                Ok((Ended::Killed, ..)) => (false, "killed".to_owned()),
                Err(reason) => (false, reason),
            };
            checks.push(Check { name: format!("verify {}", command.join(" ")), ok, detail });
        }
        checks
    }

    fn package(&self, live: &Live, executed: &Executed, failure: &str) -> Result<Digest, String> {
        let log = live.log.digest().map_err(|problem| format!("its log cannot be read: {problem}"))?;
        let last_seq = *self.tools.head.borrow();
        let manifest = Manifest::of(live, executed, failure, log, last_seq, self.tools.clock.now().wall);
        let bytes = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        self.keep_document(live, "evidence.json", &bytes)
    }

    fn write_report(&self, live: &Live, failure: &str, package: Digest) -> Result<Digest, String> {
        let report = Report::of(live, failure, package, self.tools.clock.now().wall);
        let bytes = serde_json::to_vec_pretty(&report).expect("a report is plain data");
        self.keep_document(live, "report.json", &bytes)
    }

    fn keep_document(&self, live: &Live, name: &str, bytes: &[u8]) -> Result<Digest, String> {
        let kept = self
            .tools
            .artifacts
            .keep_bytes(bytes)
            .map_err(|problem| format!("{name} cannot be kept: {problem}"))?;
        self.link(live, name, &kept.digest);
        Ok(kept.digest)
    }

    /// Shows the artifacts under their names, for people. The store is the truth; a name that cannot be made is only a
    /// convenience lost.
    fn show(&self, live: &Live, executed: &Executed) {
        for artifact in &executed.artifacts {
            self.link(live, &artifact.path, &artifact.digest);
        }
    }

    fn link(&self, live: &Live, name: &str, digest: &Digest) {
        let folder = self.tools.home.runs().join(live.spec.run.to_string()).join(live.spec.name.as_str());
        let place = folder.join(name);
        if let Some(above) = place.parent()
            && make_folder(above).is_ok()
        {
            let _ = std::fs::remove_file(&place);
            let _ = std::fs::hard_link(self.tools.artifacts.path(digest), &place);
        }
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

fn execution(executed: Executed) -> Outcome {
    Outcome::Execute {
        ended: executed.ended,
        outputs: executed.outputs,
        artifacts: executed.artifacts,
        leftovers: executed.leftovers,
        usage: executed.usage,
    }
}

/// An agent's token: derived, so that issuing it twice issues the same one, and hashed twice with the secret in front,
/// so that nobody can go on from a hash they have seen.
fn token(secret: &[u8], spec: &AgentSpec) -> String {
    let inner = Digest::of_parts(&[secret, b"agent-token", &spec.agent.bits().to_be_bytes()]);
    format!("ept_{}", Digest::of_parts(&[secret, inner.as_bytes()]).hex())
}
