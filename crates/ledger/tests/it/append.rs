//! Appending: preconditions, batches, the outbox, documents, snapshots; compared with a plain list.

use std::time::{Duration, Instant};

use eparch_domain::{Digest, Name};
use eparch_ledger::{Append, EffectRef, NewDocument, NewEntry, Pending, SNAPSHOT_MAX, Snapshot, WriteError};
use proptest::prelude::*;

use crate::home::{Home, body, entry, name, save};

fn one(tenant: &str, after: u64) -> Append {
    Append { tenant: name(tenant), after, entries: vec![entry(tenant, after + 1)] }
}

fn wait(pending: Pending) -> Result<u64, WriteError> {
    pending.wait(Instant::now() + Duration::from_secs(10)).map(|appended| appended.last_seq)
}

#[test]
fn r121_entries_come_back_byte_for_byte_after_reopening() {
    let home = Home::new();
    for round in 0..3 {
        let ledger = home.open();
        assert_eq!(ledger.epoch(), round + 1);
        assert_eq!(ledger.head(&name("acme")).unwrap(), round * 300);
        for seq in round * 300..(round + 1) * 300 {
            ledger.append(one("acme", seq)).unwrap();
        }
    }
    let reader = eparch_ledger::Reader::open(home.path()).unwrap();
    let acme = name("acme");
    let entries: Vec<_> = reader.entries(&acme, 1).collect::<Result<_, _>>().unwrap();
    assert_eq!(entries.len(), 900);
    for (entry, seq) in entries.iter().zip(1..) {
        assert_eq!((entry.seq, &entry.body), (seq, &body("acme", seq)));
    }
    assert_eq!(reader.entries(&acme, 899).count(), 2);
    assert_eq!(reader.entry(&acme, 17).unwrap().unwrap().body, body("acme", 17));
    assert_eq!(reader.entry(&acme, 901).unwrap(), None);
    let report = home.verify();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.tenants[0].entries, 900);
    assert_eq!(report.tenants[0].beyond_last_anchor, 0, "closing signs the tail");
}

#[test]
fn r124_a_tenant_sees_only_its_own() {
    let home = Home::new();
    let ledger = home.open();
    let bytes = b"shared text".to_vec();
    let digest = Digest::of(&bytes);
    let documents = vec![NewDocument { digest, kind: "plan".into(), bytes }];
    let entries = vec![NewEntry { effects_due: 1, documents, ..entry("acme", 1) }];
    ledger.append(Append { tenant: name("acme"), after: 0, entries }).unwrap();
    ledger.append(one("zeta", 0)).unwrap();
    assert_eq!(ledger.head(&name("zeta")).unwrap(), 1);
    assert_eq!(ledger.outbox(&name("zeta")).unwrap(), []);
    assert_eq!(ledger.document(&name("zeta"), &digest).unwrap(), None);
    assert!(ledger.document(&name("acme"), &digest).unwrap().is_some());
    assert_eq!(ledger.head(&name("nobody")).unwrap(), 0);
    assert_eq!(ledger.read().page(&name("nobody"), 1, 10).unwrap(), []);
}

