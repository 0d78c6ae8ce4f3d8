//! Where writes are cut short: at every write that a recording shows, or an evenly spread part of them.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::faults::{self, Seat};
use crate::home::{DrillHome, not_injected};
use crate::plan::Part;
use crate::short::{Cut, Seen, Span, drill, drill_ceiling};
use crate::strace::{Call, can_inject};

/// The files of which every write is cut short, and whose thread writes them.
const FILES: [(Seat, &str); 8] = [
    (Seat::Writer, "journal.db-wal"),
    (Seat::First, "journal.db-wal"),
    (Seat::First, "journal.db"),
    (Seat::First, "journal.db-journal"),
    (Seat::First, "keys/ledger.new"),
    (Seat::First, "keys/ledger.pub"),
    (Seat::First, "journal.db.lock"),
    (Seat::Anchor, "anchors/default.checkpoints"),
];

/// Below this not even an error message finds room.
const LOWEST_CEILING: u64 = 1 << 10;

/// Of a hundred limits, at how many no write may be short after all: where nothing of it fits, it fails outright.
const NOT_SHORT: usize = 40;

/// Cuts every write of the journal and of what is kept beside it, and lifts the limit as `span` says.
pub(crate) fn cut_short(span: Span, part: usize) {
    let name = format!("short, {span:?}");
    if !can_inject() {
        return not_injected(&name);
    }
    let like = Seat::First.template();
    let mut sum = Sum::default();
    match Part::asked() {
        Part::One(asked) => {
            let Some(cut) = asked.parse::<Cut>().ok().filter(|cut| cut.span == span) else { return };
            println!("{cut}: {:?}", drill(&like, &cut));
            return;
        }
        how => {
            let cuts = cuts(&like, span);
            let chosen = how.choose(cuts.len(), part);
            println!("{name}: {} of {} limits", chosen.len(), cuts.len());
            for at in chosen {
                sum.add(&cuts[at].to_string(), || drill(&like, &cuts[at]));
            }
        }
    }
    sum.hold(&name);
    let most = (sum.tried * NOT_SHORT).div_ceil(100);
    assert!(sum.tried - sum.cut <= most, "only {} limits made a write short", sum.cut);
}

/// Runs everything under a limit that is never lifted, for limits at every boundary of a frame and within.
pub(crate) fn ceilings(part: usize) {
    let name = "short, for good";
    if !can_inject() {
        return not_injected(name);
    }
    let like = Seat::First.template();
    let mut sum = Sum::default();
    match Part::asked() {
        Part::One(asked) => {
            let Some(bytes) = asked.strip_prefix("ceiling ").and_then(|bytes| bytes.parse().ok()) else {
                return;
            };
            println!("{asked}: {:?}", drill_ceiling(&like, bytes));
            return;
        }
        how => {
            let mut limits: BTreeSet<u64> = BTreeSet::new();
            for seat in [Seat::First, Seat::Writer] {
                let calls = faults::drill(seat, &like, None).calls;
                let writes =
                    calls.iter().filter(|call| call.path == "journal.db-wal").filter_map(|call| call.wrote);
                limits.extend(writes.flat_map(|write| {
                    within(write.size).into_iter().map(move |fits| write.from.unwrap_or(0) + fits)
                }));
            }
            let limits: Vec<u64> = limits.into_iter().filter(|bytes| *bytes >= LOWEST_CEILING).collect();
            let chosen = how.choose(limits.len(), part);
            println!("{name}: {} of {} limits", chosen.len(), limits.len());
            for at in chosen {
                sum.add(&format!("ceiling {}", limits[at]), || drill_ceiling(&like, limits[at]));
            }
        }
    }
    sum.hold(name);
    assert!(sum.short > 0 && sum.failed > 0, "no write was cut short");
}

/// How much of a write of some size fits: nothing, a byte, half, all but a byte.
fn within(size: u64) -> BTreeSet<u64> {
    [0, 1, size / 2, size - 1].into_iter().collect()
}

fn cuts(like: &DrillHome, span: Span) -> Vec<Cut> {
    let mut recordings: BTreeMap<Seat, Vec<Call>> = BTreeMap::new();
    let mut cuts = Vec::new();
    for (seat, path) in FILES {
        let calls = recordings.entry(seat).or_insert_with(|| faults::drill(seat, like, None).calls);
        let calls: Vec<&Call> = calls.iter().filter(|call| call.path == path).collect();
        for (at, call) in calls.iter().enumerate() {
            let Some(write) = call.wrote else { continue };
            // Other files have no room either meanwhile: of those that are small, the limit comes just before the write.
            let is_log = path.starts_with("journal.db");
            let before = (0..at).rev().find(|before| !is_log || calls[*before].wrote.is_some());
            let Some(before) = before.or(at.checked_sub(1)) else { continue };
            let end = calls[before].wrote.and_then(|before| Some(before.from? + before.took?));
            let gap = match (write.from, end) {
                (Some(from), Some(end)) => i64::try_from(from).unwrap_or(0) - i64::try_from(end).unwrap_or(0),
                _ => 0,
            };
            let name = &calls[before].name;
            let number = calls[..=before].iter().filter(|call| call.name == *name).count();
            cuts.extend(within(write.size).into_iter().enumerate().map(|(kind, fits)| {
                let room = gap + i64::try_from(fits).unwrap_or(0);
                (kind, Cut { seat, path: path.to_owned(), after: (name.clone(), number), room, span })
            }));
        }
    }
    for (seat, _) in FILES {
        assert!(cuts.iter().any(|(_, cut)| cut.seat == seat), "no write by {seat:?} was seen");
    }
    // Nothing of every write, then a byte of every write, and so on: of what comes in fours, every so manieth is of one kind.
    cuts.sort_by_key(|(kind, _)| *kind);
    cuts.into_iter().map(|(_, cut)| cut).collect()
}

/// What drills saw, in all.
#[derive(Default)]
struct Sum {
    tried: usize,
    /// Drills in which a write was short.
    cut: usize,
    short: usize,
    failed: usize,
    codes: BTreeMap<String, usize>,
    broken: Vec<String>,
}

impl Sum {
    fn add(&mut self, point: &str, drill: impl FnOnce() -> Seen) {
        self.tried += 1;
        let Ok(seen) = catch_unwind(AssertUnwindSafe(drill)) else {
            self.broken.push(format!("EPARCH_DRILL='{point}'"));
            return;
        };
        self.cut += usize::from(seen.short > 0);
        self.short += seen.short;
        self.failed += seen.failed;
        for code in seen.codes {
            *self.codes.entry(code).or_default() += 1;
        }
    }

    fn hold(&self, name: &str) {
        println!(
            "{name}: {} limits tried, {} of them cut a write; {} writes were short and {} failed, as strace saw them",
            self.tried, self.cut, self.short, self.failed
        );
        println!("{name}: commands ended with {:?}; {} failed", self.codes, self.broken.len());
        for point in &self.broken {
            println!("{name}: FAILED: {point}");
        }
        assert!(self.broken.is_empty(), "{} limits failed; each line above replays one", self.broken.len());
    }
}
