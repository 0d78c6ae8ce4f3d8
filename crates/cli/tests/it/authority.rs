//! Authority that is taken away: nothing that is asked for afterwards counts.

use serde_json::Value;

use crate::console::{Place, one_stage};

/// Says as much as it may, as fast as it can, and what it was answered.
const TALKS_ON: &str = r#"
use IO::Socket::INET;
$| = 1;
$SIG{TERM} = 'IGNORE';
my ($port) = $ENV{EPARCH_URL} =~ /:(\d+)$/;
for my $n (1 .. $ENV{TIMES}) {
    my $body = "{\"name\": \"n\", \"value\": $n}";
    my $length = length $body;
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die "no listener: $!";
    print $socket "POST /api/agent/output HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $ENV{EPARCH_TOKEN}\r\nContent-Type: application/json\r\nContent-Length: $length\r\nConnection: close\r\n\r\n$body";
    my $answer = do { local $/; <$socket> } // '';
    my ($status) = $answer =~ m{^HTTP/1.1 (\d+)};
    my ($again) = $answer =~ m{retry-after: (\d+)}i;
    print "$n answered ", $status // 'nothing', defined $again ? " again in $again" : '', "\n";
}
sleep 600;
"#;

fn talks_on(times: u32) -> String {
    let paths = "paths: {read: [\".\"]}, command: [perl, talk.pl]";
    format!(
        "name: one\nstages:\n  - name: only\n    type: agent\n    config: {{{paths}, retries: {{max: 3}}, env: {{TIMES: \"{times}\"}}}}\n"
    )
}

/// The facts of some kind in entries after `seq`.
fn facts_after(place: &Place, seq: u64, kind: &str) -> usize {
    let export = place.ok(&["ledger", "export"]);
    let entries = export.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let records = entries.filter(|line| line["entry"]["seq"].as_u64().is_some_and(|at| at > seq));
    let records =
        records.filter_map(|line| serde_json::from_str::<Value>(line["entry"]["body"].as_str()?).ok());
    let count = |record: Value| {
        record["facts"].as_array().map_or(0, |facts| facts.iter().filter(|fact| fact["type"] == kind).count())
    };
    records.map(count).sum()
}

#[test]
fn g2_nothing_that_a_revoked_agent_says_counts_from_when_the_revocation_has_returned() {
    let place = Place::new();
    place.file("talk.pl", TALKS_ON);
    let file = place.file("p.yaml", &talks_on(90));
    let run = place.start(&["--format", "json", "run", &file]);
    let agent = run.event("output_seen")["agent_id"].as_str().unwrap().to_owned();
    let revoked = place.json(&["agent", "revoke", &agent, "--reason", "it says too much"]);
    let decided = revoked["decided"].as_u64().unwrap();
    let said = run.end();
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(facts_after(&place, decided, "output_seen"), 0);
    assert_eq!(facts_after(&place, decided - 1, "revoked"), 1);
    // Although its pipeline would have it tried again.
    let stage = &place.json(&["runs", "show", "--last"])["stages"][0];
    assert_eq!((&stage["status"], &stage["attempts"]), (&"FAILED".into(), &1.into()), "{stage}");
    assert_eq!(stage["reason"], "its authority was taken away: it says too much");
    let gone = place.say(&["agent", "revoke", &agent, "--reason", "again"]);
    assert!(gone.code == 1 && gone.err.contains("EP0214"), "{gone:?}");
    let trail = place.ok(&["ledger", "show"]);
    assert!(trail.contains("it says too much"), "{trail}");
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn r240_a_run_without_authority_has_no_agent_that_goes_on_and_none_begins() {
    let place = Place::new();
    let stages = "name: two\nstages:\n  - name: now\n    type: agent\n    config: {command: [sleep, '600']}\n  \
                  - name: later\n    type: agent\n    requires: [now]\n    config: {command: [echo, late]}\n";
    let file = place.file("p.yaml", stages);
    let run = place.start(&["--format", "json", "run", &file]);
    let id = run.event("program_released")["agent_id"].as_str().unwrap().to_owned();
    let shown = place.json(&["runs", "list", "--live"]);
    let pipeline = shown[0]["pipeline_id"].as_str().unwrap().to_owned();
    let text = place.ok(&["token", "revoke", &pipeline, "--reason", "leak"]);
    assert!(text.contains("has no authority any more"), "{text}");
    let said = run.end();
    assert_eq!(said.code, 1, "{said:?}");
    let detail = place.json(&["runs", "show", "--last"]);
    assert_eq!(detail["status"], "FAILED", "{detail}");
    assert!(detail["reason"].as_str().unwrap().contains("its authority was taken away: leak"), "{detail}");
    let statuses: Vec<&str> =
        detail["stages"].as_array().unwrap().iter().map(|stage| stage["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["CANCELLED", "CANCELLED"], "{id}");
    let again = place.say(&["token", "revoke", &pipeline, "--reason", "leak"]);
    assert!(again.code == 1 && again.err.contains("EP0203"), "{again:?}");
}

#[test]
fn r083_an_agent_that_calls_too_often_is_told_when_to_call_again_and_it_is_recorded() {
    let place = Place::new();
    place.file("talk.pl", TALKS_ON);
    let file = place.file("p.yaml", &talks_on(103));
    let run = place.start(&["run", &file]);
    run.until_told("103 answered 429 again in ");
    assert!(run.has_told("100 answered 200") && run.has_told("101 answered 429 again in "));
    let id = place.json(&["runs", "list", "--live"])[0]["pipeline_id"].as_str().unwrap().to_owned();
    place.ok(&["runs", "stop", &id]);
    run.end();
    assert_eq!(facts_after(&place, 0, "calls_limited"), 1, "a minute is told once");
}

#[test]
fn authority_is_taken_away_by_whoever_may_run_and_with_a_reason() {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "bob", "--role", "approver"]);
    let file = place.file("p.yaml", &one_stage("sleep 600"));
    let run = place.start(&["--format", "json", "run", &file]);
    let agent = run.event("program_released")["agent_id"].as_str().unwrap().to_owned();
    let refused = place.say(&["--as", "bob", "agent", "revoke", &agent, "--reason", "no"]);
    assert!(refused.code == 1 && refused.err.contains("EP0205"), "{refused:?}");
    assert_eq!(place.say(&["agent", "revoke", &agent]).code, 64);
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let refused = place.say(&["agent", "revoke", &agent, "--reason", &secret]);
    assert!(refused.code == 1 && refused.err.contains("EP0224"), "{refused:?}");
    let living = place.json(&["agent", "list"]);
    assert_eq!(
        (&living[0]["agent_id"], &living[0]["stage"]),
        (&agent.clone().into(), &"only".into()),
        "{living}"
    );
    assert!(place.ok(&["agent", "list"]).contains(&agent));
    place.ok(&["agent", "revoke", &agent, "--reason", "enough"]);
    assert_eq!(run.end().code, 1);
    let none = place.say(&["agent", "list"]);
    assert!(none.code == 0 && none.err.contains("No agents live"), "{none:?}");
}
