//! What a crash leaves behind, and verifying beside a writer.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use eparch_ledger::{Append, Ledger, Reader, Wrong};

use crate::home::{Home, body, entry, name};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

/// The home as a crash at this moment would leave it: the log not folded in, the tail not signed.
pub(crate) fn crashed(home: &Home) -> Home {
    let left = Home::new();
    copy(home.settings.path.parent().unwrap(), left.settings.path.parent().unwrap());
    copy(&home.settings.witness_dirs[0], &left.settings.witness_dirs[0]);
    left
}

fn append(ledger: &Ledger, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        let entries = vec![entry("acme", seq)];
        ledger.append(Append { tenant: name("acme"), after: seq - 1, entries }).unwrap();
    }
}

#[test]
fn r122_nothing_acknowledged_is_lost_in_a_crash() {
    let home = Home::with_history(40);
    let ledger = home.open();
    append(&ledger, 41..=90);
    ledger.checkpoint_now(&name("acme")).unwrap();
    append(&ledger, 91..=97);
    let left = crashed(&home);
    let report = left.verify();
    assert!(report.is_clean(), "{:?}", report.findings);
    let acme = &report.tenants[0];
    assert_eq!((acme.entries, acme.anchored + acme.beyond_last_anchor), (97, 97));
    assert!(acme.anchored >= 90);
    let again = left.open();
    assert_eq!(again.epoch(), ledger.epoch() + 1);
    assert_eq!(again.head(&name("acme")).unwrap(), 97);
    append(&again, 98..=98);
    drop(again);
    let report = left.verify();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.tenants[0].beyond_last_anchor, 0);
}

/// Whether this process holds a POSIX lock on a file, as other processes see it.
fn is_locked(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let inode = format!(":{}", fs::metadata(path).unwrap().ino());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let me = std::process::id().to_string();
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&"POSIX") && words.get(4) == Some(&me.as_str()) && words[5].ends_with(&inode)
    })
}

#[test]
fn r122_the_journal_stays_locked_against_outsiders_who_would_fold_the_log_in_under_the_writer() {
    let home = Home::with_history(40);
    let ledger = home.open();
    append(&ledger, 41..=42);
    assert!(is_locked(home.path()), "an outsider who leaves sees that somebody is still there");
    // Each of these opens and closes the file, and closing a descriptor lets go of every lock of the process on it.
    ledger.reopen(eparch_domain::Timestamp::from_millis(0)).unwrap();
    assert!(is_locked(home.path()), "after a reopening");
    assert!(home.verify().is_clean());
    assert!(is_locked(home.path()), "after verifying in the same process");
    append(&ledger, 43..=50);
    assert!(home.verify().is_clean());
}

#[test]
fn r121_a_damaged_log_loses_nothing_that_was_anchored_unnoticed() {
    let home = Home::with_history(40);
    let ledger = home.open();
    append(&ledger, 41..=60);
    ledger.checkpoint_now(&name("acme")).unwrap();
    append(&ledger, 61..=64);
    let left = crashed(&home);
    let beside = |suffix: &str| {
        let mut path = left.path().as_os_str().to_owned();
        path.push(suffix);
        path
    };
    let (log, shared) = (beside("-wal"), beside("-shm"));
    let whole = fs::read(&log).unwrap();
    assert!(whole.len() > 10 * 4096);
    let mut found = 0;
    for at in (0..whole.len()).step_by(whole.len() / 150) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&log, bytes).unwrap();
        let _ = fs::remove_file(&shared);
        let report = left.verify();
        if report.is_clean() {
            // What is gone without a trace can only be the newest entries that nothing vouched for.
            let entries = report.tenants[0].entries;
            assert!((60..=64).contains(&entries), "byte {at}: {entries}");
            let reader = Reader::open(left.path()).unwrap();
            for read in reader.entries(&name("acme"), 1) {
                let read = read.unwrap();
                assert_eq!(read.body, body("acme", read.seq));
            }
        } else {
            found += 1;
            // Entries are gone, or only the journal's own copy of the checkpoint behind them.
            let wrong = report.first_bad().unwrap().wrong;
            assert!(matches!(wrong, Wrong::Cut | Wrong::Checkpoint), "{:?}", report.findings);
        }
    }
    assert!(found > 50);
}

#[test]
fn r121_verifying_beside_a_writer_is_clean_at_every_moment() {
    let home = Home::with_history(10);
    let ledger = home.open();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut seq = 10;
            while !done.load(Ordering::SeqCst) && seq < 100_000 {
                seq += 1;
                append(&ledger, seq..=seq);
                if seq % 7 == 0 {
                    ledger.checkpoint_now(&name("acme")).unwrap();
                }
            }
        });
        let mut entries = 0;
        for _ in 0..30 {
            let report = home.verify();
            assert!(report.is_clean(), "{:?}", report.findings);
            assert!(report.tenants[0].entries >= entries);
            entries = report.tenants[0].entries;
        }
        done.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        assert!(entries > 10);
    });
}
