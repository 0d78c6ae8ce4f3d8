//! Which calls of the ledger are made to fail: all that a recording shows, or an evenly spread part of them.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use crate::faults::{Fault, Seat, drill};
use crate::home::{DrillHome, not_injected};
use crate::strace::{Call, can_inject};

/// Of a hundred points, how many may be out of reach: group commit and the clock decide how many calls a run makes.
const OUT_OF_REACH: usize = 15;

/// The log of the read models.
const READ_MODELS: &str = "views.db-wal";

/// A call, and what kind of file it is about.
type Kind = (String, String);

/// One call that a recording shows.
struct Site {
    kind: Kind,
    path: String,
    at: usize,
}

/// What is tried: one kind of error at every call of a seat.
pub(crate) struct Plan {
    pub(crate) seat: Seat,
    pub(crate) for_good: bool,
    /// How many points are tried when not all are asked for, besides one for every kind of call.
    pub(crate) part: usize,
}

impl Plan {
    /// Tries the points, and counts.
    pub(crate) fn carry_out(&self) {
        let name = format!("{} {}", self.seat, if self.for_good { "for good" } else { "once" });
        if !can_inject() {
            return not_injected(&name);
        }
        let like = self.seat.template();
        let how = Part::asked();
        if let Part::One(asked) = how {
            let mine = |fault: &Fault| fault.seat.is_like(self.seat) && fault.for_good == self.for_good;
            if let Some(fault) = asked.parse().ok().filter(mine) {
                let seen = drill(fault.seat, &like, Some(&fault));
                println!("{fault}: {} errors, {:?}", injected(&seen.calls).len(), seen.codes);
            }
            return;
        }
        let points = self.points(&like);
        let mut chosen = how.choose(points.len(), self.part);
        if let Part::Spread(seed) = how {
            chosen.extend(one_of_each(&points, seed));
        }
        let mut tally = Tally::default();
        for at in chosen {
            let (kind, fault) = &points[at];
            tally.try_point(&like, fault);
            let first = points.iter().find(|(other, _)| other == kind).expect("it is one itself");
            // A call late in a run may not come again; its kind came earlier, too.
            if !tally.hit.contains(kind) && first.1 != *fault {
                tally.try_point(&like, &first.1);
            }
        }
        tally.print(&name, &points);
        tally.hold(&points);
    }

    /// Every call of the seat that changes a file of the ledger, with every error.
    fn points(&self, like: &DrillHome) -> Vec<(Kind, Fault)> {
        let mut points = Vec::new();
        for (seat, site) in self.sites(like) {
            let writes = site.kind.0.contains("write");
            for error in if writes { &["EIO", "ENOSPC"][..] } else { &["EIO"] } {
                let fault = Fault {
                    seat,
                    call: site.kind.0.clone(),
                    path: site.path.clone(),
                    at: site.at,
                    error: (*error).to_owned(),
                    for_good: self.for_good,
                };
                points.push((site.kind.clone(), fault));
            }
        }
        points
    }

    fn sites(&self, like: &DrillHome) -> Vec<(Seat, Site)> {
        let recording = |seat| drill(seat, like, None).calls;
        match self.seat {
            Seat::Keeper(_) => {
                let kept = recording(Seat::Everyone).iter().filter(|call| call.begins_an_artifact()).count();
                // They are all kept the same way, by one thread that does nothing else meanwhile.
                let calls = recording(Seat::Keeper(1)).into_iter();
                let calls: Vec<Call> = calls
                    .take_while(|call| {
                        call.path.starts_with("artifacts/.draft")
                            || !call.begins_an_artifact() && call.path.starts_with("artifacts")
                    })
                    .collect();
                let mut all = Vec::new();
                for no in 1..=kept {
                    let sites = numbered(&calls, |call| (call.name.clone(), String::new()));
                    // A thread that cannot write at all cannot even wake the others.
                    let sites = sites.into_iter().filter(|site| !self.for_good || site.kind.0 != "write");
                    all.extend(sites.map(|site| (Seat::Keeper(no), site)));
                }
                all
            }
            seat => {
                let mut calls = recording(seat);
                calls.retain(|call| seat.is_asked_about(call));
                let sites = numbered(&calls, |call| (call.name.clone(), call.path.clone()));
                // Read models follow in as many steps as there is time for: of a visit in a quiet moment a busy one has the first
                // half, which is enough to be asked about all kinds of them.
                let mut most: BTreeMap<Kind, usize> = BTreeMap::new();
                for site in sites.iter().filter(|site| seat == Seat::Everyone && site.path == READ_MODELS) {
                    let most = most.entry(site.kind.clone()).or_default();
                    *most = site.at.max(*most);
                }
                let late = |site: &Site| most.get(&site.kind).is_some_and(|most| site.at > most.div_ceil(2));
                sites.into_iter().filter(|site| !late(site)).map(|site| (seat, site)).collect()
            }
        }
    }
}

/// One point of every kind, another with every seed.
fn one_of_each(points: &[(Kind, Fault)], seed: usize) -> BTreeSet<usize> {
    let mut kinds: BTreeMap<&Kind, Vec<usize>> = BTreeMap::new();
    for (at, (kind, _)) in points.iter().enumerate() {
        kinds.entry(kind).or_default().push(at);
    }
    kinds.values().map(|members| members[seed % members.len()]).collect()
}

