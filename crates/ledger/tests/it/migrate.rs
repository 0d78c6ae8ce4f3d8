//! Journals of earlier versions: each still opens, with nothing lost.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use eparch_domain::Digest;
use eparch_ledger::{Append, EffectRef, NewDocument, NewEntry, Snapshot};
use rusqlite::types::ValueRef;

use crate::home::{Home, body, entry, name, save};

/// The key of the fixtures; it signs nothing else.
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";

fn fixture(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", file].iter().collect()
}

fn home_with_key() -> Home {
    let home = Home::new();
    fs::create_dir_all(&home.settings.keys_dir).unwrap();
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(home.settings.keys_dir.join("ledger.key")).unwrap();
    file.write_all(KEY.as_bytes()).unwrap();
    home
}

/// A journal of that version, opened: nothing of its history is lost, and it goes on.
fn opens(version: u32) {
    let home = home_with_key();
    let raw = rusqlite::Connection::open(home.path()).unwrap();
    raw.execute_batch(&fs::read_to_string(fixture(&format!("journal-v{version}.sql"))).unwrap()).unwrap();
    drop(raw);
    fs::create_dir_all(&home.settings.anchors_dir).unwrap();
    fs::copy(fixture(&format!("journal-v{version}.checkpoints")), home.anchor("acme")).unwrap();
    let ledger = home.open();
    let acme = name("acme");
    assert_eq!(ledger.epoch(), 2);
    let notices = ledger.health().notices;
    assert!(!notices.iter().any(|what| what.contains("damaged")), "{notices:?}");
    let entries: Vec<_> = ledger.read().entries(&acme, 1).map(|entry| entry.unwrap()).collect();
    assert_eq!(entries.len(), 260);
    assert!(entries.iter().all(|entry| entry.body == body("acme", entry.seq)));
    assert_eq!(ledger.outbox(&acme).unwrap(), [EffectRef { seq: 1, idx: 1 }]);
    assert_eq!(ledger.document(&acme, &Digest::of(b"a plan")).unwrap().unwrap().bytes, b"a plan");
    // Version 1 had snapshots, of which nothing is kept: they save time, and nothing else.
    assert_eq!(ledger.snapshot(&acme).unwrap(), None);
    let state = Snapshot { seq: 200, body: b"a state".to_vec() };
    save(&ledger, &acme, state.clone()).unwrap();
    assert_eq!(ledger.snapshot(&acme).unwrap(), Some(state));
    ledger.append(Append { tenant: acme.clone(), after: 260, entries: vec![entry("acme", 261)] }).unwrap();
    drop(ledger);
    let report = home.verify();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.tenants[0].entries, report.tenants[0].anchored), (261, 261));
}

#[test]
fn a_journal_of_version_1_opens_with_nothing_lost() {
    opens(1);
}

#[test]
fn a_journal_of_version_2_opens_with_nothing_lost() {
    opens(2);
}

#[test]
#[ignore = "writes the fixture of the version that is current when it is run; it is then kept for ever"]
fn write_fixture_of_version_2() {
    let home = home_with_key();
    let ledger = home.open();
    let acme = name("acme");
    let bytes = b"a plan".to_vec();
    let mut entries: Vec<NewEntry> = (1..=260).map(|seq| entry("acme", seq)).collect();
    entries[0].effects_due = 2;
    entries[0].documents = vec![NewDocument { digest: Digest::of(&bytes), kind: "plan".into(), bytes }];
    entries[1].acknowledges = vec![EffectRef { seq: 1, idx: 0 }];
    let rest = entries.split_off(200);
    ledger.append(Append { tenant: acme.clone(), after: 0, entries }).unwrap();
    ledger.append(Append { tenant: acme, after: 200, entries: rest }).unwrap();
    drop(ledger);
    fs::create_dir_all(fixture("")).unwrap();
    fs::write(fixture("journal-v2.sql"), script(&home.raw())).unwrap();
    fs::copy(home.anchor("acme"), fixture("journal-v2.checkpoints")).unwrap();
}

/// A database as the SQL that makes it: tables, rows, then triggers.
fn script(raw: &rusqlite::Connection) -> String {
    let pragma = |name: &str| raw.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let (application, version) = (pragma("application_id"), pragma("user_version"));
    let mut text =
        format!("PRAGMA application_id = {application};\nPRAGMA user_version = {version};\nBEGIN;\n");
    let parts: Vec<(String, String, String)> = raw
        .prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let (tables, triggers): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(kind, ..)| kind == "table");
    for (_, _, sql) in &tables {
        text += &format!("{sql};\n");
    }
    for (_, table, _) in &tables {
        rows(raw, table, &mut text);
    }
    for (_, _, sql) in &triggers {
        text += &format!("{sql};\n");
    }
    text + "COMMIT;\n"
}

fn rows(raw: &rusqlite::Connection, table: &str, text: &mut String) {
    let columns: Vec<String> = raw
        .prepare("SELECT name FROM pragma_table_info(?1)")
        .unwrap()
        .query_map([table], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let names = columns.join(", ");
    let mut rows = raw.prepare(&format!("SELECT {names} FROM {table}")).unwrap();
    let mut rows = rows.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let value = |column: usize| match row.get_ref(column).unwrap() {
            ValueRef::Null => "NULL".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(text) => format!("'{}'", std::str::from_utf8(text).unwrap().replace('\'', "''")),
            ValueRef::Blob(bytes) => format!("x'{}'", eparch_domain::hex(bytes)),
        };
        let values: Vec<String> = (0..columns.len()).map(value).collect();
        *text += &format!("INSERT INTO {table} ({names}) VALUES ({});\n", values.join(", "));
    }
}
