//! Nothing is left: not after the end, not after a stop, not after the holder's own death.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use eparch_domain::{Name, Span};
use eparch_sandbox::{Cage, Cause, Exit, Program, TreeId, end_named};

use crate::Test;
use crate::cage::{open, probing, root, spec};
use crate::probes::finish;

pub(crate) const TESTS: &[Test] = &[
    ("r011_survivors_are_dead_when_the_end_is_told", survivors),
    ("r204_a_stop_ends_what_ignores_it", stop),
    ("r204_a_timeout_ends_what_ignores_it", timeout),
    ("r204_a_polite_program_may_finish_within_its_grace", polite),
    ("r011_a_closed_cage_leaves_no_process_and_no_cgroup", closed),
    ("r011_a_killed_holder_takes_its_tree_along", killed_holder),
    ("r011_a_killed_launcher_takes_its_tree_along", killed_launcher),
    ("r011_a_tree_of_a_holder_that_says_nothing_is_ended_by_its_name", ended_by_name),
    ("a_cage_killed_under_a_program_is_told", killed_cage),
    ("r204_a_stop_needs_nothing_of_the_cage", stop_without_keeper),
    ("r204_a_timeout_needs_nothing_of_the_cage", timeout_without_keeper),
    ("r204_processes_that_end_without_end_hold_no_stop_up", stop_of_a_swarm),
];

/// Time enough for anything that is going to happen on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// True when a process with `marker` in its command line is alive anywhere on the host.
fn alive(marker: &str) -> bool {
    fs::read_dir("/proc").unwrap().any(|entry| {
        let command = entry.and_then(|entry| fs::read(entry.path().join("cmdline"))).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(marker)
    })
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::yield_now();
    }
}

fn marker(name: &str) -> String {
    format!("marker-{name}-{}", std::process::id())
}

/// A program that leaves a daemon behind: its own session, twice removed, deaf to polite signals.
fn daemon(marker: &str, first: &str, then: &str) -> Program {
    let deaf = format!("trap '' TERM HUP INT; touch up; while :; do sleep 1; done # {marker}");
    let script = format!("{first}; (setsid sh -c \"{deaf}\" &) ; while [ ! -e up ]; do :; done; {then}");
    Program::new(["sh", "-c", &script])
}

/// Waits until the daemon is there and deaf.
fn up(cage: &Cage) {
    until("the daemon's start", || cage.workspace().open_file("up").is_ok());
}

fn survivors() {
    let marker = marker("survivors");
    let cage = open(&spec("survivors"));
    let mut running = cage.start(&daemon(&marker, ":", "while [ ! -e gate ]; do :; done; exit 0")).unwrap();
    up(&cage);
    // It is seen alive, so that its later absence says something.
    assert!(alive(&marker));
    cage.workspace().write_file("gate", b"", 0o644).unwrap();
    let ended = running.wait().unwrap();
    assert!(!alive(&marker));
    assert_eq!((ended.exit, ended.cause), (Exit::Code(0), Cause::Itself));
    assert!(ended.leftovers >= 1, "{ended:?}");
}

fn stop() {
    let marker = marker("stop");
    let cage = open(&spec("stop"));
    let mut running = cage.start(&daemon(&marker, "trap '' TERM", "while :; do :; done")).unwrap();
    up(&cage);
    let begin = Instant::now();
    running.stop(Span::from_millis(100));
    let ended = running.wait().unwrap();
    assert!(!alive(&marker));
    assert_eq!((ended.exit, ended.cause), (Exit::Signal(9), Cause::Stopped));
    assert!(begin.elapsed() >= Duration::from_millis(100), "the grace was granted");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    // A stop when nothing runs is no order for the next.
    cage.stop(Span::ZERO);
    assert!(finish(&cage, &Program::new(["true"])).0.success());
}

