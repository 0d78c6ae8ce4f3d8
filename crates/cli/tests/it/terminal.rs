//! Commands at a terminal of their own, and with outputs that are gone or full.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::console::{Place, Shown, one_stage, until_gone};

/// A command at a terminal: what it is shown, and somebody to type.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    shown: Arc<Shown<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a command at a terminal of so many columns and rows.
    pub(crate) fn start(place: &Place, words: &[&str], columns: u16, rows: u16) -> Terminal {
        let here = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&here).unwrap();
        unlockpt(&here).unwrap();
        let name = ptsname(&here, Vec::new()).unwrap().into_string().unwrap();
        let there: OwnedFd = OpenOptions::new().read(true).write(true).open(name).unwrap().into();
        tcsetwinsize(&there, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let mut command = place.command(words);
        command.env("TERM", "xterm").env("NO_COLOR", "1");
        command.stdin(there.try_clone().unwrap()).stdout(there.try_clone().unwrap()).stderr(there);
        let child = command.spawn().unwrap();
        drop(command);
        let keys = File::from(here);
        let (mut screen, shown) = (keys.try_clone().unwrap(), Arc::new(Shown::<String>::default()));
        let seen = shown.clone();
        // It ends when nobody holds the other side any more.
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(some @ 1..) = screen.read(&mut bytes) {
                seen.add(|text| text.push_str(&String::from_utf8_lossy(&bytes[..some])));
            }
        });
        Terminal { child, keys, shown, reader: Some(reader) }
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until it shows this for the n-th time.
    pub(crate) fn until(&self, what: &str, times: usize) {
        self.shown.until(what, |text| (text.matches(what).count() >= times).then_some(()));
    }

    pub(crate) fn end(&mut self) -> i32 {
        until_gone("the command ends", Pid::from_child(&self.child));
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        // What it showed last is shown, too.
        self.reader.take().into_iter().for_each(|reader| reader.join().unwrap());
        code
    }

    /// What it has shown so far.
    pub(crate) fn shown(&self) -> String {
        self.shown.look(String::clone)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TWO_GATES: &str = "name: gated\nstages:\n  - {name: one, type: gate, config: {approvers: [bob]}}\n  \
                         - {name: two, type: gate, requires: [one], config: {approvers: [bob]}}\n";

/// A home with somebody who asks and somebody who approves.
fn with_bob() -> Place {
    let place = Place::new();
    place.ok(&["init", "--owner", "ada"]);
    place.ok(&["operator", "add", "bob", "--role", "approver"]);
    place
}

#[test]
fn r047_a_gate_is_answered_where_it_is_asked() {
    let place = with_bob();
    let file = place.file("gated.yaml", TWO_GATES);
    let mut terminal = Terminal::start(&place, &["run", &file, "--approve-as", "bob"], 100, 30);
    for gate in 1..=2 {
        terminal.until("Approve as bob?", gate);
        terminal.types("y\n");
        terminal.until("Rationale:", gate);
        terminal.types("it is fine\n");
        terminal.until("Approved as bob.", gate);
    }
    assert_eq!(terminal.end(), 0, "{}", terminal.shown());
    let votes = place.json(&["approvals", "list", "--all"]);
    assert!(votes.as_array().unwrap().iter().all(|gate| gate["votes"][0]["rationale"] == "it is fine"));
}

#[test]
fn g5_what_is_typed_before_a_question_is_no_answer_to_it() {
    let place = with_bob();
    let file = place.file("gated.yaml", TWO_GATES);
    let mut terminal = Terminal::start(&place, &["run", &file, "--approve-as", "bob"], 100, 30);
    terminal.types("y\nok\ny\nok\n");
    terminal.until("Approve as bob?", 1);
    terminal.types("n\n");
    terminal.until("Rationale:", 1);
    terminal.types("nobody looked\n");
    assert_eq!(terminal.end(), 1, "{}", terminal.shown());
    let votes = place.json(&["approvals", "list", "--all"]);
    assert_eq!(votes.as_array().unwrap().len(), 1, "the second gate was never reached: {votes}");
    assert_eq!(votes[0]["votes"].as_array().unwrap().len(), 1);
    assert_eq!(votes[0]["votes"][0]["rationale"], "nobody looked");
}

#[test]
fn r047_a_gate_that_nobody_answered_in_time_is_not_told_as_answered() {
    let place = with_bob();
    let text = "name: gated\nstages:\n  - {name: one, type: gate, config: {approvers: [bob], timeout: 1s}}\n";
    let file = place.file("gated.yaml", text);
    let mut terminal = Terminal::start(&place, &["run", &file, "--approve-as", "bob"], 100, 30);
    terminal.until("Approve as bob?", 1);
    assert_ne!(terminal.end(), 0);
    let shown = terminal.shown();
    assert!(shown.contains("Nobody answered in time.") && !shown.contains("has been answered"), "{shown}");
}

#[test]
fn a_terminal_too_small_for_a_tree_is_told_in_lines() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("echo hello"));
    let mut large = Terminal::start(&place, &["run", &file], 100, 30);
    assert_eq!(large.end(), 0);
    large.until("COMPLETED", 1);
    assert!(large.shown().contains("\x1b[J"), "a tree is drawn over itself");
    let mut small = Terminal::start(&place, &["run", &file], 15, 3);
    assert_eq!(small.end(), 0);
    small.until("only | hello", 1);
    assert!(!small.shown().contains("\x1b["), "{}", small.shown());
}