#[test]
fn r122_a_bad_request_does_not_sink_its_neighbours() {
    let home = Home::new();
    let ledger = home.open();
    // While the writer is busy with an answer the others gather, and share a commit; the bad ones are of every kind.
    let (go_on, wait_here) = std::sync::mpsc::channel::<()>();
    let (busy, is_busy) = std::sync::mpsc::channel();
    ledger.append_then(one("acme", 0), move |outcome| {
        busy.send(outcome.unwrap().last_seq).unwrap();
        let _ = wait_here.recv();
    });
    assert_eq!(is_busy.recv().unwrap(), 1);
    let commits = home.commits();
    let good = |tenant: &str, after| ledger.append_later(one(tenant, after));
    let first = good("acme", 1);
    let conflict = good("acme", 7);
    let empty = ledger.append_later(Append { tenant: name("acme"), after: 2, entries: vec![] });
    let half = ledger.append_later(Append {
        tenant: name("acme"),
        after: 2,
        entries: vec![
            entry("acme", 3),
            NewEntry { acknowledges: vec![EffectRef { seq: 1, idx: 0 }], ..entry("acme", 4) },
        ],
    });
    let liar = ledger.append_later(Append {
        tenant: name("fresh"),
        after: 0,
        entries: vec![NewEntry {
            documents: vec![NewDocument {
                digest: Digest::of(b"a"),
                kind: "plan".into(),
                bytes: b"b".to_vec(),
            }],
            ..entry("fresh", 1)
        }],
    });
    let second = good("acme", 2);
    let other = good("zeta", 0);
    go_on.send(()).unwrap();
    assert_eq!(wait(first).unwrap(), 2);
    assert!(matches!(wait(conflict), Err(WriteError::Conflict { expected: 7, found: 2 })));
    assert!(matches!(wait(empty), Err(WriteError::Empty)));
    assert!(matches!(wait(half), Err(WriteError::NotOutstanding { effect: EffectRef { seq: 1, idx: 0 } })));
    assert!(matches!(wait(liar), Err(WriteError::BadDocument { .. })));
    assert_eq!(wait(second).unwrap(), 3);
    assert_eq!(wait(other).unwrap(), 1);
    assert_eq!(home.commits() - commits, 1, "they were decided on together");
    assert_eq!(
        ledger.read().tenants().unwrap(),
        [name("acme"), name("zeta")],
        "nothing of a refused one is left"
    );
    drop(ledger);
    let report = home.verify();
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[test]
fn r122_the_outbox_holds_effects_until_their_results_are_written() {
    let home = Home::new();
    let acme = name("acme");
    let ledger = home.open();
    let entries = vec![
        NewEntry { effects_due: 3, ..entry("acme", 1) },
        NewEntry { effects_due: 1, ..entry("acme", 2) },
    ];
    ledger.append(Append { tenant: acme.clone(), after: 0, entries }).unwrap();
    let effect = |seq, idx| EffectRef { seq, idx };
    assert_eq!(ledger.outbox(&acme).unwrap(), [effect(1, 0), effect(1, 1), effect(1, 2), effect(2, 0)]);
    let done = NewEntry { acknowledges: vec![effect(1, 1), effect(2, 0)], ..entry("acme", 3) };
    ledger.append(Append { tenant: acme.clone(), after: 2, entries: vec![done.clone()] }).unwrap();
    assert_eq!(ledger.outbox(&acme).unwrap(), [effect(1, 0), effect(1, 2)]);
    let again = ledger.append(Append { tenant: acme.clone(), after: 3, entries: vec![done] });
    assert!(matches!(again, Err(WriteError::NotOutstanding { .. })), "a result is recorded once");
    drop(ledger);
    assert_eq!(home.open().outbox(&acme).unwrap(), [effect(1, 0), effect(1, 2)]);
}

#[test]
fn the_two_newest_snapshots_are_kept_and_a_damaged_one_is_passed_over() {
    let home = Home::new();
    let acme = name("acme");
    let ledger = home.open();
    let snapshot = |seq| Snapshot { seq, body: vec![u8::try_from(seq).unwrap(); 100] };
    assert!(matches!(save(&ledger, &acme, snapshot(0)), Err(WriteError::NoTenant(_))));
    for seq in 1..=4 {
        ledger.append(one("acme", seq - 1)).unwrap();
        save(&ledger, &acme, snapshot(seq)).unwrap();
    }
    assert!(matches!(save(&ledger, &acme, snapshot(5)), Err(WriteError::BeyondHead { seq: 5, head: 4 })));
    assert_eq!(ledger.snapshot(&acme).unwrap(), Some(snapshot(4)));
    assert_eq!(home.snapshots(), ["1-3", "1-4"]);
    let newest = home.snapshot("1-4");
    let whole = std::fs::read(&newest).unwrap();
    for damaged in [&whole[..whole.len() - 1], &whole[..20], &[], &whole[1..], &[&whole[..], b"x"].concat()] {
        std::fs::write(&newest, damaged).unwrap();
        assert_eq!(ledger.snapshot(&acme).unwrap(), Some(snapshot(3)));
    }
    // What is said to come after it is of another history: it does not take the place of what is kept.
    std::fs::rename(&newest, home.snapshot("1-9")).unwrap();
    ledger.append(one("acme", 4)).unwrap();
    save(&ledger, &acme, snapshot(5)).unwrap();
    assert_eq!(home.snapshots(), ["1-3", "1-5"]);
    assert_eq!(ledger.snapshot(&acme).unwrap(), Some(snapshot(5)));
}

#[test]
fn g1_a_state_too_large_to_be_saved_is_refused_and_told() {
    let home = Home::new();
    let acme = name("acme");
    let ledger = home.open();
    ledger.append(one("acme", 0)).unwrap();
    let small = Snapshot { seq: 1, body: b"state".to_vec() };
    save(&ledger, &acme, small.clone()).unwrap();
    ledger.append(one("acme", 1)).unwrap();
    // Told once, however often it is tried.
    for _ in 0..2 {
        let refused = save(&ledger, &acme, Snapshot { seq: 2, body: vec![0; SNAPSHOT_MAX + 1] }).unwrap_err();
        assert!(matches!(refused, WriteError::TooLong { limit: SNAPSHOT_MAX, .. }), "{refused:?}");
        assert!(refused.is_refusal());
    }
    let notices = ledger.health().notices;
    assert!(notices.len() == 1 && notices[0].contains("the state of tenant acme"), "{notices:?}");
    assert_eq!(ledger.snapshot(&acme).unwrap(), Some(small));
    ledger.append(one("acme", 2)).unwrap();
}

#[test]
fn g1_a_journal_that_cannot_be_written_refuses_until_reopened() {
    let home = Home::new();
    let ledger = home.open();
    ledger.append(one("acme", 0)).unwrap();
    let locked = home.raw();
    locked.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(ledger.append(one("acme", 1)), Err(WriteError::Busy)));
    locked.execute_batch("ROLLBACK").unwrap();
    ledger.append(one("acme", 1)).unwrap();
    // A table that is gone stands for a disk that fails: nothing the writer could know how to go on from.
    locked.execute_batch("ALTER TABLE subtree RENAME TO hidden; ALTER TABLE entry RENAME TO gone").unwrap();
    assert!(matches!(ledger.append(one("acme", 2)), Err(WriteError::Storage(_))));
    locked.execute_batch("ALTER TABLE gone RENAME TO entry; ALTER TABLE hidden RENAME TO subtree").unwrap();
    assert!(
        matches!(ledger.append(one("acme", 2)), Err(WriteError::Storage(_))),
        "not as if nothing had happened"
    );
    assert!(ledger.health().failure.is_some());
    assert_eq!(ledger.reopen(eparch_domain::Timestamp::from_millis(0)).unwrap(), 2);
    assert_eq!(ledger.append(one("acme", 2)).unwrap().last_seq, 3);
    assert_eq!((ledger.health().failure.is_none(), ledger.epoch()), (true, 2));
}

