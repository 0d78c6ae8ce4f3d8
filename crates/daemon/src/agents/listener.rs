//! The one endpoint an agent can reach: its own listener, inside its own network. Heartbeat, output, message, log, and what it
//! asks to do. What it asks for is matched here and not by a framework: each of its calls would pay for every layer of one
//! (decision 0033).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use eparch_domain::limits;
use eparch_governor::Event;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::bodies::read;
use super::calls::Limited;
use super::door::{Door, gone};
use super::line::{Cut, Line};
use super::{actions, performing, secrets, signals};
use crate::api::problem::Problem;
use crate::tcp;

/// Whether there is a listener at all: anybody who reaches it may know.
const HEALTH: &str = "/healthz";

/// Whoever calls too often waits so long for each refusal: a flood of calls is not to be a flood of work.
const REFUSED_AFTER: Duration = Duration::from_millis(500);

/// Serves one agent until this is dropped.
pub(crate) async fn serve(listener: TcpListener, door: Arc<Door>) {
    // Nobody closes it otherwise.
    let (_open, closing) = watch::channel(false);
    let first_word = limits::AGENT_REQUEST_TIMEOUT.as_duration();
    let answers = || {
        let door = Arc::clone(&door);
        let line = Arc::new(Line::new(Arc::clone(&door.doom)));
        service_fn(move |request| {
            let (door, line) = (Arc::clone(&door), Arc::clone(&line));
            async move { Ok::<_, Infallible>(admitted(&door, &line, request).await) }
        })
    };
    tcp::serve(listener, answers, limits::AGENT_CONNECTIONS, first_word, closing, Duration::ZERO).await;
}

/// Before anything of a call is read but its head: it is counted, and whoever makes it is who they say.
async fn admitted(door: &Arc<Door>, line: &Line, request: Request<Incoming>) -> Response<Body> {
    if let Err(limited) = door.count() {
        return refused(door, limited).await;
    }
    if request.uri().path() != HEALTH
        && let Err(problem) = door.admit(request.headers()).await
    {
        return problem.into_response();
    }
    match line.unless_cut(answered(door, request)).await {
        Ok(answer) => answer.unwrap_or_else(Problem::into_response),
        Err(Cut::Ended) => gone().into_response(),
        Err(Cut::Late) => {
            let what = format!("the call took longer than {}", limits::AGENT_REQUEST_TIMEOUT);
            Problem::new(StatusCode::REQUEST_TIMEOUT, "EP0608", &what).retryable().into_response()
        }
    }
}

/// A call too many is refused, and slowly. Whoever goes on calling loses more than the call.
async fn refused(door: &Door, limited: Limited) -> Response<Body> {
    if limited.is_first {
        // When it cannot be written down, the call is refused all the same.
        let _ = door.driver.ask(Event::CallsLimited { agent: door.spec.agent }.into()).await;
    }
    tokio::time::sleep(REFUSED_AFTER).await;
    let what = format!("more than {} calls in a minute", limits::CALLS_PER_MINUTE);
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "EP0602", &what)
        .hint("wait, then call less often: at the third time within ten minutes the agent is revoked")
        .retryable();
    let seconds = limited.after.millis().div_ceil(1_000);
    ([(header::RETRY_AFTER, seconds.to_string())], problem).into_response()
}

/// What can be asked for, with what is named in its path.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'p> {
    Health,
    Heartbeat,
    Output,
    Message,
    Log,
    Act,
    Result(&'p str),
    Perform(&'p str),
    Performed(&'p str),
    Waits(&'p str),
    Secret(&'p str),
}

impl Asked<'_> {
    /// Nothing where there is no such path.
    fn at(path: &str) -> Option<Asked<'_>> {
        if path == HEALTH {
            return Some(Asked::Health);
        }
        let (first, rest) = match path.strip_prefix("/api/agent/")?.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path.strip_prefix("/api/agent/")?, None),
        };
        match (first, rest) {
            ("heartbeat", None) => Some(Asked::Heartbeat),
            ("output", None) => Some(Asked::Output),
            ("message", None) => Some(Asked::Message),
            ("log", None) => Some(Asked::Log),
            ("act", None) => Some(Asked::Act),
            ("act", Some(rest)) => match rest.split_once('/')? {
                (permit, "result") => Some(Asked::Result(permit)),
                (permit, "perform") => Some(Asked::Perform(permit)),
                (permit, "performed") => Some(Asked::Performed(permit)),
                _ => None,
            },
            ("questions", Some(gate)) if !gate.is_empty() && !gate.contains('/') => Some(Asked::Waits(gate)),
            ("secret", Some(path)) if !path.is_empty() => Some(Asked::Secret(path)),
            _ => None,
        }
    }

    fn method(&self) -> Method {
        match self {
            Asked::Health | Asked::Performed(_) | Asked::Waits(_) | Asked::Secret(_) => Method::GET,
            Asked::Heartbeat
            | Asked::Output
            | Asked::Message
            | Asked::Log
            | Asked::Act
            | Asked::Result(_)
            | Asked::Perform(_) => Method::POST,
        }
    }
}

