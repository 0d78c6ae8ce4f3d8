//! What a stage lists of actions, and what policy asks people about: from a script inside its cage to the approver and back.

use serde_json::Value;

use crate::console::{Going, Place};

/// A stage at T2 that may ask to run something on staging and does what its script says.
fn stage(script: &str) -> String {
    let lines: String = script.lines().map(|line| format!("        {}\n", line.trim())).collect();
    format!(
        "name: one\ninputs: {{host: {{default: sandbox-1}}}}\nstages:\n  - name: only\n    type: agent\n    config:\n      tier: 2\n      \
         actions: [\"ansible_run staging-*\", \"ansible_run ${{{{ inputs.host }}}}\"]\n      \
         command:\n      - sh\n      - -c\n      - |\n{lines}"
    )
}

/// A home with somebody who asks and somebody who approves.
fn place() -> Place {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "bob", "--role", "approver"]);
    place
}

/// The lines that the agents of a run printed, and its facts.
fn told(out: &str) -> (Vec<String>, Vec<Value>) {
    let events: Vec<Value> = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = |event: &Value| Some(event["data"]["line"].as_str()?.to_owned());
    let lines = events.iter().filter(|event| event["type"] == "log").filter_map(line).collect();
    (lines, events)
}

fn of_kind<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["type"] == kind).map(|event| &event["data"]).collect()
}

#[test]
fn r007_what_a_stage_lists_may_be_asked_for_and_nothing_beside_it() {
    let place = place();
    let script = r#"
        eparch act ansible_run --target sandbox-1
        eparch act ansible_run --target sandbox-2; echo "another host ended $?"
        eparch act docker_run --target sandbox-1; echo "another action ended $?"
    "#;
    let file = place.file("p.yaml", &stage(script));
    let plan = place.ok(&["pipeline", "plan", &file]);
    assert!(plan.contains("may ask to: 'ansible_run staging-*', 'ansible_run sandbox-1'"), "{plan}");
    let said = place.say(&["--format", "json", "run", &file]);
    let (lines, events) = told(&said.out);
    let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text}: {lines:#?}");
    has("allow (allowed_target)");
    has("another host ended 1");
    has("another action ended 1");
    let denied = of_kind(&events, "action_decided").into_iter().filter(|one| one["decision"] == "deny");
    assert!(
        denied.clone().count() == 2 && denied.clone().all(|one| one["reason_code"] == "plan_first"),
        "{events:#?}"
    );
    let actions = &of_kind(&events, "plan_settled")[0]["actions"];
    assert!(actions.to_string().contains("ansible_run sandbox-1"), "{actions}");
    // What comes from outside widens nothing.
    let said = place.say(&["run", &file, "--input", "host=*"]);
    assert!(said.code == 1 && said.err.contains("EP0231") && said.err.contains("ansible_run *"), "{said:?}");
}

#[test]
fn g5_r007_what_policy_asks_people_about_is_done_once_somebody_else_has_said_yes() {
    let place = place();
    let script = r#"
        eparch act ansible_run --target staging-1 --key k1 --params '{"play": "site.yml"}'; echo "asking ended $?"
        eparch act ansible_run --target staging-1 --key k1 --params '{"play": "site.yml"}' --wait 100ms; echo "waiting a little ended $?"
        eparch output waited=1
        eparch act ansible_run --target staging-1 --key k1 --params '{"play": "site.yml"}' --wait > said || exit 9
        cat said
        eparch act --done "$(sed -n 's/^permit //p' said)" --detail "2 changed" || exit 8
        eparch act ansible_run --target staging-1 --key k1 --params '{"play": "other.yml"}'
        eparch act ansible_run --target staging-2 --wait; echo "the second ended $?"
    "#;
    let run = place.start(&["--format", "json", "run", &place.file("p.yaml", &stage(script))]);
    let opened = run.event("gate_opened");
    let gate = opened["gate"].as_str().unwrap().to_owned();
    assert_eq!(
        (opened["purpose"].as_str(), opened["sought"]["target"].as_str(), opened["quorum"].as_u64()),
        (Some("action"), Some("staging-1"), Some(1)),
        "{opened}"
    );
    let listed = place.ok(&["approvals", "list"]);
    let what = r#"only: ansible_run staging-1 with {"play":"site.yml"}"#;
    assert!(listed.contains(what) && listed.contains("approver,admin"), "{listed}");
    let shown = place.ok(&["approvals", "show", &gate]);
    for part in [
        "seeks to   ansible_run staging-1",
        r#"arguments  {"play":"site.yml"}"#,
        "with       sha256:",
        "because    approval_needed",
        "agent      agt_",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // The stage goes on, and the run says that somebody is waited for.
    let runs = place.json(&["runs", "show", opened["run"].as_str().unwrap()]);
    assert_eq!(
        (runs["approvals_waiting"].as_u64(), runs["stages"][0]["status"].as_str()),
        (Some(1), Some("RUNNING"))
    );
    run.event("output_seen");
    let own = place.say(&["approvals", "approve", &gate, "--rationale", "mine"]);
    assert!(own.code == 1 && own.err.contains("EP0305"), "{own:?}");
    place.ok(&["approvals", "approve", &gate, "--rationale", "staging is free", "--as", "bob"]);
    let second = run.until("the second question", |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let is_it = event["type"] == "gate_opened" && event["data"]["sought"]["target"] == "staging-2";
        is_it.then(|| event["data"]["gate"].as_str().map(str::to_owned))?
    });
    place.ok(&["approvals", "deny", &second, "--rationale", "not this one", "--as", "bob"]);
    let said = run.end();
    let (lines, events) = told(&said.out);
    assert_eq!(said.code, 0, "{lines:#?}\n{said:?}");
    let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text}: {lines:#?}");
    has("ask (approval_needed)");
    has(&format!("gate {gate}"));
    has("asking ended 1");
    has("waiting a little ended 1");
    has("allow (approved_target), by bob");
    has("permit prm_");
    has("error[EP0611]");
    has("deny (approval_denied), by bob");
    has("the second ended 1");
    let decided: Vec<_> =
        of_kind(&events, "action_decided").iter().map(|one| one["decision"].as_str()).collect();
    let words = ["ask", "allow", "ask", "deny"].map(Some);
    assert_eq!(decided, words, "waiting leaves nothing in the record, and one approval is one permit");
    place.ok(&["ledger", "verify", "--replay"]);
    place.ok(&["ledger", "rebuild-views"]);
    let all = place.json(&["approvals", "list", "--all"]);
    assert_eq!(
        (all[0]["outcome"].as_str(), all[1]["outcome"].as_str()),
        (Some("approved"), Some("denied")),
        "{all}"
    );
    assert_eq!(all[1]["sought"]["action"], "ansible_run");
}

