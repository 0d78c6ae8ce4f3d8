//! What agents ask to do: from a script inside its cage, with nothing but its environment, to the record.

use serde_json::Value;

use crate::console::Place;

/// A stage that runs a script of this project at a tier.
fn stage(tier: u8, more: &str, script: &str) -> String {
    let lines: String = script.lines().map(|line| format!("        {}\n", line.trim())).collect();
    format!(
        "name: one\nstages:\n  - name: only\n    type: agent\n    config:\n      tier: {tier}\n      paths: {{read: [docs]{more}}}\n      \
         command:\n      - sh\n      - -c\n      - |\n{lines}"
    )
}

fn with_a_guide(place: &Place) {
    std::fs::create_dir_all(place.path("docs")).unwrap();
    std::fs::write(place.path("docs/guide.md"), "read me\n").unwrap();
}

/// Runs a script as an agent, which must succeed; the lines it printed, and the facts of its run.
fn says(place: &Place, tier: u8, more: &str, script: &str) -> (Vec<String>, Vec<Value>) {
    with_a_guide(place);
    let file = place.file("p.yaml", &stage(tier, more, script));
    let said = place.say(&["--format", "json", "run", &file]);
    let events: Vec<Value> = said.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told = |event: &Value| Some(event["data"]["line"].as_str()?.to_owned());
    let lines = events.iter().filter(|event| event["type"] == "log").filter_map(told).collect();
    assert_eq!(said.code, 0, "{lines:#?}\n{said:?}");
    (lines, events)
}

fn of_kind<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["type"] == kind).map(|event| &event["data"]).collect()
}

#[test]
fn r007_g1_a_script_asks_is_let_do_it_once_and_says_what_came_of_it() {
    let place = Place::new();
    let script = r#"
        eparch act read_file --target docs/guide.md --key k1 || exit 9
        permit=$(eparch act read_file --target docs/guide.md --key k1 | sed -n 's/^permit //p')
        cat docs/guide.md
        eparch act --done "$permit" --detail "read it" || exit 8
        eparch act --done "$permit"; echo "again ended $?"
        eparch act write_file --target src/main.rs; echo "outside the plan ended $?"
        eparch act execute_command --target prod-1; echo "prod ended $?"
        eparch act read_file --target docs/../../etc/passwd; echo "detour ended $?"
        eparch heartbeat && eparch output risk=high && eparch message "hello" && echo said
    "#;
    let (lines, events) = says(&place, 1, "", script);
    let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text}: {lines:#?}");
    has("allow (own_work)");
    has("read me");
    has("error[EP0616]");
    has("again ended 1");
    has("deny (plan_first)");
    has("outside the plan ended 1");
    has("deny (forbidden_target)");
    has("What would unlock it: tier T3 or above");
    has("prod ended 1");
    has("error[EP0613]");
    has("said");
    let decided = of_kind(&events, "action_decided");
    // The same key is the same request.
    assert_eq!(decided.len(), 3, "{decided:#?}");
    let policy = decided[0]["policy"].as_str().unwrap();
    assert!(policy.starts_with("sha256:") && decided.iter().all(|one| one["policy"] == policy));
    assert_eq!(
        (decided[0]["decision"].as_str(), decided[1]["decision"].as_str()),
        (Some("allow"), Some("deny"))
    );
    let permit = &decided[0]["permit"]["permit"];
    assert_eq!(&of_kind(&events, "permit_spent")[0]["permit"], permit);
    let ended = of_kind(&events, "action_ended");
    assert_eq!((&ended[0]["permit"], ended[0]["detail"].as_str()), (permit, Some("read it")));
    assert!(of_kind(&events, "violation_found").is_empty(), "a denial alone is no violation");
    // Everything can be decided again, under the policies that the ledger keeps.
    place.ok(&["ledger", "verify", "--replay"]);
    let query = place.ok(&["ledger", "query", "--refused"]);
    assert!(query.contains("forbidden_target") && query.contains("plan_first"), "{query}");
    place.ok(&["ledger", "rebuild-views"]);
    assert_eq!(place.ok(&["ledger", "query", "--refused"]), query);
}

