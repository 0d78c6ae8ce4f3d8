//! What of the host an agent sees and writes, by which paths.

use crate::agents::{log, run, shell};
use crate::console::Place;

/// What a stage said went wrong before anything of it ran.
fn preflight_refuses(place: &Place, config: &str, why: &str) {
    let (said, stage) = run(place, config);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(stage["phase"], "PREFLIGHT", "{stage}");
    assert!(stage["reason"].as_str().unwrap().contains(why), "{stage}");
}

#[test]
fn r292_a_link_in_a_checkout_does_not_lead_an_agent_out_of_the_project() {
    let place = Place::new();
    let victim = tempfile::tempdir().unwrap();
    std::fs::create_dir(victim.path().join(".aws")).unwrap();
    std::fs::write(victim.path().join(".aws/credentials"), "secret").unwrap();
    std::os::unix::fs::symlink(victim.path().join(".aws"), place.path("docs")).unwrap();
    std::os::unix::fs::symlink(victim.path().join(".ssh"), place.path("gen")).unwrap();
    let read = format!("{}      paths: {{read: [docs]}}\n", shell("cat docs/credentials"));
    preflight_refuses(&place, &read, "docs leads out of the project");
    let write =
        format!("{}      tier: 1\n      paths: {{write: [gen]}}\n", shell("echo key > gen/authorized_keys"));
    preflight_refuses(&place, &write, "gen");
    assert!(!victim.path().join(".ssh").exists());
    // Named as what it is, it may be seen: the author of the pipeline wrote it.
    let named = victim.path().join(".aws").display().to_string();
    let config = format!("{}      paths: {{read: [{named}]}}\n", shell(&format!("cat {named}/credentials")));
    assert_eq!(run(&place, &config).0.code, 0);
    assert!(log(&place).contains("secret"));
}

#[test]
fn a_path_through_a_link_is_found_by_the_name_it_was_written_by() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("src/docs")).unwrap();
    place.file("src/docs/x", "seen\n");
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("y"), "else\n").unwrap();
    std::os::unix::fs::symlink("src/docs", place.path("docs")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), place.path("far")).unwrap();
    let far = place.path("far").display().to_string();
    // By itself, as two names, and where the link is seen as well.
    for read in ["docs", "docs, src", "docs/x, docs", "., docs"] {
        let line = format!("cat docs/x {far}/y");
        let (said, _) = run(&place, &format!("{}      paths: {{read: [{read}, {far}]}}\n", shell(&line)));
        assert_eq!(said.code, 0, "{read}: {said:?} {}", log(&place));
        assert!(log(&place).contains("seen") && log(&place).contains("else"), "{read}");
    }
    let config = "      tier: 1\n      paths: {write: [docs]}\n      artifacts: [docs/x]\n";
    let (said, stage) = run(&place, &format!("{}{config}", shell("echo new > docs/x")));
    assert_eq!(said.code, 0, "{said:?} {}", log(&place));
    assert_eq!(stage["artifacts"][0]["path"], "docs/x", "{stage}");
    assert_eq!(std::fs::read_to_string(place.path("src/docs/x")).unwrap(), "new\n");
    // A name that the program took for something of its own is what it put there, for a check and for who collects it.
    let line = "rm docs && mkdir docs && echo own > docs/x";
    let check = "      verify: [[grep, -q, own, docs/x]]\n";
    let (said, stage) = run(&place, &format!("{}{config}{check}", shell(line)));
    assert_eq!(said.code, 0, "{said:?} {}", log(&place));
    let own = eparch_domain::Digest::of(b"own\n").to_string();
    assert_eq!(stage["artifacts"][0]["digest"], own.as_str(), "{stage}");
    assert_eq!(std::fs::read_to_string(place.path("src/docs/x")).unwrap(), "new\n");
}

#[test]
fn r292_what_an_earlier_stage_yielded_names_nothing_outside_the_project() {
    let place = Place::new();
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("file"), "secret").unwrap();
    let yielding = |value: &str| {
        format!(
            "name: two\nstages:\n  - name: one\n    type: agent\n    config:\n{}  - name: two\n    requires: [one]\n    \
             type: agent\n    config:\n{}      paths: {{read: [\"${{{{ stages.one.outputs.dir }}}}\"]}}\n",
            shell(&format!("echo dir={value} >> $EPARCH_OUTPUT")),
            shell("true"),
        )
    };
    let file = place.file("p.yaml", &yielding(&other.path().display().to_string()));
    assert_eq!(place.say(&["run", &file]).code, 1);
    let stage = place.json(&["runs", "show", "--last"])["stages"][1].clone();
    assert!(stage["reason"].as_str().unwrap().contains("comes from an earlier stage"), "{stage}");
    place.file("inner", "x");
    let file = place.file("p.yaml", &yielding("inner"));
    assert_eq!(place.say(&["run", &file]).code, 0);
}

