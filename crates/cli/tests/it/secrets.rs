//! Secrets of people, in the sealed file of a home: put, read and listed by whoever may, written down, and seen nowhere else.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::console::{Place, Said, one_stage, wait_until};
use crate::holder::{held_by_a_child, limit};
use crate::terminal::Terminal;

/// Carries a command out that is handed something on standard input.
pub(crate) fn hand(place: &Place, words: &[&str], input: &str) -> Said {
    let mut command = place.command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses its words does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

pub(crate) fn home_of_ada() -> Place {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place
}

/// What the ledger says of secrets: what was asked or came of it, by whom, and what was answered.
fn trail(place: &Place) -> Vec<(Value, Value)> {
    let export = place.ok(&["ledger", "export"]);
    let lines = export.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let records =
        lines.filter_map(|line| serde_json::from_str::<Value>(line["entry"]["body"].as_str()?).ok());
    let of_secrets = records
        .filter(|record| record["event"]["type"].as_str().is_some_and(|kind| kind.starts_with("secret_")));
    of_secrets.map(|record| (record["event"].clone(), record["answer"].clone())).collect()
}

#[test]
fn secrets_are_kept_in_versions_and_read_back() {
    let place = home_of_ada();
    let nothing = place.say(&["secrets", "get", "inventory/hosts"]);
    assert!(nothing.code == 1 && nothing.err.contains("EP0903"), "{nothing:?}");
    assert!(!place.home().join("vault.sealed").exists(), "looking makes nothing");
    let put = hand(&place, &["secrets", "put", "inventory/hosts"], "one\n");
    assert_eq!((put.code, put.out.as_str()), (0, "Wrote version 1 of inventory/hosts.\n"), "{put:?}");
    let user = place.file("user", "ada\n");
    let fields = ["--field", &format!("user=@{user}"), "--field", "password"];
    let put =
        hand(&place, &[&["secrets", "put", "inventory/hosts"], &fields[..]].concat(), "correct horse\r\n");
    assert_eq!(put.code, 0, "{put:?}");
    let shown = place.json(&["secrets", "get", "inventory/hosts"]);
    let fields = json!({ "password": "correct horse", "user": "ada\n" });
    assert_eq!(shown, json!({ "path": "inventory/hosts", "version": 2, "fields": fields }));
    assert_eq!(place.ok(&["secrets", "get", "inventory/hosts", "--version", "1", "-f", "value"]), "one\n");
    let text = place.ok(&["secrets", "get", "inventory/hosts"]);
    assert!(text.starts_with("inventory/hosts, version 2\n  password  correct horse\n"), "{text}");
    for (words, code) in [(&["--version", "3"][..], "EP0903"), (&["-f", "other"], "EP0903")] {
        let said = place.say(&[&["secrets", "get", "inventory/hosts"], words].concat());
        assert!(said.code == 1 && said.err.contains(code), "{said:?}");
    }

    let late = hand(&place, &["secrets", "put", "inventory/hosts", "--cas", "1"], "late");
    assert!(late.code == 1 && late.err.contains("EP0904"), "{late:?}");
    assert_eq!(hand(&place, &["secrets", "put", "inventory/hosts", "--cas", "2"], "three").code, 0);
    assert_eq!(hand(&place, &["secrets", "put", "staging/db", "--cas", "0"], "x").code, 0);
    assert_eq!(place.ok(&["secrets", "list"]), "inventory/\nstaging/\n");
    assert_eq!(place.json(&["secrets", "list", "staging/"]), json!({ "prefix": "staging", "names": ["db"] }));
    let nowhere = place.say(&["secrets", "list", "nowhere"]);
    assert!(nowhere.code == 1 && nowhere.err.contains("EP0903"), "{nowhere:?}");

    // It outlives its holder, and is for nobody else's eyes.
    place.end_holder(Signal::TERM);
    assert_eq!(place.json(&["secrets", "get", "inventory/hosts"])["version"], 3);
    for file in ["vault.sealed", "keys/vault.key"] {
        let mode = fs::metadata(place.home().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    place.ok(&["ledger", "verify", "--replay"]);
}

/// What somebody who watches has been told so far, from the first entry on.
fn events(place: &Place, who: &str) -> String {
    let key = fs::read_to_string(place.home().join("keys/operators").join(format!("{who}.key"))).unwrap();
    let mut socket = BufReader::new(UnixStream::connect(place.home().join("control.sock")).unwrap());
    let request = format!(
        "GET /api/events?since=0 HTTP/1.1\r\nhost: eparch\r\nauthorization: Bearer {}\r\n\r\n",
        key.trim()
    );
    socket.get_mut().write_all(request.as_bytes()).unwrap();
    let mut told = String::new();
    // What comes last ends the wait.
    place.ok(&["operator", "add", "last", "--role", "viewer"]);
    while !told.contains("\"last\"") {
        assert_ne!(socket.read_line(&mut told).unwrap(), 0, "{told}");
    }
    told
}

#[test]
fn g1_every_access_is_written_down_with_its_version_whether_it_was_allowed_or_not() {
    let place = home_of_ada();
    for (name, role, tier) in
        [("odo", "operator", "4"), ("vic", "viewer", "0"), ("abe", "auditor", "0"), ("jun", "admin", "2")]
    {
        place.ok(&["operator", "add", name, "--role", role, "--max-tier", tier]);
    }
    assert_eq!(hand(&place, &["secrets", "put", "production/db", "--cas", "0"], "x").code, 0);
    place.ok(&["secrets", "get", "production/db"]);
    for (who, code) in [("odo", "EP0205"), ("vic", "EP0205"), ("abe", "EP0205"), ("jun", "EP0403")] {
        let read = place.say(&["--as", who, "secrets", "get", "production/db"]);
        assert!(read.code == 1 && read.err.contains(code) && read.out.is_empty(), "{who}: {read:?}");
    }
    let wrote = hand(&place, &["--as", "odo", "secrets", "put", "production/db"], "y");
    assert!(wrote.code == 1 && wrote.err.contains("EP0205"), "{wrote:?}");
    // An admin of tier 2 keeps what tiers up to 2 read.
    assert_eq!(hand(&place, &["--as", "jun", "secrets", "put", "staging/db"], "y").code, 0);
    // Whoever only watches is not told which secrets there are.
    assert!(!events(&place, "vic").contains("/db"));
    place.say(&["secrets", "get", "production/db", "--version", "7"]);

    let told: Vec<(String, String, String)> = trail(&place)
        .iter()
        .map(|(event, answer)| {
            let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let what = format!("{}{}", word("access"), word("outcome"));
            let more = match (&answer["refused"]["because"], &event["version"], &event["code"]) {
                (Value::String(because), ..) => because.clone(),
                (_, Value::Number(version), _) => version.to_string(),
                (.., Value::String(code)) => code.clone(),
                _ => String::new(),
            };
            (word("by"), what, more)
        })
        .collect();
    let told: Vec<_> =
        told.iter().map(|(by, what, more)| (by.as_str(), what.as_str(), more.as_str())).collect();
    assert_eq!(
        told,
        [
            ("ada", "write", ""),
            ("ada", "written", "1"),
            ("ada", "read", ""),
            ("ada", "read", "1"),
            ("odo", "read", "role_forbids"),
            ("vic", "read", "role_forbids"),
            ("abe", "read", "role_forbids"),
            ("jun", "read", "beyond_own_tier"),
            ("odo", "write", "role_forbids"),
            ("jun", "write", ""),
            ("jun", "written", "1"),
            ("ada", "read", "7"),
            ("ada", "failed", "EP0903"),
        ]
    );
    for (who, may) in [("ada", true), ("odo", true), ("abe", true), ("jun", true), ("vic", false)] {
        assert_eq!(place.say(&["--as", who, "secrets", "list"]).code == 0, may, "{who}");
        assert_eq!(place.say(&["--as", who, "secrets", "status"]).code, 0, "{who}");
    }
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn g1_without_the_ledger_no_secret_is_read_or_written() {
    let place = home_of_ada();
    assert_eq!(hand(&place, &["secrets", "put", "inventory/hosts"], "correct horse").code, 0);
    place.end_holder(Signal::TERM);
    let mut child = held_by_a_child(&place);
    let holder = place.holder().unwrap();
    let limit = |bytes| limit(holder, bytes);
    place.ok(&["secrets", "status"]);
    let before = fs::read(place.home().join("vault.sealed")).unwrap();
    limit(Some(1));
    for _ in 0..2 {
        let read = place.say(&["secrets", "get", "inventory/hosts"]);
        assert!(read.code == 69 && (read.err.contains("EP0510") || read.err.contains("EP0513")), "{read:?}");
        assert!(!format!("{read:?}").contains("correct horse"), "{read:?}");
        let wrote = hand(&place, &["secrets", "put", "inventory/hosts"], "other");
        assert_eq!(wrote.code, 69, "{wrote:?}");
    }
    assert_eq!(fs::read(place.home().join("vault.sealed")).unwrap(), before);
    limit(None);
    assert_eq!(place.json(&["secrets", "get", "inventory/hosts"])["version"], 1);
    kill_process(holder, Signal::TERM).unwrap();
    child.wait().unwrap();
}

/// A disk that fills up between the wish and what came of it: whoever wrote is told, and it is written.
#[test]
fn a_version_that_the_ledger_could_not_tell_of_is_told_as_that() {
    let place = home_of_ada();
    let put = |text: &str| hand(&place, &["secrets", "put", "inventory/hosts"], text);
    assert_eq!(put("0").code, 0);
    place.end_holder(Signal::TERM);
    let mut child = held_by_a_child(&place);
    let holder = place.holder().unwrap();
    let journal = || fs::metadata(place.home().join("journal.db-wal")).map_or(0, |file| file.len());
    // How much an entry takes is the ledger's to know: every amount is tried, half a page at a time.
    let untold = (1..128).find_map(|pages| {
        limit(holder, Some(journal() + pages * 4_096));
        let said = put(&pages.to_string());
        limit(holder, None);
        wait_until("the ledger is well again", || (place.say(&["secrets", "list"]).code == 0).then_some(()));
        said.err.contains("EP0909").then_some((pages, said))
    });
    let (pages, said) = untold.expect("some amount of room is enough for one entry and not for two");
    assert!(said.code == 69 && said.err.contains("the ledger does not say so"), "{said:?}");
    let newest = place.json(&["secrets", "get", "inventory/hosts"]);
    assert_eq!(newest["fields"]["value"], pages.to_string());
    assert!(said.err.contains(&format!("version {} of inventory/hosts", newest["version"])), "{said:?}");
    place.ok(&["ledger", "verify", "--replay"]);
    kill_process(holder, Signal::TERM).unwrap();
    child.wait().unwrap();
}

#[test]
fn r126_a_vault_without_its_key_is_told_and_stops_nothing_else() {
    let place = home_of_ada();
    let status = place.json(&["secrets", "status"]);
    assert_eq!(
        (&status["kind"], &status["made"], &status["usable"]),
        (&"embedded".into(), &false.into(), &true.into())
    );
    hand(&place, &["secrets", "put", "a/b"], "x");
    assert_eq!(place.json(&["secrets", "status"])["sealed"], false);
    place.end_holder(Signal::TERM);
    let (key, kept) = (place.home().join("keys/vault.key"), place.path("kept.key"));
    fs::rename(&key, &kept).unwrap();
    let told = place.say(&["doctor"]).out;
    assert!(told.contains("its key cannot be read") && told.contains("EPARCH_VAULT_KEY"), "{told}");
    let read = place.say(&["secrets", "get", "a/b"]);
    assert!(read.code == 69 && read.err.contains("EP0901") && read.err.contains("vault.key"), "{read:?}");
    let status = place.say(&["secrets", "status"]);
    assert!(status.code == 69 && status.out.contains("EP0901"), "{status:?}");
    let told = place.say(&["doctor"]).out;
    assert!(told.contains("there is no vault key at"), "{told}");
    assert!(!key.exists(), "none takes its place");
    place.ok(&["run", &place.file("p.yaml", &one_stage("true"))]);
    // It is tried again without a new holder.
    fs::rename(&kept, &key).unwrap();
    assert_eq!(place.ok(&["secrets", "get", "a/b", "-f", "value"]), "x\n");
}

#[test]
fn a_vault_that_cannot_work_is_refused_before_anything_begins() {
    let place = home_of_ada();
    let said = place.say_with(&[("VAULT_ADDR", "https://vault.example.org")], &["secrets", "list"]);
    assert!(said.code == 78 && said.err.contains("EP0707"), "{said:?}");
    assert!(said.err.contains("vault.ca_cert is not set") && said.err.contains("VAULT_ADDR"), "{said:?}");
    fs::write(place.home().join("eparch.toml"), "[vault]\nsecret_id = hunter2\n").unwrap();
    let said = place.say(&["--format", "json", "secrets", "list"]);
    assert!(said.code == 78 && said.out.contains("line 2") && !said.out.contains("hunter2"), "{said:?}");
}

#[test]
fn g8_a_secret_typed_at_a_terminal_is_not_shown() {
    let place = home_of_ada();
    let mut terminal =
        Terminal::start(&place, &["secrets", "put", "a/b", "-f", "user", "-f", "password"], 100, 30);
    terminal.until("user (not shown): ", 1);
    terminal.types("ada\n");
    terminal.until("password (not shown): ", 1);
    terminal.types("correct horse\n");
    assert_eq!(terminal.end(), 0, "{}", terminal.shown());
    terminal.until("Wrote version 1 of a/b.", 1);
    let shown = terminal.shown();
    assert!(!shown.contains("ada") && !shown.contains("horse"), "{shown}");
    let fields = &place.json(&["secrets", "get", "a/b"])["fields"];
    assert_eq!(*fields, json!({ "user": "ada", "password": "correct horse" }));

    let mut terminal = Terminal::start(&place, &["secrets", "put", "a/b"], 100, 30);
    terminal.until("value (not shown): ", 1);
    terminal.types("half a sec\x03");
    assert_eq!(terminal.end(), 130, "{}", terminal.shown());
    assert_eq!(place.json(&["secrets", "get", "a/b"])["version"], 1);
}
