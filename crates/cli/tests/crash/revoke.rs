//! A revocation that its holder does not survive (G2, G7): killed at any of its durable calls, and it is wholly done or wholly
//! absent. Wholly done: nothing of the agent is alive, its lease is over, and so is every token of the vault. Wholly absent:
//! the run goes on as its stage says, with authority of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::check::{Entry, entries, facts, verified};
use crate::home::{DrillHome, is_alive, not_injected, wait_until, was_killed};
use crate::plan::Part;
use crate::strace::{Rule, attach, calls, can_inject, detach};

/// What makes anything durable, and what takes it away.
const DURABLE: [&str; 7] = ["pwrite64", "fdatasync", "fsync", "rename", "ftruncate", "unlink", "linkat"];

/// Of a hundred points, how many may be out of reach: group commit and the clock decide how many calls a revocation makes.
const OUT_OF_REACH: usize = 60;

/// The n-th call of a kind that some thread of the holder makes.
type Point = (String, usize);

/// A run at work, and the holder that is to die.
struct Scene {
    home: DrillHome,
    run: String,
    holder: u32,
}

/// Kills the holder at calls that a recorded revocation made: `part` of them, or all with `EPARCH_DRILL=all`.
pub(crate) fn killed_while_revoking(part: usize) {
    if !can_inject() {
        return not_injected("revoke");
    }
    let like = template();
    let points = points(&like);
    let chosen = match Part::asked() {
        Part::One(asked) => {
            let point = asked.strip_prefix("revoke ").and_then(|point| point.split_once(' '));
            let Some((call, at)) = point else { return };
            [(call.to_owned(), at.parse().expect("a number"))].into()
        }
        how => {
            let mut chosen: BTreeSet<Point> =
                how.choose(points.len(), part).into_iter().map(|at| points[at].clone()).collect();
            // The first of each kind: the commit itself is among them.
            chosen.extend(points.iter().filter(|(_, at)| *at == 1 && part > 0).cloned());
            chosen
        }
    };
    let (mut done, mut absent, mut beyond) = (0, 0, 0);
    for (call, at) in &chosen {
        let replay = format!("EPARCH_DRILL='revoke {call} {at}'");
        match drill(&like, &Rule::inject(call, &format!("signal=SIGKILL:when={at}")), &replay) {
            Came::Done => done += 1,
            Came::Absent => absent += 1,
            Came::Through => beyond += 1,
        }
    }
    println!(
        "revoke: {} of {} points: {done} were wholly done, {absent} wholly absent, {beyond} out of reach",
        chosen.len(),
        points.len()
    );
    assert!(beyond <= (chosen.len() * OUT_OF_REACH).div_ceil(100), "{beyond} points were out of reach");
    assert!(chosen.len() < 4 || done > 0, "no revocation was ever written");
}

/// A home with a secret that agents read, and thus a vault with tokens for them.
fn template() -> DrillHome {
    let home = DrillHome::new();
    home.write("p.yaml", include_str!("revoke.yaml"));
    let mut put = home.eparch(&["secrets", "put", "staging/db", "-f", "password"]);
    let mut put = put.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    put.stdin.take().unwrap().write_all(b"one-two-three").unwrap();
    assert!(put.wait().unwrap().success(), "a secret is put");
    home.stop_holder();
    home
}

/// A run whose program has begun.
fn scene(like: &DrillHome) -> (Scene, std::process::Child) {
    let home = DrillHome::like(like);
    let holder = home.hold();
    let run = home.json(&["run", "--detach", "p.yaml"])["pipeline_id"].as_str().unwrap().to_owned();
    wait_until("its program has begun", || home.count("work") == 1);
    (Scene { home, run, holder: holder.id() }, holder)
}

/// The calls of a revocation from its request to its very end, each thread's counted by itself as strace does.
fn points(like: &DrillHome) -> Vec<Point> {
    let (scene, mut holder) = scene(like);
    let log = scene.home.beside("log");
    let mut strace = attach(scene.holder, true, &Rule::look(&DURABLE), &log);
    assert!(revoke(&scene), "a revocation that nobody disturbs is answered");
    is_wholly_done(&scene, "recording");
    detach(strace.id());
    let _ = strace.wait();
    let mut counted: BTreeMap<(Option<u32>, String), usize> = BTreeMap::new();
    for call in calls(&log, &scene.home.root()) {
        *counted.entry((call.thread, call.name)).or_default() += 1;
    }
    let found: BTreeSet<Point> = counted
        .into_iter()
        .flat_map(|((_, name), most)| (1..=most).map(move |at| (name.clone(), at)))
        .collect();
    scene.home.nothing_left();
    let _ = holder.wait();
    found.into_iter().collect()
}

/// What a revocation came to.
enum Came {
    Done,
    Absent,
    /// The holder outlived it.
    Through,
}

