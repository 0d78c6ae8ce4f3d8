//! Standing over many runs, which a script would be long for.

use eparch_domain::Tier;
use eparch_governor::{Answer, Fact};

use crate::home::Home;
use crate::scenario::set_up;
use crate::script;
use crate::words::words;

/// Plays a line at an hour; what whoever asked is told by the last event of it, and what was found.
fn play(home: &mut Home, hour: u64, line: &str) -> (Answer, Vec<Fact>) {
    let mut last = (Answer::Taken, Vec::new());
    for event in script::events(home, &words(line)) {
        let decision = home.handle(&event, hour * 3_600_000);
        last = (decision.answer, decision.facts);
    }
    last
}

/// A run of the agent that ends well, in which it does something first.
fn earns(home: &mut Home, run: u64, hour: u64, does: &[&str]) {
    let agent = if run == 1 { "a#1".to_owned() } else { format!("r{run}:a#1") };
    play(home, hour, &format!("start r{run} grant=T4"));
    play(home, hour, &format!("ready {agent} may=ansible_run:*,terraform_apply:*"));
    for (at, action) in does.iter().enumerate() {
        let (answer, facts) = play(home, hour, &format!("asks {agent} {action} key=k{at} command=play"));
        assert_eq!(answer, Answer::Taken, "{action}: {facts:?}");
        let permit = facts.iter().find_map(|fact| match fact {
            Fact::ActionDecided(ruled) => ruled.permit.map(|given| given.permit),
            _ => None,
        });
        if let Some(permit) = permit {
            let name = home.names.permits[&permit].clone();
            let lines = match action.ends_with("localhost") {
                true => vec![
                    format!("performs {agent} {name} command=play"),
                    format!("opens {agent} {name}"),
                    format!("performed {agent} {name}"),
                ],
                false => vec![format!("did {agent} {name}")],
            };
            for line in lines {
                assert_eq!(play(home, hour, &line).0, Answer::Taken, "{line}");
            }
        }
    }
    play(home, hour, &format!("exits {agent} file.plan=steps"));
    play(home, hour, &format!("concludes {agent}"));
}

fn refused(answer: &Answer) -> &'static str {
    match answer {
        Answer::Refused(refusal) => refusal.code(),
        other => panic!("{other:?}"),
    }
}

fn tier(home: &Home) -> Tier {
    home.governor.standings().next().map(|(_, standing)| standing.tier).unwrap_or_default()
}

