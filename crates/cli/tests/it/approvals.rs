//! Gates: who may answer, and what an answer is bound to.

use serde_json::Value;

use crate::console::{Going, Place};

fn gated(place: &Place, more: &str) -> String {
    let text = format!(
        "name: gated\n{more}stages:\n  - name: review\n    type: gate\n    config: {{approvers: [team-lead]}}\n  \
         - name: apply\n    type: agent\n    requires: [review]\n    config: {{command: [echo, applied]}}\n"
    );
    place.file("gated.yaml", &text)
}

/// A run that waits at its gate, and the gate.
fn waiting(place: &Place, more: &str) -> (Going, String) {
    if !place.home().exists() {
        place.ok(&["init", "--owner", "ada"]);
    }
    place.ok(&["operator", "add", "eve", "--role", "operator"]);
    let file = gated(place, more);
    let run = place.start(&["run", &file, "--format", "json"]);
    let gate = run.event("gate_opened")["gate"].as_str().unwrap().to_owned();
    (run, gate)
}

/// Policies that somebody offers wait for a second person, who approves the very set by its digest; who is alone with a home is not
/// shut out of it. What they say of people holds, and nobody is kept from stopping (G4, G5).
#[test]
fn g5_policies_wait_for_a_second_person_and_hold_for_people() {
    let place = Place::new();
    // It keeps the holder, which would begin with whatever lies in the home.
    let (run, _) = waiting(&place, "");
    let own = place.home().join("policies");
    std::fs::create_dir(&own).unwrap();
    for file in eparch_policy::DEFAULTS {
        std::fs::write(own.join(file.name), file.text).unwrap();
    }
    let more = |text: &str| std::fs::write(own.join("zz.cedar"), text).unwrap();
    let forbid = |id: &str| {
        format!(
            "@id(\"{id}\")\n@reason(\"closed\")\nforbid (principal is Operator, action in [Action::\"spawn_agent\", \
             Action::\"revoke\"], resource);\n"
        )
    };
    more(
        "@id(\"zz\")\n@reason(\"r\")\npermit (principal is Agent, action == Action::\"llm_chat\", resource);\n",
    );
    // Nobody else could look: eve only runs things.
    let alone = place.ok(&["policy", "load"]);
    assert!(alone.contains("in force now") && alone.contains("Nobody else could look"), "{alone}");
    for (name, role) in [("team-lead", "approver"), ("zoe", "admin")] {
        place.ok(&["operator", "add", name, "--role", role]);
    }
    let file = place.file("one.yaml", &crate::console::one_stage("true"));
    more(&forbid("first"));
    let first = place.json(&["policy", "load"]);
    assert!(first["waiting"]["offered_by"] == "ada" && first["changed"] == false, "{first}");
    let first = first["digest"].as_str().unwrap();
    let checked = place.json(&["policy", "check"]);
    assert_eq!(checked["digest"], first, "whoever looks at the folder finds what they are asked for");
    place.ok(&["run", &file]);
    more(&forbid("second"));
    let told = place.ok(&["policy", "load"]);
    assert!(
        told.contains("not in force yet") && told.contains("--as NAME policy load --approve sha256:"),
        "{told}"
    );
    let second = place.json(&["policy", "check"])["digest"].as_str().unwrap().to_owned();
    let shown = place.ok(&["--as", "team-lead", "policy", "waiting"]);
    for line in [
        "offered by ada",
        "removed zz",
        "added second",
        "  + forbid (principal is Operator",
        "--approve sha256:",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let copy = place.path("copy").display().to_string();
    let shown = place.json(&["policy", "waiting", "--write", &copy]);
    assert_eq!(
        (&shown["waiting"]["digest"], &shown["changes"][0]["change"]),
        (&second.as_str().into(), &"added".into())
    );
    assert_eq!(place.json(&["policy", "check", &copy])["policies"], shown["policies"]);
    assert!(place.say(&["policy", "waiting", "--write", &copy]).err.contains("EP0712"));
    let answer = |who: &str, what: &str, digest: &str| {
        place.say(&["--as", who, "policy", "load", what, digest, "--rationale", "looked at it"])
    };
    for (who, digest, code) in
        [("ada", &*second, "EP0815"), ("eve", &second, "EP0205"), ("team-lead", first, "EP0816")]
    {
        let said = answer(who, "--approve", digest);
        assert!(said.code == 1 && said.err.contains(code), "{who}: {said:?}");
    }
    place.ok(&["run", &file]);
    let said = answer("team-lead", "--approve", &second);
    assert!(said.code == 0 && said.out.contains("in force now"), "{said:?}");
    assert!(answer("zoe", "--approve", &second).err.contains("EP0814"));
    assert!(place.say(&["policy", "waiting"]).err.contains("EP0814"));
    let said = place.say(&["run", &file]);
    assert!(
        said.code != 0 && said.err.contains("EP0216") && said.err.contains("closed, by second"),
        "{said:?}"
    );
    // A later one is denied, and nobody is kept from taking authority away.
    more(
        "@id(\"zz\")\n@reason(\"r\")\npermit (principal is Agent, action == Action::\"llm_chat\", resource);\n",
    );
    let third = place.json(&["policy", "load"])["digest"].as_str().unwrap().to_owned();
    let said = answer("zoe", "--deny", &third);
    assert!(said.code == 0 && said.out.contains("waits no longer"), "{said:?}");
    let of_run = run.event("gate_opened")["run"].as_str().unwrap().to_owned();
    place.ok(&["token", "revoke", &of_run, "--reason", "not like this"]);
    assert_eq!(run.end().code, 1);
    let told = place.ok(&["ledger", "show"]);
    for line in ["nobody but ada could have looked", "they wait for a second person", "by ada and team-lead"]
    {
        assert!(told.contains(line), "{line}: {told}");
    }
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn r047_r048_another_person_approves_from_another_terminal() {
    let place = Place::new();
    let (run, gate) = waiting(&place, "");
    place.ok(&["operator", "add", "team-lead", "--role", "approver"]);
    let listed = place.json(&["approvals"]);
    assert_eq!(listed[0]["gate"], gate.as_str());
    let refused = |words: &[&str], code: &str| {
        let said = place.say(&[&["approvals", "approve", &gate, "--rationale", "fine"], words].concat());
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(code), "{said:?}");
    };
    refused(&[], "EP0305");
    refused(&["--as", "eve"], "EP0304");
    let other = format!("sha256:{}", "0".repeat(64));
    refused(&["--as", "team-lead", "--digest", &other], "EP0306");
    refused(&["--as", "nobody"], "EP0504");
    assert!(place.ok(&["approvals", "show", &gate]).contains("asked by"));
    let subject = listed[0]["subject"].as_str().unwrap();
    place.ok(&[
        "approvals",
        "approve",
        &gate,
        "--rationale",
        "fine",
        "--as",
        "team-lead",
        "--digest",
        subject,
    ]);
    let said = run.end();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("applied"), "{said:?}");
    refused(&["--as", "team-lead"], "EP0302");
    assert_eq!(place.json(&["approvals"]).as_array().unwrap().len(), 0);
    assert_eq!(place.json(&["approvals", "list", "--all"])[0]["votes"][0]["by"], "team-lead");
}

