//! What an agent asks to do (R007): it is answered by policy, through the governor, and what is allowed is done under a
//! permit.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use eparch_domain::{Action, AgentId, Digest, GateId, InOrder, Name, PermitId, limits};
use eparch_governor::{ActionAsked, Answer, Event, Fact, Governor, Ruled, UnderGlass};
use eparch_policy::{self as policy, Change, Shadowed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bodies::answer;
use super::capture::Log;
use super::door::{Door, unanswered};
use crate::api::problem::Problem;
use crate::driver::Done;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActBody {
    action: Action,
    target: String,
    /// What it is to be done with: any JSON. People who are asked are shown it, unless it is very large.
    #[serde(default)]
    params: Option<Value>,
    /// Its digest, from an agent that keeps it to itself.
    #[serde(default)]
    params_digest: Option<Digest>,
    idempotency_key: String,
}

impl ActBody {
    /// The digest of the arguments, and the text that it is of, as far as people can be shown it.
    fn arguments(&self) -> Result<(Digest, Option<String>), Problem> {
        match (&self.params, self.params_digest) {
            (None, None) => Ok((Digest::of(b""), None)),
            (None, Some(digest)) => Ok((digest, None)),
            (Some(params), None) => {
                let text = text_of(params);
                let digest = Digest::of(text.as_bytes());
                Ok((digest, Some(text).filter(|text| text.len() <= limits::ARGUMENTS_SHOWN_BYTES)))
            }
            (Some(_), Some(_)) => Err(bad("params and params_digest are two ways to say one thing")),
        }
    }
}

/// Arguments as their digest is taken of them and people are shown them, whatever order their keys were written in.
fn text_of(params: &Value) -> String {
    serde_json::to_string(&InOrder(params)).expect("JSON is plain data")
}

/// Whether arguments hold a secret, in one text of theirs or written as a whole.
fn hold_a_secret(log: &Log, params: &Value) -> bool {
    log.hide(params.clone()) != *params
}

fn bad(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "EP0606", why)
        .hint("send {\"action\", \"target\", \"idempotency_key\"} and, if there are arguments, \"params\" or \"params_digest\"")
}

/// Asks whether something may be done. Every verdict is an answer; what is refused is a problem.
pub(super) async fn act(door: &Door, body: ActBody) -> Result<Response, Problem> {
    let (params, given) = body.arguments()?;
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
    // What people are shown is what is performed, so that nothing can be taken out of it.
    let as_a_whole = given.as_deref().is_some_and(|text| door.log.is_secret(text));
    if as_a_whole
        || given.is_some() && body.params.as_ref().is_some_and(|params| hold_a_secret(&door.log, params))
    {
        return Err(bad(
            "the arguments hold a secret, and whoever is asked is shown them: send their params_digest alone",
        ));
    }
    let asked = ActionAsked {
        agent: door.spec.agent,
        tenant: door.tenant.clone(),
        project: door.project.clone(),
        action: body.action,
        target: body.target,
        params,
        given,
        key: body.idempotency_key,
    };
    let (agent, key) = (asked.agent, asked.key.clone());
    let done = door.decide(Event::ActionAsked(Box::new(asked))).await?;
    let ruled = ruled(&done, agent, &key).ok_or_else(unanswered)?;
    Ok(answer(&Told::of(ruled)))
}

/// What was answered, now or before. A deadline that came in the same moment may have answered other questions.
pub(super) fn ruled<'d>(done: &'d Done, of: AgentId, key: &str) -> Option<&'d Ruled> {
    let decision = &done.record.decision;
    match &decision.answer {
        Answer::Ruled(ruled) => Some(ruled),
        _ => decision.facts.iter().find_map(|fact| match fact {
            Fact::ActionDecided(ruled) if (ruled.agent, &*ruled.key) == (of, key) => Some(ruled.as_ref()),
            _ => None,
        }),
    }
}

/// A verdict as an agent is told it.
#[derive(Serialize)]
struct Told<'r> {
    decision: policy::Decision,
    reason_code: &'r str,
    policies: Vec<&'r str>,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unlock: Option<&'r str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    changes: &'r [Change],
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<GateId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    break_glass: Option<&'r UnderGlass>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    shadowed: &'r [Shadowed],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    decided_by: &'r [Name],
    #[serde(skip_serializing_if = "Option::is_none")]
    permit: Option<PermitId>,
    /// What the permit is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    params_digest: Option<Digest>,
}

