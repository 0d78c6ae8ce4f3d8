//! The holder's second door: the same routes over TCP, for as long as `eparch serve` runs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use eparch_domain::limits;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::api::Known;
use crate::api::problem::Problem;
use crate::tcp;

/// How long somebody may be connected who has asked for nothing yet, when others want their place.
const FIRST_WORD: Duration = Duration::from_secs(2);

/// Serves routes at a listener, to whoever means this machine, until `closing` says so; then whoever is being answered is
/// answered, for at most `last_call`.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    closing: watch::Receiver<bool>,
    last_call: Duration,
) {
    let own = listener.local_addr().ok();
    let routes =
        routes.layer(from_fn_with_state(own, only_for_this_host)).layer(from_fn(one_answer_for_strangers));
    let answers = || TowerToHyperService::new(routes.clone());
    tcp::serve(listener, answers, limits::API_CONNECTIONS, FIRST_WORD, closing, last_call).await;
}

/// Whoever has shown no key that counts has one answer and then makes room: everybody on this machine may connect, and there are
/// `limits::API_CONNECTIONS` places for all.
async fn one_answer_for_strangers(mut request: Request, next: Next) -> Response {
    let known = Known::default();
    request.extensions_mut().insert(known.clone());
    let mut answer = next.run(request).await;
    if !known.is() {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Lets in only who means this machine. A page of elsewhere that a browser here shows can have its own name lead to this
/// address: what it then sends names a host, or an origin, that is not ours.
async fn only_for_this_host(State(own): State<Option<SocketAddr>>, request: Request, next: Next) -> Response {
    if is_meant(request.headers(), own) {
        return next.run(request).await;
    }
    Problem::new(StatusCode::FORBIDDEN, "EP0525", "the request is for another host, or from another site")
        .hint("call it by the address it listens at, such as http://127.0.0.1:3000")
        .into_response()
}

fn is_meant(headers: &HeaderMap, own: Option<SocketAddr>) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_ours =
        |authority: &str| authority.parse::<Authority>().is_ok_and(|host| is_this_host(host.host(), own));
    let host = text(header::HOST).is_some_and(is_ours);
    let origin = text(header::ORIGIN).is_none_or(|origin| {
        let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        site.is_some_and(is_ours)
    });
    host && origin
}

fn is_this_host(host: &str, own: Option<SocketAddr>) -> bool {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let address = plain.parse::<IpAddr>();
    let is_own = |ip: IpAddr| ip.is_loopback() || own.is_some_and(|own| own.ip() == ip);
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        is_meant(&headers, Some("127.0.0.1:3000".parse().unwrap()))
    }

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    fn asking(path: &str, key: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n").into_bytes()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn g2_a_stranger_has_one_answer_and_somebody_with_a_key_as_many_as_they_ask_for() {
        let folder = tempfile::tempdir().unwrap();
        let stand = crate::stand::Stand::new(folder.path()).await;
        for (path, status) in [("/healthz", "200"), ("/api/operators", "401"), ("/nowhere", "404")] {
            let mut stranger = TcpStream::connect(stand.api()).await.unwrap();
            stranger.write_all(&asking(path, "nobody's")).await.unwrap();
            // It ends although the stranger does not.
            let mut answer = String::new();
            stranger.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            assert!(answer.contains("connection: close"), "{answer}");
        }
        let mut ada = stand.operator().await;
        for _ in 0..3 {
            let (status, _) = ada.post("/api/ledger/checkpoint", &serde_json::json!({})).await;
            assert_eq!(status, StatusCode::OK);
        }
    }

    #[test]
    fn only_who_names_this_machine_is_let_in() {
        for host in ["127.0.0.1:3000", "localhost:3000", "LOCALHOST", "[::1]:3000", "127.0.0.1"] {
            assert!(meant(host, None), "{host}");
        }
        for host in [
            "evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:3000",
            "user@evil.example",
            "",
            "[::1",
            "0.0.0.0:3000",
        ] {
            assert!(!meant(host, None), "{host}");
        }
        assert!(!is_meant(&HeaderMap::new(), None), "whoever names nobody means nobody");
    }

    #[test]
    fn no_other_site_is_let_in_by_a_browser_here() {
        for origin in ["http://localhost:3000", "http://127.0.0.1:3000", "https://localhost"] {
            assert!(meant("localhost:3000", Some(origin)), "{origin}");
        }
        for origin in
            ["http://evil.example", "null", "file://", "http://localhost.evil.example:3000", "localhost"]
        {
            assert!(!meant("localhost:3000", Some(origin)), "{origin}");
        }
    }
}
