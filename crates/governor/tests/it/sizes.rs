//! How much a run has put out has an end.

use std::collections::BTreeMap;

use eparch_domain::{Name, limits};
use eparch_governor::{Answer, Decision, Event, Fact, Kept, Outcome, Refusal};
use serde_json::Value;

use crate::home::Home;
use crate::scenario::set_up;
use crate::script;
use crate::words::words;

fn event(home: &mut Home, line: &str) -> Event {
    let mut events = script::events(home, &words(line));
    assert_eq!(events.len(), 1, "{line} is one event");
    events.remove(0)
}

/// A program ends, and has put out so many values of 64 KiB.
fn exits(home: &mut Home, agent: &str, code: i32, values: usize, millis: u64) -> Decision {
    say(home, &format!("ready {agent}"), millis);
    let mut event = event(home, &format!("exits {agent} {code}"));
    let Event::AgentAdvanced { outcomes, .. } = &mut event else { panic!("an agent's program exits") };
    let Some(Outcome::Execute { outputs, .. }) = outcomes.first_mut() else { panic!("it exits") };
    outputs.extend((0..values).map(|at| (format!("o{at:03}"), text())));
    home.decide(&event, millis)
}

fn say(home: &mut Home, line: &str, millis: u64) -> Decision {
    let event = event(home, line);
    home.decide(&event, millis)
}

fn text() -> Value {
    "x".repeat(limits::VALUE_BYTES).into()
}

fn dropped(decision: &Decision) -> Option<u32> {
    decision.facts.iter().find_map(|fact| match fact {
        Fact::OutputDropped { outputs, .. } => Some(*outputs),
        _ => None,
    })
}

#[test]
fn what_the_stages_of_a_run_put_out_is_bounded_together_and_what_failed_does_not_count() {
    let mut home = set_up(&["pipeline main", "  agent a retries=1 backoff=0s", "  agent b requires=a"]);
    say(&mut home, "start r1", 0);
    assert_eq!(dropped(&exits(&mut home, "a#1", 1, 200, 1)), None);
    say(&mut home, "concludes a#1", 2);
    say(&mut home, "tick", 3);
    assert_eq!(dropped(&exits(&mut home, "a#2", 0, 200, 4)), None);
    say(&mut home, "concludes a#2", 5);
    let decision = exits(&mut home, "b#1", 0, 200, 6);
    let fit = limits::RUN_OUTPUTS_BYTES / (limits::VALUE_BYTES + 11) - 200;
    assert_eq!(dropped(&decision), Some(u32::try_from(200 - fit).unwrap()));
    let seen = decision.facts.iter().find_map(|fact| match fact {
        Fact::OutputSeen { outputs, .. } => Some(outputs.len()),
        _ => None,
    });
    assert_eq!(seen, Some(fit));
    home.check_snapshot();
}

#[test]
fn a_value_that_takes_the_place_of_another_counts_once_and_files_count_by_their_names() {
    let mut home = set_up(&["pipeline main", "  agent a"]);
    say(&mut home, "start r1", 0);
    say(&mut home, "ready a#1", 1);
    let mut put = |name: &str, bytes: usize| {
        let mut event = event(&mut home, "output a#1 out.o=1");
        if let Event::AgentSignalled { signal: eparch_governor::Signal::Output { name: of, value }, .. } =
            &mut event
        {
            (*of, *value) = (name.to_owned(), "x".repeat(bytes).into());
        }
        dropped(&home.decide(&event, 2))
    };
    let half = limits::RUN_OUTPUTS_BYTES / 2;
    for _ in 0..3 {
        assert_eq!((put("one", half), put("two", half - 64)), (None, None));
    }
    // What it had before stays, where the new value finds no room.
    assert_eq!((put("two", half + 64), put("three", 64), put("two", half - 64)), (Some(1), Some(1), None));
    assert_eq!((put("two", 8), put("three", 64)), (None, None));
    assert_eq!(put("two", half - 512), None);
    let decision = say(&mut home, "exits a#1 0 files=256", 3);
    let files = decision.facts.iter().find_map(|fact| match fact {
        Fact::OutputDropped { artifacts, .. } => Some(*artifacts),
        _ => None,
    });
    assert!(files.is_some_and(|files| (250..256).contains(&files)), "{files:?}");
}

#[test]
fn a_run_that_takes_over_more_than_one_may_put_out_is_refused() {
    let mut home = set_up(&["pipeline main", "  agent a", "  agent b requires=a"]);
    say(&mut home, "start r1", 0);
    for line in ["ready a#1", "exits a#1 0", "concludes a#1", "stop r1", "does b#1 failed:BOOTSTRAP:EP0240:x"]
    {
        say(&mut home, line, 1);
    }
    let fit = limits::RUN_OUTPUTS_BYTES / (limits::VALUE_BYTES + 11);
    for (values, fits) in [(fit + 1, false), (fit, true)] {
        let mut event = event(&mut home, "start r2 repeats=r1/b");
        let Event::RunRequested(request) = &mut event else { panic!("a run is asked for") };
        let outputs: BTreeMap<String, Value> = (0..values).map(|at| (format!("o{at:03}"), text())).collect();
        let lineage = request.lineage.as_mut().expect("it repeats another");
        lineage.kept.insert(Name::new("a").unwrap(), Kept { outputs, artifacts: Vec::new() });
        let answer = home.decide(&event, 2).answer;
        let refused = matches!(answer, Answer::Refused(Refusal::TooLarge { limit, .. }) if limit == limits::RUN_OUTPUTS_BYTES);
        assert_eq!((refused, answer == Answer::Taken), (!fits, fits), "{answer:?}");
    }
}
