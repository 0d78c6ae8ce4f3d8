//! When something is very wrong, with the real binary: everything is stopped and lifted again, and two people let pass for a while
//! what policy denies.

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::console::{Place, one_stage, runs_somewhere, wait_until};
use crate::holder::{held_by_a_child, limit};

fn home() -> Place {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    for (name, role) in [("oscar", "operator"), ("bob", "approver"), ("dave", "viewer")] {
        place.ok(&["operator", "add", name, "--role", role, "--max-tier", "2"]);
    }
    place
}

/// What `doctor` says of something about the home's holder.
fn doctor_says(place: &Place, what: &str) -> Option<String> {
    let said = place.say(&["--format", "json", "doctor"]);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let findings = found["checks"]["home"].as_array().unwrap().clone();
    let finding = findings.iter().find(|finding| finding["what"] == what)?;
    Some(finding["detail"].as_str().unwrap().to_owned())
}

/// Every live agent is revoked and its run ended in the entry that says so; nothing begins any more, for nobody, until an admin
/// lifts it; it is shown wherever people look, and a killed holder knows it still (G2, R240).
#[test]
fn g2_r240_everything_stops_stays_stopped_over_a_crash_and_is_lifted_by_an_admin() {
    let place = home();
    let file = place.file("p.yaml", &one_stage("sleep 600"));
    let runs =
        [place.start(&["--format", "json", "run", &file]), place.start(&["--format", "json", "run", &file])];
    for run in &runs {
        run.event("program_released");
    }
    let viewer = place.say(&["--as", "dave", "stop-all", "--reason", "no"]);
    assert!(viewer.code == 1 && viewer.err.contains("EP0205"), "{viewer:?}");
    let after = place.json(&["--as", "bob", "stop-all", "--reason", "they run wild"]);
    assert_eq!(
        (&after["stopped"]["by"], &after["stopped"]["reason"]),
        (&"bob".into(), &"they run wild".into())
    );
    for run in runs {
        let said = run.end();
        assert_eq!(said.code, 3, "{said:?}");
    }
    let stopped = place.json(&["runs", "list"]);
    for run in stopped.as_array().unwrap() {
        assert_eq!(run["status"], "STOPPED", "{run:#}");
    }
    // Whoever asks again finds it done.
    let again = place.json(&["stop-all", "--reason", "again"]);
    assert_eq!(again["stopped"], after["stopped"]);
    assert_eq!((&after["changed"], &again["changed"]), (&true.into(), &false.into()));
    place.end_holder(Signal::KILL);
    for words in [&["run", &*file][..], &["secrets", "get", "a/b"]] {
        let said = place.say(words);
        assert!(said.code == 1 && said.err.contains("EP0650"), "{words:?}: {said:?}");
        assert!(
            said.err.contains("bob stopped everything") && said.err.contains("they run wild"),
            "{said:?}"
        );
        assert!(said.err.contains("stop-all --lift"), "{said:?}");
    }
    let shown = place.say(&["runs", "list"]);
    assert!(shown.err.contains("EVERYTHING IS STOPPED by bob"), "{shown:?}");
    assert!(doctor_says(&place, "stop-all").is_some_and(|detail| detail.contains("they run wild")));
    let not_he = place.say(&["--as", "oscar", "stop-all", "--lift", "--reason", "go on"]);
    assert!(not_he.code == 1 && not_he.err.contains("EP0205"), "{not_he:?}");
    let lifted = place.json(&["stop-all", "--lift", "--reason", "it was a drill"]);
    assert_eq!((&lifted["stopped"], &lifted["changed"]), (&Value::Null, &true.into()));
    let nothing = place.ok(&["stop-all", "--lift", "--reason", "once more"]);
    assert!(nothing.contains("Nothing was stopped"), "{nothing}");
    assert_eq!(doctor_says(&place, "stop-all"), None);
    place.ok(&["run", &place.file("well.yaml", &one_stage("true"))]);
    let trail = place.ok(&["ledger", "show"]);
    assert!(trail.contains("they run wild") && trail.contains("it was a drill"), "{trail}");
    place.ok(&["ledger", "verify", "--replay"]);
}

