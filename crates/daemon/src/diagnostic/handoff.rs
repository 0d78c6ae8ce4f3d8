//! What an agent is given that looks at a run: what the ledger says of that run's agents, and the last lines they printed. It is
//! bounded, it holds nothing that was not redacted when it was captured, and whatever was left out is said to be.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use eparch_domain::redact::redact;
use eparch_domain::{Action, AgentId, Name, Severity, Tier, Timestamp, ViolationType, in_full, limits};
use eparch_governor::{Effect, Fact, Record, SpawnedBy};
use eparch_ledger::Ledger;
use eparch_policy::Decision;
use serde::{Deserialize, Serialize};

use crate::agents::capture::LogLine;
use crate::perform::log_name;

/// The format of [`Handoff`].
pub const HANDOFF_FORMAT: u32 = 1;

/// Everything that is handed over about a run, as `handoff.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handoff {
    /// [`HANDOFF_FORMAT`] of the writer.
    pub v: u32,
    /// The run, the agent of it that lost its authority, and why.
    #[serde(flatten)]
    pub parent: SpawnedBy,
    /// The entries of the ledger that were read.
    pub entries: Entries,
    /// The agents of the run that are heard of there, in the order they began.
    pub agents: Vec<Attempt>,
    /// Errors they reported.
    pub errors: Vec<Told<Error>>,
    /// Rules they broke.
    pub violations: Vec<Told<Violation>>,
    /// What they asked for and may not do.
    pub denied: Vec<Told<Denied>>,
    /// What else was found of them, in words.
    pub findings: Vec<Told<String>>,
    /// The last lines that were captured of them, the run's in the order of its agents.
    pub lines: Vec<Line>,
    /// How much was left out because there was too much, by what it is of.
    pub left_out: BTreeMap<String, u64>,
}

/// A part of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// The first entry.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// One attempt at a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its agent.
    pub agent: AgentId,
    /// The stage.
    pub stage: Name,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The tier it worked at.
    pub tier: Tier,
    /// What its program was.
    pub command: Vec<String>,
}

/// Something of an agent that stands in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told<T> {
    /// The entry.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Of which agent.
    pub agent: AgentId,
    /// What.
    pub what: T,
}

/// An error of an agent's own doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// Its code.
    pub code: String,
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub violation: ViolationType,
    /// How bad.
    pub severity: Severity,
    /// What exactly.
    pub detail: String,
}

/// Something that was asked for and is not allowed, or not yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Denied {
    /// What was to be done.
    pub action: Action,
    /// To what.
    pub target: String,
    /// `deny`, or `ask` where people were to be asked.
    pub decision: Decision,
    /// Why, as a code that stays the same.
    pub reason_code: String,
    /// The policies that decided; none where none permits it.
    pub policies: Vec<String>,
    /// What would unlock it, where the policy says so.
    pub unlock: Option<String>,
}

/// A captured line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Whose.
    pub agent: AgentId,
    /// The line.
    #[serde(flatten)]
    pub line: LogLine,
}

/// Puts together what is known of a run up to entry `to`.
///
/// # Errors
///
/// The ledger cannot be read, in words. A log that cannot be read is a log without lines.
pub(crate) fn gather(
    ledger: &Ledger,
    tenant: &Name,
    logs: &Path,
    parent: &SpawnedBy,
    to: u64,
) -> Result<Handoff, String> {
    let from = to.saturating_sub(limits::HANDOFF_ENTRIES).max(1);
    let mut gathering = Gathering::new(parent, Entries { from, to });
    let mut next = from;
    while next <= to {
        let page = ledger.read().page(tenant, next, PAGE.min(to - next + 1));
        let page = page.map_err(|problem| format!("the ledger cannot be read: {}", in_full(&problem)))?;
        let Some(last) = page.last() else { break };
        next = last.seq + 1;
        for entry in page {
            // An entry of another version's is not understood; the others are.
            if let Ok(record) = Record::from_bytes(&entry.body) {
                gathering.take(entry.seq, &record);
            }
        }
    }
    Ok(gathering.finish(&logs.join(parent.run.to_string())))
}

/// Entries read at once: the ledger's reader is held for no longer.
const PAGE: u64 = 256;

/// The last so many of something, and how many came before them.
struct Last<T> {
    kept: VecDeque<T>,
    left_out: u64,
}

impl<T> Last<T> {
    fn new() -> Last<T> {
        Last { kept: VecDeque::new(), left_out: 0 }
    }

    fn push(&mut self, one: T) {
        self.kept.push_back(one);
        if self.kept.len() > limits::HANDOFF_ITEMS {
            self.kept.pop_front();
            self.left_out += 1;
        }
    }

    fn into_list(self, of: &str, left_out: &mut BTreeMap<String, u64>) -> Vec<T> {
        if self.left_out > 0 {
            left_out.insert(of.to_owned(), self.left_out);
        }
        self.kept.into()
    }
}

