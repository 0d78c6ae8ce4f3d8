//! Policies as files: check, explain, test, show.

use std::collections::BTreeSet;
use std::fs;

use eparch_domain::{Action, Tier};
use eparch_pipeline::document;
use eparch_policy::{ResourceKind, kinds_of};
use serde_json::{Value, json};

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
    assert_eq!(found["untried_policies"], json!([]));
    assert!(found["passed"].as_u64() > Some(60));
    assert!(!is_there(place.home()), "nothing is made by asking");
}

#[test]
fn g4_check_shows_every_problem_and_exits_65() {
    let place = Place::new();
    let said = place.say(&["policy", "check"]);
    assert!(said.code == 0 && said.out.contains("the policies that ship: valid"), "{said:?}");
    assert!(!said.out.contains("warning"), "{said:?}");
    let said = place.say(&["policy", "show", "operator"]);
    assert!(said.out.contains("their role has to let them do as well"), "{said:?}");
    assert!(!place.say(&["policy", "show", "T1"]).out.contains("their role has to"));
    let agents = "@id(\"a\")\n@reason(\"r\")\npermit (principal is Agent, action, resource);\n";
    let said = place.say(&["policy", "check", &place.file("agents.cedar", agents)]);
    assert!(
        said.code == 0 && said.out.contains("no person may start runs, nor approve anything, nor put"),
        "{said:?}"
    );
    let hands_off = "@id(\"a\")\n@reason(\"r\")\nforbid (principal is Operator, action in Action::\"effect\", resource);\n";
    let said = place.say(&["policy", "check", &place.file("hands_off.cedar", hands_off)]);
    assert!(said.code == 0 && said.out.contains("no policy keeps people from `revoke`"), "{said:?}");
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
    assert!(
        said.out.contains("this very request is allowed with: tier T3, the approval of one person at a gate"),
        "{said:?}"
    );

    let said = ask(&["--agent", "T0", "--action", "write_file", "--resource", "a.txt", "--format", "json"]);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(found["decision"], "deny");
    assert_eq!(found["reason_code"], "no_policy_allows");
    assert_eq!(found["would_do"]["tier"], 1);
    assert_eq!(found["policies"], json!([]));

    let said = ask(&["--operator", "viewer", "--action", "approve", "--resource", "gate-1"]);
    assert!(
        said.out.contains("this very request is allowed with: the role operator, approver or admin"),
        "{said:?}"
    );
    let said = ask(&["--agent", "T2", "--action", "read_secret", "--resource", "inventory/hosts"]);
    assert!(
        said.out.starts_with("modify, wrapped_secret\n") && said.out.contains("changed: wrap"),
        "{said:?}"
    );
    let context = r#"{"phase": "PLAN", "planned": false}"#;
    let said = ask(&["--agent", "T4", "--action", "modify_governance", "--resource", "policy"]);
    assert!(said.out.contains("nothing would unlock it: an agent at T4 may propose a change"), "{said:?}");
    assert!(said.out.contains("break-glass does not help: nobody can let it pass as it is"), "{said:?}");
    let said = ask(&["--agent", "T1", "--action", "write_file", "--resource", "a", "--context", context]);
    assert!(said.out.contains("the phase EXECUTE, an accepted plan that holds the action"), "{said:?}");
    assert!(said.out.contains("asking again later can help"), "{said:?}");
}

/// A case of the test file that ships, as the words of a question.
fn question(case: &Value, context: &Value, subject: &str) -> Vec<String> {
    let said = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
    let mut words = match (subject, subject.parse::<Tier>()) {
        ("anonymous", _) => vec!["--anonymous".to_owned()],
        // `operator` is a role here, and T1's name elsewhere.
        (_, Ok(tier)) if subject.starts_with('T') => vec!["--agent".to_owned(), tier.to_string()],
        _ => vec!["--operator".to_owned(), subject.to_owned()],
    };
    words.extend(["--action".to_owned(), said("action"), "--resource".to_owned(), said("resource")]);
    if let Some(scope) = case["scope"].as_str() {
        words.extend(["--scope".to_owned(), scope.to_owned()]);
    }
    words.extend(["--context".to_owned(), context.to_string()]);
    words
}

/// Asks what would unlock a denial, and asks again with what was said: then it is allowed. Where nothing would help, it says so.
fn explained(place: &Place, case: &Value, context: &Value, subject: &str) -> bool {
    let words = question(case, context, subject);
    let ask = |words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        place.json(&[&["policy", "explain"], &words[..]].concat())
    };
    let found = ask(&words);
    if found["decision"] != "deny" {
        return false;
    }
    let (reason, by) = (found["reason_code"].as_str().unwrap(), found["policies"].as_array().unwrap());
    let of_no_policy = eparch_policy::reasons::ALL.contains(&reason);
    assert_eq!(by.is_empty(), of_no_policy, "{words:?}: {found:#}");
    let helps = found["would_help"].as_array().unwrap();
    assert!(helps.iter().all(|help| help.as_str().is_some_and(|help| help.len() > 30)), "{found:#}");
    assert!(!helps.is_empty(), "{words:?}: nothing is said to help: {found:#}");
    let would = &found["would_do"];
    if would.is_null() {
        return true;
    }
    let mut context = context.as_object().unwrap().clone();
    let mut set = |key: &str, value: Value| context.insert(key.to_owned(), value);
    if let Some(approvals) = would["approvals"].as_u64() {
        set("approvals", approvals.into());
    }
    if would["plan"] == true {
        set("planned", true.into());
    }
    if would["execute"] == true {
        set("phase", "EXECUTE".into());
    }
    if would["renewed"] == true {
        set("credential", "valid".into());
    }
    if would["fresh_run"] == true {
        set("history", Value::Array(Vec::new()));
    }
    if would["another_person"] == true {
        set("requester", "another".into());
    }
    if let Some(grants) = would["grants"].as_u64() {
        set("max_tier", grants.into());
    }
    let subject = match (would["tier"].as_u64(), would["roles"][0].as_str()) {
        (Some(tier), _) => format!("T{tier}"),
        (_, Some(role)) => role.to_owned(),
        _ => subject.to_owned(),
    };
    let again = ask(&question(case, &context.into(), &subject));
    assert_eq!(again["decision"], would["decision"], "{words:?} with {would}: {again:#}");
    assert!(
        matches!(again["decision"].as_str(), Some("allow" | "modify")),
        "{words:?} with {would}: {again:#}"
    );
    true
}

