//! The one endpoint an agent can reach: its own listener, inside its own network. Heartbeat, output, message, log, and what it
//! asks to do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use eparch_domain::{AgentId, Clock, Digest, LedgerTime, Name, Span, limits};
use eparch_governor::{AgentSpec, AgentStanding, Answer, Decision, Event, Fact, PROJECT, Refusal, Signal};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::agents::capture::{Log, Show};
use crate::agents::doom::Doom;
use crate::agents::live::Live;
use crate::agents::outputs;
use crate::agents::performances::Performances;
use crate::agents::{actions, performing, said, secrets};
use crate::api::problem::Problem;
use crate::driver::{Done, Handle};
use crate::live_events::Broadcast;
use crate::perform::Tools;
use crate::tcp;
use crate::vault::HomeVault;
use crate::vault::credentials::Held;

/// Heartbeats are recorded at most so often; more would fill the ledger without saying more.
const HEARTBEAT_RECORDED_EVERY_MS: u64 = 10_000;

/// Whether there is a listener at all: anybody who reaches it may know.
const HEALTH: &str = "/healthz";

/// How far back calls are counted (2.C rule 2).
const MINUTE: Span = Span::from_secs(60);

/// Whoever calls too often waits so long for each refusal: a flood of calls is not to be a flood of work.
const REFUSED_AFTER: Duration = Duration::from_millis(500);

/// What the listener of one agent knows. Not the agent itself: what answers here must not keep its cage.
pub(crate) struct Door {
    pub(super) spec: Arc<AgentSpec>,
    pub(super) log: Arc<Log>,
    pub(super) tenant: Name,
    pub(super) project: Name,
    pub(super) performances: Arc<Performances>,
    doom: Arc<Doom>,
    token_hash: Digest,
    pub(super) driver: Handle,
    pub(super) vault: Arc<HomeVault>,
    /// What the agent reads secrets with; one that no longer stands for it is replaced when it is needed.
    pub(super) held: tokio::sync::Mutex<Option<Held>>,
    clock: Arc<dyn Clock>,
    broadcast: Broadcast,
    calls: Mutex<Calls>,
    heartbeat_at: AtomicU64,
    /// It was told that another agent's token was shown here.
    pretended: AtomicBool,
}

impl Door {
    pub(crate) fn new(
        live: &Live,
        token_hash: Digest,
        held: Option<Held>,
        driver: Handle,
        tools: &Tools,
    ) -> Door {
        Door {
            spec: live.spec.clone(),
            log: live.log.clone(),
            tenant: tools.tenant.clone(),
            performances: live.performances.clone(),
            project: Name::new(PROJECT).expect("a word is a name"),
            doom: live.doom.clone(),
            token_hash,
            driver,
            vault: tools.vault.clone(),
            held: tokio::sync::Mutex::new(held),
            clock: tools.clock.clone(),
            broadcast: tools.broadcast.clone(),
            calls: Mutex::default(),
            heartbeat_at: AtomicU64::new(0),
            pretended: AtomicBool::new(false),
        }
    }