async fn answered(door: &Arc<Door>, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let Some(asked) = Asked::at(head.uri.path()) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "EP0604", "an agent has no such route"));
    };
    // Who only looks whether there is a listener may do so without hearing it; a secret, or an end, is not asked for so.
    let is_look = asked == Asked::Health && head.method == Method::HEAD;
    if head.method != asked.method() && !is_look {
        return Ok(another_method(&asked.method()));
    }
    let headers = &head.headers;
    match asked {
        Asked::Health => Ok("ok".into_response()),
        Asked::Heartbeat => signals::heartbeat(door).await,
        Asked::Output => signals::output(door, read(headers, body).await?).await,
        Asked::Message => signals::message(door, read(headers, body).await?).await,
        Asked::Log => signals::log(door, read(headers, body).await?).await,
        Asked::Act => actions::act(door, read(headers, body).await?).await,
        Asked::Result(permit) => {
            let permit = actions::permit(permit)?;
            actions::result(door, permit, read(headers, body).await?).await
        }
        Asked::Perform(permit) => {
            let permit = performing::permit(permit)?;
            performing::perform(door, permit, read(headers, body).await?).await
        }
        Asked::Performed(permit) => performing::performed(door, performing::permit(permit)?).await,
        Asked::Waits(gate) => actions::waits(door, gate).await,
        Asked::Secret(path) => secrets::read(door, path).await,
    }
}