fn timeout() {
    let marker = marker("timeout");
    let cage = open(&spec("timeout"));
    let mut program = daemon(&marker, "trap '' TERM", "while :; do :; done");
    program.timeout = Some(Span::from_millis(200));
    program.grace = Span::from_millis(50);
    let ended = cage.start(&program).unwrap().wait().unwrap();
    assert!(!alive(&marker));
    assert_eq!((ended.exit, ended.cause), (Exit::Signal(9), Cause::Timeout));
}

fn polite() {
    let cage = open(&spec("polite"));
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do :; done";
    let mut running = cage.start(&Program::new(["sh", "-c", script])).unwrap();
    let mut out = BufReader::new(running.take_stdout().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    running.stop(Span::from_secs(30));
    let ended = running.wait().unwrap();
    assert_eq!((ended.exit, ended.cause), (Exit::Code(7), Cause::Stopped));
    out.read_to_string(&mut line).unwrap();
    assert_eq!(line, "up\nbye\n");
}

fn closed() {
    let cage = open(&spec("closed"));
    let tree = cage.tree().clone();
    assert!(!tree.is_dead().unwrap());
    assert_eq!(tree.cgroup.is_some(), root());
    let groups = |tree: &TreeId| tree.cgroup.iter().chain(&tree.other_cgroups).cloned().collect::<Vec<_>>();
    assert!(groups(&tree).iter().all(|path| path.exists()));
    assert!(tree.cgroup.iter().all(|path| path.exists()));
    let mut outers = vec![outer(&tree)];
    cage.close(Span::from_secs(10)).unwrap();
    assert!(tree.is_dead().unwrap());
    assert!(groups(&tree).iter().all(|path| !path.exists()));
    let dropped = open(&spec("dropped"));
    let tree = dropped.tree().clone();
    outers.push(outer(&tree));
    assert!(outers.iter().any(|outer| Path::new("/proc").join(outer.to_string()).exists()));
    drop(dropped);
    assert!(tree.is_dead().unwrap());
    assert!(groups(&tree).iter().all(|path| !path.exists()));
    // Nobody is left to be reaped by this process.
    for outer in outers {
        assert!(!Path::new("/proc").join(outer.to_string()).exists());
    }
}

/// The launcher's outer stage, which is a child of this process.
fn outer(tree: &TreeId) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", tree.pid)).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) const HOLDER_WORD: &str = "__hold";

/// A daemon in small: opens a cage, starts a program, says who it is, and waits to be killed.
pub(crate) fn hold() -> ExitCode {
    let marker = std::env::args().nth(2).unwrap();
    let cage = open(&spec(&marker));
    let mut running = cage.start(&daemon(&marker, ":", "while :; do sleep 1; done")).unwrap();
    println!("{}", serde_json::to_string(cage.tree()).unwrap());
    std::io::stdout().flush().unwrap();
    let _ = running.wait();
    ExitCode::FAILURE
}

fn holder(marker: &str) -> (std::process::Child, TreeId) {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([HOLDER_WORD, marker])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let tree = serde_json::from_str(&line).unwrap();
    until("the daemon's start", || {
        // The holder has the marker in its own command line.
        fs::read_dir("/proc").unwrap().any(|entry| {
            let command = entry.and_then(|entry| fs::read(entry.path().join("cmdline"))).unwrap_or_default();
            let command = String::from_utf8_lossy(&command);
            command.contains("trap") && command.contains(marker)
        })
    });
    (holder, tree)
}

fn killed_holder() {
    let marker = marker("killed-holder");
    let (mut holder, tree) = holder(&marker);
    assert!(!tree.is_dead().unwrap());
    holder.kill().unwrap();
    holder.wait().unwrap();
    until("the tree's death", || tree.is_dead().unwrap());
    assert!(!alive(&marker));
    // What a later boot does with what it finds written down.
    tree.kill_and_wait(Span::from_secs(10)).unwrap();
    assert!(tree.cgroup.iter().all(|path| !path.exists()));
}

fn killed_launcher() {
    let marker = marker("killed-launcher");
    let (mut holder, tree) = holder(&marker);
    let outer = rustix::process::Pid::from_raw(outer(&tree)).unwrap();
    rustix::process::kill_process(outer, rustix::process::Signal::KILL).unwrap();
    until("the tree's death", || tree.is_dead().unwrap());
    // The holder noticed: its program is lost.
    assert_eq!(holder.wait().unwrap().code(), Some(1));
    assert!(!alive(&marker));
    tree.kill_and_wait(Span::from_secs(10)).unwrap();
}

fn ended_by_name() {
    let marker = marker("ended-by-name");
    let (mut holder, tree) = holder(&marker);
    // Its holder says nothing any more, and has not gone either, which would end the tree by itself.
    let stopped = rustix::process::Pid::from_raw(holder.id().cast_signed()).unwrap();
    rustix::process::kill_process(stopped, rustix::process::Signal::STOP).unwrap();
    assert!(!tree.is_dead().unwrap());
    let name = Name::new(&marker).unwrap();
    if tree.cgroup.is_none() {
        println!("without control groups a cage has no name");
        tree.kill_and_wait(Span::from_secs(10)).unwrap();
    } else {
        assert!(end_named(&name, Span::from_secs(10)).unwrap());
        assert!(!end_named(&name, Span::from_secs(10)).unwrap());
    }
    assert!(tree.is_dead().unwrap());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(!alive(&marker));
}

fn killed_cage() {
    let cage = open(&probing("killed-cage"));
    let mut running = cage.start(&Program::new(["sleep", "1000"])).unwrap();
    cage.kill_now();
    assert!(running.wait().is_err());
    assert!(cage.start(&Program::new(["true"])).is_err());
    let other = open(&spec("forgotten"));
    let running = other.start(&Program::new(["sleep", "1000"])).unwrap();
    drop(running);
    until("the forgotten tree's death", || other.tree().is_dead().unwrap());
}

/// Makes the cage's own process stand still, as what runs beside it could by taking all of their processor.
fn freeze(tree: &TreeId) {
    let keeper = rustix::process::Pid::from_raw(tree.pid.cast_signed()).unwrap();
    rustix::process::kill_process(keeper, rustix::process::Signal::STOP).unwrap();
}

fn stop_without_keeper() {
    let marker = marker("stop-frozen");
    let cage = open(&spec("stop-frozen"));
    let mut running = cage.start(&daemon(&marker, "trap '' TERM", "while :; do :; done")).unwrap();
    up(&cage);
    let ended = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| running.wait());
        freeze(cage.tree());
        // Somebody waits already, or begins to: they hear of it.
        cage.stop(Span::from_millis(50));
        waiting.join().unwrap()
    });
    let ended = ended.unwrap();
    assert!(!alive(&marker));
    // The launcher's outer stage follows.
    until("the tree's death", || cage.tree().is_dead().unwrap());
    assert_eq!((ended.exit, ended.cause), (Exit::Signal(9), Cause::Stopped));
    assert!(cage.start(&Program::new(["true"])).is_err());
}

fn timeout_without_keeper() {
    let marker = marker("timeout-frozen");
    let cage = open(&spec("timeout-frozen"));
    let mut program = daemon(&marker, "trap '' TERM", "while :; do :; done");
    program.timeout = Some(Span::from_secs(2));
    program.grace = Span::from_millis(50);
    let mut running = cage.start(&program).unwrap();
    freeze(cage.tree());
    let ended = running.wait().unwrap();
    assert!(!alive(&marker));
    // The launcher's outer stage follows.
    until("the tree's death", || cage.tree().is_dead().unwrap());
    assert_eq!((ended.exit, ended.cause), (Exit::Signal(9), Cause::Timeout));
}

fn stop_of_a_swarm() {
    let cage = open(&spec("swarm"));
    let script = "trap '' TERM; touch up; while :; do : & : & : & : & : & : & : & : & done";
    let mut running = cage.start(&Program::new(["sh", "-c", script])).unwrap();
    up(&cage);
    running.stop(Span::from_millis(50));
    let ended = running.wait().unwrap();
    assert_eq!((ended.exit, ended.cause), (Exit::Signal(9), Cause::Stopped));
}
