//! A run as a live tree on a terminal: each stage with its sign, its time and what it said last. Drawn on standard error,
//! over itself.

use std::io::{Write as _, stderr};

use eparch_domain::{StageKind, StageStatus};
use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthChar as _;

use super::gate;
use super::model::{Model, Stage};
use crate::paint::{self, Paint};
use crate::when;

/// Where a terminal does not say how large it is.
const USUAL: (usize, usize) = (80, 24);

/// Below this a tree says less than lines do.
const LEAST: (usize, usize) = (30, 6);

/// Names longer than this do not move the columns of all others.
const NAME_WIDTH: usize = 32;

/// The tree as it stands on the terminal.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Lines on the terminal that the next drawing replaces.
    drawn: usize,
    frame: usize,
}

impl Tree {
    /// Draws the run as it is now.
    pub(crate) fn draw(&mut self, model: &Model) {
        let (columns, rows) = size();
        self.frame += 1;
        let lines = fit(render(model, self.frame), rows.saturating_sub(1));
        let mut text = self.erasure();
        for line in &lines {
            text.push_str(&line.cut(columns.saturating_sub(1)));
            text.push('\n');
        }
        self.drawn = lines.len();
        write(&text);
    }

    /// Takes the tree off the terminal.
    pub(crate) fn erase(&mut self) {
        let text = self.erasure();
        self.drawn = 0;
        write(&text);
    }

