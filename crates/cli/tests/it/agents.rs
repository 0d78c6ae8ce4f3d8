//! What an agent can and cannot do, and what its run says of it.

use eparch_domain::limits;
use serde_json::Value;

use crate::console::{Place, Said, runs_somewhere};

/// Runs one agent with these lines of `config`; what was said, and the stage.
pub(crate) fn run(place: &Place, config: &str) -> (Said, Value) {
    let text = format!("name: one\nstages:\n  - name: only\n    type: agent\n    config:\n{config}");
    let file = place.file("p.yaml", &text);
    let said = place.say(&["run", &file]);
    let stage = place.json(&["runs", "show", "--last"])["stages"][0].clone();
    (said, stage)
}

/// A shell line as an agent's command.
pub(crate) fn shell(line: &str) -> String {
    format!("      command: [sh, -c, {}]\n", Value::from(line))
}

pub(crate) fn log(place: &Place) -> String {
    place.ok(&["runs", "logs", "--last"])
}

#[test]
fn g4_what_confines_an_agent_is_recorded_and_all_of_it_is_in_force() {
    let place = Place::new();
    let (said, stage) = run(&place, &shell("true"));
    assert_eq!(said.code, 0, "{said:?}");
    let measures = stage["confinement"].as_array().unwrap();
    assert!(measures.len() >= 12 && measures.iter().all(|measure| measure["in_force"] == true), "{stage}");
    // For people as well; where all of it held, a run's end does not go on about it.
    let shown = place.ok(&["runs", "show", "--last"]);
    let line = format!("only  {} measures in force; disk-limit: ", measures.len());
    assert!(shown.contains(&line) && shown.contains("memory-limit: "), "{shown}");
    assert!(!said.out.contains("measures in force") && !said.out.contains("without"), "{said:?}");
}

#[test]
fn g4_what_did_not_confine_an_agent_is_printed_with_its_run() {
    let place = Place::new();
    // With best effort, a program that writes the host has sockets of its own.
    let config = "      tier: 1\n      sandbox: best-effort\n      paths: {write: [out]}\n";
    let (said, stage) = run(&place, &format!("{}{config}", shell("true")));
    assert_eq!(said.code, 0, "{said:?}");
    let measures = stage["confinement"].as_array().unwrap();
    let missing: Vec<_> = measures.iter().filter(|measure| measure["in_force"] == false).collect();
    let shown = place.ok(&["runs", "show", "--last"]);
    if missing.is_empty() {
        println!("this kernel looks at sockets (Landlock ABI 9)");
    }
    for measure in missing {
        let line = format!("only  without {}: ", measure["name"].as_str().unwrap());
        assert!(said.out.contains(&line) && shown.contains(&line), "{line}: {said:?} {shown}");
    }
    // What is written on the host is bounded by nothing here, and that is said too.
    assert!(shown.contains("not in /workspace/out, which is the host's"), "{shown}");
}

#[test]
fn an_agent_that_has_no_unix_sockets_is_told_so_when_it_fails() {
    let place = Place::new();
    let line =
        "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => \"/tmp/s\", Listen => 1) or exit 3'";
    let config = |more| format!("{}      tier: 1\n{more}", shell(line));
    assert_eq!(run(&place, &config("")).0.code, 0);
    let (said, stage) = run(&place, &config("      paths: {write: [out]}\n"));
    let measures = stage["confinement"].as_array().unwrap();
    let sockets = measures.iter().find(|measure| measure["name"] == "unix-sockets").unwrap();
    if sockets["detail"].as_str().unwrap().starts_with("seccomp") {
        assert_eq!((said.code, &stage["reason"]), (1, &Value::from("it exited with 3 (EP0232)")), "{said:?}");
        assert!(said.out.contains("only  it could make no Unix sockets"), "{said:?}");
    } else {
        println!("this kernel looks at sockets (Landlock ABI 9)");
        assert_eq!(said.code, 0, "{said:?}");
    }
}

#[test]
fn r292_a_t0_agent_writes_only_its_workspace_and_the_run_says_what_stopped_it() {
    let place = Place::new();
    let line = "echo mine > here; cat here; for f in /etc/x /usr/x /x; do echo x > $f && echo WROTE $f; done; \
                cat /etc/shadow && echo READ; chmod 777 /etc/passwd && echo CHANGED; exit 0";
    let (said, _) = run(&place, &format!("{}      tier: 0\n", shell(line)));
    assert_eq!(said.code, 0, "{said:?}");
    let log = log(&place);
    assert!(
        log.contains("mine") && !log.contains("WROTE") && !log.contains("READ") && !log.contains("CHANGED"),
        "{log}"
    );
    assert!(log.contains("Read-only file system") && log.contains("No such file"), "{log}");
    assert!(!place.path("here").exists(), "what is written at T0 stays in memory");
}

