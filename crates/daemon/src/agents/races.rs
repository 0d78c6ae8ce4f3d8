//! F7 (G2): agents ask over HTTP while their authority is taken away over HTTP. Whatever is asked after the revoke has returned
//! is refused, and the ledger has nothing allowed to an agent behind its revocation. Everything is real but what agents are
//! made of: no program runs, and their listeners are on this machine's own network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Sender, channel};

use axum::body::Bytes;
use ed25519_dalek::SigningKey;
use eparch_domain::{OperatorRole, RunId, Tier};
use eparch_governor::{Check, Effect, Ended, Key, Operator, Outcome, RunRequest, Usage};
use eparch_ledger::views::Views;
use eparch_ledger::{EffectRef, Ledger, Settings as LedgerSettings};
use eparch_pipeline::{Catalogue, Known, Pipeline, check};
use eparch_policy::PolicySet;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::agents::live::Agents;
use crate::api::{self, App, ReadModels};
use crate::artifacts::Artifacts;
use crate::clock::SystemClock;
use crate::driver::{Core, Driver, Input, Shell};
use crate::home::Home;
use crate::journal::{JournalError, LedgerJournal};
use crate::perform::{Performer, Tools};
use crate::vault::HomeVault;

/// Attempts of agents, at least; `EPARCH_RACES` asks for more.
const RACES: usize = 100_000;

/// Agents of one run, side by side.
const CROWD: usize = 32;

/// Connections of one agent, all of which ask at once.
const AT_ONCE: usize = 12;

/// Calls an agent makes in all: fewer than would be limited.
const CALLS: usize = 96;

/// An agent that works, as far as anybody can tell.
struct Born {
    spec: Arc<AgentSpec>,
    doomed: Arc<AtomicBool>,
}

/// Answers for agents without making any.
struct Stand {
    performer: Performer,
    born: mpsc::UnboundedSender<Born>,
    reports: Sender<Input>,
    specs: BTreeMap<AgentId, Arc<AgentSpec>>,
    working: BTreeMap<AgentId, (Option<EffectRef>, Arc<AtomicBool>)>,
}

impl Stand {
    fn report(&self, at: Option<EffectRef>, agent: AgentId, outcomes: Vec<Outcome>) {
        let event = Event::AgentAdvanced { agent, outcomes };
        self.reports.send(Input { acknowledges: at.into_iter().collect(), ..event.into() }).unwrap();
    }
}

impl Shell for Stand {
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
                let doomed = Arc::new(AtomicBool::new(false));
                self.working.insert(*agent, (at, doomed.clone()));
                let spec = self.specs.remove(agent).unwrap();
                self.born.send(Born { spec, doomed }).unwrap();
            }
            Effect::Kill { agent, .. } => {
                let (at, doomed) = self.working.remove(agent).unwrap();
                // Every other door learns late that its agent has ended: what it lets in, the governor refuses.
                doomed.store(agent.bits() % 2 == 0, Ordering::SeqCst);
                let execute = Outcome::Execute {
                    ended: Ended::Killed,
                    outputs: BTreeMap::new(),
                    artifacts: Vec::new(),
                    leftovers: 0,
                    usage: Usage::default(),
                };
                self.report(at, *agent, vec![execute]);
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
    check("crowd.yaml", &text, &Catalogue::built_in(), &Known::default()).pipeline.map(Arc::new).unwrap()
}

/// A holder, but for what makes agents.
struct Place {
    app: Arc<App>,
    born: mpsc::UnboundedReceiver<Born>,
    /// Where the API answers.
    api: String,
    _dir: tempfile::TempDir,
}

const KEY: &str = "the key of ada";