#[test]
fn g1_a_late_append_is_refused_and_not_carried_out_behind_its_callers_back() {
    let home = Home::new();
    let ledger = home.open();
    // The writer is kept busy by somebody's answer.
    let (go_on, wait_here) = std::sync::mpsc::channel::<()>();
    let (busy, is_busy) = std::sync::mpsc::channel();
    ledger.append_then(one("acme", 0), move |outcome| {
        busy.send(outcome.unwrap().last_seq).unwrap();
        let _ = wait_here.recv();
    });
    assert_eq!(is_busy.recv().unwrap(), 1);
    assert!(matches!(ledger.append(one("acme", 1)), Err(WriteError::Late)));
    go_on.send(()).unwrap();
    assert_eq!(ledger.append(one("zeta", 0)).unwrap().last_seq, 1);
    assert_eq!(ledger.head(&name("acme")).unwrap(), 1);
}

#[test]
fn g1_a_writer_that_another_has_followed_writes_nothing_more_and_does_not_come_back() {
    let home = Home::new();
    let ledger = home.open();
    ledger.append(one("acme", 0)).unwrap();
    // As a cleanup of `*.lock` does it: the next one to open takes another file for the lock.
    std::fs::remove_file(home.path().with_extension("db.lock")).unwrap();
    let other = home.open();
    assert_eq!(other.epoch(), 2);
    let fenced =
        |outcome: Result<u64, WriteError>| matches!(outcome, Err(WriteError::Fenced { ours: 1, found: 2 }));
    assert!(fenced(ledger.append(one("acme", 1)).map(|appended| appended.last_seq)));
    assert!(fenced(ledger.reopen(eparch_domain::Timestamp::from_millis(0))));
    assert!(fenced(ledger.append(one("acme", 1)).map(|appended| appended.last_seq)));
    assert!(fenced(ledger.checkpoint_now(&name("acme")).map(|signed| signed.size)));
    assert!(ledger.health().failure.is_some());
    assert_eq!(other.append(one("acme", 1)).unwrap().last_seq, 2);
    drop(ledger);
    assert_eq!(other.append(one("acme", 2)).unwrap().last_seq, 3);
    drop(other);
    assert!(home.verify().is_clean());
}