#[test]
fn g8_the_home_and_its_keys_are_invisible_even_when_everything_may_be_read() {
    let place = Place::new();
    place.file("beside", "seen\n");
    let (said, _) = run(
        &place,
        &format!("{}      paths: {{read: [\".\"]}}\n", shell("cat beside; ls -A home; ls home/keys; exit 0")),
    );
    assert_eq!(said.code, 0, "{said:?}");
    let log = log(&place);
    assert!(log.contains("seen"), "{log}");
    assert!(!log.contains("keys\n") && !log.contains("journal.db") && !log.contains("operators"), "{log}");
}

#[test]
fn a_path_no_agent_may_see_fails_its_preflight() {
    let place = Place::new();
    let (said, stage) = run(&place, &format!("{}      paths: {{read: [/etc/shadow]}}\n", shell("true")));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(stage["reason"].as_str().unwrap().contains("no agent may see"), "{stage}");
    assert_eq!(stage["phase"], "PREFLIGHT");
}

#[test]
fn r005_a_program_that_is_not_there_fails_the_preflight_and_nothing_runs() {
    let place = Place::new();
    let (said, stage) = run(&place, "      command: [frobnicate]\n");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(stage["reason"].as_str().unwrap().contains("frobnicate"), "{stage}");
    assert_eq!(stage["phase"], "PREFLIGHT");
}

#[test]
fn r011_what_ignores_every_signal_is_dead_when_its_time_is_over() {
    let place = Place::new();
    // A word of its own, so that it can be looked for among the machine's processes.
    let line = "trap '' TERM INT HUP; (setsid sh -c 'trap \"\" TERM HUP; sleep 98765' &); (sleep 98765 &); sleep 98765";
    let (said, stage) = run(&place, &format!("{}      attempt_timeout: 1s\n", shell(line)));
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(stage["status"], "TIMED_OUT");
    assert!(stage["reason"].as_str().unwrap().contains("attempt timeout of 1s"), "{stage}");
    assert!(!runs_somewhere("98765"));
}

#[test]
fn what_is_left_running_by_a_program_that_ended_is_dead() {
    let place = Place::new();
    let (said, stage) = run(&place, &shell("(setsid sleep 87654 &); exit 0"));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage["status"], "COMPLETED");
    assert!(!runs_somewhere("87654"));
}

