//! From what was handed over about a run to what a person wants to know: what failed, in which stage, how often, what was denied,
//! and what would help. It guesses nothing: every sentence follows from an entry of the ledger or a captured line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use eparch_daemon::diagnostic::handoff::{Attempt, Handoff, Told};
use eparch_domain::{Action, AgentId, Name, RunId, Tier, Timestamp};
use eparch_policy::Decision;
use serde::Serialize;

/// Groups of one kind that are told; the rest is counted.
const GROUPS: usize = 20;
/// The longest message of a group.
const MESSAGE: usize = 200;
/// Last lines that are shown when nothing was said on the error stream.
const LAST_LINES: usize = 20;

/// What is known of a run that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Diagnosis {
    /// The format of this document.
    v: u32,
    /// The run that was looked at.
    run: RunId,
    /// The agent that lost its authority, and why.
    agent: AgentId,
    reason: String,
    /// Its stage, when the ledger still tells.
    stage: Option<Name>,
    attempt: Option<u32>,
    tier: Option<Tier>,
    /// One sentence.
    pub(super) what_failed: String,
    /// What would help, each a sentence; the most likely first.
    pub(super) what_helps: Vec<String>,
    /// Reported errors by their code, the most frequent first.
    errors: Vec<Group>,
    /// What was printed on the error streams, by message, the most frequent first.
    messages: Vec<Group>,
    /// The end of what it printed, when nothing stands on the error streams.
    last_lines: Vec<String>,
    /// What was asked for and may not be done.
    denied: Vec<DeniedGroup>,
    /// Rules that were broken, in words.
    violations: Vec<String>,
    /// What else was found, in words.
    findings: Vec<String>,
    /// The attempts of the run that are known.
    attempts: Vec<Attempt>,
    /// The entries of the ledger that it was read from.
    ledger: [u64; 2],
    /// How much was left out of what was handed over, by what it is of.
    left_out: BTreeMap<String, u64>,
}

/// The same thing, so often.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Group {
    what: String,
    count: u32,
    first: Timestamp,
    last: Timestamp,
    /// The stages of the agents that said it.
    stages: Vec<Name>,
}

/// The same denial, so often.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct DeniedGroup {
    action: Action,
    target: String,
    decision: Decision,
    reason_code: String,
    policies: Vec<String>,
    count: u32,
    /// What would unlock it: the policy's words, or the command that says it.
    unlock: String,
}

impl Diagnosis {
    /// Works a handoff out.
    pub(super) fn of(handoff: &Handoff) -> Diagnosis {
        let known = handoff.agents.iter().find(|attempt| attempt.agent == handoff.parent.agent);
        let stage_of = |agent: AgentId| {
            handoff.agents.iter().find(|attempt| attempt.agent == agent).map(|attempt| attempt.stage.clone())
        };
        let errors = grouped(
            handoff.errors.iter().map(|error| (error.what.code.clone(), error.at, stage_of(error.agent))),
        );
        let is_bad = |stream: &str| matches!(stream, "stderr" | "agent" | "act-stderr");
        let messages = grouped(
            handoff
                .lines
                .iter()
                .filter(|line| is_bad(&line.line.stream))
                .map(|line| (alike(&line.line.line), line.line.ts, stage_of(line.agent))),
        );
        let own = handoff.lines.iter().filter(|line| line.agent == handoff.parent.agent);
        let own: Vec<String> = own.map(|line| line.line.line.clone()).collect();
        let last_lines = match messages.is_empty() {
            true => own[own.len().saturating_sub(LAST_LINES)..].to_vec(),
            false => Vec::new(),
        };
        let denied = denials(handoff);
        let mut diagnosis = Diagnosis {
            v: 1,
            run: handoff.parent.run,
            agent: handoff.parent.agent,
            reason: handoff.parent.reason.clone(),
            stage: known.map(|attempt| attempt.stage.clone()),
            attempt: known.map(|attempt| attempt.attempt),
            tier: known.map(|attempt| attempt.tier),
            what_failed: String::new(),
            what_helps: Vec::new(),
            errors,
            messages,
            last_lines,
            denied,
            violations: in_words(&handoff.violations, |violation| {
                format!("{} ({}): {}", violation.violation, violation.severity, violation.detail)
            }),
            findings: in_words(&handoff.findings, Clone::clone),
            attempts: handoff.agents.clone(),
            ledger: [handoff.entries.from, handoff.entries.to],
            left_out: handoff.left_out.clone(),
        };
        diagnosis.what_failed = diagnosis.sentence();
        diagnosis.what_helps = diagnosis.helps();
        diagnosis
    }