#[test]
fn r047_a_denial_fails_the_run() {
    let place = Place::new();
    let (run, gate) = waiting(&place, "");
    place.ok(&["operator", "add", "team-lead", "--role", "approver"]);
    place.ok(&["approvals", "deny", &gate, "--rationale", "too risky", "--as", "team-lead"]);
    let said = run.end();
    assert_eq!(said.code, 1, "{said:?}");
    let result: Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    assert_eq!(result["status"], "FAILED");
    assert!(!said.out.contains("applied"));
}

#[test]
fn a_strict_profile_takes_only_a_key_this_home_never_held() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let key = place.path("lead.key").display().to_string();
    let public = place.ok(&["operator", "keygen", &key]);
    place.ok(&["operator", "add", "team-lead", "--role", "approver", "--public-key", public.trim()]);
    let (run, gate) = waiting(&place, "profile: enterprise\n");
    assert_eq!(place.say(&["operator", "keygen", &key]).code, 1, "a key is not written over");
    let approve = ["approvals", "approve", gate.as_str(), "--rationale", "fine", "--as", "team-lead"];
    assert!(place.say(&approve).err.contains("EP0504"), "the home has no key of theirs");
    let other = place.path("other.key").display().to_string();
    place.ok(&["operator", "keygen", &other]);
    let said = place.say(&[&approve[..], &["--key", &other]].concat());
    assert!(said.err.contains("EP0310"), "{said:?}");
    let again = ["operator", "add", "double", "--role", "approver", "--public-key", public.trim()];
    assert!(place.say(&again).err.contains("EP0404"), "one key is one person");
    place.ok(&[&approve[..], &["--key", &key]].concat());
    assert_eq!(run.end().code, 0);
    assert_eq!(place.json(&["approvals", "list", "--all"])[0]["votes"][0]["separation"], "remote-key");
    // Whoever reads the entry can check the answer again.
    let entry = place
        .json(&["ledger", "show"])
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry.to_string().contains("vote_cast"))
        .cloned()
        .unwrap();
    let entry = entry.to_string();
    assert!(entry.contains("\"signature\"") && entry.contains(public.trim()), "{entry}");
}

