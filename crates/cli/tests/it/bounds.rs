//! What an agent may not do to its home and to what people see of it: lose results silently, fill the disk, forge evidence,
//! write secrets into the ledger, take the holder's descriptors.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::console::{Place, Said};

/// Runs one agent with these lines of `config`; what was said, and the stage.
fn run(place: &Place, config: &str) -> (Said, Value) {
    let said = place.say(&["run", &one(place, config)]);
    (said, place.json(&["runs", "show", "--last"])["stages"][0].clone())
}

fn one(place: &Place, config: &str) -> String {
    let text = format!("name: one\nstages:\n  - name: only\n    type: agent\n    config:\n{config}");
    place.file("p.yaml", &text)
}

/// A shell line as an agent's command.
fn shell(line: &str) -> String {
    format!("      command: [sh, -c, {}]\n", Value::from(line))
}

/// A script that talks to the agent's own listener with what perl-base has: `say_it PATH, BODY` returns the status.
fn talk(place: &Place, script: &str) -> String {
    let begin = r#"
use strict; use warnings; use IO::Socket::INET;
$| = 1;
my ($port) = $ENV{EPARCH_URL} =~ /:(\d+)$/;
my $token = $ENV{EPARCH_TOKEN};
sub reach { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") }
sub say_it {
    my ($path, $body) = @_;
    my $socket = reach() or die "no listener: $!";
    my $length = length $body;
    print $socket "POST $path HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\nContent-Type: application/json\r\nContent-Length: $length\r\nConnection: close\r\n\r\n$body";
    my $answer = do { local $/; <$socket> };
    my ($status) = $answer =~ m{^HTTP/1.1 (\d+)};
    return $status;
}
"#;
    place.file("talk.pl", &format!("{begin}{script}"));
    "      command: [perl, talk.pl]\n      paths: {read: [\".\"]}\n".to_owned()
}

fn log(place: &Place) -> String {
    place.ok(&["runs", "logs", "--last"])
}

#[test]
fn what_was_left_and_cannot_be_kept_fails_the_stage_and_is_named() {
    let place = Place::new();
    let nested = format!("echo '{{\"x\": {}{}}}' > $EPARCH_OUTPUT", "[".repeat(40), "]".repeat(40));
    let cases = [
        ("for i in $(seq 257); do : > $EPARCH_ARTIFACTS/$i; done", "artifacts: ", "more than 256 files"),
        ("head -c 1100000 /dev/zero | tr '\\0' x > $EPARCH_OUTPUT", "outputs: ", "more than 1048576 bytes"),
        ("echo nothing here > $EPARCH_OUTPUT", "outputs: ", "line 1"),
        ("printf 'x=\\377\\n' > $EPARCH_OUTPUT", "outputs: ", "not all text"),
        (nested.as_str(), "outputs: ", "deep"),
        (": > $EPARCH_ARTIFACTS/$(printf '\\377')", "artifacts: ", "is not text"),
        // It takes nothing where it lies, and would take a quarter of a gigabyte of the home.
        ("truncate -s 257M $EPARCH_ARTIFACTS/holes", "artifacts: ", "holes: more than"),
    ];
    for (line, check, why) in cases {
        let (said, stage) = run(&place, &shell(line));
        assert_eq!(said.code, 1, "{line}: {said:?}");
        let reason = stage["reason"].as_str().unwrap();
        assert!(reason.starts_with(check) && reason.contains(why), "{line}: {reason}");
        assert!(log(&place).contains(why), "{line}: {}", log(&place));
    }
}

#[test]
fn all_artifacts_of_an_attempt_have_a_limit_together() {
    let place = Place::new();
    let line = "for i in 1 2 3; do truncate -s 200M $EPARCH_ARTIFACTS/$i; done";
    let (said, stage) = run(&place, &shell(line));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(stage["reason"].as_str().unwrap().contains("3: all artifacts together"), "{stage}");
}

#[test]
fn an_agent_forges_no_evidence_and_what_people_see_cannot_be_edited_in_place() {
    let place = Place::new();
    let forge = "for name in evidence report; do echo '{\"forged\": true}' > $EPARCH_ARTIFACTS/$name.json; done; \
                 mkdir -p $EPARCH_ARTIFACTS/_evidence/only; \
                 echo '{\"forged\": true}' > $EPARCH_ARTIFACTS/_evidence/only/evidence.json";
    let (said, stage) = run(&place, &shell(forge));
    assert_eq!(said.code, 0, "{said:?}");
    let run = place.json(&["runs", "show", "--last"])["pipeline_id"].as_str().unwrap().to_owned();
    let folder = place.home().join("runs").join(run);
    for name in ["evidence.json", "report.json"] {
        let own = std::fs::read(folder.join("_evidence/only").join(name)).unwrap();
        let own: Value = serde_json::from_slice(&own).unwrap();
        assert!(own["forged"].is_null() && own["stage"] == "only", "{own}");
        let theirs = folder.join("only").join(name);
        assert!(std::fs::read_to_string(&theirs).unwrap().contains("forged"), "it is shown as what it is");
        assert_eq!(theirs.metadata().unwrap().permissions().mode() & 0o777, 0o400);
    }
    assert_eq!(stage["artifacts"].as_array().unwrap().len(), 3);
}

#[test]
fn g8_a_secret_reaches_the_ledger_through_no_field_of_an_agents() {
    let place = Place::new();
    let script = r#"
say_it('/api/agent/log', qq({"line": "oops", "level": "error", "code": "at $token"}));
say_it('/api/agent/log', qq({"line": "oops", "level": "error", "code": ") . ("x" x 5000) . qq("}));
say_it('/api/agent/message', qq({"to": "$token", "content": "hello"}));
say_it('/api/agent/output', qq({"name": "key", "value": {"$token": 1}}));
my $other = "ghp_" . ("a1B2" x 9);
print "named ", say_it('/api/agent/output', qq({"name": "$other", "value": 1})), "\n";
open my $out, '>>', $ENV{EPARCH_OUTPUT}; print $out "$other=1\n"; close $out;
open my $file, '>', "$ENV{EPARCH_ARTIFACTS}/$token"; close $file;
"#;
    let (said, stage) = run(&place, &talk(&place, script));
    assert_eq!(said.code, 1, "{said:?}");
    let reason = stage["reason"].as_str().unwrap();
    assert!(reason.contains("holds a secret"), "{reason}");
    assert!(log(&place).contains("named 400"), "{}", log(&place));
    let export = place.path("export.jsonl");
    place.ok(&["ledger", "export", "--output", &export.display().to_string()]);
    let text = std::fs::read_to_string(export).unwrap();
    assert!(text.contains("[redacted]"), "what was hidden is marked");
    for secret in ["ept_", "ghp_"] {
        // Words end like this, too.
        let is_one = |at: &usize| text[at + 4..].bytes().take(8).all(|byte| byte.is_ascii_hexdigit());
        let found = text.match_indices(secret).map(|(at, _)| at).find(is_one);
        assert!(found.is_none(), "{secret}: {:?}", found.map(|at| &text[at..][..80]));
    }
    assert!(!text.contains(&"x".repeat(65)), "a code has at most 64 characters");
}

#[test]
fn what_an_agent_says_and_is_not_taken_is_not_answered_as_if_it_were() {
    let place = Place::new();
    let script = r#"
open my $out, '>>', $ENV{EPARCH_OUTPUT}; print $out "from_the_file=1\n"; close $out;
print "first ", say_it('/api/agent/output', '{"name": "o", "value": 1}'), "\n";
print "again ", say_it('/api/agent/output', '{"name": "o", "value": 2}'), "\n";
print "deep ", say_it('/api/agent/output', '{"name": "deep", "value": ' . ('[' x 40) . (']' x 40) . '}'), "\n";
if (!fork) { $SIG{TERM} = 'IGNORE'; sleep 1 while !-e "going"; exit 0 }
$SIG{TERM} = sub { print "late ", say_it('/api/agent/output', '{"name": "late", "value": 1}'), "\n"; exit 0 };
sleep 60;
"#;
    let config = format!("{}      attempt_timeout: 2s\n", talk(&place, script));
    let (said, stage) = run(&place, &config);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(stage["status"], "TIMED_OUT");
    let log = log(&place);
    for line in ["first 200", "again 200", "deep 400"] {
        assert!(log.contains(line), "{line} is not in {log}");
    }
    assert!(log.contains("late 410") || log.contains("late 409"), "{log}");
}

#[test]
fn an_agent_that_only_connects_takes_few_of_the_holders_descriptors() {
    let place = Place::new();
    let script = r#"
my @held = map { reach() or die "at $_: $!" } 1 .. 120;
print "connected\n";
sleep 600;
"#;
    let file = one(&place, &talk(&place, script));
    let going = place.start(&["run", &file, "--format", "json"]);
    going.until("the agent is connected", |line| line.contains("connected").then_some(()));
    let holder = place.holder().unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", holder.as_raw_nonzero())).unwrap().count();
    assert!(open < 80, "{open} descriptors are open");
    place.ok(&["runs", "stop", "--last"]);
    assert_ne!(going.end().code, 0);
}

#[test]
fn an_agent_that_works_silently_is_not_idle() {
    let place = Place::new();
    let busy = "end=$(($(date +%s) + 4)); while test $(date +%s) -lt $end; do :; done";
    let (said, stage) = run(&place, &format!("{}      idle_timeout: 2s\n", shell(busy)));
    assert_eq!(said.code, 0, "{said:?}: {stage}");
}
