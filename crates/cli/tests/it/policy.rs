//! Policies as files: check, explain, test, show.

use std::fs;

use serde_json::Value;

use crate::console::{Place, is_there};

/// The test file that ships.
const DEFAULT_CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/defaults.test.yaml");

const OWN: &str = "\
@id(\"team-reads\") @reason(\"team\")
permit (principal in Tier::\"T0\", action in Action::\"look\", resource in Scope::\"project\");
@id(\"team-watched\") @reason(\"too_many\") @shadow
forbid (principal is Agent, action, resource) when { context.spent_tokens > 10 };
";

#[test]
fn every_default_policy_decides_a_case_of_the_test_file_that_ships() {
    let place = Place::new();
    let said = place.say(&["policy", "test", DEFAULT_CASES, "--format", "json"]);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, found["failed"].as_u64()), (0, Some(0)), "{said:?}");
    assert_eq!(found["untried_policies"], serde_json::json!([]));
    assert!(found["passed"].as_u64() > Some(60));
    assert!(!is_there(place.home()), "nothing is made by asking");
}

#[test]
fn g4_check_shows_every_problem_and_exits_65() {
    let place = Place::new();
    let said = place.say(&["policy", "check"]);
    assert!(said.code == 0 && said.out.contains("the policies that ship: valid"), "{said:?}");
    let bad = place.file("bad.cedar", "permit (principal, action, resource)\nwhen { context.nothing };\n");
    let said = place.say(&["policy", "check", &bad]);
    assert_eq!(said.code, 65, "{said:?}");
    for found in ["error[EP0803]: the policy has no @id", "error[EP0802]", "bad.cedar:2:", "3 problems"] {
        assert!(said.out.contains(found), "{found}: {said:?}");
    }
    let said = place.say(&["policy", "check", &bad, "--format", "json"]);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, found["valid"].as_bool()), (65, Some(false)));
    assert_eq!(found["problems"].as_array().map(Vec::len), Some(3), "{found}");
    let said = place.say(&["policy", "check", "nowhere"]);
    assert!(said.code == 65 && said.err.contains("error[EP0702]"), "{said:?}");
    let empty = place.file("empty.cedar", "// nothing\n");
    assert!(place.say(&["policy", "check", &empty]).out.contains("error[EP0807]"));
}