    fn sentence(&self) -> String {
        let stage = match (&self.stage, self.attempt) {
            (Some(stage), Some(attempt)) => format!("attempt {attempt} at stage {stage}"),
            _ => format!("agent {}", self.agent),
        };
        let most = self.errors.first().map(|error| {
            let times = if error.count == 1 { "once".to_owned() } else { format!("{} times", error.count) };
            format!("; most often {} ({times})", error.what)
        });
        format!("{stage} lost its authority: {}{}", self.reason, most.unwrap_or_default())
    }

    fn helps(&self) -> Vec<String> {
        let mut helps = Vec::new();
        for denied in &self.denied {
            let (action, target, why) = (denied.action, &denied.target, &denied.reason_code);
            let verb = if denied.decision == Decision::Ask { "waits for people" } else { "is denied" };
            helps.push(format!("{action} {target} {verb} ({why}): {}", denied.unlock));
        }
        if let Some(message) = self.messages.first() {
            helps.push(format!("look at what it said most often: {}", message.what));
        }
        if let Some(stage) = &self.stage {
            let run = self.run;
            helps.push(format!(
                "once that is mended, `eparch runs retry {run} --from {stage}` goes on from there; `eparch runs logs {run} \
                 --stage {stage}` shows everything it printed"
            ));
        }
        helps
    }

    /// The same for people, in Markdown. What agents said stands in it as code, so that nothing of it is taken for markup.
    pub(super) fn to_markdown(&self) -> String {
        let mut text = String::new();
        let mut put = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        put(&format!("# Diagnosis of {}\n", self.run));
        put(&format!("{}\n", code_free(&self.what_failed)));
        let list =
            |items: &[String]| items.iter().map(|item| format!("- {}", code(item))).collect::<Vec<_>>();
        let mut section = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                put(&format!("## {title}\n"));
                lines.iter().for_each(|line| put(line));
                put("");
            }
        };
        section(
            "What would help",
            self.what_helps.iter().map(|help| format!("- {}", code_free(help))).collect(),
        );
        section("Errors", self.errors.iter().map(Group::to_line).collect());
        section("What it said", self.messages.iter().map(Group::to_line).collect());
        section("What it printed last", list(&self.last_lines));
        section("Denied", self.denied.iter().map(DeniedGroup::to_line).collect());
        section("Rules that were broken", list(&self.violations));
        section("What else was found", list(&self.findings));
        let attempts = self.attempts.iter().map(|known| {
            let command = code(&known.command.join(" "));
            format!(
                "- {} attempt {} at {}, {}: {command}",
                known.stage, known.attempt, known.tier, known.agent
            )
        });
        section("Attempts", attempts.collect());
        let [from, to] = self.ledger;
        let mut end = format!("Read from entries {from} to {to} of the ledger.");
        for (of, count) in &self.left_out {
            let _ = write!(end, " {count} of {of} were left out.");
        }
        put(&end);
        text
    }
}

impl Group {
    fn to_line(&self) -> String {
        let stages: Vec<&str> = self.stages.iter().map(Name::as_str).collect();
        let stages = if stages.is_empty() { String::new() } else { format!(", {}", stages.join(", ")) };
        format!("- {}× {} ({} to {}{stages})", self.count, code(&self.what), self.first, self.last)
    }
}

impl DeniedGroup {
    fn to_line(&self) -> String {
        let by = if self.policies.is_empty() {
            "no policy permits it".to_owned()
        } else {
            format!("by {}", self.policies.join(", "))
        };
        let (what, verb) = (code(&format!("{} {}", self.action, self.target)), self.decision);
        format!("- {}× {what}: {verb}, {}, {by}; {}", self.count, self.reason_code, code_free(&self.unlock))
    }
}

