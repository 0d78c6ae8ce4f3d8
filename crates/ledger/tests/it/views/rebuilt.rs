//! Views are made from the journal, from wherever they were and whatever became of their file.

use std::fs;

use eparch_ledger::views::{Views, ViewsError};
use eparch_ledger::{NewEntry, Reader};

use super::story::Story;
use super::{dump, eventful};
use crate::home::{Home, body, name};

#[test]
fn r113_rebuilt_views_are_the_followed_ones() {
    let story = eventful();
    let mut views = story.followed();
    let followed = dump(&story);
    let head = story.head();
    assert_eq!(views.rebuild(&story.ledger().read(), &story.tenant).unwrap(), head);
    assert_eq!(dump(&story), followed);
    drop(views);
    fs::remove_file(story.views_path()).unwrap();
    drop(story.followed());
    assert_eq!(dump(&story), followed);
}

#[test]
fn r113_following_in_any_steps_leads_to_the_same() {
    let story = eventful();
    drop(story.followed());
    let at_once = dump(&story);
    drop(story);
    // The same story, with the views closed and opened again after every entry.
    let story = Story::new();
    let source = eventful();
    for seq in story.head() + 1..=source.head() {
        let entry = source.ledger().read().entry(&source.tenant, seq).unwrap().unwrap();
        let definitions = source.records[usize::try_from(seq).unwrap() - 1].definitions();
        let documents = definitions.map(|digest| {
            let bytes = source.ledger().document(&source.tenant, &digest).unwrap().unwrap().bytes;
            eparch_ledger::NewDocument { digest, kind: "pipeline".into(), bytes }
        });
        story.append(NewEntry { body: entry.body, documents: documents.collect(), ..NewEntry::default() });
        drop(story.followed());
    }
    assert_eq!(dump(&story), at_once);
}

#[test]
fn r111_damaged_views_are_made_anew() {
    let story = eventful();
    drop(story.followed());
    let good = dump(&story);
    let file = fs::read(story.views_path()).unwrap();
    let damages: Vec<(&str, Vec<u8>)> = vec![
        ("text", b"this is no database, but long enough to look like a file with something in it".to_vec()),
        ("empty", Vec::new()),
        ("cut", file[..file.len() / 2].to_vec()),
        ("header", [&[0x55; 64], &file[64..]].concat()),
        (
            "pages",
            file.iter()
                .enumerate()
                .map(|(at, byte)| if at > 8_192 && at % 512 == 0 { !byte } else { *byte })
                .collect(),
        ),
    ];
    for (what, bytes) in damages {
        fs::write(story.views_path(), bytes).unwrap();
        let views = story.followed();
        assert!(views.started_over().is_some(), "{what}");
        drop(views);
        assert_eq!(dump(&story), good, "{what}");
    }
}

#[test]
fn r118_views_of_another_version_are_made_anew() {
    let story = eventful();
    drop(story.followed());
    let good = dump(&story);
    for change in [
        "PRAGMA user_version = 99",
        "PRAGMA user_version = 2",
        "UPDATE schema_migrations SET digest = zeroblob(32) WHERE version = 3",
        "ALTER TABLE schema_migrations RENAME COLUMN digest TO hash",
        "PRAGMA application_id = 7",
    ] {
        let connection = rusqlite::Connection::open(story.views_path()).unwrap();
        connection.execute_batch(change).unwrap();
        drop(connection);
        let views = story.followed();
        assert!(views.started_over().is_some(), "{change}");
        drop(views);
        assert_eq!(dump(&story), good, "{change}");
    }
}

#[test]
fn damage_that_shows_while_following_is_put_right() {
    let mut story = eventful();
    let mut views = story.followed();
    let (_, record) = story.ask_for_run(9, "ann", "staging");
    story.follow(&mut views);
    let agent = Story::prepared(&record)["plan"];
    // Somebody writes into the file while it is open.
    let raw = rusqlite::Connection::open(story.views_path()).unwrap();
    let bad = "INSERT INTO agent_outputs VALUES ('default', ?1, 'bad', 'no JSON', 1, '')";
    raw.execute(bad, [agent.to_string()]).unwrap();
    drop(raw);
    story.live(agent);
    story.follow(&mut views);
    assert!(views.started_over().is_some());
    drop(views);
    let healed = dump(&story);
    fs::remove_file(story.views_path()).unwrap();
    drop(story.followed());
    assert_eq!(dump(&story), healed);
}

