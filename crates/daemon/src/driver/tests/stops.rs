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

fn stop_by(name: &str) -> Event {
    Event::StopAllRequested { by: Name::new(name).unwrap(), reason: format!("{name} says so") }
}

/// Every stop that was written, by whom, and who stopped everything by it.
fn stops(journal: &Memory) -> (Vec<String>, Vec<String>) {
    let (mut asked, mut stopped) = (Vec::new(), Vec::new());
    for entry in &journal.kept().entries {
        let record = eparch_governor::Record::from_bytes(&entry.body).unwrap();
        if let Event::StopAllRequested { by, .. } = &record.event {
            asked.push(by.to_string());
        }
        stopped.extend(record.decision.facts.iter().filter_map(|fact| match fact {
            eparch_governor::Fact::AllStopped { by, .. } => Some(by.to_string()),
            _ => None,
        }));
    }
    (asked, stopped)
}

/// Whoever asks after somebody whose word counts does not take their place, and asking twice is asking once (G2).
#[test]
fn g2_every_stop_that_was_asked_for_while_the_ledger_was_away_is_written_when_it_is_back() {
    let journal = Memory::default();
    let operators = drive(journal.clone());
    operators.agents();
    operators.end();
    let (to, _told) = channel();
    let (mut driver, _handle) = Driver::new(core(&journal), 8, Arc::new(ManualClock::default()), |_| Ear(to));
    driver.begin_epoch();
    {
        let mut kept = journal.kept();
        (kept.fails_in, kept.leaves, kept.stays_shut) = (Some(0), Some(Left::Nothing), u32::MAX);
    }
    // Nobody knows eve here: by her word alone nothing is stopped.
    for name in ["ada", "ada", "eve"] {
        let (to, answer) = channel();
        driver.turn(vec![(stop_by(name).into(), Some(Box::new(move |result| to.send(result).unwrap())))]);
        driver.settle();
        assert!(matches!(answer.recv().unwrap(), Err(SubmitError::Ledger(_))), "{name}");
    }
    assert_eq!(stops(&journal), (vec![], vec![]));
    journal.kept().stays_shut = 0;
    driver.try_again();
    let both = vec!["ada".to_owned(), "eve".to_owned()];
    assert_eq!(stops(&journal), (both.clone(), vec!["ada".to_owned()]));
    driver.rebuild(journal.clone());
    assert_eq!(stops(&journal).0, both, "once");
}

/// A commit that failed and was made up for by the boot after it is no failure to whoever asked: the journal has it.
#[test]
fn g1_g2_a_stop_that_the_next_epoch_began_with_is_told_to_be_recorded() {
    for (writes_all_the_same, leaves) in
        [(false, Left::Nothing), (false, Left::Unknown), (true, Left::Unknown)]
    {
        let driven = drive(Memory::default());
        driven.began();
        driven.agents();
        {
            let mut kept = driven.journal.kept();
            (kept.fails_in, kept.leaves, kept.writes_all_the_same) =
                (Some(0), Some(leaves), writes_all_the_same);
        }
        let done = driven.handle.decide(stop_by("ada").into()).unwrap();
        assert_eq!(done.record.event, stop_by("ada"));
        let journal = driven.end();
        let entry = journal.kept().entries[usize::try_from(done.seq).unwrap() - 1].clone();
        assert_eq!(entry.body, done.record.to_bytes(), "it is where it is said to be");
        assert_eq!(stops(&journal).1, ["ada"]);
    }
}
