//! The captured lines of a run, as JSON lines: those there are, and with `follow` those that come until the run has ended,
//! or until the ledger fails, which an event of the kind [`END`] says.
//! Every line is read from the log of its attempt, wherever it is from: what is told live says only where to look. However
//! long a log is, one line of each attempt is in memory at a time.

mod captured;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use eparch_domain::{Name, RunId};
use eparch_ledger::views::RunDetail;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use self::captured::{Attempt, Logs};
use super::extract::{self, Query};
use super::problem::Problem;
use super::{App, Caller, runs};
use crate::driver::SubmitError;
use crate::live_events::{ALIVE, BACKLOG, END, LiveEvent, next_for};

/// Chunks that wait for a slow reader before reading on waits for them.
const WAITING: usize = 4;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/runs/{id}/logs", get(logs))
}

#[derive(Deserialize)]
struct LogQuery {
    /// Only lines of this stage.
    #[serde(default)]
    stage: Option<Name>,
    /// Whether to go on until the run has ended.
    #[serde(default)]
    follow: bool,
}

async fn logs(
    State(app): State<Arc<App>>,
    _: Caller,
    extract::Path(id): extract::Path<RunId>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Problem> {
    // Watching begins before the run is looked at, so that nothing falls between.
    let watch = query.follow.then(|| app.tools.broadcast.watch());
    let detail = runs::find(&app, id).await?;
    let (to, from) = mpsc::channel(WAITING);
    let in_use = app.begin_use();
    let whole = Arc::new(AtomicBool::new(false));
    let is_whole = whole.clone();
    tokio::spawn(async move {
        let _in_use = in_use;
        if send_all(&app, detail, query.stage, watch, &to).await.is_ok() {
            whole.store(true, Ordering::SeqCst);
        }
    });
    // A reader takes a stream that just ends for everything there is.
    let cut_short = move || (!is_whole.load(Ordering::SeqCst)).then(|| Err(io::Error::other("cut short")));
    let lines =
        ReceiverStream::new(from).chain(tokio_stream::iter(std::iter::once_with(cut_short).flatten()));
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

type Sender = mpsc::Sender<io::Result<Bytes>>;

/// The reader has gone, or cannot be given everything.
struct Gone;

async fn send_all(
    app: &Arc<App>,
    mut detail: RunDetail,
    stage: Option<Name>,
    mut watch: Option<Receiver<LiveEvent>>,
    to: &Sender,
) -> Result<(), Gone> {
    let id = detail.summary.pipeline_id;
    let mut logs = Logs::of(app.tools.home.logs().join(id.to_string()));
    loop {
        let attempts = attempts(&detail, stage.as_ref()).collect();
        logs = hand_over(logs, attempts, to).await?;
        let Some(watch) = watch.as_mut().filter(|_| !detail.summary.status.is_terminal()) else {
            return Ok(());
        };
        loop {
            match hear(watch, id, stage.as_ref(), to).await? {
                News::Lines(attempts) => logs = hand_over(logs, attempts, to).await?,
                News::Quiet => to.send(Ok(Bytes::from_static(b"\n"))).await.map_err(|_| Gone)?,
                News::Stopped => match app.driver.look(|_| ()).await {
                    Ok(()) => {}
                    Err(SubmitError::Gone) => return Err(Gone),
                    Err(why) => return end(to, &LiveEvent::ledger(&why.to_string())).await,
                },
                News::More => break,
            }
        }
        detail = runs::find(app, id).await.map_err(|_| Gone)?;
    }
}

/// Ends the stream in words: the holder goes on, and whoever asks again is told how the ledger is.
async fn end(to: &Sender, why: &LiveEvent) -> Result<(), Gone> {
    let mut line = serde_json::to_vec(why).expect("an event is plain data");
    line.push(b'\n');
    to.send(Ok(line.into())).await.map_err(|_| Gone)
}

/// The attempts whose lines are wanted, in the order of the stages.
fn attempts<'d>(detail: &'d RunDetail, stage: Option<&'d Name>) -> impl Iterator<Item = Attempt> + 'd {
    let wanted = detail.stages.iter().filter(move |found| stage.is_none_or(|asked| *asked == found.name));
    wanted.flat_map(|stage| (1..=stage.attempts).map(|attempt| (stage.name.clone(), attempt)))
}

async fn hand_over(mut logs: Logs, attempts: Vec<Attempt>, to: &Sender) -> Result<Logs, Gone> {
    let to = to.clone();
    let task = tokio::task::spawn_blocking(move || logs.hand_over(&attempts, &to).map(|()| logs));
    task.await.map_err(|_| Gone)?
}

/// What became known of a run's logs.
enum News {
    /// These have more lines.
    Lines(Vec<Attempt>),
    /// All of them may have: the run changed, or more was told than could be listened to.
    More,
    /// The ledger failed, which may be over.
    Stopped,
    /// Nothing for a while.
    Quiet,
}

/// Listens for what is told of a run, until something is or the reader has gone.
async fn hear(
    watch: &mut Receiver<LiveEvent>,
    run: RunId,
    stage: Option<&Name>,
    to: &Sender,
) -> Result<News, Gone> {
    let news = async {
        loop {
            match next_for(to, watch).await.ok_or(Gone)? {
                Err(RecvError::Lagged(_)) => return Ok(News::More),
                Err(RecvError::Closed) => return Err(Gone),
                Ok(event) => match take_in(event, watch, run, stage) {
                    // Of another run, or of a stage that nobody asked about.
                    News::Lines(attempts) if attempts.is_empty() => {}
                    news => return Ok(news),
                },
            }
        }
    };
    tokio::time::timeout(ALIVE, news).await.unwrap_or(Ok(News::Quiet))
}

/// What an event says, together with all that were told meanwhile.
fn take_in(mut event: LiveEvent, watch: &mut Receiver<LiveEvent>, run: RunId, stage: Option<&Name>) -> News {
    let mut named = BTreeSet::new();
    for _ in 0..BACKLOG {
        match event.kind.as_str() {
            END => return News::Stopped,
            "log" => named.extend(line_of(&event, run, stage)),
            "run_changed" if event.data["pipeline_id"] == run.to_string() => return News::More,
            _ => {}
        }
        event = match watch.try_recv() {
            Ok(event) => event,
            Err(TryRecvError::Lagged(_)) => return News::More,
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        };
    }
    News::Lines(named.into_iter().collect())
}

/// Which attempt a line is of, if it is of the run.
fn line_of(event: &LiveEvent, run: RunId, stage: Option<&Name>) -> Option<Attempt> {
    #[derive(Deserialize)]
    struct Told {
        pipeline_id: RunId,
        stage: Name,
        attempt: u32,
    }
    let told = Told::deserialize(&event.data).ok()?;
    let wanted = told.pipeline_id == run && stage.is_none_or(|asked| *asked == told.stage);
    wanted.then_some((told.stage, told.attempt))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use eparch_domain::Timestamp;
    use serde_json::json;
    use tokio::sync::broadcast;

    use super::*;

    fn line(run: u128, stage: &str) -> LiveEvent {
        let data = json!({ "pipeline_id": RunId::from_bits(run), "stage": stage, "attempt": 1 });
        LiveEvent { seq: 0, ts: Timestamp::default(), kind: "log".to_owned(), data }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_has_gone_is_noticed_however_much_is_told_of_others() {
        let (tell, mut watch) = broadcast::channel(BACKLOG);
        let (to, reader) = mpsc::channel(WAITING);
        let own = RunId::from_bits(1);
        let stage = "asked".parse().unwrap();
        let telling = tell.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = telling.send(line(2, "asked"));
                let _ = telling.send(line(1, "other"));
            }
        });
        // Nothing of it is this reader's: once in a while it is looked whether they are there.
        assert!(matches!(hear(&mut watch, own, Some(&stage), &to).await, Ok(News::Quiet)));
        tell.send(line(1, "asked")).unwrap();
        let told = hear(&mut watch, own, Some(&stage), &to).await;
        assert!(matches!(told, Ok(News::Lines(attempts)) if attempts == [(stage.clone(), 1)]));
        drop(reader);
        tell.send(line(1, "asked")).unwrap();
        assert!(matches!(hear(&mut watch, own, Some(&stage), &to).await, Err(Gone)));
    }
}
