//! The captured lines of a run, as JSON lines: as long as they are, one of each attempt is in memory at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use eparch_domain::{Name, RunId, Timestamp};
use eparch_ledger::views::StageView;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::extract::{self, Query};
use super::problem::Problem;
use super::wire::RunLogLine;
use super::{App, Caller, runs};
use crate::perform::log_name;

/// Bytes that are handed over at once, about.
const CHUNK: usize = 64 << 10;

/// Chunks that wait for a slow reader before reading on waits for them.
const WAITING: usize = 4;

/// Attempts whose lines are put in the order of their times. Those of a run with more come in the order of its stages,
/// because each takes an open file.
const MERGED: usize = 256;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/runs/{id}/logs", get(logs))
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default)]
    stage: Option<Name>,
}

async fn logs(
    State(app): State<Arc<App>>,
    _: Caller,
    extract::Path(id): extract::Path<RunId>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Problem> {
    let detail = runs::find(&app, id).await?;
    let folder = app.tools.home.logs().join(id.to_string());
    let wanted = |stage: &StageView| query.stage.as_ref().is_none_or(|asked| *asked == stage.name);
    let stages: Vec<StageView> = detail.stages.into_iter().filter(wanted).collect();
    let (to, from) = mpsc::channel(WAITING);
    let in_use = app.begin_use();
    tokio::task::spawn_blocking(move || {
        let _in_use = in_use;
        // It ends when the reader has gone.
        let _ = send_all(&folder, &stages, &to);
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(ReceiverStream::new(from))).into_response())
}

type Sender = mpsc::Sender<Result<Bytes, std::convert::Infallible>>;

/// The reader has gone.
struct Gone;

fn send_all(folder: &Path, stages: &[StageView], to: &Sender) -> Result<(), Gone> {
    let attempts = || stages.iter().flat_map(|stage| (1..=stage.attempts).map(move |at| (&stage.name, at)));
    let mut out = Chunks { buffer: Vec::new(), to };
    let at_once = if attempts().count() <= MERGED { MERGED } else { 1 };
    let mut attempts = attempts().peekable();
    while attempts.peek().is_some() {
        // A log that is not there belongs to an attempt that never printed.
        let open =
            attempts.by_ref().take(at_once).filter_map(|(stage, at)| Captured::open(folder, stage, at));
        merge(open.collect(), &mut out)?;
    }
    out.hand_over()
}

/// Hands over the lines of some attempts, the earliest first.
fn merge(mut open: Vec<Captured>, out: &mut Chunks<'_>) -> Result<(), Gone> {
    let mut next: BinaryHeap<Reverse<(Timestamp, usize)>> =
        open.iter().enumerate().map(|(at, captured)| Reverse((captured.next.line.ts, at))).collect();
    while let Some(Reverse((_, at))) = next.pop() {
        out.add(&open[at].next)?;
        if open[at].go_on() {
            next.push(Reverse((open[at].next.line.ts, at)));
        }
    }
    Ok(())
}

/// The captured lines of one attempt, and the one that comes next.
struct Captured {
    lines: Lines<BufReader<File>>,
    next: RunLogLine,
}

impl Captured {
    fn open(folder: &Path, stage: &Name, attempt: u32) -> Option<Captured> {
        let file = File::open(folder.join(log_name(stage, attempt))).ok()?;
        let mut lines = BufReader::new(file).lines();
        let line = serde_json::from_str(&lines.next()?.ok()?).ok()?;
        Some(Captured { lines, next: RunLogLine { stage: stage.clone(), attempt, line } })
    }

    /// Goes on to the next line; false at the end. The last line of a log that is being written may not be whole yet.
    fn go_on(&mut self) -> bool {
        let read = self.lines.next().and_then(Result::ok).and_then(|line| serde_json::from_str(&line).ok());
        read.map(|line| self.next.line = line).is_some()
    }
}

struct Chunks<'t> {
    buffer: Vec<u8>,
    to: &'t Sender,
}

impl Chunks<'_> {
    fn add(&mut self, line: &RunLogLine) -> Result<(), Gone> {
        serde_json::to_writer(&mut self.buffer, line).expect("a line is plain data");
        self.buffer.push(b'\n');
        if self.buffer.len() >= CHUNK { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<(), Gone> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.to.blocking_send(Ok(chunk)).map_err(|_| Gone)
    }
}
