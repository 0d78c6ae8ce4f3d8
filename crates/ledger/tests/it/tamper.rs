//! Changing the file behind the ledger's back, in every way we could think of. Nothing may pass as clean.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use eparch_domain::{Digest, Timestamp};
use eparch_ledger::tree::{leaf_hash, node_hash};
use eparch_ledger::{Append, Ledger, OpenError, Report, VerifyError, WriteError, Wrong};
use rusqlite::types::Value;

use crate::home::{Home, body, entry, name};

/// A home, its files as they were, and the way back to them.
struct Drill {
    home: Home,
    journal: Vec<u8>,
    content: Content,
}

/// Every value of every table, and the schema.
type Content = BTreeMap<String, Vec<Vec<Value>>>;

impl Drill {
    fn new(per_tenant: u64) -> Drill {
        Drill::of(Home::with_history(per_tenant))
    }

    fn of(home: Home) -> Drill {
        let journal = fs::read(home.path()).unwrap();
        let content = content(home.path()).unwrap();
        assert!(home.verify().is_clean());
        Drill { home, journal, content }
    }

    /// Verifies after changes by SQL; then everything is as it was.
    fn after(&self, changes: &str) -> Report {
        self.change(changes);
        let report = self.home.verify();
        self.restore();
        report
    }

    /// Changes by SQL, with the triggers out of the way and back again.
    fn change(&self, changes: &str) {
        let raw = self.home.raw();
        let triggers: Vec<(String, String)> = raw
            .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY rowid")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let drop_all: String = triggers.iter().map(|(name, _)| format!("DROP TRIGGER {name};")).collect();
        let make_all: String = triggers.iter().map(|(_, sql)| format!("{sql};")).collect();
        raw.execute_batch(&format!("BEGIN; {drop_all} {changes}; {make_all} COMMIT"))
            .unwrap_or_else(|error| panic!("{changes}: {error}"));
    }

    fn restore(&self) {
        for suffix in ["-wal", "-shm"] {
            let mut path = self.home.path().as_os_str().to_owned();
            path.push(suffix);
            let _ = fs::remove_file(path);
        }
        fs::write(self.home.path(), &self.journal).unwrap();
    }