struct Gathering {
    parent: SpawnedBy,
    entries: Entries,
    agents: BTreeMap<AgentId, Attempt>,
    order: Last<AgentId>,
    errors: Last<Told<Error>>,
    violations: Last<Told<Violation>>,
    denied: Last<Told<Denied>>,
    findings: Last<Told<String>>,
}

impl Gathering {
    fn new(parent: &SpawnedBy, entries: Entries) -> Gathering {
        Gathering {
            parent: parent.clone(),
            entries,
            agents: BTreeMap::new(),
            order: Last::new(),
            errors: Last::new(),
            violations: Last::new(),
            denied: Last::new(),
            findings: Last::new(),
        }
    }

    fn take(&mut self, seq: u64, record: &Record) {
        for effect in &record.decision.effects {
            if let Effect::Prepare(spec) = effect
                && spec.run == self.parent.run
            {
                let command = spec.command.iter().take(SHOWN_WORDS).map(|word| short(word)).collect();
                let (stage, attempt, tier) = (spec.name.clone(), spec.attempt, spec.tier);
                let known = Attempt { agent: spec.agent, stage, attempt, tier, command };
                self.order.push(spec.agent);
                self.agents.insert(spec.agent, known);
            }
        }
        for fact in &record.decision.facts {
            self.fact(seq, record.at.wall, fact);
        }
    }

    /// Whether an agent is of the run: the one that lost its authority is, also where its beginning is too long ago.
    fn is_of_run(&self, agent: AgentId) -> bool {
        agent == self.parent.agent || self.agents.contains_key(&agent)
    }

    fn fact(&mut self, seq: u64, at: Timestamp, fact: &Fact) {
        match fact {
            Fact::ErrorCounted { agent, code } if self.is_of_run(*agent) => {
                let what = Error { code: code.clone() };
                self.errors.push(Told { seq, at, agent: *agent, what });
            }
            Fact::ViolationFound { agent, violation, detail } if self.is_of_run(*agent) => {
                let what = Violation {
                    violation: *violation,
                    severity: violation.severity(),
                    detail: short(detail),
                };
                self.violations.push(Told { seq, at, agent: *agent, what });
            }
            Fact::ActionDecided(ruled)
                if self.is_of_run(ruled.agent)
                    && matches!(ruled.verdict.decision, Decision::Deny | Decision::Ask) =>
            {
                let verdict = &ruled.verdict;
                let what = Denied {
                    action: ruled.action,
                    target: short(&ruled.target),
                    decision: verdict.decision,
                    reason_code: verdict.reason.to_string(),
                    policies: verdict.policies.iter().map(ToString::to_string).collect(),
                    unlock: verdict.unlock.clone(),
                };
                self.denied.push(Told { seq, at, agent: ruled.agent, what });
            }
            _ => {
                if let Some((agent, what)) = finding(fact).filter(|(agent, _)| self.is_of_run(*agent)) {
                    self.findings.push(Told { seq, at, agent, what });
                }
            }
        }
    }

    fn finish(self, logs: &Path) -> Handoff {
        let mut left_out = BTreeMap::new();
        let order = self.order.into_list("agents", &mut left_out);
        let agents: Vec<Attempt> = order.iter().filter_map(|agent| self.agents.get(agent).cloned()).collect();
        let mut lines = Vec::new();
        // The one that lost its authority goes first: what is left of the room is the others'.
        let first = agents.iter().filter(|attempt| attempt.agent == self.parent.agent);
        let others = agents.iter().rev().filter(|attempt| attempt.agent != self.parent.agent);
        for attempt in first.chain(others) {
            let room = limits::HANDOFF_LINES.saturating_sub(lines.len());
            let log = logs.join(log_name(&attempt.stage, attempt.attempt));
            let (found, before) = last_lines(&log, room).unwrap_or_default();
            lines.extend(found.into_iter().map(|line| Line { agent: attempt.agent, line }));
            if before {
                *left_out.entry("logs".to_owned()).or_default() += 1;
            }
        }
        Handoff {
            v: HANDOFF_FORMAT,
            parent: self.parent,
            entries: self.entries,
            agents,
            errors: self.errors.into_list("errors", &mut left_out),
            violations: self.violations.into_list("violations", &mut left_out),
            denied: self.denied.into_list("denied", &mut left_out),
            findings: self.findings.into_list("findings", &mut left_out),
            lines,
            left_out,
        }
    }
}

/// Words of a command that are handed over.
const SHOWN_WORDS: usize = 16;

