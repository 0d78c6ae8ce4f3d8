//! What a script cannot say: rows about records, and about two histories compared.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, AgentStatus, Digest, RunId, Span, StageResult, StageStatus};
use eparch_governor::{AttemptEnd, Fact, Governor};
use eparch_pipeline::StageIx;

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
    facts.fold(None, |status, fact| match fact {
        Fact::AttemptBegan { agent: of, .. } if *of == agent => Some(AgentStatus::Pending),
        Fact::PhaseEntered { agent: of, .. } if *of == agent => Some(AgentStatus::Running),
        Fact::AttemptCutOff { agent: of } if *of == agent => Some(AgentStatus::Waiting),
        Fact::AttemptEnded { agent: of, end } if *of == agent => Some(match end {
            AttemptEnd::Completed => AgentStatus::Completed,
            AttemptEnd::TimedOut { .. } => AgentStatus::TimedOut,
            AttemptEnd::Revoked { .. } => AgentStatus::Revoked,
            AttemptEnd::Failed { .. } | AttemptEnd::Cancelled { .. } | AttemptEnd::Interrupted { .. } => {
                AgentStatus::Failed
            }
        }),
        _ => status,
    })
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
        "0s does rude#1 report",
        "0s does rude#1 report",
        "0s does rude#1 killed",
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
    let begun = facts.iter().position(|(_, fact)| matches!(fact, Fact::AttemptBegan { .. })).unwrap();
    let first = home.names.agents.iter().find(|(_, name)| *name == "good#1").unwrap().0;
    assert_eq!(status_of(*first, facts[..=begun].iter().map(|(_, fact)| fact)), Some(AgentStatus::Pending));

    let (home, facts) = play(&header, &["0s start r1", "0s ready lost#1", "1s boot"]);
    let lost = home.names.agents.iter().find(|(_, name)| *name == "lost#1").unwrap().0;
    assert_eq!(status_of(*lost, facts.iter().map(|(_, fact)| fact)), Some(AgentStatus::Waiting));
}

/// The results of a run's stages, from recorded facts alone.
fn results(home: &Home, run: RunId, facts: &[(u64, Fact)]) -> BTreeMap<StageIx, StageResult> {
    let mut agents: BTreeMap<AgentId, StageIx> = BTreeMap::new();
    let mut began: BTreeMap<StageIx, u64> = BTreeMap::new();
    let mut results: BTreeMap<StageIx, StageResult> = BTreeMap::new();
    for (at, fact) in facts {
        match fact {
            Fact::AttemptBegan { stage, agent, attempt, .. } => {
                agents.insert(*agent, *stage);
                began.entry(*stage).or_insert(*at);
                let fresh = StageResult {
                    stage: home.runs[&run].stage(*stage).name.clone(),
                    status: StageStatus::Running,
                    attempts: 0,
                    reason: String::new(),
                    outputs: BTreeMap::new(),
                    artifacts: Vec::new(),
                    took: Span::ZERO,
                };
                results.entry(*stage).or_insert(fresh).attempts = *attempt;
            }
            Fact::OutputSeen { agent, outputs, artifacts } => {
                let result = results.get_mut(&agents[agent]).expect("an agent puts out after it began");
                result.outputs.extend(outputs.clone());
                result.artifacts.extend(artifacts.clone());
            }
            Fact::StageChanged { stage, status, reason, .. } => {
                if let Some(result) = results.get_mut(stage) {
                    (result.status, result.reason) = (*status, reason.clone());
                    result.took = Span::from_millis(at - began[stage]);
                }
            }
            _ => {}
        }
    }
    results
}

#[test]
fn r023_every_stage_that_ran_leaves_a_result_and_no_other_does() {
    let header = ["pipeline main", "  agent a retries=1 backoff=0s", "  agent b", "  agent never requires=b"];
    let lines =
        ["0s start r1", "1s fails a#1", "1s tick", "3s completes a#2 out.n=1 file.x=1", "4s fails b#1"];
    let (home, facts) = play(&header, &lines);
    let results = results(&home, RunId::from_bits(1), &facts);
    assert_eq!(results.keys().copied().collect::<Vec<_>>(), [StageIx(0), StageIx(1)]);
    let a = &results[&StageIx(0)];
    assert_eq!((a.status, a.attempts, a.took), (StageStatus::Completed, 2, Span::from_secs(3)));
    assert_eq!((a.outputs["n"].clone(), a.artifacts[0].path.as_str()), (1.into(), "x"));
    let b = &results[&StageIx(1)];
    assert_eq!((b.status, b.reason.as_str()), (StageStatus::Failed, "it exited with 1"));
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
    // One fraction in a thousand is enough to show it.
    let mut bits = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..300 {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        let fraction = f64::from_bits((bits >> 12) | (1023 << 52)) - 1.0;
        let line = format!("1s exits a#1 0 out.n={fraction:?}");
        play(&header, &["0s start r1", "0s ready a#1", &line]);
    }
}

#[test]
fn a_governor_that_knows_nothing_asks_for_nothing() {
    let governor = Governor::new();
    assert!(governor.next_deadline().is_none());
    assert_eq!((governor.live_runs(), governor.live_agents().count()), (0, 0));
    assert!(governor.agrees_with(&Governor::default()));
}