    /// Back to where the drawing began, and everything below it gone.
    fn erasure(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\r\x1b[{}A\x1b[J", self.drawn) }
    }
}

fn write(text: &str) {
    // A terminal that is gone has nobody to tell.
    let _ = stderr().write_all(text.as_bytes());
    let _ = stderr().flush();
}

/// Whether the terminal is large enough for a tree; lines do better on a smaller one.
pub(crate) fn has_room() -> bool {
    let (columns, rows) = size();
    columns >= LEAST.0 && rows >= LEAST.1
}

fn size() -> (usize, usize) {
    match tcgetwinsize(stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL,
    }
}

/// A line in pieces: texts, and how each is coloured. Widths are those of the texts.
#[derive(Debug, Clone, Default)]
struct Line {
    pieces: Vec<(String, Ink)>,
    /// How willingly it gives way when the terminal is too small; 0 never does.
    dispensable: u8,
}

#[derive(Debug, Clone, Copy)]
enum Ink {
    Plain,
    Bold,
    Faint,
    Bad,
    Status(StageStatus),
}

impl Line {
    fn add(&mut self, text: impl Into<String>, ink: Ink) -> &mut Line {
        self.pieces.push((text.into(), ink));
        self
    }

    /// The line in colour, cut to a width so that the terminal does not break it.
    fn cut(&self, width: usize) -> String {
        let paint = paint::err();
        let mut left = width;
        let mut out = String::new();
        for (text, ink) in &self.pieces {
            let mut part = String::new();
            for c in text.chars() {
                let wide = c.width().unwrap_or(0);
                if wide > left {
                    left = 0;
                    break;
                }
                left -= wide;
                part.push(c);
            }
            out.push_str(&ink.apply(paint, &part));
            if left == 0 {
                break;
            }
        }
        out
    }
}

impl Ink {
    fn apply(self, paint: Paint, text: &str) -> String {
        match self {
            Ink::Plain => text.to_owned(),
            Ink::Bold => paint.bold(text),
            Ink::Faint => paint.faint(text),
            Ink::Bad => paint.bad(text),
            Ink::Status(status) => paint.stage(status, text),
        }
    }
}

/// Leaves lines out until the rest fits: first what waits, then what has ended well, and says how many.
fn fit(lines: Vec<Line>, rows: usize) -> Vec<Line> {
    if lines.len() <= rows {
        return lines;
    }
    let mut excess = lines.len() - rows + 1;
    let mut left_out = vec![false; lines.len()];
    for level in (1..=u8::MAX).rev() {
        for (at, line) in lines.iter().enumerate() {
            if excess > 0 && line.dispensable == level {
                left_out[at] = true;
                excess -= 1;
            }
        }
    }
    let all = lines.len();
    let mut kept: Vec<Line> =
        lines.into_iter().zip(left_out).filter(|(_, out)| !out).map(|(line, _)| line).collect();
    // Where nothing gives way, what stands last is left out.
    kept.truncate(rows.saturating_sub(1));
    let count = all - kept.len();
    let mut note = Line::default();
    note.add(format!("  … and {count} more"), Ink::Faint);
    kept.push(note);
    kept
}

fn render(model: &Model, frame: usize) -> Vec<Line> {
    let now = when::now();
    let mut head = Line::default();
    head.add(model.name.to_string(), Ink::Bold)
        .add(format!("  {}  {}  ", model.run, model.tier), Ink::Faint)
        .add(format!("{}/{} stages  ", model.stages_ended(), model.stages.len()), Ink::Plain)
        .add(when::length(when::between(model.started_at, now)), Ink::Plain);
    if model.otherwise > 0 {
        head.add(format!("  watched policies would change {}", model.otherwise), Ink::Faint);
    }
    let mut lines = vec![head];
    let widest = model
        .stages
        .iter()
        .map(|stage| 2 * stage.depth + stage.label().chars().count())
        .max()
        .unwrap_or(0)
        .min(NAME_WIDTH);
    for (at, stage) in model.stages.iter().enumerate() {
        let gate = model.gates.iter().find(|(_, open)| open.stage == at);
        let asks = gate.map(|(_, open)| gate::asks(open)).unwrap_or_default();
        lines.push(stage_line(stage, &asks, widest, frame, now));
        let commands = gate.map(|(gate, open)| gate::commands(*gate, open)).unwrap_or_default();
        for command in commands {
            let mut line = Line::default();
            line.add(format!("{}    {command}", "  ".repeat(stage.depth)), Ink::Faint);
            lines.push(line);
        }
    }
    lines
}

fn stage_line(stage: &Stage, asks: &str, widest: usize, frame: usize, now: eparch_domain::Timestamp) -> Line {
    let status = stage.status;
    let mut line = Line { dispensable: dispensable(stage), ..Line::default() };
    let indent = "  ".repeat(stage.depth);
    let name = format!(
        "{indent}{} {:<width$}",
        paint::glyph(status, frame),
        stage.label(),
        width = widest.saturating_sub(indent.len())
    );
    line.add(
        name,
        if status.is_terminal() || status == StageStatus::Pending { Ink::Status(status) } else { Ink::Bold },
    );
    let tier = match (stage.kind, stage.tier) {
        (StageKind::Agent, Some(tier)) => tier.to_string(),
        (kind, _) => kind.as_str().chars().take(8).collect(),
    };
    line.add(format!("  {tier:<9}"), Ink::Faint);
    let took = stage.took(now).map(when::length).unwrap_or_default();
    line.add(format!("{took:>6}  "), Ink::Plain);
    if stage.attempts > 1 {
        line.add(format!("attempt {}  ", stage.attempts), Ink::Plain);
    }
    match status {
        // It goes on meanwhile, but what it needs is somebody.
        StageStatus::Running if !asks.is_empty() => {
            line.add(asks, Ink::Status(StageStatus::AwaitingApproval));
        }
        StageStatus::Running if stage.kind == StageKind::Agent => {
            if let Some(phase) = stage.phase {
                line.add(format!("{phase}  "), Ink::Status(status));
            }
            if !stage.reason.is_empty() {
                line.add(format!("{}  ", paint::harmless(&stage.reason)), Ink::Bad);
            }
            if let Some(last) = stage.last_lines.back() {
                line.add(last.clone(), Ink::Faint);
            }
        }
        StageStatus::Failed | StageStatus::TimedOut => {
            line.add(paint::harmless(&stage.reason), Ink::Bad);
        }
        StageStatus::AwaitingApproval => {
            line.add(asks, Ink::Status(status));
        }
        _ => {
            line.add(paint::harmless(&stage.reason), Ink::Faint);
        }
    }
    line
}

fn dispensable(stage: &Stage) -> u8 {
    match stage.status {
        StageStatus::Pending => 4,
        StageStatus::Skipped | StageStatus::Cancelled => 3,
        StageStatus::Completed => 2,
        StageStatus::Ready => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, dispensable: u8) -> Line {
        let mut line = Line { dispensable, ..Line::default() };
        line.add(text, Ink::Plain);
        line
    }

    fn texts(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| line.cut(80)).collect()
    }

    #[test]
    fn what_has_ended_gives_way_to_what_works() {
        let all = vec![
            line("head", 0),
            line("done", 2),
            line("works", 0),
            line("later", 4),
            line("later still", 4),
        ];
        assert_eq!(fit(all.clone(), 5).len(), 5);
        assert_eq!(texts(&fit(all.clone(), 4)), ["head", "done", "works", "  … and 2 more"]);
        assert_eq!(texts(&fit(all, 3)), ["head", "works", "  … and 3 more"]);
        let busy = vec![line("head", 0), line("one", 0), line("two", 0), line("three", 0)];
        assert_eq!(texts(&fit(busy.clone(), 3)), ["head", "one", "  … and 2 more"]);
        assert_eq!(texts(&fit(busy, 1)), ["  … and 4 more"]);
    }

    #[test]
    fn lines_are_cut_by_what_they_take_up() {
        assert_eq!(line("日本語", 0).cut(5), "日本");
        assert_eq!(line("abc", 0).cut(2), "ab");
    }
}