/// What else may say why something failed.
fn finding(fact: &Fact) -> Option<(AgentId, String)> {
    let told = match fact {
        Fact::AgentEnding { agent, end, .. } | Fact::AttemptEnded { agent, end } => (*agent, end.reason()),
        Fact::AttemptSpoiled { agent, end } => (*agent, format!("it went wrong: {}", end.reason())),
        Fact::AttemptCutOff { agent } => (*agent, "it was cut off with its holder".to_owned()),
        Fact::PermitRefused { agent, permit, reason } => {
            (*agent, format!("it showed {permit}, which is no good: {reason}"))
        }
        Fact::PerformanceEnded { agent, end, .. } if !end.is_ok() => {
            (*agent, format!("what was performed for it ended: {end}"))
        }
        Fact::ActionEnded { agent, ok: false, detail, .. } => {
            (*agent, format!("what it did failed: {detail}"))
        }
        Fact::PlanClarified { agent, clarified, .. } => {
            (*agent, format!("its plan was issued again: {}", clarified.reason))
        }
        Fact::OutputDropped { agent, outputs, artifacts } => {
            (*agent, format!("{outputs} outputs and {artifacts} files of it were too many"))
        }
        Fact::HeartbeatsMissed { agent, .. } => (*agent, "it missed three heartbeats".to_owned()),
        Fact::CallsLimited { agent } => (*agent, "it called too often, and was kept from calling".to_owned()),
        _ => return None,
    };
    Some((told.0, short(&told.1)))
}

/// The beginning of a text.
fn short(text: &str) -> String {
    text[..text.floor_char_boundary(limits::HANDOFF_TEXT_BYTES)].to_owned()
}

/// The last lines of a log, `room` at most, and whether there are others before them.
fn last_lines(log: &Path, room: usize) -> io::Result<(Vec<LogLine>, bool)> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(limits::HANDOFF_LOG_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let (mut kept, mut left_out) = (VecDeque::new(), from > 0);
    // Where reading begins within a line, that is none.
    for bytes in BufReader::new(file).split(b'\n').skip(usize::from(from > 0)) {
        let Ok(mut line) = serde_json::from_slice::<LogLine>(&bytes?) else { continue };
        line.line = short(&redact(&line.line, &[]));
        kept.push_back(line);
        if kept.len() > room {
            kept.pop_front();
            left_out = true;
        }
    }
    Ok((kept.into(), left_out))
}

#[cfg(test)]
mod tests {
    use eparch_domain::{Digest, RunId};
    use eparch_governor::{AttemptEnd, Decision as Decided, Event, RECORD_FORMAT};

    use super::*;

    fn record(facts: Vec<Fact>) -> Record {
        Record {
            v: RECORD_FORMAT,
            engine: "test".to_owned(),
            epoch: 1,
            at: eparch_domain::Moment::default(),
            policy: None::<Digest>,
            event: Event::ClockTurned,
            decision: Decided { facts, ..Decided::default() },
        }
    }

    #[test]
    fn r089_what_is_handed_over_is_of_that_run_and_bounded_and_says_what_it_left_out() {
        let (run, agent, other) = (RunId::from_bits(1), AgentId::from_bits(1), AgentId::from_bits(2));
        let parent = SpawnedBy { run, agent, reason: "too many errors".to_owned() };
        let mut gathering = Gathering::new(&parent, Entries { from: 1, to: 9 });
        for seq in 0..u64::try_from(limits::HANDOFF_ITEMS).unwrap() + 3 {
            let error = |agent| Fact::ErrorCounted { agent, code: format!("E{seq}") };
            gathering.take(seq, &record(vec![error(agent), error(other)]));
        }
        let end = AttemptEnd::Revoked { reason: "x".repeat(limits::HANDOFF_TEXT_BYTES * 2) };
        gathering.take(99, &record(vec![Fact::AgentEnding { agent, end, to_prove: false }]));
        let folder = tempfile::tempdir().unwrap();
        let handoff = gathering.finish(folder.path());
        assert_eq!(handoff.errors.len(), limits::HANDOFF_ITEMS);
        assert!(handoff.errors.iter().all(|error| error.agent == agent));
        assert_eq!(handoff.errors[0].what.code, "E3");
        assert_eq!(handoff.left_out, [("errors".to_owned(), 3)].into());
        assert_eq!(handoff.findings[0].what.len(), limits::HANDOFF_TEXT_BYTES);
        let text = serde_json::to_string(&handoff).unwrap();
        assert_eq!(serde_json::from_str::<Handoff>(&text).unwrap(), handoff);
    }

    #[test]
    fn g8_the_last_lines_of_a_log_are_handed_over_redacted() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("a.1.jsonl");
        let line = |text: &str| {
            let ts = Timestamp::default();
            serde_json::to_string(&LogLine { ts, stream: "stderr".to_owned(), line: text.to_owned() })
                .unwrap()
        };
        let key = format!("AKIA{}", "ABCDEFGHIJKLMNOP");
        let text =
            format!("{}\n{}\nnot json\n{}\n", line("first"), line(&format!("key {key}")), line("last"));
        std::fs::write(&log, text).unwrap();
        let (lines, left_out) = last_lines(&log, 2).unwrap();
        let lines: Vec<&str> = lines.iter().map(|line| line.line.as_str()).collect();
        assert_eq!((lines[1], left_out), ("last", true));
        assert!(lines[0].starts_with("key ") && !lines[0].contains(&key), "{lines:?}");
        assert!(last_lines(&folder.path().join("none"), 2).is_err());
    }
}
