//! Live events as JSON lines: everything since a place in the ledger, then everything as it happens, without a gap.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use eparch_domain::RunId;
use eparch_governor::Record;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::App;
use super::problem::Problem;
use crate::driver::Done;
use crate::live_events::{LiveEvent, events_of};

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
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> Result<Response, Problem> {
    app.caller(&headers).await?;
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

/// The reader has gone.
struct Gone;

async fn send_all(app: &Arc<App>, query: &EventQuery, to: &Sender) -> Result<(), Gone> {
    let mut watch = app.tools.broadcast.watch();
    // Watching began before the head is read, so nothing falls between.
    let mut sent = match query.since {
        Some(since) => catch_up(app, query, to, since).await?,
        None => *app.tools.head.borrow(),
    };
    loop {
        let alive = tokio::time::sleep(std::time::Duration::from_secs(15));
        let event = tokio::select! {
            event = watch.recv() => event,
            // An empty line now and then finds out that the reader has gone.
            () = alive => { to.send(Ok(Bytes::from_static(b"\n"))).await.map_err(|_| Gone)?; continue }
        };
        match event {
            Ok(event) if event.kind == "log" || event.seq > sent => send(query, to, &event).await?,
            Ok(_) => {}
            // The reader was too slow for the backlog: the ledger has it all, but for log lines.
            Err(RecvError::Lagged(_)) => sent = catch_up(app, query, to, sent).await?,
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// Sends what the ledger holds after `since`; returns the last entry sent.
async fn catch_up(app: &Arc<App>, query: &EventQuery, to: &Sender, since: u64) -> Result<u64, Gone> {
    let mut last = since;
    loop {
        let app = app.clone();
        let page = tokio::task::spawn_blocking(move || {
            app.tools.ledger.read().page(&app.tools.tenant, last + 1, PAGE)
        });
        let Ok(Ok(page)) = page.await else { return Ok(last) };
        if page.is_empty() {
            return Ok(last);
        }
        for entry in page {
            last = entry.seq;
            if let Ok(record) = Record::from_bytes(&entry.body) {
                for event in events_of(&Done { seq: entry.seq, record: Arc::new(record) }) {
                    send(query, to, &event).await?;
                }
            }
        }
    }
}

async fn send(query: &EventQuery, to: &Sender, event: &LiveEvent) -> Result<(), Gone> {
    let of_run = event.data.get("pipeline_id").and_then(|run| run.as_str());
    // Facts about an agent or a gate name no run; whoever watches a run knows its agents and gates.
    let wanted = query.pipeline_id.is_none_or(|run| of_run.is_none_or(|found| found == run.to_string()));
    if !wanted {
        return Ok(());
    }
    let mut line = serde_json::to_vec(event).expect("an event is plain data");
    line.push(b'\n');
    to.send(Ok(line.into())).await.map_err(|_| Gone)
}
