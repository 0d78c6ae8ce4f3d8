//! Serving routes at a TCP listener, to so many at once, and to nobody for long who says nothing: what callers could grow by
//! connecting, everybody else would have to do without.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use eparch_domain::limits;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// When no connection could be taken, it is tried again after so long: descriptors come back as others end.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves until `closing` says so, and then answers whoever is being answered, for at most `last_call`. When this is dropped,
/// every connection ends with it.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    at_once: usize,
    mut closing: watch::Receiver<bool>,
    last_call: Duration,
) {
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
                let (routes, closing) = (routes.clone(), closing.clone());
                open.spawn(async move {
                    converse(stream, routes, closing).await;
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

async fn converse(stream: TcpStream, routes: Router, mut closing: watch::Receiver<bool>) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits::AGENT_REQUEST_TIMEOUT.as_duration());
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    // However it ends, it has ended.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = closes(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