#[test]
fn explain_says_why_not_and_what_would_unlock_it() {
    let place = Place::new();
    let ask = |words: &[&str]| place.say(&[&["policy", "explain"], words].concat());
    let said = ask(&["--agent", "T1", "--action", "execute_command", "--resource", "prod-eu-1"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("deny, forbidden_target\n"), "{said:?}");
    assert!(said.out.contains("decided by never-11-prod-below-t3 (always.cedar:"), "{said:?}");
    assert!(said.out.contains("this very request with: tier T3 (then people are asked)"), "{said:?}");

    let said = ask(&["--agent", "T0", "--action", "write_file", "--resource", "a.txt", "--format", "json"]);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(found["decision"], "deny");
    assert_eq!(found["reason_code"], "no_policy_allows");
    assert_eq!(found["would_do"]["tier"], 1);
    assert_eq!(found["policies"], serde_json::json!([]));

    let said = ask(&["--operator", "viewer", "--action", "approve", "--resource", "gate-1"]);
    assert!(said.out.contains("the role operator or approver or admin"), "{said:?}");
    let said = ask(&["--agent", "T2", "--action", "read_secret", "--resource", "inventory/hosts"]);
    assert!(
        said.out.starts_with("modify, wrapped_secret\n") && said.out.contains("changed: wrap"),
        "{said:?}"
    );
    let context = r#"{"phase": "PLAN", "planned": false}"#;
    let said = ask(&["--agent", "T1", "--action", "write_file", "--resource", "a", "--context", context]);
    assert!(said.out.contains("the phase EXECUTE, an accepted plan that holds the action"), "{said:?}");
    assert!(said.out.contains("asking again later can help"), "{said:?}");
}

#[test]
fn what_cannot_be_asked_is_told() {
    let place = Place::new();
    let ask = |words: &[&str]| place.say(&[&["policy", "explain", "--agent", "T1"], words].concat());
    let said = ask(&["--action", "read_file", "--resource", "docs/../.ssh"]);
    assert!(said.code == 64 && said.err.contains("error[EP0812]: --resource"), "{said:?}");
    let said = ask(&["--action", "spawn_agent", "--resource", "worker"]);
    assert!(said.code == 64 && said.err.contains("worker@T2"), "{said:?}");
    let said = ask(&["--action", "read_file", "--resource", "a", "--context", r#"{"phas": "PLAN"}"#]);
    assert!(said.code == 64 && said.err.contains("there is no `phas`"), "{said:?}");
    assert_eq!(ask(&["--action", "read_fil", "--resource", "a"]).code, 64);
    assert_eq!(place.say(&["policy", "show", "T9"]).code, 64);
}

#[test]
fn policies_of_a_folder_of_ones_own_are_asked_instead() {
    let place = Place::new();
    let file = place.file("own.cedar", OWN);
    let context = r#"{"spent_tokens": 11}"#;
    let said = place.say(&[
        "policy",
        "explain",
        "--agent",
        "T1",
        "--action",
        "read_file",
        "--resource",
        "src/x",
        "--context",
        context,
        "--policies",
        &file,
    ]);
    assert!(said.out.starts_with("allow, team\n"), "{said:?}");
    assert!(said.out.contains("watched: team-watched would say deny (too_many)"), "{said:?}");
    // Those in the home are found without being named.
    let folder = place.home().join("policies");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("own.cedar"), OWN).unwrap();
    fs::write(folder.join("notes.txt"), "no policy").unwrap();
    let said = place.say(&["policy", "show"]);
    assert!(said.out.contains("team-reads") && said.out.contains("deny (watched)"), "{said:?}");
    fs::write(folder.join("broken.cedar"), "permit").unwrap();
    let said = place.say(&["policy", "show", "T1"]);
    assert!(said.code == 65 && said.err.contains("error[EP0811]"), "{said:?}");
}

#[test]
fn a_test_file_fails_where_policies_say_otherwise() {
    let place = Place::new();
    let file = place.file(
        "team.test.yaml",
        "cases:\n  - {name: as meant, subject: T1, action: read_file, resource: a, expect: allow}\n  - name: not so\n    \
         subject: T0\n    action: execute_command\n    resource: localhost\n    expect: {decision: allow, by: [x]}\n",
    );
    let said = place.say(&["policy", "test", &file]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("not as expected: not so") && said.out.contains("team.test.yaml:3:5"),
        "{said:?}"
    );
    assert!(
        said.out.contains("expected allow, found deny (no_policy_allows); expected x to decide"),
        "{said:?}"
    );
    assert!(said.out.contains("2 cases, 1 not as expected"), "{said:?}");
    assert!(said.out.contains("no case is decided by: "), "{said:?}");
}

#[test]
fn a_test_file_that_is_none_is_refused_with_places() {
    let place = Place::new();
    let refused = |text: &str, wanted: &[&str]| {
        let file = place.file("bad.test.yaml", text);
        let said = place.say(&["policy", "test", &file]);
        assert_eq!(said.code, 65, "{said:?}");
        for wanted in wanted {
            assert!(said.out.contains(wanted), "{wanted}: {said:?}");
        }
    };
    refused("cases: []\n", &["EP0810", "there is no case in the list"]);
    refused("- a\n", &["EP0810", "the file is a map"]);
    refused("cases:\n  - a: &x 1\n", &["EP0105", "bad.test.yaml:2:"]);
    refused(
        "cases:\n  - {name: a, subject: T9, action: read_fil, resource: a, expect: allow, colour: red}\n",
        &[
            "`subject` cannot be \"T9\"",
            "`action` cannot be \"read_fil\"",
            "unknown field `colour`",
            "bad.test.yaml:2:",
        ],
    );
    refused(
        "cases:\n  - {name: a, subject: T1, action: read_file, resource: ../a, expect: allow}\n  - {name: b}\n",
        &["cannot stand in a resource's name", "the case has no `subject`"],
    );
    refused(
        "cases:\n  - name: a\n    subject: T1\n    action: read_file\n    resource: a\n    context: {phase: LATER, approvals: -1}\n    expect: perhaps\n",
        &["bad.test.yaml:6:15", "`approvals` is a whole number from 0", "`expect` cannot be \"perhaps\""],
    );
}

#[test]
fn show_is_a_table_for_people_and_for_programs() {
    let place = Place::new();
    let text = place.ok(&["policy", "show", "T2"]);
    for line in
        ["read_secret\n  any secret", "wrap", "host staging-*", "never-11-prod-below-t3", "unlocked by"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    let found = place.json(&["policy", "show", "operator"]);
    assert_eq!(found["who"], "operator");
    let rows = found["rows"].as_array().unwrap();
    let approve = rows.iter().find(|row| row["action"] == "approve").unwrap();
    assert_eq!(approve["verdicts"]["project"]["decision"], "allow");
}
