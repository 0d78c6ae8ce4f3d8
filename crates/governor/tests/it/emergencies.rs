//! Emergencies, as far as a script would be long for them or tells nothing of them.

use eparch_domain::{LedgerTime, limits};
use eparch_governor::Answer;

use crate::scenario::set_up;
use crate::script;
use crate::words::words;

#[test]
fn so_many_grants_that_are_over_are_remembered_and_the_last_of_them() {
    let mut home = set_up(&["pipeline main", "  agent a"]);
    let mut play = |line: &str| {
        for event in script::events(&mut home, &words(line)) {
            let decision = home.handle(&event, 1_000);
            assert_eq!(decision.answer, Answer::Taken, "{line}");
        }
        home.governor.break_glasses().count()
    };
    play("add oscar role=operator tier=T2 by=root");
    play("start r1");
    for number in 1..=limits::BREAK_GLASS_REMEMBERED + 2 {
        play("break-glass r1 by=oscar allow=execute_command:prod-1");
        let known = play(&format!("forbid glass-{number} by=bob"));
        assert_eq!(known, number.min(limits::BREAK_GLASS_REMEMBERED), "after {number}");
    }
}

#[test]
fn somebody_wakes_for_the_end_of_a_grant_that_nobody_answers() {
    let mut home = set_up(&["pipeline main", "  agent a"]);
    for line in [
        "add oscar role=operator tier=T2 by=root",
        "break-glass next:alice by=oscar allow=execute_command:prod-1",
    ] {
        for event in script::events(&mut home, &words(line)) {
            assert_eq!(home.handle(&event, 1_000).answer, Answer::Taken, "{line}");
        }
    }
    let ends = LedgerTime::from_millis(1_000).after(limits::BREAK_GLASS_WAIT);
    assert_eq!(home.governor.next_deadline().map(|deadline| deadline.at), Some(ends));
}

/// Takes authority away, or may: whoever hands it in does not wait behind those who have it.
#[test]
fn what_takes_authority_away_is_told_from_what_gives_it() {
    let mut home = set_up(&["pipeline main", "  agent a locks=production"]);
    let mut takes = |line: &str| {
        let events = script::events(&mut home, &words(line));
        let takes: Vec<bool> = events.iter().map(eparch_governor::Event::takes_authority_away).collect();
        events.iter().for_each(|event| drop(home.handle(event, 1_000)));
        takes
    };
    assert_eq!(takes("start r1"), [false]);
    for line in [
        "revoke r1",
        "revoke a#1",
        "stop r1",
        "stop-all",
        "demote std:a",
        "remove bob by=root",
        "releases production",
    ] {
        assert_eq!(takes(line), [true], "{line}");
    }
    for line in
        ["lift", "tick", "heartbeat a#1", "promote std:a", "add tom role=admin by=root", "policies open"]
    {
        assert_eq!(takes(line), [false], "{line}");
    }
}
