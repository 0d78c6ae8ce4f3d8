//! A plan as text for people.

use std::fmt::{self, Display, Write};

use eparch_domain::Span;

use super::{AgentStep, Does, GateStep, Lane, Plan, Step};
use crate::model::{GateType, OnFailure, OnTimeout, Runtime, SandboxMode};

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} · {} · up to {}", self.pipeline, self.version, self.profile, self.tier)?;
        writeln!(f, "plan {}", self.plan_id)?;
        writeln!(f, "at most {} of {} allowed", Rounded(self.worst_case), Rounded(self.timeout))?;
        for (name, value) in &self.inputs {
            writeln!(f, "input {name} = {value}")?;
        }
        waves(f, &self.waves, 0)?;
        for finding in &self.findings {
            let kind = if finding.refused { "refused" } else { "note" };
            let code = finding.code.map(|code| format!("[{code}]")).unwrap_or_default();
            writeln!(f, "{kind}{code}: {}: {}", finding.stage, finding.message)?;
        }
        Ok(())
    }
}

/// A duration in two units at most.
struct Rounded(Span);

impl Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes) = (self.0.millis() / 3_600_000, self.0.millis() / 60_000 % 60);
        match (hours, minutes) {
            (0, _) => write!(f, "{}", self.0),
            (hours, 0) => write!(f, "{hours}h"),
            (hours, minutes) => write!(f, "{hours}h {minutes}m"),
        }
    }
}

fn waves(f: &mut fmt::Formatter<'_>, waves: &[Vec<Step>], depth: usize) -> fmt::Result {
    for (at, wave) in waves.iter().enumerate() {
        for step in wave {
            self::step(f, at + 1, step, depth)?;
        }
    }
    Ok(())
}

fn step(f: &mut fmt::Formatter<'_>, wave: usize, step: &Step, depth: usize) -> fmt::Result {
    let indent = "    ".repeat(depth);
    write!(f, "{indent}{wave}. {} ({})", step.name, step.kind)?;
    if !step.requires.is_empty() {
        let names: Vec<&str> = step.requires.iter().map(eparch_domain::Name::as_str).collect();
        write!(f, " after {}", names.join(", "))?;
    }
    writeln!(f)?;
    let inner = format!("{indent}   ");
    match &step.does {
        Does::Agent(agent) => self::agent(f, &inner, agent),
        Does::Gate(gate) => self::gate(f, &inner, gate),
        Does::Parallel { max_concurrency, on_failure, branches } => {
            let at_once = max_concurrency.map_or("all".to_owned(), |places| places.to_string());
            let failure = match on_failure {
                OnFailure::FailFast => "the first failure cancels the others",
                OnFailure::WaitAll => "every branch is waited for",
            };
            writeln!(f, "{inner}{at_once} at once; {failure}")?;
            lanes(f, &inner, branches, depth)
        }
        Does::Condition { condition, branches } => {
            writeln!(f, "{inner}if {condition}")?;
            lanes(f, &inner, branches, depth)
        }
    }
}

fn lanes(f: &mut fmt::Formatter<'_>, inner: &str, branches: &[Lane], depth: usize) -> fmt::Result {
    for lane in branches.iter().filter(|lane| !lane.waves.is_empty()) {
        writeln!(f, "{inner}{}:", lane.name)?;
        waves(f, &lane.waves, depth + 1)?;
    }
    Ok(())
}

fn agent(f: &mut fmt::Formatter<'_>, inner: &str, agent: &AgentStep) -> fmt::Result {
    let runtime = match agent.runtime {
        Runtime::Process => "process",
        Runtime::Planner => "planner",
        Runtime::Council => "council",
    };
    let from = if agent.template.is_empty() { String::new() } else { format!(" from {}", agent.template) };
    let attempts =
        if agent.attempts > 1 { format!(" in {} attempts", agent.attempts) } else { String::new() };
    writeln!(f, "{inner}{} {runtime}{from}, at most {}{attempts}", agent.tier, Rounded(agent.timeout))?;
    if let Some(objective) = &agent.objective {
        writeln!(f, "{inner}objective: {}", one_line(objective))?;
    }
    if !agent.command.is_empty() {
        let words: Vec<String> = agent.command.iter().map(|word| quoted(word)).collect();
        writeln!(f, "{inner}command: {}", one_line(&words.join(" ")))?;
    }
    let grants = [
        ("reads", &agent.read),
        ("writes", &agent.write),
        ("tools", &agent.tools),
        ("reaches", &agent.egress),
        ("secrets", &agent.secrets),
        ("leaves", &agent.artifacts),
    ];
    for (what, list) in grants.iter().filter(|(_, list)| !list.is_empty()) {
        writeln!(f, "{inner}{what}: {}", list.join(", "))?;
    }
    if agent.sandbox == SandboxMode::BestEffort {
        writeln!(f, "{inner}may run without full confinement")?;
    }
    Ok(())
}

fn gate(f: &mut fmt::Formatter<'_>, inner: &str, gate: &GateStep) -> fmt::Result {
    let then = match gate.on_timeout {
        OnTimeout::Fail => "fails",
        OnTimeout::Skip => "is skipped",
    };
    match gate.gate_type {
        GateType::Approval => {
            let names: Vec<&str> = gate.approvers.iter().map(eparch_domain::Name::as_str).collect();
            write!(f, "{inner}waits for {} of {}", gate.quorum, names.join(", "))?;
        }
        GateType::Consensus => {
            write!(
                f,
                "{inner}waits for the consensus of {}",
                gate.of.as_ref().map_or("?", |of| of.as_str())
            )?;
        }
    }
    writeln!(f, "; {then} after {}", Rounded(gate.timeout))
}

/// Cut to what fits on a screen's line; control characters would let a plan paint over itself.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for letter in text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.chars().count() == 160 {
            let _ = line.write_char('…');
            break;
        }
        line.push(letter);
    }
    line
}

/// A word as a shell would want it, so that a reader sees where each begins and ends.
fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./=:@,+%".contains(c));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