/// What the agents of the examples and of the templates work with: every action they have as a tool, on what it can be done to, with
/// the paths that they read and write.
fn of_examples_and_templates(place: &Place) -> BTreeSet<(String, String)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let files = |folder: &str| -> Vec<String> {
        let all = fs::read_dir(format!("{root}{folder}")).unwrap().map(|file| file.unwrap().path());
        let files = all.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
        files.map(|path| path.display().to_string()).collect()
    };
    let (examples, templates) = (files("examples"), files("templates"));
    assert!(examples.len() >= 4 && templates.len() >= 4, "{examples:?} {templates:?}");
    let plans = examples.iter().map(|file| place.json(&["pipeline", "plan", file]));
    let templates = templates.iter().map(|file| {
        let file = document::read(&fs::read_to_string(file).unwrap()).unwrap().to_value();
        json!({ "tools": file["tools"], "read": file["config"]["paths"]["read"] })
    });
    let mut found = BTreeSet::new();
    let mut left: Vec<Value> = plans.chain(templates).collect();
    while let Some(value) = left.pop() {
        for tool in value["tools"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let action: Action = tool.parse().unwrap();
            for resource in kinds_of(action).iter().flat_map(|kind| resources(*kind, &value)) {
                found.insert((tool.to_owned(), resource));
            }
        }
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
    found
}

/// Things of a kind, as a stage may name them.
fn resources(kind: ResourceKind, stage: &Value) -> Vec<String> {
    let paths = ["read", "write"].into_iter().filter_map(|key| stage[key].as_array()).flatten();
    let paths = paths.filter_map(Value::as_str).map(|path| if path == "." { "src/main.rs" } else { path });
    let named: &[&str] = match kind {
        ResourceKind::Path => return paths.chain(["release.json"]).map(str::to_owned).collect(),
        ResourceKind::Host => &["localhost", "staging-web-1", "prod-eu-1"],
        ResourceKind::Secret => &["inventory/hosts"],
        ResourceKind::Tool => &["github/create_issue"],
        ResourceKind::Model => &["openai/gpt"],
        ResourceKind::Agent | ResourceKind::Template => &["worker@T2"],
        ResourceKind::Work => &["."],
        ResourceKind::Lock => &["deploy"],
        ResourceKind::Gate => &["gate-1"],
        ResourceKind::Governance => &["policy"],
    };
    named.iter().map(|name| (*name).to_owned()).collect()
}

/// Every denial of the cases that ship, and every one that an agent of any tier meets with what the agents of the examples and the
/// templates work with: the answer names the policies or that there is none, a reason, and what would unlock it, which is true.
#[test]
fn explain_tells_the_truth_about_every_denial_there_is_an_example_of() {
    let place = Place::new();
    let file = document::read(&fs::read_to_string(DEFAULT_CASES).unwrap()).unwrap().to_value();
    let mut told = 0;
    for case in file["cases"].as_array().unwrap() {
        let context = case.get("context").cloned().unwrap_or_else(|| json!({}));
        told += u32::from(explained(&place, case, &context, case["subject"].as_str().unwrap()));
    }
    assert!(told > 30, "{told} of the cases");
    let mut asked = of_examples_and_templates(&place);
    let of_examples = asked.len();
    // And what none of them does.
    for (action, resource) in [
        ("write_file", "release.json"),
        ("execute_command", "prod-1"),
        ("call_tool", "github/create_issue"),
        ("read_secret", "inventory/hosts"),
        ("spawn_agent", "worker@T2"),
        ("approve", "gate-1"),
        ("modify_governance", "policy"),
    ] {
        asked.insert((action.to_owned(), resource.to_owned()));
    }
    let all = asked.len();
    for (action, resource) in asked {
        // A run is its agent's own; all else is the project's.
        let is_work = kinds_of(action.parse().unwrap()).contains(&ResourceKind::Work);
        let scope = if is_work { "own" } else { "project" };
        for tier in ["T0", "T1", "T2", "T3", "T4"] {
            let case = json!({ "action": action, "resource": resource, "scope": scope });
            told += u32::from(explained(&place, &case, &json!({}), tier));
        }
    }
    println!("{of_examples} of {all} are of examples and templates; {told} denials were explained");
    assert!(of_examples > 10 && told > 60, "{of_examples} of {all}, {told} denials");
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
