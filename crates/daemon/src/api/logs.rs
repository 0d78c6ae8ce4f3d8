//! The captured lines of a run, as JSON lines: those there are, and with `follow` those that come until the run has ended,
//! or until the ledger fails, which an event of the kind [`END`] says.
//! Every line is read from the log of its attempt, wherever it is from: what is told live says only where to look. However
//! long a log is, one line of each attempt is in memory at a time.

mod captured;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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

/// How long a reader may take for one chunk: somebody who reads page by page may, somebody who never reads does not hold a place
/// for good.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

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
        logs = hand_over(app, logs, attempts, to).await?;
        let Some(watch) = watch.as_mut().filter(|_| !detail.summary.status.is_terminal()) else {
            return Ok(());
        };
        loop {
            match hear(watch, id, stage.as_ref(), to).await? {
                News::Lines(attempts) => logs = hand_over(app, logs, attempts, to).await?,
                News::Quiet => give(to, Bytes::from_static(b"\n")).await?,
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
    give(to, line.into()).await
}

/// The attempts whose lines are wanted, in the order of the stages.
fn attempts<'d>(detail: &'d RunDetail, stage: Option<&'d Name>) -> impl Iterator<Item = Attempt> + 'd {
    let wanted = detail.stages.iter().filter(move |found| stage.is_none_or(|asked| *asked == found.name));
    wanted.flat_map(|stage| (1..=stage.attempts).map(|attempt| (stage.name.clone(), attempt)))
}

/// Hands over what some attempts have captured since the last time. A thread is held while a chunk is read, never while the
/// reader is waited for.
async fn hand_over(app: &App, mut logs: Logs, attempts: Vec<Attempt>, to: &Sender) -> Result<Logs, Gone> {
    let attempts = Arc::new(attempts);
    for group in captured::merged(attempts.len()) {
        loop {
            let (of, group) = (attempts.clone(), group.clone());
            let read = app.aside(move || {
                let chunk = logs.chunk(&of[group]);
                (logs, chunk)
            });
            let (after, chunk) = read.await.map_err(|_| Gone)?;
            logs = after;
            match chunk {
                Some(chunk) => give(to, chunk).await?,
                None => break,
            }
        }
    }
    Ok(logs)
}

/// Gives a chunk to a reader who takes it in time.
async fn give(to: &Sender, chunk: Bytes) -> Result<(), Gone> {
    to.send_timeout(Ok(chunk), PATIENCE).await.map_err(|_| Gone)
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
    use eparch_domain::Timestamp;
    use serde_json::json;
    use tokio::sync::broadcast;

    use super::*;

    fn line(run: u128, stage: &str) -> LiveEvent {
        let data = json!({ "pipeline_id": RunId::from_bits(run), "stage": stage, "attempt": 1 });
        LiveEvent { seq: 0, ts: Timestamp::default(), kind: "log".to_owned(), data }
    }

    /// Readers who do not read, more than there are threads.
    const SLOW: usize = 8;

    #[test]
    fn g2_readers_who_do_not_read_keep_no_thread_from_anybody() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut stand = crate::stand::Stand::new(folder.path()).await;
            let (run, _agents) = stand.crowd().await;
            let app = stand.app();
            let detail = runs::find(app, run).await.unwrap_or_else(|problem| panic!("{problem}"));
            let (stage, attempt) = attempts(&detail, None).next().expect("all of them work");
            let line = json!({ "ts": Timestamp::default(), "stream": "stdout", "line": "x".repeat(1_000) });
            let file = app.tools.home.logs().join(run.to_string());
            std::fs::create_dir_all(&file).unwrap();
            let file = file.join(crate::perform::log_name(&stage, attempt));
            std::fs::write(file, format!("{line}\n").repeat(1_000)).unwrap();
            let operator =
                app.driver.look(|governor| governor.operators().next().cloned()).await.unwrap().unwrap();
            let mut unread = Vec::new();
            for _ in 0..SLOW {
                let asked = LogQuery { stage: None, follow: false };
                let (app, caller) = (State(app.clone()), Caller(operator.clone()));
                unread.push(logs(app, caller, extract::Path(run), Query(asked)).await.unwrap());
            }
            // Everything that reads the disk goes on.
            for _ in 0..SLOW {
                runs::find(app, run).await.unwrap();
            }
            // And whoever comes to read has all of it.
            for answer in unread {
                let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
                assert_eq!(body.iter().filter(|byte| **byte == b'\n').count(), 1_000);
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_for_long_is_given_up() {
        let (to, reader) = mpsc::channel(1);
        assert!(give(&to, Bytes::new()).await.is_ok());
        assert!(give(&to, Bytes::new()).await.is_err());
        drop(reader);
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