#[test]
fn a_third_interrupt_leaves_at_once_although_the_holder_hangs() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("sleep 600"));
    let run = place.start(&["run", &file]);
    run.until_told("only");
    let holder = place.holder().unwrap();
    kill_process(holder, Signal::STOP).unwrap();
    run.signal(Signal::INT);
    run.until_told("Stopping the run");
    run.signal(Signal::INT);
    run.until_told("The run has not been asked to stop yet");
    run.signal(Signal::INT);
    let said = run.end();
    kill_process(holder, Signal::CONT).unwrap();
    assert_eq!(said.code, 130, "{said:?}");
    assert!(said.err.contains("the run may go on") && said.err.contains("eparch runs stop run_"), "{said:?}");
    place.say(&["runs", "stop", "--last"]);
}

#[test]
fn an_exit_code_does_not_depend_on_who_reads_the_answer() {
    let place = Place::new();
    let file = place.file("p.yaml", "name: broken\n");
    // A pipe whose reader has gone, before anything is written.
    let closed = |words: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        place.command(words).stdout(writer).stderr(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(closed(&["pipeline", "validate", &file]), Some(65));
    assert_eq!(closed(&["pipeline", "list"]), Some(0));
    assert_eq!(closed(&["completions", "bash"]), Some(0));
    // A disk that is full: what was asked for is not there, and somebody waits for it.
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place.command(&["pipeline", "list"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("EP0712"), "{output:?}");
}

#[test]
fn a_run_outlives_the_terminal_it_was_started_from() {
    // A terminal that goes away in the middle of a run takes nothing of the run with it.
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("echo begun; sleep 1; echo over"));
    let mut terminal = Terminal::start(&place, &["run", &file], 100, 30);
    terminal.until("begun", 1);
    kill_process(Pid::from_child(&terminal.child), Signal::HUP).unwrap();
    terminal.end();
    place.ok(&["runs", "resume", "--last"]);
    assert!(place.ok(&["runs", "logs", "--last"]).contains("only | over"));
}

#[test]
fn json_lines_do_nothing_to_the_terminal_that_shows_them() {
    let place = Place::new();
    let file = place.file("p.yaml", &one_stage("printf 'a\\302\\23331mb\\n'"));
    let streams = [
        place.ok(&["run", &file, "--format", "json"]),
        place.ok(&["runs", "logs", "--last", "--format", "json"]),
        place.say(&["runs", "show", "a\u{9b}31m", "--format", "json"]).out,
    ];
    for stream in streams {
        assert!(!stream.contains('\u{9b}') && stream.contains("\\u009b31m"), "{stream}");
    }
}
