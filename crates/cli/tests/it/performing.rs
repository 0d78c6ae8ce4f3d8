//! What is done for agents outside their own cages, under permits: never without one, exactly what it is for, and never longer
//! than the agent.

use rustix::process::Signal;
use serde_json::Value;

use crate::console::{Place, runs_somewhere, until_gone, wait_until};

/// Whatever these tests ask for is allowed, so that what stops it is what they are about.
const ALLOW: &str = r#"
@id("looks") @reason("tests") permit (principal is Agent, action in Action::"look", resource);
@id("writes") @reason("tests") permit (principal is Agent, action == Action::"write_file", resource);
@id("works") @reason("tests") permit (principal is Agent, action in Action::"work_on_host", resource);
@id("tools") @reason("tests") permit (principal is Agent, action == Action::"call_tool", resource);
@id("not-on-db") @reason("never_there") forbid (principal is Agent, action, resource in Host::"db-*");
@id("not-in-there") @reason("never_there") forbid (principal is Agent, action, resource in Path::"src/keys");
@id("asked-on-staging") @reason("ask_first") @verdict("ask")
permit (principal is Agent, action in Action::"work_on_host", resource in Host::"staging-*");
"#;

/// A home with these policies, and a project with a few files.
fn place() -> Place {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    let own = place.home().join("policies");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("own.cedar"), ALLOW).unwrap();
    let people = eparch_policy::DEFAULTS.iter().find(|file| file.name == "people.cedar").unwrap();
    std::fs::write(own.join("people.cedar"), people.text).unwrap();
    for folder in ["docs", "src", "src/keys", "shared"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
    }
    std::fs::write(place.path("docs/guide.md"), "read me\n").unwrap();
    std::fs::write(place.path("src/notes.txt"), "as it was\n").unwrap();
    std::fs::write(place.path("src/keys/one"), "not for agents\n").unwrap();
    place
}

fn stage(name: &str, more: &str, script: &str) -> String {
    let lines: String = script.lines().map(|line| format!("        {}\n", line.trim())).collect();
    format!(
        "  - name: {name}\n    type: agent\n    config:\n      tier: 1\n      paths: {{read: [docs]}}\n{more}      command:\n      - sh\n      - -c\n      - |\n{lines}"
    )
}

fn pipeline(place: &Place, stages: &str) -> String {
    place.file("p.yaml", &format!("name: one\nstages:\n{stages}"))
}

fn events(out: &str) -> Vec<Value> {
    out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn of_kind<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["type"] == kind).map(|event| &event["data"]).collect()
}

/// Runs a script as an agent; what it printed, everything that was told, and how the run ended.
fn says(place: &Place, script: &str) -> (Lines, Vec<Value>, i32) {
    // One stream: what is said in both comes in no certain order.
    let file = pipeline(place, &stage("only", "", &format!("exec 2>&1\n{script}")));
    let said = place.say(&["--format", "json", "run", &file]);
    let events = events(&said.out);
    // What the agent prints, and each stream of what is performed for it, come in no certain order among themselves.
    let told = of_kind(&events, "log");
    let of = |is_it: fn(&str) -> bool| -> Vec<String> {
        let fits = told.iter().filter(|line| line["stream"].as_str().is_some_and(is_it));
        fits.filter_map(|line| line["line"].as_str().map(str::to_owned)).collect()
    };
    let lines = Lines {
        own: of(|stream| !stream.starts_with("act-")),
        out: of(|stream| stream == "act-stdout"),
        err: of(|stream| stream == "act-stderr"),
    };
    (lines, events, said.code)
}

/// What the log of a stage has.
#[derive(Debug)]
struct Lines {
    /// What the agent's own program printed.
    own: Vec<String>,
    /// What was printed by what was performed for it.
    out: Vec<String>,
    err: Vec<String>,
}

fn read(place: &Place, path: &str) -> String {
    std::fs::read_to_string(place.path(path)).unwrap()
}

/// The lines hold each of these, in this order.
fn in_order(lines: &[String], wanted: &[&str]) {
    let mut left = lines.iter();
    for text in wanted {
        assert!(left.any(|line| line.contains(text)), "{text}: {lines:#?}");
    }
}