#[test]
fn g1_a_writer_that_failed_does_not_come_back_over_another_that_came_meanwhile() {
    let home = Home::new();
    let ledger = home.open();
    ledger.append(one("acme", 0)).unwrap();
    let raw = home.raw();
    raw.execute_batch("ALTER TABLE subtree RENAME TO hidden; ALTER TABLE entry RENAME TO gone").unwrap();
    assert!(matches!(ledger.append(one("acme", 1)), Err(WriteError::Storage(_))));
    raw.execute_batch("ALTER TABLE gone RENAME TO entry; ALTER TABLE hidden RENAME TO subtree").unwrap();
    std::fs::remove_file(home.path().with_extension("db.lock")).unwrap();
    let other = home.open();
    let reopened = ledger.reopen(eparch_domain::Timestamp::from_millis(0));
    assert!(matches!(reopened, Err(WriteError::Fenced { ours: 1, found: 2 })), "{reopened:?}");
    assert_eq!(other.append(one("acme", 1)).unwrap().last_seq, 2);
}

#[test]
fn r122_a_damaged_value_of_one_tenant_is_no_failure_of_the_journal() {
    let home = Home::with_history(10);
    let raw = home.raw();
    raw.execute_batch(
        "DROP TRIGGER entry_no_update; UPDATE entry SET leaf = zeroblob(31) WHERE tenant = 1 AND seq = 3",
    )
    .unwrap();
    drop(raw);
    std::fs::remove_file(home.anchor("acme")).unwrap();
    std::fs::remove_file(home.witness("acme")).unwrap();
    let ledger = home.open();
    let (damaged, sound) = (ledger.append_later(one("acme", 10)), ledger.append_later(one("zeta", 10)));
    let refused = wait(damaged).unwrap_err();
    assert!(matches!(refused, WriteError::Unreadable(_)) && refused.is_refusal(), "{refused:?}");
    assert_eq!(wait(sound).unwrap(), 11);
    assert!(ledger.health().failure.is_none());
}