impl Place {
    async fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let ada = Name::new("ada").unwrap();
        let home = Home::create(&dir.path().join("home"), &ada).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::after(&[]));
        let settings = LedgerSettings::in_home(home.root());
        let ledger = Arc::new(Ledger::open(&settings, clock.now().wall, "races").unwrap());
        let journal = LedgerJournal::new(ledger.clone(), clock.clone());
        let tenant = Name::new("default").unwrap();
        let policies = Arc::new(PolicySet::defaults());
        let core =
            Core::recover_with(journal, tenant.clone(), ledger.epoch(), Some(policies.clone())).unwrap();
        let models =
            ReadModels { views: Views::open(&home.views()).unwrap(), reader: ledger.reader().unwrap() };
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
            runtime: tokio::runtime::Handle::current(),
            agents: Agents::default(),
            definitions: Mutex::default(),
            settings: Digest::of(b"settings"),
            notices: Vec::new(),
            head: watch::channel(core.seq()).0,
        });
        let (born, from) = mpsc::unbounded_channel();
        let (driver, handle) = Driver::new(core, 1_024, clock, |handle| {
            let (reports, told) = channel::<Input>();
            let teller = handle.clone();
            // Away from the driver's own thread, which must not wait for itself.
            std::thread::spawn(move || told.into_iter().for_each(|report| teller.submit(report, |_| {})));
            let performer = Performer::new(tools.clone(), handle);
            Stand { performer, born, reports, specs: BTreeMap::new(), working: BTreeMap::new() }
        });
        std::thread::spawn(move || driver.run());
        let key = Key::Home { hash: Digest::of(KEY.as_bytes()) };
        let operator =
            Operator { name: ada, role: OperatorRole::Admin, groups: Vec::new(), max_tier: Tier::T4, key };
        handle.ask(Event::OperatorAdded { by: None, operator }.into()).await.unwrap();
        let offered = Event::PoliciesOffered { by: None, policies: policies.digest() };
        handle.ask(Input { policies: Some(policies), ..offered.into() }).await.unwrap();
        let app = App::new(tools, handle, models, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = listener.local_addr().unwrap().to_string();
        tokio::spawn(axum::serve(listener, api::routes(app.clone())).into_future());
        Place { app, born: from, api, _dir: dir }
    }

    /// Starts a run, and waits until all its agents work.
    async fn crowd(&mut self, number: usize, pipeline: &Arc<Pipeline>) -> Vec<Born> {
        let request = RunRequest {
            run: RunId::from_bits(number as u128 + 1),
            pipeline: pipeline.digest(),
            inputs: BTreeMap::new(),
            env: BTreeMap::new(),
            requester: Name::new("ada").unwrap(),
            grant: None,
            root: "/".to_owned(),
            idempotency_key: None,
            lineage: None,
        };
        let event = Event::RunRequested(Box::new(request));
        let input = Input { definition: Some(pipeline.clone()), ..event.into() };
        let done = self.app.driver.ask(input).await.unwrap();
        assert!(
            !matches!(done.record.decision.answer, Answer::Refused(_)),
            "{:?}",
            done.record.decision.answer
        );
        let mut crowd = Vec::new();
        while crowd.len() < CROWD {
            crowd.push(self.born.recv().await.unwrap());
        }
        crowd
    }

    /// Opens the listener of an agent.
    async fn door(&self, born: &Born) -> String {
        let spec = born.spec.clone();
        let token = token(spec.agent);
        let path = self._dir.path().join(spec.agent.to_string());
        let door = Door {
            log: Arc::new(Log::create(path, token.clone()).unwrap()),
            spec,
            tenant: self.app.tools.tenant.clone(),
            project: Name::new(PROJECT).unwrap(),
            performances: Arc::default(),
            doomed: born.doomed.clone(),
            vault: self.app.tools.vault.clone(),
            held: tokio::sync::Mutex::new(None),
            token_hash: Digest::of(token.as_bytes()),
            driver: self.app.driver.clone(),
            clock: self.app.tools.clock.clone(),
            broadcast: self.app.tools.broadcast.clone(),
            calls: Mutex::default(),
            heartbeat_at: AtomicU64::new(0),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        tokio::spawn(serve(listener, routes(Arc::new(door))));
        at
    }
}

/// A client with a connection of its own.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    key: String,
}

impl Client {
    async fn to(at: &str, key: String) -> Client {
        let stream = TcpStream::connect(at).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client { sender, key }
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Request<Full<Bytes>> {
        let body = body.map(|body| serde_json::to_vec(body).unwrap()).unwrap_or_default();
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "eparch")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .unwrap()
    }

    async fn post(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.request("POST", path, Some(body));
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }
}

/// What came of the attempts of one agent.
#[derive(Default)]
struct Tally {
    /// The revoke has returned.
    returned: AtomicBool,
    left: AtomicUsize,
    accepted: AtomicUsize,
    refused: AtomicUsize,
    /// Accepted although it was sent after the revoke had returned.
    too_late: AtomicUsize,
}

impl Tally {
    /// Makes one attempt, if the agent may still call.
    async fn attempt(&self, client: &mut Client, path: &str, body: &Value) -> Option<Value> {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).ok()?;
        let sent_late = self.returned.load(Ordering::SeqCst);
        let (status, answer) = client.post(path, body).await;
        let is_accepted = status.is_success() && answer["decision"] != "deny";
        if is_accepted {
            self.accepted.fetch_add(1, Ordering::SeqCst);
            self.too_late.fetch_add(usize::from(sent_late), Ordering::SeqCst);
        } else {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        Some(if is_accepted { answer } else { Value::Null })
    }
}