fn denials(handoff: &Handoff) -> Vec<DeniedGroup> {
    let mut groups: Vec<DeniedGroup> = Vec::new();
    for denied in &handoff.denied {
        let what = &denied.what;
        let same = |group: &&mut DeniedGroup| {
            (group.action, &group.target, &group.reason_code)
                == (what.action, &what.target, &what.reason_code)
        };
        if let Some(group) = groups.iter_mut().find(same) {
            group.count += 1;
            continue;
        }
        let tier =
            handoff.agents.iter().find(|attempt| attempt.agent == denied.agent).map(|known| known.tier);
        let explain = || {
            let tier = tier.map_or("TIER".to_owned(), |tier| tier.number().to_string());
            format!(
                "`eparch policy explain --agent {tier} --action {} --resource {}` says what would",
                what.action,
                quoted(&what.target)
            )
        };
        groups.push(DeniedGroup {
            action: what.action,
            target: what.target.clone(),
            decision: what.decision,
            reason_code: what.reason_code.clone(),
            policies: what.policies.clone(),
            count: 1,
            unlock: what.unlock.clone().unwrap_or_else(explain),
        });
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups.truncate(GROUPS);
    groups
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The same things together, the most frequent first, and of those the one that was first.
fn grouped(things: impl Iterator<Item = (String, Timestamp, Option<Name>)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (what, at, stage) in things.filter(|(what, ..)| !what.is_empty()) {
        let group = match groups.iter_mut().find(|group| group.what == what) {
            Some(group) => group,
            None => {
                groups.push(Group { what, count: 0, first: at, last: at, stages: Vec::new() });
                groups.last_mut().expect("one was just added")
            }
        };
        group.count += 1;
        group.first = group.first.min(at);
        group.last = group.last.max(at);
        group.stages.extend(stage.filter(|stage| !group.stages.contains(stage)));
    }
    groups.sort_by(|one, other| other.count.cmp(&one.count).then(one.first.cmp(&other.first)));
    groups.truncate(GROUPS);
    groups
}

/// A message without what differs from one time to the next: numbers, and ids made of letters and digits.
fn alike(line: &str) -> String {
    let mut words = line.split_whitespace().map(|word| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let is_id = digits >= 4 && word.len() >= 12 && !word.contains('/');
        if is_id { "#".to_owned() } else { without_numbers(word) }
    });
    let mut out = words.next().unwrap_or_default();
    for word in words {
        out.push(' ');
        out.push_str(&word);
    }
    out.chars().take(MESSAGE).collect()
}

fn without_numbers(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for letter in word.chars() {
        match letter {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            other => out.push(other),
        }
    }
    out
}

fn in_words<T>(told: &[Told<T>], words: impl Fn(&T) -> String) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for one in told {
        let text = words(&one.what);
        if !text.is_empty() && !all.contains(&text) {
            all.push(text);
        }
    }
    let rest = all.len().saturating_sub(GROUPS);
    all.split_off(rest)
}

/// A text as code in Markdown, on one line.
fn code(text: &str) -> String {
    let text: String = eparch_domain::harmless(text).replace('`', "'");
    format!("`{}`", text.trim())
}

/// A text of ours that may quote what an agent said: on one line, and no markup that leads elsewhere.
fn code_free(text: &str) -> String {
    eparch_domain::harmless(text).replace(['<', '[', '!'], "·")
}

#[cfg(test)]
mod tests {
    use eparch_daemon::LogLine;
    use eparch_daemon::diagnostic::handoff::{Denied, Entries, Error, HANDOFF_FORMAT, Line};
    use eparch_governor::SpawnedBy;
    use proptest::prelude::*;

    use super::*;

