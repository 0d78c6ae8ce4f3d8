//! What a script cannot say: rows about records, and about two histories compared.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, AgentStatus, Digest, Moment, RunId};
use eparch_governor::{Answer, Event, Fact, Governor, RunRequest};

use crate::home::Home;
use crate::scenario::set_up;
use crate::script;
use crate::words::{millis, words};

/// Plays some lines after a header; every fact they led to, with its time.
fn play(header: &[&str], lines: &[&str]) -> (Home, Vec<(u64, Fact)>) {
    let mut home = set_up(header);
    let mut facts = Vec::new();
    for line in lines {
        let mut words = words(line);
        let at = millis(&words.remove(0)).expect("a line begins with its time");
        for event in script::events(&mut home, &words) {
            facts.extend(home.handle(&event, at).facts.into_iter().map(|fact| (at, fact)));
        }
    }
    (home, facts)
}

/// How an agent stands, from recorded facts alone.
fn status_of<'f>(agent: AgentId, facts: impl Iterator<Item = &'f Fact>) -> Option<AgentStatus> {
    facts.filter_map(Fact::agent_status).filter(|(of, _)| *of == agent).last().map(|(_, status)| status)
}

#[test]
fn r016_the_status_of_every_agent_follows_from_the_facts() {
    let header = [
        "pipeline main",
        "  agent good",
        "  agent bad",
        "  agent slow start_timeout=1s",
        "  agent rude",
        "  agent busy",
        "  agent lost",
    ];
    let lines = [
        "0s start r1",
        "0s completes good#1",
        "0s fails bad#1",
        "0s ready rude#1",
        "0s error rude#1 same",
        "0s error rude#1 same",
        "0s error rude#1 same",
        "0s does rude#1 killed",
        "0s dead rude#1",
        "0s ready busy#1",
        "1s tick",
        "1s does slow#1 failed:BOOTSTRAP:EP0240:killed",
    ];
    let (home, facts) = play(&header, &lines);
    let status = |wanted: &str| {
        let agent = home.names.agents.iter().find(|(_, name)| *name == wanted).unwrap().0;
        status_of(*agent, facts.iter().map(|(_, fact)| fact)).unwrap()
    };
    assert_eq!(status("good#1"), AgentStatus::Completed);
    assert_eq!(status("bad#1"), AgentStatus::Failed);
    assert_eq!(status("slow#1"), AgentStatus::TimedOut);
    assert_eq!(status("rude#1"), AgentStatus::Revoked);
    assert_eq!(status("busy#1"), AgentStatus::Running);

    let (home, facts) =
        play(&header, &["0s start r1", "0s does busy#1 bootstrap", "0s ready lost#1", "1s boot"]);
    let status = |wanted: &str, until: usize| {
        let agent = home.names.agents.iter().find(|(_, name)| *name == wanted).unwrap().0;
        status_of(*agent, facts[..until].iter().map(|(_, fact)| fact)).unwrap()
    };
    let cut_off = facts.iter().position(|(_, fact)| matches!(fact, Fact::EpochBegan { .. })).unwrap();
    // Decided on, told of its identity, and at work when its holder died.
    for (agent, before) in
        [("good#1", AgentStatus::Pending), ("busy#1", AgentStatus::Running), ("lost#1", AgentStatus::Running)]
    {
        assert_eq!(status(agent, cut_off), before, "{agent}");
        assert_eq!(status(agent, facts.len()), AgentStatus::Waiting, "{agent}");
    }
}

/// The digest a gate shows after `line` was played before it.
fn subject_after(line: &str, start: &str) -> Digest {
    let header = ["pipeline main", "  agent plan", "  gate ok requires=plan approvers=bob", "  agent beside"];
    let (home, _) = play(&header, &[start, line]);
    *home.subjects.values().next().expect("the gate has opened")
}