    /// Counts a call; every one counts, whatever it asks and whoever it says it is (R083).
    fn count(&self) -> Result<(), Limited> {
        let now = self.clock.now().ledger;
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).count(now)
    }

    /// Lets in the agent with its own token.
    async fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Comparing hashes tells nothing of the token by its timing.
        let shown = Digest::of(token.as_bytes());
        if shown != self.token_hash {
            self.tell_of_anothers(shown).await;
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "EP0601", "this is not the agent's token")
                .hint("send `Authorization: Bearer $EPARCH_TOKEN`"));
        }
        if self.doom.is_sealed() { Err(gone()) } else { Ok(()) }
    }

    /// What was shown is another agent's token, or nobody's. Only the first is an event, and the agent is at its end with it: it is
    /// told once, however many calls bring it at the same time. Whether it could be written down or not, the call is refused.
    async fn tell_of_anothers(&self, token: Digest) {
        let agent = self.spec.agent;
        if self.doom.is_sealed() || self.pretended.load(Ordering::SeqCst) {
            return;
        }
        let is_anothers =
            self.driver.glance(move |governor| governor.shows_anothers(agent, &token).is_some());
        if !matches!(is_anothers.await, Ok(true)) || self.pretended.swap(true, Ordering::SeqCst) {
            return;
        }
        if self.driver.ask(Event::TokenShown { agent, token }.into()).await.is_err() {
            self.pretended.store(false, Ordering::SeqCst);
        }
    }

    /// Whether what the agent says counts, for whatever the governor would not hear of: its token is checked when it is used,
    /// not only when it was issued (X15).
    async fn hears(&self) -> Result<(), Problem> {
        let agent = self.spec.agent;
        let standing = || {
            let now = self.clock.now();
            self.driver.look(move |governor| governor.agent_standing(agent, now))
        };
        let mut found = standing().await.map_err(Problem::from)?;
        if found == AgentStanding::Expired {
            // A clock that has jumped since the last decision is decided on with the next one, and what is over by it is
            // followed by what is not.
            self.driver.ask(Event::ClockTurned.into()).await.map_err(Problem::from)?;
            found = standing().await.map_err(Problem::from)?;
        }
        match found {
            AgentStanding::Holds => Ok(()),
            AgentStanding::Expired => Err(Problem::from(&Refusal::TokenExpired { agent })),
            AgentStanding::Nothing => Err(gone()),
        }
    }

    /// Has something decided that the agent asked for; a refusal is a problem.
    pub(super) async fn decide(&self, event: Event) -> Result<Done, Problem> {
        if let Some(refusal) = event.too_large() {
            return Err(Problem::from(&refusal));
        }
        let done = self.driver.ask(event.into()).await.map_err(Problem::from)?;
        match &done.record.decision.answer {
            Answer::Refused(refusal) => Err(Problem::from(refusal)),
            Answer::Taken | Answer::Already { .. } | Answer::Ruled(_) => Ok(done),
        }
    }

    /// Hands a signal in. What changes nothing was not heard, and whoever said it is told so.
    async fn tell(&self, signal: Signal) -> Result<Response, Problem> {
        let agent = self.spec.agent;
        let event = Event::AgentSignalled { agent, signal: signal.clone() };
        let done = self.driver.ask(event.into()).await.map_err(Problem::from)?;
        if let Answer::Refused(refusal) = &done.record.decision.answer {
            return Err(Problem::from(refusal));
        }
        if !is_heard(&done.record.decision, agent, &signal) {
            let why = "the agent is ending, or has as many outputs as it may";
            return Err(Problem::new(StatusCode::CONFLICT, "EP0607", "what was said does not count")
                .detail(why)
                .hint("say it while the program runs; large results belong into artifacts"));
        }
        Ok(Json(told(&done.record.decision)).into_response())
    }

    /// Keeps a line of the agent's own, unless its authority went meanwhile.
    async fn write_down(&self, stream: &str, text: &str) -> Result<(), Problem> {
        let lines = self.log.lines_of(stream, text, self.clock.now().wall);
        let (broadcast, spec) = (self.broadcast.clone(), self.spec.clone());
        let show: Show = Arc::new(move |line| broadcast.log(&spec, line));
        if said::keep(&self.doom, &self.log, lines, &show).await { Ok(()) } else { Err(gone()) }
    }
}

/// What an agent is told whose end is decided.
fn gone() -> Problem {
    Problem::new(StatusCode::GONE, "EP0603", "the agent has ended")
}

/// The calls of an agent in the last minute.
#[derive(Debug, Default)]
struct Calls {
    at: Vec<LedgerTime>,
    /// When it was last said that there were too many.
    told: Option<LedgerTime>,
}

/// A call too many.
#[derive(Debug, PartialEq, Eq)]
struct Limited {
    /// When there is room for one again.
    after: Span,
    /// The first in a minute: it has to be told.
    is_first: bool,
}

impl Calls {
    fn count(&mut self, now: LedgerTime) -> Result<(), Limited> {
        let lately = |at: &LedgerTime| now.since(*at) < MINUTE;
        self.at.retain(lately);
        if self.at.len() < usize::try_from(limits::CALLS_PER_MINUTE).unwrap_or(usize::MAX) {
            self.at.push(now);
            return Ok(());
        }
        let is_first = !self.told.as_ref().is_some_and(lately);
        if is_first {
            self.told = Some(now);
        }
        let oldest = self.at.first().map_or(0, |at| now.since(*at).millis());
        Err(Limited { after: Span::from_millis(MINUTE.millis() - oldest), is_first })
    }
}

/// What an agent is told about what it said: that it was heard, and its plan when that was issued again (R021).
fn told(decision: &Decision) -> Value {
    let clarified = decision.facts.iter().find_map(|fact| match fact {
        Fact::PlanClarified { document, .. } => serde_json::from_str::<Value>(document).ok(),
        _ => None,
    });
    match clarified {
        Some(plan) => json!({ "ok": true, "clarified_plan": plan }),
        None => json!({ "ok": true }),
    }
}