#[test]
fn r007_what_no_cage_lets_happen_happens_under_a_permit_and_is_what_the_permit_is_for() {
    let place = place();
    let script = r#"
        mkdir -p src && echo by itself > src/notes.txt && echo "in memory only"
        cat /workspace/src/other.txt || echo "cannot see it"
        eparch act write_file --target src/notes.txt -- sh -c 'echo under a permit > src/notes.txt; echo x > docs/guide.md || echo "docs stay"'
        echo "write ended $?"
        eparch act write_file --target src/new.txt -- sh -c 'cat > src/new.txt < docs/guide.md'
        echo "new ended $?"
        eparch act search_code --target src -- sh -c 'grep -r "" src; echo z > src/z'
        eparch act write_file --target src -- sh -c 'echo y > src/y; echo y > src/keys/y'
        echo "search ended $?"
        eparch act execute_command --target localhost -- sh -c 'echo built > built.txt; echo more >> docs/guide.md; ls home; echo no > home/x; exit 7'
        echo "command ended $?"
        eparch act execute_command --target localhost -- sh -c 'echo "token=$EPARCH_TOKEN."; eparch heartbeat; id -u > /dev/null; kill -9 $$'
        echo "killed ended $?"
    "#;
    let (lines, events, code) = says(&place, script);
    assert_eq!(code, 0, "{lines:#?}");
    in_order(
        &lines.own,
        &[
            "in memory only",
            "cannot see it",
            "write ended 0",
            "new ended 0",
            "command ended 7",
            "killed ended 137",
        ],
    );
    in_order(&lines.out, &["docs stay", "src/notes.txt:under a permit", "token=."]);
    in_order(&lines.err, &["EP0722"]);
    assert_eq!(read(&place, "src/notes.txt"), "under a permit\n");
    assert_eq!(read(&place, "src/new.txt"), "read me\n");
    assert_eq!(
        read(&place, "docs/guide.md"),
        "read me\nmore\n",
        "all of the project, and nothing of it before"
    );
    assert_eq!(read(&place, "built.txt"), "built\n");
    assert!(!place.path("src/z").exists(), "looking writes nothing");
    // What policy forbids stays covered in a folder that it permits.
    assert!(place.path("src/y").exists() && !place.path("src/keys/y").exists());
    assert!(!lines.out.iter().any(|line| line.contains("not for agents")), "{lines:#?}");
    assert!(!place.home().join("x").exists(), "the home stays covered");
    assert!(!place.path(".agent").exists(), "nothing of a cage is left in the project");
    // Written down before it was begun, let go by a decision of its own, and over with what came of it.
    let (begun, let_go) = (of_kind(&events, "performance_began"), of_kind(&events, "performance_released"));
    let over = of_kind(&events, "performance_ended");
    assert_eq!((begun.len(), let_go.len(), over.len()), (6, 6, 6), "{events:#?}");
    let spent = of_kind(&events, "permit_spent");
    assert!(begun.iter().zip(&spent).all(|(begun, spent)| begun["permit"] == spent["permit"]));
    assert_eq!((&over[4]["end"]["how"], &over[4]["end"]["code"]), (&"code".into(), &7.into()));
    assert_eq!((&over[5]["end"]["how"], &over[5]["end"]["signal"]), (&"signal".into(), &9.into()));
    place.ok(&["ledger", "verify", "--replay"]);
    // What confines each of them is in the record, from before it was let go.
    let ready = place.ok(&["--format", "json", "ledger", "query", "--type", "performance_ready"]);
    assert!(ready.contains("confinement") && ready.contains("\"in_force\": true"), "{ready}");
    let query = place.ok(&["ledger", "query"]);
    place.ok(&["ledger", "rebuild-views"]);
    assert_eq!(place.ok(&["ledger", "query"]), query);
}