#[test]
fn g5_whoever_asked_for_a_run_cannot_make_its_approver() {
    let place = Place::new();
    let (run, gate) = waiting(&place, "profile: enterprise\n");
    let key = place.path("lead.key").display().to_string();
    let public = place.ok(&["operator", "keygen", &key]);
    place.ok(&["operator", "add", "team-lead", "--role", "approver", "--public-key", public.trim()]);
    let approve = ["approvals", "approve", gate.as_str(), "--rationale", "fine", "--as", "team-lead"];
    let said = place.say(&[&approve[..], &["--key", &key]].concat());
    assert!(said.code == 1 && said.err.contains("EP0311"), "{said:?}");
    place.ok(&["runs", "stop", "--last"]);
    assert_eq!(run.end().code, 3);
}

#[test]
fn without_a_terminal_nobody_is_asked_and_the_way_to_answer_is_told() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "team-lead", "--role", "approver"]);
    let file = gated(&place, "");
    let id = place.ok(&["run", &file, "--detach"]);
    let run = place.start(&["runs", "resume", id.trim(), "--approve-as", "team-lead"]);
    let listed = crate::console::wait_until("the gate waits", || {
        place.json(&["approvals"]).as_array().unwrap().first().cloned()
    });
    let gate = listed["gate"].as_str().unwrap();
    place.ok(&["approvals", "approve", gate, "--rationale", "fine", "--as", "team-lead"]);
    let said = run.end();
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(place.say(&["run", &file, "--approve-as", "stranger"]).code, 1, "found out before the run");
}

#[test]
fn operators_are_added_rotated_and_removed() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "bob", "--role", "viewer", "--group", "crew", "--max-tier", "1"]);
    let said = place.say(&["operator", "add", "bob"]);
    assert!(said.code == 1 && said.err.contains("EP0401"), "{said:?}");
    assert!(place.say(&["operator", "add", "eve", "--as", "bob"]).err.contains("EP0205"));
    let before = place.json(&["operator", "list"])[1]["fingerprint"].clone();
    place.ok(&["operator", "rotate", "bob"]);
    let listed = place.json(&["operator", "list"]);
    assert_ne!(listed[1]["fingerprint"], before);
    assert_eq!((&listed[1]["name"], &listed[1]["groups"][0]), (&Value::from("bob"), &Value::from("crew")));
    place.ok(&["operator", "remove", "bob"]);
    assert!(place.say(&["runs", "--as", "bob"]).err.contains("EP0504"));
    assert!(place.say(&["operator", "remove", "ada"]).err.contains("EP0402"));
    assert_eq!(place.say(&["operator", "add", "x", "--role", "king"]).code, 64);
}

#[test]
fn a_refused_rotation_leaves_the_key_as_it_was() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "bob", "--role", "admin", "--max-tier", "1"]);
    let said = place.say(&["operator", "rotate", "ada", "--as", "bob"]);
    assert!(said.code == 1 && said.err.contains("EP0403"), "{said:?}");
    assert_eq!(place.json(&["operator", "list", "--as", "ada"]).as_array().unwrap().len(), 2);
    // Nor does adding somebody who is there already.
    assert!(place.say(&["operator", "add", "bob", "--role", "viewer"]).err.contains("EP0401"));
    place.ok(&["runs", "list", "--as", "bob"]);
    let keys = std::fs::read_dir(place.home().join("keys/operators")).unwrap().count();
    assert_eq!(keys, 2, "no draft is left");
}

#[test]
fn a_viewer_looks_and_changes_nothing() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "vera", "--role", "viewer"]);
    place.ok(&["runs", "list", "--as", "vera"]);
    for words in [["ledger", "checkpoint"], ["ledger", "rebuild-views"]] {
        let said = place.say(&[words[0], words[1], "--as", "vera"]);
        assert!(said.code == 1 && said.err.contains("EP0205"), "{words:?}: {said:?}");
        place.ok(&words);
    }
}
