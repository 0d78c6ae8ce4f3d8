//! A holder whose agents run no program: what tests race against, and what the benches measure. Everything else is real: doors
//! over HTTP on this machine's own network, driver, governor, policies, ledger on a disk. Only with the feature `stand`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use axum::body::Bytes;
use ed25519_dalek::SigningKey;
use eparch_domain::{AgentId, OperatorRole, RunId, Span, Tier};
use eparch_governor::{Check, Effect, Ended, Key, Operator, Outcome, RunRequest, Usage};
use eparch_ledger::views::Views;
use eparch_ledger::{EffectRef, Ledger, Settings as LedgerSettings};
use eparch_pipeline::{Catalogue, Known, Pipeline, check};
use eparch_policy::PolicySet;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::*;
use crate::agents::listener;
use crate::agents::live::Agents;
use crate::api::{self, App, ReadModels};
use crate::artifacts::Artifacts;
use crate::clock::SystemClock;
use crate::doors::DoorThreads;
use crate::driver::{Core, Driver, Input, Shell};
use crate::holder;
use crate::home::Home;
use crate::journal::{JournalError, LedgerJournal};
use crate::perform::{Performer, Tools};
use crate::public_door;
use crate::vault::HomeVault;

/// How long a write of the stand's ledger may take.
const PATIENCE: Span = Span::from_secs(60);

/// Agents of one run, side by side.
pub const CROWD: usize = 32;

/// More agents than a bench has at once, so that none waits for another to end.
const SEATS: u32 = 4_096;

/// The key of the one operator.
const KEY: &str = "the key of ada";

/// An agent that works, as far as anybody can tell, with its door open.
#[derive(Debug)]
pub struct Agent {
    /// Which.
    pub id: AgentId,
    /// What it says to its door.
    pub token: String,
    /// Where its door is.
    pub at: String,
    #[cfg(test)]
    pub(super) doom: Arc<Doom>,
    door: AbortHandle,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.door.abort();
    }
}

/// An agent that was told to work and has no door yet.
struct Born {
    spec: Arc<AgentSpec>,
    doom: Arc<Doom>,
}

/// Answers for agents without making any.
struct Stage {
    performer: Performer,
    born: mpsc::UnboundedSender<Born>,
    reports: Sender<Input>,
    specs: BTreeMap<AgentId, Arc<AgentSpec>>,
    working: BTreeMap<AgentId, (Option<EffectRef>, Arc<Doom>)>,
}

impl Stage {
    fn report(&self, at: Option<EffectRef>, agent: AgentId, outcomes: Vec<Outcome>) {
        let event = Event::AgentAdvanced { agent, outcomes };
        let told = Input { acknowledges: at.into_iter().collect(), ..event.into() };
        // Whoever hands it on leaves with the driver: then nobody waits for it.
        let _ = self.reports.send(told);
    }
}

impl Shell for Stage {
    fn committed(&mut self, done: &Done) {
        self.performer.committed(done);
    }

    fn perform(&mut self, at: Option<EffectRef>, effect: &Effect) {
        match effect {
            Effect::Prepare(spec) => {
                self.specs.insert(spec.agent, Arc::new((**spec).clone()));
                self.report(at, spec.agent, ready(spec.agent));
            }
            Effect::Execute { agent, .. } => {
                let doom = Arc::new(Doom::default());
                self.working.insert(*agent, (at, doom.clone()));
                let spec = self.specs.remove(agent).expect("it was made ready before");
                let _ = self.born.send(Born { spec, doom });
            }
            Effect::Kill { agent, .. } => {
                let (at, doom) = self.working.remove(agent).expect("it works");
                // Every other door never learns that its agent has ended: what it lets in, the governor refuses.
                if is_told(*agent) {
                    doom.seal();
                }
                let execute = Outcome::Execute {
                    ended: Ended::Killed,
                    outputs: BTreeMap::new(),
                    artifacts: Vec::new(),
                    leftovers: 0,
                    usage: Usage::default(),
                };
                self.report(at, *agent, vec![execute]);
            }
            // Nothing of it ever ran.
            Effect::Reap { agent, .. } => {
                let event = Event::TreeProvenDead { agent: *agent, killed: true };
                let told = Input { acknowledges: at.into_iter().collect(), ..event.into() };
                let _ = self.reports.send(told);
            }
            Effect::Seal { .. } => self.performer.perform(at, effect),
            Effect::Release { .. } => {}
            other => panic!("nobody asks for {other:?} here"),
        }
    }

