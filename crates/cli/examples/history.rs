//! How soon the shipped binary decides in a home with a million entries, after it was left in order and after a crash,
//! and its memory there.
//!
//! `cargo run --release -p eparch-cli --example history [BINARY]` prints JSON lines; the binary is the one beside it. It
//! needs some gigabytes in the folder for temporary files.

#[path = "../../daemon/examples/load/mod.rs"]
mod load;
mod place;

use std::time::Instant;

use eparch_daemon::TENANT;
use eparch_domain::Name;
use eparch_ledger::Reader;
use eparch_ledger::views::Views;
use load::Load;
use place::{Holder, Place, megabytes};
use serde_json::json;

/// Entries of the journal before the first start that is measured.
const ENTRIES: u64 = 1_000_000;

/// As the driver does it.
const SNAPSHOT_EVERY: u64 = 10_000;

/// Runs that are alive at once while the journal is filled.
const AT_ONCE: usize = 64;

/// Entries after which no more runs are begun before the crash. With those of the runs still alive then, recovery has
/// nearly as many to read as it can have.
const ENOUGH: u64 = SNAPSHOT_EVERY - 1_000;

/// The binary's, so that the home is filled as the binary would.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let place = Place::new("history");
    // Its owner becomes known.
    place.hold().end();
    fill(&place);
    follow(&place);
    println!("{}", place.measure_starts("start, a million entries", Holder::end));
    let since = grow_without_snapshot(&place);
    // The crash that the first measured start finds behind it.
    place.hold().kill();
    let mut starts = place.measure_starts("start after kill -9, a million entries", Holder::kill);
    starts["entries_since_snapshot"] = since.into();
    println!("{starts}");
}

fn fill(place: &Place) {
    let begun = Instant::now();
    let mut load = Load::open(&place.home, "bench");
    let mut saved_at = load.seq();
    while load.turn(AT_ONCE, load.seq() < ENTRIES) {
        if load.seq() >= saved_at + SNAPSHOT_EVERY {
            load.save_snapshot();
            saved_at = load.seq();
        }
    }
    println!("filled in {:?}", begun.elapsed());
}

/// Brings the read models up to date and prints what the home weighs. Not by a command: none waits so long.
fn follow(place: &Place) {
    let begun = Instant::now();
    let reader = Reader::open(&place.home.join("journal.db")).expect("a sound journal");
    let mut views = Views::open(&place.home.join("views.db")).expect("a sound home");
    let seq = views.follow(&reader, &Name::new(TENANT).expect("a word")).expect("a sound journal");
    println!("read models of {seq} entries made in {:?}", begun.elapsed());
    drop((views, reader));
    let (journal, views) = (place.bytes_of("journal.db"), place.bytes_of("views.db"));
    println!("{}", json!({ "what": "home", "journal_mb": megabytes(journal), "views_mb": megabytes(views) }));
}

/// Adds entries as a holder that died before it could save its state; returns how many.
fn grow_without_snapshot(place: &Place) -> u64 {
    let mut load = Load::open(&place.home, "bench");
    let from = load.seq();
    while load.turn(AT_ONCE, load.seq() < from + ENOUGH) {}
    load.seq() - from
}