/// Asks for permits and uses them, until it may not call any more.
async fn ask_on(at: String, agent: AgentId, number: usize, tally: Arc<Tally>) {
    let mut client = Client::to(&at, token(agent)).await;
    for ask in 0.. {
        let wish = json!({
            "action": "read_file", "target": format!("docs/{number}/{ask}"), "idempotency_key": format!("{number}-{ask}"),
        });
        let Some(answer) = tally.attempt(&mut client, "/api/agent/act", &wish).await else { return };
        if let Some(permit) = answer["permit"].as_str() {
            let path = format!("/api/agent/act/{permit}/result");
            let _ = tally.attempt(&mut client, &path, &json!({ "ok": true })).await;
        }
    }
}

/// Takes an agent's authority away once it has made some of its calls.
async fn revoke_after(api: String, agent: AgentId, calls: usize, tally: Arc<Tally>) {
    let mut client = Client::to(&api, KEY.to_owned()).await;
    while tally.left.load(Ordering::SeqCst) + calls > CALLS {
        tokio::task::yield_now().await;
    }
    let (status, answer) =
        client.post(&format!("/api/agents/{agent}/revoke"), &json!({ "reason": "a race" })).await;
    tally.returned.store(true, Ordering::SeqCst);
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// Reads the live stream until so many agents are revoked; those that were allowed something behind their revocation.
async fn watch_the_cut(api: String, agents: usize) -> (usize, Vec<String>) {
    let mut client = Client::to(&api, KEY.to_owned()).await;
    let request = client.request("GET", "/api/events?since=0", None);
    let mut body = client.sender.send_request(request).await.unwrap().into_body();
    let (mut revoked, mut allowed, mut wrong, mut rest) = (BTreeSet::new(), 0, Vec::new(), Vec::new());
    while revoked.len() < agents {
        let frame = body.frame().await.expect("the stream goes on").unwrap();
        rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let Ok(event) = serde_json::from_slice::<Value>(&line) else { continue };
            let data = &event["data"];
            let agent = data["agent_id"].as_str().unwrap_or_default().to_owned();
            let is_allowed = match event["type"].as_str().unwrap_or_default() {
                "revoked" => {
                    revoked.insert(agent.clone());
                    false
                }
                "action_decided" => data["permit"].is_object(),
                "permit_spent" => true,
                _ => false,
            };
            allowed += usize::from(is_allowed);
            if is_allowed && revoked.contains(&agent) {
                wrong.push(event.to_string());
            }
        }
    }
    (allowed, wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f7_g2_nothing_is_accepted_after_a_revoke_has_returned() {
    let asked = std::env::var("EPARCH_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(RACES);
    let agents = asked.div_ceil(CALLS).next_multiple_of(CROWD);
    let mut place = Place::new().await;
    let pipeline = crowd();
    let stream = tokio::spawn(watch_the_cut(place.api.clone(), agents));
    let (mut accepted, mut refused, mut too_late) = (0, 0, 0);
    for wave in 0..agents / CROWD {
        let mut open = JoinSet::new();
        let mut tallies = Vec::new();
        for (number, born) in place.crowd(wave, &pipeline).await.iter().enumerate() {
            let at = place.door(born).await;
            let tally = Arc::new(Tally { left: AtomicUsize::new(CALLS), ..Tally::default() });
            let agent = born.spec.agent;
            for connection in 0..AT_ONCE {
                open.spawn(ask_on(at.clone(), agent, connection, tally.clone()));
            }
            open.spawn(revoke_after(place.api.clone(), agent, 2 * number + 1, tally.clone()));
            tallies.push(tally);
        }
        open.join_all().await;
        for tally in tallies {
            let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
            accepted += count(&tally.accepted);
            refused += count(&tally.refused);
            too_late += count(&tally.too_late);
        }
    }
    let (allowed, wrong) = stream.await.unwrap();
    println!("{} attempts of {agents} agents: {accepted} accepted, {refused} refused", accepted + refused);
    assert!(accepted + refused >= asked && refused > asked / 10 && accepted > asked / 10);
    assert_eq!(too_late, 0, "accepted although sent after the revoke had returned");
    assert!(allowed > 0 && wrong.is_empty(), "allowed behind a revocation: {wrong:?}");
}