#[test]
fn r113_rebuilding_makes_the_file_anew_whatever_is_wrong_with_it() {
    let story = eventful();
    drop(story.followed());
    let good = dump(&story);
    for damage in [
        "DROP TABLE artifacts",
        "DROP TABLE votes; DROP TABLE approvals",
        "DROP INDEX runs_by_age",
        "PRAGMA foreign_keys = OFF; INSERT INTO stages (tenant_id, run_id, ix, name, kind, status, requires, journal_seq, ts) \
         VALUES ('default', 'run_none', 0, 'x', 'agent', 'pending', '[]', 1, '')",
        "DELETE FROM runs",
        "CREATE TRIGGER quiet AFTER INSERT ON runs BEGIN DELETE FROM runs; END",
    ] {
        let mut views = story.followed();
        let raw = rusqlite::Connection::open(story.views_path()).unwrap();
        raw.execute_batch(damage).unwrap();
        drop(raw);
        let head = story.head();
        assert_eq!(views.rebuild(&story.ledger().read(), &story.tenant).unwrap(), head, "{damage}");
        assert_eq!(dump(&story), good, "{damage}");
        let left: Vec<_> = fs::read_dir(story.views_path().parent().unwrap())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".new"))
            .collect();
        assert_eq!(left, Vec::<String>::new());
    }
    // A file whose tables are not those that its version names is not even opened.
    let raw = rusqlite::Connection::open(story.views_path()).unwrap();
    raw.execute_batch("DROP INDEX runs_by_age").unwrap();
    drop(raw);
    assert!(story.followed().started_over().is_some());
    assert_eq!(dump(&story), good);
}

#[test]
fn a_table_that_is_lost_under_open_views_is_put_right_by_following() {
    let mut story = eventful();
    let mut views = story.followed();
    let raw = rusqlite::Connection::open(story.views_path()).unwrap();
    raw.execute_batch("DROP TABLE violations; DROP TABLE agents").unwrap();
    drop(raw);
    story.ask_for_run(9, "ann", "staging");
    story.follow(&mut views);
    assert!(views.started_over().is_some());
    drop(views);
    let healed = dump(&story);
    fs::remove_file(story.views_path()).unwrap();
    drop(story.followed());
    assert_eq!(dump(&story), healed);
}

#[test]
fn an_entry_that_is_no_record_is_named_and_everything_before_it_is_seen() {
    let mut story = Story::new();
    let run = story.whole_run(1);
    let good = story.head();
    story.append(NewEntry { body: body("default", 1), ..NewEntry::default() });
    let mut views = story.views();
    for _ in 0..2 {
        let failed = views.follow(&story.ledger().read(), &story.tenant);
        assert!(matches!(failed, Err(ViewsError::Record { seq, .. }) if seq == good + 1));
        assert_eq!(views.seq(&story.tenant).unwrap(), good);
    }
    assert!(views.run(&story.tenant, run).unwrap().is_some());
}

#[test]
fn r113_views_of_another_history_are_not_continued() {
    let (mut story, mut other) = (Story::new(), Story::new());
    story.whole_run(1);
    other.whole_run(2);
    drop(other.followed());
    drop(story.followed());
    let good = dump(&story);
    fs::copy(other.views_path(), story.views_path()).unwrap();
    let views = story.followed();
    assert!(views.started_over().is_some());
    drop(views);
    assert_eq!(dump(&story), good);
}

#[test]
fn following_an_empty_journal_is_nothing() {
    let home = Home::new();
    let ledger = home.open();
    let reader: Reader = ledger.reader().unwrap();
    let mut views = Views::open(&home.dir.path().join("views.db")).unwrap();
    assert_eq!(views.follow(&reader, &name("nobody")).unwrap(), 0);
    assert_eq!(views.latest_run(&name("nobody")).unwrap(), None);
}
