//! What an agent asks to do (R007): it is answered by policy, through the governor, and what is allowed is done under a
//! permit.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use eparch_domain::{Action, Digest, GateId, InOrder, PermitId, limits};
use eparch_governor::{ActionAsked, Answer, Event, Fact, Governor, Ruled};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::listener::{Door, bad_body};
use crate::api::problem::Problem;
use crate::driver::Done;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActBody {
    action: Action,
    target: String,
    /// What it is to be done with: any JSON, of which only the digest is kept.
    #[serde(default)]
    params: Option<Value>,
    /// The same, digested by the agent.
    #[serde(default)]
    params_digest: Option<Digest>,
    idempotency_key: String,
}

impl ActBody {
    fn digest(&self) -> Result<Digest, Problem> {
        match (&self.params, self.params_digest) {
            (None, None) => Ok(Digest::of(b"")),
            (None, Some(digest)) => Ok(digest),
            (Some(params), None) => Ok(digest_of(params)),
            (Some(_), Some(_)) => Err(bad("params and params_digest are two ways to say one thing")),
        }
    }
}

/// The digest of arguments, whatever order their keys were written in.
pub(crate) fn digest_of(params: &Value) -> Digest {
    Digest::of(&serde_json::to_vec(&InOrder(params)).expect("JSON is plain data"))
}

fn bad(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "EP0606", why)
        .hint("send {\"action\", \"target\", \"idempotency_key\"} and, if there are arguments, \"params\" or \"params_digest\"")
}

/// Asks whether something may be done. Every verdict is an answer; what is refused is a problem.
pub(super) async fn act(
    State(door): State<Arc<Door>>,
    body: Result<Json<ActBody>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(body) = body.map_err(bad_body)?;
    let params = body.digest()?;
    if body.idempotency_key.trim().is_empty() {
        return Err(bad("the idempotency_key is empty"));
    }
    for (what, text) in [("target", &body.target), ("idempotency_key", &body.idempotency_key)] {
        if door.log.is_secret(text) {
            return Err(bad(&format!(
                "the {what} holds a secret, and everything that is asked is written down"
            )));
        }
    }
    let asked = ActionAsked {
        agent: door.spec.agent,
        tenant: door.tenant.clone(),
        project: door.project.clone(),
        action: body.action,
        target: body.target,
        params,
        key: body.idempotency_key,
    };
    let done = door.decide(Event::ActionAsked(Box::new(asked.clone()))).await?;
    let ruled = ruled(&done, &asked).ok_or_else(|| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0609", "the question was not answered")
    })?;
    Ok(Json(told(ruled)).into_response())
}

/// What was answered, now or before. A deadline that came in the same moment may have answered other questions.
pub(super) fn ruled<'d>(done: &'d Done, asked: &ActionAsked) -> Option<&'d Ruled> {
    let decision = &done.record.decision;
    match &decision.answer {
        Answer::Ruled(ruled) => Some(ruled),
        _ => decision.facts.iter().find_map(|fact| match fact {
            Fact::ActionDecided(ruled) if (ruled.agent, &ruled.key) == (asked.agent, &asked.key) => {
                Some(ruled.as_ref())
            }
            _ => None,
        }),
    }
}

fn told(ruled: &Ruled) -> Value {
    let verdict = &ruled.verdict;
    let mut told = json!({
        "decision": verdict.decision,
        "reason_code": &*verdict.reason,
        "policies": verdict.policies.iter().map(|id| &**id).collect::<Vec<_>>(),
        "retryable": verdict.retryable,
    });
    if let Some(unlock) = &verdict.unlock {
        told["unlock"] = unlock.as_str().into();
    }
    if !verdict.changes.is_empty() {
        told["changes"] = json!(verdict.changes);
    }
    if let Some(gate) = ruled.gate {
        told["gate"] = gate.to_string().into();
    }
    if !ruled.decided_by.is_empty() {
        told["decided_by"] = json!(ruled.decided_by);
    }
    if let Some(given) = ruled.permit {
        told["permit"] = given.permit.to_string().into();
        told["params_digest"] = ruled.params.to_string().into();
    }
    told
}

/// How often it is looked whether a gate still waits.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whether people are still being asked at a gate of this agent: answered as soon as they are not, or after
/// `limits::QUESTION_WAIT`. Nothing is decided by it, so that waiting leaves nothing in the record; whoever learns that nobody is
/// asked any more asks again with the same key.
pub(super) async fn waits(
    State(door): State<Arc<Door>>,
    gate: Result<Path<GateId>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(gate) = gate.map_err(|problem| bad(&problem.body_text()))?;
    let (agent, until) = (door.spec.agent, Instant::now() + limits::QUESTION_WAIT.as_duration());
    loop {
        let is_its_own = move |governor: &Governor| {
            let sought = governor.gate(gate).and_then(|opened| opened.sought.as_ref());
            sought.is_some_and(|sought| sought.agent == agent)
        };
        let waits = door.driver.glance(is_its_own).await.map_err(Problem::from)?;
        if !waits || Instant::now() >= until {
            return Ok(Json(json!({ "waits": waits })).into_response());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultBody {
    ok: bool,
    #[serde(default)]
    detail: String,
}

/// Tells what came of what was done under a permit, which is spent with it.
pub(super) async fn result(
    State(door): State<Arc<Door>>,
    permit: Result<Path<PermitId>, PathRejection>,
    body: Result<Json<ResultBody>, JsonRejection>,
) -> Result<Response, Problem> {
    let Path(permit) = permit.map_err(|problem| bad(&problem.body_text()))?;
    let Json(body) = body.map_err(bad_body)?;
    let detail = door.log.hide_text(&body.detail);
    door.decide(Event::ActionEnded { agent: door.spec.agent, permit, ok: body.ok, detail }).await?;
    Ok(Json(json!({ "ok": true })).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_one_digest_in_whatever_order_they_are_written() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b": {"d": null, "c": [1, 2]}, "a": 1}"#).unwrap();
        let third: Value = serde_json::from_str(r#"{"b": {"d": null, "c": [2, 1]}, "a": 1}"#).unwrap();
        assert_eq!(digest_of(&one), digest_of(&other));
        assert_ne!(digest_of(&one), digest_of(&third));
    }
}