/// A stop that meets a disk which takes nothing is kept by the holder and recorded when there is room, before anything begins (G1, G2).
#[test]
fn g1_g2_a_stop_that_cannot_be_written_is_recorded_as_soon_as_it_can() {
    let place = home();
    // The one that the operators were added with is told of a file that may not grow by being ended.
    place.end_holder(Signal::TERM);
    let mut child = held_by_a_child(&place);
    let holder = place.holder().unwrap();
    limit(holder, Some(1));
    let said = place.say(&["--as", "bob", "stop-all", "--reason", "they run wild"]);
    assert!(said.code == 69 && said.err.contains("EP0658") && said.err.contains("ask again"), "{said:?}");
    limit(holder, None);
    // Nobody asks for it again: whoever comes next finds it.
    let refused = place.say(&["run", &place.file("p.yaml", &one_stage("true"))]);
    assert!(refused.code == 1 && refused.err.contains("EP0650"), "{refused:?}");
    assert!(refused.err.contains("bob stopped everything"), "{refused:?}");
    kill_process(holder, Signal::TERM).unwrap();
    child.wait().unwrap();
    place.ok(&["ledger", "verify", "--replay"]);
}

/// A stage whose agent asks for the same again and again, as files tell it to.
fn asks_when_told() -> String {
    let script = r#"
        n=0
        while [ $n -lt 4 ]; do
          while [ ! -e go/$n ]; do sleep 0.05; done
          eparch act execute_command --target prod-1 --key k$n; echo "asked $n ended $?"
          [ $n != 1 ] || eparch act read_file --target /etc/shadow --key s
          echo "step $n done"
          n=$((n+1))
        done
    "#;
    let lines: String = script.lines().map(|line| format!("        {}\n", line.trim())).collect();
    format!(
        "name: one\nstages:\n  - name: only\n    type: agent\n    config:\n      tier: 1\n      paths: {{write: [go]}}\n      \
         command:\n      - sh\n      - -c\n      - |\n{lines}"
    )
}

