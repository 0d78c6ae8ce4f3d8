//! What agents earn, with the real binary: runs that count, one who asks, another who answers, and what it costs to do wrong.

use serde_json::Value;

use crate::console::Place;
use crate::terminal::Terminal;

/// A stage whose script makes a plan, and does wrong when it is told to: its command is the same either way.
const PIPELINE: &str = r#"name: earn
inputs:
  insist: {type: string, default: "no"}
stages:
  - name: only
    type: agent
    config:
      tier: 1
      paths: {read: [docs]}
      env: {INSIST: "${{ inputs.insist }}"}
      command:
      - sh
      - -c
      - |
        permit=$(eparch act generate_plan --target . --key p | sed -n 's/^permit //p')
        echo "look, then do" > "$EPARCH_ARTIFACTS/plan"
        eparch act --done "$permit" --detail planned || exit 9
        [ "$INSIST" = yes ] || exit 0
        for key in a b c d; do eparch act execute_command --target prod-1 --key $key; done
        exit 0
"#;

fn home() -> (Place, String) {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    for (name, role) in [("bob", "approver"), ("dave", "viewer")] {
        place.ok(&["operator", "add", name, "--role", role, "--max-tier", "2"]);
    }
    std::fs::create_dir_all(place.path("docs")).unwrap();
    let file = place.file("earn.yaml", PIPELINE);
    (place, file)
}

fn only_standing(place: &Place) -> String {
    let all = place.json(&["agent", "list", "--earned"]);
    assert_eq!(all.as_array().unwrap().len(), 1, "{all:#}");
    all[0]["standing"].as_str().unwrap().to_owned()
}

/// The digest of the request that waits, as it is shown.
fn waiting(place: &Place, id: &str) -> String {
    let shown = place.json(&["agent", "show", id]);
    shown["promotion"]["subject"].as_str().unwrap().to_owned()
}

/// What is approved is what was shown: a script names it, somebody at a terminal sees it, and an answer to a request that was taken back
/// is none to the one after it, which reads the same (G5).
#[test]
fn g5_a_promotion_is_approved_by_what_was_shown() {
    let (place, file) = home();
    for _ in 0..5 {
        place.ok(&["run", &file]);
    }
    let id = only_standing(&place);
    let ask = || place.ok(&["agent", "promote", &id, "--rationale", "it does well"]);
    let approve = |more: &[&str]| {
        let words = ["--as", "bob", "agent", "promote", &id, "--approve", "--rationale", "seen"];
        place.say(&[&words[..], more].concat())
    };
    let nobody = approve(&[]);
    assert!(nobody.code == 1 && nobody.err.contains("EP0644"), "{nobody:?}");
    ask();
    for unseen in [approve(&[]), approve(&["--format", "json"])] {
        let told = format!("{}{}", unseen.out, unseen.err);
        assert!(unseen.code == 64 && told.contains("EP0649"), "{unseen:?}");
        assert!(told.contains(&format!("eparch agent show {id}")), "{unseen:?}");
    }
    let first = waiting(&place, &id);
    // A no gives nobody anything: it needs no digest.
    place.ok(&["agent", "promote", &id, "--deny", "--rationale", "not yet"]);
    ask();
    let second = waiting(&place, &id);
    assert_ne!(first, second);
    let late = approve(&["--digest", &first]);
    assert!(late.code == 1 && late.err.contains("EP0647") && late.err.contains(&second), "{late:?}");
    assert_eq!(place.json(&["agent", "show", &id])["tier"], 0);
    let words = ["--as", "bob", "agent", "promote", &id, "--approve", "--rationale", "seen"];
    let mut terminal = Terminal::start(&place, &words, 100, 30);
    terminal.until("Approve as bob?", 1);
    terminal.types("\n");
    assert_eq!(terminal.end(), 0);
    assert_eq!(waiting(&place, &id), second, "it waits");
    let mut terminal = Terminal::start(&place, &words, 100, 30);
    terminal.until("Approve as bob?", 1);
    let shown = terminal.shown();
    for part in ["5 runs, 5 compliant", "ada asks for it: it does well", "from T0 to T1", &second] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // While it is looked at, it is taken back and asked for anew.
    place.ok(&["agent", "promote", &id, "--deny", "--rationale", "wait"]);
    ask();
    terminal.types("y\n");
    terminal.until("EP0647", 1);
    assert_eq!(terminal.end(), 1);
    let mut terminal = Terminal::start(&place, &words, 100, 30);
    terminal.until("Approve as bob?", 1);
    terminal.types("y\n");
    assert_eq!(terminal.end(), 0);
    assert_eq!(place.json(&["agent", "show", &id])["tier"], 1);
    place.ok(&["ledger", "verify", "--replay"]);
}

