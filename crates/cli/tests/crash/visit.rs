//! Somebody who uses a home while its disk fails, and keeps what they were told.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::check::{Entry, entries, facts};
use crate::home::{DrillHome, wait_until};

/// A command that takes longer hangs; the slowest thing it may do is wait half a minute for an answer.
const HANGS: Duration = Duration::from_secs(90);

/// How often something is asked again that failed: the disk failed once, and once more in the rebuilding that follows.
const TRIES: usize = 5;

/// The words before a command, given the log for what they see.
pub(crate) type Prefix = Box<dyn Fn(&Path) -> Vec<String>>;

/// What a command came to.
struct Ended {
    status: ExitStatus,
    lines: Vec<Value>,
}

impl Ended {
    /// The code of the error it ended with.
    fn code(&self) -> Option<&str> {
        self.lines.last()?["error"]["code"].as_str()
    }
}

/// Somebody and what they were told.
pub(crate) struct Visit<'h> {
    home: &'h DrillHome,
    replay: String,
    /// What every command and the holder it starts run under.
    under: Option<Prefix>,
    commands: usize,
    /// Events that were told as durable: their entry and their kind.
    events: Vec<(u64, String)>,
    /// Runs that were said to have been completed.
    completed: Vec<String>,
    /// Gates whose approval was taken.
    approved: Vec<String>,
    /// Whether `grace` may approve.
    pub(crate) has_approver: bool,
    /// The codes of the errors that were shown.
    pub(crate) codes: Vec<String>,
    /// Whether who is told that the ledger could not be written leaves, and does not wait for it.
    in_a_hurry: bool,
}

impl<'h> Visit<'h> {
    pub(crate) fn to(home: &'h DrillHome, replay: &str, under: Option<Prefix>) -> Visit<'h> {
        Visit {
            home,
            replay: replay.to_owned(),
            under,
            commands: 0,
            events: Vec::new(),
            completed: Vec::new(),
            approved: Vec::new(),
            has_approver: false,
            codes: Vec::new(),
            in_a_hurry: false,
        }
    }

    /// From now on commands run as they are.
    pub(crate) fn heal(&mut self) {
        self.under = None;
    }

    /// The logs of what was traced from its start.
    pub(crate) fn logs(&self) -> impl Iterator<Item = PathBuf> {
        (1..=self.commands).map(|no| self.home.beside(&format!("traced.{no}"))).filter(|log| log.exists())
    }

    /// Everything a user does here, each thing once: with a disk that fails for good it must come to an end, by an error
    /// if need be.
    pub(crate) fn try_everything(&mut self) {
        // Whoever waited for it would wait a minute each time.
        self.in_a_hurry = true;
        // A run that nobody may approve would wait.
        let pipeline = if self.add_approver() { "everything.yaml" } else { "straight.yaml" };
        self.run(&["run", pipeline]);
    }

    /// Everything a user does here, again and again until it is done: with a disk that failed once it must succeed.
    pub(crate) fn do_everything(&mut self) {
        self.in_a_hurry = false;
        let added = (0..TRIES).any(|_| self.add_approver());
        assert!(added, "{}: no approver can be added: {:?}", self.replay, self.codes);
        let done = (0..TRIES).any(|_| {
            // A run that is not seen is not started twice.
            let mut live = Value::Null;
            wait_until("runs can be listed", || {
                live = self.home.json(&["runs", "list", "--live"]);
                live.is_array()
            });
            match live.get(0).and_then(|run| run["pipeline_id"].as_str()) {
                Some(run) => self.run(&["runs", "resume", run]),
                None => self.run(&["run", "everything.yaml"]),
            }
        });
        assert!(done, "{}: no run is completed: {:?}", self.replay, self.codes);
    }

    fn add_approver(&mut self) -> bool {
        if !self.has_approver {
            let ended = self.command(&["operator", "add", "grace", "--role", "approver"], |_| {});
            // Whether an addition that failed was written is known only afterwards; its key has gone with the failure.
            self.has_approver = match ended.code() {
                None => true,
                Some("EP0401") => self.command(&["operator", "rotate", "grace"], |_| {}).status.success(),
                Some(_) => false,
            };
        }
        self.has_approver
    }

    /// Runs something to its end, answering gates; true when it was completed.
    fn run(&mut self, words: &[&str]) -> bool {
        let mut approved = Vec::new();
        let home = self.home;
        // A run that is watched again may wait at a gate already; of a new one it is told when it does.
        let (mut waits, mut opened) = (words[0] == "runs", 0);
        let ended = self.command(words, |told| {
            let now = told.matches("\"gate_opened\"").count();
            // Its gate may open after it was looked for, and before it is watched: then nobody is told of it.
            waits |= now > opened || (words[0] == "runs" && approved.is_empty());
            opened = now;
            // A holder that is gone is not brought back by asking: that is for whoever runs something.
            if waits && home.holder().is_some() {
                approve(home, told, &mut waits, &mut approved);
            }
        });
        self.approved.extend(approved);
        let completed = ended.status.success();
        if completed {
            let last = ended.lines.last().unwrap();
            assert_eq!(last["status"], "COMPLETED", "{}: {words:?} ended with {last}", self.replay);
            self.completed.push(last["pipeline_id"].as_str().unwrap().to_owned());
        }
        completed
    }

    /// Runs a command to its end, doing something else meanwhile with what it has told, and keeps that. A command that hangs, panics,
    /// or fails without saying why is a failure.
    fn command(&mut self, words: &[&str], mut meanwhile: impl FnMut(&str)) -> Ended {
        self.commands += 1;
        let (out, err) = (self.home.beside("out"), self.home.beside("err"));
        let mut all = vec!["--format", "json"];
        all.extend(words);
        let plain = self.home.eparch(&all);
        let log = self.home.beside(&format!("traced.{}", self.commands));
        let mut command = match &self.under {
            Some(prefix) => prefixed(&plain, &prefix(&log)),
            None => plain,
        };
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let end = Instant::now() + HANGS;
        let mut may_leave = self.in_a_hurry;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                let _ = child.kill();
                let said = read(&out) + &read(&err);
                panic!("{}: {words:?} hangs\n{said}\n{}", self.replay, self.home.state_of_things());
            }
            if may_leave && read(&err).contains("the holder goes on") {
                may_leave = false;
                kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            }
            meanwhile(&read(&out));
            std::thread::park_timeout(Duration::from_millis(5));
        };
        let (out, err) = (read(&out), read(&err));
        assert!(!err.contains("panicked"), "{}: {words:?} panicked\n{err}", self.replay);
        let lines = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let ended = Ended { status, lines };
        self.keep(words, &ended, &err);
        ended
    }

    fn keep(&mut self, words: &[&str], ended: &Ended, err: &str) {
        for line in &ended.lines {
            if let (Some(seq @ 1..), Some(kind)) = (line["seq"].as_u64(), line["type"].as_str()) {
                self.events.push((seq, kind.to_owned()));
            }
        }
        if ended.status.success() {
            return;
        }
        let last = ended.lines.last().unwrap_or(&Value::Null);
        let says = match (ended.code(), last["status"].as_str()) {
            (Some(code), _) => code.to_owned(),
            (None, Some(status)) => status.to_owned(),
            (None, None) => {
                panic!("{}: {words:?} ended with {} and no code\n{err}", self.replay, ended.status)
            }
        };
        self.codes.push(says);
    }

    /// What the ledger holds contains everything that was told.
    pub(crate) fn is_in(&self, entries: &[Entry]) {
        for (seq, kind) in &self.events {
            let entry = entries.iter().find(|entry| entry.seq == *seq);
            let told = entry.is_some_and(|entry| facts(std::slice::from_ref(entry), kind).next().is_some());
            assert!(told, "{}: {kind} was told as entry {seq}, but is not there", self.replay);
        }
        for run in &self.completed {
            let held = facts(entries, "run_changed")
                .any(|fact| fact["run"] == **run && fact["status"] == "COMPLETED");
            assert!(
                held,
                "{}: {run} was said to be completed, but the ledger knows nothing of it",
                self.replay
            );
        }
        for gate in &self.approved {
            let held = facts(entries, "vote_cast").any(|fact| fact["gate"] == **gate);
            assert!(held, "{}: an approval of {gate} was taken, but is not there", self.replay);
        }
    }

    /// While the disk fails: whoever asks whether the ledger is intact is never told so of one that lacks something.
    /// Returns whether it was called clean.
    pub(crate) fn is_told_the_truth(&self) -> bool {
        let clean = self.home.output(&["ledger", "verify"]).status.success();
        if clean {
            self.is_in(&entries(self.home));
        }
        clean
    }
}