#[test]
fn g8_a_folder_above_keys_shows_no_keys() {
    let place = Place::new();
    for folder in ["user/.ssh", "user/.local/state/eparch/keys", "user/work"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
    }
    for key in ["user/.ssh/id", "user/.local/state/eparch/keys/home.key"] {
        place.file(key, "a secret key");
    }
    place.file("user/work/plain", "seen\n");
    let user = place.path("user").display().to_string();
    let line = format!("cat user/work/plain; cat $(find user {user} -type f); exit 0");
    let text = format!(
        "name: one\nstages:\n  - name: only\n    type: agent\n    config:\n{}      paths: {{read: [\".\", {user}]}}\n",
        shell(&line)
    );
    let file = place.file("p.yaml", &text);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_eparch"));
    // Whatever else is set, as on many a desktop.
    command.args(["run", &file]).env("HOME", &user).env("XDG_STATE_HOME", place.path("state"));
    command.env("EPARCH_HOME", place.home());
    let said = command.current_dir(place.path(".")).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let log = log(&place);
    assert!(log.contains("seen") && !log.contains("secret"), "{log}");
}

#[test]
fn g8_the_home_cannot_be_moved_away_through_a_folder_above_it() {
    let place = Place::new();
    let line = "mv home gone; mkdir -p home/keys; exit 0";
    let (said, _) = run(&place, &format!("{}      tier: 1\n      paths: {{write: [\".\"]}}\n", shell(line)));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!place.path("gone").exists() && place.home().join("journal.db").exists());
}

/// The stage of the interface's own page, with a program that does it.
#[test]
fn r008_what_is_written_on_the_host_can_be_an_artifact() {
    let place = Place::new();
    let config = "      tier: 1\n      paths: {read: [\".\"], write: [\"out\"]}\n      artifacts: [\"out/plan.json\"]\n";
    let (said, stage) = run(&place, &format!("{}{config}", shell("echo '{}' > out/plan.json")));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage["artifacts"][0]["path"], "out/plan.json", "{stage}");
    assert_eq!(std::fs::read_to_string(place.path("out/plan.json")).unwrap(), "{}\n");
}

#[test]
fn a_file_that_may_be_written_is_a_file_and_no_folder() {
    let place = Place::new();
    let config = |tier: u8, write: &str| {
        let rest = format!("      tier: {tier}\n      paths: {{write: [{write}]}}\n");
        format!("{}{rest}      artifacts: [report.md]\n", shell("echo new > report.md"))
    };
    // In memory, whether the project has it or not.
    for found in [false, true] {
        let (said, stage) = run(&place, &config(0, "report.md"));
        assert_eq!(said.code, 0, "{found}: {said:?}");
        assert_eq!(stage["artifacts"][0]["path"], "report.md", "{stage}");
        assert_eq!(place.path("report.md").exists(), found);
        if !found {
            // On the host nothing is made of it, and nothing of what is named beside it.
            preflight_refuses(&place, &config(1, "out, report.md"), "only folders are made");
            assert!(!place.path("report.md").exists() && !place.path("out").exists());
            place.file("report.md", "old\n");
        }
    }
    let (said, _) = run(&place, &config(1, "report.md"));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(std::fs::read_to_string(place.path("report.md")).unwrap(), "new\n");
}

#[test]
fn nothing_in_a_checkout_passes_for_what_eparch_gives_or_takes() {
    let place = Place::new();
    for folder in [".agent/artifacts", ".agent/inputs/plan", ".agent/given/inputs/plan"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
        place.file(&format!("{folder}/approved.json"), "planted");
    }
    place.file(".agent/output", "planted=1\n");
    let line = "find $EPARCH_INPUTS -type f; echo x > $EPARCH_PACKET; chmod 777 $EPARCH_PACKET; mv $EPARCH_PACKET /tmp; \
                grep -c '\"task\": \"only\"' $EPARCH_PACKET; echo mine >> $EPARCH_ARTIFACTS/mine";
    for tier in ["tier: 0\n      paths: {read: [\".\"]}", "tier: 1\n      paths: {write: [\".\"]}"] {
        let (said, stage) = run(&place, &format!("{}      {tier}\n", shell(line)));
        assert_eq!(said.code, 0, "{tier}: {said:?}");
        let names: Vec<&str> = stage["artifacts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|artifact| artifact["path"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["mine"], "{tier}");
        assert!(stage["outputs"].as_object().is_none_or(serde_json::Map::is_empty), "{stage}");
        let log = log(&place);
        // What it says of what it may not comes through another pipe, and may come last.
        assert!(!log.contains("planted") && log.lines().any(|line| line == "only | 1"), "{log}");
    }
    assert!(!place.path(".agent/artifacts/mine").exists());
    // By whatever it is, there or not.
    std::fs::remove_dir_all(place.path(".agent")).unwrap();
    place.file(".agent", "a file");
    let (said, _) = run(&place, &format!("{}      paths: {{read: [\".\"]}}\n", shell("true")));
    assert_eq!(said.code, 0, "{said:?}");
}
