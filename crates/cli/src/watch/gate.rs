//! Gates, as somebody at a terminal meets them: what is asked, how to answer, and answering on the spot.

use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin};

use eparch_daemon::wire::{Answer, Decided};
use eparch_domain::{GateId, Name, StageStatus};
use eparch_governor::{GateDecision, GateOutcome, GatePurpose, Separation};
use eparch_ledger::views::{ApprovalView, RunDetail};
use tokio::sync::mpsc;

use super::model::{Gate, in_words};
use super::watched;
use crate::failure::Failure;
use crate::holder::Desk;
use crate::paint::{self, Paint};
use crate::when;

/// What a gate asks, in one line.
pub(crate) fn asks(gate: &Gate) -> String {
    let names: Vec<&str> = gate.approvers.iter().map(Name::as_str).collect();
    let waits = match gate.quorum {
        0 | 1 => format!("waits for {} to approve", names.join(" or ")),
        quorum => {
            format!("waits for {quorum} of {} to approve ({} so far)", names.join(", "), gate.approvals)
        }
    };
    match gate.purpose {
        GatePurpose::Stage => waits,
        GatePurpose::Action => {
            format!("seeks to {}: {waits}", gate.sought.as_deref().unwrap_or("do something"))
        }
        GatePurpose::Interrupted => "was cut off with its holder; should it be made again?".to_owned(),
    }
}

/// The commands that answer it. The one who asked for the run may not approve it, so they name somebody else.
pub(crate) fn commands(gate: GateId, open: &Gate) -> Vec<String> {
    let by = match open.purpose {
        GatePurpose::Stage | GatePurpose::Action => " --as NAME",
        GatePurpose::Interrupted => "",
    };
    vec![
        format!("eparch approvals show {gate}"),
        format!("eparch approvals approve {gate} --rationale \"…\"{by}"),
    ]
}

/// Whether somebody sits here who can be asked.
pub(crate) fn can_ask() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Asks somebody who sits here a question to which nothing but yes is a yes. What was typed before the question is no answer.
pub(crate) fn says_yes(question: &str) -> bool {
    let _ = rustix::termios::tcflush(stdin(), rustix::termios::QueueSelector::IFlush);
    crate::output::err(format_args!("{}", paint::err().bold(question)));
    let _ = stderr().flush();
    let mut line = String::new();
    stdin().lock().read_line(&mut line).is_ok() && matches!(line.trim(), "y" | "Y" | "yes")
}

/// A conversation about one gate.
#[derive(Debug)]
pub(crate) struct Conversation {
    gate: GateId,
    view: Box<ApprovalView>,
    decision: Option<GateDecision>,
}

/// Where a conversation stands after a line.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something more was asked.
    Asked,
    /// It is over: what came of it, to be said.
    Over(String),
}

impl Conversation {
    /// Shows what is to be approved, and asks. What was typed before the question is no answer to it.
    pub(crate) async fn begin(
        desk: &Desk<'_>,
        gate: GateId,
        by: &Name,
        typed: &mut mpsc::UnboundedReceiver<String>,
    ) -> Result<Conversation, Failure> {
        let view: ApprovalView = desk.get(&format!("/api/approvals/{gate}")).await?;
        let run: RunDetail = desk.get(&format!("/api/runs/{}", view.pipeline_id)).await?;
        crate::output::err(format_args!("{}", describe(&view, &run, desk, paint::err())));
        let conversation = Conversation { gate, view: Box::new(view), decision: None };
        forget_typed(typed);
        conversation.ask(by);
        Ok(conversation)
    }

    /// Which gate it is about.
    pub(crate) fn gate(&self) -> GateId {
        self.gate
    }

    fn ask(&self, by: &Name) {
        let question = match self.decision {
            None => format!("Approve as {by}? [y]es, [n]o, Enter leaves it waiting: "),
            Some(_) => "Rationale: ".to_owned(),
        };
        crate::output::err(format_args!("{}", paint::err().bold(&question)));
        let _ = stderr().flush();
    }

    /// Takes in what was typed; answers the gate once everything is said.
    pub(crate) async fn hear(&mut self, line: &str, desk: &Desk<'_>, by: &Name) -> Step {
        let line = line.trim();
        let Some(decision) = self.decision else {
            match line {
                "y" | "Y" | "yes" => self.decision = Some(GateDecision::Approve),
                "n" | "N" | "no" => self.decision = Some(GateDecision::Deny),
                "" => return Step::Over("It waits.".to_owned()),
                _ => {}
            }
            self.ask(by);
            return Step::Asked;
        };
        if line.is_empty() {
            self.ask(by);
            return Step::Asked;
        }
        let answer =
            Answer { decision, rationale: line.to_owned(), subject: self.view.subject, signed: None };
        let given = match desk.by(by) {
            Ok(desk) => give(&desk, self.gate, by, &answer).await,
            Err(problem) => Err(problem),
        };
        match given {
            Ok(_) if decision == GateDecision::Approve => Step::Over(format!("Approved as {by}.")),
            Ok(_) => Step::Over(format!("Denied as {by}.")),
            Err(problem) => {
                problem.print();
                Step::Over(after(problem.code()).to_owned())
            }
        }
    }
}

/// How a gate stands after an answer was refused with a code.
fn after(code: &str) -> &'static str {
    match code {
        "EP0302" => "It is closed.",
        "EP0303" => closed(GateOutcome::TimedOut),
        _ => "It waits.",
    }
}

/// What became of a gate while somebody was asked about it.
pub(crate) fn closed(outcome: GateOutcome) -> &'static str {
    match outcome {
        GateOutcome::Approved | GateOutcome::Denied => "It has been answered.",
        GateOutcome::TimedOut => "Nobody answered in time.",
        GateOutcome::Cancelled => "The question is withdrawn.",
    }
}

