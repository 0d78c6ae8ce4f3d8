//! Stops of everything that the ledger would not take.

use super::*;

/// A stop of everything that cannot be written cuts whoever lives, since the ledger failed, and is decided on before anything
/// begins again: a ledger that comes back does not bring the agents back (G1, G2).
#[test]
fn g1_g2_a_stop_of_everything_outlasts_a_ledger_that_cannot_be_written() {
    let driven = drive(Memory::default());
    assert_eq!(driven.began(), 1);
    driven.agents();
    {
        let mut kept = driven.journal.kept();
        (kept.fails_in, kept.leaves, kept.stays_shut) = (Some(0), Some(Left::Nothing), 2);
    }
    let by = Name::new("ada").unwrap();
    let stop = Event::StopAllRequested { by: by.clone(), reason: "they run wild".to_owned() };
    assert!(matches!(driven.handle.decide(stop.into()), Err(SubmitError::Ledger(_))));
    driven.next(|told| matches!(told, Told::Stopped).then_some(()));
    assert_eq!(driven.began(), 2);
    // What the new epoch is told to do: to prove dead whoever lived, and to make nobody ready.
    let run = RunRequest {
        run: RunId::from_bits(8),
        pipeline: three().digest(),
        inputs: BTreeMap::new(),
        env: BTreeMap::new(),
        requester: by,
        grant: None,
        root: "/".to_owned(),
        idempotency_key: None,
        lineage: None,
    };
    let asked = Input { definition: Some(three()), ..Event::RunRequested(Box::new(run)).into() };
    let answer = driven.handle.decide(asked).unwrap().record.decision.answer.clone();
    assert!(matches!(&answer, Answer::Refused(refusal) if refusal.code() == "EP0650"), "{answer:?}");
    let told: Vec<Told> = driven.told.try_iter().collect();
    assert!(!told.iter().any(|told| matches!(told, Told::Do(_, Effect::Prepare(_)))), "{told:?}");
    let journal = driven.end();
    let facts = |entry: &Entry| eparch_governor::Record::from_bytes(&entry.body).unwrap().decision.facts;
    let all: Vec<_> = journal.kept().entries.iter().flat_map(facts).collect();
    let stops = all.iter().filter(|fact| matches!(fact, eparch_governor::Fact::AllStopped { .. })).count();
    assert_eq!(stops, 1);
}
