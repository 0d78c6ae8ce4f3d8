//! What pipelines read of the shell they are started from: what is listed, as it was when it was approved, and no secret.

use std::fs;
use std::path::Path;

use crate::console::{Place, one_stage};

/// A pipeline whose agent prints the variable TARGET.
fn reads_target() -> String {
    one_stage("echo to ${{ env.TARGET }}")
}

fn listing_target(place: &Place) {
    place.ok(&["init", "--owner", "ada"]);
    fs::write(place.home().join("eparch.toml"), "[environment]\nallow = [\"TARGET\"]\n").unwrap();
}

/// Whether some file below `folder` holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => holds(&path, bytes),
        false => fs::read(&path).is_ok_and(|found| found.windows(bytes.len()).any(|part| part == bytes)),
    })
}

#[test]
fn g8_a_variable_that_is_not_listed_is_not_read() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let file = place.file("p.yaml", &reads_target());
    let checked = place.say(&["pipeline", "validate", &file]);
    assert_eq!(checked.code, 65, "{checked:?}");
    assert!(checked.out.contains("EP0152") && checked.out.contains("environment.allow"), "{checked:?}");
    let value = "a-value-nobody-else-has";
    let said = place.say_with(&[("TARGET", value)], &["run", &file]);
    assert_eq!(said.code, 65, "{said:?}");
    // Whoever goes past the command line meets the same rule at the holder, and nothing is kept of what was sent.
    place.ok(&["runs", "list"]);
    assert!(!holds(&place.home(), value.as_bytes()));
}

#[test]
fn r061_what_is_read_of_the_environment_is_part_of_the_plan() {
    let place = Place::new();
    listing_target(&place);
    let file = place.file("p.yaml", &reads_target());
    let plan = |target: &str| {
        let said = place.say_with(&[("TARGET", target)], &["pipeline", "plan", &file, "--save"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.contains(&format!("environment TARGET = \"{target}\"")), "{said:?}");
        said.out.lines().find_map(|line| line.strip_prefix("plan ")).unwrap().to_owned()
    };
    let (staging, production) = (plan("staging"), plan("production"));
    assert_ne!(staging, production);
    // A kept plan runs with what it was planned with, whatever the shell says by then.
    let said = place.say_with(&[("TARGET", "elsewhere")], &["pipeline", "spawn", "--plan", &staging]);
    assert_eq!(said.code, 0, "{said:?}");
    let run = said.out.trim().to_owned();
    place.ok(&["runs", "resume", &run]);
    assert!(place.ok(&["runs", "logs", &run]).contains("to staging"));
    assert_eq!(place.json(&["runs", "show", &run])["plan_id"], staging.as_str());
}

#[test]
fn g8_a_value_that_looks_like_a_secret_is_refused_before_it_is_written() {
    let place = Place::new();
    listing_target(&place);
    let file = place.file("p.yaml", &reads_target());
    // In pieces, so that this file is not taken for one that holds a secret.
    let secret = ["ghp", "_", "0123456789abcdefghijABCDEFGHIJ012345"].concat();
    let said = place.say_with(&[("TARGET", &secret)], &["run", &file]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("EP0224") && !said.err.contains(&secret), "{said:?}");
    place.ok(&["runs", "list"]);
    assert!(!holds(&place.home(), secret.as_bytes()));
}

#[test]
fn g8_what_people_write_is_refused_when_it_looks_like_a_secret() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "bob", "--role", "approver", "--group", "team-lead"]);
    let secret = ["ghp", "_", "9876543210abcdefghijABCDEFGHIJ543210"].concat();
    let refused = |words: &[&str], what: &str| {
        let said = place.say(words);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("EP0224") && said.err.contains(what), "{said:?}");
        assert!(!said.err.contains(&secret), "{said:?}");
    };
    let own = "name: own\nstages:\n  - name: only\n    type: agent\n    config: {command: ['true'], env: {TOKEN: SECRET}}\n";
    refused(&["run", &place.file("own.yaml", &own.replace("SECRET", &secret))], "the stage only");
    let waits = place.file(
        "gate.yaml",
        "name: gated\nstages:\n  - name: review\n    type: gate\n    config: {approvers: [team-lead]}\n",
    );
    let run = place.ok(&["run", &waits, "--detach"]).trim().to_owned();
    let gate = place.json(&["approvals", "list"])[0]["gate"].as_str().unwrap().to_owned();
    let why = format!("tried with {secret}");
    refused(&["approvals", "approve", &gate, "--as", "bob", "--rationale", &why], "the rationale");
    refused(&["runs", "stop", &run, "--reason", &why], "the reason");
    place.ok(&["runs", "stop", &run, "--reason", "enough"]);
    assert!(!holds(&place.home(), secret.as_bytes()));
}

#[test]
fn what_is_refused_for_its_size_is_not_written_down() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "bob", "--role", "approver"]);
    let declared: String =
        ["a", "b", "c", "d", "e"].map(|name| format!("  {name}: {{type: string}}\n")).concat();
    let gate = "name: gated\nstages:\n  - name: review\n    type: gate\n    config: {approvers: [bob]}\n";
    let file = place.file("p.yaml", &format!("{gate}inputs:\n{declared}"));
    let run = |value: &str| {
        let inputs = ["a", "b", "c", "d", "e"].map(|name| format!("{name}={value}"));
        let words = inputs.iter().flat_map(|input| ["--input", input]);
        place.say(&["run", &file, "--detach"].into_iter().chain(words).collect::<Vec<_>>())
    };
    let said = run("x");
    assert_eq!(said.code, 0, "{said:?}");
    let id = said.out.trim().to_owned();
    let gate = place.json(&["approvals", "list"])[0]["gate"].as_str().unwrap().to_owned();
    let (long, longer) = ("x".repeat(5_000), "y".repeat(60_000));
    let groups: Vec<String> = (0..80).map(|at| format!("{}{at:02}", "z".repeat(60))).collect();
    let adding = ["operator", "add", "cyd", "--role", "viewer"].map(str::to_owned);
    let adding =
        adding.into_iter().chain(groups.iter().flat_map(|group| ["--group".to_owned(), group.clone()]));
    let adding: Vec<String> = adding.collect();
    let refused = [
        (place.say(&["runs", "stop", &id, "--reason", &long]), "EP0213"),
        (place.say(&["approvals", "approve", &gate, "--as", "bob", "--rationale", &long]), "EP0308"),
        (run(&longer), "EP0213"),
        (place.say(&adding.iter().map(String::as_str).collect::<Vec<_>>()), "EP0213"),
    ];
    for (said, code) in refused {
        assert!(said.code == 1 && said.err.contains(code), "{code}: {said:?}");
    }
    for text in [&long[..4_500], &longer[..4_500], groups[79].as_str()] {
        assert!(!holds(&place.home(), text.as_bytes()), "{}", &text[..1]);
    }
}