/// Which points are asked for.
pub(crate) enum Part {
    /// The one that a line names.
    One(String),
    All,
    /// Some, evenly spread and shifted by a seed that changes from run to run.
    Spread(usize),
}

impl Part {
    /// What the environment asks for.
    pub(crate) fn asked() -> Part {
        match std::env::var("EPARCH_DRILL") {
            Ok(all) if all == "all" => Part::All,
            Ok(point) => Part::One(point),
            Err(_) => {
                let seed = std::env::var("EPARCH_DRILL_SEED").ok().and_then(|seed| seed.parse().ok());
                let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |gone| gone.subsec_micros() as usize);
                let seed = seed.unwrap_or_else(now);
                println!("EPARCH_DRILL_SEED={seed} tries these again, EPARCH_DRILL=all tries every point");
                Part::Spread(seed)
            }
        }
    }

    /// The numbers of the points to try, of so many; at most `part` when not all are asked for.
    pub(crate) fn choose(&self, points: usize, part: usize) -> BTreeSet<usize> {
        match self {
            Part::Spread(seed) if part < points => {
                (0..part).map(|step| (seed + step * points / part) % points).collect()
            }
            _ => (0..points).collect(),
        }
    }
}

/// Gives each call that can change anything its number among those that are counted with it: those of its thread.
fn numbered(calls: &[Call], counted_as: impl Fn(&Call) -> (String, String)) -> Vec<Site> {
    let mut seen: BTreeMap<(Option<u32>, (String, String)), usize> = BTreeMap::new();
    let mut sites: Vec<Site> = Vec::new();
    for call in calls {
        let counted = seen.entry((call.thread, counted_as(call))).or_default();
        *counted += 1;
        let site = Site {
            kind: (call.name.clone(), kind_of_file(&call.path)),
            path: call.path.clone(),
            at: *counted,
        };
        let known =
            |other: &Site| other.at == site.at && other.path == site.path && other.kind.0 == site.kind.0;
        if call.changes && !sites.iter().any(known) {
            sites.push(site);
        }
    }
    sites
}

/// The path without what differs from run to run.
fn kind_of_file(path: &str) -> String {
    let word = |word: &str| {
        let hex = word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex {
            "HEX".to_owned()
        } else if word.starts_with(".draft-") {
            ".draft".to_owned()
        } else if word.starts_with("run_") {
            "RUN".to_owned()
        } else {
            word.to_owned()
        }
    };
    path.split('/').map(word).collect::<Vec<String>>().join("/")
}

fn injected(calls: &[Call]) -> Vec<&Call> {
    calls.iter().filter(|call| call.injected).collect()
}

#[derive(Default)]
struct Tally {
    tried: usize,
    reached: usize,
    errors: usize,
    hit: BTreeSet<Kind>,
    /// The functions that led to a call that failed.
    places: BTreeSet<Vec<String>>,
    codes: BTreeMap<String, usize>,
    /// How often the ledger was not called clean while the disk failed.
    refused: usize,
    out_of_reach: Vec<String>,
    failed: Vec<String>,
}

impl Tally {
    fn try_point(&mut self, like: &DrillHome, fault: &Fault) {
        self.tried += 1;
        let Ok(seen) = catch_unwind(AssertUnwindSafe(|| drill(fault.seat, like, Some(fault)))) else {
            self.failed.push(format!("EPARCH_DRILL='{fault}'"));
            return;
        };
        let injected = injected(&seen.calls);
        self.errors += injected.len();
        self.refused += seen.refused;
        for call in &injected {
            self.hit.insert((call.name.clone(), kind_of_file(&call.path)));
            self.places.insert(call.by.clone());
        }
        if injected.is_empty() {
            self.out_of_reach.push(fault.to_string())
        } else {
            self.reached += 1
        }
        if seen.codes.iter().any(|code| code == "FAILED") {
            println!("EPARCH_DRILL='{fault}' failed a run: {:?}", seen.codes);
        }
        for code in seen.codes {
            *self.codes.entry(code).or_default() += 1;
        }
    }

    fn print(&self, name: &str, points: &[(Kind, Fault)]) {
        println!(
            "{name}: {} of {} points tried, {} reached with {} errors, {} out of reach, {} failed",
            self.tried,
            points.len(),
            self.reached,
            self.errors,
            self.out_of_reach.len(),
            self.failed.len()
        );
        println!(
            "{name}: {} kinds of call and file were hit, from {} places in the program",
            self.hit.len(),
            self.places.len()
        );
        println!(
            "{name}: commands ended with {:?}; verify did not say clean {} times",
            self.codes, self.refused
        );
        for point in &self.out_of_reach {
            println!("{name}: out of reach: {point}");
        }
        for point in &self.failed {
            println!("{name}: FAILED: {point}");
        }
    }

    /// Nothing failed, every kind of call was hit, and few points were out of reach.
    fn hold(&self, points: &[(Kind, Fault)]) {
        assert!(!points.is_empty(), "no call that could fail was seen");
        assert!(self.failed.is_empty(), "{} points failed; each line above replays one", self.failed.len());
        let missed: BTreeSet<&Kind> =
            points.iter().map(|(kind, _)| kind).filter(|kind| !self.hit.contains(*kind)).collect();
        assert!(missed.is_empty(), "never made to fail: {missed:?}");
        let most = (self.tried * OUT_OF_REACH).div_ceil(100);
        assert!(self.out_of_reach.len() <= most, "{} points were out of reach", self.out_of_reach.len());
    }
}