    fn handoff() -> Handoff {
        let (run, agent) = (RunId::from_bits(1), AgentId::from_bits(2));
        let at = Timestamp::from_millis;
        let told = |seq: u64, code: &str| Told {
            seq,
            at: at(i64::try_from(seq).unwrap()),
            agent,
            what: Error { code: code.to_owned() },
        };
        let line = |ts: i64, stream: &str, line: &str| {
            let line = LogLine { ts: at(ts), stream: stream.to_owned(), line: line.to_owned() };
            Line { agent, line }
        };
        let denied = |target: &str, unlock: Option<&str>| Told {
            seq: 9,
            at: at(9),
            agent,
            what: Denied {
                action: Action::WriteFile,
                target: target.to_owned(),
                decision: Decision::Deny,
                reason_code: "no_policy_allows".to_owned(),
                policies: Vec::new(),
                unlock: unlock.map(str::to_owned),
            },
        };
        Handoff {
            v: HANDOFF_FORMAT,
            parent: SpawnedBy { run, agent, reason: "it made more than 5 errors in a minute".to_owned() },
            entries: Entries { from: 1, to: 40 },
            agents: vec![Attempt {
                agent,
                stage: "deploy".parse().unwrap(),
                attempt: 2,
                tier: Tier::T1,
                command: vec!["sh".to_owned(), "deploy.sh".to_owned()],
            }],
            errors: vec![told(1, "E_CONN"), told(2, "E_CONN"), told(3, "E_DISK")],
            violations: Vec::new(),
            denied: vec![denied("/etc/it's", None), denied("/etc/it's", None), denied("b", Some("tier 2"))],
            findings: Vec::new(),
            lines: vec![
                line(1, "stderr", "connection 17 to 10.0.0.7 refused"),
                line(2, "stderr", "connection 18 to 10.0.0.9 refused"),
                line(3, "stdout", "trying"),
                line(4, "stderr", "`rm -rf` <script>"),
            ],
            left_out: [("errors".to_owned(), 3)].into(),
        }
    }

    #[test]
    fn r089_errors_are_grouped_by_what_they_say_and_denials_by_what_would_unlock_them() {
        let diagnosis = Diagnosis::of(&handoff());
        assert_eq!(
            diagnosis.what_failed,
            "attempt 2 at stage deploy lost its authority: it made more than 5 errors in a minute; most often E_CONN (2 times)"
        );
        assert_eq!((diagnosis.errors[0].count, diagnosis.errors[1].what.as_str()), (2, "E_DISK"));
        assert_eq!(
            (diagnosis.messages[0].count, diagnosis.messages[0].what.as_str()),
            (2, "connection # to #.#.#.# refused")
        );
        let [first, second] = &diagnosis.denied[..] else { panic!("{:?}", diagnosis.denied) };
        assert_eq!((first.count, second.unlock.as_str()), (2, "tier 2"));
        assert_eq!(
            first.unlock,
            "`eparch policy explain --agent 1 --action write_file --resource '/etc/it'\\''s'` says what would"
        );
        let text = diagnosis.to_markdown();
        assert!(text.contains("- 2× `connection # to #.#.#.# refused`"), "{text}");
        assert!(
            text.contains("`'rm -rf' <script>`") && text.ends_with("3 of errors were left out.\n"),
            "{text}"
        );
    }

    #[test]
    fn r089_where_nothing_is_known_the_report_says_what_is() {
        let all = handoff();
        let bare = Handoff {
            agents: Vec::new(),
            errors: Vec::new(),
            denied: Vec::new(),
            lines: all.lines[2..3].to_vec(),
            ..all
        };
        let diagnosis = Diagnosis::of(&bare);
        assert!(diagnosis.what_failed.starts_with("agent agt_"), "{}", diagnosis.what_failed);
        assert_eq!(
            (diagnosis.last_lines.as_slice(), diagnosis.what_helps.len()),
            (&["trying".to_owned()][..], 0)
        );
        assert!(diagnosis.to_markdown().contains("## What it printed last\n\n- `trying`"));
    }

    proptest! {
        #[test]
        fn whatever_an_agent_says_is_one_line_of_a_report(line in ".{0,400}", code_word in ".{0,80}") {
            let mut handoff = handoff();
            handoff.lines[0].line.line = line;
            handoff.errors[0].what.code = code_word;
            let text = Diagnosis::of(&handoff).to_markdown();
            let starts = ["- ", "## ", "# ", "Read ", "attempt "];
            prop_assert!(text.lines().all(|line| line.is_empty() || starts.iter().any(|start| line.starts_with(start))), "{text}");
        }
    }
}