#[test]
fn somebody_at_a_pipe_is_told_what_an_agent_seeks_and_how_to_answer() {
    let place = place();
    let script = "eparch act ansible_run --target staging-1 --wait; echo over";
    let run = place.start(&["run", &place.file("p.yaml", &stage(script))]);
    run.until_told("seeks to ansible_run staging-1: waits for approver or admin to approve");
    run.until_told("eparch approvals approve");
    // A run that ends withdraws what it asks.
    let latest = place.json(&["runs", "list"])[0]["pipeline_id"].as_str().unwrap().to_owned();
    place.ok(&["runs", "stop", &latest]);
    let said = run.end();
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(place.json(&["approvals", "list", "--all"])[0]["outcome"], "cancelled");
    assert_eq!(place.json(&["approvals"]).as_array().unwrap().len(), 0);
}

/// What makes a home ask people about this machine.
const CAREFUL: &str = r#"
@id("localhost-ask") @reason("team_rule") @verdict("ask")
permit (principal is Agent, action == Action::"execute_command", resource == Host::"localhost")
unless { context.approvals >= 1 };
"#;

/// A home whose policies ask people about commands on this machine.
fn careful() -> Place {
    let place = place();
    let folder = place.home().join("policies");
    std::fs::create_dir_all(&folder).unwrap();
    for file in eparch_policy::DEFAULTS {
        std::fs::write(folder.join(file.name), file.text).unwrap();
    }
    std::fs::write(folder.join("careful.cedar"), CAREFUL).unwrap();
    place.put_in_force("bob");
    place
}

/// A stage at T1 that may have commands performed on this machine, and does what its script says.
fn worker(name: &str, more: &str, script: &str) -> String {
    let lines: String = script.lines().map(|line| format!("        {}\n", line.trim())).collect();
    format!(
        "  - name: {name}\n    type: agent\n{more}    config:\n      tier: 1\n      \
         actions: [\"execute_command localhost\"]\n      command:\n      - sh\n      - -c\n      - |\n{lines}"
    )
}

/// The next gate at which people are asked, after these, and what is sought there.
fn next_question(run: &Going, after: &[&str]) -> (String, Value) {
    run.until("the next question", |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let gate = event["data"]["gate"].as_str()?.to_owned();
        let is_it = event["type"] == "gate_opened" && !after.contains(&gate.as_str());
        is_it.then(|| (gate, event["data"]["sought"].clone()))
    })
}

