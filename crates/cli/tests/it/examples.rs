//! The examples and templates that ship, run as a stranger would run them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::console::Place;

/// This repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn example(name: &str) -> String {
    repository().join("examples").join(name).display().to_string()
}

/// Where a run's artifact is, under its name.
fn artifact(place: &Place, run: &Value, stage: &str, name: &str) -> PathBuf {
    place.home().join("runs").join(run["pipeline_id"].as_str().unwrap()).join(stage).join(name)
}

fn last_run(place: &Place) -> Value {
    place.json(&["runs", "show", "--last"])
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(
        &std::fs::read(path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display())),
    )
    .unwrap()
}

#[test]
fn the_review_of_this_repository_completes_unattended() {
    let place = Place::new();
    let input = format!("repo={}", repository().display());
    let said = place.say(&["run", &example("code-review.yaml"), "--input", &input]);
    assert_eq!(said.code, 0, "{said:?}");
    let run = last_run(&place);
    assert_eq!(run["status"], "COMPLETED");
    for name in ["review.md", "review.sarif", "findings.json"] {
        assert!(artifact(&place, &run, "package", name).is_file(), "{name}");
    }
    assert!(artifact(&place, &run, "_evidence/package", "report.json").is_file());
    let sarif = read_json(&artifact(&place, &run, "package", "review.sarif"));
    assert_eq!(sarif["version"], "2.1.0");
    let evidence = read_json(&artifact(&place, &run, "_evidence/package", "evidence.json"));
    assert_eq!(evidence["ledger"].as_array().unwrap().len(), 2);
    assert!(
        evidence["artifacts"]
            .as_array()
            .unwrap()
            .iter()
            .all(|kept| kept["digest"].as_str().unwrap().starts_with("sha256:"))
    );
    assert!(
        evidence["confinement"].as_array().unwrap().iter().all(|measure| measure["in_force"] == true),
        "{evidence}"
    );
}

#[test]
fn r055_the_findings_on_a_planted_repository_are_the_planted_ones() {
    let place = Place::new();
    let planted = place.path("planted");
    let script = repository().join("examples/fixtures/make-planted.sh");
    let made = Command::new("sh").arg(script).arg(&planted).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let input = format!("repo={}", planted.display());
    let said = place.say(&["run", &example("code-review.yaml"), "--input", &input]);
    assert_eq!(said.code, 0, "{said:?}");
    let findings = read_json(&artifact(&place, &last_run(&place), "package", "findings.json"));
    let mut found: Vec<String> = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!("{}\t{}\t{}", one["rule"].as_str().unwrap(), one["path"].as_str().unwrap(), one["line"])
        })
        .collect();
    found.sort();
    let expected =
        std::fs::read_to_string(repository().join("examples/fixtures/planted.expected.tsv")).unwrap();
    let mut expected: Vec<&str> =
        expected.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn r055_a_checkout_that_resists_is_reviewed_and_starts_nothing() {
    let place = Place::new();
    let hard = place.path("hard");
    std::fs::create_dir(&hard).unwrap();
    let script = repository().join("examples/fixtures/make-torture.sh");
    let made = Command::new("sh").arg(script).arg(hard.join("repo")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let input = format!("repo={}", hard.join("repo").display());
    let said = place.say(&["run", &example("code-review.yaml"), "--input", &input]);
    assert_eq!(said.code, 0, "{said:?}");
    let findings = read_json(&artifact(&place, &last_run(&place), "package", "findings.json"));
    let found = findings["findings"].as_array().unwrap().iter();
    let mut rules: Vec<&str> = found.map(|one| one["rule"].as_str().unwrap()).collect();
    // Its links lead nowhere on purpose.
    rules.retain(|rule| *rule != "EPR-L006");
    rules.sort_unstable();
    assert_eq!(rules, ["EPR-L011", "EPR-S003"]);
    assert!(!hard.join("ran").exists(), "a program of the checkout was started");
}

#[test]
fn r056_the_infrastructure_example_completes_for_staging_without_anybody() {
    let place = Place::new();
    let folder = place.path("infra");
    std::fs::create_dir(&folder).unwrap();
    let input = format!("folder={}", folder.display());
    let said = place.say(&["run", &example("infrastructure-deploy.yaml"), "--input", &input]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn r057_the_analysis_example_completes() {
    let place = Place::new();
    place.file("notes.md", "# Notes\n\nSome text.\n");
    place.file("tool.sh", "#!/bin/sh\necho hi\n");
    let said = place.say(&["run", &example("multi-agent-analysis.yaml")]);
    assert_eq!(said.code, 0, "{said:?}");
    // A folder is the same with a slash at its end, and so are the names in it.
    std::fs::create_dir_all(place.path("src/alpha")).unwrap();
    place.file("src/alpha/one.py", "import os\n");
    let said = place.say(&["run", &example("multi-agent-analysis.yaml"), "--input", "folder=src/"]);
    assert_eq!(said.code, 0, "{said:?}");
    for stage in ["by-name", "by-content"] {
        let answers = artifact(&place, &last_run(&place), stage, "answers.tsv");
        let answers = std::fs::read_to_string(answers).unwrap();
        assert_eq!(answers, "alpha/one.py\tPython\n", "{stage}");
    }
}

#[test]
fn r062_the_seeds_pipeline_runs_as_printed_and_is_approved_by_its_team_lead() {
    let place = Place::new();
    place.ok(&["init"]);
    place.ok(&["operator", "add", "team-lead", "--role", "approver"]);
    let run = place.start(&["run", &example("seed-pipeline.yaml"), "--format", "json"]);
    let gate = run.event("gate_opened")["gate"].as_str().unwrap().to_owned();
    place.ok(&[
        "approvals",
        "approve",
        &gate,
        "--as",
        "team-lead",
        "--rationale",
        "the plan is what we talked about",
    ]);
    let said = run.end();
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn r052_r053_r054_r055_the_templates_are_listed_with_their_tiers_and_tools() {
    let place = Place::new();
    let list = place.json(&["pipeline", "list"]);
    let find =
        |name: &str| list.as_array().unwrap().iter().find(|entry| entry["name"] == name).cloned().unwrap();
    let tools = |entry: &Value| {
        entry["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for (name, tier) in [("default", 0), ("terraform", 1), ("ansible", 1), ("code-review", 0)] {
        assert_eq!(find(name)["tier"], tier, "{name}");
    }
    assert!(tools(&find("terraform")).iter().any(|tool| tool.starts_with("terraform_")));
    assert!(tools(&find("ansible")).iter().any(|tool| tool.starts_with("ansible_")));
    assert!(!tools(&find("code-review")).iter().any(|tool| tool.contains("write")));
}
