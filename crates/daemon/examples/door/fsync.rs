//! The floor of a durable answer over HTTP: a bare server that writes what it is sent into a file and answers once it is
//! synced, one sync for all that wait. It decides nothing, keeps no order and no hashes.

use std::convert::Infallible;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What is synced at once at most, as in the ledger.
const GROUP: usize = eparch_domain::limits::COMMIT_BATCH;

/// The file is as large from the beginning, and written to again and again: so a sync is not one of the file's length, too.
const FILE_BYTES: usize = 16 << 20;

/// About what an agent is answered that may do what it asked for.
const ANSWER: &str = r#"{"decision":"allow","reason_code":"t1_reads_project","policies":["t1-reads-project"],"retryable":false,"permit":"permit_01J8Z6Q0000000000000000000","params_digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;

/// One body to be made durable, and whom to tell.
type Wish = (Bytes, oneshot::Sender<()>);

/// Serves at a free port until it is aborted; where, and how to end it.
pub(crate) async fn serve(file: &Path) -> (String, JoinHandle<()>) {
    let (to, from) = sync_channel(eparch_domain::limits::DRIVER_QUEUE);
    let mut file = std::fs::File::create(file).expect("a new file");
    file.write_all(&vec![0; FILE_BYTES]).and_then(|()| file.sync_all()).expect("room on the disk");
    std::thread::spawn(move || write(&mut file, &from));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("it listens").to_string();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a caller");
            stream.set_nodelay(true).expect("a connection");
            let to = to.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, to.clone()));
                // However it ends, it has ended.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (at, server)
}

async fn answer(
    request: Request<Incoming>,
    to: SyncSender<Wish>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("a whole request").to_bytes();
    let (told, durable) = oneshot::channel();
    // There are fewer callers than places: it never waits.
    to.try_send((body, told)).expect("a place");
    durable.await.expect("a healthy disk");
    let answer = Response::builder().header("content-type", "application/json");
    Ok(answer.body(Full::new(Bytes::from_static(ANSWER.as_bytes()))).expect("an answer in order"))
}

/// Writes what waits, and syncs once for all of it. Ends with the last caller.
fn write(file: &mut std::fs::File, from: &Receiver<Wish>) {
    let (mut group, mut bytes, mut at) = (Vec::with_capacity(GROUP), Vec::new(), 0);
    while let Ok((body, told)) = from.recv() {
        bytes.extend_from_slice(&body);
        group.push(told);
        while group.len() < GROUP
            && let Ok((body, told)) = from.try_recv()
        {
            bytes.extend_from_slice(&body);
            group.push(told);
        }
        if at + bytes.len() > FILE_BYTES {
            at = 0;
        }
        file.seek(SeekFrom::Start(at as u64)).expect("a file");
        file.write_all(&bytes).and_then(|()| file.sync_data()).expect("a healthy disk");
        at += bytes.len();
        bytes.clear();
        for told in group.drain(..) {
            // Whoever does not wait any more has been answered enough.
            let _ = told.send(());
        }
    }
}