    /// As somebody without the key would: any entries, and every hash over them made anew.
    fn rehash(&self, tenant: i64, mut change: impl FnMut(u64, Vec<u8>) -> Option<Vec<u8>>) -> String {
        let raw = self.home.raw();
        let mut bodies: Vec<Vec<u8>> = raw
            .prepare("SELECT body FROM entry WHERE tenant = ?1 ORDER BY place")
            .unwrap()
            .query_map([tenant], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        bodies = bodies.into_iter().zip(1..).filter_map(|(body, seq)| change(seq, body)).collect();
        let mut sql = format!(
            "DELETE FROM entry WHERE tenant = {tenant}; DELETE FROM subtree WHERE tenant = {tenant};"
        );
        let mut leaves = Vec::new();
        for (body, seq) in bodies.iter().zip(1..) {
            let (place, leaf) = ((tenant << 40) + seq, leaf_hash(body));
            leaves.push(leaf);
            sql += &format!(
                "INSERT INTO entry (place, body, leaf) VALUES ({place}, x'{}', x'{}');",
                hex(body),
                hex(&leaf)
            );
        }
        for (index, part) in leaves.chunks_exact(256).enumerate() {
            let mut row = part.to_vec();
            while row.len() > 1 {
                row = row.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
            }
            sql += &format!("INSERT INTO subtree VALUES ({tenant}, 1, {index}, x'{}');", hex(&row[0]));
        }
        sql
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the whole content as a program that trusts the file would.
fn content(path: &Path) -> Result<Content, rusqlite::Error> {
    let connection = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut content = Content::new();
    let mut read = |name: &str, query: &str| -> Result<(), rusqlite::Error> {
        let mut rows = connection.prepare(query)?;
        let columns = rows.column_count();
        let rows = rows.query_map([], |row| (0..columns).map(|column| row.get(column)).collect())?;
        content.insert(name.to_owned(), rows.collect::<Result<_, _>>()?);
        Ok(())
    };
    read("schema", "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")?;
    for (table, order) in [
        ("schema_migrations", "version"),
        ("tenant", "id"),
        ("entry", "place"),
        ("subtree", "tenant, level, idx"),
        ("document", "tenant, no"),
        ("checkpoint", "tenant, size"),
        ("boot", "epoch"),
        ("outbox", "tenant, seq, idx"),
        ("snapshot", "tenant, seq"),
        ("tally", "tenant"),
    ] {
        read(table, &format!("SELECT * FROM {table} ORDER BY {order}"))?;
    }
    Ok(content)
}

/// How many edits of a kind: 1 in the normal run, more with `EPARCH_TAMPER=20`.
fn thoroughness() -> usize {
    std::env::var("EPARCH_TAMPER").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A small generator of numbers, the same for each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

#[test]
fn r121_a_changed_entry_is_named() {
    let drill = Drill::new(300);
    let sample = 300 / (20 * thoroughness()).min(300);
    for seq in (1..=300u64).step_by(sample) {
        for change in [
            format!(
                "UPDATE entry SET body = x'{}' WHERE tenant = 2 AND seq = {seq}",
                hex(&body("zeta", seq + 1))
            ),
            format!("UPDATE entry SET leaf = zeroblob(32) WHERE tenant = 2 AND seq = {seq}"),
            format!("UPDATE entry SET body = CAST(body || x'20' AS BLOB) WHERE tenant = 2 AND seq = {seq}"),
        ] {
            let report = drill.after(&change);
            let first = report.first_bad().unwrap();
            assert_eq!((first.wrong, first.seq), (Wrong::Entry, Some(seq)), "{change}");
            assert_eq!(first.tenant.as_deref(), Some("zeta"));
            assert_eq!(report.findings.len(), 1, "one cause, one finding: {:?}", report.findings);
        }
        let report = drill.after(&format!("DELETE FROM entry WHERE tenant = 2 AND seq = {seq}"));
        let first = report.first_bad().unwrap();
        let expected = if seq == 300 { Wrong::Cut } else { Wrong::Gap };
        assert_eq!((first.wrong, first.seq), (expected, Some(seq)));
        let cut = report.findings.iter().any(|finding| finding.wrong == Wrong::Cut);
        assert_eq!(cut, seq == 300, "a gap is not an end: {:?}", report.findings);
    }
}

#[test]
fn r121_swapped_entries_are_named() {
    let drill = Drill::new(120);
    let mut dice = Dice(1);
    for _ in 0..20 * thoroughness() {
        let (a, b) = (1 + dice.roll(120), 1 + dice.roll(120));
        if a == b {
            continue;
        }
        let place = |seq: usize| (1i64 << 40) + i64::try_from(seq).unwrap();
        let (a, b, spare) = (place(a), place(b), place(5_000));
        // Bodies and leaves together: every row agrees with itself, only the order is another.
        let report = drill.after(&format!(
            "UPDATE entry SET place = {spare} WHERE place = {a}; UPDATE entry SET place = {a} WHERE place = {b};
             UPDATE entry SET place = {b} WHERE place = {spare}"
        ));
        let first = report.first_bad().unwrap();
        let lower = (a.min(b) - (1 << 40)).unsigned_abs();
        assert_eq!(first.wrong, Wrong::Rewritten);
        // A checkpoint stands at every fortieth entry: the place is named to within one of them.
        let from = first.seq.unwrap();
        assert!(from <= lower && lower < from + 40, "{first:?} for {lower}");
    }
}

#[test]
fn r121_a_cut_tail_is_found_against_the_checkpoint_outside() {
    let drill = Drill::new(120);
    for left in [0, 1, 50, 79, 80, 119] {
        let cut = format!("DELETE FROM entry WHERE tenant = 1 AND seq > {left};");
        let thorough = format!(
            "{cut} DELETE FROM checkpoint WHERE tenant = 1 AND size > {left}; DELETE FROM outbox WHERE tenant = 1 AND seq > {left};
             DELETE FROM document WHERE tenant = 1 AND seq > {left}; DELETE FROM snapshot WHERE tenant = 1 AND seq > {left};"
        );
        let report = drill.after(&cut);
        assert!(
            report
                .findings
                .iter()
                .any(|finding| finding.wrong == Wrong::Cut && finding.seq == Some(left + 1))
        );
        let report = drill.after(&thorough);
        let first = report.first_bad().unwrap();
        assert_eq!((first.wrong, first.seq), (Wrong::Cut, Some(left + 1)), "{:?}", report.findings);
        // What is past the end holds for nothing.
        let acme = &report.tenants[0];
        assert!(acme.anchored <= left && acme.anchored_outside_home <= left, "{acme:?}");
        assert_eq!(acme.beyond_last_anchor, left - acme.anchored);
        assert_eq!(report.witnessed, left == 0 || acme.anchored > 0, "{acme:?}");
    }
    let all: String = ["entry", "subtree", "document", "checkpoint", "outbox", "snapshot", "tally"]
        .map(|table| format!("DELETE FROM {table} WHERE tenant = 1;"))
        .concat();
    let report = drill.after(&format!("{all} DELETE FROM tenant WHERE id = 1;"));
    let first = report.first_bad().unwrap();
    assert_eq!((first.wrong, first.seq, first.tenant.as_deref()), (Wrong::Cut, Some(1), Some("acme")));
}

#[test]
fn r121_a_chain_hashed_anew_without_the_key_is_found() {
    let drill = Drill::new(300);
    let checks = "DELETE FROM checkpoint WHERE tenant = 1;";
    for seq in [1, 39, 41, 200, 256, 299] {
        let changed = drill
            .rehash(1, |at, body| Some(if at == seq { b"{\"event\":\"nothing\"}".to_vec() } else { body }));
        let removed = drill.rehash(1, |at, body| (at != seq).then_some(body));
        for (kind, sql) in [("changed", changed), ("removed", removed)] {
            let report = drill.after(&sql);
            let first = report.first_bad().unwrap();
            if (kind, seq) == ("removed", 299) {
                // No checkpoint lies between it and the end: what shows is that one entry is missing.
                assert_eq!((first.wrong, first.seq), (Wrong::Cut, Some(300)));
            } else {
                let from = first.seq.unwrap();
                assert!(
                    first.wrong == Wrong::Rewritten && from <= seq && seq < from + 40,
                    "{kind} {seq}: {first:?}"
                );
            }
            assert!(!drill.after(&(sql + checks)).is_clean(), "the anchors outside remember, {kind} {seq}");
        }
    }
}

/// Nobody outside remembers anything, and whoever wrote this has no key.
#[test]
fn r121_a_history_without_any_checkpoint_is_found_and_not_signed_on() {
    let home = Home::with_history(120);
    home.forget_anchors();
    let drill = Drill::of(home);
    let rewritten = drill.rehash(1, |at, body| Some(if at == 7 { b"{}".to_vec() } else { body }))
        + "DELETE FROM snapshot WHERE tenant = 1; DELETE FROM tally WHERE tenant = 1; DELETE FROM outbox WHERE tenant = 1;";
    let unsigned = format!("{rewritten} DELETE FROM checkpoint WHERE tenant = 1;");
    // A checkpoint that says it is of this history, under a note that was signed for another.
    drill.change(&unsigned);
    let root = drill.home.verify().tenants[0].root;
    drill.restore();
    let mislabelled = format!(
        "{unsigned} INSERT INTO checkpoint SELECT 1, 120, x'{}', note FROM checkpoint WHERE tenant = 2 AND size = 120;",
        root.hex()
    );
    for (kind, changes) in [("unsigned", unsigned), ("mislabelled", mislabelled)] {
        let report = drill.after(&changes);
        let first = report.first_bad().unwrap_or_else(|| panic!("{kind} is called clean"));
        assert_eq!(first.wrong, Wrong::Checkpoint, "{kind}: {:?}", report.findings);
        assert!(
            report.findings.iter().any(|finding| finding.seq == Some(1)),
            "{kind}: {:?}",
            report.findings
        );
        assert_eq!(report.tenants[0].beyond_last_checkpoint, 120);
        assert_eq!(report.tenants[1].beyond_last_checkpoint, 0);
        drill.change(&changes);
        let before = drill.home.verify().tenants[0].checkpoints;
        if kind == "unsigned" {
            let opened = Ledger::open(&drill.home.settings, Timestamp::from_millis(0), "test");
            assert!(matches!(opened, Err(OpenError::Unsigned { entries: 120, .. })), "{opened:?}");
            drill.restore();
            continue;
        }
        let ledger = drill.home.open();
        let append = |tenant: &str| {
            ledger.append(Append { tenant: name(tenant), after: 120, entries: vec![entry(tenant, 121)] })
        };
        assert!(matches!(append("acme"), Err(WriteError::Unreadable(_))), "{kind}");
        assert!(matches!(ledger.checkpoint_now(&name("acme")), Err(WriteError::Unreadable(_))), "{kind}");
        assert_eq!(append("zeta").unwrap().last_seq, 121);
        drop(ledger);
        let report = drill.home.verify();
        assert_eq!((report.is_clean(), report.tenants[0].checkpoints), (false, before), "{kind}");
        drill.restore();
        drill.home.forget_anchors();
    }
    // A whole tenant that somebody made up: its seal needs no key.
    let seal = Digest::of_parts(&[b"tenant", &3i64.to_be_bytes(), b"evil"]);
    let (place, leaf) = ((3i64 << 40) + 1, leaf_hash(b"{}"));
    let first = drill
        .after(&format!(
            "INSERT INTO tenant VALUES (3, 'evil', x'{}'); INSERT INTO entry (place, body, leaf) VALUES ({place}, x'7b7d', x'{}')",
            hex(seal.as_bytes()),
            hex(&leaf)
        ))
        .first_bad()
        .cloned()
        .unwrap();
    assert_eq!((first.wrong, first.tenant.as_deref(), first.seq), (Wrong::Checkpoint, Some("evil"), Some(1)));
}

#[test]
fn r121_every_column_of_every_table_is_held_to_something() {
    let drill = Drill::new(300);
    let (connection, mut dice) = (drill.home.raw(), Dice(2));
    let tables = [
        "tenant",
        "entry",
        "subtree",
        "document",
        "checkpoint",
        "boot",
        "schema_migrations",
        "outbox",
        "snapshot",
        "tally",
    ];
    let mut edits = Vec::new();
    for table in tables {
        let columns: Vec<(String, String)> = connection
            .prepare(&format!("SELECT name, type FROM pragma_table_info('{table}')"))
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let rows = drill.content[table].len();
        for (column, kind) in &columns {
            for _ in 0..8 * thoroughness() {
                // The row by its rank, whatever its key is.
                let rank = dice.roll(rows);
                let keys: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
                let keys = keys.join(", ");
                let place =
                    format!("({keys}) = (SELECT {keys} FROM {table} ORDER BY 1, 2 LIMIT 1 OFFSET {rank})");
                let value = match kind.as_str() {
                    "INTEGER" => format!("{column} + {}", 1_000_000 + dice.roll(1_000)),
                    "TEXT" => format!("{column} || 'x'"),
                    _ => format!("CAST({column} || x'00' AS BLOB)"),
                };
                edits.push(format!("UPDATE {table} SET {column} = {value} WHERE {place}"));
                edits.push(format!("DELETE FROM {table} WHERE {place}"));
            }
        }
    }
    drop(connection);
    let mut missed = Vec::new();
    for edit in &edits {
        if drill.after(edit).is_clean() {
            missed.push(edit);
        }
    }
    assert!(missed.is_empty(), "{} of {} passed as clean: {missed:#?}", missed.len(), edits.len());
}

/// A checkpoint a second, as in any home that has been at work for some minutes.
#[test]
fn r121_the_place_is_named_however_many_checkpoints_there_are() {
    let home = Home::new();
    let ledger = home.open();
    let acme = name("acme");
    for seq in 1..=160 {
        ledger
            .append(Append { tenant: acme.clone(), after: seq - 1, entries: vec![entry("acme", seq)] })
            .unwrap();
        ledger.checkpoint_now(&acme).unwrap();
    }
    drop(ledger);
    let drill = Drill::of(home);
    let cut = "DELETE FROM entry WHERE seq > 40; DELETE FROM checkpoint WHERE size > 40;";
    let report = drill.after(cut);
    let first = report.first_bad().unwrap();
    assert_eq!((first.wrong, first.seq), (Wrong::Cut, Some(41)), "{:?}", report.findings);
    assert!(report.findings.len() < 10, "one cause, few findings: {:?}", report.findings);
    let edited = "UPDATE entry SET body = x'7b7d' WHERE seq = 17; DELETE FROM checkpoint;";
    let first = drill.after(edited).first_bad().unwrap().clone();
    assert_eq!((first.wrong, first.seq), (Wrong::Entry, Some(17)));
    let rehashed = drill.rehash(1, |at, body| Some(if at == 23 { b"{}".to_vec() } else { body }));
    for sql in [rehashed.clone(), rehashed + "DELETE FROM checkpoint;"] {
        let first = drill.after(&sql).first_bad().unwrap().clone();
        assert_eq!((first.wrong, first.seq), (Wrong::Rewritten, Some(23)));
    }
    // More than a hundred notes that are no good, and still the place.
    let spoilt = "UPDATE checkpoint SET root = zeroblob(32); DELETE FROM entry WHERE seq = 9;";
    let report = drill.after(spoilt);
    assert!(report.more > 0);
    let first = report.first_bad().unwrap();
    assert_eq!((first.wrong, first.seq), (Wrong::Gap, Some(9)));
}

/// Somebody without the key who knows how a snapshot is sealed and counted makes one up.
#[test]
fn g3_a_snapshot_that_was_made_up_is_found_and_not_believed() {
    let drill = Drill::new(120);
    let forged = |seq: u64, body: &[u8]| {
        let (tenant, place) = (1i64.to_be_bytes(), i64::try_from(seq).unwrap().to_be_bytes());
        *Digest::of_parts(&[b"snapshot", &tenant, &place, body]).as_bytes()
    };
    let body = b"state 120 in which I am admin";
    let mut tally = [0; 32];
    for seal in [forged(60, b"state 60"), forged(120, body)] {
        tally.iter_mut().zip(seal).for_each(|(sum, seal)| *sum ^= seal);
    }
    let sql = format!(
        "UPDATE snapshot SET body = x'{}', seal = x'{}' WHERE tenant = 1 AND seq = 120;
         UPDATE tally SET snapshot = x'{}' WHERE tenant = 1;",
        hex(body),
        hex(&forged(120, body)),
        hex(&tally)
    );
    let report = drill.after(&sql);
    let wrong: Vec<Wrong> = report.findings.iter().map(|finding| finding.wrong).collect();
    assert_eq!(wrong, [Wrong::Snapshot], "{:?}", report.findings);
    assert!(report.findings[0].what.contains("120"), "{:?}", report.findings);
    drill.home.raw().execute_batch(&sql).unwrap();
    let ledger = drill.home.open();
    assert_eq!(
        ledger.snapshot(&name("acme")).unwrap().unwrap().seq,
        60,
        "the one before it is as it was saved"
    );
    let notices = ledger.health().notices;
    assert!(notices.len() == 1 && notices[0].contains("after entry 120"), "{notices:?}");
    // Of another tenant, or of another history, it is worth as little.
    let raw = drill.home.raw();
    raw.execute_batch(
        "DELETE FROM snapshot WHERE tenant = 1 AND seq = 120;
         INSERT INTO snapshot (tenant, seq, body, seal, signature)
         SELECT 1, seq, body, seal, signature FROM snapshot WHERE tenant = 2 AND seq = 120",
    )
    .unwrap();
    assert_eq!(ledger.snapshot(&name("acme")).unwrap().unwrap().seq, 60);
}

#[test]
fn r121_a_weakened_schema_is_found() {
    let drill = Drill::new(10);
    let raw = drill.home.raw();
    raw.execute_batch("DROP TRIGGER entry_no_update").unwrap();
    drop(raw);
    let report = drill.home.verify();
    assert!(report.findings.iter().any(|finding| finding.wrong == Wrong::Schema), "{:?}", report.findings);
    assert!(report.findings[0].what.contains("entry_no_update"));
    drill.restore();
    let raw = drill.home.raw();
    raw.execute_batch("CREATE TRIGGER quiet AFTER INSERT ON entry BEGIN DELETE FROM outbox; END").unwrap();
    drop(raw);
    assert!(drill.home.verify().findings[0].what.contains("quiet"));
}

#[test]
fn r121_a_changed_anchor_is_found() {
    let drill = Drill::new(120);
    for path in [drill.home.anchor("acme"), drill.home.witness("zeta")] {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let report = drill.home.verify();
            // The last line's end may look like a write that was cut off, which the notices say.
            assert!(!report.is_clean() || !report.notices.is_empty(), "byte {at}");
        }
        // A note taken out of the middle.
        let second = whole
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| pair == b"\n\n")
            .map(|(at, _)| at + 2)
            .nth(1)
            .unwrap();
        fs::write(&path, &whole[second..]).unwrap();
        assert!(!drill.home.verify().is_clean());
        fs::write(&path, &whole).unwrap();
    }
}

/// The verdict on the journal with some bytes changed: clean only if everything still reads the same.
fn judge(drill: &Drill, bytes: &[u8], what: &str) -> bool {
    fs::write(drill.home.path(), bytes).unwrap();
    let report = match drill.home.options().run() {
        // It says that another version wrote it, so this one does not say that it is clean.
        Err(VerifyError::TooNew { .. }) => return true,
        other => other.unwrap(),
    };
    if report.is_clean() {
        match content(drill.home.path()) {
            Ok(content) => {
                let table = content.iter().find(|(table, rows)| drill.content[*table] != **rows);
                assert!(table.is_none(), "{what}: clean, yet this reads otherwise: {table:?}");
            }
            Err(error) => panic!("{what}: clean, yet it cannot be read: {error}"),
        }
    }
    !report.is_clean()
}

#[test]
fn r121_any_flipped_byte_of_the_file_is_found_or_means_nothing() {
    let drill = Drill::new(120);
    let size = drill.journal.len();
    let mut places: Vec<usize> =
        (0..size).step_by(97.max(size / (1_200 * thoroughness())).min(size)).collect();
    // Every byte of the header, and of the start of each page, where its structure is.
    places.extend(0..100);
    places.extend((4096..size).step_by(4096).flat_map(|page| page..page + 12));
    let mut found = 0;
    let mut dice = Dice(3);
    for at in &places {
        let mut bytes = drill.journal.clone();
        bytes[*at] ^= 1 << dice.roll(8);
        found += usize::from(judge(&drill, &bytes, &format!("byte {at} of {size}")));
    }
    // Pages are full of content: if most flips went unnoticed, the verdicts would mean nothing.
    assert!(found * 2 > places.len(), "{found} of {}", places.len());
}

#[test]
fn r121_a_file_that_was_cut_or_padded_or_lost_pages_is_damage() {
    let drill = Drill::new(120);
    let size = drill.journal.len();
    for length in [0, 1, 99, 100, 4095, 4096, size / 2, size - 4096, size - 1] {
        fs::write(drill.home.path(), &drill.journal[..length]).unwrap();
        assert!(!drill.home.verify().is_clean(), "cut to {length} of {size}");
    }
    // SQLite reads as many pages as the header counts, and nothing behind them means anything.
    for more in [1, 100, 4096, 50_000] {
        let padded = [&drill.journal[..], &vec![0xa5; more]].concat();
        judge(&drill, &padded, &format!("{more} bytes more"));
    }
    let mut dice = Dice(4);
    let (mut found, rounds) = (0, 30 * thoroughness());
    for _ in 0..rounds {
        let mut bytes = drill.journal.clone();
        let (page, other) = (1 + dice.roll(size / 4096 - 1), 1 + dice.roll(size / 4096 - 1));
        let span = |page: usize| page * 4096..(page + 1) * 4096;
        match dice.roll(3) {
            // A write that went to another place, one that was lost, one that was garbled.
            0 => bytes.copy_within(span(page), other * 4096),
            1 => bytes[span(page)].fill(0),
            _ => bytes[span(page)].iter_mut().for_each(|byte| *byte = byte.rotate_left(3)),
        }
        let changed = bytes != drill.journal;
        found += usize::from(judge(&drill, &bytes, &format!("page {page} over {other}")) || !changed);
    }
    // Every page is in use, or was until lately; one that no longer is may hold anything.
    assert!(found * 10 >= rounds * 9, "{found} of {rounds}");
}

#[test]
fn r121_f13_random_edits_are_all_found() {
    let drill = Drill::new(120);
    let mut dice = Dice(5);
    let edits = 500 * thoroughness();
    for number in 0..edits {
        let seq = 1 + dice.roll(120) as u64;
        let tenant = 1 + dice.roll(2) as i64;
        let sql = match dice.roll(6) {
            0 => format!(
                "UPDATE entry SET body = substr(body, 1, {}) WHERE tenant = {tenant} AND seq = {seq}",
                dice.roll(60)
            ),
            1 => format!("DELETE FROM entry WHERE tenant = {tenant} AND seq = {seq}"),
            2 => format!("DELETE FROM entry WHERE tenant = {tenant} AND seq >= {seq}"),
            3 => drill.rehash(tenant, |at, body| Some(if at == seq { b"{}".to_vec() } else { body })),
            4 => drill.rehash(tenant, |at, body| (at < seq).then_some(body)),
            _ => {
                let bit = dice.roll(8);
                let mut other = body("acme", seq);
                let at = dice.roll(other.len());
                other[at] ^= 1 << bit;
                let other = hex(&other);
                format!("UPDATE entry SET body = x'{other}' WHERE tenant = 1 AND seq = {seq}")
            }
        };
        let report = drill.after(&sql);
        let first = report.first_bad().unwrap_or_else(|| panic!("edit {number} passed as clean"));
        assert!(
            first.seq.is_some_and(|found| found <= seq && seq < found + 40),
            "edit {number} of {seq}: {first:?}"
        );
    }
}