#[test]
fn r121_a_tenant_that_cannot_be_signed_for_is_shown() {
    let home = Home::with_history(10);
    let raw = home.raw();
    raw.execute("INSERT INTO checkpoint SELECT tenant, 5000, root, note FROM checkpoint WHERE tenant = 2 AND size = 10", [])
        .unwrap();
    let ledger = home.open();
    let acme = ledger.append(one("acme", 10)).unwrap();
    assert_eq!((acme.last_seq, ledger.health().unsigned.len()), (11, 0));
    // Its history cannot be continued behind a checkpoint that it does not have.
    assert!(matches!(ledger.append(one("zeta", 10)), Err(WriteError::Unreadable(_))));
    raw.execute("INSERT INTO checkpoint SELECT tenant, 6000, root, note FROM checkpoint WHERE tenant = 1 AND size = 10", [])
        .unwrap();
    ledger.append(one("acme", 11)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while ledger.health().unsigned.is_empty() {
        assert!(Instant::now() < deadline, "the tail stays unsigned, and nobody is told");
        std::thread::yield_now();
    }
    assert!(ledger.health().unsigned.contains_key(&name("acme")));
    assert!(ledger.health().failure.is_none(), "entries are written all the same");
}

#[test]
fn g1_what_callers_gave_up_on_is_not_done_behind_their_backs() {
    let home = Home::new();
    let ledger = home.open();
    let (go_on, wait_here) = std::sync::mpsc::channel::<()>();
    let (busy, is_busy) = std::sync::mpsc::channel();
    ledger.append_then(one("acme", 0), move |outcome| {
        busy.send(outcome.unwrap().last_seq).unwrap();
        let _ = wait_here.recv();
    });
    assert_eq!(is_busy.recv().unwrap(), 1);
    let at = eparch_domain::Timestamp::from_millis(0);
    std::thread::scope(|scope| {
        let tries = [0; 4].map(|_| scope.spawn(|| ledger.reopen(at)));
        assert!(tries.into_iter().all(|one| matches!(one.join().unwrap(), Err(WriteError::Late))));
    });
    go_on.send(()).unwrap();
    assert_eq!(ledger.append(one("acme", 1)).unwrap().last_seq, 2);
    assert_eq!(ledger.epoch(), 1);
    let boots = home.raw().query_row("SELECT count(*) FROM boot", [], |row| row.get::<_, i64>(0));
    assert_eq!(boots, Ok(1), "no epoch that nobody knows of");
}

#[test]
fn g1_closing_does_not_wait_for_ever_for_a_disk_that_hangs_and_keeps_the_lock_meanwhile() {
    let home = Home::new();
    let ledger = home.open();
    let (go_on, wait_here) = std::sync::mpsc::channel::<()>();
    let (ended, has_ended) = std::sync::mpsc::channel::<()>();
    ledger.append_then(one("acme", 0), move |_| {
        let _ = wait_here.recv();
        drop(ended);
    });
    drop(ledger);
    let again = eparch_ledger::Ledger::open(&home.settings, eparch_domain::Timestamp::from_millis(0), "test");
    assert!(matches!(again, Err(eparch_ledger::OpenError::Held { .. })), "{again:?}");
    go_on.send(()).unwrap();
    assert!(has_ended.recv().is_err());
}

#[test]
fn r122_damaged_work_in_progress_is_made_anew_by_the_next_boot_and_told() {
    let acme = name("acme");
    for damage in [
        "UPDATE tally SET outbox = x'01' WHERE tenant = 1",
        "UPDATE tally SET outbox = zeroblob(32) WHERE tenant = 1",
        "UPDATE outbox SET seal = zeroblob(32) WHERE tenant = 1 AND idx = 0",
        "DELETE FROM outbox WHERE tenant = 1 AND idx = 1",
    ] {
        let home = Home::with_history(120);
        home.raw().execute_batch(damage).unwrap();
        assert!(!home.verify().is_clean(), "{damage}");
        let ledger = home.open();
        let due = ledger.outbox(&acme).unwrap();
        assert!(due.is_empty(), "{damage}: {due:?}");
        assert_eq!(ledger.outbox(&name("zeta")).unwrap().len(), 6, "the other tenant's is as it was");
        assert!(ledger.health().notices[0].contains("of tenant acme"), "{:?}", ledger.health().notices);
        let done = NewEntry { effects_due: 1, ..entry("acme", 121) };
        ledger.append(Append { tenant: acme.clone(), after: 120, entries: vec![done] }).unwrap();
        assert_eq!(ledger.outbox(&acme).unwrap().len(), 1);
        drop(ledger);
        let report = home.verify();
        assert!(report.is_clean(), "{damage}: {:?}", report.findings);
        assert!(report.notices[0].contains("boot 3 found damaged"), "{:?}", report.notices);
        // It stays on record, which is signed.
        home.raw()
            .execute_batch("DROP TRIGGER boot_no_update; UPDATE boot SET repaired = '' WHERE epoch = 3")
            .unwrap();
        assert!(!home.verify().is_clean());
    }
}

#[test]
fn g1_a_journal_that_lost_what_was_vouched_for_is_not_reopened() {
    let home = Home::new();
    let ledger = home.open();
    for seq in 0..3 {
        ledger.append(one("acme", seq)).unwrap();
    }
    assert_eq!(ledger.checkpoint_now(&name("acme")).unwrap().missing.len(), 0);
    let raw = home.raw();
    raw.execute_batch("DROP TRIGGER entry_no_delete; DELETE FROM entry WHERE seq = 3").unwrap();
    drop(raw);
    let refused = ledger.reopen(eparch_domain::Timestamp::from_millis(0)).unwrap_err();
    assert!(matches!(refused, WriteError::Reopen(_)));
    assert!(matches!(ledger.append(one("acme", 2)), Err(WriteError::Reopen(_))));
}

#[test]
fn r121_entries_behind_a_checkpoint_of_the_same_batch_are_signed_within_a_second() {
    let home = Home::new();
    let ledger = home.open();
    let acme = name("acme");
    ledger.append(one("acme", 0)).unwrap();
    let (go_on, wait_here) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        ledger.append_then(one("acme", 1), move |_| {
            let _ = wait_here.recv();
        });
        let asked = scope.spawn(|| ledger.checkpoint_now(&acme).unwrap());
        let pending = ledger.append_later(one("acme", 2));
        go_on.send(()).unwrap();
        wait(pending).unwrap();
        assert!(asked.join().unwrap().size >= 2);
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    let signed = |size: &str| {
        ledger.read().checkpoint(&acme).unwrap().is_some_and(|note| note.lines().nth(1) == Some(size))
    };
    while !signed("3") {
        assert!(Instant::now() < deadline, "the tail was never signed");
        std::thread::yield_now();
    }
}

#[test]
fn r120_entries_are_read_a_page_at_a_time() {
    let home = Home::with_history(30);
    let reader = eparch_ledger::Reader::open(home.path()).unwrap();
    let seqs = |from, limit| -> Vec<u64> {
        reader.page(&name("acme"), from, limit).unwrap().into_iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(seqs(0, 3), [1, 2, 3]);
    assert_eq!(seqs(4, 3), [4, 5, 6]);
    assert_eq!(seqs(29, 3), [29, 30]);
    assert!(seqs(31, 3).is_empty());
    assert!(seqs(1, 0).is_empty());
    assert!(seqs(u64::MAX, u64::MAX).is_empty());
}

#[test]
fn r120_a_page_of_large_entries_is_short() {
    let home = Home::new();
    let ledger = home.open();
    let acme = name("acme");
    let large = |mebibytes: usize| NewEntry { body: vec![b' '; mebibytes << 20], ..NewEntry::default() };
    let entries = std::iter::once(large(20)).chain((0..20).map(|_| large(1))).collect();
    ledger.append(Append { tenant: acme.clone(), after: 0, entries }).unwrap();
    let reader = ledger.read();
    let seqs = |from| -> Vec<u64> {
        reader.page(&acme, from, 4_096).unwrap().into_iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(seqs(1), [1], "never none where there is one");
    assert_eq!(seqs(2), (2..10).collect::<Vec<_>>());
    assert_eq!(seqs(18), (18..22).collect::<Vec<_>>());
    assert!(seqs(22).is_empty());
    assert!(reader.entries(&acme, 1).map(|entry| entry.unwrap().seq).eq(1..22));
}

#[test]
fn entries_before_a_damaged_one_are_given() {
    let home = Home::with_history(30);
    home.raw()
        .execute_batch(
            "DROP TRIGGER entry_no_update; UPDATE entry SET body = x'7b7d' WHERE tenant = 1 AND seq = 21",
        )
        .unwrap();
    let reader = eparch_ledger::Reader::open(home.path()).unwrap();
    let acme = name("acme");
    let read: Vec<_> = reader.entries(&acme, 3).collect();
    assert_eq!(read.len(), 19);
    assert!(read[..18].iter().zip(3..).all(|(entry, seq)| entry.as_ref().unwrap().seq == seq));
    assert!(matches!(read[18], Err(eparch_ledger::ReadError::Damaged { seq: 21, .. })));
    let (sound, problem) = reader.sound_page(&acme, 11, 100);
    assert_eq!((sound.len(), problem.is_some()), (10, true));
    assert!(reader.page(&acme, 11, 100).is_err());
    assert_eq!(reader.page(&acme, 11, 10).unwrap().len(), 10);
}

#[derive(Debug, Clone)]
struct Step {
    tenant: usize,
    stale: bool,
    count: usize,
    effects: u16,
    acknowledge: bool,
    document: Option<u8>,
    reopen: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (
        0..3usize,
        prop::bool::weighted(0.1),
        1..20usize,
        0..3u16,
        any::<bool>(),
        prop::option::of(0..5u8),
        0..40u8,
    )
        .prop_map(|(tenant, stale, count, effects, acknowledge, document, reopen)| Step {
            tenant,
            stale,
            count,
            effects,
            acknowledge,
            document,
            reopen: reopen == 0,
        })
}

#[derive(Default)]
struct Model {
    bodies: Vec<Vec<u8>>,
    outbox: Vec<EffectRef>,
    documents: Vec<u8>,
}

fn naive_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [one] => *one,
        many => {
            let middle = many.len().next_power_of_two() / 2;
            eparch_ledger::tree::node_hash(&naive_root(&many[..middle]), &naive_root(&many[middle..]))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn r121_random_appends_equal_a_plain_list(steps in prop::collection::vec(step(), 1..60)) {
        let home = Home::new();
        let names: Vec<Name> = ["acme", "beta", "zeta"].into_iter().map(name).collect();
        let mut models: Vec<Model> = names.iter().map(|_| Model::default()).collect();
        let mut ledger = home.open();
        for step in steps {
            if step.reopen {
                drop(ledger);
                ledger = home.open();
            }
            let (tenant, model) = (&names[step.tenant], &mut models[step.tenant]);
            let head = model.bodies.len() as u64;
            let after = if step.stale { head + 1 } else { head };
            let mut entries: Vec<NewEntry> =
                (1..=step.count as u64).map(|n| entry(tenant.as_str(), head + n)).collect();
            entries[0].effects_due = step.effects;
            if step.acknowledge {
                entries[0].acknowledges = model.outbox.iter().copied().take(2).collect();
            }
            if let Some(kind) = step.document {
                let bytes = vec![kind; 10];
                entries[0].documents = vec![NewDocument { digest: Digest::of(&bytes), kind: "plan".into(), bytes }];
            }
            let outcome = ledger.append(Append { tenant: tenant.clone(), after, entries: entries.clone() });
            if step.stale {
                let conflict = matches!(outcome, Err(WriteError::Conflict { .. }));
                prop_assert!(conflict);
                continue;
            }
            prop_assert_eq!(outcome.unwrap().first_seq, head + 1);
            model.outbox.retain(|effect| !entries[0].acknowledges.contains(effect));
            model.outbox.extend((0..step.effects).map(|idx| EffectRef { seq: head + 1, idx }));
            model.documents.extend(step.document.filter(|kind| !model.documents.contains(kind)));
            model.bodies.extend(entries.into_iter().map(|entry| entry.body));
        }
        for (tenant, model) in names.iter().zip(&models) {
            prop_assert_eq!(&ledger.outbox(tenant).unwrap(), &model.outbox);
            let bodies: Vec<Vec<u8>> =
                ledger.read().entries(tenant, 1).map(|entry| entry.unwrap().body).collect();
            prop_assert_eq!(&bodies, &model.bodies);
            for kind in 0..5u8 {
                let kept = ledger.document(tenant, &Digest::of(&[kind; 10])).unwrap();
                prop_assert_eq!(kept.is_some(), model.documents.contains(&kind));
            }
        }
        drop(ledger);
        let report = home.verify();
        prop_assert!(report.is_clean(), "{:?}", report.findings);
        for found in &report.tenants {
            let model = &models[names.iter().position(|name| name.as_str() == found.tenant).unwrap()];
            let leaves: Vec<_> = model.bodies.iter().map(|body| eparch_ledger::tree::leaf_hash(body)).collect();
            prop_assert_eq!(found.root.as_bytes(), &naive_root(&leaves));
            prop_assert_eq!(found.beyond_last_anchor, 0);
        }
    }
}
