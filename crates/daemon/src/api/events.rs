//! Live events as JSON lines: everything since a place in the ledger, then everything as it happens, without a gap.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use eparch_domain::{RunId, in_full};
use eparch_governor::Record;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::extract::Query;
use super::problem::Problem;
use super::{App, Caller};
use crate::driver::Done;
use crate::live_events::{ALIVE, END, LiveEvent, events_of, next_for};

/// Entries read at once while catching up.
const PAGE: u64 = 512;

/// Lines waiting for a slow reader before it is waited for.
const WAITING: usize = 256;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/events", get(events))
}

#[derive(Deserialize, Clone)]
struct EventQuery {
    /// Only events of this run, and its log lines.
    #[serde(default)]
    pipeline_id: Option<RunId>,
    /// Only events after this entry; without it, only what happens from now on.
    #[serde(default)]
    since: Option<u64>,
}

async fn events(
    State(app): State<Arc<App>>,
    _: Caller,
    Query(query): Query<EventQuery>,
) -> Result<Response, Problem> {
    let (to, from) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(WAITING);
    let in_use = app.begin_use();
    tokio::spawn(async move {
        let _in_use = in_use;
        // It ends when the reader has gone.
        let _ = send_all(&app, &query, &to).await;
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(ReceiverStream::new(from))).into_response())
}

type Sender = mpsc::Sender<Result<Bytes, std::convert::Infallible>>;

/// The reader has gone, or cannot be given everything.
struct Gone;

async fn send_all(app: &Arc<App>, query: &EventQuery, to: &Sender) -> Result<(), Gone> {
    let mut watch = app.tools.broadcast.watch();
    // Watching began before the head is read, so nothing falls between.
    let mut place = match query.since {
        Some(since) => Place { entry: since, events: usize::MAX },
        None => Place { entry: *app.tools.head.borrow(), events: usize::MAX },
    };
    if query.since.is_some() {
        catch_up(app, query, to, &mut place).await?;
    }
    // Whatever else is told meanwhile: little of it may be for this reader.
    let mut alive = tokio::time::interval_at(tokio::time::Instant::now() + ALIVE, ALIVE);
    alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            event = next_for(to, &mut watch) => event.ok_or(Gone)?,
            _ = alive.tick() => { to.send(Ok(Bytes::from_static(b"\n"))).await.map_err(|_| Gone)?; continue }
        };
        match event {
            Ok(event) if event.kind == END => return send(query, to, &event).await,
            Ok(event) if event.kind == "log" => send(query, to, &event).await?,
            Ok(event) => {
                if place.is_new(event.seq) {
                    send(query, to, &event).await?;
                }
            }
            // The reader was too slow for the backlog: the ledger has it all, but for log lines.
            Err(RecvError::Lagged(_)) => catch_up(app, query, to, &mut place).await?,
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// How far a reader is: which entry, and how many of its events they have. All of them once a later one came.
struct Place {
    entry: u64,
    events: usize,
}

impl Place {
    /// Whether the next event of an entry has not been sent; counts it.
    fn is_new(&mut self, entry: u64) -> bool {
        if entry < self.entry || entry == self.entry && self.events == usize::MAX {
            return false;
        }
        if entry > self.entry {
            *self = Place { entry, events: 0 };
        }
        self.events += 1;
        true
    }
}

/// Sends what the ledger holds after a place. What cannot be read ends the stream: a gap would not be seen.
async fn catch_up(app: &Arc<App>, query: &EventQuery, to: &Sender, place: &mut Place) -> Result<(), Gone> {
    let mut from = if place.events == usize::MAX { place.entry.saturating_add(1) } else { place.entry };
    loop {
        let tools = app.tools.clone();
        let page = match app.aside(move || tools.ledger.read().page(&tools.tenant, from, PAGE)).await {
            Ok(Ok(page)) => page,
            Ok(Err(problem)) => return unreadable(query, to, from, &in_full(&problem)).await,
            Err(problem) => return unreadable(query, to, from, &problem.to_string()).await,
        };
        if page.is_empty() {
            return Ok(());
        }
        for entry in page {
            from = entry.seq + 1;
            let record = match Record::from_bytes(&entry.body) {
                Ok(record) => record,
                Err(problem) => return unreadable(query, to, entry.seq, &problem.to_string()).await,
            };
            let had = if entry.seq == place.entry { place.events } else { 0 };
            for event in events_of(&Done { seq: entry.seq, record: Arc::new(record) }).into_iter().skip(had) {
                send(query, to, &event).await?;
            }
            *place = Place { entry: entry.seq, events: usize::MAX };
        }
    }
}

/// Ends the stream at an entry that cannot be read.
async fn unreadable(query: &EventQuery, to: &Sender, entry: u64, why: &str) -> Result<(), Gone> {
    let why = json!({ "reason": "unreadable", "detail": format!("entry {entry}: {why}") });
    send(query, to, &LiveEvent::end(why)).await?;
    Err(Gone)
}

async fn send(query: &EventQuery, to: &Sender, event: &LiveEvent) -> Result<(), Gone> {
    let named = |key: &str| event.data.get(key).and_then(|run| run.as_str());
    let (of_run, parent) = (named("pipeline_id"), named("parent_id"));
    // Facts about an agent or a gate name no run; whoever watches a run knows its agents and gates. That another run looks at
    // it is theirs to know as well.
    let is_theirs = |run: String| of_run.is_none_or(|found| found == run) || parent == Some(run.as_str());
    let wanted = query.pipeline_id.is_none_or(|run| is_theirs(run.to_string()));
    if !wanted {
        return Ok(());
    }
    let mut line = serde_json::to_vec(event).expect("an event is plain data");
    line.push(b'\n');
    to.send(Ok(line.into())).await.map_err(|_| Gone)
}
