//! A tenant that is stopped: when it is tried again, and when it is left alone.

use super::*;

#[test]
fn a_driver_whose_journal_was_taken_over_ends() {
    let driven = drive(Memory::default());
    driven.began();
    {
        let mut kept = driven.journal.kept();
        (kept.fails_in, kept.leaves, kept.taken_over) = (Some(0), Some(Left::TakenOver), true);
    }
    let answer = driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    assert!(matches!(answer, SubmitError::Ledger(_)), "{answer}");
    driven.thread.join().unwrap();
    let answer = driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    assert!(matches!(answer, SubmitError::Gone), "{answer}");
}

#[test]
fn a_stopped_tenant_notices_by_itself_that_its_disk_is_well_again() {
    let driven = drive(Memory::default());
    driven.began();
    {
        let mut kept = driven.journal.kept();
        (kept.fails_in, kept.stays_shut) = (Some(0), 2);
    }
    driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    // Nobody says anything from here on.
    assert_eq!(driven.began(), 2);
    assert_eq!(driven.end().boots(), 2);
}

#[test]
fn a_stopped_tenant_says_why_it_cannot_be_rebuilt() {
    let driven = drive(Memory::default());
    driven.began();
    driven.agents();
    {
        let mut kept = driven.journal.kept();
        (kept.fails_in, kept.leaves) = (Some(0), Some(Left::Nothing));
        kept.documents.clear();
    }
    driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    let refused = driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    assert!(refused.to_string().contains(&three().digest().to_string()), "{refused}");
    let told = driven.next(|told| if let Told::Unable(why) = told { Some(why) } else { None });
    assert!(told.contains("definition"), "{told}");
    driven.end();
}

#[test]
fn a_stopped_tenant_is_left_alone_by_whoever_only_looks_now_and_then() {
    let journal = Memory::default();
    let (to, told) = channel();
    let (mut driver, _handle) = Driver::new(core(&journal), 8, Arc::new(ManualClock::default()), |_| Ear(to));
    driver.begin_epoch();
    (journal.kept().fails_in, journal.kept().stays_shut) = (Some(0), 1);
    driver.turn(vec![(Event::ClockTurned.into(), None)]);
    driver.settle();
    let (due, boots) = (driver.retry_at, journal.boots());
    let look = |driver: &mut Driver<Memory, Ear>, retry| {
        let (to, seen) = channel();
        let look: handle::Look = Box::new(move |governor| to.send(governor.is_ok()).unwrap());
        driver.take(Message::Look(look, retry), &mut Vec::new());
        seen.recv().unwrap()
    };
    for _ in 0..10 {
        assert!(!look(&mut driver, Retry::InTime));
    }
    assert_eq!((driver.retry_at, journal.boots()), (due, boots), "neither tried nor put off");
    assert!(look(&mut driver, Retry::Now));
    assert_eq!(journal.boots(), boots + 1);
    drop(told);
}

#[test]
fn a_journal_that_fails_with_everything_is_not_given_epoch_after_epoch() {
    let driven = drive(Memory::default());
    driven.began();
    driven.journal.kept().fails_in = Some(0);
    driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    assert_eq!(driven.began(), 2);
    driven.journal.kept().fails_in = Some(0);
    driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
    // It is left alone now, until its time has come or somebody wants something.
    assert_eq!(driven.end().boots(), 2);
}

/// Somebody who looks at what is slow, again and again, holds up no decision.
#[test]
fn g1_a_decision_does_not_wait_for_all_who_look() {
    let journal = Memory::default();
    let (to, told) = channel();
    let (driver, handle) = Driver::new(core(&journal), 8, Arc::new(ManualClock::default()), |_| Ear(to));
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let order = order.clone();
        move || order.lock().unwrap().push(what)
    };
    let decided = note("decided");
    handle.submit(Event::ClockTurned.into(), move |_| decided());
    for _ in 0..10 {
        let looked = note("looked");
        let slow = move || {
            let begun = Instant::now();
            while begun.elapsed() < limits::COMMIT_GATHER.as_duration() {
                std::hint::spin_loop();
            }
            looked();
        };
        let look = Message::Look(Box::new(move |_| slow()), Retry::Now);
        assert!(handle.to.send(look.lane(), look).is_ok());
    }
    handle.stop();
    driver.run();
    let order = order.lock().unwrap();
    assert_eq!(order.iter().position(|what| *what == "decided"), Some(1), "{order:?}");
    assert_eq!(order.len(), 11);
    drop(told);
}

/// F7: however much agents ask, what takes authority away is decided on first, and who asks for it is found out before.
#[test]
fn f7_a_revocation_does_not_wait_behind_those_who_have_authority() {
    let journal = Memory::default();
    let (to, told) = channel();
    let (driver, handle) = Driver::new(core(&journal), 8, Arc::new(ManualClock::default()), |_| Ear(to));
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let order = order.clone();
        move || order.lock().unwrap().push(what)
    };
    for _ in 0..3 * limits::COMMIT_BATCH {
        let asked = note("asked");
        handle.submit(Event::ClockTurned.into(), move |_| asked());
    }
    let (ada, reason) = (Name::new("ada").unwrap(), "enough".to_owned());
    let stop = Event::StopRequested { run: RunId::from_bits(1), by: ada, reason };
    assert!(stop.takes_authority_away());
    let stopped = note("stopped");
    handle.submit(stop.into(), move |_| stopped());
    let glanced = note("glanced");
    let glance = Message::Look(Box::new(move |_| glanced()), Retry::InTime);
    assert!(handle.to.send(glance.lane(), glance).is_ok());
    handle.stop();
    driver.run();
    // A glance sees what is durable, so that it is over before anything of the same batch is.
    assert_eq!(order.lock().unwrap()[..3], ["glanced", "stopped", "asked"]);
    drop(told);
}
