//! What snapshots cost: handling with and without one being written, and how long recovery from one takes.
//!
//! `cargo run --release -p eparch-sim --example snapshot` prints one JSON line for each measurement.

mod mill;

use std::thread::JoinHandle;
use std::time::Instant;

use eparch_domain::Moment;
use eparch_governor::{Event, RECORD_FORMAT, Record, Snapshot};
use mill::{Mill, percentiles};
use serde_json::json;

/// The binary's, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 10_000;
const EVENTS: usize = 200_000;
/// As the driver does it.
const SNAPSHOT_EVERY: usize = 10_000;

fn main() {
    let mut mill = Mill::with_runs(RUNS);
    for _ in 0..RUNS * 20 {
        let (event, now) = mill.next();
        let decision = mill.governor.handle(&event, now);
        mill.take(&decision);
    }
    let apart =
        Snapshot::from_bytes(&mill.governor.snapshot().to_bytes()).expect("what was written reads back");
    report(&mut mill, "without snapshots", |_| None);
    // What a second thread costs by being there: cache, memory and cores are shared with it, state is not.
    report(&mut mill, "while something else is written", |_| Some(apart.clone()));
    report(&mut mill, "with a snapshot of every 10,000 entries", |mill| Some(mill.governor.snapshot()));
    recovery(&mut mill);
}

/// Handles events while what `take` gives is written by another thread after every so many of them; one at a time, as
/// the driver does it.
fn report(mill: &mut Mill, what: &str, take: impl Fn(&Mill) -> Option<Snapshot>) {
    let mut nanos = Vec::with_capacity(EVENTS);
    let mut taking = Vec::new();
    let mut writer: Option<JoinHandle<usize>> = None;
    let mut bytes = None;
    for number in 1..=EVENTS {
        let (event, now) = mill.next();
        let begun = Instant::now();
        let decision = mill.governor.handle(&event, now);
        nanos.push(elapsed(begun));
        mill.take(&decision);
        if number % SNAPSHOT_EVERY == 0 && writer.as_ref().is_none_or(JoinHandle::is_finished) {
            let begun = Instant::now();
            let Some(snapshot) = take(mill) else { continue };
            taking.push(elapsed(begun));
            let last = writer.replace(std::thread::spawn(move || snapshot.to_bytes().len()));
            bytes = last.and_then(|last| last.join().ok()).or(bytes);
        }
    }
    let last = writer.and_then(|last| last.join().ok());
    let (p50, p99, p999) = percentiles(&mut nanos);
    taking.sort_unstable();
    let (median, longest) = (taking.get(taking.len() / 2), taking.last());
    println!(
        "{}",
        json!({
            "measured": what, "live_runs": RUNS, "p50_ns": p50, "p99_ns": p99, "p999_ns": p999,
            "snapshots": taking.len(), "median_taking_ns": median, "longest_taking_ns": longest,
            "snapshot_bytes": last.or(bytes),
        })
    );
}

/// A snapshot of every run and the entries after it, read from bytes as after a crash.
fn recovery(mill: &mut Mill) {
    let saved = mill.governor.snapshot().to_bytes();
    let mut entries: Vec<Vec<u8>> = Vec::new();
    for _ in 0..10_000 {
        let (event, now) = mill.next();
        let decision = mill.governor.handle(&event, now);
        mill.take(&decision);
        entries.push(record(event, now, decision).to_bytes());
    }
    let mut recovered = mill.governor.clone();
    let begun = Instant::now();
    let snapshot = Snapshot::from_bytes(&saved).expect("what was written reads back");
    recovered.restore(snapshot).expect("the definition is at hand");
    let restored = begun.elapsed();
    let mut facts = 0usize;
    for entry in &entries {
        let record = Record::from_bytes(entry).expect("what was written reads back");
        facts += record.decision.facts.len();
        for fact in &record.decision.facts {
            recovered.apply(fact, record.at);
        }
    }
    let all = begun.elapsed();
    assert!(recovered.agrees_with(&mill.governor), "recovery brings back another state");
    println!(
        "{}",
        json!({
            "measured": "recovery", "live_runs": RUNS, "entries": entries.len(), "facts": facts,
            "snapshot_bytes": saved.len(), "restore_ms": restored.as_millis(), "all_ms": all.as_millis(),
        })
    );
}

fn record(event: Event, at: Moment, decision: eparch_governor::Decision) -> Record {
    Record { v: RECORD_FORMAT, engine: "bench".to_owned(), epoch: 1, at, policy: None, event, decision }
}

fn elapsed(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
