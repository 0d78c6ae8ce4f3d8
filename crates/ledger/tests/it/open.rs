//! Opening: one writer, the right key, no less history than was vouched for; and a schema that refuses to forget.

use std::fs;
use std::path::{Path, PathBuf};

use eparch_domain::Timestamp;
use eparch_ledger::{Append, KeyError, Ledger, OpenError, Reader};

use crate::home::{Home, entry, name};

fn open(home: &Home) -> Result<Ledger, OpenError> {
    Ledger::open(&home.settings, Timestamp::from_millis(0), "test")
}

#[test]
fn r121_a_second_writer_is_refused_and_told_who_holds_it() {
    let home = Home::new();
    let ledger = home.open();
    match open(&home) {
        Err(OpenError::Held { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    ledger.append(Append { tenant: name("acme"), after: 0, entries: vec![entry("acme", 1)] }).unwrap();
    assert_eq!(Reader::open(home.path()).unwrap().head(&name("acme")).unwrap(), 1, "readers are welcome");
    assert!(home.verify().is_clean(), "and so is verifying");
    drop(ledger);
    assert_eq!(open(&home).unwrap().epoch(), 2);
}

#[test]
fn r111_the_journal_is_made_at_first_start_and_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    assert!(Reader::open(home.path()).is_err());
    drop(home.open());
    for path in [home.path().to_owned(), home.settings.keys_dir.join("ledger.key")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0);
    }
    assert!(home.verify().is_clean());
}

#[test]
fn r121_a_journal_without_its_key_gets_no_new_one() {
    let home = Home::with_history(10);
    fs::remove_file(home.settings.keys_dir.join("ledger.key")).unwrap();
    assert!(matches!(open(&home), Err(OpenError::Key(KeyError::Missing { .. }))));
}

#[test]
fn r121_less_history_than_was_vouched_for_is_not_continued() {
    let home = Home::with_history(40);
    let copy = fs::read(home.path()).unwrap();
    let ledger = home.open();
    ledger.append(Append { tenant: name("acme"), after: 40, entries: vec![entry("acme", 41)] }).unwrap();
    drop(ledger);
    // An old copy put back, with only the witness left to remember.
    fs::write(home.path(), copy).unwrap();
    fs::remove_file(home.anchor("acme")).unwrap();
    match open(&home) {
        Err(OpenError::BehindAnchor { anchor, tenant, anchored: 41, entries: 40 }) => {
            assert_eq!((anchor, tenant.as_str()), (home.witness("acme"), "acme"));
        }
        other => panic!("{other:?}"),
    }
    // No journal at all is the same.
    fs::remove_file(home.path()).unwrap();
    assert!(matches!(open(&home), Err(OpenError::BehindAnchor { entries: 0, .. })));
}

#[test]
fn r121_a_history_without_its_checkpoint_is_not_continued() {
    let home = Home::with_history(40);
    let raw = home.raw();
    raw.execute_batch("DROP TRIGGER entry_no_update; UPDATE entry SET leaf = zeroblob(32) WHERE seq = 3")
        .unwrap();
    drop(raw);
    assert!(matches!(open(&home), Err(OpenError::Forked { .. })));
}

#[test]
fn r121_an_anchor_folder_that_was_away_is_brought_up_to_date() {
    let home = Home::with_history(40);
    let whole = fs::read(home.witness("acme")).unwrap();
    assert_eq!(whole, fs::read(home.anchor("acme")).unwrap());
    fs::write(home.witness("acme"), &whole[..whole.len() / 2]).unwrap();
    fs::remove_file(home.witness("zeta")).unwrap();
    let report = home.verify();
    assert!(report.is_clean(), "being behind is no damage: {:?}", report.findings);
    assert!(!report.notices.is_empty());
    drop(home.open());
    assert_eq!(fs::read(home.witness("acme")).unwrap(), whole);
    assert_eq!(fs::read(home.witness("zeta")).unwrap(), fs::read(home.anchor("zeta")).unwrap());
}

#[test]
fn r121_a_witness_that_is_lost_or_cut_under_an_open_ledger_is_written_again() {
    let home = Home::with_history(40);
    let ledger = home.open();
    let mut head = 40;
    let mut sign = || {
        let entries = vec![entry("acme", head + 1)];
        head = ledger.append(Append { tenant: name("acme"), after: head, entries }).unwrap().last_seq;
        assert_eq!(ledger.checkpoint_now(&name("acme")).unwrap().missing.len(), 0);
        assert_eq!(fs::read(home.witness("acme")).unwrap(), fs::read(home.anchor("acme")).unwrap());
    };
    sign();
    let half = fs::metadata(home.witness("acme")).unwrap().len() / 2;
    fs::remove_file(home.witness("acme")).unwrap();
    sign();
    fs::OpenOptions::new().write(true).open(home.witness("acme")).unwrap().set_len(half).unwrap();
    sign();
    drop(ledger);
    let report = home.verify();
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn r121_a_checkpoint_is_said_to_lie_where_it_lies_now() {
    let home = Home::with_history(40);
    let ledger = home.open();
    let sign = || ledger.checkpoint_now(&name("acme")).unwrap();
    assert!(sign().missing.is_empty());
    let whole = fs::read(home.witness("acme")).unwrap();
    // Nothing was written since, so nothing new is signed; and still somebody has to look.
    for _ in 0..20 {
        fs::remove_file(home.witness("acme")).unwrap();
        assert!(sign().missing.is_empty());
        assert!(fs::read(home.witness("acme")).unwrap() == whole);
    }
    fs::remove_dir_all(&home.settings.witness_dirs[0]).unwrap();
    assert_eq!(sign().missing, home.settings.witness_dirs);
}

#[test]
fn r121_a_witness_folder_that_is_away_is_missed_and_not_made() {
    let home = Home::with_history(40);
    let witness = home.settings.witness_dirs[0].clone();
    let kept = home.dir.path().join("kept");
    fs::rename(&witness, &kept).unwrap();
    let ledger = home.open();
    let notices = ledger.health().notices;
    assert!(notices.len() == 1 && notices[0].contains("witness vouches for nothing"), "{notices:?}");
    let mut head = 40;
    let mut sign = || {
        let entries = vec![entry("acme", head + 1)];
        head = ledger.append(Append { tenant: name("acme"), after: head, entries }).unwrap().last_seq;
        ledger.checkpoint_now(&name("acme")).unwrap().missing
    };
    assert_eq!(sign(), home.settings.witness_dirs);
    let health = &ledger.health().anchors[1];
    assert!(health.last_error.as_ref().is_some_and(|error| error.contains("is not there")), "{health:?}");
    assert!(!witness.exists());
    fs::rename(&kept, &witness).unwrap();
    assert!(sign().is_empty());
    fs::rename(&witness, &kept).unwrap();
    assert_eq!(sign(), home.settings.witness_dirs);
    fs::rename(&kept, &witness).unwrap();
    drop(ledger);
    assert_eq!(fs::read(home.witness("acme")).unwrap(), fs::read(home.anchor("acme")).unwrap());
    // What is left where a disk was mounted is an empty folder: nothing is kept there, and it is missed each time.
    fs::remove_file(home.witness("acme")).unwrap();
    fs::remove_file(home.witness("zeta")).unwrap();
    for _ in 0..2 {
        let ledger = home.open();
        let notices = ledger.health().notices;
        assert!(notices.len() == 2 && notices[0].contains("no checkpoints of tenant acme"), "{notices:?}");
        assert_eq!(ledger.checkpoint_now(&name("acme")).unwrap().missing, home.settings.witness_dirs);
        let health = &ledger.health().anchors[1];
        let says = |error: &String| error.contains("is its disk away?");
        assert!(health.last_error.as_ref().is_some_and(says), "{health:?}");
        assert_eq!(anchor_files(&witness), Vec::<PathBuf>::new());
    }
    // Another folder in its place begins with a person's word.
    fs::remove_file(home.settings.anchors_dir.join("witnesses")).unwrap();
    let ledger = home.open();
    assert!(ledger.checkpoint_now(&name("acme")).unwrap().missing.is_empty());
    drop(ledger);
    assert_eq!(anchor_files(&witness).len(), 2);
    assert_eq!(home.open().health().notices, Vec::<String>::new());
}

fn anchor_files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect()
}

#[test]
fn r121_an_anchor_file_with_garbage_behind_its_notes_is_told_and_mended() {
    for garbage in [1, 600, 5_000] {
        let home = Home::with_history(40);
        let whole = fs::read(home.witness("acme")).unwrap();
        fs::write(home.witness("acme"), [&whole[..], &vec![0; garbage]].concat()).unwrap();
        let report = home.verify();
        assert_eq!(report.is_clean(), garbage < 4_096, "{garbage}: {:?}", report.findings);
        assert!(!report.is_clean() || report.notices.len() == 1, "{:?}", report.notices);
        drop(home.open());
        assert!(fs::read(home.witness("acme")).unwrap() == whole, "{garbage}");
        assert!(home.verify().is_clean());
    }
    // One in which no note can be found at all vouches for nothing, and that is said.
    let home = Home::with_history(40);
    fs::write(home.witness("acme"), vec![b'x'; 2 << 20]).unwrap();
    let ledger = home.open();
    let notices = ledger.health().notices;
    assert!(
        notices.len() == 1 && notices[0].contains("witness/acme.checkpoints vouches for nothing"),
        "{notices:?}"
    );
}

#[test]
fn r121_a_copy_of_an_anchor_file_beside_it_is_told_and_vouches_like_it() {
    let home = Home::with_history(40);
    let older = home.dir.path().join("older.db");
    fs::copy(home.path(), &older).unwrap();
    let ledger = home.open();
    ledger.append(Append { tenant: name("acme"), after: 40, entries: vec![entry("acme", 41)] }).unwrap();
    drop(ledger);
    let copy = home.witness("acme.old");
    fs::copy(home.witness("acme"), &copy).unwrap();
    let about = |notices: &[String]| {
        notices.len() == 1
            && notices[0].contains("acme.old.checkpoints")
            && notices[0].contains("tenant acme")
    };
    // Also when the copy is behind.
    for after in [41, 42] {
        let report = home.verify();
        assert!(report.is_clean(), "{:?}", report.findings);
        assert!(about(&report.notices), "{:?}", report.notices);
        let ledger = home.open();
        assert!(about(&ledger.health().notices), "{:?}", ledger.health().notices);
        ledger
            .append(Append { tenant: name("acme"), after, entries: vec![entry("acme", after + 1)] })
            .unwrap();
    }
    // A folder that somebody named has what they wanted, whatever its file is called.
    let elsewhere = home.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(&copy, elsewhere.join("acme-2026.checkpoints")).unwrap();
    let mut options = home.options();
    options.named = vec![elsewhere];
    options.tenant = Some(name("acme"));
    let report = options.run().unwrap();
    assert!(report.is_clean() && report.anchors_outside_home, "{:?}", report.findings);
    // One that is about nobody here, and one in the place of a tenant's own, are not copies.
    fs::copy(&copy, home.witness("zeta")).unwrap();
    assert!(matches!(open(&home), Err(OpenError::Forked { .. })));
    assert!(!home.verify().is_clean());
    // Where the copy alone is left, less history than it vouches for is not continued.
    home.forget_anchors_but(&copy);
    assert!(home.verify().is_clean());
    for kept in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{kept}", home.path().display()));
    }
    fs::copy(&older, home.path()).unwrap();
    assert!(!home.verify().is_clean());
    match open(&home) {
        Err(OpenError::BehindAnchor { anchor, tenant, .. }) => {
            assert_eq!((anchor, tenant.as_str()), (copy, "acme"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn r121_one_tenants_anchor_file_holds_up_no_other_tenant() {
    let home = Home::with_history(10);
    fs::remove_file(home.witness("acme")).unwrap();
    fs::create_dir(home.witness("acme")).unwrap();
    let ledger = home.open();
    for tenant in ["acme", "zeta"] {
        let entries = vec![entry(tenant, 11)];
        ledger.append(Append { tenant: name(tenant), after: 10, entries }).unwrap();
    }
    assert_eq!(ledger.checkpoint_now(&name("acme")).unwrap().missing, home.settings.witness_dirs);
    assert!(ledger.checkpoint_now(&name("zeta")).unwrap().missing.is_empty());
    let witness = &ledger.health().anchors[1];
    assert!(witness.last_error.as_ref().is_some_and(|error| error.contains("acme")), "{witness:?}");
}

#[test]
fn r121_a_folder_that_missed_thousands_of_checkpoints_catches_up() {
    let home = Home::new();
    let ledger = home.open();
    for seq in 1..=2_003 {
        let entries = vec![entry("acme", seq)];
        ledger.append_later(Append { tenant: name("acme"), after: seq - 1, entries });
        ledger.checkpoint_now(&name("acme")).unwrap();
    }
    drop(ledger);
    fs::write(home.witness("acme"), "").unwrap();
    drop(home.open());
    let (witness, own) = (fs::read(home.witness("acme")).unwrap(), fs::read(home.anchor("acme")).unwrap());
    assert!(own.windows(2).filter(|pair| pair == b"\n\n").count() > 4_000);
    assert!(witness == own);
}

#[test]
fn r124_a_name_in_the_database_that_is_none_becomes_no_path() {
    let home = Home::with_history(10);
    home.raw()
        .execute_batch(
            "INSERT INTO tenant (id, name, seal) VALUES (9, '../../out/x', zeroblob(32));
             INSERT INTO checkpoint SELECT 9, size, root, note FROM checkpoint WHERE tenant = 1",
        )
        .unwrap();
    let refused = open(&home);
    assert!(matches!(refused, Err(OpenError::Read(eparch_ledger::ReadError::Damaged { .. }))), "{refused:?}");
    let made: Vec<_> = fs::read_dir(home.dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(made.len(), 2, "{made:?}");
}

#[test]
fn r121_a_note_that_was_not_signed_here_reaches_no_witness() {
    let home = Home::with_history(10);
    let ledger = home.open();
    let before = fs::read(home.witness("acme")).unwrap();
    let append = |ledger: &Ledger, after: u64| {
        let entries = vec![entry("acme", after + 1)];
        ledger.append(Append { tenant: name("acme"), after, entries }).unwrap();
        ledger.checkpoint_now(&name("acme")).unwrap()
    };
    (10..12).for_each(|after| drop(append(&ledger, after)));
    drop(ledger);
    home.raw()
        .execute_batch("DROP TRIGGER checkpoint_no_update; UPDATE checkpoint SET note = replace(note, char(10), '!') WHERE tenant = 1 AND size = 11")
        .unwrap();
    // The folder is behind, so the note would go there.
    fs::write(home.witness("acme"), &before).unwrap();
    fs::remove_file(home.anchor("acme")).unwrap();
    let ledger = home.open();
    assert_eq!(append(&ledger, 12).missing.len(), 2);
    drop(ledger);
    assert_eq!(fs::read(home.witness("acme")).unwrap(), before);
}

#[test]
fn r121_a_journal_that_cannot_be_looked_at_gets_no_new_key() {
    let home = Home::new();
    fs::create_dir_all(home.path().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("journal.db", home.path()).unwrap();
    assert!(matches!(open(&home), Err(OpenError::Io { doing: "look at", .. })));
    assert!(!home.settings.keys_dir.exists());
}

#[test]
fn g1_an_anchor_folder_that_fails_is_reported_and_holds_up_nobody() {
    let home = Home::new();
    // A file where the folder should be: every attempt fails.
    fs::remove_dir(&home.settings.witness_dirs[0]).unwrap();
    fs::write(&home.settings.witness_dirs[0], "in the way").unwrap();
    let ledger = home.open();
    ledger.append(Append { tenant: name("acme"), after: 0, entries: vec![entry("acme", 1)] }).unwrap();
    let anchored = ledger.checkpoint_now(&name("acme")).unwrap();
    assert_eq!((anchored.size, anchored.missing), (1, home.settings.witness_dirs.clone()));
    let health = &ledger.health().anchors;
    assert!(health[0].last_error.is_none() && health[1].last_error.is_some() && health[1].failures > 0);
    fs::remove_file(&home.settings.witness_dirs[0]).unwrap();
    fs::create_dir(&home.settings.witness_dirs[0]).unwrap();
    drop(ledger);
    assert!(home.witness("acme").exists(), "closing tries once more");
}

#[test]
fn r121_the_schema_refuses_to_change_history() {
    let home = Home::with_history(60);
    let raw = home.raw();
    let tables = ["tenant", "entry", "subtree", "document", "checkpoint", "boot", "schema_migrations"];
    for table in tables {
        if table == "subtree" {
            raw.execute("INSERT INTO subtree VALUES (1, 1, 0, x'00')", []).unwrap();
        }
        let column = match table {
            "tenant" => "name",
            "entry" => "body",
            "subtree" => "hash",
            "document" => "kind",
            "checkpoint" => "note",
            "boot" => "version",
            _ => "digest",
        };
        let count = |sql: &str| raw.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let rows = count(&format!("SELECT count(*) FROM {table}"));
        assert!(rows > 0, "{table}");
        for change in [
            format!("UPDATE {table} SET {column} = {column}"),
            format!("UPDATE OR IGNORE {table} SET {column} = {column}"),
            format!("DELETE FROM {table}"),
        ] {
            let refused = raw.execute(&change, []).unwrap_err().to_string();
            assert!(refused.contains("history is append-only"), "{change}: {refused}");
        }
        // Putting a row over another, in every way SQL has for it.
        let columns: Vec<String> = raw
            .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let columns = columns.join(", ");
        for verb in ["INSERT", "INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE", "INSERT OR ROLLBACK"] {
            let change = format!("{verb} INTO {table} ({columns}) SELECT {columns} FROM {table} LIMIT 1");
            let refused = raw.execute(&change, []).unwrap_err().to_string();
            assert!(refused.contains("history"), "{change}: {refused}");
        }
        let upsert = format!(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} WHERE true ON CONFLICT DO UPDATE SET {column} = {column}"
        );
        assert!(raw.execute(&upsert, []).is_err());
        assert_eq!(count(&format!("SELECT count(*) FROM {table}")), rows);
    }
    let places = "INSERT INTO entry (place, body, leaf)";
    for (place, why) in [
        ((1i64 << 40) + 62, "gap"),
        (1 << 40, "gap"),
        ((7 << 40) + 1, "gap"),
        (-5, "gap"),
        ((1 << 40) + 60, "append-only"),
    ] {
        let refused =
            raw.execute(&format!("{places} VALUES ({place}, x'00', x'00')"), []).unwrap_err().to_string();
        assert!(refused.contains(why), "{place}: {refused}");
    }
    assert!(raw.execute(&format!("{places} VALUES (NULL, x'00', x'00')"), []).is_err());
}
