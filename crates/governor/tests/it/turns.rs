//! How much one decision takes on: what is left begins with the next one.

use eparch_domain::limits;
use eparch_governor::{Answer, Decision, Event, Fact};

use crate::home::Home;
use crate::scenario::set_up;
use crate::script;
use crate::words::words;

/// An expression over `inputs.list`, which holds so many numbers that a few of them make a turn's work.
const HARD: &str = "inputs.list.all(x, inputs.list[0] <= x && inputs.list[0] <= x && inputs.list[0] <= x)";

fn tell(home: &mut Home, line: &str, millis: u64) -> Decision {
    let events = script::events(home, &words(line));
    let [event] = events.as_slice() else { panic!("{line} is one event") };
    home.handle(event, millis)
}

fn list(numbers: usize) -> String {
    let numbers: Vec<String> = (0..numbers).map(|number| number.to_string()).collect();
    format!("[{}]", numbers.join(","))
}

fn count(decision: &Decision, wanted: impl Fn(&Fact) -> bool) -> usize {
    decision.facts.iter().filter(|fact| wanted(fact)).count()
}

fn began(decision: &Decision) -> usize {
    count(decision, |fact| matches!(fact, Fact::AttemptBegan { .. }))
}

fn decided(decision: &Decision) -> usize {
    count(decision, |fact| matches!(fact, Fact::ConditionDecided { .. }))
}

/// Lets time pass until nothing is put off any more; what each decision had.
fn follow(home: &mut Home, mut millis: u64, what: impl Fn(&Decision) -> usize) -> Vec<usize> {
    let mut found = Vec::new();
    while home.governor.next_deadline().is_some_and(|deadline| deadline.at.millis() <= millis) {
        let decision = home.handle(&Event::ClockTurned, millis);
        assert!(!decision.facts.is_empty(), "it asks to be woken and has nothing to do");
        found.push(what(&decision));
        millis += 1;
    }
    found
}

