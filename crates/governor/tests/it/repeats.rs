//! How long it is remembered what was done in runs that have ended, which a script would be long for.

use eparch_domain::limits;
use eparch_governor::{Answer, Fact};

use crate::home::Home;
use crate::scenario::set_up;
use crate::script;
use crate::words::words;

/// Plays a line without whatever else is looked at after an event, which takes as long as there is much to remember.
fn play(home: &mut Home, second: usize, line: &str) -> Vec<Fact> {
    let mut found = Vec::new();
    for event in script::events(home, &words(line)) {
        let decision = home.decide(&event, second as u64 * 1_000);
        assert_eq!(decision.answer, Answer::Taken, "{line}");
        found.extend(decision.facts);
    }
    found
}

/// Why a run that goes on with what the first one left is answered as it is, after so many others have ended.
fn answered_after(others: usize) -> String {
    let header = ["boot agents=1", "pipeline main", "  agent a tier=T1", "  agent b requires=a tier=T1"];
    let mut home = set_up(&header);
    for line in ["policies defaults", "start r1", "completes a#1", "completes b#1", "start r2"] {
        for event in script::events(&mut home, &words(line)) {
            home.handle(&event, 0);
        }
    }
    // An agent of the second run is at work, so that the others begin none.
    for n in 3..2 + others {
        play(&mut home, n, &format!("start r{n}"));
        play(&mut home, n, &format!("stop r{n}"));
    }
    let last = others + 2;
    play(&mut home, last, "stop r2");
    play(&mut home, last, "does r2:a#1 failed:BOOTSTRAP:EP0240:stopped");
    let facts = play(&mut home, last, &format!("start r{last} repeats=r1/b"));
    let begun = facts.iter().find_map(|fact| match fact {
        Fact::AttemptBegan { agent, .. } => Some(*agent),
        _ => None,
    });
    home.names.agents.insert(begun.expect("its agent begins"), "last#1".to_owned());
    play(&mut home, last, "ready last#1 may=read_file:docs");
    let facts = play(&mut home, last, "asks last#1 read_file docs/x key=k1");
    let reason = facts.iter().find_map(|fact| match fact {
        Fact::ActionDecided(ruled) => Some(ruled.verdict.reason.to_string()),
        _ => None,
    });
    reason.expect("it was answered")
}

/// What was done in a run that nobody remembers may have been anything: nothing is allowed to whoever goes on with what it left (G4).
#[test]
fn g4_who_goes_on_with_what_nobody_remembers_may_do_nothing() {
    assert_eq!(answered_after(limits::HISTORIES_REMEMBERED - 1), "own_work");
    assert_eq!(answered_after(limits::HISTORIES_REMEMBERED), "history_overflow");
}