/// Policy says no; one person asks, another approves, and exactly that is allowed, recorded with both of them and told; what is
/// inviolable stays so; whoever asked cannot approve, and it ends when somebody says so (G5).
#[test]
fn g5_two_people_let_one_thing_pass_and_it_is_shouted_about() {
    let place = home();
    std::fs::create_dir_all(place.path("go")).unwrap();
    let file = place.file("p.yaml", &asks_when_told());
    // Ada made everybody known: what she asks for herself, a run that is let pass included, nobody here could approve.
    place.ok(&["operator", "add", "eve", "--role", "admin", "--max-tier", "2"]);
    let run = place.start(&["--as", "eve", "--format", "json", "run", &file]);
    run.event("program_released");
    let id = place.json(&["runs", "list", "--live"])[0]["pipeline_id"].as_str().unwrap().to_owned();
    // What the agent prints is told on standard output here.
    let tells = |what: &str| run.until(what, |line| line.contains(what).then_some(()));
    let step = |n: u32| {
        std::fs::write(place.path(&format!("go/{n}")), "").unwrap();
        tells(&format!("step {n} done"));
    };
    step(0);
    tells("deny (forbidden_target)");
    let ask = |words: &[&str]| {
        let first =
            ["--as", "oscar", "break-glass", "request", "--run", &id, "--reason", "production is down"];
        [&first[..], words].concat().iter().map(|word| (*word).to_owned()).collect::<Vec<String>>()
    };
    let said = |words: Vec<String>| place.say(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let never = said(ask(&["--allow", "modify_governance policy"]));
    assert!(never.code == 1 && never.err.contains("EP0654"), "{never:?}");
    let long = said(ask(&["--allow", "execute_command prod-1", "--for", "2h"]));
    assert!(long.code == 1 && long.err.contains("EP0654"), "{long:?}");
    // Who was told no is told why, and by whom.
    let denied = said(ask(&["--allow", "execute_command prod-2", "--format", "json"]));
    let denied: Value = serde_json::from_str(&denied.out).unwrap();
    let denied = denied["grant"].as_str().unwrap();
    place.ok(&["--as", "bob", "break-glass", "deny", denied, "--rationale", "nothing is wrong there"]);
    let over = place.ok(&["break-glass", "show", denied]);
    assert!(over.contains("is over: bob said no: nothing is wrong there"), "{over}");
    assert_eq!(place.json(&["break-glass", "show", denied])["why"], "nothing is wrong there");
    let asked = said(ask(&[
        "--allow",
        "execute_command prod-1",
        "--allow",
        "read_file /etc/shadow",
        "--for",
        "10m",
        "--format",
        "json",
    ]));
    assert_eq!(asked.code, 0, "{asked:?}");
    let asked: Value = serde_json::from_str(&asked.out).unwrap();
    let grant = asked["grant"].as_str().unwrap();
    assert_eq!(asked["stands"], "waiting", "{asked:#}");
    // Whoever is to answer sees for how long it would be open, until when an answer counts, and how to give one.
    let waits = place.ok(&["break-glass", "show", grant]);
    for told in ["open for      10m from when it is approved", "unanswered    it is over", "break-glass deny"]
    {
        assert!(waits.contains(told), "{told}: {waits}");
    }
    let own = place.say(&["--as", "oscar", "break-glass", "approve", grant, "--rationale", "I say so"]);
    assert!(own.code == 1 && own.err.contains("EP0655"), "{own:?}");
    // She asked for the run; and who has their key from her, with whatever key since, may be her.
    let hers = place.say(&["--as", "eve", "break-glass", "approve", grant, "--rationale", "mine"]);
    assert!(hers.code == 1 && hers.err.contains("EP0655"), "{hers:?}");
    place.ok(&["--as", "eve", "operator", "add", "doll", "--role", "approver"]);
    for rotates in [false, true] {
        if rotates {
            place.ok(&["--as", "doll", "operator", "rotate", "doll"]);
        }
        let puppet = place.say(&["--as", "doll", "break-glass", "approve", grant, "--rationale", "mine"]);
        assert!(puppet.code == 1 && puppet.err.contains("EP0311"), "{puppet:?}");
        assert!(!puppet.err.contains("gate"), "{puppet:?}");
    }
    let open = place.json(&["--as", "bob", "break-glass", "approve", grant, "--rationale", "looked at it"]);
    assert_eq!(
        (&open["stands"], &open["by"], &open["separation"]),
        (&"open".into(), &"bob".into(), &"same-home".into())
    );
    step(1);
    tells("allow (break_glass)");
    tells(&format!("break-glass {grant} by oscar and bob"));
    // What is inviolable stays so.
    tells("deny (forbidden_path)");
    step(2);
    let shown = place.json(&["break-glass", "show", grant]);
    assert_eq!(shown["used"].as_array().map(Vec::len), Some(1), "{shown:#}");
    let loud = place.say(&["runs", "list"]);
    assert!(loud.err.contains(grant) && loud.err.contains("execute_command prod-1"), "{loud:?}");
    assert!(doctor_says(&place, "break-glass").is_some_and(|detail| detail.contains(grant)));
    let listed = place.ok(&["break-glass", "list"]);
    assert!(
        listed.contains("open, by bob") && place.ok(&["break-glass", "show", grant]).contains("End it with"),
        "{listed}"
    );
    place.ok(&["--as", "bob", "break-glass", "end", grant, "--reason", "it is up again"]);
    assert_eq!(doctor_says(&place, "break-glass"), None);
    step(3);
    let said = run.end();
    let events: Vec<Value> = said.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let alerts = events.iter().filter(|event| event["type"] == "alert_raised").count();
    assert_eq!(alerts, 2, "one that it is open and one for its first use; the second use is no news");
    let last = events.iter().rfind(|event| event["type"] == "action_decided").unwrap();
    assert_eq!(last["data"]["decision"], "deny", "{last:#}");
    let over = place.json(&["break-glass", "list"]);
    assert_eq!((&over[0]["stands"], &over[0]["because"]), (&"over".into(), &"ended".into()), "{over:#}");
    assert_eq!(
        (&over[0]["reason"], &over[0]["why"]),
        (&"production is down".into(), &"it is up again".into()),
        "{over:#}"
    );
    let trail = place.ok(&["ledger", "show"]);
    assert!(trail.contains(&format!("allow, break-glass {grant} by oscar and bob")), "{trail}");
    place.ok(&["ledger", "verify", "--replay"]);
}

/// Has these in force beside those that ship.
fn with_policies(place: &Place, more: &str) {
    let own = place.home().join("policies");
    std::fs::create_dir(&own).unwrap();
    for file in eparch_policy::DEFAULTS {
        std::fs::write(own.join(file.name), file.text).unwrap();
    }
    std::fs::write(own.join("zz.cedar"), more).unwrap();
    place.put_in_force("bob");
}

/// What runs under a grant runs no longer than it: whoever ends the grant ends the command, which is recorded as cut off (G2, G7).
#[test]
fn g2_ending_what_is_let_pass_ends_what_runs_under_it() {
    let place = home();
    let word = format!("{}75", std::process::id());
    for folder in ["go", "src"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
    }
    // It does not leave when it is asked to, and neither does what it started.
    let script = format!(
        "while [ ! -e go/1 ]; do sleep 0.05; done; \
         eparch act write_file --target src --key k -- sh -c 'trap \"\" TERM; setsid sleep {word} & sleep {word}; sleep {word}'; \
         sleep 600"
    );
    let text = format!(
        "name: one\nstages:\n  - name: only\n    type: agent\n    config: {{tier: 1, paths: {{write: [go]}}, command: [sh, -c, {}]}}\n",
        Value::from(script)
    );
    let run = place.start(&["--as", "oscar", "--format", "json", "run", &place.file("p.yaml", &text)]);
    run.event("program_released");
    let id = place.json(&["runs", "list", "--live"])[0]["pipeline_id"].as_str().unwrap().to_owned();
    let asked = place.json(&[
        "--as",
        "oscar",
        "break-glass",
        "request",
        "--run",
        &id,
        "--allow",
        "write_file src",
        "--reason",
        "a\u{200b}b",
    ]);
    let grant = asked["grant"].as_str().unwrap();
    // What nobody sees of the reason is written out to whoever looks at it.
    let shown = place.ok(&["break-glass", "show", grant]);
    assert!(shown.contains("a\\u{200b}b"), "{shown}");
    place.ok(&["--as", "bob", "break-glass", "approve", grant, "--rationale", "looked at it"]);
    std::fs::write(place.path("go/1"), "").unwrap();
    run.event("performance_released");
    wait_until("it runs", || runs_somewhere(&word).then_some(()));
    place.ok(&["--as", "bob", "break-glass", "end", grant, "--reason", "no need"]);
    wait_until("nothing of it lives", || (!runs_somewhere(&word)).then_some(()));
    let ended = run.event("performance_ended");
    let because = format!("{grant} is over");
    assert_eq!(ended["end"], serde_json::json!({ "how": "cut", "because": because }), "{ended:#}");
    place.ok(&["runs", "stop", "--last"]);
    run.end();
    let trail = place.ok(&["ledger", "show"]);
    assert!(trail.contains("cut off: ") && trail.contains("what it did is unknown"), "{trail}");
    place.ok(&["ledger", "verify", "--replay"]);
}

/// A place whose name nobody can tell from another's is none: it is refused with the number of what nobody sees.
#[test]
fn what_nobody_sees_stands_in_no_target() {
    let place = home();
    let script = "eparch act read_file --target $(printf 'docs/a\\342\\200\\213b') --key k";
    let text = format!(
        "name: one\nstages:\n  - name: only\n    type: agent\n    config: {{tier: 1, paths: {{read: [docs]}}, command: [sh, -c, {}]}}\n",
        Value::from(script)
    );
    std::fs::create_dir_all(place.path("docs")).unwrap();
    let said = place.say(&["--format", "json", "run", &place.file("p.yaml", &text)]);
    assert!(said.out.contains("EP0613") && said.out.contains("U+200B"), "{said:?}");
    let refused = place.say(&[
        "--as",
        "oscar",
        "break-glass",
        "request",
        "--next-run-of",
        "oscar",
        "--allow",
        "read_file docs/\u{202e}x",
        "--reason",
        "r",
    ]);
    assert!(
        refused.code == 1 && refused.err.contains("EP0654") && refused.err.contains("U+202E"),
        "{refused:?}"
    );
}

/// What only watches decides nothing, and what it would have said stands beside each verdict.
#[test]
fn a_watched_policy_is_told_beside_the_verdict_and_changes_none() {
    let place = home();
    std::fs::create_dir_all(place.path("docs")).unwrap();
    std::fs::write(place.path("docs/a"), "a").unwrap();
    let watched = "@id(\"zz-watched\")\n@reason(\"too_curious\")\n@shadow\n\
                   forbid (principal is Agent, action in Action::\"look\", resource);\n";
    with_policies(&place, watched);
    let script = "eparch act read_file --target docs/a --key k";
    let text = format!(
        "name: one\nstages:\n  - name: only\n    type: agent\n    config: {{tier: 1, paths: {{read: [docs]}}, command: [sh, -c, {}]}}\n",
        Value::from(script)
    );
    let said = place.ok(&["--format", "json", "run", &place.file("p.yaml", &text)]);
    assert!(said.contains("allow (own_work)"), "{said}");
    assert!(said.contains("watched: zz-watched would say deny (too_curious)"), "{said}");
    let counted = doctor_says(&place, "watched policy");
    assert_eq!(counted.as_deref(), Some("zz-watched would say deny where allow was decided: 1 times"));
    let trail = place.ok(&["ledger", "show"]);
    assert!(trail.contains("watched zz-watched would say deny"), "{trail}");
    let shown = place.ok(&["runs", "show", "--last"]);
    let words =
        "would change 1 decision\n  zz-watched would say deny (too_curious) where allow was decided: once\n";
    assert!(shown.contains(words), "{shown}");
    let run = place.json(&["runs", "show", "--last"]);
    assert_eq!(run["decided_otherwise"], 1, "{run:#}");
    assert_eq!(
        run["watched"],
        serde_json::json!([{
            "policy": "zz-watched", "would": "deny", "reason_code": "too_curious", "decided": "allow", "otherwise": true,
            "times": 1,
        }])
    );
    assert_eq!(place.json(&["runs", "list"])[0]["decided_otherwise"], 1);
    place.ok(&["ledger", "rebuild-views"]);
    assert_eq!(place.json(&["runs", "show", "--last"]), run);
}

/// Whoever watches a run sees it when it is decided; whoever is asked sees it before they answer.
#[test]
fn what_a_watched_policy_would_say_is_seen_in_the_lines_of_a_run_and_at_its_gates() {
    let place = home();
    let policies = r#"
@id("localhost-ask") @reason("needs_people") @verdict("ask")
permit (principal is Agent, action == Action::"execute_command", resource == Host::"localhost")
unless { context.approvals >= 1 };
@id("zz-never") @reason("not_here") @shadow
forbid (principal is Agent, action == Action::"execute_command", resource);
@id("zz-yes") @reason("why_not") @shadow
permit (principal is Agent, action == Action::"execute_command", resource);
"#;
    with_policies(&place, policies);
    let file = place.file(
        "p.yaml",
        "name: one\nstages:\n  - name: only\n    type: agent\n    config:\n      tier: 1\n      \
         actions: [\"execute_command localhost\"]\n      \
         command: [eparch, act, execute_command, --target, localhost, --wait]\n",
    );
    let run = place.start(&["run", &file]);
    run.until_told(
        "only: execute_command localhost: ask (needs_people); watched: zz-never would say deny (not_here)",
    );
    run.until_told("waits for");
    let listed = place.ok(&["approvals", "list"]);
    assert!(listed.contains("only: execute_command localhost (watched: deny)"), "{listed}");
    let gates = place.json(&["approvals", "list"]);
    let (gate, watched) = (gates[0]["gate"].as_str().unwrap(), &gates[0]["watched"]);
    assert_eq!(watched[0]["policy"], "zz-never", "{gates:#}");
    let shown = place.ok(&["approvals", "show", gate]);
    for part in [
        "watched    zz-never would say deny (not_here)\n",
        "watched    zz-yes would say allow (why_not), which changes nothing\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    place.ok(&["--as", "bob", "approvals", "approve", gate, "--rationale", "seen"]);
    let said = run.end();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("would change 2 decisions\n"), "{said:?}");
}
