//! How soon the shipped binary decides, and what it weighs: from nothing to a holder that answers, in an empty home and
//! in one with some history; its memory when idle; its size.
//!
//! `cargo run --release -p eparch-cli --example start [BINARY]` prints JSON lines; the binary is the one beside it.

mod place;

use std::time::Instant;

use place::{Holder, Place, megabytes, tenth};
use serde_json::json;

/// Runs made for the home with history; each is seven entries.
const RUNS: usize = 40;

const PIPELINE: &str = "name: tiny\nstages:\n  - {name: one, type: agent, config: {command: ['true']}}\n  - {name: two, type: agent, requires: [one], config: {command: ['true']}}\n";

fn main() {
    let place = Place::new("start");
    println!("{}", place.measure_starts("start, empty home", Holder::end));
    place.write("p.yaml", PIPELINE);
    let mut ms = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        place.run(&["-q", "run", "p.yaml"]);
        ms.push(tenth(begun.elapsed().as_secs_f64() * 1e3));
    }
    println!("{}", json!({ "what": "run of two real agents, whole command", "ms": ms }));
    place.wait_gone();
    println!("{}", place.measure_starts("start, some history", Holder::end));
    println!("{}", json!({ "what": "binary", "mb": megabytes(place.binary_bytes()) }));
}