/// Gives an answer, once: when the holder goes away in the middle, its successor knows whether the answer counted.
pub(crate) async fn give(
    desk: &Desk<'_>,
    gate: GateId,
    by: &Name,
    answer: &Answer,
) -> Result<Decided<ApprovalView>, Failure> {
    let path = format!("/api/approvals/{gate}");
    let voted = |view: &ApprovalView| {
        view.votes.iter().any(|vote| {
            vote.by == *by && vote.decision == answer.decision && vote.rationale == answer.rationale
        })
    };
    let had_voted = match desk.get::<ApprovalView>(&path).await {
        Ok(view) => voted(&view),
        // An answer is given all the same; only a second look is not to be had.
        Err(unwell) if unwell.code() == "EP0530" => true,
        Err(problem) => return Err(problem),
    };
    match desk.post_again(&path, answer).await {
        // The gate has closed, or they have answered: by this very answer, if it was not there before.
        Err(refused) if !had_voted && matches!(refused.code(), "EP0302" | "EP0307") => {
            let view: ApprovalView = desk.get(&path).await?;
            if voted(&view) { Ok(Decided::Shown(view)) } else { Err(refused) }
        }
        given => given,
    }
}

/// A command as it would be written for a shell: where its words begin and end is what matters.
pub(crate) fn in_shell(words: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let word = |word: &String| {
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else if word.chars().any(char::is_control) {
            // A script of several lines stays on one, so that none of its lines passes for one of ours.
            let escapes = [('\\', r"\\"), ('\'', r"\'"), ('\n', r"\n"), ('\t', r"\t")];
            let escaped = escapes.iter().fold(word.clone(), |word, (from, to)| word.replace(*from, to));
            format!("$'{escaped}'")
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Everything that an approval is bound to, in words.
pub(crate) fn describe(view: &ApprovalView, run: &RunDetail, desk: &Desk<'_>, paint: Paint) -> String {
    let names: Vec<&str> = view.approvers.iter().map(Name::as_str).collect();
    let mut text = format!(
        "\n{} {} of {}, {}\n",
        paint.warn("◆"),
        paint.bold(view.stage.as_str()),
        view.pipeline,
        view.pipeline_id
    );
    let mut line = |head: &str, value: &str| {
        text.push_str(&format!("  {} {value}\n", paint.faint(&format!("{head:<10}"))));
    };
    if view.purpose == GatePurpose::Interrupted {
        line("asks", "this attempt was cut off; what it did outside is unknown. Should it be made again?");
    }
    if let Some(sought) = &view.sought {
        line("agent", &sought.agent.to_string());
        line("seeks to", &in_words(sought));
        match (sought.command(), &sought.given) {
            (Some(words), _) => line("command", &paint::written_out(&in_shell(&words))),
            (None, Some(given)) => line("arguments", &paint::written_out(given)),
            (None, None) if sought.is_unseen() => line("arguments", "not shown: only their digest is known"),
            (None, None) => line("arguments", "none"),
        }
        line("with", &sought.params.to_string());
        line("because", &paint::written_out(&sought.reason));
        if let Some(unlock) = &sought.unlock {
            line("takes", &paint::written_out(unlock));
        }
        line("policies", &sought.policy.to_string());
        for word in &view.watched {
            line("watched", &watched::says(word));
        }
    }
    line("asked by", view.requester.as_str());
    line("plan", &view.plan_id.to_string());
    line("subject", &view.subject.to_string());
    line("approvers", &format!("{} ({} needed)", names.join(", "), view.quorum));
    if view.separation == Separation::RemoteKey {
        line("keys", "only answers signed with a key this home never held (--key FILE)");
    }
    for (name, value) in &run.inputs {
        line("input", &format!("{name} = {}", paint::written_out(&value.to_string())));
    }
    for stage in run.stages.iter().filter(|stage| stage.status == StageStatus::Completed) {
        line("done", stage.name.as_str());
        let folder = desk.home().runs().join(view.pipeline_id.to_string()).join(stage.name.as_str());
        for artifact in &stage.artifacts {
            let path = folder.join(&artifact.path);
            let hex = artifact.digest.hex();
            line(
                "",
                &format!(
                    "{} ({} bytes, sha256:{}…)",
                    paint::harmless(&path.display().to_string()),
                    artifact.size,
                    &hex[..12]
                ),
            );
        }
    }
    line("expires", &when::until(view.expires_at));
    text
}

/// Forgets what was typed before now: lines that were read already, and what the terminal still holds.
fn forget_typed(lines: &mut mpsc::UnboundedReceiver<String>) {
    // A terminal that cannot be emptied holds nothing that could be read either.
    let _ = rustix::termios::tcflush(stdin(), rustix::termios::QueueSelector::IFlush);
    while lines.try_recv().is_ok() {}
}

/// Lines typed at the terminal, read by a thread of their own: a read cannot be given up.
pub(crate) fn typed_lines() -> mpsc::UnboundedReceiver<String> {
    let (to, from) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
    from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_is_closed_is_not_told_to_wait() {
        let told = ["EP0302", "EP0303", "EP0305"].map(after);
        assert_eq!(told, ["It is closed.", "Nobody answered in time.", "It waits."]);
    }

    #[test]
    fn a_command_is_shown_with_its_words_apart_and_on_one_line() {
        let shown =
            |words: &[&str]| in_shell(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(shown(&["make", "dist", "A=1"]), "make dist A=1");
        assert_eq!(shown(&["sh", "-c", "rm -rf x; echo 'y'", ""]), r"sh -c 'rm -rf x; echo '\''y'\''' ''");
        assert_eq!(shown(&["sh", "-c", "a\nb\\'c"]), r"sh -c $'a\nb\\\'c'");
    }
}
