//! Canaries in the place of secrets: they are found in no file of the home, and in nothing that is said.

use std::cell::Cell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Signal;

use crate::console::{Place, Said, one_stage};
use crate::secrets::{hand, home_of_ada};

/// What every canary begins with.
pub(crate) const CANARY: &str = "kanarienvogel";

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
pub(crate) fn guises(text: &str) -> Vec<Vec<u8>> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut found = base64(text.as_bytes());
    let spelled = [text.to_owned(), hex.to_uppercase(), hex, text.chars().rev().collect()];
    found.extend(spelled.map(String::into_bytes));
    found
}

/// Guises are plain ASCII, and the library's search in a text is quick even where this is not.
fn is_in(text: &str, guise: &[u8]) -> bool {
    text.contains(str::from_utf8(guise).unwrap())
}

/// The files below a folder in which a text is found in any guise.
pub(crate) fn found_below(folder: &Path, guises: &[Vec<u8>], found: &mut Vec<String>) -> usize {
    let mut looked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            looked += found_below(&entry.path(), guises, found);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            looked += 1;
            let text = String::from_utf8_lossy(&bytes);
            if guises.iter().any(|guise| is_in(&text, guise)) {
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
    assert!(is_in("xxxa2FuYXJpZW52b2dlbA==", &base64(CANARY.as_bytes())[0]));
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
