//! How often people may say no in one run, which a script would be long for.

use eparch_domain::limits;
use eparch_governor::{Answer, Fact, GateOutcome};

use crate::home::Home;
use crate::scenario::set_up;
use crate::script;
use crate::words::words;

/// Plays a line at a second; whatever was found by it.
fn play(home: &mut Home, second: usize, line: &str) -> Vec<Fact> {
    let mut found = Vec::new();
    for event in script::events(home, &words(line)) {
        let decision = home.handle(&event, second as u64 * 1_000);
        assert_eq!(decision.answer, Answer::Taken, "{line}");
        found.extend(decision.facts);
    }
    found
}

/// The reason of the answer, and whether asking again can help.
fn answer(facts: &[Fact]) -> (String, bool) {
    let ruled = facts.iter().find_map(|fact| match fact {
        Fact::ActionDecided(ruled) => Some((ruled.verdict.reason.to_string(), ruled.verdict.retryable)),
        _ => None,
    });
    ruled.expect("it was answered")
}

/// None of what people said no to is forgotten to make room: when no more can be remembered nobody is asked at all, and what
/// policy decides by itself is answered as ever (G5).
#[test]
fn g5_when_no_more_denials_can_be_remembered_nobody_is_asked_any_more() {
    let mut home = set_up(&["pipeline main", "  agent a tier=T2"]);
    for line in ["policies defaults", "start r1", "ready a#1 may=ansible_run:staging-*"] {
        play(&mut home, 0, line);
    }
    for n in 1..limits::DENIALS_REMEMBERED {
        play(&mut home, n, &format!("asks a#1 ansible_run staging-{n} key=k{n}"));
        let facts = play(&mut home, n, &format!("deny question-{n} by=bob"));
        let closed = |fact: &Fact| matches!(fact, Fact::GateClosed { outcome: GateOutcome::Denied, .. });
        assert!(facts.iter().any(closed), "{facts:?}");
    }
    // One more fits, and it is taken until somebody has answered.
    let last = limits::DENIALS_REMEMBERED;
    let asked = play(&mut home, last, &format!("asks a#1 ansible_run staging-{last} key=k{last}"));
    assert_eq!(answer(&asked), ("approval_needed".to_owned(), true));
    let waiting = play(&mut home, last, "asks a#1 ansible_run staging-0 key=other");
    assert_eq!(answer(&waiting), ("too_many_denials".to_owned(), true));
    play(&mut home, last, &format!("deny question-{last} by=bob"));
    let over = play(&mut home, last + 1, "asks a#1 ansible_run staging-0 key=another");
    assert_eq!(answer(&over), ("too_many_denials".to_owned(), false));
    assert_eq!(
        answer(&play(&mut home, last + 1, "asks a#1 ansible_run staging-1 key=again")).0,
        "people_said_no"
    );
    assert_eq!(answer(&play(&mut home, last + 1, "asks a#1 generate_plan . key=plan")).0, "own_work");
}

/// What was approved and is void because the policies changed is answered under those that are in force now, and not under those
/// it was asked under (G5).
#[test]
fn g5_what_is_void_by_other_policies_is_answered_under_those() {
    let mut home = set_up(&["pipeline main", "  agent a tier=T2"]);
    for line in ["policies defaults", "start r1", "ready a#1 may=ansible_run:staging-*"] {
        play(&mut home, 0, line);
    }
    play(&mut home, 1, "asks a#1 ansible_run staging-1 key=k1");
    play(&mut home, 2, "approve question-1 by=bob");
    let facts = play(&mut home, 3, "policies closed");
    let in_force = facts.iter().find_map(|fact| match fact {
        Fact::PoliciesInForce { policies, .. } => Some(*policies),
        _ => None,
    });
    let void = facts.iter().find_map(|fact| match fact {
        Fact::ActionDecided(ruled) => Some(ruled),
        _ => None,
    });
    let void = void.expect("what was approved is answered anew");
    assert_eq!(&*void.verdict.reason, "approval_void");
    assert!(in_force.is_some());
    assert_eq!(void.policy, in_force);
}
