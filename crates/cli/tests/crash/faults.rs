//! One call of the ledger made to fail, and what has to hold afterwards.

use std::fmt;
use std::path::Path;
use std::process::Output;
use std::str::FromStr;

use crate::check::{completed_once, verified, within_the_record};
use crate::grip::Grip;
use crate::home::{DrillHome, shown};
use crate::strace::{Call, Rule, calls};
use crate::visit::{Prefix, Visit};

/// Stages that each append one line to `count/NAME` when they work.
pub(crate) const COUNTED: [&str; 4] = ["make", "use", "one", "two"];

/// Where states are saved.
const SNAPSHOTS: &str = "journal.db.snapshots";

/// Whose calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seat {
    /// Whoever makes the home: `eparch init`.
    Init,
    /// The thread that opens and closes the ledger, on a home that was never held.
    First,
    /// The same on a home whose last holder was killed.
    Again,
    /// The thread that writes the journal.
    Writer,
    /// The thread that keeps signed checkpoints in their file.
    Anchor,
    /// Every thread of a holder that listens.
    Everyone,
    /// The thread that keeps the n-th artifact, while it does.
    Keeper(usize),
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seat::Init => f.write_str("init"),
            Seat::First => f.write_str("first"),
            Seat::Again => f.write_str("again"),
            Seat::Writer => f.write_str("writer"),
            Seat::Anchor => f.write_str("anchor"),
            Seat::Everyone => f.write_str("everyone"),
            Seat::Keeper(no) => write!(f, "keeper-{no}"),
        }
    }
}

impl FromStr for Seat {
    type Err = ();
    fn from_str(text: &str) -> Result<Seat, ()> {
        let known = [Seat::Init, Seat::First, Seat::Again, Seat::Writer, Seat::Anchor, Seat::Everyone];
        match text.strip_prefix("keeper-") {
            Some(no) => no.parse().map(Seat::Keeper).map_err(drop),
            None => known.into_iter().find(|seat| seat.to_string() == text).ok_or(()),
        }
    }
}

impl Seat {
    /// The home that each drill has a copy of.
    pub(crate) fn template(self) -> DrillHome {
        match self {
            Seat::Init => DrillHome::bare(),
            Seat::Again => DrillHome::killed(),
            _ => DrillHome::fresh(),
        }
    }

    /// Whether a point of this seat belongs to the drills of another.
    pub(crate) fn is_like(self, other: Seat) -> bool {
        self == other || matches!((self, other), (Seat::Keeper(_), Seat::Keeper(_)))
    }

    /// Whether a call is this seat's to fail: most of what everyone does is somebody's own.
    pub(crate) fn is_asked_about(self, call: &Call) -> bool {
        self != Seat::Everyone
            || call.path.starts_with("keys/")
            || call.path.starts_with(SNAPSHOTS)
            || call.path == "views.db-wal" && call.wrote.is_some()
    }
}

/// One call that fails, once or from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) seat: Seat,
    pub(crate) call: String,
    /// The file, relative to the home.
    pub(crate) path: String,
    /// The n-th such call of the thread on this file; of a keeper, on any file.
    pub(crate) at: usize,
    pub(crate) error: String,
    pub(crate) for_good: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { seat, call, path, at, error, for_good } = self;
        write!(f, "{seat} {call} {path} {at} {error} {}", if *for_good { "for-good" } else { "once" })
    }
}

impl FromStr for Fault {
    type Err = ();
    fn from_str(text: &str) -> Result<Fault, ()> {
        let words: Vec<&str> = text.split(' ').collect();
        let [seat, call, path, at, error, span] = words[..] else { return Err(()) };
        Ok(Fault {
            seat: seat.parse()?,
            call: call.to_owned(),
            path: path.to_owned(),
            at: at.parse().map_err(drop)?,
            error: error.to_owned(),
            for_good: span == "for-good",
        })
    }
}

impl Fault {
    fn rule(&self, root: &Path) -> Rule {
        let when = if self.for_good { "+" } else { "" };
        let rule = Rule::inject(&self.call, &format!("error={}:when={}{when}", self.error, self.at));
        match self.seat {
            // An artifact's draft has a name that nobody knows before.
            Seat::Keeper(_) => rule,
            _ if self.path == "." => rule.on(root),
            _ => rule.on(&root.join(&self.path)),
        }
    }
}

