//! Durable pipeline steps: runs of ten stages whose agents do nothing, through the real governor, driver and ledger on a
//! real disk. What is left out is what agents are made of: processes and sandboxes.
//!
//! `cargo run --release -p eparch-daemon --example steps [FOLDER]` prints one JSON line per measurement. Beside each
//! stands the floor: the same number of commits of one small row, in the same folder.

mod load;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use eparch_daemon::SystemClock;
use eparch_daemon::journal::{Journal as _, LedgerJournal};
use eparch_domain::{Clock, Name};
use eparch_ledger::{Append, Ledger, NewEntry, Settings};
use load::{Load, STAGES};

/// Steps measured each time; some seconds' worth alone.
const STEPS: usize = 5_000;

/// The binary's, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let folder =
        std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("eparch-steps"), PathBuf::from);
    for at_once in [1, 64] {
        let home = folder.join(format!("steps-{}-{at_once}", std::process::id()));
        let (seconds, commits) = measure(&home, at_once);
        let floor = floor(&home, commits);
        let _ = std::fs::remove_dir_all(&home);
        let line = serde_json::json!({
            "what": "steps",
            "at_once": at_once,
            "steps_per_s": (STEPS as f64 / seconds).round(),
            "steps": STEPS,
            "commits": commits,
            "commits_per_step": commits as f64 / STEPS as f64,
            "floor_steps_per_s": (STEPS as f64 / floor).round(),
        });
        println!("{line}");
    }
    let _ = std::fs::remove_dir(&folder);
}

fn measure(home: &Path, at_once: usize) -> (f64, u64) {
    let mut load = Load::open(home, "bench");
    let begun = Instant::now();
    while load.turn(at_once, load.started() * STAGES < STEPS) {}
    (begun.elapsed().as_secs_f64(), load.commits())
}

/// As many commits of one small entry each, with nothing decided: what the disk gives.
fn floor(home: &Path, commits: u64) -> f64 {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::after(&[]));
    let floor = home.join("floor");
    let ledger = Arc::new(
        Ledger::open(&Settings::in_home(&floor), clock.now().wall, "bench").expect("a fresh folder"),
    );
    let journal = LedgerJournal::new(ledger, clock);
    let tenant = Name::new("default").expect("a word");
    let begun = Instant::now();
    for after in 0..commits {
        let entries = vec![NewEntry { body: b"{}".to_vec(), ..NewEntry::default() }];
        journal.append(Append { tenant: tenant.clone(), after, entries }).expect("a healthy disk");
    }
    begun.elapsed().as_secs_f64()
}
