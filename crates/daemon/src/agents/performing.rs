//! What an agent has performed under a permit: a command in a second cage, whose end it waits for.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use eparch_domain::{PermitId, limits};
use eparch_governor::Event;
use serde::Deserialize;
use serde_json::json;

use super::bodies;
use super::door::{Door, unanswered};
use super::performances::Told;
use crate::api::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PerformBody {
    /// The program and its arguments, never a line for a shell.
    command: Vec<String>,
}

/// Has a command performed under a permit, and waits a while for its end.
pub(super) async fn perform(
    door: &Arc<Door>,
    permit: PermitId,
    PerformBody { command }: PerformBody,
) -> Result<Response, Problem> {
    if let Some(why) = fault_of(&command) {
        return Err(bad(&why));
    }
    if command.iter().any(|word| door.log.is_secret(word)) {
        return Err(bad(
            "a word of the command holds a secret, and everything that is performed is written down",
        ));
    }
    // Whoever hangs up meanwhile has asked all the same: it is seen through without them, so that what is awaited is either
    // performed or forgotten.
    let asking = tokio::spawn(ask(Arc::clone(door), permit, command));
    asking.await.map_err(|_| unanswered())??;
    answer(door, permit).await
}

async fn ask(door: Arc<Door>, permit: PermitId, command: Vec<String>) -> Result<(), Problem> {
    let is_first = door.performances.expect(permit);
    let event = Event::PerformanceAsked { agent: door.spec.agent, permit, command };
    let asked = door.decide(event).await;
    // What was shown before and is being performed goes on.
    if asked.is_err() && is_first {
        door.performances.forget(permit);
    }
    asked.map(drop)
}

/// Waits a while for the end of what is performed.
pub(super) async fn performed(door: &Door, permit: PermitId) -> Result<Response, Problem> {
    answer(door, permit).await
}

/// The permit that a path names.
pub(super) fn permit(text: &str) -> Result<PermitId, Problem> {
    text.parse::<PermitId>().map_err(|problem| bad(&problem.to_string()))
}

async fn answer(door: &Door, permit: PermitId) -> Result<Response, Problem> {
    let told = door.performances.wait(permit, limits::PERFORMANCE_WAIT).await.map_err(|_| {
        Problem::new(StatusCode::NOT_FOUND, "EP0639", &format!("nothing is performed under {permit}"))
            .hint("what came of a command is told for a while after it is over")
    })?;
    let body = match told {
        None => json!({ "state": "performing" }),
        Some(Told { end, stdout, stderr, cut, .. }) => {
            let mut body = json!({
                "state": "over", "ok": end.is_ok(), "end": end, "detail": end.to_string(),
                "stdout": stdout, "stderr": stderr, "cut": cut,
            });
            if let Some(code) = end.code() {
                body["code"] = code.into();
            }
            body
        }
    };
    Ok(bodies::answer(&body))
}

/// What is wrong with a command, before anything is asked.
fn fault_of(command: &[String]) -> Option<String> {
    if command.first().is_none_or(String::is_empty) {
        return Some("there is no program to run".to_owned());
    }
    if command.len() > limits::COMMAND_WORDS {
        return Some(format!("a command has at most {} words", limits::COMMAND_WORDS));
    }
    command
        .iter()
        .any(|word| word.contains('\0'))
        .then(|| "a word of the command holds a zero byte".to_owned())
}

fn bad(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "EP0639", why)
        .hint("send {\"command\": [\"program\", \"argument\"]}, with the arguments that the permit is for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_a_program_and_words_that_a_program_can_be_given() {
        let fault =
            |words: &[&str]| fault_of(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(fault(&[]).is_some() && fault(&[""]).is_some() && fault(&["a", "b\0"]).is_some());
        assert!(fault(&["a"; limits::COMMAND_WORDS + 1]).is_some());
        assert_eq!(fault(&["a"; limits::COMMAND_WORDS]), None);
    }
}
