//! A plan as text for people, who decide by it: every word of a file stands on its own line and cannot leave it.

use std::fmt::{self, Display};

use eparch_domain::{Name, Span, harmless, limits};

use super::{AgentStep, Does, GateStep, Lane, Plan, Step};
use crate::model::{Budget, GateType, OnFailure, OnInterrupt, OnTimeout, Runtime, SandboxMode};

/// The longest objective, in letters: it says what is wanted, not what is done.
const SHOWN_OBJECTIVE: usize = 160;
/// The longest line of what would be done or granted, in letters; how many follow is told.
const SHOWN_LINE: usize = 1_000;

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut page = Page { f };
        let (name, version) = (self.pipeline.as_str(), word(&self.version));
        page.line("", &format!("{name} {version} · {} · up to {}", self.profile, self.tier))?;
        page.line("", &format!("plan {}", self.plan_id))?;
        let (worst, most) = (Rounded(self.worst_case), Rounded(self.timeout));
        page.line("", &format!("at most {worst} of {most} allowed{}", spends(&self.budget)))?;
        for (name, value) in &self.inputs {
            page.line("", &format!("input {name} = {value}"))?;
        }
        for (name, value) in &self.env {
            page.line("", &format!("environment {name} = {}", serde_json::Value::from(value.as_str())))?;
        }
        page.waves(&self.waves, 0)?;
        for finding in &self.findings {
            let kind = if finding.refused { "refused" } else { "note" };
            let code = finding.code.map(|code| format!("[{code}]")).unwrap_or_default();
            page.line("", &format!("{kind}{code}: {}: {}", finding.stage, finding.message))?;
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

struct Page<'p, 'f> {
    f: &'p mut fmt::Formatter<'f>,
}

impl Page<'_, '_> {
    /// The only way onto the page: whatever a text holds, it is one line of it.
    fn line(&mut self, indent: &str, text: &str) -> fmt::Result {
        writeln!(self.f, "{indent}{}", harmless(&cut(text, SHOWN_LINE)))
    }

    fn waves(&mut self, waves: &[Vec<Step>], depth: usize) -> fmt::Result {
        let steps =
            waves.iter().enumerate().flat_map(|(at, wave)| wave.iter().map(move |step| (at + 1, step)));
        for (wave, step) in steps {
            self.step(wave, step, depth)?;
        }
        Ok(())
    }

    fn step(&mut self, wave: usize, step: &Step, depth: usize) -> fmt::Result {
        let indent = "    ".repeat(depth);
        let after = if step.requires.is_empty() {
            String::new()
        } else {
            format!(" after {}", names(&step.requires))
        };
        self.line(&indent, &format!("{wave}. {} ({}){after}", step.name, step.kind))?;
        let inner = format!("{indent}   ");
        match &step.does {
            Does::Agent(agent) => self.agent(&inner, agent),
            Does::Gate(gate) => self.gate(&inner, gate),
            Does::Parallel { max_concurrency, on_failure, branches } => {
                let at_once = max_concurrency.map_or("all".to_owned(), |places| places.to_string());
                let failure = match on_failure {
                    OnFailure::FailFast => "the first failure cancels the others",
                    OnFailure::WaitAll => "every branch is waited for",
                };
                self.line(&inner, &format!("{at_once} at once; {failure}"))?;
                self.lanes(&inner, branches, depth)
            }
            Does::Condition { condition, branches } => {
                self.line(&inner, &format!("if {condition}"))?;
                self.lanes(&inner, branches, depth)
            }
        }
    }

    fn lanes(&mut self, inner: &str, branches: &[Lane], depth: usize) -> fmt::Result {
        for lane in branches.iter().filter(|lane| !lane.waves.is_empty()) {
            self.line(inner, &format!("{}:", lane.name))?;
            self.waves(&lane.waves, depth + 1)?;
        }
        Ok(())
    }

    fn agent(&mut self, inner: &str, agent: &AgentStep) -> fmt::Result {
        let runtime = match agent.runtime {
            Runtime::Process => "process",
            Runtime::Planner => "planner",
            Runtime::Council => "council",
        };
        let model = agent.model.as_ref().map(|model| format!(" on {model}")).unwrap_or_default();
        let from =
            if agent.template.is_empty() { String::new() } else { format!(" from {}", agent.template) };
        self.line(inner, &format!("{} {runtime}{model}{from}, {}", agent.tier, times(agent)))?;
        if let Some(objective) = &agent.objective {
            self.line(inner, &format!("objective: {}", cut(objective.trim(), SHOWN_OBJECTIVE)))?;
        }
        if !agent.command.is_empty() {
            self.line(inner, &format!("command: {}", words(&agent.command)))?;
        }
        for (name, value) in &agent.env {
            self.line(inner, &format!("env: {name}={}", word(value)))?;
        }
        let grants = [
            ("reads", &agent.read),
            ("writes", &agent.write),
            ("may ask to", &agent.actions),
            ("tools", &agent.tools),
            ("reaches", &agent.egress),
            ("secrets", &agent.secrets),
            ("locks", &agent.locks),
            ("brings", &agent.files),
            ("leaves", &agent.artifacts),
        ];
        for (what, list) in grants.iter().filter(|(_, list)| !list.is_empty()) {
            let items: Vec<String> = list.iter().map(|text| item(text)).collect();
            self.line(inner, &format!("{what}: {}", items.join(", ")))?;
        }
        for command in &agent.verify {
            self.line(inner, &format!("verified by: {}", words(command)))?;
        }
        if agent.attempts > 1 {
            let wait = Rounded(agent.backoff);
            self.line(inner, &format!("tried again after {wait}, then twice as long each time"))?;
        }
        if agent.on_interrupt != OnInterrupt::unasked(agent.tier) {
            let cut_off = match agent.on_interrupt {
                OnInterrupt::Retry => "is tried again",
                OnInterrupt::Fail => "fails",
                OnInterrupt::Ask => "waits for somebody to say what became of it",
            };
            self.line(inner, &format!("cut off, it {cut_off}"))?;
        }
        if agent.continue_on_error {
            self.line(inner, "the run goes on when it fails")?;
        }
        if agent.sandbox == SandboxMode::BestEffort {
            self.line(inner, "may run without full confinement")?;
        }
        Ok(())
    }

    fn gate(&mut self, inner: &str, gate: &GateStep) -> fmt::Result {
        let then = match gate.on_timeout {
            OnTimeout::Fail => "fails",
            OnTimeout::Skip => "is skipped",
        };
        let whom = match gate.gate_type {
            GateType::Approval => format!("{} of {}", gate.quorum, names(&gate.approvers)),
            GateType::Consensus => {
                format!("the consensus of {}", gate.of.as_ref().map_or("?", |of| of.as_str()))
            }
        };
        self.line(inner, &format!("waits for {whom}; {then} after {}", Rounded(gate.timeout)))
    }
}

/// How long and how often an agent may work, and what it may spend.
fn times(agent: &AgentStep) -> String {
    let mut told = format!("at most {}", Rounded(agent.timeout));
    if agent.attempts > 1 {
        told += &format!(" in {} attempts", agent.attempts);
    }
    if let Some(each) = agent.attempt_timeout {
        told += &format!(", {} each", Rounded(each));
    }
    if agent.start_timeout != limits::START_TIMEOUT {
        told += &format!(", ready within {}", Rounded(agent.start_timeout));
    }
    if let Some(idle) = agent.idle_timeout {
        told += &format!(", idle for {}", Rounded(idle));
    }
    told + &spends(&agent.budget)
}

fn spends(budget: &Budget) -> String {
    let tokens = budget.tokens.map(|tokens| format!(", {tokens} tokens")).unwrap_or_default();
    let dollars = budget.dollars.map(|dollars| format!(", {dollars} dollars")).unwrap_or_default();
    tokens + &dollars
}

fn names(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

fn words(command: &[String]) -> String {
    command.iter().map(|text| word(text)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell would want it, so that a reader sees where each begins and ends.
fn word(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_./=:@,+%".contains(c));
    if plain { text.to_owned() } else { quoted(text) }
}

/// One of several with commas between them.
fn item(text: &str) -> String {
    let plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || matches!(c, ',' | '\''));
    if plain { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A text of at most so many letters, and how many there were more.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}… and {} more letters", &text[..end], text[end..].chars().count()),
        None => text.to_owned(),
    }
}
