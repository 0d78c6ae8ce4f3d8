//! What runs and their agents bear: a lease while somebody works, tokens of it, and secrets that are read with them.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::console::{Going, Place, wait_until};
use crate::secrets::{hand, home_of_ada};

/// A stage of tier 2 that names secrets and runs a script of this project.
pub(crate) fn stage(secrets: &str, script: &str) -> String {
    let lines: String = script.lines().map(|line| format!("        {}\n", line.trim())).collect();
    format!(
        "name: one\nstages:\n  - name: only\n    type: agent\n    config:\n      tier: 2\n      secrets: [{secrets}]\n      \
         on_interrupt: fail\n      command:\n      - sh\n      - -c\n      - |\n{lines}"
    )
}

/// The facts of a kind that the ledger has, in order.
pub(crate) fn facts(place: &Place, kind: &str) -> Vec<Value> {
    let export = place.ok(&["ledger", "export"]);
    let entries = export.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let records =
        entries.filter_map(|line| serde_json::from_str::<Value>(line["entry"]["body"].as_str()?).ok());
    let facts = records.flat_map(|record| record["facts"].as_array().cloned().unwrap_or_default());
    facts.filter(|fact| fact["type"] == kind).collect()
}

/// Waits until a run's program has said so.
pub(crate) fn begun(going: &Going) {
    going.until("its program has begun", |line| line.contains("\"line\":\"begun\"").then_some(()));
}

/// Waits until every token that the vault issued is known to have ended there.
pub(crate) fn until_all_ended(place: &Place, issued: usize) {
    wait_until("every token of the vault has ended", || {
        let known = facts(place, "credential_known");
        let ending: Vec<Value> =
            facts(place, "credential_ending").iter().map(|fact| fact["accessor"].clone()).collect();
        let ended: Vec<Value> =
            facts(place, "credential_ended").iter().map(|fact| fact["accessor"].clone()).collect();
        // What comes from one that ends goes with it.
        let runs_own = |fact: &&Value| fact["agent"].is_null();
        let all = known.iter().filter(runs_own).all(|fact| ended.contains(&fact["accessor"]));
        (known.len() >= issued && all && ending.iter().all(|accessor| ended.contains(accessor))).then_some(())
    });
}

/// Every file below a folder that holds a text.
fn files_with(folder: &Path, text: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            files_with(&path, text, found);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
}

#[test]
fn r142_g8_an_agent_reads_what_its_stage_names_and_no_file_holds_it() {
    let canary = "kanarienvogel-der-singt-0815";
    let place = home_of_ada();
    assert_eq!(hand(&place, &["secrets", "put", "inventory/hosts", "-f", "password"], canary).code, 0);
    assert_eq!(hand(&place, &["secrets", "put", "staging/db", "-f", "password"], "another-canary").code, 0);
    let script = r#"
        got=$(eparch secret get inventory/hosts --field password) || exit 9
        printf %s "$got" | sha256sum
        echo "it is $got"
        echo "backwards it is no secret" >&2
        eparch output leaked="$got"
        eparch message "$got"
        eparch act --done prm_00000000000000000000000001 --detail "$got"
        eparch secret get staging/db; echo "unplanned ended $?"
        eparch secret get inventory/none; echo "missing ended $?"
        eparch secret get ../etc; echo "nonsense ended $?"
    "#;
    let file = place.file("p.yaml", &stage("inventory/hosts, inventory/none", script));
    let said = place.say(&["--format", "json", "run", &file]);
    let lines: Vec<String> = said
        .out
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|event| Some(event["data"]["line"].as_str()?.to_owned()))
        .collect();
    assert_eq!(said.code, 0, "{lines:#?}\n{said:?}");
    let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text}: {lines:#?}");
    let digest = eparch_domain::Digest::of(canary.as_bytes()).hex();
    has(&digest);
    has("it is [redacted]");
    has("error[EP0662]");
    has("plan_first");
    has("unplanned ended 1");
    has("error[EP0663]");
    has("missing ended 1");
    has("nonsense ended");
    assert!(!said.out.contains(canary) && !said.err.contains(canary), "{said:?}");
    let ended = facts(&place, "action_ended");
    assert_eq!(ended[0]["detail"], "version 1", "{ended:#?}");
    assert_eq!((&ended[1]["ok"], &ended[1]["detail"]), (&false.into(), &"EP0663".into()));
    // The run's own token and the agent's; both end with the run.
    assert_eq!(facts(&place, "credential_known").len(), 2);
    until_all_ended(&place, 2);
    place.ok(&["ledger", "verify", "--replay"]);
    assert!(!place.ok(&["ledger", "export"]).contains(canary));
    place.end_holder(Signal::TERM);
    let mut found = Vec::new();
    files_with(&place.home(), canary, &mut found);
    assert_eq!(found, Vec::<String>::new());
    assert!(!place.home().join("vault-tokens").read_dir().unwrap().any(|_| true), "it is sealed no longer");
}