#[test]
fn agents_begin_over_several_turns_when_their_texts_take_much_work() {
    let mut header = vec!["boot agents=40".to_owned(), "pipeline main".to_owned()];
    header.extend((0..40).map(|at| format!("  agent a{at} command=\"work ${{{{ {HARD} }}}}\"")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut home = set_up(&header);
    let first = began(&tell(&mut home, &format!("start r1 in.list={}", list(4_000)), 0));
    let rest = follow(&mut home, 1, began);
    assert!(first > 0 && first < 20, "{first} agents began in the turn of the request");
    assert_eq!(first + rest.iter().sum::<usize>(), 40);
    assert!(rest.iter().all(|began| (1..=first).contains(began)), "{first}, then {rest:?}");
}

#[test]
fn many_small_expressions_are_much_work_too() {
    let small = "${{ inputs.n }}".repeat(200);
    let mut header = vec!["boot agents=60".to_owned(), "pipeline main".to_owned()];
    header.extend((0..40).map(|at| format!("  agent a{at} command=\"work {small}\"")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut home = set_up(&header);
    let first = began(&tell(&mut home, "start r1 in.n=1", 0));
    let rest = follow(&mut home, 1, began);
    assert!(first > 0 && first < 20, "{first} agents began in the turn of the request");
    assert_eq!(first + rest.iter().sum::<usize>(), 40);
}

/// A pipeline whose first stage leaves a mebibyte, and which goes on with so many stages that look at it: what the decision on
/// its end began of them, by `what`.
fn behind_a_mebibyte(
    stages: usize,
    stage: impl Fn(usize) -> String,
    what: impl Fn(&Decision) -> usize,
) -> usize {
    let mut header =
        vec![format!("boot agents={}", stages + 1), "pipeline main".to_owned(), "  agent first".to_owned()];
    header.extend((0..stages).map(|at| format!("  {}", stage(at))));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut home = set_up(&header);
    let text = "x".repeat(1 << 20);
    let mut first = 0;
    for line in
        ["start r1".to_owned(), "ready first#1".to_owned(), format!("completes first#1 out.text={text}")]
    {
        first = 0;
        for event in script::events(&mut home, &words(&line)) {
            first += what(&home.handle(&event, 1));
        }
    }
    assert_eq!(first + follow(&mut home, 2, what).iter().sum::<usize>(), stages);
    first
}

#[test]
fn what_an_expression_is_shown_is_work_as_well() {
    let first = behind_a_mebibyte(
        200,
        |at| format!("agent a{at} requires=first command=\"work ${{{{ stages.first.status }}}}\""),
        began,
    );
    // A mebibyte is 4,096 nodes, and a turn has 500,000.
    assert!((100..125).contains(&first), "{first} agents began in the turn");
}

#[test]
fn what_an_approval_is_of_is_work_as_well() {
    let opened = |decision: &Decision| count(decision, |fact| matches!(fact, Fact::GateOpened(_)));
    let first = behind_a_mebibyte(200, |at| format!("gate g{at} requires=first approvers=bob"), opened);
    assert!((100..125).contains(&first), "{first} gates opened in the turn");
}

#[test]
fn conditions_and_gates_wait_for_another_turn_too_and_may_be_given_up_meanwhile() {
    let mut header = vec!["pipeline main".to_owned()];
    for at in 0..20 {
        header.push(format!("  condition c{at} if {HARD}"));
        header.push("    then".to_owned());
        header.push(format!("      gate g{at} approvers=bob"));
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let start = format!("start r1 in.list={}", list(4_000));

    let mut home = set_up(&header);
    let first = decided(&tell(&mut home, &start, 0));
    let rest = follow(&mut home, 1, decided);
    assert!(first > 0 && first < 15, "{first} conditions were decided in the turn of the request");
    assert_eq!((first + rest.iter().sum::<usize>(), home.names.gates.len()), (20, 20));

    let mut home = set_up(&header);
    tell(&mut home, &start, 0);
    let stopped = tell(&mut home, "stop r1", 1);
    let over = |fact: &Fact| matches!(fact, Fact::RunChanged { status, .. } if status.is_terminal());
    assert_eq!(count(&stopped, over), 1, "what was put off is given up at once");
    assert!(home.governor.next_deadline().is_none());
}

#[test]
fn the_expressions_of_a_stage_share_what_one_of_them_may_take() {
    let hole = format!("${{{{ {HARD} }}}}");
    let few = format!("  agent few command=\"{hole}\"");
    let many = format!("  agent many command=\"{}\"", hole.repeat(20));
    let mut home = set_up(&["pipeline main", &few, &many]);
    let decision = tell(&mut home, &format!("start r1 in.list={}", list(4_000)), 0);
    assert_eq!(began(&decision), 1);
    let why = "its configuration cannot be resolved: the expression takes too much work";
    assert_eq!(
        count(&decision, |fact| matches!(fact, Fact::StageChanged { reason, .. } if reason == why)),
        1
    );
}

#[test]
fn everything_an_attempt_is_told_is_bounded_together() {
    let text = "x".repeat(60_000);
    let env: String = (0..9).map(|at| format!(" env.V{at}=\"${{{{ inputs.text }}}}\"")).collect();
    let (fits, too_long) =
        (format!("  agent fits {}", &env[..env.len() / 9 * 8]), format!("  agent long{env}"));
    let mut home = set_up(&["pipeline main", &fits, &too_long]);
    let decision = tell(&mut home, &format!("start r1 in.text={text}"), 0);
    assert_eq!(began(&decision), 1);
    let why = format!("its texts are longer than {} bytes together", limits::ATTEMPT_TEXT_BYTES);
    let failed = |fact: &Fact| matches!(fact, Fact::StageChanged { reason, .. } if reason.ends_with(&why));
    assert_eq!(count(&decision, failed), 1);
}

#[test]
fn after_a_long_sleep_deadlines_are_kept_a_few_at_a_time_and_nothing_begins_before_all_are() {
    let mut header = vec!["pipeline main".to_owned()];
    header.extend((0..600).map(|at| format!("  gate g{at} approvers=bob timeout=1h")));
    header.push("  agent late".to_owned());
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut home = set_up(&header);
    tell(&mut home, "start r1", 0);
    let closed = |decision: &Decision| count(decision, |fact| matches!(fact, Fact::GateClosed { .. }));
    let hour = 3_600_000;
    // A second run is asked for while hundreds of deadlines wait: it is spawned, and begins when they have been kept. The
    // first of them are that of the agent, which nobody has made ready, and that of its run's lease.
    let asked = tell(&mut home, "start r2 by=alice", hour);
    assert_eq!((closed(&asked), began(&asked)), (limits::TIMERS_PER_TURN - 2, 0));
    let rest = follow(&mut home, hour, |decision| closed(decision) * 1_000 + began(decision));
    assert_eq!(rest, [limits::TIMERS_PER_TURN * 1_000, (602 - 2 * limits::TIMERS_PER_TURN) * 1_000 + 1]);
}

/// A stop of more than one decision writes down cuts every agent in the first and ends the runs over several; nothing begins and
/// nobody lifts it before the last is ended, and a snapshot in between goes on (G2).
#[test]
fn g2_a_stop_of_very_much_cuts_at_once_and_ends_over_several_turns() {
    let (runs, stages) = (110, 200);
    let mut header = vec!["boot agents=3".to_owned(), "pipeline main".to_owned()];
    header.extend((0..stages).map(|at| format!("  agent a{at}")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut home = set_up(&header);
    let now = |home: &mut Home, line: &str, millis: u64| {
        let events = script::events(home, &words(line));
        let [event] = events.as_slice() else { panic!("{line} is one event") };
        home.decide(event, millis)
    };
    for run in 1..=runs {
        now(&mut home, &format!("start r{run}"), 0);
    }
    let ended = |decision: &Decision| count(decision, |fact| matches!(fact, Fact::RunEnding { .. }));
    let stopped = now(&mut home, "stop-all by=root", 1);
    let first = ended(&stopped);
    assert_eq!(count(&stopped, |fact| matches!(fact, Fact::Revoked { .. })), 3, "every agent, at once");
    assert!(first > 0 && first < runs, "{first} runs ended in the turn of the stop");
    home.check_snapshot();
    let early = now(&mut home, "lift by=root", 1).answer;
    assert!(matches!(&early, Answer::Refused(refusal) if refusal.code() == "EP0651"), "{early:?}");
    let (mut all, mut millis) = (first, 2);
    while home.governor.next_deadline().is_some_and(|deadline| deadline.at.millis() <= millis) {
        let decision = home.decide(&Event::ClockTurned, millis);
        assert_eq!(began(&decision), 0);
        (all, millis) = (all + ended(&decision), millis + 1);
    }
    assert_eq!((all, home.governor.live_runs()), (runs, 1), "only that whose agents are not dead yet");
    let lifted = now(&mut home, "lift by=root", millis);
    assert_eq!(count(&lifted, |fact| matches!(fact, Fact::AllLifted { .. })), 1);
    home.check_snapshot();
}

/// Of many that wait for what changes hands only so many are told anew whom they wait for, whichever of several locks it is.
#[test]
fn g2_so_many_waiters_are_told_at_once_over_all_locks() {
    let pipelines = ["boot agents=8", "pipeline main", "  agent deploy locks=alpha,beta"];
    let waiting =
        ["pipeline first", "  agent first locks=alpha", "pipeline second", "  agent second locks=beta"];
    let mut home = set_up(&[&pipelines[..], &waiting[..]].concat());
    let mut play = |line: &str| {
        let mut told = Vec::new();
        for event in script::events(&mut home, &words(line)) {
            let facts = home.handle(&event, 1_000).facts;
            told.push(facts.iter().filter(|fact| matches!(fact, Fact::LockWaiting { .. })).count());
        }
        told
    };
    play("start r1");
    let of_each = limits::LOCK_WAITERS_TOLD * 3 / 4;
    for run in 2..2 + 2 * of_each {
        let pipeline = if run % 2 == 0 { "first" } else { "second" };
        play(&format!("start r{run} pipeline={pipeline}"));
    }
    let told = play("completes deploy#1");
    assert_eq!(told.into_iter().max(), Some(limits::LOCK_WAITERS_TOLD));
}
