//! Secrets of people, in the sealed file of a home: put, read and listed by whoever may, written down, and seen nowhere else.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
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

fn home_of_ada() -> Place {
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
    // How much an entry takes is the ledger's to know: every amount is tried, a page at a time.
    let untold = (1..64).find_map(|pages| {
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
fn g8_a_key_in_the_environment_is_the_holders_alone() {
    let place = home_of_ada();
    let key = "5ea1".repeat(16);
    let file = place.file("p.yaml", &one_stage("env; cat /proc/*/environ; true"));
    let run = place.say_with(&[("EPARCH_VAULT_KEY", &key)], &["run", &file]);
    assert!(run.code == 0 && run.err.contains("EPARCH_RUN="), "{run:?}");
    // Its holder may have left: the key is handed to the next one, too.
    let words = ["secrets", "put", "a/b", "--literal", "-f", "user=ada"];
    let put = place.say_with(&[("EPARCH_VAULT_KEY", &key)], &words);
    assert_eq!(put.code, 0, "{put:?}");
    assert!(!place.home().join("keys/vault.key").exists());
    let told = format!("{run:?}{put:?}{}", place.ok(&["runs", "logs", "--last"]));
    assert!(!told.contains(&key), "{told}");
    let mut found = Vec::new();
    found_below(&place.home(), &guises(&key), &mut found);
    assert_eq!(found, Vec::<String>::new());
    place.end_holder(Signal::TERM);
    let read = place.say(&["secrets", "get", "a/b"]);
    assert!(read.code == 69 && read.err.contains("EP0901"), "{read:?}");
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
    assert_eq!(terminal.end(), 0, "{}", terminal.shown.lock().unwrap());
    terminal.until("Wrote version 1 of a/b.", 1);
    let shown = terminal.shown.lock().unwrap().clone();
    assert!(!shown.contains("ada") && !shown.contains("horse"), "{shown}");
    let fields = &place.json(&["secrets", "get", "a/b"])["fields"];
    assert_eq!(*fields, json!({ "user": "ada", "password": "correct horse" }));

    let mut terminal = Terminal::start(&place, &["secrets", "put", "a/b"], 100, 30);
    terminal.until("value (not shown): ", 1);
    terminal.types("half a sec\x03");
    assert_eq!(terminal.end(), 130, "{}", terminal.shown.lock().unwrap());
    assert_eq!(place.json(&["secrets", "get", "a/b"])["version"], 1);
}

/// What every canary begins with.
const CANARY: &str = "kanarienvogel";

/// A canary that is a number.
const NUMBER: &str = "98765432109876543";

/// Texts in base64, but for the letters at either end, which also hold what stands around them.
fn base64(text: &[u8]) -> Vec<Vec<u8>> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let shifted = |before: usize| -> Vec<u8> {
        let bytes: Vec<u8> = std::iter::repeat_n(0, before).chain(text.iter().copied()).collect();
        let bits = |at: usize| {
            (bytes[at * 6 / 8] as u16) << 8 | bytes.get(at * 6 / 8 + 1).copied().unwrap_or(0) as u16
        };
        let first = (before * 8).div_ceil(6);
        let last = bytes.len() * 8 / 6;
        (first..last)
            .map(|at| usize::from(bits(at) >> (10 - at * 6 % 8) & 63))
            .map(|value| letters[value])
            .collect()
    };
    (0..3).map(shifted).collect()
}

/// How a text may have got somewhere: as it is, in hexadecimal, in base64, backwards.
fn guises(text: &str) -> Vec<Vec<u8>> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut found = base64(text.as_bytes());
    let spelled = [text.to_owned(), hex.to_uppercase(), hex, text.chars().rev().collect()];
    found.extend(spelled.map(String::into_bytes));
    found
}

fn is_in(bytes: &[u8], guise: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == guise[0]) {
        if bytes[from + at..].starts_with(guise) {
            return true;
        }
        from += at + 1;
    }
    false
}

/// The files below a folder in which a text is found in any guise.
fn found_below(folder: &Path, guises: &[Vec<u8>], found: &mut Vec<String>) -> usize {
    let mut looked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            looked += found_below(&entry.path(), guises, found);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            looked += 1;
            if guises.iter().any(|guise| is_in(&bytes, guise)) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    looked
}