#[test]
fn r142_an_agent_of_a_low_tier_reads_no_secret() {
    let place = home_of_ada();
    assert_eq!(hand(&place, &["secrets", "put", "inventory/hosts"], "one-two-three").code, 0);
    for tier in ["tier: 0", "tier: 1"] {
        let script = "eparch secret get inventory/hosts; echo \"ended $?\"";
        let file = place.file("p.yaml", &stage("inventory/hosts", script).replace("tier: 2", tier));
        let said = place.say(&["--format", "json", "run", &file]);
        assert!(said.out.contains("error[EP0662]") && said.out.contains("ended 1"), "{tier}: {said:?}");
    }
}

#[test]
fn r140_a_lease_is_held_while_somebody_works_and_shown_without_a_secret() {
    let place = home_of_ada();
    let file = place.file("p.yaml", &stage("", "echo begun; sleep 600"));
    let going = place.start(&["--format", "json", "run", &file]);
    begun(&going);
    let run = place.json(&["runs", "show", "--last"])["pipeline_id"].as_str().unwrap().to_owned();
    let shown = place.json(&["token", "status", &run]);
    assert!(shown["accessor"].as_str().unwrap().starts_with("lse_"), "{shown}");
    assert_eq!(shown["policies"], serde_json::json!(["pipeline-agent"]));
    assert_eq!(shown["agents"][0]["policies"], serde_json::json!(["t2-builder"]));
    assert_eq!(shown["vault_accessor"], Value::Null);
    let text = place.ok(&["token", "status", &run]);
    assert!(text.contains("unless it is renewed") && !text.contains("ept_"), "{text}");
    place.ok(&["token", "revoke", &run, "--reason", "enough"]);
    let after = place.json(&["token", "status", &run]);
    assert_eq!(after, serde_json::json!({ "pipeline_id": run }));
    assert!(place.ok(&["token", "status", &run]).contains("has no lease"));
    assert_eq!(going.end().code, 1);
    let unknown = place.say(&["token", "status", "run_00000000000000000000000001"]);
    assert!(unknown.code == 1, "{unknown:?}");
    // A run without secrets leaves no vault behind.
    assert!(!place.home().join("vault.sealed").exists() && !place.home().join("vault-tokens").exists());
    assert!(place.say(&["token", "trust-clock"]).code == 0);
}

#[test]
fn r138_tokens_of_the_sealed_vault_end_with_their_run_and_after_a_crash() {
    let place = home_of_ada();
    assert_eq!(hand(&place, &["secrets", "put", "inventory/hosts"], "one-two-three").code, 0);
    let file = place.file("p.yaml", &stage("inventory/hosts", "echo begun; sleep 600"));
    let going = place.start(&["--format", "json", "run", &file]);
    begun(&going);
    let run = place.json(&["runs", "show", "--last"])["pipeline_id"].as_str().unwrap().to_owned();
    let shown = place.json(&["token", "status", &run]);
    let accessor = shown["vault_accessor"].as_str().unwrap().to_owned();
    assert!(accessor.starts_with("epa_") && shown["agents"][0]["vault_accessor"].is_string(), "{shown}");
    let sealed = place.home().join("vault-tokens").join(format!("pipeline:{run}:vault_token"));
    let bytes = std::fs::read(&sealed).unwrap();
    assert!(bytes.starts_with(accessor.as_bytes()) && !bytes.windows(4).any(|part| part == b"ept_"));
    place.ok(&["runs", "stop", &run]);
    going.end();
    until_all_ended(&place, 2);
    assert!(!sealed.exists());

    let going = place.start(&["--format", "json", "run", &file]);
    begun(&going);
    place.end_holder(Signal::KILL);
    going.end();
    place.ok(&["runs", "list"]);
    until_all_ended(&place, 4);
    wait_until("the run has ended", || {
        (place.json(&["runs", "show", "--last"])["status"] == "FAILED").then_some(())
    });
    assert_eq!(facts(&place, "lease_ended").iter().filter(|fact| fact["because"] == "restarted").count(), 1);
    place.ok(&["ledger", "verify", "--replay"]);
}