impl Told<'_> {
    fn of(ruled: &Ruled) -> Told<'_> {
        let verdict = &ruled.verdict;
        Told {
            decision: verdict.decision,
            reason_code: &verdict.reason,
            policies: verdict.policies.iter().map(|id| &**id).collect(),
            retryable: verdict.retryable,
            unlock: verdict.unlock.as_deref(),
            changes: &verdict.changes,
            gate: ruled.gate,
            break_glass: ruled.break_glass.as_ref(),
            shadowed: &verdict.shadowed,
            decided_by: &ruled.decided_by,
            permit: ruled.permit.map(|given| given.permit),
            params_digest: ruled.permit.map(|_| ruled.params),
        }
    }
}

/// How often it is looked whether a gate still waits.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Whether people are still being asked at a gate of this agent: answered as soon as they are not, or after
/// `limits::QUESTION_WAIT`. Nothing is decided by it, so that waiting leaves nothing in the record; whoever learns that nobody is
/// asked any more asks again with the same key.
pub(super) async fn waits(door: &Door, gate: &str) -> Result<Response, Problem> {
    let gate = gate.parse::<GateId>().map_err(|problem| bad(&problem.to_string()))?;
    let (agent, until) = (door.spec.agent, Instant::now() + limits::QUESTION_WAIT.as_duration());
    loop {
        let is_its_own = move |governor: &Governor| {
            let sought = governor.gate(gate).and_then(|opened| opened.sought.as_ref());
            sought.is_some_and(|sought| sought.agent == agent)
        };
        let waits = door.driver.glance(is_its_own).await.map_err(Problem::from)?;
        if !waits || Instant::now() >= until {
            return Ok(answer(&json!({ "waits": waits })));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The permit that a path names.
pub(super) fn permit(text: &str) -> Result<PermitId, Problem> {
    text.parse::<PermitId>().map_err(|problem| bad(&problem.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultBody {
    ok: bool,
    #[serde(default)]
    detail: String,
}

/// Tells what came of what was done under a permit, which is spent with it.
pub(super) async fn result(door: &Door, permit: PermitId, body: ResultBody) -> Result<Response, Problem> {
    let detail = door.log.hide_text(&body.detail);
    door.decide(Event::ActionEnded { agent: door.spec.agent, permit, ok: body.ok, detail }).await?;
    Ok(answer(&json!({ "ok": true })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_one_digest_in_whatever_order_they_are_written() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b": {"d": null, "c": [1, 2]}, "a": 1}"#).unwrap();
        let third: Value = serde_json::from_str(r#"{"b": {"d": null, "c": [2, 1]}, "a": 1}"#).unwrap();
        assert_eq!(text_of(&one), text_of(&other));
        assert_ne!(text_of(&one), text_of(&third));
    }

    #[test]
    fn the_text_that_people_are_shown_is_the_one_that_the_digest_is_of() {
        let body = |json: &str| serde_json::from_str::<ActBody>(json).unwrap();
        let asked = |rest: &str| {
            body(&format!(r#"{{"action": "read_file", "target": "x", "idempotency_key": "k"{rest}}}"#))
        };
        let (digest, given) = asked(r#", "params": {"b": 1, "a": ["x"]}"#).arguments().unwrap();
        assert_eq!(given.as_deref(), Some(r#"{"a":["x"],"b":1}"#));
        assert_eq!(digest, Digest::of(given.unwrap().as_bytes()));
        assert_eq!(asked("").arguments().unwrap(), (Digest::of(b""), None));
        let digest = Digest::of(b"something");
        assert_eq!(asked(&format!(r#", "params_digest": "{digest}""#)).arguments().unwrap(), (digest, None));
        let large = "x".repeat(limits::ARGUMENTS_SHOWN_BYTES);
        let (digest, given) = asked(&format!(r#", "params": "{large}""#)).arguments().unwrap();
        assert_eq!((digest, given), (Digest::of(format!("\"{large}\"").as_bytes()), None));
    }
}
