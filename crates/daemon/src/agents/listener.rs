//! The one endpoint an agent can reach: its own listener, inside its own network. Heartbeat, output, message, log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use eparch_domain::{Clock, Digest, LedgerTime, limits};
use eparch_governor::{Event, Signal};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::agents::capture::LogLine;
use crate::agents::live::Live;
use crate::agents::outputs;
use crate::api::problem::Problem;
use crate::driver::Handle;
use crate::live_events::Broadcast;

/// Heartbeats are recorded at most so often; more would fill the ledger without saying more.
const HEARTBEAT_RECORDED_EVERY_MS: u64 = 10_000;

/// What the listener of one agent knows.
pub(crate) struct Door {
    pub(crate) live: Weak<Live>,
    pub(crate) token_hash: Digest,
    pub(crate) driver: Handle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) broadcast: Broadcast,
    calls: Mutex<Vec<LedgerTime>>,
    heartbeat_at: AtomicU64,
}

impl Door {
    pub(crate) fn new(
        live: &Arc<Live>,
        token_hash: Digest,
        driver: Handle,
        clock: Arc<dyn Clock>,
        broadcast: Broadcast,
    ) -> Door {
        Door {
            live: Arc::downgrade(live),
            token_hash,
            driver,
            clock,
            broadcast,
            calls: Mutex::new(Vec::new()),
            heartbeat_at: AtomicU64::new(0),
        }
    }

    /// Lets in the agent with its own token, and not too often (R083).
    fn admit(&self, headers: &HeaderMap) -> Result<Arc<Live>, Problem> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Comparing hashes tells nothing of the token by its timing.
        if Digest::of(token.as_bytes()) != self.token_hash {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "EP0601", "this is not the agent's token")
                .hint("send `Authorization: Bearer $EPARCH_TOKEN`"));
        }
        let now = self.clock.now().ledger;
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.retain(|at| now.since(*at).millis() < 60_000);
        if calls.len() >= usize::try_from(limits::CALLS_PER_MINUTE).unwrap_or(usize::MAX) {
            let what = format!("more than {} calls in a minute", limits::CALLS_PER_MINUTE);
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "EP0602", &what)
                .hint("wait, then call less often")
                .retryable());
        }
        calls.push(now);
        self.live.upgrade().ok_or_else(|| Problem::new(StatusCode::GONE, "EP0603", "the agent has ended"))
    }

    async fn tell(&self, live: &Live, signal: Signal) -> Result<Response, Problem> {
        let event = Event::AgentSignalled { agent: live.spec.agent, signal };
        self.driver.ask(event.into()).await.map_err(Problem::from)?;
        Ok(Json(json!({ "ok": true })).into_response())
    }
}

/// The routes of one agent's listener.
pub(crate) fn routes(door: Arc<Door>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/api/agent/heartbeat", post(heartbeat))
        .route("/api/agent/output", post(output))
        .route("/api/agent/message", post(message))
        .route("/api/agent/log", post(log))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "EP0604", "an agent has no such route") })
        .layer(DefaultBodyLimit::max(limits::REQUEST_BYTES))
        .with_state(door)
}

async fn heartbeat(State(door): State<Arc<Door>>, headers: HeaderMap) -> Result<Response, Problem> {
    let live = door.admit(&headers)?;
    let now = door.clock.now().ledger.millis();
    let before = door.heartbeat_at.load(Ordering::SeqCst);
    if before != 0 && now.saturating_sub(before) < HEARTBEAT_RECORDED_EVERY_MS {
        return Ok(Json(json!({ "ok": true })).into_response());
    }
    door.heartbeat_at.store(now.max(1), Ordering::SeqCst);
    door.tell(&live, Signal::Heartbeat).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputBody {
    name: String,
    value: Value,
}

async fn output(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    body: Result<Json<OutputBody>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, Problem> {
    let live = door.admit(&headers)?;
    let Json(body) = body.map_err(bad_body)?;
    outputs::check(&body.name, &body.value)
        .map_err(|why| Problem::new(StatusCode::BAD_REQUEST, "EP0605", &why))?;
    let value = live.log.hide(body.value);
    door.tell(&live, Signal::Output { name: body.name, value }).await
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
    headers: HeaderMap,
    body: Result<Json<MessageBody>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, Problem> {
    let live = door.admit(&headers)?;
    let Json(body) = body.map_err(bad_body)?;
    let to = body.to.map(|to| to.chars().take(64).collect::<String>());
    let content = Digest::of(body.content.as_bytes());
    let text = match &to {
        Some(to) => format!("to {to}: {}", body.content),
        None => body.content,
    };
    door.write_down(&live, "message", &text);
    door.tell(&live, Signal::Message { to, content }).await
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
    headers: HeaderMap,
    body: Result<Json<LogBody>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, Problem> {
    let live = door.admit(&headers)?;
    let Json(body) = body.map_err(bad_body)?;
    door.write_down(&live, "agent", &body.line);
    if body.level.as_deref() == Some("error") {
        let code = body.code.unwrap_or_else(|| "error".to_owned());
        return door.tell(&live, Signal::Error { code }).await;
    }
    Ok(Json(json!({ "ok": true })).into_response())
}

impl Door {
    fn write_down(&self, live: &Live, stream: &str, text: &str) {
        for line in text.lines().take(100) {
            let cut: String = line.chars().take(limits::LOG_LINE_BYTES / 4).collect();
            let line = LogLine { ts: self.clock.now().wall, stream: stream.to_owned(), line: cut };
            live.log.add(line, &|line| self.broadcast.log(&live.spec, line));
        }
    }
}

fn bad_body(rejection: axum::extract::rejection::JsonRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "EP0606", &rejection.body_text())
        .hint("send JSON with `Content-Type: application/json`")
}
