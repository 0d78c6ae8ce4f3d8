//! The log that is written ahead: how long it becomes, and what it is moved into.

use eparch_ledger::{Append, Ledger, NewEntry};

use crate::crash::crashed;
use crate::home::{Home, entry, name};

/// Adds so many entries of a megabyte each; the most that the log ever has.
fn megabytes(ledger: &Ledger, home: &Home, many: u64) -> u64 {
    let log = home.path().with_extension("db-wal");
    let after = ledger.head(&name("acme")).unwrap();
    let grows = (after..after + many).map(|after| {
        let body = vec![u8::try_from(after % 251).expect("small"); 1 << 20];
        let entries = vec![NewEntry { body, ..entry("acme", after + 1) }];
        ledger.append(Append { tenant: name("acme"), after, entries }).unwrap();
        std::fs::metadata(&log).unwrap().len()
    });
    grows.max().expect("some")
}

/// The log is moved into the file between two commits when it has four MiB, and written over then.
const LOG_MOST: u64 = 8 << 20;

/// Adds thirteen megabytes, of all but the first of which a reader stays in the way: that, and how long the log is now.
fn let_grow(ledger: &Ledger, home: &Home) -> (rusqlite::Connection, u64) {
    megabytes(ledger, home, 1);
    let reader = rusqlite::Connection::open(home.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM entry").unwrap();
    let grown = megabytes(ledger, home, 12);
    assert!(grown > LOG_MOST, "{grown}");
    (reader, grown)
}

#[test]
fn what_is_written_ahead_does_not_grow_with_what_is_kept() {
    let home = Home::new();
    let ledger = home.open();
    assert!(megabytes(&ledger, &home, 48) < LOG_MOST);
    drop(ledger);
    assert!(home.verify().is_clean());
}

#[test]
fn a_reader_that_stays_lets_the_log_grow_and_when_it_leaves_that_ends() {
    let home = Home::new();
    let ledger = home.open();
    let (reader, grown) = let_grow(&ledger, &home);
    reader.execute_batch("COMMIT").unwrap();
    let most = megabytes(&ledger, &home, 32);
    assert!(most < grown + LOG_MOST, "{most} after {grown}");
    drop((reader, ledger));
    assert!(home.verify().is_clean());
}

#[test]
fn r122_a_long_log_that_a_crash_leaves_is_read_whole_and_grows_no_more() {
    let home = Home::new();
    let ledger = home.open();
    let (reader, grown) = let_grow(&ledger, &home);
    let left = crashed(&home);
    drop((reader, ledger));
    let again = left.open();
    assert_eq!(again.head(&name("acme")).unwrap(), 13);
    let most = megabytes(&again, &left, 12);
    assert!(most < grown + LOG_MOST, "{most} after {grown}");
    drop(again);
    let report = left.verify();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.tenants[0].entries, 25);
}

#[test]
fn a_journal_keeps_the_pages_it_was_made_with() {
    let home = Home::new();
    drop(home.open());
    let made = rusqlite::Connection::open(home.path()).unwrap();
    made.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA page_size = 4096; VACUUM").unwrap();
    let page_bytes = || -> i64 {
        let file = rusqlite::Connection::open(home.path()).unwrap();
        file.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap()
    };
    drop(made);
    let ledger = home.open();
    assert!(megabytes(&ledger, &home, 24) < LOG_MOST);
    drop(ledger);
    assert_eq!(page_bytes(), 4_096);
    assert!(home.verify().is_clean());
}

/// What commits wait for is said where SQLite is built, in `.cargo/config.toml`, beside this; whoever sets that variable replaces both.
#[test]
fn sqlite_is_built_as_is_said_here() {
    let any = rusqlite::Connection::open_in_memory().unwrap();
    let mut options = any.prepare("SELECT compile_options FROM pragma_compile_options").unwrap();
    let options: Vec<String> = options.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}");
}
