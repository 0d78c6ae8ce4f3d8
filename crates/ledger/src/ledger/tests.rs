//! Who shares a ledger, and how long it is waited for.

use super::*;

#[test]
fn a_ledger_is_shared_between_threads_and_a_reader_is_handed_over() {
    fn shared<T: Send + Sync>() {}
    fn handed_over<T: Send>() {}
    shared::<Ledger>();
    handed_over::<Reader>();
    handed_over::<Pending>();
}

#[test]
fn g1_nobody_who_appends_waits_for_a_state_that_is_saved() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings::in_home(home.path());
    let ledger = Ledger::open(&settings, Timestamp::from_millis(0), "test").unwrap();
    let acme = Name::new("acme").unwrap();
    let one = |after| {
        let entry = crate::entry::NewEntry { body: b"{}".to_vec(), ..Default::default() };
        Append { tenant: acme.clone(), after, entries: vec![entry] }
    };
    let state = |to: &mut dyn Write| to.write_all(b"state");
    ledger.append(one(0)).unwrap();
    ledger.save_snapshot(&acme, 1, state).unwrap();
    // A pipe that nobody reads from: whoever opens it to write hangs, as on a disk that does.
    let snapshots = with_suffix(&settings.path, ".snapshots");
    let pipe = snapshots.join("unfinished");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::thread::scope(|scope| {
        let saved = scope.spawn(|| ledger.save_snapshot(&acme, 1, state));
        while !ledger.saving.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        assert_eq!(ledger.append(one(1)).unwrap().last_seq, 2);
        let second = ledger.save_snapshot(&acme, 1, state);
        assert!(matches!(second, Err(WriteError::Late)), "one at a time: {second:?}");
        let read_end = fs::File::open(&pipe).unwrap();
        let failed = saved.join().unwrap();
        assert!(matches!(failed, Err(WriteError::State(_))), "a pipe cannot be made durable: {failed:?}");
        drop(read_end);
    });
    assert!(!pipe.exists(), "what is not whole takes up no room");
    let notices = ledger.health().notices;
    assert!(
        notices.len() == 1 && notices[0].contains("the state of tenant acme is not saved"),
        "{notices:?}"
    );
    let before = Some(Snapshot { seq: 1, body: b"state".to_vec() });
    assert_eq!(ledger.snapshot(&acme).unwrap(), before, "what was saved before is there still");
    ledger.save_snapshot(&acme, 2, state).unwrap();
    assert_eq!(ledger.snapshot(&acme).unwrap().unwrap().seq, 2);
}
