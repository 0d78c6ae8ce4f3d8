//! What is remembered of emergencies that are over.

use eparch_domain::limits;
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
