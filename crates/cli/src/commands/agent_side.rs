//! What an agent asks and says from inside its cage, with nothing but its environment.

use eparch_daemon::{Client, random_bits};
use serde_json::{Value, json};

use super::performing;
use crate::args::{Act, Message, PutOut};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;

/// The agent's own listener, as its environment names it.
fn listener() -> Result<Client, Failure> {
    let told = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let client = told("EPARCH_URL").zip(told("EPARCH_TOKEN"));
    client.and_then(|(url, token)| Client::for_agent(&url, token)).ok_or_else(|| {
        Failure::new("EP0722", "this is not inside an agent: EPARCH_URL and EPARCH_TOKEN are not set")
            .hint("a stage's program has both; `eparch run` gives them to it")
            .exit(exit::USAGE)
    })
}

/// `eparch act`: ends with 0 when it may be done, with 1 when it may not.
pub(crate) async fn act(context: &Context, asked: &Act) -> Result<u8, Failure> {
    let listener = listener()?;
    if let Some(permit) = asked.done {
        let body = json!({ "ok": !asked.failed, "detail": asked.detail });
        let _: Value = listener.post(&format!("/api/agent/act/{permit}/result"), &body).await?;
        return Ok(exit::DONE);
    }
    let key = match &asked.key {
        Some(key) => key.clone(),
        None => format!("{:032x}", random_bits()),
    };
    if !asked.command.is_empty() {
        return performing::act(context, &listener, asked, &key).await;
    }
    let mut body = json!({ "action": asked.action, "target": asked.target, "idempotency_key": key });
    if let Some(params) = &asked.params {
        body["params"] = serde_json::from_str(params).map_err(|problem| {
            Failure::new("EP0701", format!("--params is not JSON: {problem}"))
                .hint("write it in quotes: --params '{\"playbook\": \"site.yml\"}'")
                .exit(exit::USAGE)
        })?;
    }
    if let Some(digest) = &asked.params_digest {
        body["params_digest"] = digest.to_string().into();
    }
    let verdict: Value = listener.post("/api/agent/act", &body).await?;
    let may = verdict["permit"].is_string();
    if context.is_json() {
        print_json(&verdict)?;
    } else {
        say(&verdict);
    }
    Ok(if may { exit::DONE } else { exit::FAILED })
}

/// A verdict, for people.
pub(super) fn say(verdict: &Value) {
    let word = |key: &str| verdict[key].as_str().unwrap_or_default();
    outln!("{} ({})", word("decision"), word("reason_code"));
    if verdict["permit"].is_string() {
        outln!("permit {}", word("permit"));
    } else if let Some(unlock) = verdict["unlock"].as_str() {
        outln!("What would do: {unlock}");
    }
}

/// `eparch heartbeat`.
pub(crate) async fn heartbeat() -> Result<u8, Failure> {
    let _: Value = listener()?.post("/api/agent/heartbeat", &json!({})).await?;
    Ok(exit::DONE)
}

/// `eparch output`.
pub(crate) async fn put_out(asked: &PutOut) -> Result<u8, Failure> {
    let Some((name, value)) = asked.output.split_once('=') else {
        return Err(Failure::new("EP0701", "an output is NAME=VALUE").exit(exit::USAGE));
    };
    let value: Value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    let _: Value = listener()?.post("/api/agent/output", &json!({ "name": name, "value": value })).await?;
    Ok(exit::DONE)
}

/// `eparch message`.
pub(crate) async fn message(asked: &Message) -> Result<u8, Failure> {
    let body = json!({ "to": asked.to, "content": asked.text });
    let _: Value = listener()?.post("/api/agent/message", &body).await?;
    Ok(exit::DONE)
}