/// What is performed prints once into the log, as what it is. The agent has it wherever it reads it, and what it says itself stands
/// there as its own, whatever else was printed and whatever it says of its streams.
#[test]
fn what_a_performed_command_prints_stands_once_in_the_log_and_as_what_it_is() {
    let place = place();
    let script = r#"
        eparch act read_file --target docs -- sh -c 'echo plainly; echo and in error >&2'
        seen=$(eparch act read_file --target docs -- echo into a word); echo "saw: $seen"
        eparch act read_file --target docs -- echo into a pipe | sed 's/^/piped: /'
        eparch act read_file --target docs -- echo into a file > kept && sed 's/^/kept: /' kept
        eparch act read_file --target docs -- echo the same; echo the same
        eparch act read_file --target docs -- echo hushed > /dev/null; echo hushed
        lied=$(sh -c 'EPARCH_STREAMS=$(stat -Lc %d:%i /proc/$$/fd/1) exec eparch act read_file --target docs -- echo lied about'); echo "lied: $lied."
        env -u EPARCH_STREAMS eparch act read_file --target docs -- echo twice
        eparch act read_file --target docs -- sh -c 'head -c 200000 /dev/zero | tr "\0" x | fold -w 4000'; echo "cut ended $?"
    "#;
    let (lines, _, code) = says(&place, script);
    assert_eq!(code, 0, "{lines:#?}");
    let own = |text: &str| lines.own.iter().filter(|line| line.as_str() == text).count();
    let performed = |text: &str| lines.out.iter().filter(|line| line.as_str() == text).count();
    for (text, as_own) in [
        ("plainly", 0),
        ("into a word", 0),
        ("into a pipe", 0),
        ("into a file", 0),
        ("the same", 1),
        ("hushed", 1),
        ("lied about", 0),
        ("twice", 1),
    ] {
        assert_eq!((performed(text), own(text)), (1, as_own), "{text}: {lines:#?}");
    }
    assert_eq!((lines.err.as_slice(), own("and in error")), (&["and in error".to_owned()][..], 0));
    for text in ["saw: into a word", "piped: into a pipe", "kept: into a file", "lied: .", "cut ended 0"] {
        assert_eq!(own(text), 1, "{text}: {lines:#?}");
    }
    // Nothing was kept from anybody here.
    assert!(!lines.own.iter().any(|line| line.contains("is cut")), "{lines:#?}");
    let log = place.ok(&["runs", "logs", "--last"]);
    assert!(log.contains("only performed | plainly\n") && !log.contains("only | plainly"), "{log}");
    assert!(log.contains("only | saw: into a word\n"), "{log}");
}

#[test]
fn r007_what_is_performed_reaches_nothing_that_nobody_permitted() {
    let place = place();
    std::os::unix::fs::symlink("/etc", place.path("docs/etc")).unwrap();
    std::os::unix::fs::symlink("../src", place.path("docs/src")).unwrap();
    let script = r#"
        eparch act execute_command --target prod-1 -- true; echo "elsewhere ended $?"
        eparch act execute_command --target db-1 -- true; echo "denied ended $?"
        eparch act execute_command --target staging-1 -- true; echo "ask ended $?"
        eparch act call_tool --target web/get -- true; echo "tool ended $?"
        eparch act write_file --target docs/etc/new -- true; echo "link ended $?"
        eparch act write_file --target docs/src -- true; echo "inner link ended $?"
        eparch act read_file --target /etc/shadow -- cat /etc/shadow; echo "shadow ended $?"
        eparch act write_file --target home/policies/own.cedar -- true; echo "home ended $?"
        eparch act write_file --target / -- true; echo "root ended $?"
        eparch act read_file --target docs -- no-such-program; echo "program ended $?"
        eparch act read_file --target docs -- sh -c ''; echo "nothing ended $?"
        eparch act read_file --target docs --done prm_0 -- true; echo "usage ended $?"
        eparch act read_file --target docs -- sh -c "echo $EPARCH_TOKEN"; echo "secret ended $?"
        eparch act read_file --target docs -- sh -c 'head -c 200000 /dev/zero | tr "\0" x | fold -w 4000; echo late >&2' > /dev/null; echo "long ended $?"
        echo "its own cage has a listener: $(grep -c ' 0A ' /proc/net/tcp)"
        eparch act read_file --target docs -- sh -c 'echo "listeners: $(grep -c " 0A " /proc/net/tcp)"'
        eparch act read_file --target docs -- sh -c 'for a in lo eth0; do grep -q $a /proc/net/dev && echo "has $a"; done; exit 0'
    "#;
    let (lines, events, code) = says(&place, script);
    assert_eq!(code, 0, "{lines:#?}");
    in_order(
        &lines.own,
        &[
            "error[EP0632]",
            "elsewhere ended 125",
            "denied ended 126",
            "ask ended 123",
            "error[EP0631]",
            "tool ended 125",
            "error[EP0633]",
            "link ended 125",
            "inner link ended 125",
            "error[EP0634]",
            "shadow ended 125",
            "error[EP0634]",
            "home ended 125",
            "root ended 125",
            "error[EP0636]",
            "program ended 127",
            "nothing ended 0",
            "usage ended 64",
            // Before anything is asked: whoever is asked would be shown it.
            "error[EP0606]",
            "secret ended 125",
            "what it printed is cut",
            "long ended 0",
            "its own cage has a listener: 1",
        ],
    );
    in_order(&lines.out, &["listeners: 0", "has lo"]);
    assert!(!lines.out.iter().any(|line| line.contains("has eth0")), "{lines:#?}");
    assert!(std::fs::read_dir(place.path("docs")).unwrap().count() == 3 && !place.path("etc/new").exists());
    assert_eq!(read(&place, "home/policies/own.cedar"), ALLOW);
    // A permit for what cannot be performed is not spent.
    let ended = of_kind(&events, "performance_ended");
    assert_eq!(of_kind(&events, "permit_spent").len(), ended.len());
    place.ok(&["ledger", "verify", "--replay"]);
}

