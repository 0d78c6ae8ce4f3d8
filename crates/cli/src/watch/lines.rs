//! A run in lines, for pipes and logs: one line for each thing that happens.

use eparch_domain::{GateId, StageStatus, Timestamp};
use eparch_governor::{GateDecision, GateOutcome};

use super::gate;
use super::model::{Model, News};
use crate::output::errln;
use crate::paint;
use crate::when;

/// Says one thing on standard error.
pub(crate) fn say(model: &Model, news: &News, ts: Timestamp, verbose: bool) {
    for line in lines(model, news, verbose) {
        match news {
            News::Log { .. } => errln!("{line}"),
            _ => errln!("{} {line}", paint::err().faint(&when::clock(ts))),
        }
    }
}

fn lines(model: &Model, news: &News, verbose: bool) -> Vec<String> {
    let paint = paint::err();
    let name = |at: &usize| model.stages[*at].name.as_str();
    match news {
        News::None | News::Known => Vec::new(),
        News::Run { status, reason } => {
            vec![with_reason(&format!("run {}: {}", model.run, paint.run(*status, status.as_str())), reason)]
        }
        News::Ending { status, reason } => {
            vec![with_reason(&format!("run {}: ending, {status}", model.run), reason)]
        }
        News::Stage { at } => {
            let stage = &model.stages[*at];
            // READY is only a moment for most; a watcher reads what has begun and what has ended.
            if stage.status == StageStatus::Ready && !verbose {
                return Vec::new();
            }
            vec![with_reason(
                &format!("{}: {}", stage.name, paint.stage(stage.status, stage.status.as_str())),
                &stage.reason,
            )]
        }
        News::LockWaiting { at } => vec![format!("{}: {}", name(at), model.stages[*at].reason)],
        News::Attempt { at } if model.stages[*at].attempts > 1 || verbose => {
            vec![format!("{}: attempt {}", name(at), model.stages[*at].attempts)]
        }
        News::Attempt { .. } => Vec::new(),
        News::Phase { at, phase } if verbose => vec![format!("{}: {phase}", name(at))],
        News::Phase { .. } => Vec::new(),
        News::Retry { at } => vec![format!("{}: will be tried again", name(at))],
        News::Log { at, performed, line } => {
            vec![format!("{} {} {line}", speaker(name(at), *performed), paint.faint("|"))]
        }
        News::GateOpened { gate } => opened(model, *gate),
        News::Vote { at, by, decision, rationale } => {
            vec![with_reason(&format!("{}: {}", name(at), vote(by.as_str(), *decision)), rationale)]
        }
        News::GateClosed { at, outcome, .. } => vec![format!("{}: {}", name(at), closed(*outcome))],
        News::Watched { at, said } => vec![format!("{}: {said}", name(at))],
        News::Silent { at } => vec![format!("{}: {}", name(at), model.stages[*at].reason)],
        News::Violation { at, kind, detail } => {
            vec![format!("{}: {} {kind}: {detail}", name(at), paint.bad("violation"))]
        }
    }
}

/// Who a captured line is of, where several stages speak: no stage has a name of two words.
pub(crate) fn speaker(stage: &str, performed: bool) -> String {
    if performed { format!("{stage} performed") } else { stage.to_owned() }
}

fn opened(model: &Model, gate: GateId) -> Vec<String> {
    let Some(open) = model.gates.get(&gate) else { return Vec::new() };
    let name = &model.stages[open.stage].name;
    let mut lines = vec![format!("{name}: {}", gate::asks(open))];
    lines.extend(gate::commands(gate, open).into_iter().map(|command| format!("{name}:   {command}")));
    lines
}

fn vote(by: &str, decision: GateDecision) -> String {
    match decision {
        GateDecision::Approve => format!("approved by {by}"),
        GateDecision::Deny => format!("denied by {by}"),
    }
}

fn closed(outcome: GateOutcome) -> &'static str {
    match outcome {
        GateOutcome::Approved => "the gate is open",
        GateOutcome::Denied => "the gate stays shut",
        GateOutcome::TimedOut => "nobody answered in time",
        GateOutcome::Cancelled => "the question is withdrawn",
    }
}

fn with_reason(text: &str, reason: &str) -> String {
    if reason.is_empty() { text.to_owned() } else { format!("{text} {}", paint::harmless(reason)) }
}