/// A no is of the thing: other arguments, another spelling and another stage are denied, and nobody is asked; in another run people
/// are asked anew (G5).
#[test]
fn g5_a_persons_no_cannot_be_asked_around_in_its_run() {
    let place = careful();
    let again = "eparch act execute_command --target localhost --key other --wait -- touch otherwise; echo \"other words ended $?\"
        eparch --format json act execute_command --target LOCALHOST --params '{\"n\": 3}' > said; echo \"another spelling ended $?\"
        tr -d ' \\n' < said; echo";
    let first = format!(
        "eparch act execute_command --target localhost --wait -- touch made; echo \"asking ended $?\"\n{again}"
    );
    let stages = [worker("one", "", &first), worker("other", "    requires: [one]\n", again)].concat();
    let file = place.file("p.yaml", &format!("name: two\nstages:\n{stages}"));
    let run = place.start(&["--format", "json", "run", &file]);
    let (gate, sought) = next_question(&run, &[]);
    assert_eq!(sought["given"], r#"{"command":["touch","made"]}"#, "{sought}");
    place.ok(&["approvals", "deny", &gate, "--rationale", "not on this machine", "--as", "bob"]);
    let said = run.end();
    let (lines, events) = told(&said.out);
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("deny (approval_denied), by bob"), 1, "{lines:#?}");
    assert_eq!(count("deny (people_said_no), by bob"), 2, "{lines:#?}");
    assert_eq!((count("other words ended 126"), count("another spelling ended 1")), (2, 2), "{lines:#?}");
    assert_eq!(count(r#""reason_code":"people_said_no""#), 2, "{lines:#?}");
    assert_eq!(count(r#""retryable":false"#), 2, "{lines:#?}");
    assert!(count("in this one the no stands") >= 2, "who may let it through, and how: {lines:#?}");
    assert_eq!(of_kind(&events, "gate_opened").len(), 1, "nobody is asked twice");
    assert!(!place.path("made").exists() && !place.path("otherwise").exists());
    let another = place.start(&["--format", "json", "run", &file]);
    let (gate, _) = next_question(&another, &[]);
    place.ok(&["approvals", "deny", &gate, "--rationale", "nor today", "--as", "bob"]);
    another.end();
    place.ok(&["ledger", "verify", "--replay"]);
}

/// Whoever answers sees the command line itself, in the list, at the gate and as JSON; what was approved is what is performed; and
/// somebody who is removed has approved nothing (G5).
#[test]
fn g5_people_see_the_command_they_approve_and_an_approver_who_is_gone_has_approved_nothing() {
    let place = careful();
    place.ok(&["operator", "add", "carol", "--role", "approver"]);
    let script = r#"
        eparch act execute_command --target localhost --key one --wait -- sh -c 'echo "it ran" > made'; echo "the first ended $?"
        eparch act execute_command --target localhost --key two -- touch later; echo "asking ended $?"
        digest=$(printf '{"command":["touch","unseen"]}' | sha256sum | cut -d' ' -f1)
        eparch act execute_command --target localhost --key three --params-digest "sha256:$digest" --wait > said
        eparch act execute_command --target localhost --key two -- touch later; echo "coming back ended $?"
        eparch act --permit "$(sed -n 's/^permit //p' said)" -- touch unseen; echo "what nobody saw ended $?"
    "#;
    let text = format!("name: one\nstages:\n{}", worker("only", "", script));
    let run = place.start(&["--format", "json", "run", &place.file("p.yaml", &text)]);
    let (first, _) = next_question(&run, &[]);
    let listed = place.ok(&["approvals", "list"]);
    assert!(listed.contains("only: execute_command localhost -- sh -c"), "{listed}");
    let shown = place.ok(&["approvals", "show", &first]);
    assert!(shown.contains(r#"command    sh -c 'echo "it ran" > made'"#), "{shown}");
    let json = place.json(&["approvals", "show", &first]);
    let given = json["sought"]["given"].as_str().unwrap();
    assert_eq!(given, r#"{"command":["sh","-c","echo \"it ran\" > made"]}"#);
    assert_eq!(json["sought"]["params"], eparch_domain::Digest::of(given.as_bytes()).to_string());
    place.ok(&["approvals", "approve", &first, "--rationale", "harmless", "--as", "bob"]);
    let (second, _) = next_question(&run, &[&first]);
    place.ok(&["approvals", "approve", &second, "--rationale", "fine", "--as", "carol"]);
    place.ok(&["operator", "remove", "carol"]);
    let (third, _) = next_question(&run, &[&first, &second]);
    let shown = place.ok(&["approvals", "show", &third]);
    assert!(shown.contains("arguments  not shown: only their digest is known"), "{shown}");
    place.ok(&["approvals", "approve", &third, "--rationale", "blindly", "--as", "bob"]);
    let said = run.end();
    let (lines, _) = told(&said.out);
    let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text}: {lines:#?}");
    has("the first ended 0");
    has("deny (approval_void), by carol");
    has("coming back ended 126");
    has("error[EP0623]");
    has("what nobody saw ended 125");
    assert_eq!(std::fs::read_to_string(place.path("made")).unwrap(), "it ran\n");
    assert!(!place.path("later").exists() && !place.path("unseen").exists());
    place.ok(&["ledger", "verify", "--replay"]);
    place.ok(&["ledger", "rebuild-views"]);
}
