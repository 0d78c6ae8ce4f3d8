//! A failing history made short: steps and stages are left out as long as it still fails in the same way.

use std::fmt::Write as _;
use std::sync::Arc;

use eparch_domain::Digest;
use eparch_governor::Event;
use eparch_pipeline::{StageIx, Work};

use crate::case::{Broken, Case, What};
use crate::score::Score;

/// The shortest case found that is broken in the same way, with how it is broken.
pub fn shrink(case: &Case, broken: &Broken) -> (Case, Broken) {
    let mut best = case.clone();
    best.steps.truncate(broken.step + 1);
    let Some(mut why) = fails_like(&best, broken) else {
        // Not to be repeated from its steps alone, such as a world that never rests: nothing can be left out.
        return (case.clone(), broken.clone());
    };
    loop {
        let before = (best.steps.len(), stages(&best));
        let mut size = best.steps.len() / 2;
        while size > 0 {
            let mut at = 0;
            while at < best.steps.len() {
                let mut shorter = best.clone();
                shorter.steps.drain(at..best.steps.len().min(at + size));
                match fails_like(&shorter, broken) {
                    Some(still) => (best, why) = (shorter, still),
                    None => at += size,
                }
            }
            size /= 2;
        }
        for at in 0..best.scores.len() {
            while let Some(smaller) = without_last_stage(&best, at) {
                match fails_like(&smaller, broken) {
                    Some(still) => (best, why) = (smaller, still),
                    None => break,
                }
            }
        }
        if (best.steps.len(), stages(&best)) == before {
            return (best, why);
        }
    }
}

fn stages(case: &Case) -> usize {
    case.scores.iter().map(|score| score.pipeline.stages.len()).sum()
}

/// How a case is broken, if it is so in the same way: the words up to the first number, name or detail.
fn fails_like(case: &Case, broken: &Broken) -> Option<Broken> {
    let found = case.play().err()?;
    (kind(&found.why) == kind(&broken.why)).then_some(found)
}

fn kind(why: &str) -> String {
    why.chars().filter(|letter| !letter.is_ascii_digit()).take(24).collect()
}

/// The case without the last stage of one pipeline; requests are for the smaller one. The stages before it keep their
/// places, so agents and gates keep their ids, and answers are to whatever is shown when they are given.
fn without_last_stage(case: &Case, at: usize) -> Option<Case> {
    let mut smaller = case.clone();
    let mut pipeline = case.scores[at].pipeline.as_ref().clone();
    if pipeline.stages.len() < 2 {
        return None;
    }
    pipeline.stages.pop();
    let gone = StageIx(u16::try_from(pipeline.stages.len()).ok()?);
    for stage in &mut pipeline.stages {
        match &mut stage.work {
            Work::Parallel(work) => {
                for branch in &mut work.branches {
                    branch.stages.retain(|ix| *ix != gone);
                }
            }
            Work::Condition(work) => {
                work.then.retain(|ix| *ix != gone);
                work.otherwise.retain(|ix| *ix != gone);
            }
            Work::Agent(_) | Work::Gate(_) => {}
        }
    }
    let (old, new) = (case.scores[at].pipeline.digest(), pipeline.digest());
    let questions = case.scores[at].questions.iter().filter(|(ix, _)| **ix != gone);
    let questions = questions.map(|(ix, question)| (*ix, question.clone())).collect();
    smaller.scores[at] = Score { pipeline: Arc::new(pipeline), questions };
    for step in &mut smaller.steps {
        let (What::Events(events) | What::LostCommit { events, .. }) = &mut step.what else { continue };
        for event in events {
            ask_for(event, old, new);
        }
    }
    Some(smaller)
}

fn ask_for(event: &mut Event, old: Digest, new: Digest) {
    if let Event::RunRequested(request) = event
        && request.pipeline == old
    {
        request.pipeline = new;
    }
}

