//! How long the governor takes to handle one event, with few and with many live runs, and whether that stays so.
//!
//! `cargo run --release -p eparch-sim --example handle` prints one JSON line for each measurement. The events are those of
//! honest agents going round: a run ends, the next one starts.

mod mill;

use std::time::Instant;

use mill::{Mill, peak, percentiles, resident};
use serde_json::json;

/// The binary's, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    for runs in [10, 10_000] {
        let mut mill = Mill::with_runs(runs);
        // The first rounds warm the caches and bring every run into another phase.
        measure(&mut mill, runs * 20);
        let mut nanos = measure(&mut mill, 400_000);
        let (p50, p99, p999) = percentiles(&mut nanos);
        println!(
            "{}",
            json!({
                "measured": "handle", "live_runs": runs, "p50_ns": p50, "p99_ns": p99, "p999_ns": p999,
                "peak_rss_mb": (peak() as f64 * 0.010_24).round() / 10.0,
            })
        );
    }
    let mut mill = Mill::with_runs(10);
    measure(&mut mill, 100_000);
    let before = resident();
    let mut firsts = Vec::new();
    for _ in 0..10 {
        let mut nanos = measure(&mut mill, 100_000);
        firsts.push(percentiles(&mut nanos).0);
    }
    println!(
        "{}",
        json!({
            "measured": "a million events",
            "p50_ns_of_each_tenth": firsts,
            "resident_kib_before": before,
            "resident_kib_after": resident(),
            "peak_kib": peak(),
        })
    );
}

fn measure(mill: &mut Mill, events: usize) -> Vec<u64> {
    let mut nanos = Vec::with_capacity(events);
    for _ in 0..events {
        let (event, now) = mill.next();
        let begun = Instant::now();
        let decision = mill.governor.handle(&event, now);
        nanos.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        mill.take(&decision);
    }
    nanos
}
