//! The holder's door, spoken to without the command line.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::console::{Place, one_stage, wait_until};

/// What the holder answers: status, kind of the body, body.
fn ask(place: &Place, method: &str, path: &str, body: &Value) -> (u16, String, Value) {
    let key = fs::read_to_string(place.home().join("keys/operators/ada.key")).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut door = UnixStream::connect(place.home().join("control.sock")).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: eparch\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        key.trim(),
        body.len()
    );
    door.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    door.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, kind.to_owned(), serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
}

#[test]
fn what_cannot_be_read_of_a_request_is_a_problem_like_any_other() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["runs", "list"]);
    let cases = [
        ("GET", "/api/runs/x", 400, "EP0523"),
        ("GET", "/api/runs?limit=4294967296", 400, "EP0523"),
        ("GET", "/api/approvals/x", 400, "EP0523"),
        ("GET", "/api/events?since=-1", 400, "EP0523"),
        ("PUT", "/api/runs", 405, "EP0522"),
        ("GET", "/api/nothing", 404, "EP0522"),
    ];
    for (method, path, status, code) in cases {
        let (said, kind, problem) = ask(&place, method, path, &Value::Null);
        assert_eq!((said, kind.as_str()), (status, "application/problem+json"), "{method} {path}");
        assert_eq!(problem["code"], code, "{method} {path}: {problem}");
    }
    let no_time = json!({ "file": "p", "pipeline": one_stage("true"), "timeout": "0s", "root": "/" });
    let (status, _, problem) = ask(&place, "POST", "/api/runs", &no_time);
    assert_eq!((status, &problem["code"]), (400, &json!("EP0523")), "{problem}");
    assert_eq!(place.say(&["runs", "list", "-n", "4294967296"]).code, 64);
    place.ok(&["runs", "list", "-n", "4294967295"]);
}

#[test]
fn a_retry_that_is_asked_for_twice_is_one_run() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let file = place.file("p.yaml", &one_stage("exit 3"));
    assert_eq!(place.say(&["run", &file]).code, 1);
    let first = place.json(&["runs"])[0]["pipeline_id"].as_str().unwrap().to_owned();
    let again = json!({ "from": "only", "idempotency_key": "the-same" });
    let path = format!("/api/runs/{first}/retry");
    let (status, _, one) = ask(&place, "POST", &path, &again);
    assert_eq!(status, 201, "{one}");
    let (status, _, two) = ask(&place, "POST", &path, &again);
    assert_eq!((status, &two["pipeline_id"]), (200, &one["pipeline_id"]), "{two}");
    assert_eq!(place.json(&["runs"]).as_array().unwrap().len(), 2);
}

#[test]
fn whoever_asked_for_what_may_be_done_is_not_told_to_ask_again_blindly() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    // A holder that dies with the request in its hands.
    let door = UnixListener::bind(place.home().join("control.sock")).unwrap();
    let dies = std::thread::spawn(move || {
        let (mut caller, _) = door.accept().unwrap();
        assert!(caller.read(&mut [0; 16]).unwrap() > 0);
    });
    let said = place.say(&["operator", "add", "bob", "--role", "approver"]);
    dies.join().unwrap();
    assert!(said.code == 69 && said.err.contains("EP0705"), "{said:?}");
    assert!(said.err.contains("it may have been done") && !said.err.contains("try again"), "{said:?}");
}

/// A holder that answers what it is asked, one caller after another.
fn answer(door: &UnixListener, with: impl Fn(&str) -> Value) -> String {
    let (mut caller, _) = wait_until("a caller", || door.accept().ok());
    caller.set_nonblocking(false).unwrap();
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        assert_eq!(caller.read(&mut byte).unwrap(), 1);
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let length = request.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    caller.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
    let line = request.lines().next().unwrap().to_owned();
    let body = with(&line).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    write!(caller, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    line
}

#[test]
fn r204_an_interrupt_while_a_detached_run_is_asked_for_stops_it() {
    interrupted(1);
}

/// Who is in a hurry has it stopped all the same.
#[test]
fn r204_a_second_interrupt_before_the_run_is_asked_to_stop_waits_for_that() {
    interrupted(2);
}

/// Interrupts `eparch run --detach` so often while a holder of this test's own has its request in hand.
fn interrupted(times: usize) {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let file = place.file("p.yaml", &one_stage("true"));
    let door = UnixListener::bind(place.home().join("control.sock")).unwrap();
    door.set_nonblocking(true).unwrap();
    let run = place.start(&["run", "--detach", &file]);
    let id = "run_00000000000000000000000001";
    let ready = json!({ "ok": true, "pid": 1, "version": "0", "epoch": 1, "seq": 1, "live_runs": 0, "ledger_failure": null });
    let started = json!({ "pipeline_id": id, "name": "one", "status": "RUNNING", "tier": 0, "seq": 1,
        "plan_id": format!("sha256:{}", "0".repeat(64)) });
    let mut asked = Vec::new();
    while !asked.last().is_some_and(|line: &String| line.contains("/stop")) {
        asked.push(answer(&door, |line| match line {
            "GET /api/operators HTTP/1.1" => json!([]),
            "GET /readyz HTTP/1.1" => ready.clone(),
            "POST /api/runs HTTP/1.1" => {
                // The answer comes once it has been interrupted.
                let says = ["is stopped as soon as it is known", "Leaving when it has been"];
                for what in &says[..times] {
                    run.signal(Signal::INT);
                    run.until_told(what);
                }
                started.clone()
            }
            _ => json!({ "decided": 2, "read_models": "none" }),
        }));
    }
    drop(door);
    let said = run.end();
    assert_eq!(said.code, 130, "{said:?} {asked:?}");
    assert_eq!(asked.last().unwrap(), &format!("POST /api/runs/{id}/stop HTTP/1.1"));
    assert!(said.err.contains(id), "{said:?}");
}
