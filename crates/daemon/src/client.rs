//! Talking to the holder of a home: over its socket, or as an agent at its own listener.

use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::api::problem::Problem;
use crate::api::wire::Ready;

/// How long the holder may take to answer. A decision waits for one commit, which has two seconds at most.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// An answer larger than this is not from our holder.
const ANSWER_BYTES: usize = 256 << 20;

/// Why a call to the holder came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody holds the home.
    #[error("nobody holds the home")]
    Absent(#[source] std::io::Error),
    /// The holder went away.
    #[error("the holder went away")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It said no.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// It said something else.
    #[error("the holder answered with something else: {0}")]
    Nonsense(String),
}

/// A caller of one home's holder, acting as one operator or as one agent.
#[derive(Clone)]
pub struct Client {
    at: Door,
    key: String,
}

/// Where the holder answers.
#[derive(Debug, Clone)]
enum Door {
    /// Operators, at the home's socket.
    Socket(std::path::PathBuf),
    /// An agent, at `HOST:PORT`.
    Listener(String),
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        f.debug_struct("Client").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Client {
    /// A caller with an operator's bearer key.
    pub fn new(socket: &Path, key: String) -> Client {
        Client { at: Door::Socket(socket.to_owned()), key }
    }

    /// A caller with an agent's token, at `http://HOST:PORT`; `None` for another kind of address.
    pub fn for_agent(url: &str, token: String) -> Option<Client> {
        let address = url.strip_prefix("http://")?.trim_end_matches('/');
        let is_plain = !address.is_empty() && !address.contains('/');
        is_plain.then(|| Client { at: Door::Listener(address.to_owned()), key: token })
    }

    /// How the holder is. One that is unwell answers, too: 503, and says what is wrong with it.
    pub async fn ready(&self) -> Result<Ready, CallError> {
        let (status, bytes) = self.ask(Method::GET, "/readyz", Bytes::new()).await?;
        match serde_json::from_slice(&bytes) {
            Ok(ready) => Ok(ready),
            Err(_) => understand(status, &bytes),
        }
    }

    /// Reads something.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Asks for something to be done.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|problem| CallError::Nonsense(problem.to_string()))?;
        self.call(Method::POST, path, body.into()).await
    }

    /// Hands something over to be kept.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|problem| CallError::Nonsense(problem.to_string()))?;
        self.call(Method::PUT, path, body.into()).await
    }

    /// Asks for something to be removed.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, CallError> {
        let (status, bytes) = self.ask(method, path, body).await?;
        understand(status, &bytes)
    }

    /// Asks, and waits for the whole answer.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), CallError> {
        let answer = async {
            let response = self.send(method, path, body).await?;
            let status = response.status();
            let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES);
            Ok((status, body.collect().await.map_err(CallError::Lost)?.to_bytes()))
        };
        let late = |_| CallError::Lost("it did not answer in time".into());
        tokio::time::timeout(ANSWER_DEADLINE, answer).await.map_err(late)?
    }

    /// Opens a stream of JSON lines.
    pub async fn stream(&self, path: &str) -> Result<Lines, CallError> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        if !response.status().is_success() {
            let bytes = response
                .into_body()
                .collect()
                .await
                .map_err(|problem| CallError::Lost(problem.into()))?
                .to_bytes();
            return Err(match serde_json::from_slice::<Problem>(&bytes) {
                Ok(problem) => CallError::Problem(Box::new(problem)),
                Err(problem) => CallError::Nonsense(problem.to_string()),
            });
        }
        Ok(Lines { body: response.into_body(), buffer: Vec::new() })
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, CallError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "eparch")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|problem| CallError::Nonsense(problem.to_string()))?;
        match &self.at {
            Door::Socket(socket) => converse(connect(socket).await, request).await,
            Door::Listener(address) => converse(TcpStream::connect(address).await, request).await,
        }
    }
}

/// Asks over a connection, if there is one.
async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: std::io::Result<S>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, CallError> {
    let lost = |problem: hyper::Error| CallError::Lost(problem.into());
    let stream = stream.map_err(CallError::Absent)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(lost)
}

/// What was asked for, or why it was not given.
fn understand<T: DeserializeOwned>(status: StatusCode, bytes: &[u8]) -> Result<T, CallError> {
    if !status.is_success() {
        return Err(match serde_json::from_slice::<Problem>(bytes) {
            Ok(problem) => CallError::Problem(Box::new(problem)),
            Err(_) => CallError::Nonsense(format!("{status}")),
        });
    }
    serde_json::from_slice(bytes).map_err(|problem| CallError::Nonsense(problem.to_string()))
}

/// Connects to a socket whose path may be longer than the 107 bytes a socket's address holds.
async fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let short = crate::socket::ShortPath::of(socket)?;
    UnixStream::connect(short.path()).await
}

/// A stream of JSON lines.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line as `T`; `None` when the stream has ended.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CallError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.len() == 1 {
                    // An empty line says that the stream lives.
                    continue;
                }
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|problem| CallError::Nonsense(problem.to_string()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(problem)) => return Err(CallError::Lost(problem.into())),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }
}
