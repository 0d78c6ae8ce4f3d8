//! What an agent asks and says from inside its cage, with nothing but its environment.

use eparch_daemon::wire::SecretShown;
use eparch_daemon::{Client, random_bits};
use eparch_domain::Span;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{performing, secrets};
use crate::args::{Act, AgentSecret, Message, PutOut};
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

/// `eparch act`: ends with 0 when it may be done, with 1 when it may not, or not yet.
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
    let mut verdict: Value = listener.post("/api/agent/act", &body).await?;
    if let Some(within) = asked.wait {
        verdict = wait_for_people(&listener, &body, verdict, within).await?;
    }
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
    let by = names(&verdict["decided_by"]);
    let by = if by.is_empty() { by } else { format!(", by {by}") };
    outln!("{} ({}){by}", word("decision"), word("reason_code"));
    if verdict["break_glass"].is_object() {
        let of = |key: &str| verdict["break_glass"][key].as_str().unwrap_or_default();
        outln!("break-glass {} by {} and {}", of("grant"), of("requested_by"), of("approved_by"));
    }
    for shadow in verdict["shadowed"].as_array().into_iter().flatten() {
        let of = |key: &str| shadow[key].as_str().unwrap_or_default();
        outln!("watched: {} would say {} ({})", of("policy"), of("decision"), of("reason_code"));
    }
    let may = verdict["permit"].is_string();
    if may {
        outln!("permit {}", word("permit"));
    } else if is_asked(verdict) {
        outln!("gate {}", word("gate"));
    }
    if !may && let Some(unlock) = verdict["unlock"].as_str() {
        outln!("What would unlock it: {unlock}");
    }
}

/// Whether people are asked, or were when this was answered.
fn is_asked(verdict: &Value) -> bool {
    verdict["decision"] == "ask" && verdict["gate"].is_string()
}

/// The names in a list, as people say them.
fn names(list: &Value) -> String {
    let names: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    names.join(" and ")
}

/// Waits until people have answered and asks again with the same key, which brings what they let it do. After `within` it is
/// as before: they are asked.
pub(super) async fn wait_for_people(
    listener: &Client,
    body: &Value,
    mut verdict: Value,
    within: Option<Span>,
) -> Result<Value, Failure> {
    let until = within.map(|within| Instant::now() + within.as_duration());
    while is_asked(&verdict) {
        let path = format!("/api/agent/questions/{}", verdict["gate"].as_str().unwrap_or_default());
        let answer = listener.get::<Value>(&path);
        let still = match until {
            None => answer.await?,
            Some(until) => match tokio::time::timeout_at(until, answer).await {
                Ok(still) => still?,
                Err(_) => return Ok(verdict),
            },
        };
        if still["waits"] != true {
            verdict = listener.post("/api/agent/act", body).await?;
        }
    }
    Ok(verdict)
}

/// `eparch secret`.
pub(crate) async fn secret(context: &Context, asked: &AgentSecret) -> Result<u8, Failure> {
    let AgentSecret::Get { path, field } = asked;
    let path = secrets::checked(path)?;
    let shown: SecretShown = listener()?.get(&format!("/api/agent/secret/{path}")).await?;
    secrets::show_secret(context, &shown, field.as_deref())
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
