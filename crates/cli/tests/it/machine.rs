//! The machine, the home and the words of the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::console::{Place, one_stage};

#[test]
fn words_that_are_no_command_exit_64_and_help_exits_0() {
    let place = Place::new();
    for words in [
        &["frobnicate"][..],
        &["run"],
        &["runs", "show", "nonsense"],
        &["ledger", "show", "--format", "dot"],
        &[],
    ] {
        let said = place.say(words);
        assert_eq!(said.code, 64, "{words:?} {said:?}");
        assert!(!said.err.is_empty(), "{words:?}");
    }
    assert!(place.say(&["pipelin"]).err.contains("pipeline"), "a near word is suggested");
    for words in [&["--help"][..], &["run", "--help"], &["ledger", "--help"], &["--version"]] {
        assert!(!place.ok(words).is_empty());
    }
    let said = place.say(&["frobnicate", "--format", "json"]);
    let error: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, error["error"]["code"].as_str()), (64, Some("EP0701")));
}

#[test]
fn a_home_is_made_once_and_is_private() {
    let place = Place::new();
    let said = place.ok(&["init", "--owner", "ada"]);
    assert!(said.contains("ada") && said.contains("eparch run"), "{said}");
    assert_eq!(fs::metadata(place.home()).unwrap().permissions().mode() & 0o777, 0o700);
    let said = place.say(&["init"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("error[EP0502]"), "{said:?}");
    let said = Place::new().say(&["runs"]);
    assert!(said.code == 1 && said.err.contains("EP0501"), "{said:?}");
}

#[test]
fn r040_versions() {
    let place = Place::new();
    assert_eq!(place.ok(&["version", "--core"]), "1.1\n");
    assert!(place.ok(&["version"]).starts_with("eparch "));
    assert_eq!(place.json(&["version"])["core"], "1.1");
}

#[test]
fn r361_a_link_is_the_subcommand() {
    let place = Place::new();
    let dir = place.path("bin");
    for _ in 0..2 {
        place.ok(&["links", dir.to_str().unwrap()]);
    }
    let called = Command::new(dir.join("pipeline")).arg("list").output().unwrap();
    assert_eq!(String::from_utf8(called.stdout).unwrap(), place.ok(&["pipeline", "list"]));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_eparch"), dir.join("memory")).unwrap();
    let called = Command::new(dir.join("memory")).output().unwrap();
    assert_eq!(called.status.code(), Some(64));
    assert!(String::from_utf8(called.stderr).unwrap().contains("EP0708"));
}

#[test]
fn completions_are_printed_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.ok(&["completions", shell]).contains("approvals"), "{shell}");
    }
}

#[test]
fn r292_the_doctor_finds_this_machine_fit_and_an_open_home_not() {
    let place = Place::new();
    let said = place.say(&["doctor"]);
    assert_eq!(said.code, 0, "{said:?}");
    place.ok(&["init"]);
    let found = place.json(&["doctor"]);
    assert_eq!(found["fit"], true);
    fs::set_permissions(place.home().join("keys"), fs::Permissions::from_mode(0o755)).unwrap();
    let said = place.say(&["doctor"]);
    assert_eq!(said.code, 69, "{said:?}");
    assert!(said.out.contains("chmod"), "{said:?}");
}

#[test]
fn settings_are_shown_and_bad_ones_exit_78() {
    let place = Place::new();
    assert!(place.ok(&["config", "show"]).contains("at_once"));
    let file = place.file("eparch.toml", "[agents]\nat_onec = 3\n");
    for words in [&["config", "check"][..], &["config", "show"]] {
        let said = place.say(&[words, &["--config", &file]].concat());
        assert_eq!(said.code, 78, "{said:?}");
        assert!(said.err.contains("EP0707") && said.err.contains("at_onec"), "{said:?}");
    }
    place.ok(&["init"]);
    assert_eq!(place.say(&["runs", "--config", &file]).code, 78, "found out before a holder is started");
}

#[test]
fn settings_that_a_living_holder_has_not_read_are_said_not_to_be_in_force() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let file = place.file("p.yaml", &one_stage("echo done"));
    let waits = place.file(
        "gate.yaml",
        "name: gated\nstages:\n  - name: review\n    type: gate\n    config: {approvers: [team-lead]}\n",
    );
    let said = place.say(&["run", &waits, "--detach"]);
    assert!(said.code == 0 && !said.err.contains("EP0721"), "{said:?}");
    let run = said.out.trim();
    fs::write(place.home().join("eparch.toml"), "[agents]\nat_once = 3\n").unwrap();
    let said = place.say(&["run", &file]);
    assert!(said.code == 0 && said.err.contains("warning[EP0721]"), "{said:?}");
    assert!(said.err.contains("its live run has ended"), "{said:?}");
    assert!(place.say(&["doctor"]).out.contains("settings in force"));
    place.ok(&["runs", "stop", run]);
}