fn another_method(allowed: &Method) -> Response<Body> {
    let problem =
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "EP0522", "there is no such method on this route")
            .hint("`Allow` says which there is");
    let allowed = HeaderValue::from_str(allowed.as_str()).expect("a method is a token");
    ([(header::ALLOW, allowed)], problem).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::agents::door::stand::{Agent, Stand};

    #[test]
    fn what_is_asked_for_is_told_by_its_path_and_nothing_else_is() {
        let all = [
            ("/healthz", Asked::Health),
            ("/api/agent/heartbeat", Asked::Heartbeat),
            ("/api/agent/output", Asked::Output),
            ("/api/agent/message", Asked::Message),
            ("/api/agent/log", Asked::Log),
            ("/api/agent/act", Asked::Act),
            ("/api/agent/act/p/result", Asked::Result("p")),
            ("/api/agent/act/p/perform", Asked::Perform("p")),
            ("/api/agent/act/p/performed", Asked::Performed("p")),
            ("/api/agent/questions/g", Asked::Waits("g")),
            ("/api/agent/secret/a/b", Asked::Secret("a/b")),
        ];
        for (path, asked) in all {
            assert_eq!(Asked::at(path), Some(asked), "{path}");
        }
        let none = [
            "",
            "/",
            "/api",
            "/api/agent",
            "/api/agent/",
            "/api/agent/act/",
            "/api/agent/act/p",
            "/api/agent/act/p/",
            "/api/agent/act/p/result/",
            "/api/agent/act/p/q/result",
            "/api/agent/heartbeat/",
            "/api/agent/secret",
            "/healthz/",
            "//api/agent/act",
            "/api/agent/questions",
            "/api/agent/questions/",
            "/api/agent/questions/a/b",
            "/api/agent/secret/",
            "/api/runs",
        ];
        for path in none {
            assert_eq!(Asked::at(path), None, "{path}");
        }
    }

    /// An agent with its door open, and what keeps it so; the folder goes last.
    struct Opened {
        agent: Agent,
        _stand: Stand,
        _folder: tempfile::TempDir,
    }

    async fn open_door() -> Opened {
        let folder = tempfile::tempdir().unwrap();
        let mut stand = Stand::new(folder.path()).await;
        let agent = stand.crowd().await.1.swap_remove(0);
        Opened { agent, _stand: stand, _folder: folder }
    }

    /// What is answered to a call as it stands, but for the token.
    async fn say(at: &str, token: &str, call: &str, kind: &str, body: &str) -> String {
        let length = format!("content-length: {}", body.len());
        say_as(at, token, call, &format!("content-type: {kind}\r\n{length}"), body).await
    }

    async fn say_as(at: &str, token: &str, call: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let head = format!(
            "{call} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{headers}\r\nconnection: close\r\n\r\n"
        );
        // Whoever is refused early hears it before all of it is sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_read_has_a_code_and_an_agent_goes_on() {
        let opened = open_door().await;
        let (at, token) = (opened.agent.at.as_str(), opened.agent.token.as_str());
        let act = r#"{"action": "read_file", "target": "docs/x", "idempotency_key": "k"}"#;
        let json = "application/json";
        let large = format!(r#"{{"line": "{}"}}"#, "x".repeat(limits::REQUEST_BYTES));
        let deep = format!(r#"{{"name": "x", "value": {}1{}}}"#, "[".repeat(200), "]".repeat(200));
        let result = "POST /api/agent/act/permit_/result";
        let bad = [
            ("GET /api/agent/act", json, act, "405", "EP0522"),
            ("HEAD /api/agent/questions/x", json, "", "405", ""),
            ("POST /api/agent/secret/x", json, "{}", "405", "EP0522"),
            ("POST /api/agent/acts", json, act, "404", "EP0604"),
            ("POST /api/runs", json, act, "404", "EP0604"),
            ("POST /api/agent/act", "text/plain", act, "400", "EP0606"),
            ("POST /api/agent/act", json, "", "400", "EP0606"),
            ("POST /api/agent/act", json, "{\"action\": \"read_file\"}", "400", "EP0606"),
            ("POST /api/agent/act", json, &act.replace("read_file", "fly"), "400", "EP0606"),
            ("POST /api/agent/log", json, &large, "400", "EP0606"),
            ("POST /api/agent/output", json, &deep, "400", "EP0606"),
            ("POST /api/agent/log", json, "{\"line\": \"\\ud800\"}", "400", "EP0606"),
            (result, json, "{\"ok\": true}", "400", "EP0606"),
            ("GET /api/agent/questions/gate", json, "", "400", "EP0606"),
            ("GET /api/agent/act/x/performed", json, "", "400", "EP0639"),
            ("GET /api/agent/secret/a%2F..", json, "", "400", "EP0606"),
            ("GET /api/agent/secret/%ff", json, "", "400", "EP0606"),
        ];
        for (call, kind, body, status, code) in bad {
            let answer = say(at, token, call, kind, body).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{call}: {answer}");
            assert!(answer.contains(code) && !answer.contains(token), "{call}: {answer}");
        }
        assert!(say(at, token, "GET /api/agent/act", json, "").await.contains("allow: POST\r\n"));
        for token in ["", "ept_other"] {
            let answer = say(at, token, "POST /api/agent/act", json, act).await;
            assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("EP0601"), "{answer}");
        }
        assert!(say(at, "", "GET /healthz", json, "").await.ends_with("\r\n\r\nok"));
        assert!(say(at, "", "HEAD /healthz", json, "").await.starts_with("HTTP/1.1 200 "));
        // Which field it is, however deep.
        let answer = say(at, token, "POST /api/agent/act", json, &act.replace("\"k\"", "5")).await;
        assert!(answer.contains("idempotency_key: invalid type"), "{answer}");
        let plain = say(at, token, "GET /api/agent/secret/a/b", json, "").await;
        assert!(plain.starts_with("HTTP/1.1 403 ") && plain.contains("a/b"), "{plain}");
        let encoded = say(at, token, "GET /api/agent/secret/a%2fb", json, "").await;
        assert!(encoded.starts_with("HTTP/1.1 403 ") && encoded.contains("a/b"), "{encoded}");
        let answer = say(at, token, "POST /api/agent/act", "Application/Json; charset=utf-8", act).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""decision":"allow""#), "{answer}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_body_has_so_many_bytes_however_it_comes_and_whoever_is_not_let_in_needs_none() {
        let opened = open_door().await;
        let (at, token) = (opened.agent.at.as_str(), opened.agent.token.as_str());
        let line =
            |bytes: usize| format!("{{\"line\": \"{}\"}}", "x".repeat(bytes - r#"{"line": ""}"#.len()));
        let pieces = |body: &str, size: usize| {
            let piece = |piece: &[u8]| format!("{:x}\r\n{}\r\n", piece.len(), str::from_utf8(piece).unwrap());
            body.as_bytes().chunks(size).map(piece).collect::<String>() + "0\r\n\r\n"
        };
        let chunked = "content-type: application/json\r\ntransfer-encoding: chunked";
        for (bytes, status) in [(limits::REQUEST_BYTES, "200"), (limits::REQUEST_BYTES + 1, "400")] {
            let body = line(bytes);
            let answers = [
                say(at, token, "POST /api/agent/log", "application/json", &body).await,
                say_as(at, token, "POST /api/agent/log", chunked, &pieces(&body, 1 << 16)).await,
            ];
            for answer in answers {
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes}: {answer}");
            }
        }
        let answer = say_as(at, token, "POST /api/agent/log", chunked, &pieces(&line(4_096), 1)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        // Of what is refused by its head nothing more is waited for.
        let never = "content-type: application/json\r\ncontent-length: 100";
        for (token, call, status) in [
            ("ept_other", "POST /api/agent/log", "401"),
            (token, "POST /api/agent/act/x/result", "400"),
            (token, "POST /api/agent/none", "404"),
        ] {
            let answer = say_as(at, token, call, never, "").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{call}: {answer}");
        }
    }
}
