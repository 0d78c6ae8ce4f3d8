//! How much one decision writes down, and how much a run has put out: both have an end.

use std::collections::BTreeMap;

use eparch_domain::{LedgerTime, Moment, Name, StageStatus, limits};
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

fn tell(home: &mut Home, line: &str, millis: u64) -> Decision {
    let event = event(home, line);
    home.handle(&event, millis)
}

fn count(decision: &Decision, wanted: impl Fn(&Fact) -> bool) -> usize {
    decision.facts.iter().filter(|fact| wanted(fact)).count()
}

fn began(decision: &Decision) -> usize {
    count(decision, |fact| matches!(fact, Fact::AttemptBegan { .. }))
}

fn written(of: &impl serde::Serialize) -> usize {
    serde_json::to_vec(of).expect("plain data").len()
}

/// Sixty agents side by side, each told `inputs` of 200 KiB.
fn many(agents: u32) -> (Home, String) {
    let mut header = vec![format!("boot agents={agents}"), "pipeline main".to_owned()];
    header.extend((0..60).map(|at| format!("  agent a{at}")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    (set_up(&header), "start r1 in_bytes=204800".to_owned())
}

/// What one decision may write: what its budget allows, and the last attempt that fitted in.
const MOST: usize = limits::TURN_BYTES + (210 << 10);

/// Lets time pass until nothing is put off any more.
fn follow(home: &mut Home) -> usize {
    let mut all = 0;
    while home.governor.next_deadline().is_some_and(|deadline| deadline.at == LedgerTime::default()) {
        let decision = home.handle(&Event::ClockTurned, 1);
        assert!(began(&decision) > 0 && written(&decision) <= MOST, "{} bytes", written(&decision));
        all += began(&decision);
    }
    all
}

#[test]
fn agents_begin_over_several_turns_when_each_is_told_much() {
    let (mut home, start) = many(512);
    let first = tell(&mut home, &start, 0);
    // The run itself has its inputs, too.
    assert!(written(&first) <= MOST + (210 << 10), "{} bytes", written(&first));
    assert!((2..59).contains(&began(&first)), "{} agents began at once", began(&first));
    assert_eq!(began(&first) + follow(&mut home), 60);
}

#[test]
fn a_boot_that_frees_many_places_writes_no_more_than_any_other_turn() {
    let (mut home, start) = many(2);
    assert_eq!(began(&tell(&mut home, &start, 0)), 2);
    let boot = tell(&mut home, "boot agents=512", 1);
    assert!(written(&boot) <= MOST, "{} bytes", written(&boot));
    assert!((2..57).contains(&began(&boot)), "{} agents began at once", began(&boot));
    assert_eq!(began(&boot) + follow(&mut home), 58);
}

#[test]
fn deadlines_of_many_large_runs_are_kept_over_several_turns() {
    let mut header = vec!["pipeline main timeout=1h".to_owned(), "  gate g approvers=bob".to_owned()];
    header.extend((0..999).map(|at| format!("  agent a{at} requires=g")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut home = set_up(&header);
    for run in 1..=20 {
        let start = event(&mut home, &format!("start r{run}"));
        home.governor.handle(&start, Moment::default());
    }
    let hour = Moment { ledger: LedgerTime::from_millis(3_600_000), ..Moment::default() };
    let turns: Vec<usize> =
        (0..2).map(|_| home.governor.handle(&Event::ClockTurned, hour).facts.len()).collect();
    let most = limits::TURN_BYTES / limits::FACT_BYTES;
    assert!(turns[0] >= most && turns[0] < most + 1_100, "{turns:?}");
    assert_eq!((home.governor.live_runs(), home.governor.next_deadline()), (0, None));
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

fn spoiled(decision: &Decision) -> Option<String> {
    decision.facts.iter().find_map(|fact| match fact {
        Fact::AttemptSpoiled { end, .. } => Some(end.reason()),
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
    // The rest is not there for whoever comes later, so the stage is not done.
    let decision = exits(&mut home, "b#1", 0, 200, 6);
    let fit = limits::RUN_OUTPUTS_BYTES / (limits::VALUE_BYTES + 11) - 200;
    assert_eq!(dropped(&decision), Some(u32::try_from(200 - fit).unwrap()));
    let seen = decision.facts.iter().find_map(|fact| match fact {
        Fact::OutputSeen { outputs, .. } => Some(outputs.len()),
        _ => None,
    });
    assert_eq!(seen, Some(fit));
    let why = spoiled(&decision).unwrap_or_default();
    assert!(
        why.starts_with(&format!("{} outputs and 0 files", 200 - fit)) && why.contains("EP0233"),
        "{why}"
    );
    say(&mut home, "concludes b#1", 7);
    let statuses: Vec<StageStatus> = home.statuses.values().copied().collect();
    assert_eq!(statuses, [StageStatus::Completed, StageStatus::Failed]);
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
    assert!(
        spoiled(&decision).is_some_and(|why| why.starts_with("0 outputs and 25")),
        "{:?}",
        spoiled(&decision)
    );
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
