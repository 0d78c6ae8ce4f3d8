//! Runs that begin by themselves to look at what went wrong, with the real binary (R080, R089, X35).

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::console::{Place, wait_until};

/// Asks for what it may not do, and then makes so many errors, two of a kind at most.
fn errors(count: usize) -> String {
    let codes = ["CONN", "CONN", "DISK", "DISK", "DNS", "DNS"];
    let said: String = codes[..count]
        .iter()
        .enumerate()
        .map(|(at, code)| {
            format!(
                "say_it('/api/agent/log', '{{\"line\": \"connection {at} to 10.0.0.{at} refused\", \"level\": \"error\", \
                 \"code\": \"{code}\"}}');\n"
            )
        })
        .collect();
    let sleep = if count > 5 { "sleep 60;\n" } else { "" };
    format!(
        "{PERL}system('eparch', 'act', 'execute_command', '--target', 'prod-1', '--key', 'k');\n{said}{sleep}"
    )
}

const PERL: &str = r#"
use strict; use warnings; use IO::Socket::INET;
my ($port) = $ENV{EPARCH_URL} =~ /:(\d+)$/;
sub say_it {
    my ($path, $body) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die "no listener: $!";
    my $length = length $body;
    print $socket "POST $path HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $ENV{EPARCH_TOKEN}\r\nContent-Type: application/json\r\nContent-Length: $length\r\nConnection: close\r\n\r\n$body";
    my $answer = do { local $/; <$socket> };
}
"#;

fn home(count: usize) -> (Place, String) {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.file("fails.pl", &errors(count));
    let pipeline = "name: fails\nstages:\n  - name: deploy\n    type: agent\n    config:\n      tier: 1\n      command: [perl, \
                    fails.pl]\n      paths: {read: [\".\"]}\n";
    let file = place.file("fails.yaml", pipeline);
    (place, file)
}

fn runs(place: &Place) -> Vec<Value> {
    place.json(&["runs", "list"]).as_array().unwrap().clone()
}

/// The run that looks at another one, once it has ended.
fn ended(place: &Place, run: &str) -> Value {
    wait_until("what looks has ended", || {
        let shown = place.json(&["runs", "show", run]);
        shown["ended_at"].is_string().then_some(shown)
    })
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

#[test]
fn r080_r089_x35_six_errors_in_a_minute_have_the_run_looked_at() {
    let (place, file) = home(6);
    let going = place.start(&["run", &file, "--format", "json"]);
    let begun = going.until("the run that looks", |line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let spawned = event["type"] == "run_spawned" && event["data"]["parent"].is_object();
        spawned.then(|| event["data"].clone())
    });
    let said = going.end();
    assert_eq!(said.code, 1, "{said:?}");
    let looks = text(&begun, "pipeline_id").to_owned();
    let (parent, agent) = (text(&begun, "parent_id").to_owned(), text(&begun["parent"], "agent").to_owned());
    let shown = ended(&place, &looks);
    assert_eq!(shown["status"], "COMPLETED", "{shown:#}");
    assert_eq!((text(&shown, "parent_id"), text(&shown, "parent_agent")), (&*parent, &*agent));
    assert_eq!(text(&shown, "spawn_reason"), "its run made more than 5 errors in a minute");
    assert_eq!(
        (&shown["tier"], &shown["stages"][0]["tier"], text(&shown, "requester")),
        (&0.into(), &0.into(), "ada")
    );
    assert_eq!(shown["inputs"]["stage"], "deploy");
    let failed = place.json(&["runs", "show", &parent]);
    assert_eq!((text(&failed, "status"), &failed["spawned"]), ("FAILED", &Value::from(vec![looks.clone()])));
    assert_eq!(failed["stages"][0]["phase"], "REVOKED");

    // What it wrote says what failed, how often, what was denied, and what would help.
    let folder = place.home().join("runs").join(&looks).join("diagnose");
    let diagnosis: Value = serde_json::from_slice(&fs::read(folder.join("diagnosis.json")).unwrap()).unwrap();
    assert_eq!(
        (text(&diagnosis, "run"), text(&diagnosis, "agent"), text(&diagnosis, "stage")),
        (&*parent, &*agent, "deploy")
    );
    let groups = |key: &str| -> Vec<(String, u64)> {
        let groups = diagnosis[key].as_array().unwrap().iter();
        groups.map(|group| (text(group, "what").to_owned(), group["count"].as_u64().unwrap())).collect()
    };
    let twice = |what: &str| (what.to_owned(), 2);
    assert_eq!(groups("errors"), [twice("CONN"), twice("DISK"), twice("DNS")]);
    assert_eq!(groups("messages"), [("connection # to #.#.#.# refused".to_owned(), 6)]);
    let denied = &diagnosis["denied"][0];
    assert_eq!(
        (text(denied, "action"), text(denied, "target"), text(denied, "decision")),
        ("execute_command", "prod-1", "deny")
    );
    assert!(!text(denied, "unlock").is_empty(), "{denied:#}");
    let report = fs::read_to_string(folder.join("diagnosis.md")).unwrap();
    for told in ["# Diagnosis of run_", "stage deploy lost its authority", "## Denied", "runs retry"] {
        assert!(report.contains(told), "{told} is not in {report}");
    }

    // People find the way there and back.
    let told = place.ok(&["runs", "show", &parent]);
    assert!(told.contains(&format!("eparch runs show {looks}")), "{told}");
    let told = place.ok(&["runs", "show", &looks]);
    assert!(told.contains(&parent) && told.contains(&agent), "{told}");
    assert!(said.out.contains(&looks), "{said:?}");
    place.ok(&["ledger", "verify", "--replay"]);
    place.ok(&["ledger", "rebuild-views"]);
    assert_eq!(place.json(&["runs", "show", &looks]), shown);
    assert_eq!(runs(&place).len(), 2);
}

