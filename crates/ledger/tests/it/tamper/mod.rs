//! Changing the file behind the ledger's back, in every way we could think of. Nothing may pass as clean.

mod bytes;
mod rows;
mod signed;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use eparch_domain::hex;
use eparch_ledger::Report;
use eparch_ledger::tree::{leaf_hash, node_hash};
use rusqlite::types::Value;

use crate::home::Home;

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
