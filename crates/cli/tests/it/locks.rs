//! Locks between runs: one works at a time, whoever dies.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::console::{Place, wait_until};

/// Writes the number it has the lock with, over and over, until it is told to stop. Two of these at once would write two
/// numbers in turn.
const WORKS: &str = r#"
n=$(printf %s "$EPARCH_LOCKS" | tr -dc 0-9)
grep -q "\"production\": $n" "$EPARCH_PACKET" || exit 9
while [ ! -e "state/stop-$WHO" ]; do echo "$n" >> state/log; sleep 0.02; done
"#;

fn pipeline(who: &str) -> String {
    let script = Value::from(WORKS);
    format!(
        "name: {who}\nstages:\n  - name: deploy\n    type: agent\n    config:\n      tier: 1\n      command: [sh, -c, {script}]\n      \
         env: {{WHO: {who}}}\n      paths: {{write: [state]}}\n      locks: [production]\n"
    )
}

/// Two runs that want one lock, the first of them at work.
fn two_runs(place: &Place) -> [String; 2] {
    place.ok(&["init", "--owner", "ada"]);
    let start = |who: &str| {
        let file = place.file(&format!("{who}.yaml"), &pipeline(who));
        place.ok(&["run", &file, "--detach"]).trim().to_owned()
    };
    let first = start("first");
    wait_for_number(place, 1);
    [first, start("second")]
}

fn numbers(place: &Place) -> Vec<u64> {
    let log = fs::read_to_string(place.path("state/log")).unwrap_or_default();
    // The last line may be half written.
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    whole.lines().map(|line| line.parse().unwrap()).collect()
}

fn wait_for_number(place: &Place, number: u64) {
    wait_until("somebody works", || numbers(place).contains(&number).then_some(()));
}

fn stop(place: &Place, who: &str) {
    fs::write(place.path(&format!("state/stop-{who}")), "").unwrap();
}

fn stage(place: &Place, run: &str) -> Value {
    place.json(&["runs", "show", run])["stages"][0].clone()
}

fn ended(place: &Place, run: &str) -> Value {
    let terminal = |stage: &Value| !stage["ended_at"].is_null();
    wait_until("the stage ends", || Some(stage(place, run)).filter(terminal))
}

#[test]
fn r151_g6_one_works_at_a_time_also_when_the_holder_is_killed_in_between() {
    let place = Place::new();
    let [first, second] = two_runs(&place);
    let waits = stage(&place, &second);
    assert_eq!(waits["status"], "READY", "{waits}");
    assert_eq!(waits["reason"], format!("waiting for lock production held by {first} stage deploy"));
    let locks = place.json(&["lock", "list"]);
    assert_eq!((&locks[0]["lock"], &locks[0]["fence"]), (&"production".into(), &1.into()), "{locks}");
    assert_eq!((&locks[0]["standing"], &locks[0]["pipeline_id"]), (&"held".into(), &first.clone().into()));
    assert_eq!(locks[0]["waiting"][0]["run"], second.as_str(), "{locks}");
    let listed = place.ok(&["lock", "list"]);
    assert!(listed.contains("production") && listed.contains(&first), "{listed}");

    place.end_holder(Signal::KILL);
    // Whoever comes next finds the first one's processes dead, and the lock goes to whoever waited.
    let shown: Value = serde_json::from_str(&place.ok(&["lock", "list", "--json"])).unwrap();
    assert!(shown.is_array(), "{shown}");
    wait_for_number(&place, 2);
    assert_eq!(place.json(&["lock", "list"])[0]["pipeline_id"], second.as_str());
    stop(&place, "second");
    assert_eq!(ended(&place, &second)["status"], "COMPLETED");
    // The first is tried again, with another number.
    wait_for_number(&place, 3);
    stop(&place, "first");
    assert_eq!(ended(&place, &first)["status"], "COMPLETED");

    let written = numbers(&place);
    assert!(written.is_sorted(), "two worked at once: {written:?}");
    wait_until("nothing is held", || {
        (place.json(&["lock", "list"]) == Value::Array(Vec::new())).then_some(())
    });
    let told = place.say(&["lock", "list"]);
    assert!(told.code == 0 && told.err.contains("No lock is held"), "{told:?}");
    let trail = place.ok(&["ledger", "show"]);
    for said in ["has the lock production, fencing number 3", "the lock production is free"] {
        assert!(trail.contains(said), "{said}: {trail}");
    }
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn r064_whose_lock_is_taken_away_does_nothing_more_and_the_next_one_goes_on() {
    let place = Place::new();
    let [first, second] = two_runs(&place);
    place.ok(&["operator", "add", "bob", "--role", "approver"]);
    let taken = |words: &[&str]| place.say(&[&["lock", "release"], words].concat());
    assert_eq!(taken(&["production"]).code, 64, "a reason is needed");
    assert_eq!(taken(&["no such lock", "--reason", "x"]).code, 64);
    let none = taken(&["staging", "--reason", "x"]);
    assert!(none.code == 1 && none.err.contains("EP0671"), "{none:?}");
    let refused = place.say(&["--as", "bob", "lock", "release", "production", "--reason", "x"]);
    assert!(refused.code == 1 && refused.err.contains("EP0205"), "{refused:?}");
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let refused = taken(&["production", "--reason", &secret]);
    assert!(refused.code == 1 && refused.err.contains("EP0224"), "{refused:?}");

    let released = place.json(&["lock", "release", "production", "--reason", "the wrong version"]);
    assert!(released["agent_id"].as_str().is_some_and(|id| id.starts_with("agt_")), "{released}");
    let lost = ended(&place, &first);
    assert_eq!((&lost["status"], &lost["attempts"]), (&"FAILED".into(), &1.into()), "{lost}");
    let why = "it lost the lock production: ada took it away: the wrong version (EP0672)";
    assert_eq!(lost["reason"], why);
    wait_for_number(&place, 2);
    stop(&place, "second");
    assert_eq!(ended(&place, &second)["status"], "COMPLETED");
    let written = numbers(&place);
    assert!(written.is_sorted(), "two worked at once: {written:?}");
    let trail = place.ok(&["ledger", "show"]);
    assert!(trail.contains("ada takes the lock production away"), "{trail}");
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn who_watches_is_told_whom_a_stage_waits_for() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let file = place.file("first.yaml", &pipeline("first"));
    let first = place.ok(&["run", &file, "--detach"]).trim().to_owned();
    wait_for_number(&place, 1);
    let second = place.start(&["run", &place.file("second.yaml", &pipeline("second"))]);
    second.until_told(&format!("deploy: waiting for lock production held by {first} stage deploy"));
    let third = place.start(&["--format", "json", "run", &place.file("third.yaml", &pipeline("third"))]);
    assert_eq!(third.event("lock_waiting")["lock"], "production");
    for who in ["first", "second", "third"] {
        stop(&place, who);
    }
    assert_eq!(third.event("lock_acquired")["fence"], 3);
    assert_eq!((second.end().code, third.end().code), (0, 0));
    let plan = place.ok(&["pipeline", "plan", &place.path("second.yaml").display().to_string()]);
    assert!(plan.contains("locks: production"), "{plan}");
}