fn drill(like: &DrillHome, rule: &Rule, replay: &str) -> Came {
    let (scene, mut holder) = scene(like);
    let home = &scene.home;
    let log = home.beside("log");
    let mut strace = attach(scene.holder, true, rule, &log);
    let answered = revoke(&scene);
    // Without an answer its holder dies of it; with one the rest comes after: what it asks for is performed, and the holder
    // may die of that.
    wait_until("the revocation is over or its holder is dead", || {
        !is_alive(scene.holder) || (answered && ended(&entries(home), &scene.run))
    });
    let was_killed_at_it = !is_alive(scene.holder);
    detach(strace.id());
    let _ = strace.wait();
    if was_killed_at_it {
        assert!(was_killed(holder.wait().unwrap()), "{replay}: the holder died of something else");
        holder = home.hold();
    }
    let is_there = is_revoked(&entries(home), &scene.run);
    assert!(is_there || !answered, "{replay}: it was answered, and is not there");
    if !is_there {
        is_wholly_absent(&scene, replay);
        assert!(revoke(&scene), "{replay}: it is revoked by the next one who asks");
    }
    is_wholly_done(&scene, replay);
    let found = verified(home, replay);
    let revoked = found.iter().position(|entry| facts_of(entry, "revoked", &scene.run)).expect("it is there");
    let later = facts(&found[revoked..], "program_released").count();
    assert_eq!(later, 0, "{replay}: a program was let go after the revocation");
    home.nothing_left();
    let _ = holder.wait();
    match (was_killed_at_it, is_there) {
        (false, _) => Came::Through,
        (true, true) => Came::Done,
        (true, false) => Came::Absent,
    }
}

/// Asks once for a run's authority to be taken away, and brings no holder back that dies of it. Whether it was answered.
fn revoke(scene: &Scene) -> bool {
    let operators = fs::read_dir(scene.home.root().join("keys/operators")).unwrap();
    let mut keys = operators.flatten().map(|entry| entry.path());
    let owner = keys.find(|path| path.file_stem().is_some_and(|stem| stem != "grace")).expect("an owner");
    let key = fs::read_to_string(owner).unwrap();
    let body = json!({ "pipeline_id": scene.run, "reason": "drill" }).to_string();
    let request = format!(
        "POST /api/pipeline/revoke HTTP/1.1\r\nHost: eparch\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        key.trim(),
        body.len()
    );
    let mut answer = String::new();
    let asked = UnixStream::connect(scene.home.root().join("control.sock"))
        .and_then(|mut socket| socket.write_all(request.as_bytes()).map(|()| socket));
    // One whose holder dies says less than all.
    let _ = asked.and_then(|mut socket| socket.read_to_string(&mut answer));
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(["", "200"].contains(&status.as_str()), "{answer}");
    status == "200"
}

fn facts_of(entry: &Entry, kind: &str, run: &str) -> bool {
    facts(std::slice::from_ref(entry), kind).any(|fact| fact["bearer"]["run"] == run || fact["run"] == run)
}

fn is_revoked(found: &[Entry], run: &str) -> bool {
    found.iter().any(|entry| facts_of(entry, "revoked", run))
}

/// Whether the run has ended and every token of the vault that it ever had.
fn ended(found: &[Entry], run: &str) -> bool {
    let accessors =
        |kind| facts(found, kind).map(|fact| fact["accessor"].to_string()).collect::<BTreeSet<_>>();
    let gone = accessors("credential_ended");
    // What comes from one that ends goes with it.
    let own = facts(found, "credential_known").filter(|fact| fact["agent"].is_null());
    let all_own = own.map(|fact| fact["accessor"].to_string()).all(|accessor| gone.contains(&accessor));
    let failed = facts(found, "run_changed").any(|fact| fact["run"] == run && fact["status"] == "FAILED");
    failed && all_own && accessors("credential_ending").is_subset(&gone)
}

/// Its run is over, its program dead with all it began, its tokens gone, and nothing stands for it any more.
fn is_wholly_done(scene: &Scene, replay: &str) {
    let home = &scene.home;
    let over = || ended(&entries(home), &scene.run);
    let waited =
        catch_unwind(AssertUnwindSafe(|| wait_until("the run is over and its tokens have ended", over)));
    if waited.is_err() {
        let found = entries(home);
        let last = found.iter().rev().take(12).map(|entry| format!("{} {}", entry.seq, entry.record));
        let last = last.collect::<Vec<_>>().join("\n");
        panic!("{replay}: it is not wholly done\n{}\n{last}", home.state_of_things());
    }
    let status = home.json(&["token", "status", &scene.run]);
    assert_eq!(status, json!({ "pipeline_id": scene.run }), "{replay}: it has a lease");
    assert_eq!(home.json(&["runs", "show", &scene.run])["status"], "FAILED", "{replay}");
    let marker = home.project().display().to_string();
    wait_until(&format!("nothing of its agent is alive: {replay}"), || !has_programs(&marker));
    let sealed = home.root().join("vault-tokens");
    assert!(
        fs::read_dir(sealed).is_ok_and(|mut left| left.next().is_none()),
        "{replay}: a token is sealed still"
    );
}

/// Whether a program of an agent is alive: one that sees the project, in a namespace of its own.
fn has_programs(project: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let sleeps = line.starts_with(b"sleep\x00600") || line.windows(9).any(|part| part == b"sleep 600");
        let mounts = || fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        sleeps && mounts().contains(project)
    })
}

/// Nothing was taken from it: its stage is tried again, by an agent that has authority.
fn is_wholly_absent(scene: &Scene, replay: &str) {
    let home = &scene.home;
    let held = || home.json(&["token", "status", &scene.run]);
    wait_until(&format!("it works again: {replay}"), || home.count("work") >= 2);
    let shown: Value = held();
    let agent = &shown["agents"][0];
    assert!(shown["accessor"].is_string() && agent["vault_accessor"].is_string(), "{replay}: {shown}");
    let found = entries(home);
    let endings = facts(&found, "agent_ending").count();
    assert_eq!(endings, 0, "{replay}: an end was decided without a revocation");
}
