//! Pipelines as files: validate, plan, draw, templates.

use serde_json::Value;

use crate::console::{Place, is_there, one_stage};

const FAULTY: &str = "name: bad\nstages:\n  - name: a\n    type: agnt\n    config:\n      command: [x]\n";

#[test]
fn r058_validate_names_line_and_column_and_exits_65() {
    let place = Place::new();
    let (good, bad) = (place.file("good.yaml", &one_stage("true")), place.file("bad.yaml", FAULTY));
    let said = place.say(&["pipeline", "validate", &good]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = place.say(&["pipeline", "validate", &good, &bad]);
    assert_eq!(said.code, 65, "{said:?}");
    assert!(said.out.contains("error[EP0113]") && said.out.contains("bad.yaml:4:11"), "{said:?}");
    assert!(said.out.contains("did you mean `agent`?"), "{said:?}");
    assert!(!is_there(place.home()), "nothing is made by looking");
}

#[test]
fn r058_problems_as_json_and_sarif() {
    let place = Place::new();
    let bad = place.file("bad.yaml", FAULTY);
    let said = place.say(&["pipeline", "validate", &bad, "--format", "json"]);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, found["valid"].as_bool()), (65, Some(false)));
    assert_eq!(found["files"][0]["diagnostics"][0]["line"], 4);
    let said = place.say(&["pipeline", "validate", &bad, "--format", "sarif"]);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, found["version"].as_str()), (65, Some("2.1.0")));
}

#[test]
fn r058_a_file_that_cannot_be_read_is_a_bad_document() {
    let said = Place::new().say(&["pipeline", "validate", "nowhere.yaml"]);
    assert_eq!(said.code, 65);
    assert!(said.err.contains("error[EP0702]") && said.err.contains("= help:"), "{said:?}");
}

#[test]
fn r059_an_undeclared_input_is_refused_before_anything_is_made() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("true"));
    let said = place.say(&["run", &file, "--input", "colour=red"]);
    assert_eq!(said.code, 65, "{said:?}");
    assert!(said.err.contains("EP0190") && said.err.contains("colour"), "{said:?}");
    assert!(!is_there(place.home()));
    let said = place.say(&["run", &file, "--input", "colour=red", "--format", "json"]);
    let error: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, error["error"]["code"].as_str()), (65, Some("EP0190")));
    assert_eq!(place.say(&["run", &file, "--input", "colour"]).code, 64);
}

#[test]
fn r060_the_templates_are_listed() {
    let place = Place::new();
    let text = place.ok(&["pipeline", "list"]);
    assert!(
        ["default", "terraform", "ansible", "code-review"].iter().all(|name| text.contains(name)),
        "{text}"
    );
    let listed: Vec<Value> = serde_json::from_str(&place.ok(&["pipeline", "list", "--json"])).unwrap();
    assert!(listed.len() >= 4);
    let default = listed.iter().find(|template| template["name"] == "default").unwrap();
    assert_eq!(default["tier"], 0);
}

#[test]
fn r061_a_kept_plan_is_started_as_it_was_planned() {
    let place = Place::new();
    let text = one_stage("true").replace("config: {", "config: {tier: 1, ");
    let file = place.file("p.yaml", &text);
    let plan = place.json(&["pipeline", "plan", &file, "--save"])["plan_id"].as_str().unwrap().to_owned();
    // The file may change: what was planned is what runs.
    place.file("p.yaml", &text.replace("true", "false"));
    let said = place.say(&["pipeline", "spawn", "--plan", &plan, "--tier", "0"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("EP0207"), "{said:?}");
    let run = place.ok(&["pipeline", "spawn", "--plan", &plan, "--tier", "1"]);
    assert!(run.starts_with("run_"), "{run}");
    place.ok(&["runs", "resume", run.trim()]);
    assert_eq!(place.json(&["runs", "show", run.trim()])["plan_id"], plan.as_str());
    let other = format!("sha256:{}", "0".repeat(64));
    assert!(place.say(&["pipeline", "spawn", "--plan", &other]).err.contains("EP0716"));
}

#[test]
fn a_plan_shows_what_would_run_and_is_refused_above_its_grant() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("true").replace("config: {", "config: {tier: 2, "));
    assert!(place.ok(&["pipeline", "plan", &file]).contains("only"));
    assert_eq!(place.say(&["pipeline", "plan", &file, "--tier", "1"]).code, 1);
    assert!(place.ok(&["pipeline", "graph", &file]).contains("only"));
    assert!(place.ok(&["pipeline", "graph", &file, "--format", "dot"]).contains("digraph"));
    assert!(!is_there(place.home()), "nothing is made by planning");
}

#[test]
fn r062_an_approver_nobody_knows_is_warned_of_until_they_are_known() {
    let place = Place::new();
    let text = "name: g\nstages:\n  - name: ask\n    type: gate\n    config: {approvers: [team-lead]}\n";
    let file = place.file("g.yaml", text);
    let warned = |place: &Place| place.ok(&["pipeline", "validate", &file]).contains("EP0162");
    assert!(warned(&place), "without a home");
    place.ok(&["init", "--owner", "ada"]);
    assert!(warned(&place), "without the operator");
    place.ok(&["operator", "add", "team-lead", "--role", "approver"]);
    assert!(!warned(&place), "asking the holder");
    place.end_holder(rustix::process::Signal::TERM);
    assert!(!warned(&place), "reading the ledger");
}
