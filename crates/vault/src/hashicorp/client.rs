//! Speaks HTTP with a vault's server: one request, one bounded answer, one deadline. Follows no redirect, knows no proxy, and
//! repeats in no error what was sent or received.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use eparch_domain::{Span, limits};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::secret::Token;

/// Where a server is, and how it proves that it is the one.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Tls>,
}

/// What a TLS connection needs.
pub(super) struct Tls {
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl Server {
    /// As people know it.
    pub(super) fn address(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}

/// What is asked.
#[derive(Clone)]
pub(super) struct Call<'a> {
    /// For messages: what is being tried.
    pub(super) doing: &'static str,
    pub(super) method: Method,
    /// Below `/v1/`, with its query.
    pub(super) path: String,
    pub(super) token: Option<&'a Token>,
    /// The answer is to be wrapped for so many seconds.
    pub(super) wrap_secs: Option<u64>,
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
}

/// What was answered.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
}

type Sender = SendRequest<Full<Bytes>>;

pub(super) struct Client {
    server: Server,
    connecting: Span,
    whole: Span,
    idle: Mutex<Vec<Sender>>,
}

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const WRAP: HeaderName = HeaderName::from_static("x-vault-wrap-ttl");
/// Servers refuse what other programs on this machine were tricked into asking: those cannot set it.
const ASKED: HeaderName = HeaderName::from_static("x-vault-request");

impl Client {
    pub(super) fn new(server: Server, connecting: Span, whole: Span) -> Client {
        Client { server, connecting, whole, idle: Mutex::new(Vec::new()) }
    }

    /// Asks and waits for the answer, not longer than settings allow.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Reply, VaultError> {
        self.in_time(call.doing, self.exchange(call)).await
    }

    /// Waits for something as long as for one request, and no longer.
    pub(super) async fn in_time<T>(
        &self,
        doing: &'static str,
        what: impl Future<Output = Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        match timeout(self.whole.as_duration(), what).await {
            Ok(done) => done,
            Err(_) => Err(VaultError::TimedOut { doing, after: self.whole }),
        }
    }

    async fn exchange(&self, call: Call<'_>) -> Result<Reply, VaultError> {
        let doing = call.doing;
        let mut request = self.request(call)?;
        // A connection that was kept may have been closed meanwhile. Only what was certainly not sent is sent again.
        while let Some(mut sender) = self.kept() {
            match sender.try_send_request(request).await {
                Ok(response) => return self.finish(doing, sender, response).await,
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(VaultError::CutOff { doing }),
                },
            }
        }
        let mut sender = self.connect(doing).await?;
        let sent = sender.send_request(request).await;
        let response = sent.map_err(|error| match error.is_parse() {
            true => VaultError::Malformed { doing, why: "it is not HTTP" },
            false => VaultError::CutOff { doing },
        })?;
        self.finish(doing, sender, response).await
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, VaultError> {
        let body = call.body.map_or_else(Bytes::new, Bytes::from_owner);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = call.method;
        // Paths and queries are made of what is checked to need no encoding.
        *request.uri_mut() = format!("/v1/{}", call.path).parse().expect("a checked path is a URI");
        let headers = request.headers_mut();
        let host = format!("{}:{}", self.server.host, self.server.port);
        headers.insert(HOST, HeaderValue::try_from(host).expect("a checked address is a header"));
        headers.insert(ASKED, HeaderValue::from_static("true"));
        if let Some(token) = call.token {
            // What cannot stand in a header was never issued.
            let value = HeaderValue::try_from(token.expose());
            let never = VaultError::Ended { how: crate::error::Ending::Unknown };
            let mut value = value.ok().filter(|value| !value.is_empty()).ok_or(never)?;
            value.set_sensitive(true);
            headers.insert(TOKEN, value);
        }
        if let Some(secs) = call.wrap_secs {
            headers.insert(WRAP, HeaderValue::from(secs));
        }
        Ok(request)
    }

    /// Reads the answer to its end, and keeps the connection.
    async fn finish(
        &self,
        doing: &'static str,
        sender: Sender,
        response: Response<Incoming>,
    ) -> Result<Reply, VaultError> {
        let status = response.status().as_u16();
        let mut incoming = response.into_body();
        // Where the server says how long it is, it is read into memory that does not grow.
        let told = usize::try_from(incoming.size_hint().lower()).unwrap_or(usize::MAX);
        let mut body = Zeroizing::new(Vec::with_capacity(told.min(limits::VAULT_ANSWER_BYTES)));
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else { return Err(VaultError::CutOff { doing }) };
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > limits::VAULT_ANSWER_BYTES {
                return Err(VaultError::Malformed { doing, why: "it is too long" });
            }
            body.extend_from_slice(&data);
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < limits::VAULT_CONNECTIONS {
            idle.push(sender);
        }
        Ok(Reply { status, body })
    }

    fn kept(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    async fn connect(&self, doing: &'static str) -> Result<Sender, VaultError> {
        match timeout(self.connecting.as_duration(), self.reach(doing)).await {
            Ok(reached) => reached,
            Err(_) => {
                let source = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("nobody answered within {}", self.connecting),
                );
                Err(VaultError::Unreachable { address: self.server.address(), source })
            }
        }
    }

    async fn reach(&self, doing: &'static str) -> Result<Sender, VaultError> {
        let address = self.server.address();
        let unreachable = |source| VaultError::Unreachable { address: address.clone(), source };
        let host = self.server.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.server.port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        match &self.server.tls {
            None => speak(doing, stream).await,
            Some(tls) => {
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                match connector.connect(tls.name.clone(), stream).await {
                    Ok(stream) => speak(doing, stream).await,
                    Err(error) => Err(untrusted(&address, error)),
                }
            }
        }
    }
}

/// Begins to speak HTTP on a connection.
async fn speak<S>(doing: &'static str, stream: S) -> Result<Sender, VaultError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(|_| VaultError::CutOff { doing })?;
    // It ends when the sender is dropped or the server closes; what went wrong is told by the request it happened to.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// The headers of an answer and what of its body arrives with them.
const MAX_HEAD: usize = 64 << 10;

/// Tells a certificate that is not to be trusted from a connection that broke.
fn untrusted(address: &str, error: io::Error) -> VaultError {
    use rustls::{CertificateError as Bad, Error};
    let address = address.to_owned();
    let why = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(bad)) => match bad {
            // A wrong signature is what another CA of the same name makes.
            Bad::UnknownIssuer | Bad::BadSignature => "it is not signed by the CA in vault.ca_cert",
            Bad::Expired | Bad::ExpiredContext { .. } => "it has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "it is not valid yet",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "it was made for another name than that of vault.address"
            }
            Bad::Revoked => "it was revoked",
            _ => "it is not valid",
        },
        Some(Error::InvalidMessage(_)) => "there is no TLS at this address; is it http?",
        Some(Error::PeerIncompatible(_)) => "the server does not speak TLS 1.3",
        _ => return VaultError::Unreachable { address, source: error },
    };
    VaultError::Untrusted { address, why: why.to_owned() }
}
