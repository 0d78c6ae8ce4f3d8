//! What an agent sends, read, and what it is answered, written: JSON, both.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use eparch_domain::limits;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::problem::Problem;

/// Reads what was sent.
pub(super) async fn read<T: DeserializeOwned>(head: &HeaderMap, sent: Incoming) -> Result<T, Problem> {
    if !is_json(head) {
        return Err(bad("the body is not said to be JSON"));
    }
    let whole = whole(sent).await?;
    serde_json::from_slice(&whole).or_else(|_| read_closely(&whole))
}

/// Reads once more what cannot be read, to say where that is: nobody else pays for that.
fn read_closely<T: DeserializeOwned>(whole: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(whole);
    let read = serde_path_to_error::deserialize(&mut reader)
        .map_err(|problem| bad(&format!("the body is not what is asked: {problem}")))?;
    reader.end().map_err(|problem| bad(&format!("the body does not end where it should: {problem}")))?;
    Ok(read)
}

/// All of it in one piece, at most `limits::REQUEST_BYTES`: what comes in pieces of a byte each is kept in one piece as well.
async fn whole(mut sent: Incoming) -> Result<Vec<u8>, Problem> {
    let mut whole = Vec::new();
    while let Some(frame) = sent.frame().await {
        let frame = frame.map_err(|problem| bad(&format!("the body cannot be read: {problem}")))?;
        let Ok(piece) = frame.into_data() else { continue };
        if whole.len() + piece.len() > limits::REQUEST_BYTES {
            return Err(bad(&format!("the body has more than {} bytes", limits::REQUEST_BYTES)));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// Whether the head says that JSON follows. A form of a web page cannot say that without asking first.
fn is_json(head: &HeaderMap) -> bool {
    let kind = head.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = kind.strip_prefix("application/");
    kind.is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

fn bad(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "EP0606", why)
        .hint("send JSON with `Content-Type: application/json`")
}

/// An answer that tells something.
pub(super) fn answer(told: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(told).expect("what is told is plain data");
    let mut answer = Response::new(Body::from(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_to_be_json_is_read() {
        let said = |kind: &'static str| {
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]))
        };
        for kind in
            ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x"]
        {
            assert!(said(kind), "{kind}");
        }
        for kind in
            ["", "text/plain", "application/jsonl", "text/x+json", "text/plain; application/json", "json"]
        {
            assert!(!said(kind), "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