/// A case as text: its pipelines, then each step with its time.
pub fn render(case: &Case) -> String {
    let mut text = String::new();
    for score in &case.scores {
        let pipeline = &score.pipeline;
        let _ = writeln!(
            text,
            "pipeline {} timeout={} profile={}",
            pipeline.name, pipeline.timeout, pipeline.profile
        );
        for stage in &pipeline.stages {
            let around = stage
                .parent
                .map_or(String::new(), |parent| format!(" in s{}[{}]", parent.stage.0, parent.list));
            let requires: Vec<String> = stage.requires.iter().map(|ix| format!("s{}", ix.0)).collect();
            let _ = writeln!(
                text,
                "  {}{around} requires={} {}",
                stage.name,
                requires.join(","),
                work(&stage.work)
            );
        }
    }
    for step in &case.steps {
        let at = step.at.ledger.millis();
        let _ = match &step.what {
            What::Crash => writeln!(text, "{at}ms crash"),
            What::Events(events) => writeln!(text, "{at}ms {}", said(events)),
            What::LostCommit { events, written: true } => {
                writeln!(text, "{at}ms crash after the commit of {}", said(events))
            }
            What::LostCommit { events, written: false } => {
                writeln!(text, "{at}ms crash before the commit of {}", said(events))
            }
        };
    }
    text
}

fn work(work: &Work) -> String {
    match work {
        Work::Agent(agent) => format!(
            "agent tier={} retries={} backoff={} timeout={} attempt_timeout={:?} start_timeout={} idle_timeout={:?} continue_on_error={} on_interrupt={:?}",
            agent.tier,
            agent.retries.max,
            agent.retries.backoff,
            agent.timeout,
            agent.attempt_timeout,
            agent.start_timeout,
            agent.idle_timeout,
            agent.continue_on_error,
            agent.on_interrupt(),
        ),
        Work::Gate(gate) => {
            format!(
                "gate approvers={:?} quorum={} timeout={} on_timeout={:?}",
                gate.approvers, gate.quorum, gate.timeout, gate.on_timeout
            )
        }
        Work::Parallel(parallel) => {
            format!("parallel at_once={:?} on_failure={:?}", parallel.max_concurrency, parallel.on_failure)
        }
        Work::Condition(condition) => format!("condition if {}", condition.condition),
    }
}

fn said(events: &[Event]) -> String {
    let texts: Vec<String> =
        events.iter().map(|event| serde_json::to_string(event).expect("an event is plain data")).collect();
    texts.join(" and ")
}

#[cfg(test)]
mod tests {
    use eparch_governor::{Answer, Fact};

    use super::*;
    use crate::case::{self, Player};

    /// How many answers counted when a case was played, and how many were to something else than was shown although they
    /// were to what is shown.
    fn answers(case: &Case) -> (usize, usize) {
        let mut player = Player::new(&case.scores);
        let (mut counted, mut astray) = (0, 0);
        for step in &case.steps {
            let records = player.step(step).expect("the world has held");
            let (What::Events(told) | What::LostCommit { events: told, .. }) = &step.what else { continue };
            for (record, told) in records.iter().zip(told) {
                let facts = &record.decision.facts;
                counted += facts.iter().filter(|fact| matches!(fact, Fact::VoteCast { .. })).count();
                let differs =
                    matches!(&record.decision.answer, Answer::Refused(refusal) if refusal.code() == "EP0306");
                let to_what_is_shown =
                    matches!(told, Event::GateAnswered(answer) if answer.subject == case::shown());
                astray += usize::from(differs && to_what_is_shown);
            }
        }
        (counted, astray)
    }

    #[test]
    fn answers_are_to_what_is_shown_in_a_smaller_pipeline_too() {
        let (mut counted, mut made_smaller) = (0, 0);
        for seed in 0..90 {
            let case = crate::run(seed).case;
            for at in 0..case.scores.len() {
                let Some(smaller) = without_last_stage(&case, at) else { continue };
                let (votes, astray) = answers(&smaller);
                assert_eq!(astray, 0, "seed {seed} without the last stage of p{at}");
                counted += votes;
                made_smaller += 1;
            }
        }
        assert!(made_smaller > 50 && counted > 10, "{counted} votes in {made_smaller} smaller cases");
    }
}
