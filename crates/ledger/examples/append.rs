//! How fast entries become durable, and how fast they are verified: one JSON line per measurement.
//!
//! `cargo run --release -p eparch-ledger --example append [ENTRIES]`. The floor is measured beside it: commits of one tiny
//! row with the same settings, which is what a lone append cannot be faster than.

use std::time::{Duration, Instant};

use eparch_domain::{Name, Timestamp};
use eparch_ledger::{Append, Ledger, LedgerKey, NewEntry, Settings, Verify};

/// Bytes of an entry's body: a small event with its facts and effects.
const BODY: usize = 400;

/// The binary's, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let entries: u64 = std::env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let floor = floor(&dir.path().join("floor.db"))?;
    println!(r#"{{"what":"floor","commits_per_s":{:.0}}}"#, rate(floor.0, floor.1));

    let settings = Settings::in_home(&dir.path().join("home"));
    let tenant = Name::new("default")?;
    let ledger = Ledger::open(&settings, Timestamp::from_millis(0), "bench")?;
    let mut head = 0;
    // One caller that waits for each of its appends.
    for size in [1u64, 32, 512] {
        let start = Instant::now();
        let mut took = Vec::new();
        let first = head;
        while start.elapsed() < Duration::from_secs(3) {
            let begun = Instant::now();
            head = ledger.append(batch(&tenant, head, size))?.last_seq;
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_micros();
        let rate = rate(head - first, start.elapsed());
        println!(
            r#"{{"what":"append","entries_per_append":{size},"entries_per_s":{rate:.0},"p50_us":{},"p99_us":{}}}"#,
            at(50),
            at(99)
        );
    }
    // Many callers at once, as a busy driver is: appends of one entry that share commits.
    let start = Instant::now();
    let (first, until) = (head, head.max(entries) + entries);
    let mut waiting = std::collections::VecDeque::new();
    while head < until {
        waiting.push_back(ledger.append_later(batch(&tenant, head, 1)));
        head += 1;
        if waiting.len() >= 512 {
            waiting.pop_front().expect("512 wait").wait(Instant::now() + Duration::from_secs(10))?;
        }
    }
    for pending in waiting {
        pending.wait(Instant::now() + Duration::from_secs(10))?;
    }
    println!(
        r#"{{"what":"append","in_flight":512,"entries_per_s":{:.0}}}"#,
        rate(head - first, start.elapsed())
    );
    let start = Instant::now();
    drop(ledger);
    println!(r#"{{"what":"close","ms":{}}}"#, start.elapsed().as_millis());

    let start = Instant::now();
    let ledger = Ledger::open(&settings, Timestamp::from_millis(0), "bench")?;
    let opened = start.elapsed();
    ledger.append(batch(&tenant, head, 1))?;
    println!(
        r#"{{"what":"open","entries":{head},"open_us":{},"to_first_append_us":{}}}"#,
        opened.as_micros(),
        start.elapsed().as_micros()
    );
    let proof = ledger.read().prove(&tenant, head / 2)?;
    println!(r#"{{"what":"proof","entries":{head},"hash_bytes":{}}}"#, proof.path.len() * 32);
    drop(ledger);

    let verify = Verify::of(&settings, LedgerKey::load_verifier(&settings.keys_dir)?);
    for _ in 0..3 {
        let start = Instant::now();
        let report = verify.run()?;
        let took = start.elapsed();
        let found = &report.tenants[0];
        println!(
            r#"{{"what":"verify","clean":{},"entries":{},"checkpoints":{},"entries_per_s":{:.0}}}"#,
            report.is_clean(),
            found.entries,
            found.checkpoints,
            rate(found.entries, took)
        );
    }
    Ok(())
}

fn rate(count: u64, took: Duration) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from) / took.as_secs_f64()
}

fn batch(tenant: &Name, after: u64, size: u64) -> Append {
    let entry = |seq: u64| {
        let mut body =
            format!(r#"{{"event":{{"kind":"heartbeat_seen","number":{seq}}},"padding":""#).into_bytes();
        body.resize(BODY - 2, b'.');
        body.extend_from_slice(b"\"}");
        NewEntry { body, ..NewEntry::default() }
    };
    Append { tenant: tenant.clone(), after, entries: (after + 1..=after + size).map(entry).collect() }
}

fn floor(path: &std::path::Path) -> Result<(u64, Duration), rusqlite::Error> {
    let connection = rusqlite::Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE row (id INTEGER PRIMARY KEY, value INTEGER)")?;
    let start = Instant::now();
    let mut commits = 0;
    while start.elapsed() < Duration::from_secs(3) {
        connection.prepare_cached("INSERT INTO row (value) VALUES (1)")?.execute([])?;
        commits += 1;
    }
    Ok((commits, start.elapsed()))
}
