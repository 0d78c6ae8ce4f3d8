//! Running pipelines: to their end, detached, interrupted, again, side by side.

use rustix::process::Signal;
use serde_json::Value;

use crate::console::{Place, is_there, one_stage, runs_somewhere, until_gone, wait_until};

const TWO_STAGES: &str = r#"
name: hello
inputs:
  who: {type: string, default: world}
stages:
  - name: greet
    type: agent
    config:
      command: [sh, -c, 'echo "hello $1"; echo "said=$1" >> "$EPARCH_OUTPUT"; echo data > a.txt', sh, "${{ inputs.who }}"]
      artifacts: [a.txt]
  - name: answer
    type: agent
    requires: [greet]
    config: {command: [sh, -c, 'echo "they said $1"', sh, "${{ stages.greet.outputs.said }}"]}
"#;

#[test]
fn r059_a_run_in_a_fresh_place_makes_a_home_and_completes() {
    let place = Place::new();
    let file = place.file("p.yaml", TWO_STAGES);
    let said = place.say(&["run", &file, "--input", "who=ada"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("Made a home at"), "{said:?}");
    assert!(
        said.err.contains("greet | hello ada") && said.err.contains("answer | they said ada"),
        "{said:?}"
    );
    assert!(said.err.contains("greet: COMPLETED"), "{said:?}");
    assert!(said.out.contains("COMPLETED hello"), "{said:?}");
    let artifact = said.out.lines().find(|line| line.contains("a.txt")).unwrap();
    assert_eq!(std::fs::read_to_string(artifact.split_whitespace().next().unwrap()).unwrap(), "data\n");
    // Again, and another name for the same command.
    assert_eq!(place.say(&["pipeline", "run", &file, "-q"]).code, 0);
    assert_eq!(place.json(&["runs"]).as_array().unwrap().len(), 2);
    assert!(place.ok(&["runs", "logs", "--last"]).contains("greet | hello world"));
}

#[test]
fn events_are_json_lines_and_the_last_is_the_result() {
    let place = Place::new();
    let file = place.file("p.yaml", TWO_STAGES);
    let said = place.say(&["run", &file, "--format", "json"]);
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let result = lines.last().unwrap();
    assert_eq!((result["status"].as_str(), result["exit_code"].as_i64()), (Some("COMPLETED"), Some(0)));
    assert_eq!((result["type"].as_str(), result["interrupted"].as_bool()), (Some("result"), Some(false)));
    assert_eq!(lines[0]["type"], "run_spawned");
    let logged: Vec<&str> = lines
        .iter()
        .filter(|line| line["type"] == "log")
        .filter_map(|line| line["data"]["line"].as_str())
        .collect();
    assert_eq!(logged, ["hello world", "they said world"]);
    assert_eq!(result["stages"][0]["outputs"]["said"], "world");
}

#[test]
fn a_failed_run_exits_1_and_shows_what_was_said_last() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("echo so far; echo no further >&2; exit 7"));
    let said = place.say(&["run", &file, "--quiet"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("FAILED") && said.out.contains("it exited with 7"), "{said:?}");
    assert!(said.out.contains("no further"), "{said:?}");
}

#[test]
fn r043_a_stage_above_the_grant_is_refused() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("true").replace("config: {", "config: {tier: 1, "));
    let said = place.say(&["run", &file, "--tier", "0"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("EP0207") && said.err.contains("--tier"), "{said:?}");
    assert_eq!(place.say(&["run", &file, "--tier", "1"]).code, 0);
}

#[test]
fn a_detached_run_goes_on_and_can_be_watched() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("echo here; sleep 1"));
    let id = place.ok(&["run", "--detach", &file]);
    assert!(id.trim().starts_with("run_") && id.lines().count() == 1, "{id}");
    let said = place.say(&["runs", "resume", "--last"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("COMPLETED") && said.out.contains(id.trim()));
    // One that has ended ends at once, with the same code.
    assert_eq!(place.say(&["runs", "resume", id.trim()]).code, 0);
}

#[test]
fn r204_an_interrupt_ends_the_run_and_everything_of_it() {
    let place = Place::new();
    let word = format!("98{}", std::process::id());
    let file = place.file("p.yaml", &one_stage(&format!("echo ready; sleep {word}")));
    let run = place.start(&["run", &file, "--format", "json"]);
    run.event("log");
    wait_until("it sleeps", || runs_somewhere(&word).then_some(()));
    run.signal(Signal::INT);
    let said = run.end();
    assert_eq!(said.code, 130, "{said:?}");
    let result: Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    assert_eq!((result["status"].as_str(), result["interrupted"].as_bool()), (Some("STOPPED"), Some(true)));
    assert!(!runs_somewhere(&word), "nothing of it is alive");
    assert_eq!(place.json(&["runs", "show", "--last"])["exit_code"], 3);
}

#[test]
fn a_second_interrupt_leaves_at_once_and_the_run_ends_all_the_same() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("trap '' TERM; echo ready; while :; do sleep 600; done"));
    let run = place.start(&["run", &file, "--format", "json"]);
    run.event("log");
    run.signal(Signal::INT);
    run.until_told("Stopping the run");
    // What is said comes before what is asked for: whoever leaves in between has asked for nothing.
    run.event("run_ending");
    run.signal(Signal::INT);
    let said = run.end();
    assert_eq!(said.code, 130, "{said:?}");
    assert_eq!(place.say(&["runs", "resume", "--last"]).code, 3);
}