#[test]
fn insisting_on_what_is_denied_is_a_violation_and_the_second_one_revokes() {
    let place = Place::new();
    let script = r#"
        eparch act execute_command --target prod-1 --key a; eparch act execute_command --target prod-1 --key b
        eparch act execute_command --target prod-1 --key c; eparch act execute_command --target prod-1 --key d
        echo "asked four times"
        for key in e f g h; do eparch act approve --target gate-1 --key $key; done
        sleep 600
    "#;
    with_a_guide(&place);
    let file = place.file("p.yaml", &stage(1, "", script));
    let said = place.say(&["--format", "json", "run", &file]);
    assert_eq!(said.code, 1, "{said:?}");
    let events: Vec<Value> = said.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let violations = of_kind(&events, "violation_found");
    let kinds: Vec<&str> = violations.iter().filter_map(|one| one["violation"].as_str()).collect();
    assert_eq!(kinds, ["FORBIDDEN_TARGET", "FORBIDDEN_ACTION"], "{said:?}");
    let revoked = of_kind(&events, "revoked");
    assert_eq!(revoked[0]["violation"], "FORBIDDEN_ACTION", "{revoked:?}");
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn g4_a_home_with_policies_that_cannot_be_used_is_not_held() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let own = place.home().join("policies");
    std::fs::create_dir(&own).unwrap();
    let file = place.file("p.yaml", &crate::console::one_stage("true"));
    let said = place.say(&["run", &file]);
    assert!(
        said.code == 69 && said.err.contains("EP0811") && said.err.contains("EP0807"),
        "none at all: {said:?}"
    );
    std::fs::write(own.join("own.cedar"), "permit (principal, action, resource").unwrap();
    let said = place.say(&["run", &file]);
    assert!(said.code == 69 && said.err.contains("EP0811") && said.err.contains("own.cedar:1:"), "{said:?}");
    assert_eq!(said.err.matches("own.cedar").count(), 1, "it is said once: {said:?}");
    std::fs::remove_dir_all(&own).unwrap();
    place.ok(&["run", &file]);
}

#[test]
fn g4_policies_are_put_in_force_while_agents_work_and_faulty_ones_are_not() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "eve", "--role", "operator"]);
    with_a_guide(&place);
    let script = r#"
        eparch act read_file --target docs/guide.md
        eparch output ready=1
        while eparch act read_file --target docs/guide.md; do sleep 0.5; done
        exit 0
    "#;
    let run = place.start(&["--format", "json", "run", &place.file("p.yaml", &stage(1, "", script))]);
    run.event("output_seen");
    assert!(place.ok(&["policy", "load"]).contains("in force already"));
    let own = place.home().join("policies");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("own.cedar"), "permit (principal").unwrap();
    let said = place.say(&["policy", "load"]);
    assert!(said.code == 1 && said.err.contains("EP0811") && said.err.contains("own.cedar:1:"), "{said:?}");
    let nobody = "@id(\"nobody\") @reason(\"closed\") forbid (principal is Agent, action, resource);\n";
    std::fs::write(own.join("own.cedar"), nobody).unwrap();
    let said = place.say(&["--as", "eve", "policy", "load"]);
    assert!(said.code == 1 && said.err.contains("EP0205"), "{said:?}");
    assert!(place.ok(&["policy", "load"]).contains("1 policies, in force now"));
    let said = run.end();
    assert_eq!(said.code, 0, "{said:?}");
    let events: Vec<Value> = said.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let decided = of_kind(&events, "action_decided");
    let told: Vec<_> =
        decided.iter().map(|one| (one["decision"].as_str(), one["reason_code"].as_str())).collect();
    let (last, before) = (told.len() - 1, &decided[0]);
    assert_eq!((told[0], told[last]), ((Some("allow"), Some("own_work")), (Some("deny"), Some("closed"))));
    assert_ne!(before["policy"], decided[last]["policy"], "each names the policies it was found under");
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn outside_of_an_agent_there_is_nobody_to_ask() {
    let place = Place::new();
    let said = place.say(&["act", "read_file", "--target", "docs"]);
    assert!(said.code == 64 && said.err.contains("EP0722"), "{said:?}");
}