/// Whether a decision took a signal.
fn is_heard(decision: &Decision, of: AgentId, signal: &Signal) -> bool {
    let hears = |fact: &Fact| match (signal, fact) {
        (Signal::Output { name, .. }, Fact::OutputSeen { agent, outputs, .. }) => {
            *agent == of && outputs.contains_key(name)
        }
        (Signal::Error { .. }, Fact::ErrorCounted { agent, .. })
        | (Signal::Heartbeat, Fact::HeartbeatSeen { agent })
        | (Signal::Progress | Signal::Message { .. }, Fact::ProgressSeen { agent, .. }) => *agent == of,
        _ => false,
    };
    decision.facts.iter().any(hears)
}

/// Serves one agent until this is dropped.
pub(crate) async fn serve(listener: TcpListener, routes: Router) {
    // Nobody closes it otherwise.
    let (_open, closing) = watch::channel(false);
    let first_word = limits::AGENT_REQUEST_TIMEOUT.as_duration();
    tcp::serve(listener, routes, limits::AGENT_CONNECTIONS, first_word, closing, Duration::ZERO).await;
}

/// The routes of one agent's listener.
pub(crate) fn routes(door: Arc<Door>) -> Router {
    Router::new()
        .route("/api/agent/heartbeat", post(heartbeat))
        .route("/api/agent/output", post(output))
        .route("/api/agent/message", post(message))
        .route("/api/agent/log", post(log))
        .route("/api/agent/act", post(actions::act))
        .route("/api/agent/questions/{gate}", get(actions::waits))
        .route("/api/agent/secret/{*path}", get(secrets::read))
        .route("/api/agent/act/{permit}/result", post(actions::result))
        .route("/api/agent/act/{permit}/perform", post(performing::perform))
        .route("/api/agent/act/{permit}/performed", get(performing::performed))
        .route(HEALTH, get(|| async { "ok" }))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "EP0604", "an agent has no such route") })
        .layer(DefaultBodyLimit::max(limits::REQUEST_BYTES))
        .layer(from_fn_with_state(door.clone(), admitted))
        .with_state(door)
}

/// Before anything of a call is read but its headers: it is counted, and whoever makes it is who they say. One layer for all of it:
/// each costs every call a copy of what it surrounds.
async fn admitted(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if let Err(limited) = door.count() {
        return refused(&door, limited).await;
    }
    if request.uri().path() != HEALTH
        && let Err(problem) = door.admit(request.headers()).await
    {
        return problem.into_response();
    }
    let cut = async {
        door.doom.comes().await;
        tokio::time::sleep(limits::AGENT_LAST_ANSWER.as_duration()).await;
    };
    tokio::select! {
        biased;
        answer = next.run(request) => answer,
        () = cut => gone().into_response(),
        () = tokio::time::sleep(limits::AGENT_REQUEST_TIMEOUT.as_duration()) => {
            let what = format!("the call took longer than {}", limits::AGENT_REQUEST_TIMEOUT);
            Problem::new(StatusCode::REQUEST_TIMEOUT, "EP0608", &what).retryable().into_response()
        }
    }
}

/// A call too many is refused, and slowly. Whoever goes on calling loses more than the call.
async fn refused(door: &Door, limited: Limited) -> Response {
    if limited.is_first {
        // When it cannot be written down, the call is refused all the same.
        let _ = door.driver.ask(Event::CallsLimited { agent: door.spec.agent }.into()).await;
    }
    tokio::time::sleep(REFUSED_AFTER).await;
    let what = format!("more than {} calls in a minute", limits::CALLS_PER_MINUTE);
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "EP0602", &what)
        .hint("wait, then call less often: at the third time within ten minutes the agent is revoked")
        .retryable();
    let seconds = limited.after.millis().div_ceil(1_000);
    ([(header::RETRY_AFTER, seconds.to_string())], problem).into_response()
}

