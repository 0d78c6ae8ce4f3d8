//! Short writes: a limit on the size of files, by the byte, that a write of the ledger runs into. What fits is written,
//! what follows fails, until the limit is lifted again.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Mutex;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::check::{completed_once, verified, within_the_record};
use crate::faults::{COUNTED, Seat};
use crate::grip::Grip;
use crate::home::{DrillHome, UNLIMITED, is_alive, wait_until};
use crate::strace::{Rule, Write, attach, calls, detach, signal, stops, tracer_of};
use crate::visit::Visit;

/// What is written with.
const WRITES: [&str; 2] = ["write", "pwrite64"];

/// When a limit is lifted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// Between the short write and the one that writes the rest.
    Retried,
    /// After the rest has failed once.
    Once,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) seat: Seat,
    /// The file, relative to the home.
    pub(crate) path: String,
    /// The call of the seat's thread on this file after which the limit is set, and its number.
    pub(crate) after: (String, usize),
    /// Where the limit is: seen from the end of that call if it is a write, else from the end of the file.
    pub(crate) room: i64,
    pub(crate) span: Span,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cut { seat, path, after: (call, at), room, span } = self;
        write!(f, "short {seat} {path} {call} {at} {room} {span:?}")
    }
}

impl FromStr for Cut {
    type Err = ();
    fn from_str(text: &str) -> Result<Cut, ()> {
        let words: Vec<&str> = text.split(' ').collect();
        let ["short", seat, path, call, at, room, span] = words[..] else { return Err(()) };
        let spans = [Span::Retried, Span::Once];
        Ok(Cut {
            seat: seat.parse()?,
            path: path.to_owned(),
            after: (call.to_owned(), at.parse().map_err(drop)?),
            room: room.parse().map_err(drop)?,
            span: spans.into_iter().find(|known| format!("{known:?}") == span).ok_or(())?,
        })
    }
}

/// What a drill saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Writes that took only a part, as strace told.
    pub(crate) short: usize,
    /// Writes that took nothing.
    pub(crate) failed: usize,
    /// The codes of the errors that were shown.
    pub(crate) codes: Vec<String>,
}

/// Lets somebody use a home in which one write does not find room, and checks everything.
pub(crate) fn drill(like: &DrillHome, cut: &Cut) -> Seen {
    let replay = format!("EPARCH_DRILL='{cut}'");
    let home = DrillHome::like(like);
    home.write_pipelines();
    let log = home.beside("log");
    let (call, at) = &cut.after;
    let rule = Rule::inject(call, &format!("signal=SIGSTOP:when={at}")).on(&home.root().join(&cut.path));
    let grip = match cut.seat {
        Seat::Writer => Grip::of_writer(&home, &rule, &log),
        Seat::Anchor => Grip::of_anchor(&home, &rule, &log),
        _ => Grip::of_first(&home, &rule, &log),
    };
    let (holder, thread) = grip.held();
    let seen = Mutex::new(Seen::default());
    let mut visit = Visit::to(&home, &replay, None);
    std::thread::scope(|scope| {
        scope.spawn(|| *seen.lock().unwrap() = keep_short(&home, cut, holder, thread, &log));
        grip.wait_until_held(&home);
        visit.do_everything();
        assert!(visit.is_told_the_truth(), "{replay}: verify does not call it clean");
        // What is written at the end is written now.
        home.stop_holder();
    });
    grip.let_go(&home);
    visit.do_everything();
    settle(&home, &visit, &replay);
    let mut seen = seen.into_inner().unwrap();
    seen.codes.append(&mut visit.codes);
    seen
}

/// Everything holds once there is room again.
fn settle(home: &DrillHome, visit: &Visit<'_>, replay: &str) {
    let entries = verified(home, replay);
    visit.is_in(&entries);
    within_the_record(home, &COUNTED, &entries, replay);
    completed_once(&entries, replay);
    let words = home.last_words();
    assert!(!words.contains("panicked"), "{replay}: the holder panicked\n{words}");
    home.nothing_left();
}

/// Waits until the holder stops where it is to, and sets a limit that its next writes run into.
fn keep_short(home: &DrillHome, cut: &Cut, holder: u32, thread: u32, log: &Path) -> Seen {
    let mut seen = Seen::default();
    let path = home.root().join(&cut.path);
    let has_stopped = || !stops(log, &[&cut.after.0]).is_empty();
    wait_until("the holder has stopped, or ended", || has_stopped() || !is_alive(holder));
    if !has_stopped() {
        return seen;
    }
    if let Some(tracer) = tracer_of(thread) {
        detach(tracer);
    }
    let last = calls(log, &home.root()).into_iter().rfind(|call| call.path == cut.path);
    let end = last.and_then(|call| call.wrote).and_then(|write: Write| Some(write.from? + write.took?));
    let end = end.unwrap_or_else(|| fs::metadata(&path).map_or(0, |file| file.len()));
    limit(holder, end.checked_add_signed(cut.room));
    let log = home.beside("writes");
    let mut strace =
        attach(thread, false, &Rule::inject(&WRITES.join(","), "signal=SIGSTOP:when=1+").on(&path), &log);
    let mut done = 0;
    loop {
        signal(holder, Signal::CONT);
        wait_until("the holder has written, or ended", || {
            stops(&log, &WRITES).len() > done || !is_alive(holder)
        });
        let writes = calls(&log, &home.root()).into_iter().filter_map(|call| call.wrote);
        let Some(write) = writes.into_iter().nth(done) else { break };
        done += 1;
        seen.short += usize::from(write.is_short());
        seen.failed += usize::from(write.took.is_none());
        let enough = match cut.span {
            Span::Retried => write.is_short() || write.took.is_none(),
            Span::Once => write.took.is_none(),
        };
        if enough {
            break;
        }
    }
    limit(holder, None);
    detach(strace.id());
    let _ = strace.wait();
    signal(holder, Signal::CONT);
    seen
}

/// Limits how large a file a process may make; it may have ended.
fn limit(pid: u32, bytes: Option<u64>) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process has a positive number");
    let _ = prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None });
}

/// Lets somebody use a home in which no file can grow beyond `bytes`, whoever writes it.
pub(crate) fn drill_ceiling(like: &DrillHome, bytes: u64) -> Seen {
    let replay = format!("EPARCH_DRILL='ceiling {bytes}'");
    let home = DrillHome::like(like);
    home.write_pipelines();
    let root = home.root();
    let prefix = move |log: &Path| {
        let mut rule = Rule::look(&WRITES);
        for file in ["journal.db", "journal.db-wal", "journal.db-journal", "anchors/default.checkpoints"] {
            rule = rule.on(&root.join(file));
        }
        let limited = format!("--fsize={bytes}:unlimited");
        let words = ["-D", "-f", "prlimit", &limited, "sh", "-c", UNLIMITED];
        [rule.words(log), words.map(str::to_owned).to_vec()].concat()
    };
    let mut visit = Visit::to(&home, &replay, Some(Box::new(prefix)));
    visit.try_everything();
    visit.is_told_the_truth();
    visit.heal();
    // Every other holder lives to see the limit lifted.
    match home.holder() {
        Some(holder) if bytes.is_multiple_of(2) => limit(holder, None),
        _ => home.stop_holder(),
    }
    visit.do_everything();
    settle(&home, &visit, &replay);
    let written = visit.logs().flat_map(|log| calls(&log, &home.root())).filter_map(|call| call.wrote);
    let mut seen = Seen::default();
    for write in written {
        seen.short += usize::from(write.is_short());
        seen.failed += usize::from(write.took.is_none());
    }
    seen.codes.append(&mut visit.codes);
    seen
}
