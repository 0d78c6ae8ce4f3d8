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
fn g1_what_is_asked_while_a_state_is_saved_is_not_late() {
    let home = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&Settings::in_home(home.path()), Timestamp::from_millis(0), "test").unwrap();
    let acme = Name::new("acme").unwrap();
    let one = |after| {
        let entry = crate::entry::NewEntry { body: b"{}".to_vec(), ..Default::default() };
        Append { tenant: acme.clone(), after, entries: vec![entry] }
    };
    // The writer is kept busy as by a save that takes longer than an append may.
    let (go_on, wait_here) = sync_channel::<()>(1);
    let (busy, is_busy) = sync_channel(1);
    ledger.append_then(one(0), move |_| {
        busy.send(()).unwrap();
        let _ = wait_here.recv();
    });
    is_busy.recv().unwrap();
    let deadline = limits::LEDGER_WRITE_DEADLINE.as_duration();
    assert!(ledger.condition.saving(Instant::now() + deadline));
    let (tell, told) = sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(|| tell.send(ledger.append(one(1)).map(|made| made.last_seq)).unwrap());
        let early = told.recv_timeout(deadline + deadline / 4);
        assert!(early.is_err(), "it is not given up: {early:?}");
        ledger.condition.saved();
        go_on.send(()).unwrap();
        assert_eq!(told.recv().unwrap().unwrap(), 2);
    });
    assert_eq!(ledger.head(&acme).unwrap(), 2);
}