/// What a drill saw.
pub(crate) struct Seen {
    /// The calls that strace told of; all changes when nothing was made to fail.
    pub(crate) calls: Vec<Call>,
    /// How often the ledger was asked about while the disk failed, and not called clean.
    pub(crate) refused: usize,
    /// The codes of the errors that were shown.
    pub(crate) codes: Vec<String>,
}

/// Has somebody use a home in which a call of `seat` fails, or none, and checks everything.
pub(crate) fn drill(seat: Seat, like: &DrillHome, fault: Option<&Fault>) -> Seen {
    let replay = fault.map_or_else(|| format!("recording {seat}"), |fault| format!("EPARCH_DRILL='{fault}'"));
    let home = DrillHome::like(like);
    home.write_pipelines();
    let log = home.beside("log");
    let rule = fault.map_or_else(Rule::record, |fault| fault.rule(&home.root()));
    let for_good = fault.is_some_and(|fault| fault.for_good);
    let opens = matches!(seat, Seat::First | Seat::Again);
    // What opens for good is everything that a command starts; strace is nobody's parent there.
    let followed = rule.clone();
    let follow = move |log: &Path| [followed.words(log), ["-D", "-f"].map(str::to_owned).to_vec()].concat();
    let mut visit = Visit::to(&home, &replay, (opens && for_good).then(|| Box::new(follow) as Prefix));
    visit.has_approver = seat == Seat::Again;
    let mut codes = Vec::new();
    let mut grip = Grip::default();
    match seat {
        Seat::Init => codes.extend(init(&home, &rule, &log, &replay)),
        _ if opens && for_good => {}
        Seat::First | Seat::Again => grip = Grip::of_first(&home, &rule, &log),
        Seat::Writer => grip = Grip::of_writer(&home, &rule, &log),
        Seat::Anchor => grip = Grip::of_anchor(&home, &rule, &log),
        Seat::Everyone => grip = Grip::of_everyone(&home, &rule, &log),
        Seat::Keeper(no) => grip = Grip::of_keeper(&home, no, rule, &log),
    }
    grip.wait_until_held(&home);
    match seat {
        // Whoever makes a home has gone by now.
        Seat::Init => {}
        _ if for_good => visit.try_everything(),
        _ => visit.do_everything(),
    }
    let refused = usize::from(seat != Seat::Init && !visit.is_told_the_truth());
    // Whoever opened it closes it, failing or not, and whoever leaves saves a state; of the rest, half are told to end while the
    // disk fails, and half live to see it work again.
    let ends = |fault: &Fault| fault.at.is_multiple_of(2) || fault.path.starts_with(SNAPSHOTS);
    if opens || fault.is_none_or(ends) {
        home.stop_holder();
    }
    grip.let_go(&home);
    visit.heal();
    visit.do_everything();
    let entries = verified(&home, &replay);
    visit.is_in(&entries);
    within_the_record(&home, &COUNTED, &entries, &replay);
    completed_once(&entries, &replay);
    let words = home.last_words();
    assert!(!words.contains("panicked"), "{replay}: the holder panicked\n{words}");
    let mut seen: Vec<Call> = calls(&log, &home.root());
    seen.extend(visit.logs().flat_map(|log| calls(&log, &home.root())));
    codes.extend(std::mem::take(&mut visit.codes));
    home.nothing_left();
    Seen { calls: seen, refused, codes }
}

/// Makes a home under strace. One that could not be made can be made afterwards.
fn init(home: &DrillHome, rule: &Rule, log: &Path, replay: &str) -> Vec<String> {
    let first = home.output_under(rule, log, &["init"]);
    let codes = code_of(&first, replay);
    let second = home.output(&["init"]);
    let again = code_of(&second, replay);
    if first.status.success() {
        assert_eq!(again, ["EP0502"], "{replay}: it was made twice\n{}", shown(&second));
    } else {
        assert!(second.status.success() || again == ["EP0502"], "{replay}\n{}", shown(&second));
    }
    codes
}

/// The code a command ended with, if it failed; one that fails without saying why is a failure.
fn code_of(output: &Output, replay: &str) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{replay}\n{}", shown(output));
    let code =
        said.split_once("error[").and_then(|(_, rest)| rest.split_once(']')).map(|(code, _)| code.to_owned());
    assert!(output.status.success() || code.is_some(), "{replay}: no code\n{}", shown(output));
    code.into_iter().filter(|_| !output.status.success()).collect()
}
