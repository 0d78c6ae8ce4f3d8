//! `eparch act … -- COMMAND`: asking, and having a command performed under the permit that comes of it.

use std::io::{stderr, stdout};
use std::os::fd::AsFd;

use eparch_daemon::{CallError, Client, STREAMS};
use serde_json::{Value, json};

use super::agent_side::{say, wait_for_people};
use crate::args::Act;
use crate::context::{Context, print_json};
use crate::failure::Failure;
use crate::output::{errln, out};

/// How it ends when the command itself has not: as programs end that run others (`env`, `timeout`, `docker run`), and apart from
/// what most commands end with.
mod exit {
    /// People have to be asked first.
    pub(super) const ASK: u8 = 123;
    /// The command took longer than it may.
    pub(super) const TOO_LONG: u8 = 124;
    /// It was not performed, or nobody knows what it did.
    pub(super) const NOT_PERFORMED: u8 = 125;
    /// Policy denies it.
    pub(super) const DENIED: u8 = 126;
    /// There is no such program.
    pub(super) const NOT_FOUND: u8 = 127;
    /// By a signal: this and its number.
    pub(super) const BY_SIGNAL: i64 = 128;
}

/// Asks unless a permit is at hand, has the command performed, prints what it printed, and ends as it did.
pub(super) async fn act(context: &Context, listener: &Client, asked: &Act, key: &str) -> Result<u8, Failure> {
    let not_performed = |problem: CallError| Failure::from(problem).exit(exit::NOT_PERFORMED);
    let params = json!({ "command": asked.command });
    let mut told = json!({});
    let permit = match asked.permit {
        Some(permit) => permit.to_string(),
        None => {
            let body = json!({
                "action": asked.action, "target": asked.target, "params": params, "idempotency_key": key,
            });
            told = listener.post("/api/agent/act", &body).await.map_err(not_performed)?;
            if let Some(within) = asked.wait {
                let answered = wait_for_people(listener, &body, told, within).await;
                told = answered.map_err(|failure| failure.exit(exit::NOT_PERFORMED))?;
            }
            match told["permit"].as_str() {
                Some(permit) => permit.to_owned(),
                None => return not_allowed(context, &told),
            }
        }
    };
    let over = perform(listener, &permit, &params).await.map_err(not_performed)?;
    told["permit"] = permit.into();
    told["performed"] = over;
    let over = &told["performed"];
    if context.is_json() {
        print_json(&told)?;
    } else {
        print(over);
    }
    Ok(exit_of(over))
}

/// Policy says no, or that people say.
fn not_allowed(context: &Context, verdict: &Value) -> Result<u8, Failure> {
    if context.is_json() {
        print_json(verdict)?;
    } else {
        say(verdict);
    }
    Ok(if verdict["decision"] == "ask" { exit::ASK } else { exit::DENIED })
}

/// Has it performed, and asks again for as long as it goes on.
async fn perform(listener: &Client, permit: &str, params: &Value) -> Result<Value, CallError> {
    let mut told: Value = listener.post(&format!("/api/agent/act/{permit}/perform"), params).await?;
    while told["state"] == "performing" {
        told = listener.get(&format!("/api/agent/act/{permit}/performed")).await?;
    }
    Ok(told)
}

/// What it printed and said to people, and why it ended if that was not its own doing. All that it printed stands in the stage's
/// log already, as what was performed: where this is captured as what the agent prints it would stand there twice.
fn print(over: &Value) {
    let captured = std::env::var(STREAMS).unwrap_or_default();
    let (tells_out, tells_err) = (!is_among(&captured, stdout()), !is_among(&captured, stderr()));
    if tells_out {
        out(format_args!("{}", over["stdout"].as_str().unwrap_or_default()));
    }
    if tells_err {
        over["stderr"].as_str().unwrap_or_default().lines().for_each(|line| errln!("{line}"));
    }
    if over["cut"] == true && (tells_out || tells_err) {
        errln!("[what it printed is cut; the stage's log has more]");
    }
    if let Some(code) = over["code"].as_str() {
        errln!("error[{code}]: {}", over["detail"].as_str().unwrap_or_default());
    }
}

/// Whether a stream is one of those that are named.
fn is_among(named: &str, stream: impl AsFd) -> bool {
    eparch_sandbox::stream_name(stream).is_ok_and(|name| named.split(' ').any(|known| known == name))
}

fn exit_of(over: &Value) -> u8 {
    let end = &over["end"];
    let number = match end["how"].as_str() {
        Some("code") => end["code"].as_i64(),
        Some("signal") => end["signal"].as_i64().map(|signal| exit::BY_SIGNAL + signal),
        Some("timed_out") => Some(exit::TOO_LONG.into()),
        Some("never_ran") if over["code"] == "EP0636" => Some(exit::NOT_FOUND.into()),
        _ => None,
    };
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(exit::NOT_PERFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_its_name_whoever_has_it_and_no_other_is() {
        let ((_kept, one), (_other, two)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        let name = |stream: &std::io::PipeWriter| eparch_sandbox::stream_name(stream).unwrap();
        let named = format!("1:2 {}", name(&one));
        assert!(is_among(&named, &one) && is_among(&named, one.try_clone().unwrap()));
        assert!(!is_among(&named, &two) && !is_among("", &one));
        assert!(!is_among(&format!("1{}", name(&one)), &one));
    }

    #[test]
    fn it_ends_as_the_command_did_or_says_by_its_exit_why_not() {
        let over = |end: Value, code: Value| exit_of(&json!({ "end": end, "code": code }));
        assert_eq!(over(json!({ "how": "code", "code": 7 }), Value::Null), 7);
        assert_eq!(over(json!({ "how": "signal", "signal": 9 }), Value::Null), 137);
        assert_eq!(over(json!({ "how": "timed_out" }), "EP0637".into()), 124);
        assert_eq!(over(json!({ "how": "never_ran" }), "EP0636".into()), 127);
        for how in ["never_ran", "stopped", "unknown"] {
            assert_eq!(over(json!({ "how": how }), "EP0638".into()), 125, "{how}");
        }
    }
}
