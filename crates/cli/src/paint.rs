//! Colour and glyphs for people; plain text for everybody else.

use std::io::{IsTerminal as _, stderr, stdout};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use eparch_domain::{RunStatus, StageStatus};
pub(crate) use eparch_domain::{harmless, written_out};

use crate::args::Color;

/// How one output is written to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    colour: bool,
}

static WHEN: OnceLock<Color> = OnceLock::new();

/// Settles when colour is used; the first word counts.
pub(crate) fn settle(when: Color) {
    let _ = WHEN.set(when);
}

/// Of standard output.
pub(crate) fn out() -> Paint {
    Paint { colour: wanted(stdout().is_terminal()) }
}

/// Of standard error.
pub(crate) fn err() -> Paint {
    Paint { colour: wanted(stderr().is_terminal()) }
}

fn wanted(terminal: bool) -> bool {
    match WHEN.get().copied().unwrap_or(Color::Auto) {
        Color::Always => true,
        Color::Never => false,
        // NO_COLOR: any value that is not empty (no-color.org). A dumb terminal prints escapes as they are.
        Color::Auto => {
            let set = |key: &str| std::env::var_os(key).is_some_and(|value| !value.is_empty());
            terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

impl Paint {
    /// Whether colour is used.
    pub(crate) fn is_coloured(self) -> bool {
        self.colour
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    pub(crate) fn busy(self, text: &str) -> String {
        self.with(AnsiColor::Cyan.on_default(), text)
    }

    /// A text in the colour of a stage's status.
    pub(crate) fn stage(self, status: StageStatus, text: &str) -> String {
        match status {
            StageStatus::Completed => self.good(text),
            StageStatus::Failed | StageStatus::TimedOut => self.bad(text),
            StageStatus::AwaitingApproval => self.warn(text),
            StageStatus::Running => self.busy(text),
            StageStatus::Pending | StageStatus::Ready | StageStatus::Skipped | StageStatus::Cancelled => {
                self.faint(text)
            }
        }
    }

    /// A text in the colour of a run's status.
    pub(crate) fn run(self, status: RunStatus, text: &str) -> String {
        match status {
            RunStatus::Completed => self.good(text),
            RunStatus::Stopped | RunStatus::Aborted => self.warn(text),
            ended if ended.is_terminal() => self.bad(text),
            _ => self.busy(text),
        }
    }
}

/// One frame after another while something works.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// A stage's sign; `frame` turns the one of a working stage.
pub(crate) fn glyph(status: StageStatus, frame: usize) -> &'static str {
    match status {
        StageStatus::Pending => "·",
        StageStatus::Ready => "○",
        StageStatus::Running => SPINNER[frame % SPINNER.len()],
        StageStatus::AwaitingApproval => "◆",
        StageStatus::Completed => "✔",
        StageStatus::Failed => "✘",
        StageStatus::TimedOut => "⧖",
        StageStatus::Skipped => "↷",
        StageStatus::Cancelled => "⊘",
    }
}

/// [`harmless()`], line by line.
pub(crate) fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_text_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\tc\r\u{202e}d\u{9b}e"), "a\u{fffd}[2Jb c\u{fffd}\u{fffd}d\u{fffd}e");
        assert_eq!(harmless("a\u{2028}b\u{61c}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(harmless("größe 日本"), "größe 日本");
    }
}