/// Whoever stands still loses its authority for NO_PROGRESS, and its program with it (R081).
#[test]
fn r081_an_agent_without_progress_is_ended_and_one_with_progress_is_not() {
    let place = Place::new();
    let (_, stage) = run(&place, &format!("{}      idle_timeout: 1s\n", shell("sleep 30")));
    assert_eq!(stage["status"], "TIMED_OUT", "{stage}");
    assert!(stage["reason"].as_str().unwrap().contains("no progress for 1s, its idle timeout"), "{stage}");
    let agent = stage["agent"].as_str().unwrap();
    let earned = place.json(&["agent", "show", agent]);
    assert_eq!(earned["violations"][0]["type"], "NO_PROGRESS", "{earned:#}");
    assert_eq!(earned["violations"][0]["revocation_type"], "LIVENESS", "{earned:#}");
    // Longer than the timeout in all, and never silent for a tenth of it.
    let talks = "for i in $(seq 20); do echo $i; sleep 0.3; done";
    let (said, _) = run(&place, &format!("{}      idle_timeout: 4s\n", shell(talks)));
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn r008_a_missing_artifact_or_a_failed_check_fails_the_stage() {
    let place = Place::new();
    let (said, stage) = run(&place, &format!("{}      artifacts: [out/x]\n", shell("true")));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(stage["reason"].as_str().unwrap().contains("out/x"), "{stage}");
    let (_, stage) = run(&place, &format!("{}      verify: [[test, -s, y]]\n", shell("touch y")));
    assert!(stage["reason"].as_str().unwrap().contains("verify test -s y"), "{stage}");
    let (said, _) = run(&place, &format!("{}      verify: [[test, -s, y]]\n", shell("echo 1 > y")));
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_stage_may_have_a_path_and_a_language_of_its_own_and_nothing_else_of_what_is_usual() {
    let place = Place::new();
    let config = format!(
        "{}      env: {{LANG: C, PATH: '/opt/mine:/bin:/usr/bin'}}\n",
        shell("echo $LANG $PATH $HOME")
    );
    assert_eq!(run(&place, &config).0.code, 0);
    assert!(log(&place).contains("C /opt/mine:/bin:/usr/bin:/opt/eparch /home/"), "{}", log(&place));
    assert_eq!(run(&place, &shell("echo $LANG")).0.code, 0);
    assert!(log(&place).contains("C.UTF-8"), "{}", log(&place));
    let said = run(&place, &format!("{}      env: {{HOME: /root}}\n", shell("true"))).0;
    assert!(said.code == 65 && said.err.contains("EP0147"), "{said:?}");
}

#[test]
fn r008_a_check_runs_neither_a_script_nor_settings_that_the_agent_wrote() {
    let place = Place::new();
    let line = "rm -f .agent/observe.sh; echo exit 0 > .agent/observe.sh; mv .agent/observe.sh x; mv .agent y; \
                echo planted > $HOME/.gitconfig; echo planted > $TMPDIR/planted; exit 0";
    // Each has a home and a place for what is temporary of its own, can write them, and finds what the template gave.
    let room = "set -e; ls -A $HOME $TMPDIR | grep . | grep -v : && exit 1; echo 1 > $HOME/a; echo 1 > $TMPDIR/b; \
                test $(wc -l < .agent/observe.sh) -gt 5";
    let room = format!("[sh, -c, {}]", Value::from(room));
    let config = format!("{}      verify: [{room}, {room}]\n    template: default\n", shell(line));
    let (said, stage) = run(&place, &config);
    assert_eq!(said.code, 0, "{said:?} {stage} {}", log(&place));
    assert!(log(&place).contains("Read-only file system"), "{}", log(&place));
}

#[test]
fn r008_a_check_is_no_program_that_the_agent_made() {
    let place = Place::new();
    for folder in ["/workspace/bin", "bin", "/tmp/bin", "/var/tmp/bin", "/dev/shm/bin", "/home/agent/bin"] {
        let line = format!(
            "mkdir -p {folder}; printf '#!/bin/sh\\nexit 0\\n' > {folder}/test; chmod +x {folder}/test; env test 1 -eq 2"
        );
        // The program itself finds it; neither the check does, nor what the check calls.
        let config = format!(
            "{}      env: {{PATH: '{folder}:/usr/bin:/bin'}}\n      \
             verify: [[sh, -c, '! env test 1 -eq 2'], [test, '1', -eq, '2']]\n",
            shell(&line)
        );
        let (said, stage) = run(&place, &config);
        assert_eq!(said.code, 1, "{folder}: {stage}");
        let reason = stage["reason"].as_str().unwrap();
        assert!(reason.contains("verify test 1 -eq 2: exited with 1 (EP0233)"), "{folder}: {stage}");
    }
}

#[test]
fn r006_a_check_is_looked_for_before_the_program_runs_where_it_will_be_looked_for_after() {
    let place = Place::new();
    std::fs::create_dir(place.path("tools")).unwrap();
    let tool = place.file("tools/mycheck", "#!/bin/sh\n");
    std::fs::set_permissions(tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = |check: &str| {
        let env = "paths: {read: [tools]}\n      env: {PATH: '/workspace/tools:/usr/bin:/bin'}";
        format!("{}      {env}\n      verify: [[{check}]]\n", shell("echo it ran"))
    };
    let (said, stage) = run(&place, &config("mycheck"));
    let reason = stage["reason"].as_str().unwrap();
    assert!(said.code == 1 && reason.contains("(EP0230)"), "{stage}");
    assert!(reason.contains("/workspace/tools/mycheck is not taken for it"), "{stage}");
    let (said, _) = run(&place, &config("tools/mycheck"));
    assert_eq!(said.code, 0, "{said:?} {}", log(&place));
}

#[test]
fn an_artifact_that_cannot_be_kept_or_handed_on_fails_its_stage_and_not_the_next() {
    let place = Place::new();
    let file = |line: &str, artifacts: &str| {
        format!(
            "name: two\nstages:\n  - name: first\n    type: agent\n    config:\n{}      artifacts: {artifacts}\n  \
             - name: next\n    type: agent\n    requires: [first]\n    config:\n{}",
            shell(line),
            shell("find $EPARCH_INPUTS -type f; cat $EPARCH_INPUTS/first/out/plan.json")
        )
    };
    let put = "mkdir -p out $EPARCH_ARTIFACTS/out; echo 1 > out/plan.json; ";
    for (more, what) in [
        ("echo 2 > $EPARCH_ARTIFACTS/out/plan.json", "out/plan.json: there is another artifact of this path"),
        ("ln -s /etc/passwd $EPARCH_ARTIFACTS/link", "link: it is a symbolic link"),
    ] {
        let pipeline = place.file("p.yaml", &file(&format!("{put}{more}"), "[out/plan.json]"));
        let said = place.say(&["run", &pipeline]);
        let stage = place.json(&["runs", "show", "--last"])["stages"][0].clone();
        assert_eq!((said.code, stage["status"].as_str()), (1, Some("FAILED")), "{said:?}");
        assert!(stage["reason"].as_str().unwrap().contains(what), "{stage}");
    }
    // The same thing twice is one, and a path may begin with a dot.
    let pipeline = place
        .file("p.yaml", &file(&format!("{put}cp out/plan.json $EPARCH_ARTIFACTS/out"), "[./out/plan.json]"));
    let said = place.say(&["run", &pipeline]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(log(&place).ends_with("1\n"), "{}", log(&place));
}

#[test]
fn a_disk_that_is_full_and_a_fork_bomb_stay_in_the_cage() {
    let place = Place::new();
    let (_, stage) =
        run(&place, &shell("dd if=/dev/zero of=big bs=1M count=4000 2>/dev/null; stat -c %s big; exit 5"));
    assert_eq!(stage["reason"], "it exited with 5 (EP0232)");
    assert!(
        log(&place).lines().any(|line| line.ends_with("536870912") || line.contains("5368")),
        "{}",
        log(&place)
    );
    // As many as it may have, each of which stays; and no more.
    let word = format!("76{}", std::process::id());
    let bomb = "my $n = 0; while (defined(my $pid = fork)) { $pid or sleep 600; $n++ } print qq($n and no more: $!\\n); exit 3";
    let (_, stage) = run(&place, &shell(&format!("perl -e '{bomb}' {word}; exit $?")));
    assert_eq!(stage["reason"], "it exited with 3 (EP0232)", "{stage}");
    let log = log(&place);
    let begun =
        log.lines().find_map(|line| line.strip_prefix("only | ")?.split_once(" and no more")?.0.parse().ok());
    assert!(
        begun
            .is_some_and(|begun: u64| begun < limits::AGENT_PROCESSES && begun > limits::AGENT_PROCESSES / 2),
        "{log}"
    );
    assert!(!runs_somewhere(&word));
}

/// Talks to the agent's own listener with what perl-base has.
const TALK: &str = r#"
use strict; use warnings; use IO::Socket::INET;
my ($port) = $ENV{EPARCH_URL} =~ /:(\d+)$/;
sub say_it {
    my ($path, $body, $token) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die "no listener: $!";
    my $length = length $body;
    print $socket "POST $path HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\nContent-Type: application/json\r\nContent-Length: $length\r\nConnection: close\r\n\r\n$body";
    my $answer = do { local $/; <$socket> };
    my ($status) = $answer =~ m{^HTTP/1.1 (\d+)};
    print "$path $status\n";
}
say_it('/api/agent/heartbeat', '', $ENV{EPARCH_TOKEN});
say_it('/api/agent/heartbeat', '', 'wrong');
say_it('/api/agent/output', '{"name": "answer", "value": 42}', $ENV{EPARCH_TOKEN});
say_it('/api/agent/output', '{"name": "9bad", "value": 1}', $ENV{EPARCH_TOKEN});
say_it('/api/agent/message', '{"content": "hello"}', $ENV{EPARCH_TOKEN});
say_it('/api/agent/log', '{"line": "from the agent"}', $ENV{EPARCH_TOKEN});
say_it('/api/runs', '{}', $ENV{EPARCH_TOKEN});
for my $other ('127.0.0.1:1', '10.255.255.1:80') {
    print IO::Socket::INET->new(PeerAddr => $other, Timeout => 2) ? "$other OPEN\n" : "$other closed\n";
}
"#;

#[test]
fn an_agent_reaches_its_own_listener_and_nothing_else() {
    let place = Place::new();
    place.file("talk.pl", TALK);
    let (said, stage) = run(&place, "      command: [perl, talk.pl]\n      paths: {read: [\".\"]}\n");
    assert_eq!(said.code, 0, "{said:?}");
    let log = log(&place);
    let expected = [
        "/api/agent/heartbeat 200",
        "/api/agent/heartbeat 401",
        "/api/agent/output 200",
        "/api/agent/output 400",
        "/api/agent/message 200",
        "/api/agent/log 200",
        "/api/runs 404",
        "closed",
        "from the agent",
        "hello",
    ];
    for line in expected {
        assert!(log.contains(line), "{line} is not in {log}");
    }
    assert!(!log.contains("OPEN"), "{log}");
    assert_eq!(stage["outputs"]["answer"], 42);
}

#[test]
fn r197_r012_an_agent_past_its_error_budget_is_revoked_and_puts_out_nothing() {
    let place = Place::new();
    let errors = TALK.split("say_it('/api/agent/heartbeat'").next().unwrap().to_owned()
        + "say_it('/api/agent/log', '{\"line\": \"oops\", \"level\": \"error\", \"code\": \"same\"}', $ENV{EPARCH_TOKEN}) for 1 .. 3;\nsleep 60;\n";
    place.file("talk.pl", &errors);
    let (said, stage) = run(
        &place,
        "      command: [perl, talk.pl]\n      paths: {read: [\".\"]}\n      artifacts: [talk.pl]\n",
    );
    assert_eq!(said.code, 1, "{said:?}");
    assert!(stage["reason"].as_str().unwrap().contains("error budget"), "{stage}");
    assert_eq!(stage["phase"], "REVOKED");
    assert!(stage["artifacts"].as_array().unwrap().is_empty(), "{stage}");
}

#[test]
fn g8_an_agents_token_is_nowhere_in_what_is_kept() {
    let place = Place::new();
    let (said, _) =
        run(&place, &shell("echo \"token $EPARCH_TOKEN\"; echo \"t=$EPARCH_TOKEN\" >> /dev/null"));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(log(&place).contains("token [redacted]"));
    place.end_holder(rustix::process::Signal::TERM);
    for file in ["journal.db", "views.db"] {
        let bytes = std::fs::read(place.home().join(file)).unwrap();
        let is_token =
            |window: &[u8]| window.starts_with(b"ept_") && window[4..].iter().all(u8::is_ascii_hexdigit);
        assert!(!bytes.windows(12).any(is_token), "{file}");
    }
}

#[test]
fn r022_retries_are_made_with_lineage_until_one_succeeds() {
    let place = Place::new();
    let line = "echo x >> count/tries; test $(wc -l < count/tries) -ge 3";
    let config = format!(
        "{}      tier: 1\n      paths: {{write: [count]}}\n      retries: {{max: 4, backoff: 1ms}}\n",
        shell(line)
    );
    let (said, stage) = run(&place, &config);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage["attempts"], 3);
    assert_eq!(std::fs::read_to_string(place.path("count/tries")).unwrap().lines().count(), 3);
}

#[test]
fn two_agents_that_write_one_folder_have_each_their_own_packet_and_output() {
    let place = Place::new();
    let stage = |name: &str| {
        let line = format!(
            "grep -o '\"task\": \"[a-z]*\"' $EPARCH_PACKET; echo a={name} >> $EPARCH_OUTPUT; \
             echo {name} > $EPARCH_ARTIFACTS/{name}"
        );
        let config = shell(&line).replace("      command", "              command");
        format!(
            "      - name: {name}\n        stages:\n          - name: {name}\n            type: agent\n            \
             config:\n{config}              tier: 1\n              paths: {{write: [\".\"]}}\n"
        )
    };
    let text = format!(
        "name: both\nstages:\n  - name: group\n    type: parallel\n    branches:\n{}{}",
        stage("one"),
        stage("two")
    );
    let file = place.file("p.yaml", &text);
    for _ in 0..2 {
        let said = place.say(&["run", &file]);
        assert_eq!(said.code, 0, "{said:?}");
        let shown = place.json(&["runs", "show", "--last"]);
        for name in ["one", "two"] {
            let stages = shown["stages"].as_array().unwrap();
            let stage = stages.iter().find(|stage| stage["name"] == name).unwrap();
            assert_eq!(stage["outputs"]["a"], name, "{stage}");
            let artifacts = stage["artifacts"].as_array().unwrap();
            assert_eq!((artifacts.len(), &artifacts[0]["path"]), (1, &Value::from(name)), "{stage}");
        }
        assert_eq!(log(&place).matches("\"task\": \"one\"").count(), 1, "{}", log(&place));
    }
}