/// The whole way up. What each step takes is 1.3-b and 1.8; from T3 on only keys that the home never held count, and the last
/// step takes two people who did not ask (R085, R086).
#[test]
fn r085_r086_the_whole_way_from_t0_to_t4() {
    let mut home = set_up(&["pipeline main", "  agent a tier=T2"]);
    play(&mut home, 0, "policies defaults");
    for line in [
        "add tom role=approver tier=T4 by=root",
        "add una role=approver tier=T4 remote by=root",
        "add vic role=admin tier=T4 remote by=root",
        "add wes role=operator tier=T2 by=root",
        "add zed role=admin tier=T4 by=root",
        "add yul role=approver tier=T4 remote by=zed",
        "add val role=approver tier=T4 remote by=vic",
    ] {
        assert_eq!(play(&mut home, 0, line).0, Answer::Taken);
    }
    let mut run = 0;
    let mut earn = |home: &mut Home, runs: u64, does: &[&str]| {
        for _ in 0..runs {
            run += 1;
            earns(home, run, run, does);
        }
    };
    earn(&mut home, 5, &["generate_plan ."]);
    assert_eq!(play(&mut home, 99, "promote std:a").0, Answer::Taken);
    assert_eq!(play(&mut home, 99, "vouch std:a by=tom").0, Answer::Taken);
    assert_eq!(tier(&home), Tier::T1);

    earn(&mut home, 5, &["ansible_run localhost", "terraform_apply sandbox-1"]);
    let missing = play(&mut home, 99, "promote std:a").0;
    assert_eq!(refused(&missing), "EP0641", "its word is no evidence");
    assert!(format!("{missing:?}").contains("[\"terraform_apply in a compliant run\"]"), "{missing:?}");
    earn(&mut home, 1, &["terraform_apply localhost"]);
    assert_eq!(play(&mut home, 99, "promote std:a by=wes").0, Answer::Taken);
    assert_eq!(play(&mut home, 99, "vouch std:a by=una remote").0, Answer::Taken);
    assert_eq!(tier(&home), Tier::T2);

    earn(&mut home, 14, &[]);
    let missing = play(&mut home, 99, "promote std:a").0;
    assert!(format!("{missing:?}").contains("1 more correct escalations (0 of 1)"), "{missing:?}");
    earn(&mut home, 1, &["terraform_apply staging-1"]);
    assert_eq!(refused(&play(&mut home, 99, "promote std:a by=wes").0), "EP0403");
    // Root gave una her key: it may be root's own, however long ago that was.
    assert_eq!(play(&mut home, 99, "promote std:a by=root").0, Answer::Taken);
    assert_eq!(refused(&play(&mut home, 99, "vouch std:a by=una remote").0), "EP0311");
    // So may that of somebody whom a puppet of root's made, also with another key since.
    assert_eq!(refused(&play(&mut home, 99, "vouch std:a by=yul remote").0), "EP0311");
    assert_eq!(play(&mut home, 99, "rotate yul remote key=other by=yul").0, Answer::Taken);
    assert_eq!(refused(&play(&mut home, 99, "vouch std:a by=yul remote key=other").0), "EP0311");
    assert_eq!(play(&mut home, 99, "doubt std:a by=root").0, Answer::Taken);
    let asked = play(&mut home, 99, "promote std:a").0;
    assert_eq!(asked, Answer::Taken, "{asked:?}");
    assert_eq!(refused(&play(&mut home, 99, "vouch std:a by=tom").0), "EP0309");
    assert_eq!(play(&mut home, 99, "vouch std:a by=una remote").0, Answer::Taken);
    assert_eq!(tier(&home), Tier::T3);

    earn(&mut home, 24, &[]);
    assert_eq!(play(&mut home, 99, "promote std:a").0, Answer::Taken);
    // One person is not two of those who approve.
    assert_eq!(play(&mut home, 99, "vouch std:a by=val remote").0, Answer::Taken);
    assert_eq!(refused(&play(&mut home, 99, "vouch std:a by=vic remote").0), "EP0311");
    assert_eq!(play(&mut home, 99, "doubt std:a").0, Answer::Taken);
    assert_eq!(play(&mut home, 99, "promote std:a").0, Answer::Taken);
    assert_eq!(play(&mut home, 99, "vouch std:a by=una remote").0, Answer::Taken);
    assert_eq!(tier(&home), Tier::T3, "one of two");
    assert_eq!(refused(&play(&mut home, 99, "vouch std:a by=una remote").0), "EP0648");
    // A key that came from whoever asks, after they asked, is no second person.
    play(&mut home, 99, "remove vic by=root");
    play(&mut home, 99, "add zoe role=admin tier=T4 by=root");
    play(&mut home, 99, "add yan role=approver tier=T4 remote by=zoe");
    assert_eq!(refused(&play(&mut home, 99, "vouch std:a by=yan remote").0), "EP0311");
    play(&mut home, 99, "doubt std:a");
    assert_eq!(play(&mut home, 100, "promote std:a").0, Answer::Taken);
    assert_eq!(play(&mut home, 100, "vouch std:a by=una remote").0, Answer::Taken);
    // What somebody said who may act no longer counts no more; whoever has their name later says it anew.
    play(&mut home, 100, "remove una by=root");
    let (answer, facts) = play(&mut home, 100, "vouch std:a by=yan remote");
    assert!(answer == Answer::Taken && facts.len() == 1, "one of two: {facts:?}");
    play(&mut home, 100, "add una role=approver tier=T4 remote by=root");
    let (_, facts) = play(&mut home, 100, "vouch std:a by=una remote");
    assert!(matches!(facts.last(), Some(Fact::PromotionApproved { to: Tier::T4, .. })), "{facts:?}");
    assert_eq!(refused(&play(&mut home, 100, "promote std:a").0), "EP0642");

    // And down again, a tier at a time (R087): by what is HIGH, and by a person.
    play(&mut home, 101, "start r900 grant=T4");
    play(&mut home, 101, "ready r900:a#1");
    let (_, facts) = play(&mut home, 101, "asks r900:a#1 request_review . key=k");
    let given = facts.iter().find_map(|fact| match fact {
        Fact::ActionDecided(ruled) => ruled.permit,
        _ => None,
    });
    let permit = home.names.permits[&given.expect("it may").permit].clone();
    play(&mut home, 101, &format!("uses r900:a#1 {permit} with=something-else"));
    assert_eq!(tier(&home), Tier::T3);
    assert_eq!(play(&mut home, 102, "demote std:a by=root").0, Answer::Taken);
    assert_eq!(tier(&home), Tier::T2);
}