#[test]
fn g5_what_a_gate_is_about_changes_with_everything_before_it_and_with_nothing_beside_it() {
    let start = "0s start r1 in.n=1";
    let shown = subject_after("1s completes plan#1 file.plan.txt=one out.risk=1", start);
    assert_eq!(
        shown,
        subject_after("9s completes plan#1 file.plan.txt=one out.risk=1", start),
        "time does not matter"
    );
    for other in [
        "file.plan.txt=two out.risk=1",
        "file.plan.txt=one out.risk=2",
        "file.other.txt=one out.risk=1",
        "out.risk=1",
    ] {
        assert_ne!(shown, subject_after(&format!("1s completes plan#1 {other}"), start), "{other}");
    }
    assert_ne!(
        shown,
        subject_after("1s completes plan#1 file.plan.txt=one out.risk=1", "0s start r1 in.n=2")
    );
    assert_ne!(
        shown,
        subject_after("1s completes r2:plan#1 file.plan.txt=one out.risk=1", "0s start r2 in.n=1")
    );
}

#[test]
fn g10_numbers_come_back_from_the_record_and_the_snapshot_as_they_were() {
    // Home::handle compares replay and snapshot with the live state after each event; these are numbers that a careless
    // reader of decimal fractions gets wrong in the last bit.
    let header = ["pipeline main", "  agent a"];
    let numbers = [
        "0.30000000000000004",
        "8.41e21",
        "5e-324",
        "1.7976931348623157e308",
        "9007199254740993",
        "0.1",
        "214655018.33333334",
        "123283617.33333333",
    ];
    for number in numbers {
        let line = format!("1s exits a#1 0 out.n={number}");
        play(&header, &["0s start r1", "0s ready a#1", &line, "2s concludes a#1"]);
    }
    // A careless reader gets one fraction in a thousand wrong: of ten thousand it gets all right once in 20,000 times.
    let mut bits = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..50 {
        let mut line = "1s exits a#1 0".to_owned();
        for at in 0..200 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let fraction = f64::from_bits((bits >> 12) | (1023 << 52)) - 1.0;
            line.push_str(&format!(" out.n{at}={fraction:?}"));
        }
        play(&header, &["0s start r1", "0s ready a#1", &line]);
    }
}

#[test]
fn g7_a_key_is_remembered_while_its_run_lives_and_long_after() {
    // Straight to the governor: what `Home` compares after each event would take minutes here.
    let header = [
        "pipeline main",
        "  agent a",
        "pipeline quick",
        "  condition c if false",
        "    then",
        "      agent b",
    ];
    let mut home = set_up(&header);
    let now = Moment::default();
    let mut ask = |run: usize, pipeline: &str, key: &str| {
        let request = RunRequest {
            run: RunId::from_bits(run as u128),
            pipeline: home.pipelines[pipeline].digest(),
            inputs: BTreeMap::new(),
            env: BTreeMap::new(),
            requester: script::name("alice"),
            grant: None,
            root: "/project".to_owned(),
            idempotency_key: Some(key.to_owned()),
            lineage: None,
        };
        home.governor.handle(&Event::RunRequested(Box::new(request)), now).answer
    };
    assert_eq!(ask(1, "main", "alive"), Answer::Taken);
    for run in 2..=10_002 {
        assert_eq!(ask(run, "quick", &format!("key {run}")), Answer::Taken);
    }
    // The run that lives is older than all of them; the oldest of those that have ended is one too many.
    assert_eq!(ask(10_003, "main", "alive"), Answer::Already { run: RunId::from_bits(1) });
    assert_eq!(ask(10_003, "quick", "key 3"), Answer::Already { run: RunId::from_bits(3) });
    assert_eq!(ask(10_003, "quick", "key 2"), Answer::Taken);
    assert_eq!(ask(10_004, "quick", "key 2"), Answer::Already { run: RunId::from_bits(10_003) });
}

#[test]
fn a_governor_that_knows_nothing_asks_for_nothing() {
    let governor = Governor::new();
    assert!(governor.next_deadline().is_none());
    assert_eq!((governor.live_runs(), governor.live_agents().count()), (0, 0));
    assert!(governor.agrees_with(&Governor::default()));
}
