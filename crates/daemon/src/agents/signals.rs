//! What an agent says of itself and its work: a heartbeat, an output, a message, a line of its log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use axum::response::Response;
use eparch_domain::{AgentId, Digest};
use eparch_governor::{Answer, Decision, Event, Fact, Signal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bodies::answer;
use super::capture::{Log, Show};
use super::door::{Door, gone};
use super::{outputs, said};
use crate::api::problem::Problem;

/// Heartbeats are recorded at most so often; more would fill the ledger without saying more.
const HEARTBEAT_RECORDED_EVERY_MS: u64 = 10_000;

/// What an agent is told about what it said: that it was heard, and its plan when that was issued again (R021).
fn told(decision: &Decision) -> Value {
    let clarified = decision.facts.iter().find_map(|fact| match fact {
        Fact::PlanClarified { document, .. } => serde_json::from_str::<Value>(document).ok(),
        _ => None,
    });
    match clarified {
        Some(plan) => json!({ "ok": true, "clarified_plan": plan }),
        None => json!({ "ok": true }),
    }
}

/// Whether a decision took a signal.
fn is_heard(decision: &Decision, of: AgentId, signal: &Signal) -> bool {
    let hears = |fact: &Fact| match (signal, fact) {
        (Signal::Output { name, .. }, Fact::OutputSeen { agent, outputs, .. }) => {
            *agent == of && outputs.contains_key(name)
        }
        (Signal::Error { .. }, Fact::ErrorCounted { agent, .. })
        | (Signal::Heartbeat, Fact::HeartbeatSeen { agent })
        | (Signal::Progress | Signal::Message { .. }, Fact::ProgressSeen { agent, .. }) => *agent == of,
        _ => false,
    };
    decision.facts.iter().any(hears)
}

impl Door {
    /// Hands a signal in. What changes nothing was not heard, and whoever said it is told so.
    async fn tell(&self, signal: Signal) -> Result<Response, Problem> {
        let agent = self.spec.agent;
        let event = Event::AgentSignalled { agent, signal: signal.clone() };
        let done = self.driver.ask(event.into()).await.map_err(Problem::from)?;
        if let Answer::Refused(refusal) = &done.record.decision.answer {
            return Err(Problem::from(refusal));
        }
        if !is_heard(&done.record.decision, agent, &signal) {
            let why = "the agent is ending, or has as many outputs as it may";
            return Err(Problem::new(StatusCode::CONFLICT, "EP0607", "what was said does not count")
                .detail(why)
                .hint("say it while the program runs; large results belong into artifacts"));
        }
        Ok(answer(&told(&done.record.decision)))
    }

    /// Keeps a line of the agent's own, unless its authority went meanwhile.
    async fn write_down(&self, stream: &str, text: &str) -> Result<(), Problem> {
        let lines = self.log.lines_of(stream, text, self.clock.now().wall);
        let (broadcast, spec) = (self.broadcast.clone(), self.spec.clone());
        let show: Show = Arc::new(move |line| broadcast.log(&spec, line));
        if said::keep(&self.doom, &self.log, lines, &show).await { Ok(()) } else { Err(gone()) }
    }
}

pub(super) async fn heartbeat(door: &Door) -> Result<Response, Problem> {
    let now = door.clock.now().ledger.millis();
    let before = door.heartbeat_at.load(Ordering::SeqCst);
    door.hears().await?;
    if before != 0 && now.saturating_sub(before) < HEARTBEAT_RECORDED_EVERY_MS {
        return Ok(answer(&json!({ "ok": true })));
    }
    door.heartbeat_at.store(now.max(1), Ordering::SeqCst);
    door.tell(Signal::Heartbeat).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputBody {
    name: String,
    value: Value,
}

pub(super) async fn output(door: &Door, body: OutputBody) -> Result<Response, Problem> {
    outputs::check(&body.name, &body.value)
        .map_err(|why| Problem::new(StatusCode::BAD_REQUEST, "EP0605", &why))?;
    if door.log.is_secret(&body.name) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "EP0605", "the output's name holds a secret"));
    }
    let value = door.log.hide(body.value);
    door.tell(Signal::Output { name: body.name, value }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageBody {
    #[serde(default)]
    to: Option<String>,
    content: String,
}

pub(super) async fn message(door: &Door, body: MessageBody) -> Result<Response, Problem> {
    let to = body.to.map(|to| word(&door.log, &to));
    let content = Digest::of(body.content.as_bytes());
    let text = match &to {
        Some(to) => format!("to {to}: {}", body.content),
        None => body.content,
    };
    door.hears().await?;
    door.write_down("message", &text).await?;
    door.tell(Signal::Message { to, content }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogBody {
    line: String,
    #[serde(default)]
    level: Option<String>,
    /// A code of the agent's own for an error, so that repeats are counted.
    #[serde(default)]
    code: Option<String>,
}

pub(super) async fn log(door: &Door, body: LogBody) -> Result<Response, Problem> {
    door.hears().await?;
    door.write_down("agent", &body.line).await?;
    if body.level.as_deref() == Some("error") {
        let code = body.code.map_or_else(|| "error".to_owned(), |code| word(&door.log, &code));
        return door.tell(Signal::Error { code }).await;
    }
    Ok(answer(&json!({ "ok": true })))
}

/// A word of an agent's own that becomes part of the ledger: without secrets, and at most 64 characters long (G8). Cut only
/// after it is redacted, when no half of a secret can be left.
fn word(log: &Log, text: &str) -> String {
    log.hide_text(text).chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use eparch_domain::ClarifiedPlan;

    use super::*;

    #[test]
    fn r021_an_agent_is_told_its_clarified_plan_and_the_digest_is_of_what_it_is_told() {
        assert_eq!(told(&Decision::default()), json!({ "ok": true }));
        let document = json!({ "clarification": 1, "errors": { "E1": 5 }, "errors_left": 3 }).to_string();
        let replaces = Digest::of(b"the plan");
        let plan = Digest::of(document.as_bytes());
        let clarified = ClarifiedPlan { replaces, plan, crossing: 1, reason: String::new() };
        let fact = Fact::PlanClarified { agent: AgentId::from_bits(1), clarified, document };
        let answer = told(&Decision { facts: vec![fact], ..Decision::default() });
        assert_eq!(answer["clarified_plan"]["errors_left"], 3);
        assert_eq!(Digest::of(answer["clarified_plan"].to_string().as_bytes()), plan);
    }
}
