//! What becomes of commits that fail, and of whoever asked.

use super::*;

#[test]
fn g1_what_was_written_is_found_however_short_the_pages_are() {
    let journal = Memory::default();
    let mut core = core(&journal);
    let inputs: Vec<Input> =
        vec![core.boot(1).unwrap(), Event::ClockTurned.into(), Event::ClockTurned.into()];
    let done = core.turn(&inputs, Moment::default()).unwrap();
    let found = |done: &[Done]| crate::driver::core::was_written(&journal, core.tenant(), done).unwrap();
    assert!(done.len() > PAGE && found(&done) && !found(&[]));
    let last = done.last().unwrap();
    let beyond = Done { seq: last.seq + 1, record: last.record.clone() };
    assert!(!found(&[&done[..], &[beyond]].concat()), "more than there is");
    let other = Done { seq: last.seq, record: done[0].record.clone() };
    assert!(!found(&[&done[..PAGE], &[other]].concat()), "something else at its end");
}

#[test]
fn g7_one_failed_commit_with_agents_in_flight_is_one_new_epoch() {
    let driven = drive(Memory::default());
    assert_eq!(driven.began(), 1);
    let agents = driven.agents();
    driven.journal.kept().fails_in = Some(0);
    let (at, agent) = agents[0];
    driven.handle.decide(failed(agent, at)).unwrap_err();
    driven.next(|told| matches!(told, Told::Stopped).then_some(()));
    assert_eq!(driven.began(), 2);
    let reaps: Vec<_> = (0..3)
        .map(|_| {
            driven.next(|told| match told {
                Told::Do(at, Effect::Reap { agent, .. }) => Some((at.unwrap(), agent)),
                _ => None,
            })
        })
        .collect();
    // What was under way in the first epoch reports only now, and to nobody's harm.
    for (at, agent) in &agents {
        driven.handle.decide(failed(*agent, *at)).unwrap();
    }
    for (at, agent) in reaps {
        let event = Event::TreeProvenDead { agent, killed: true };
        let report = Input { acknowledges: vec![at], ..event.into() };
        // The same word twice settles it once.
        driven.handle.decide(report.clone()).unwrap();
        driven.handle.decide(report).unwrap();
    }
    let journal = driven.end();
    assert_eq!((journal.boots(), journal.kept().epoch), (2, 2));
}

#[test]
fn g1_whoever_asked_is_told_what_became_of_a_commit_that_failed() {
    for (writes_all_the_same, leaves) in
        [(false, Left::Nothing), (false, Left::Unknown), (true, Left::Unknown)]
    {
        let driven = drive(Memory::default());
        driven.began();
        {
            let mut kept = driven.journal.kept();
            (kept.fails_in, kept.leaves, kept.writes_all_the_same) =
                (Some(0), Some(leaves), writes_all_the_same);
        }
        let answer = driven.handle.decide(Event::ClockTurned.into());
        let head = driven.journal.kept().entries.len() as u64;
        match answer {
            Ok(done) => {
                assert_eq!((writes_all_the_same, done.seq), (true, head - 1), "the boot came after it")
            }
            Err(SubmitError::Ledger(_)) => assert!(!writes_all_the_same),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(driven.end().boots(), 2);
    }
}

#[test]
fn g1_nobody_is_told_that_nothing_was_done_while_that_is_open() {
    for writes_all_the_same in [false, true] {
        let driven = drive(Memory::default());
        driven.began();
        {
            let mut kept = driven.journal.kept();
            (kept.fails_in, kept.writes_all_the_same, kept.stays_shut) = (Some(0), writes_all_the_same, 1);
        }
        let answer = driven.handle.decide(Event::ClockTurned.into()).unwrap_err();
        assert!(matches!(answer, SubmitError::Unknown(_)), "{answer}");
        driven.end();
    }
}

#[test]
fn a_key_whose_decision_was_open_is_settled_once_the_ledger_says_what_became_of_it() {
    let ada = Name::new("ada").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for written in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::create(&folder.path().join("home"), &ada).unwrap();
        let hash = |home: &Home| Digest::of(home.operator_key(&ada).unwrap().as_bytes());
        let driven = drive(Memory::default());
        driven.began();
        driven.agents();
        let (old, draft) = (hash(&home), home.draft_operator_key(&ada).unwrap());
        let new = draft.hash();
        {
            let mut kept = driven.journal.kept();
            (kept.fails_in, kept.writes_all_the_same, kept.stays_shut) = (Some(0), written, 1);
        }
        let key = Key::Home { hash: new };
        let rotated = Event::OperatorRotated { by: ada.clone(), name: ada.clone(), key };
        let open = driven.handle.decide(rotated.into()).unwrap_err();
        assert!(matches!(open, SubmitError::Unknown(_)), "{open}");
        runtime.block_on(crate::api::operators::settle(
            driven.handle.clone(),
            Arc::default(),
            ada.clone(),
            draft,
        ));
        assert_eq!(hash(&home), if written { new } else { old });
        driven.end();
    }
}

/// A value that nests so deeply that no JSON reader takes it in a record.
pub(super) fn deep() -> serde_json::Value {
    (0..130).fold(serde_json::Value::Null, |inner, _| vec![inner].into())
}

#[test]
fn g7_what_could_not_be_read_back_is_refused_and_nobody_else_is_disturbed() {
    let driven = drive(Memory::default());
    driven.began();
    let agents = driven.agents();
    let signal = Signal::Output { name: "x".to_owned(), value: deep() };
    let event = Event::AgentSignalled { agent: agents[0].1, signal };
    let refused = driven.handle.decide(event.into()).unwrap_err();
    assert!(matches!(refused, SubmitError::Unreadable(_)), "{refused}");
    let (at, agent) = agents[1];
    driven.handle.decide(failed(agent, at)).unwrap();
    let journal = driven.end();
    assert_eq!(journal.boots(), 1);
    let again = core(&journal);
    assert_eq!(again.governor().live_runs(), 1, "everything can be read back");
}

#[test]
fn states_are_not_more_of_what_is_written_than_the_entries_they_save_reading() {
    assert_eq!(snapshot_after(0), SNAPSHOT_EVERY);
    assert_eq!(snapshot_after(SNAPSHOT_EVERY * SNAPSHOT_BYTES_AN_ENTRY), SNAPSHOT_EVERY);
    let largest = eparch_ledger::SNAPSHOT_MAX as u64;
    assert_eq!(snapshot_after(largest) * SNAPSHOT_BYTES_AN_ENTRY, largest);
}
