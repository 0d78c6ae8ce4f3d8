//! Answering at a TCP listener, to so many at once, and to nobody for long who says nothing: what callers could grow by
//! connecting, everybody else would have to do without.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use eparch_domain::limits;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::aside::Aside;
use crate::heads::Heads;
use crate::patient::Patient;

/// When no connection could be taken, it is tried again after so long: descriptors come back as others end.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves until `closing` says so, and then answers whoever is being answered, for at most `last_call`. When this is dropped,
/// every connection ends with it. Each is answered by what `answers` makes for it. Whoever has not asked for anything `first_word`
/// after connecting is let go when places are scarce.
pub(crate) async fn serve<S>(
    listener: TcpListener,
    answers: impl Fn() -> S,
    at_once: usize,
    first_word: Duration,
    mut closing: watch::Receiver<bool>,
    last_call: Duration,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Send + Sync + 'static,
    S::Future: Send,
{
    let places = Arc::new(Semaphore::new(at_once));
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = closes(&mut closing) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Some((stream, place)) => {
                let (answers, closing) = (answers(), closing.clone());
                let hurry = Hurry { first_word, places: places.clone(), scarce: at_once / 2 };
                open.spawn(async move {
                    converse(stream, answers, hurry, closing).await;
                    drop(place);
                });
            }
            None => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
    drop(listener);
    let all_ended = async { while open.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(last_call, all_ended).await;
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    let (stream, _) = listener.accept().await.ok()?;
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    Some((stream, place))
}

/// Waits until the door closes, or whoever would say so has gone.
async fn closes(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closes| *closes).await;
}

/// When somebody who says nothing has to make room: while half of all places are free, nobody is hurried.
struct Hurry {
    first_word: Duration,
    places: Arc<Semaphore>,
    scarce: usize,
}

impl Hurry {
    /// Waits until then; for ever with somebody who has asked for something.
    async fn comes(self, has_asked: &AtomicBool) {
        tokio::time::sleep(self.first_word).await;
        while !has_asked.load(Ordering::Relaxed) {
            if self.places.available_permits() <= self.scarce {
                return;
            }
            tokio::time::sleep(ACCEPT_AGAIN).await;
        }
        std::future::pending().await
    }
}

async fn converse(
    stream: TcpStream,
    answers: impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    hurry: Hurry,
    mut closing: watch::Receiver<bool>,
) {
    let mut http = hyper::server::conn::http1::Builder::new();
    let (heads, head_within) = (Heads::default(), limits::AGENT_REQUEST_TIMEOUT.as_duration());
    http.timer(heads.clone()).header_read_timeout(head_within);
    let has_asked = AtomicBool::new(false);
    let answer = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        answers.call(request)
    });
    let connection = http.serve_connection(TokioIo::new(Patient::new(stream)), answer);
    tokio::pin!(connection);
    // None of them is looked at each time that something is said.
    let mut end = Aside::new(async {
        tokio::select! {
            () = hurry.comes(&has_asked) => End::Now,
            () = heads.late(head_within) => End::Now,
            () = closes(&mut closing) => End::AfterThis,
        }
    });
    // However it ends, it has ended.
    let has_ended = |cx: &mut Context<'_>| match connection.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(End::Now),
        Poll::Pending => end.poll(cx),
    };
    if let End::AfterThis = poll_fn(has_ended).await {
        // Whoever has begun to ask may finish: for as long as the last call lasts.
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// When a connection ends that could go on.
enum End {
    Now,
    /// When whoever asks is answered.
    AfterThis,
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use hyper_util::service::TowerToHyperService;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// How long somebody who says so little is let stay, by a clock that nothing but waiting moves.
    async fn stays(at_once: usize, said: &str) -> Duration {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (_open, closing) = watch::channel(false);
        let first_word = Duration::from_secs(2);
        tokio::spawn(serve(
            listener,
            || TowerToHyperService::new(Router::new()),
            at_once,
            first_word,
            closing,
            Duration::ZERO,
        ));
        let begun = tokio::time::Instant::now();
        let mut silent = TcpStream::connect(at).await.unwrap();
        silent.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = silent.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
        begun.elapsed()
    }

    /// What is sent without an end ends with the connection of whoever takes nothing of it.
    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_of_a_stream_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (_open, closing) = watch::channel(false);
        let (held, is_held) = tokio::sync::oneshot::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(Some(held)));
        let endless = move || {
            let held = held.lock().unwrap().take();
            let pieces = std::iter::repeat_with(move || {
                assert!(held.is_some(), "it is asked for once");
                Ok::<_, std::convert::Infallible>(vec![7; 1 << 16])
            });
            std::future::ready(axum::body::Body::from_stream(tokio_stream::iter(pieces)))
        };
        let routes = Router::new().route("/", axum::routing::get(endless));
        let first_word = Duration::from_secs(2);
        tokio::spawn(serve(
            listener,
            move || TowerToHyperService::new(routes.clone()),
            2,
            first_word,
            closing,
            Duration::ZERO,
        ));
        let mut silent = TcpStream::connect(at).await.unwrap();
        silent.write_all(b"GET / HTTP/1.1\r\nhost: eparch\r\n\r\n").await.unwrap();
        let mut begun = [0; 4];
        silent.read_exact(&mut begun).await.unwrap();
        assert_eq!(&begun, b"HTTP");
        let since = tokio::time::Instant::now();
        is_held.await.unwrap_err();
        assert!(since.elapsed() >= limits::READER_TAKES_WITHIN.as_duration());
    }

    /// Somebody who was answered has as long for the head of the next call as they had for the first one's.
    #[tokio::test(start_paused = true)]
    async fn whoever_was_answered_and_says_nothing_more_is_let_go() {
        let usual = limits::AGENT_REQUEST_TIMEOUT.as_duration();
        for begun in ["", "GET / HTTP/1.1\r\nhost: epa"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let (_open, closing) = watch::channel(false);
            let answers = || TowerToHyperService::new(Router::new());
            tokio::spawn(serve(listener, answers, 64, Duration::from_secs(2), closing, Duration::ZERO));
            let mut caller = TcpStream::connect(at).await.unwrap();
            let mut answered = [0; 12];
            for _ in 0..3 {
                tokio::time::sleep(usual * 2 / 3).await;
                caller.write_all(b"HEAD / HTTP/1.1\r\nhost: eparch\r\n\r\n").await.unwrap();
                caller.read_exact(&mut answered).await.unwrap();
                assert_eq!(&answered, b"HTTP/1.1 404");
                let mut byte = [0];
                let mut last = *b"....";
                while &last != b"\r\n\r\n" {
                    caller.read_exact(&mut byte).await.unwrap();
                    last = [last[1], last[2], last[3], byte[0]];
                }
            }
            caller.write_all(begun.as_bytes()).await.unwrap();
            let since = tokio::time::Instant::now();
            let mut rest = Vec::new();
            let _ = caller.read_to_end(&mut rest).await;
            let took = since.elapsed();
            assert!(rest.is_empty() && took >= usual * 9 / 10 && took <= usual * 11 / 10, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_makes_room_when_there_is_none() {
        let usual = limits::AGENT_REQUEST_TIMEOUT.as_duration();
        for said in ["", "GET /healthz HTTP/1.1\r\n"] {
            assert!(stays(2, said).await < usual);
            assert!(stays(64, said).await >= usual);
        }
    }
}
