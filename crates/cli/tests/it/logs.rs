//! Following what a run's agents print: all of it, each line once, however slow its reader is and whoever holds the home.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::console::{Place, one_stage, wait_until};

const FOLLOW: [&str; 6] = ["runs", "logs", "--last", "--follow", "--format", "json"];

fn status(place: &Place) -> Value {
    place.json(&["runs", "show", "--last"])["status"].clone()
}

/// The lines that were printed, with the keys of each; and that these are always the same.
fn lines(out: &str) -> Vec<Value> {
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let shapes: BTreeSet<Vec<String>> = lines.iter().map(keys).collect();
    assert_eq!(Vec::from_iter(shapes), [["stage", "attempt", "ts", "stream", "line"].map(str::to_owned)]);
    lines
}

#[test]
fn a_slow_reader_of_a_followed_log_gets_every_line_once_and_in_one_shape() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "bob", "--role", "approver"]);
    let text = format!(
        "{}  - {{name: go, type: gate, requires: [only], config: {{approvers: [bob]}}}}\n  \
         - {{name: many, type: agent, requires: [go], config: {{command: [seq, '20000']}}}}\n",
        one_stage("echo ready")
    );
    place.ok(&["run", "--detach", &place.file("p.yaml", &text)]);
    let mut follow = place.command(&FOLLOW).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = follow.stdout.take().unwrap();
    // It follows by now; then nobody takes what it prints until the run is over.
    let mut said = vec![0; 1];
    out.read_exact(&mut said).unwrap();
    let gate = wait_until("the gate", || Some(place.json(&["approvals"])[0]["gate"].as_str()?.to_owned()));
    place.ok(&["approvals", "approve", &gate, "--rationale", "ok", "--as", "bob"]);
    wait_until("the run ends", || (status(&place) == "COMPLETED").then_some(()));
    out.read_to_end(&mut said).unwrap();
    assert!(follow.wait().unwrap().success());
    let lines = lines(&String::from_utf8(said).unwrap());
    let expected = std::iter::once("ready".to_owned()).chain((1..=20_000).map(|at| at.to_string()));
    assert!(lines.iter().map(|line| line["line"].as_str().unwrap().to_owned()).eq(expected));
}

#[test]
fn g7_what_is_printed_while_nobody_follows_is_not_lost_when_a_holder_takes_the_place_of_another() {
    let place = Place::new();
    let text = one_stage("echo ready; [ -e again ] || sleep 600; echo done");
    let text = text.replace("config: {", "config: {paths: {read: [\".\"]}, ");
    place.ok(&["run", "--detach", &place.file("p.yaml", &text)]);
    let follow = place.start(&FOLLOW);
    follow.until("a line", |line| line.contains("ready").then_some(()));
    // It is not there while the next holder makes the attempt again.
    follow.signal(Signal::STOP);
    place.file("again", "");
    place.end_holder(Signal::KILL);
    wait_until("the run ends", || (status(&place) == "COMPLETED").then_some(()));
    follow.signal(Signal::CONT);
    let said = follow.end();
    assert_eq!(said.code, 0, "{said:?}");
    let lines = lines(&said.out);
    let told: Vec<(u64, &str)> = lines
        .iter()
        .map(|line| (line["attempt"].as_u64().unwrap(), line["line"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(1, "ready"), (2, "ready"), (2, "done")]);
}

#[test]
fn a_holder_that_dies_again_and_again_is_not_started_for_ever_to_follow_its_logs() {
    let place = Place::new();
    place.ok(&["run", "--detach", &place.file("p.yaml", &one_stage("echo ready; sleep 600"))]);
    let follow = place.start(&FOLLOW);
    for attempt in 1..=3 {
        // Each holder makes an attempt of its own, and is dead once that is followed.
        let line = format!("\"attempt\":{attempt},");
        follow.until(&line, |said| said.contains(&line).then_some(()));
        place.end_holder(Signal::KILL);
    }
    let said = follow.end();
    assert!(said.code == 69 && said.out.contains("\"EP0713\""), "{said:?}");
}