/// What an agent writes of the host it can exchange for a link. What it was shown when it began is shown to a command as well, and
/// not where its name leads by now.
#[test]
fn g4_a_place_that_was_exchanged_for_a_link_is_shown_to_no_command() {
    let place = place();
    for folder in ["out/prev", "hidden"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
    }
    std::fs::write(place.path("hidden/key"), "nobody named this\n").unwrap();
    let script = r#"exec 2>&1
        mv out/prev out/elsewhere && ln -s ../hidden out/prev
        eparch act read_file --target docs -- sh -c 'find /workspace -type f -exec cat {} +'
        echo "ended $?""#;
    let written = stage("only", "", script)
        .replace("paths: {read: [docs]}", "paths: {read: [docs, out/prev], write: [out]}");
    let said = place.say(&["--format", "json", "run", &pipeline(&place, &written)]);
    assert!(said.out.contains("ended 125") && said.out.contains("EP0635"), "{said:?}");
    assert!(!said.out.contains("nobody named this"), "{said:?}");
    assert!(place.path("out/prev").is_symlink(), "the agent did exchange it");
}

#[test]
fn r199_asked_for_one_command_and_having_another_performed_is_a_violation_and_the_second_revokes() {
    let place = place();
    let script = r#"
        ask() { eparch act execute_command --target localhost --key $1 --params '{"command": ["touch", "asked-for"]}' | sed -n 's/^permit //p'; }
        permit=$(ask one)
        eparch act --permit $permit -- touch something-else; echo "other words ended $?"
        eparch act --permit $permit -- touch asked-for; echo "those words ended $?"
        eparch act --permit $permit -- touch asked-for; echo "again ended $?"
        eparch act --done $permit; echo "done ended $?"
        permit=$(ask two)
        eparch act --permit $permit -- touch something-else
        sleep 600
    "#;
    let (lines, events, code) = says(&place, script);
    assert_eq!(code, 1, "{lines:#?}");
    in_order(
        &lines.own,
        &[
            "error[EP0618]",
            "other words ended 125",
            "those words ended 0",
            "error[EP0616]",
            "again ended 125",
            "error[EP0616]",
            "done ended 1",
        ],
    );
    let kinds = of_kind(&events, "violation_found");
    let kinds: Vec<_> = kinds.iter().filter_map(|one| one["violation"].as_str()).collect();
    assert_eq!(kinds, ["APPROVAL_BYPASS", "APPROVAL_BYPASS"]);
    assert_eq!(of_kind(&events, "revoked")[0]["violation"], "APPROVAL_BYPASS");
    assert!(place.path("asked-for").exists() && !place.path("something-else").exists());
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn r082_anothers_permit_performs_nothing_and_takes_the_authority_of_the_run() {
    let place = place();
    let writes = "      env: {NAME: x}\n";
    let one = r#"
        permit=$(eparch act execute_command --target localhost --params '{"command": ["touch", "stolen"]}' | sed -n 's/^permit //p')
        eparch act write_file --target shared/permit -- sh -c "echo $permit > shared/permit"
        sleep 600
    "#;
    let other = r#"
        until permit=$(eparch act search_code --target shared -- grep -h prm_ shared/permit); do sleep 0.5; done
        eparch act --permit $permit -- touch stolen
        sleep 600
    "#;
    let file = pipeline(&place, &(stage("one", writes, one) + &stage("other", writes, other)));
    let said = place.say(&["--format", "json", "run", &file]);
    assert_eq!(said.code, 1, "{said:?}");
    let events = events(&said.out);
    assert_eq!(of_kind(&events, "violation_found")[0]["violation"], "IDENTITY_FORGERY");
    assert!(!place.path("stolen").exists());
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn g7_what_is_refused_before_it_runs_leaves_no_file() {
    let place = place();
    let script = r#"
        eparch act write_file --target shared/new -- no-such-program; echo "nothing ended $?"
        eparch act write_file --target shared/made -- true; echo "something ended $?"
    "#;
    let (lines, _, code) = says(&place, script);
    assert_eq!(code, 0, "{lines:#?}");
    in_order(&lines.own, &["error[EP0636]", "nothing ended", "something ended 0"]);
    assert!(!place.path("shared/new").exists() && place.path("shared/made").exists());
}

/// One leaves its token where another finds it. A token that nobody has is only refused, as often as it comes.
#[test]
fn r082_anothers_token_says_nothing_and_takes_the_authority_of_the_run() {
    let place = place();
    let one = r#"
        printf %s "$EPARCH_TOKEN" > shared/token.new
        mv shared/token.new shared/token
        sleep 600
    "#;
    let other = r#"
        EPARCH_TOKEN=ept_invented eparch heartbeat; EPARCH_TOKEN= eparch heartbeat
        eparch message "before"
        until test -s shared/token; do sleep 0.1; done
        for _ in 1 2 3; do EPARCH_TOKEN=$(cat shared/token) eparch message "in another's name"; done
        sleep 600
    "#;
    let shares = |stage: String| stage.replace("{read: [docs]}", "{read: [docs], write: [shared]}");
    let file = pipeline(&place, &(shares(stage("one", "", one)) + &shares(stage("other", "", other))));
    let said = place.say(&["--format", "json", "run", &file]);
    assert_eq!(said.code, 1, "{said:?}");
    let events = events(&said.out);
    let found = of_kind(&events, "violation_found");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["violation"], "IDENTITY_FORGERY");
    assert!(found[0]["detail"].as_str().unwrap().starts_with("it showed the token of agt_"), "{found:#?}");
    assert_eq!(of_kind(&events, "revoked")[0]["violation"], "IDENTITY_FORGERY");
    let heard = |text: &str| {
        let mut lines = of_kind(&events, "log").into_iter();
        lines.any(|line| line["stream"] == "message" && line["line"].as_str() == Some(text))
    };
    assert!(heard("before") && !heard("in another's name"), "{events:#?}");
    place.ok(&["ledger", "verify", "--replay"]);
}

/// What tries to leave is ended by the kernel, in its own cage and in that of what is performed for it; the second time takes its
/// authority.
#[test]
fn r199_what_the_kernel_stopped_of_leaving_the_sandbox_is_a_violation() {
    let place = place();
    let script = r#"
        eparch act execute_command --target localhost -- perl -e 'syscall(165, 0, 0, 0, 0, 0)'
        echo "outside ended $?"
        exec perl -e 'syscall(165, 0, 0, 0, 0, 0)'
    "#;
    let (lines, events, code) = says(&place, script);
    assert_eq!(code, 1, "{lines:#?}");
    let found = of_kind(&events, "violation_found");
    let kinds: Vec<_> = found.iter().filter_map(|one| one["violation"].as_str()).collect();
    assert_eq!(kinds, ["SANDBOX_BREACH", "SANDBOX_BREACH"], "{lines:#?}");
    assert_eq!(of_kind(&events, "revoked")[0]["violation"], "SANDBOX_BREACH");
    // What is answered with an error is none.
    let (_, events, code) = says(&place, "unshare -m true; chroot / true; exit 0");
    assert_eq!((code, of_kind(&events, "violation_found").len()), (0, 0), "{events:#?}");
    place.ok(&["ledger", "verify", "--replay"]);
}

/// A command that nobody else runs, and that goes on until it is ended.
fn forever(number: u32) -> String {
    format!("{}{number}", std::process::id())
}

#[test]
fn g7_what_is_performed_dies_with_its_holder_and_is_unknown() {
    let place = place();
    let word = forever(71);
    let script =
        format!("eparch act execute_command --target localhost -- sh -c 'touch begun; setsid sleep {word}'");
    let file = pipeline(&place, &stage("only", "      on_interrupt: fail\n", &script));
    let run = place.start(&["--format", "json", "run", &file]);
    run.event("performance_released");
    wait_until("it runs", || (place.path("begun").exists() && runs_somewhere(&word)).then_some(()));
    let holder = place.holder().unwrap();
    rustix::process::kill_process(holder, Signal::KILL).unwrap();
    until_gone("the holder is gone", holder);
    // Nobody was there to end it: the kernel did.
    wait_until("nothing of it lives", || (!runs_somewhere(&word)).then_some(()));
    let said = run.end();
    assert_ne!(said.code, 0, "{said:?}");
    let said = place.say(&["runs", "resume", "--last"]);
    assert_eq!(said.code, 1, "{said:?}");
    let shown = place.ok(&["ledger", "show"]);
    assert!(shown.contains("cut off; what it did is unknown"), "{shown}");
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn g7_what_was_cut_off_is_performed_again_where_its_stage_says_so() {
    let place = place();
    let word = forever(74);
    let script = format!(
        "eparch act execute_command --target localhost -- sh -c 'test -e begun || {{ touch begun; sleep {word}; }}'"
    );
    let file = pipeline(&place, &stage("only", "      on_interrupt: retry\n", &script));
    let run = place.start(&["--format", "json", "run", &file]);
    wait_until("it runs", || (place.path("begun").exists() && runs_somewhere(&word)).then_some(()));
    place.end_holder(Signal::KILL);
    wait_until("nothing of it lives", || (!runs_somewhere(&word)).then_some(()));
    run.end();
    let said = place.say(&["runs", "resume", "--last"]);
    assert_eq!(said.code, 0, "{said:?}");
    // The first is unknown; the second, under a permit of its own, ended well.
    let ended = place.ok(&["--format", "json", "ledger", "query", "--type", "performance_ended"]);
    assert!(ended.contains("\"how\": \"unknown\"") && ended.contains("\"how\": \"code\""), "{ended}");
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn r204_g2_what_is_performed_ends_with_its_run() {
    let place = place();
    let word = forever(72);
    // It does not leave when it is asked to, and neither does what it started.
    let script = format!(
        "eparch act execute_command --target localhost -- sh -c 'trap \"\" TERM; setsid sleep {word} & sleep {word}; sleep {word}'"
    );
    let file = pipeline(&place, &stage("only", "", &script));
    let run = place.start(&["--format", "json", "run", &file]);
    run.event("performance_released");
    wait_until("it runs", || runs_somewhere(&word).then_some(()));
    place.ok(&["runs", "stop", "--last"]);
    let said = run.end();
    assert_eq!(said.code, 3, "{said:?}");
    assert!(!runs_somewhere(&word), "nothing of it lives when its run has ended");
    let ended = events(&said.out);
    assert_eq!(of_kind(&ended, "performance_ended")[0]["end"]["how"], "stopped");
    place.ok(&["ledger", "verify", "--replay"]);
}

#[test]
fn r011_what_is_performed_ends_with_the_program_that_asked_for_it() {
    let place = place();
    let word = forever(73);
    let script = format!(
        "eparch act execute_command --target localhost -- sh -c 'touch begun; sleep {word}' & \n\
         until eparch act search_code --target . -- test -e begun; do sleep 0.2; done; exit 0"
    );
    let (lines, events, code) = says(&place, &script);
    assert_eq!(code, 0, "{lines:#?}");
    assert!(!runs_somewhere(&word));
    let over = of_kind(&events, "performance_ended");
    assert!(over.iter().any(|over| over["end"]["how"] == "stopped"), "{over:#?}");
    place.ok(&["ledger", "verify", "--replay"]);
}
