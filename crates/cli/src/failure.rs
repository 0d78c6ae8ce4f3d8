//! What a user is told when something did not work: a code, a sentence, a hint, and an exit code (interface.md 1).

use std::borrow::Cow;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use eparch_daemon::{CallError, ConfigError, HomeError, Problem};
use eparch_domain::in_full;
use eparch_domain::redact::redact;
use serde_json::json;

use crate::context::json_line;
use crate::output::{errln, outln};
use crate::paint;

/// Exit codes; those of runs are `RunStatus::exit_code`.
pub(crate) mod exit {
    pub(crate) const DONE: u8 = 0;
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const USAGE: u8 = 64;
    pub(crate) const BAD_DOCUMENT: u8 = 65;
    pub(crate) const UNAVAILABLE: u8 = 69;
    pub(crate) const BAD_CONFIGURATION: u8 = 78;
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// Why a command ends without having done what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    code: String,
    message: String,
    detail: String,
    hint: String,
    exit: u8,
}

impl Failure {
    /// A failure with its stable code; exits with 1.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Failure {
        let message = message.into();
        Failure {
            code: code.to_owned(),
            message,
            detail: String::new(),
            hint: String::new(),
            exit: exit::FAILED,
        }
    }

    /// The same, with what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = hint.into();
        self
    }

    /// The same, with more to read.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Failure {
        if !self.detail.is_empty() {
            self.detail.push('\n');
        }
        self.detail += &detail.into();
        self
    }

    /// The same, with another exit code.
    pub(crate) fn exit(mut self, exit: u8) -> Failure {
        self.exit = exit;
        self
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// What happened.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Tells it, as one JSON document on standard output or in words on standard error.
    pub(crate) fn report(&self, as_json: bool) -> ExitCode {
        if as_json {
            // It may quote what somebody gave in the wrong place.
            let clean = |text: &str| redact(text, &[]).into_owned();
            let mut error =
                json!({ "code": self.code, "message": clean(&self.message), "hint": clean(&self.hint) });
            if !self.detail.is_empty() {
                error["detail"] = clean(&self.detail).into();
            }
            outln!("{}", json_line(&json!({ "error": error })));
        } else {
            self.print();
        }
        ExitCode::from(self.exit)
    }

    /// Tells it in words on standard error.
    pub(crate) fn print(&self) {
        // A message may quote what an agent, a file or a stranger's pipeline said.
        let head = paint::err().bad(&format!("error[{}]", self.code));
        errln!("{head}: {}", paint::harmless_lines(&redact(&self.message, &[])));
        for line in redact(&self.detail, &[]).lines() {
            errln!("  {}", paint::harmless(line));
        }
        if !self.hint.is_empty() {
            errln!("  = help: {}", paint::harmless_lines(&redact(&self.hint, &[])));
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        match error {
            CallError::Problem(problem) => Failure::from(*problem),
            CallError::Absent(_) | CallError::Lost(_) => Failure::new("EP0705", in_full(&error))
                .hint("try again; a new holder starts by itself, and HOME/logs/holder.log says what became of the last")
                .exit(exit::UNAVAILABLE),
            CallError::Nonsense(_) => Failure::new("EP0706", in_full(&error))
                .hint("a holder of another version may be running; it leaves when it has been idle for a few seconds"),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let exit = match (problem.code.as_str(), problem.status) {
            // What was handed in is not a pipeline, or does not fit it.
            ("EP0220" | "EP0221", _) => exit::BAD_DOCUMENT,
            (_, 501 | 503) => exit::UNAVAILABLE,
            _ => exit::FAILED,
        };
        Failure {
            code: problem.code,
            message: problem.title,
            detail: problem.detail,
            hint: problem.hint,
            exit,
        }
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Failure {
        Failure::new(error.code(), in_full(&error)).hint(error.hint())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::new("EP0707", in_full(&error))
            .hint("`eparch config show` prints the settings that can be made")
            .exit(exit::BAD_CONFIGURATION)
    }
}

/// Whether these words ask for JSON; for errors that come before they are understood.
pub(crate) fn wants_json(words: impl IntoIterator<Item = OsString>) -> bool {
    let mut after_format = false;
    for word in words {
        if word == "--" {
            return false;
        }
        if word == "--format=json" || (after_format && word == "json") {
            return true;
        }
        after_format = word == "--format";
    }
    false
}

/// Words that are not a command, or a wish for help.
pub(crate) fn usage(problem: &clap::Error, as_json: bool) -> ExitCode {
    let help = matches!(problem.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if as_json && !help {
        let text = problem.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure =
            Failure::new("EP0701", message).hint("`eparch --help` lists the commands").exit(exit::USAGE);
        return failure.report(true);
    }
    let text = problem.render().to_string();
    match redact(&text, &[]) {
        // Nowhere left to complain about a closed output.
        Cow::Borrowed(_) => {
            let _ = problem.print();
        }
        // What looks like a secret was given where none belongs: it is not repeated (G8).
        Cow::Owned(clean) => errln!("{}", paint::harmless_lines(clean.trim_end())),
    }
    ExitCode::from(if help { exit::DONE } else { exit::USAGE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_recognised_before_the_command_line_is() {
        let wants = |text: &str| wants_json(text.split(' ').map(OsString::from));
        assert!(wants("eparch --format json nonsense") && wants("eparch x --format=json"));
        assert!(!wants("eparch --format text json") && !wants("eparch -- --format json"));
    }
}