/// Approves the gate that waits, if one does, and of several the one that was told last; keeps the approval if it was taken.
/// Where gates cannot be listed, it is the one that was told last, by the digest that was told with it: what cannot be shown
/// can be answered all the same.
fn approve(home: &DrillHome, told: &str, waits: &mut bool, approved: &mut Vec<String>) {
    let own = last_opened(told);
    let list = home.json(&["approvals", "list"]);
    let gate = match list.as_array() {
        Some(list) => {
            let mut gates = list.iter().filter_map(|gate| gate["gate"].as_str());
            let own = own.as_ref().and_then(|opened| opened["gate"].as_str());
            gates.clone().find(|gate| Some(*gate) == own).or_else(|| gates.next())
        }
        None => own.as_ref().and_then(|opened| opened["gate"].as_str()),
    };
    let Some(gate) = gate else {
        *waits = !list.is_array();
        return;
    };
    let mut words = vec!["--as", "grace", "approvals", "approve", gate, "--rationale", "drill"];
    if let Some(opened) = own.as_ref().filter(|opened| opened["gate"] == gate) {
        words.extend(["--digest", opened["subject"].as_str().unwrap()]);
    }
    let answered = home.output(&words);
    if answered.status.success() {
        *waits = false;
        approved.push(gate.to_owned());
    }
}

/// What was told of the gate that opened last, of what a run was told.
fn last_opened(told: &str) -> Option<Value> {
    let opened = told.lines().rfind(|line| line.contains("\"gate_opened\""))?;
    let opened: Value = serde_json::from_str(opened).ok()?;
    Some(opened["data"].clone())
}

/// The same command with other words before it.
fn prefixed(plain: &Command, words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(plain.get_program()).args(plain.get_args());
    if let Some(dir) = plain.get_current_dir() {
        command.current_dir(dir);
    }
    command
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