    fn stopped(&mut self, why: &JournalError) {
        panic!("the ledger is well: {why}");
    }
}

/// Whether an agent's door is told of its end.
pub(super) fn is_told(agent: AgentId) -> bool {
    agent.bits().is_multiple_of(2)
}

fn token(agent: AgentId) -> String {
    format!("token of {agent}")
}

fn ready(agent: AgentId) -> Vec<Outcome> {
    let digest = Digest::of(b"nothing");
    let held = |name: &str| Check { name: name.to_owned(), ok: true, detail: String::new() };
    vec![
        Outcome::Bootstrap { token: Digest::of(token(agent).as_bytes()), packet: digest, tree: None },
        Outcome::Preflight {
            checks: ["sandbox", "inventory", "dependencies"].map(held).into(),
            confinement: Vec::new(),
        },
        Outcome::Plan { plan: digest, actions: vec!["read_file .".to_owned()], problem: None },
    ]
}

fn crowd() -> Arc<Pipeline> {
    let branch = |at: usize| {
        format!(
            "      - {{name: b{at}, stages: [{{name: s{at}, type: agent, config: {{tier: 1, command: ['true']}}}}]}}\n"
        )
    };
    let text = format!(
        "name: crowd\nstages:\n  - name: crowd\n    type: parallel\n    config: {{on_failure: wait_all}}\n    branches:\n{}",
        (0..CROWD).map(branch).collect::<String>()
    );
    let checked = check("crowd.yaml", &text, &Catalogue::built_in(), &Known::default());
    Arc::new(checked.pipeline.expect("a pipeline without problems"))
}

/// A holder, but for what makes agents.
pub struct Stand {
    app: Arc<App>,
    /// The thread that decides, until it is over.
    driver: Option<std::thread::JoinHandle<()>>,
    born: mpsc::UnboundedReceiver<Born>,
    /// What is done for agents, as in a holder; until it is over.
    agents: Option<Runtime>,
    /// Where their doors are; as long.
    door_threads: Option<DoorThreads>,
    at: String,
    door: JoinHandle<()>,
    logs: PathBuf,
    pipeline: Arc<Pipeline>,
    runs: u128,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.door.abort();
        self.app.driver.stop();
        // It saves its state last: whoever removes the folder next must not meet it there.
        if let Some(driver) = self.driver.take() {
            // A panic of its own was printed when it happened.
            let _ = driver.join();
        }
        drop(self.door_threads.take());
        if let Some(agents) = self.agents.take() {
            agents.shutdown_background();
        }
    }
}

impl Stand {
    /// A new home under `folder`, held, with the policies that ship in force and one operator. Panics where the disk or the
    /// network of this machine are not as they should be, as everything here does.
    pub async fn new(folder: &Path) -> Stand {
        Stand::by(folder, Arc::new(SystemClock::after(&[]))).await
    }