async fn heartbeat(State(door): State<Arc<Door>>) -> Result<Response, Problem> {
    let now = door.clock.now().ledger.millis();
    let before = door.heartbeat_at.load(Ordering::SeqCst);
    door.hears().await?;
    if before != 0 && now.saturating_sub(before) < HEARTBEAT_RECORDED_EVERY_MS {
        return Ok(Json(json!({ "ok": true })).into_response());
    }
    door.heartbeat_at.store(now.max(1), Ordering::SeqCst);
    door.tell(Signal::Heartbeat).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputBody {
    name: String,
    value: Value,
}

async fn output(
    State(door): State<Arc<Door>>,
    body: Result<Json<OutputBody>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, Problem> {
    let Json(body) = body.map_err(bad_body)?;
    outputs::check(&body.name, &body.value)
        .map_err(|why| Problem::new(StatusCode::BAD_REQUEST, "EP0605", &why))?;
    if door.log.is_secret(&body.name) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "EP0605", "the output's name holds a secret"));
    }
    let value = door.log.hide(body.value);
    door.tell(Signal::Output { name: body.name, value }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageBody {
    #[serde(default)]
    to: Option<String>,
    content: String,
}

async fn message(
    State(door): State<Arc<Door>>,
    body: Result<Json<MessageBody>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, Problem> {
    let Json(body) = body.map_err(bad_body)?;
    let to = body.to.map(|to| word(&door.log, &to));
    let content = Digest::of(body.content.as_bytes());
    let text = match &to {
        Some(to) => format!("to {to}: {}", body.content),
        None => body.content,
    };
    door.hears().await?;
    door.write_down("message", &text).await?;
    door.tell(Signal::Message { to, content }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogBody {
    line: String,
    #[serde(default)]
    level: Option<String>,
    /// A code of the agent's own for an error, so that repeats are counted.
    #[serde(default)]
    code: Option<String>,
}

async fn log(
    State(door): State<Arc<Door>>,
    body: Result<Json<LogBody>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, Problem> {
    let Json(body) = body.map_err(bad_body)?;
    door.hears().await?;
    door.write_down("agent", &body.line).await?;
    if body.level.as_deref() == Some("error") {
        let code = body.code.map_or_else(|| "error".to_owned(), |code| word(&door.log, &code));
        return door.tell(Signal::Error { code }).await;
    }
    Ok(Json(json!({ "ok": true })).into_response())
}

/// A word of an agent's own that becomes part of the ledger: without secrets, and at most 64 characters long (G8). Cut only
/// after it is redacted, when no half of a secret can be left.
fn word(log: &Log, text: &str) -> String {
    log.hide_text(text).chars().take(64).collect()
}

pub(super) fn bad_body(rejection: axum::extract::rejection::JsonRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "EP0606", &rejection.body_text())
        .hint("send JSON with `Content-Type: application/json`")
}

/// What was asked and written down holds no answer.
pub(super) fn unanswered() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0609", "the question was not answered")
}

#[cfg(any(test, feature = "stand"))]
#[path = "stand.rs"]
pub mod stand;

#[cfg(test)]
#[path = "races.rs"]
mod races;

#[cfg(test)]
mod tests {
    use eparch_domain::ClarifiedPlan;

    use super::*;

    #[test]
    fn r083_the_hundred_and_first_call_of_a_minute_is_refused_and_told_once_a_minute() {
        let mut calls = Calls::default();
        let at = |millis: u64| LedgerTime::from_millis(millis);
        for call in 0..u64::from(limits::CALLS_PER_MINUTE) {
            assert_eq!(calls.count(at(1_000 + call)), Ok(()), "{call}");
        }
        let limited = |calls: &mut Calls, now: u64| calls.count(at(now)).unwrap_err();
        let after = |millis: u64, is_first: bool| Limited { after: Span::from_millis(millis), is_first };
        assert_eq!(limited(&mut calls, 2_000), after(59_000, true));
        assert_eq!(limited(&mut calls, 60_999), after(1, false));
        // The first of them was made a minute ago: one more is well, and then it is the turn of the next.
        assert_eq!(calls.count(at(61_000)), Ok(()));
        assert_eq!(limited(&mut calls, 61_000), after(1, false));
        for call in 1..u64::from(limits::CALLS_PER_MINUTE) {
            assert_eq!(calls.count(at(61_000 + call)), Ok(()), "{call}");
        }
        assert_eq!(limited(&mut calls, 62_000), after(59_000, true), "another minute");
    }

    #[test]
    fn r021_an_agent_is_told_its_clarified_plan_and_the_digest_is_of_what_it_is_told() {
        assert_eq!(told(&Decision::default()), json!({ "ok": true }));
        let document = json!({ "clarification": 1, "errors": { "E1": 5 }, "errors_left": 3 }).to_string();
        let replaces = Digest::of(b"the plan");
        let plan = Digest::of(document.as_bytes());
        let clarified = ClarifiedPlan { replaces, plan, crossing: 1, reason: String::new() };
        let fact = Fact::PlanClarified { agent: AgentId::from_bits(1), clarified, document };
        let answer = told(&Decision { facts: vec![fact], ..Decision::default() });
        assert_eq!(answer["clarified_plan"]["errors_left"], 3);
        assert_eq!(Digest::of(answer["clarified_plan"].to_string().as_bytes()), plan);
    }
}