/// Sends a body to the holder as it is; what it answers.
fn send(place: &Place, path: &str, body: &str) -> String {
    let key = fs::read_to_string(place.home().join("keys/operators/ada.key")).unwrap();
    let mut socket = UnixStream::connect(place.home().join("control.sock")).unwrap();
    let (key, length) = (key.trim(), body.len());
    write!(socket, "PUT {path} HTTP/1.1\r\nhost: eparch\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// F18: over five hundred canaries, numbers among them, in every input that takes a value or that a value may be mistaken
/// for; none is found in a file of the home or in what any other command says, in no guise.
#[test]
fn g8_canaries_are_found_nowhere() {
    let place = home_of_ada();
    let mut said = String::new();
    let mut keep = |what: Said| said.push_str(&format!("{what:?}\n"));
    let number = Cell::new(0);
    let canary = || {
        number.set(number.get() + 1);
        format!("{CANARY}-{:04}", number.get())
    };
    for secret in 0..8 {
        let mut words = vec!["secrets".to_owned(), "put".to_owned(), format!("staging/many{secret}")];
        for field in 0..63 {
            let file = place.file(&format!("canary{field}"), &canary());
            words.extend(["--field".to_owned(), format!("f{field}=@{file}")]);
        }
        words.extend(["--field".to_owned(), "number".to_owned()]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let put = hand(&place, &words, NUMBER);
        assert_eq!(put.code, 0, "{put:?}");
        keep(put);
    }
    assert!(number.get() > 500);
    keep(hand(&place, &["secrets", "put", "production/db"], &canary()));
    keep(hand(&place, &["secrets", "put", "production/db", "--cas", "7"], &canary()));
    keep(hand(
        &place,
        &["secrets", "put", "production/db", "--literal", "-f", &format!("a={}", canary())],
        "",
    ));
    // In the wrong place.
    for words in [
        &["put", "a/b", "--field", &format!("password={}", canary())][..],
        &["put", "a/b", "--field", &format!("={}", canary())],
        &["put", "a/b", "--field", &format!("pass word={}", canary())],
        &["put", "a/b", &canary()],
        &["put", "a/b", &format!("--{}", canary())],
        &["put", &format!("{} with words", canary())],
        &["get", &format!("{} with words", canary())],
        &["list", &format!("{} with words", canary())],
        &["get", "production/db", "--field", &canary()],
    ] {
        for format in ["text", "json"] {
            let refused = hand(&place, &[&["--format", format, "secrets"], words].concat(), &canary());
            assert_ne!(refused.code, 0, "{words:?}: {refused:?}");
            keep(refused);
        }
    }
    let typed = format!("{{\"fields\": {{\"a\": [\"{}\"]}}}}", canary());
    for body in
        [canary(), format!("{{\"fields\": \"{}\"}}", canary()), typed, format!("{{\"{}\": {{}}}}", canary())]
    {
        let answer = send(&place, "/api/secrets/a/b", &body);
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        said.push_str(&answer);
    }
    let nobody = hand(&place, &["--as", "nobody", "secrets", "put", "a/b"], &canary());
    said.push_str(&format!("{nobody:?}"));
    let read = place.ok(&["secrets", "get", "staging/many3", "-f", "f9"]);
    assert!(read.starts_with(CANARY), "{read}");

    for words in [
        &["secrets", "list"][..],
        &["secrets", "list", "staging"],
        &["secrets", "status"],
        &["ledger", "show"],
        &["ledger", "query"],
        &["ledger", "export"],
        &["runs", "list"],
        &["config", "show"],
        &["doctor"],
    ] {
        for format in ["text", "json"] {
            let told = place.say(&[&["--format", format], words].concat());
            said.push_str(&format!("{told:?}"));
        }
    }
    let guises: Vec<Vec<u8>> = [CANARY, NUMBER].iter().flat_map(|text| guises(text)).collect();
    let mut found: Vec<String> = Vec::new();
    let looked = found_below(&place.home(), &guises, &mut found);
    place.end_holder(Signal::TERM);
    let again = found_below(&place.home(), &guises, &mut found);
    assert!(looked > 10 && again > 10, "{looked} files");
    assert_eq!(found, Vec::<String>::new());
    for guise in &guises {
        let at = said.as_bytes().windows(guise.len()).position(|part| part == guise.as_slice());
        assert!(at.is_none(), "{:?}", at.map(|at| &said[at.saturating_sub(300)..(at + 60).min(said.len())]));
    }
    // The search finds what is there.
    fs::write(place.home().join("found"), format!("x{read}")).unwrap();
    assert_eq!(found_below(&place.home(), &guises, &mut found), again + 1);
    assert_eq!(found.len(), 1);
    assert!(is_in(b"xxxa2FuYXJpZW52b2dlbA==", &base64(CANARY.as_bytes())[0]));
}