#[test]
fn r080_five_errors_in_a_minute_do_nothing() {
    let (place, file) = home(5);
    let said = place.say(&["run", &file]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(runs(&place).len(), 1);
}

/// Killed as soon as the revocation is durable: the next holder goes on with the one run there is (G7).
#[test]
fn r089_g7_a_holder_that_dies_leaves_one_run_that_looks() {
    let (place, file) = home(6);
    let going = place.start(&["run", &file, "--format", "json"]);
    going.until("the run that looks", |line| {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["type"] == "run_spawned" && event["data"]["parent"].is_object()).then_some(())
    });
    place.end_holder(Signal::KILL);
    going.end();
    let all = runs(&place);
    let looks: Vec<&Value> = all.iter().filter(|run| run["parent_id"].is_string()).collect();
    assert_eq!(looks.len(), 1, "{all:#?}");
    let shown = ended(&place, text(looks[0], "pipeline_id"));
    assert_eq!(shown["status"], "COMPLETED", "{shown:#}");
    assert_eq!(runs(&place).len(), 2);
}

#[test]
fn r089_a_home_has_one_of_its_own_and_is_not_held_with_a_bad_one() {
    let (place, file) = home(6);
    let shipped = place.ok(&["diagnostic", "show"]);
    assert!(shipped.contains("name: diagnostic"), "{shipped}");
    let own = |config: &str| {
        let text = format!(
            "name: own\ninputs:\n  run: {{type: string}}\nstages:\n  - name: look\n    type: agent\n    config:\n      {config}\n      \
             command: [sh, -c, 'grep -c CONN \"$EPARCH_INPUTS/handoff.json\" && echo \"saw=${{{{ inputs.run }}}}\" >> \"$EPARCH_OUTPUT\"']\n"
        );
        fs::write(place.home().join("diagnostic.yaml"), text).unwrap();
    };
    own("tier: 2");
    let refused = place.say(&["run", &file]);
    assert!(refused.code == 69, "{refused:?}");
    for told in ["error[EP0680]", "diagnostic.yaml:5", "the stage look works at T2", "pipeline validate"] {
        assert!(refused.err.contains(told), "{told}: {refused:?}");
    }
    assert!(!refused.err.contains("EP0704"), "{refused:?}");
    // Nobody began to hold it, and neither does who is to serve it, or is asked to hold it by hand.
    for words in [&["serve", "--listen", "127.0.0.1:0"][..], &["__hold"]] {
        let said = place.say(words);
        assert!(said.code == 69 && said.err.contains("error[EP0680]"), "{words:?}: {said:?}");
    }
    assert!(place.holder().is_none());
    let sick = place.say(&["doctor"]);
    assert!(
        sick.code == 69 && sick.out.contains("EP0680") && sick.out.contains("diagnostic.yaml:5"),
        "{sick:?}"
    );
    // The same where the settings name it.
    let elsewhere = place.file("elsewhere.yaml", "name: [\n");
    let settings = place.home().join("eparch.toml");
    fs::write(&settings, format!("[diagnostic]\nfile = \"{elsewhere}\"\n")).unwrap();
    for words in [&["run", &*file][..], &["doctor"]] {
        let said = place.say(words);
        let told = format!("{}{}", said.out, said.err);
        assert!(
            said.code == 69 && told.contains("EP0680") && told.contains("elsewhere.yaml:2"),
            "{words:?}: {said:?}"
        );
    }
    fs::remove_file(&settings).unwrap();
    let shown = place.say(&["diagnostic", "show"]);
    assert!(shown.code == 65 && shown.err.contains("EP0680"), "{shown:?}");
    own("tier: 0");
    let well = place.say(&["doctor"]);
    assert!(well.out.contains("diagnostic pipeline") && !well.out.contains("EP0680"), "{well:?}");
    place.say(&["run", &file]);
    let all = runs(&place);
    let looks = all.iter().find(|run| run["parent_id"].is_string()).unwrap_or_else(|| panic!("{all:#?}"));
    let shown = ended(&place, text(looks, "pipeline_id"));
    assert_eq!((text(&shown, "name"), text(&shown, "status")), ("own", "COMPLETED"), "{shown:#}");
    assert_eq!(shown["stages"][0]["outputs"]["saw"], looks["parent_id"]);
}

#[test]
fn r089_a_report_needs_a_handoff() {
    let place = Place::new();
    let missing = place.say(&["diagnostic", "report", "--to", "."]);
    assert!(missing.code == 64 && missing.err.contains("EP0682"), "{missing:?}");
    let file = place.file("handoff.json", "{\"v\": 1}");
    let bad = place.say(&["diagnostic", "report", "--handoff", &file, "--to", "."]);
    assert!(bad.code == 65 && bad.err.contains("EP0682"), "{bad:?}");
}