#[test]
fn logs_are_followed_to_the_end_of_the_run() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("echo first; sleep 1; echo last"));
    let run = place.start(&["run", &file, "--format", "json"]);
    run.event("log");
    let said = place.start(&["runs", "logs", "--last", "--follow"]).end();
    assert_eq!((said.code, said.out.as_str()), (0, "only | first\nonly | last\n"));
    assert_eq!(run.end().code, 0);
    assert!(
        place
            .ok(&["runs", "logs", "--last", "--stage", "only", "--format", "json"])
            .contains("\"line\":\"last\"")
    );
}

#[test]
fn a_run_is_stopped_from_elsewhere() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("echo ready; sleep 600"));
    let run = place.start(&["run", &file, "--format", "json"]);
    let log = run.event("log");
    place.ok(&["runs", "stop", log["pipeline_id"].as_str().unwrap(), "--reason", "enough"]);
    let said = run.end();
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("enough"), "{said:?}");
    assert!(place.ok(&["runs", "stop", "--last"]).contains("STOPPED"), "an emergency stop may come twice");
}

#[test]
fn a_run_is_made_again_from_a_stage_on() {
    let place = Place::new();
    let file = place.file("p.yaml", TWO_STAGES);
    place.ok(&["run", &file, "--input", "who=bob"]);
    let said = place.say(&["runs", "retry", "--last", "--from", "answer"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("answer | they said bob") && !said.err.contains("greet |"), "{said:?}");
    let detail = place.json(&["runs", "show", "--last"]);
    assert!(detail["repeats"].as_str().is_some());
    assert!(place.say(&["runs", "retry", "--last", "--from", "nothing"]).err.contains("EP0209"));
}

#[test]
fn a_run_that_is_made_again_sees_the_environment_and_the_failures_of_the_first() {
    let place = Place::new();
    let file = place.file(
        "p.yaml",
        r#"
name: again
stages:
  - name: lint
    type: agent
    config: {command: [sh, -c, 'echo linted; exit 1'], continue_on_error: true}
  - name: build
    type: agent
    requires: [lint]
    config: {command: [echo, built]}
  - name: deploy
    type: agent
    requires: [build, lint]
    config: {command: [sh, -c, 'echo "saw $1 with $2"; exit 1', sh, "${{ stages.lint.status }}", "${{ env.PATH }}"]}
"#,
    );
    place.ok(&["init", "--owner", "ada"]);
    std::fs::write(place.home().join("eparch.toml"), "[environment]\nallow = [\"PATH\"]\n").unwrap();
    let saw = format!("deploy | saw FAILED with {}", std::env::var("PATH").unwrap());
    let said = place.say(&["run", &file]);
    assert!(said.code == 1 && said.err.contains(&saw), "{said:?}");
    let said = place.say(&["runs", "retry", "--last", "--from", "deploy"]);
    assert!(said.code == 1 && said.err.contains(&saw), "{said:?}");
    assert!(!said.err.contains("linted") && !said.err.contains("built"), "{said:?}");
}

#[test]
fn g7_a_run_outlives_its_holder_and_so_does_its_watcher() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("echo ready; sleep 1; echo done"));
    let run = place.start(&["run", &file, "--format", "json"]);
    run.event("log");
    place.end_holder(Signal::KILL);
    let said = run.end();
    assert_eq!(said.code, 0, "{said:?}");
    let result: Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (result["status"].as_str(), result["stages"][0]["attempts"].as_i64()),
        (Some("COMPLETED"), Some(2))
    );
    // Nothing was told twice.
    let mut told: Vec<&str> = said.out.lines().filter(|line| !line.contains("\"type\":\"log\"")).collect();
    let count = told.len();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), count);
}

#[test]
fn several_runs_begin_at_once_in_a_fresh_place() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("true"));
    let runs: Vec<_> = (0..4).map(|_| place.start(&["run", &file, "--quiet"])).collect();
    for run in runs {
        let said = run.end();
        assert_eq!(said.code, 0, "{said:?}");
    }
    assert_eq!(place.json(&["runs"]).as_array().unwrap().len(), 4);
}

#[test]
fn the_holder_leaves_when_nobody_needs_it() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("true"));
    place.ok(&["run", &file]);
    let pid = place.holder().unwrap();
    // Asking it whether it is there would be needing it.
    until_gone("the holder leaves", pid);
    assert!(!is_there(place.home().join("control.sock")));
    // And is there again when somebody does.
    assert_eq!(place.json(&["runs"]).as_array().unwrap().len(), 1);
}

#[test]
fn r044_a_run_without_any_time_is_refused() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("true"));
    for words in [["run", &file], ["plan", &file]] {
        let said = place.say(&[&["pipeline"], &words[..], &["--timeout", "0s"]].concat());
        assert!(said.code == 64 && said.err.contains("more than 0"), "{said:?}");
    }
    assert!(!place.home().exists());
}