/// Four runs are not enough and what is missing is said; nobody approves their own request; the promotion is in the ledger with
/// the tier, and the read models made anew say the same (R085, R086, R088, R096, R097, R115).
#[test]
fn r085_r086_r088_r115_an_agent_earns_t1_and_another_person_approves() {
    let (place, file) = home();
    for _ in 0..4 {
        place.ok(&["run", &file]);
    }
    let id = only_standing(&place);
    let early = place.say(&["agent", "promote", &id, "--rationale", "it does well"]);
    assert!(early.code == 1 && early.err.contains("EP0641"), "{early:?}");
    assert!(early.err.contains("1 more compliant plan-only runs (4 of 5)"), "{early:?}");
    place.ok(&["run", &file]);
    let shown = place.json(&["agent", "show", &id]);
    assert_eq!((&shown["tier"], &shown["compliant_runs"]), (&0.into(), &5.into()), "{shown:#}");
    assert_eq!(shown["next"]["missing"], Value::Array(Vec::new()), "{shown:#}");
    let above = place.say(&["agent", "promote", &id, "--to", "2", "--rationale", "fast"]);
    assert!(above.code == 1 && above.err.contains("EP0642"), "{above:?}");
    place.ok(&["agent", "promote", &id, "--rationale", "it does well"]);
    let approve = |by: &str| {
        let shown = waiting(&place, &id);
        place.say(&[
            "--as",
            by,
            "agent",
            "promote",
            &id,
            "--approve",
            "--digest",
            &shown,
            "--rationale",
            "seen",
        ])
    };
    let own = approve("ada");
    assert!(own.code == 1 && own.err.contains("EP0645"), "{own:?}");
    let viewer = approve("dave");
    assert!(viewer.code == 1 && viewer.err.contains("EP0205"), "{viewer:?}");
    let approved = approve("bob");
    assert_eq!(approved.code, 0, "{approved:?}");
    let shown = place.json(&["agent", "show", &id]);
    let states = |shown: &Value| -> Vec<String> {
        let rows = shown["promotions"].as_array().unwrap().iter();
        rows.map(|row| format!("{} {}", row["kind"].as_str().unwrap(), row["state"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(shown["tier"], 1, "{shown:#}");
    assert_eq!(states(&shown), ["promote approved", "promote requested"]);
    assert_eq!(shown["promotions"][0]["approved_by"], "bob");
    place.ok(&["ledger", "verify", "--replay"]);
    place.ok(&["ledger", "rebuild-views"]);
    assert_eq!(place.json(&["agent", "show", &id]), shown);
    place.ok(&["--as", "bob", "agent", "demote", &id, "--reason", "enough"]);
    assert_eq!(place.json(&["agent", "show", &id])["tier"], 0);
    let again = place.say(&["agent", "demote", &id, "--reason", "enough"]);
    assert!(again.code == 1 && again.err.contains("EP0646"), "{again:?}");
    place.ok(&["ledger", "verify", "--replay"]);
}

/// A HIGH violation of a promoted agent costs a tier in its own entry and raises one alert, which no restart and no replay
/// makes twice (R079, R087).
#[test]
fn r079_r087_a_bad_violation_raises_one_alert_and_costs_a_tier() {
    let (place, file) = home();
    for _ in 0..5 {
        place.ok(&["run", &file]);
    }
    let id = only_standing(&place);
    place.ok(&["agent", "promote", &id, "--rationale", "it does well"]);
    let shown = waiting(&place, &id);
    place.ok(&[
        "--as",
        "bob",
        "agent",
        "promote",
        &id,
        "--approve",
        "--digest",
        &shown,
        "--rationale",
        "seen",
    ]);
    let said = place.ok(&["--format", "json", "run", &file, "--input", "insist=yes"]);
    let events: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |kind: &str| -> Vec<&Value> { events.iter().filter(|event| event["type"] == kind).collect() };
    let (found, alerts, lowered) = (of("violation_found"), of("alert_raised"), of("standing_lowered"));
    assert_eq!((found.len(), alerts.len(), lowered.len()), (1, 1, 1), "{said}");
    assert_eq!(alerts[0]["data"]["severity"], "HIGH");
    assert_eq!((&lowered[0]["data"]["from"], &lowered[0]["data"]["to"]), (&1.into(), &0.into()));
    assert!(alerts[0]["seq"] == lowered[0]["seq"] && alerts[0]["seq"] == found[0]["seq"], "one entry");
    let shown = place.json(&["agent", "show", &id]);
    assert_eq!((&shown["tier"], &shown["violations_30d"]), (&0.into(), &1.into()), "{shown:#}");
    assert_eq!(shown["violations"][0]["alert_id"], alerts[0]["data"]["alert"]);
    place.end_holder(rustix::process::Signal::KILL);
    place.ok(&["ledger", "rebuild-views"]);
    let after = place.json(&["agent", "show", &id]);
    // What is missing says how long ago the violation was.
    for part in ["tier", "total_runs", "consecutive_compliant", "violations", "promotions"] {
        assert_eq!(after[part], shown[part], "{part}");
    }
    place.ok(&["ledger", "verify", "--replay"]);
}