    /// The same, by a clock of the caller's own.
    pub(super) async fn by(folder: &Path, clock: Arc<dyn Clock>) -> Stand {
        crate::process_limits::allow_many_files();
        let at_once = u32::try_from(CROWD).expect("a small number");
        let agents = holder::runtime_of_agents(at_once).expect("threads");
        let door_threads = holder::doors_of_agents(at_once).expect("threads");
        let ada = Name::new("ada").expect("a name");
        let home = Home::create(&folder.join("home"), &ada).expect("an empty folder");
        // What is tried here is not what a slow disk does, and one that is shared with other tests may be slow.
        let settings = LedgerSettings { write_within: PATIENCE, ..LedgerSettings::in_home(home.root()) };
        let ledger = Arc::new(Ledger::open(&settings, clock.now().wall, "stand").expect("a fresh ledger"));
        let journal = LedgerJournal::new(ledger.clone(), clock.clone());
        let tenant = Name::new("default").expect("a name");
        let policies = Arc::new(PolicySet::defaults());
        let core = Core::recover_with(journal, tenant.clone(), ledger.epoch(), Some(policies.clone()))
            .expect("a fresh ledger");
        let models = ReadModels {
            views: Views::open(&home.views()).expect("a fresh home"),
            reader: ledger.reader().expect("a fresh ledger"),
        };
        let tools = Arc::new(Tools {
            vault: Arc::new(HomeVault::new(&home, &Default::default(), clock.clone(), &"0".repeat(64))),
            tenant,
            signing: SigningKey::from_bytes(Digest::of(b"key").as_bytes()),
            secret: Vec::new(),
            launcher: eparch_sandbox::Launcher::this_program(),
            expose: Vec::new(),
            readable_env: BTreeSet::new(),
            artifacts: Artifacts::at(home.artifacts()),
            home,
            ledger,
            clock: clock.clone(),
            broadcast: Broadcast::default(),
            watched: crate::watched::Watched::default(),
            runtime: agents.handle().clone(),
            doors: door_threads.doors.clone(),
            agents: Agents::default(),
            definitions: Mutex::default(),
            settings: Digest::of(b"settings"),
            notices: Vec::new(),
            head: watch::channel(core.seq()).0,
        });
        let (born, from) = mpsc::unbounded_channel();
        let (driver, handle) = Driver::new(core, SEATS, clock, |handle| {
            let (reports, told) = channel::<Input>();
            let teller = handle.clone();
            // Away from the driver's own thread, which must not wait for itself.
            std::thread::spawn(move || told.into_iter().for_each(|report| teller.submit(report, |_| {})));
            let performer = Performer::new(tools.clone(), handle);
            Stage { performer, born, reports, specs: BTreeMap::new(), working: BTreeMap::new() }
        });
        let driving = std::thread::Builder::new().name("driver".to_owned()).spawn(move || driver.run());
        let driving = Some(driving.expect("a thread"));
        let key = Key::Home { hash: Digest::of(KEY.as_bytes()) };
        let operator =
            Operator { name: ada, role: OperatorRole::Admin, groups: Vec::new(), max_tier: Tier::T4, key };
        handle.ask(Event::OperatorAdded { by: None, operator }.into()).await.expect("a healthy disk");
        let offered = Event::PoliciesOffered { by: None, policies: policies.digest() };
        handle
            .ask(Input { policies: Some(policies), ..offered.into() })
            .await
            .expect("policies that are in order");
        let app = App::new(tools, handle, models, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("it listens").to_string();
        let api = api::routes(app.clone());
        let door = tokio::spawn(async move {
            let (_open, closing) = watch::channel(false);
            public_door::serve(listener, api, closing, Duration::ZERO).await;
        });
        let logs = folder.to_owned();
        Stand {
            app,
            driver: driving,
            born: from,
            agents: Some(agents),
            door_threads: Some(door_threads),
            at,
            door,
            logs,
            pipeline: crowd(),
            runs: 0,
        }
    }

    /// A caller of the API, with the operator's key; connected by whichever runtime asks.
    pub fn operator(&self) -> impl Future<Output = Caller> + Send + use<> {
        let at = self.at.clone();
        async move { Caller::to(&at, KEY).await }
    }

    /// The API's address.
    pub fn api(&self) -> &str {
        &self.at
    }

    /// What decides.
    #[cfg(test)]
    pub(super) fn driver(&self) -> &Handle {
        &self.app.driver
    }

    /// What its doors share.
    #[cfg(test)]
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// How many entries the ledger has.
    pub fn recorded(&self) -> u64 {
        *self.app.tools.head.borrow()
    }

    /// Starts a run, and waits until all its [`CROWD`] agents work.
    pub async fn crowd(&mut self) -> (RunId, Vec<Agent>) {
        let (run, answer) = self.begin().await;
        assert!(!matches!(answer, Answer::Refused(_)), "{answer:?}");
        let mut agents = Vec::with_capacity(CROWD);
        while agents.len() < CROWD {
            let born = self.born.recv().await.expect("the driver goes on");
            agents.push(self.open(born).await);
        }
        (run, agents)
    }

    /// Asks for a run, and says what came of that.
    pub(super) async fn begin(&mut self) -> (RunId, Answer) {
        self.runs += 1;
        let run = RunId::from_bits(self.runs);
        let request = RunRequest {
            run,
            pipeline: self.pipeline.digest(),
            inputs: BTreeMap::new(),
            env: BTreeMap::new(),
            requester: Name::new("ada").expect("a name"),
            grant: None,
            root: "/".to_owned(),
            idempotency_key: None,
            lineage: None,
        };
        let event = Event::RunRequested(Box::new(request));
        let input = Input { definition: Some(self.pipeline.clone()), ..event.into() };
        let done = self.app.driver.ask(input).await.expect("a healthy disk");
        (run, done.record.decision.answer.clone())
    }

    /// Opens the door of an agent.
    async fn open(&self, born: Born) -> Agent {
        let Born { spec, doom } = born;
        let thread = self.app.tools.doors.next();
        let (id, token) = (spec.agent, token(spec.agent));
        let log = Log::create(self.logs.join(id.to_string()), token.clone()).expect("a new file");
        let door = Door {
            log: Arc::new(log),
            spec,
            tenant: self.app.tools.tenant.clone(),
            project: Name::new(PROJECT).expect("a name"),
            performances: Arc::default(),
            doom: doom.clone(),
            vault: self.app.tools.vault.clone(),
            held: tokio::sync::Mutex::new(None),
            token_hash: Digest::of(token.as_bytes()),
            driver: self.app.driver.answering_into(&thread.letterbox),
            aside: self.app.tools.runtime.clone(),
            clock: self.app.tools.clock.clone(),
            broadcast: self.app.tools.broadcast.clone(),
            calls: Mutex::default(),
            heartbeat_at: AtomicU64::new(0),
            pretended: AtomicBool::new(false),
        };
        let own = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        own.set_nonblocking(true).expect("a listener");
        let at = own.local_addr().expect("it listens").to_string();
        let inside = thread.runtime.enter();
        let own = TcpListener::from_std(own).expect("a listener");
        let door = tokio::spawn(listener::serve(own, Arc::new(door))).abort_handle();
        drop(inside);
        Agent {
            id,
            token,
            at,
            #[cfg(test)]
            doom,
            door,
        }
    }
}

/// Somebody with a connection of their own.
#[derive(Debug)]
pub struct Caller {
    at: String,
    sender: SendRequest<Full<Bytes>>,
    key: String,
}

impl Caller {
    /// Connects to a door; `key` is said with each call.
    pub async fn to(at: &str, key: &str) -> Caller {
        Caller { at: at.to_owned(), sender: Caller::connect(at).await, key: format!("Bearer {key}") }
    }

    async fn connect(at: &str) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(at).await.expect("a door that is open");
        stream.set_nodelay(true).expect("a connection");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        sender
    }

    /// Posts JSON; the answer, once all of it has come.
    pub async fn post(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = serde_json::to_vec(body).expect("JSON is plain data");
        let (status, body) = self.call("POST", path, body).await;
        let bytes = body.collect().await.expect("a whole answer").to_bytes();
        (status, serde_json::from_slice(&bytes).expect("an answer in JSON"))
    }

    /// Gets something that may never end.
    pub async fn get(&mut self, path: &str) -> Incoming {
        self.call("GET", path, Vec::new()).await.1
    }

    async fn call(&mut self, method: &str, path: &str, body: Vec<u8>) -> (StatusCode, Incoming) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, &self.key)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("a request in order");
        if self.sender.ready().await.is_err() {
            // A door closes a connection on which nothing was said for a while, and whoever has something to say opens another.
            self.sender = Caller::connect(&self.at).await;
        }
        let answer = self.sender.send_request(request).await.expect("an answer");
        (answer.status(), answer.into_body())
    }
}
