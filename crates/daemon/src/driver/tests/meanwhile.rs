//! What is decided while something is being written: a driver that is turned by hand, over a journal that writes when it is told to.

use super::*;

struct Slow {
    driver: Driver<Memory, Ear>,
    journal: Memory,
    /// What the journal was given.
    held: Receiver<(Append, Then)>,
    _told: Receiver<Told>,
    _handle: Handle,
}

/// What somebody was answered.
type Answered = Receiver<Result<Done, SubmitError>>;

impl Slow {
    /// A driver that has begun, over a journal that is slow from now on.
    fn new() -> Slow {
        let journal = Memory::default();
        let ((to, told), (hold, held)) = (channel(), channel());
        let clock = Arc::new(ManualClock::default());
        let (mut driver, handle) = Driver::new(core(&journal), 8, clock, |_| Ear(to));
        driver.begin_epoch();
        journal.kept().held = Some(hold);
        Slow { driver, journal, held, _told: told, _handle: handle }
    }

    fn turn(&mut self, inputs: impl IntoIterator<Item = impl Into<Input>>) -> Vec<Answered> {
        let (waiting, answered) = inputs.into_iter().map(waiting).unzip();
        self.driver.turn(waiting);
        answered
    }

    /// The journal has written what it was given, or not, and has said so.
    fn write(&mut self, (request, then): (Append, Then)) {
        let outcome = self.journal.kept().write(request);
        then(outcome);
        self.land();
    }

    /// The driver hears what the journal has said.
    fn land(&mut self) {
        let landed = self.driver.from.take_back(Instant::now()).expect("the journal has said something");
        self.driver.land(landed);
    }

    /// The journal is quick again.
    fn hurry(&self) {
        self.journal.kept().held = None;
    }

    fn held(&self) -> (Append, Then) {
        self.held.try_recv().expect("the journal was given something")
    }
}

fn waiting(input: impl Into<Input>) -> (Waiting, Answered) {
    let (to, answered) = channel();
    let reply: handle::Reply = Box::new(move |answer| {
        // Whether anybody hears it is not what is asked here.
        let _ = to.send(answer);
    });
    ((input.into(), Some(reply)), answered)
}

fn nothing() -> [Event; 1] {
    [Event::ClockTurned]
}

/// What was answered, when it was.
fn answer(answered: &[Answered]) -> Option<Result<u64, SubmitError>> {
    answered[0].try_recv().ok().map(|answer| answer.map(|done| done.seq))
}

#[test]
fn g1_what_is_decided_meanwhile_is_told_when_it_is_written_and_no_sooner() {
    let mut slow = Slow::new();
    let first = slow.turn(nothing());
    let held = slow.held();
    let second = slow.turn(nothing());
    let third = slow.turn(nothing());
    assert!(slow.held.try_recv().is_err(), "one after the other");
    slow.write(held);
    assert!(matches!(answer(&first), Some(Ok(2))));
    let held = slow.held();
    assert_eq!((held.0.after, held.0.entries.len()), (2, 2), "all that was decided, at once");
    assert!(answer(&second).is_none() && answer(&third).is_none(), "it is not written yet");
    slow.write(held);
    assert!(matches!((answer(&second), answer(&third)), (Some(Ok(3)), Some(Ok(4)))));
}

#[test]
fn g1_whoever_looks_sees_what_is_written_and_nothing_else() {
    let mut slow = Slow::new();
    let ada = Operator {
        name: Name::new("ada").unwrap(),
        role: OperatorRole::Admin,
        groups: Vec::new(),
        max_tier: Tier::T1,
        key: Key::Home { hash: Digest::of(b"ada") },
    };
    slow.turn(nothing());
    let (request, then) = slow.held();
    let second = slow.turn([Event::OperatorAdded { by: None, operator: ada }]);
    let outcome = slow.journal.kept().write(request);
    then(outcome);
    slow.hurry();
    let (journal, (to, seen)) = (slow.journal.clone(), channel());
    let look: handle::Look = Box::new(move |governor| {
        to.send((journal.kept().entries.len(), governor.unwrap().operators().count())).unwrap();
    });
    slow.driver.take(Message::Look(look, Retry::InTime), &mut Vec::new());
    assert_eq!(seen.try_recv(), Ok((3, 1)));
    assert!(matches!(answer(&second), Some(Ok(3))));
}

#[test]
fn g1_what_was_decided_on_what_did_not_happen_did_not_happen_either() {
    for written in [false, true] {
        let mut slow = Slow::new();
        let first = slow.turn(nothing());
        let (request, then) = slow.held();
        let second = slow.turn(nothing());
        slow.hurry();
        if written {
            slow.journal.kept().write(request).unwrap();
        }
        then(Err(JournalError::new("the disk failed once", Left::Unknown)));
        slow.land();
        match answer(&first) {
            Some(Ok(2)) => assert!(written),
            Some(Err(SubmitError::Ledger(_))) => assert!(!written),
            other => panic!("{other:?}"),
        }
        // It was never given to the journal: there is nothing to find out about it.
        assert!(matches!(answer(&second), Some(Err(SubmitError::Ledger(_)))));
        assert_eq!(slow.journal.boots(), 2);
        assert_eq!(slow.driver.core.unwrap().seq(), slow.journal.kept().entries.len() as u64);
    }
}

#[test]
fn a_stop_that_was_decided_meanwhile_is_made_up_for_by_the_next_boot() {
    let mut slow = Slow::new();
    let first = slow.turn(nothing());
    let (_, then) = slow.held();
    let stop = Event::StopAllRequested { by: Name::new("ada").unwrap(), reason: "enough".to_owned() };
    let second = slow.turn([stop]);
    slow.hurry();
    then(Err(JournalError::new("the disk is full", Left::Nothing)));
    slow.land();
    assert!(matches!(answer(&first), Some(Err(SubmitError::Ledger(_)))));
    assert!(matches!(answer(&second), Some(Ok(3))), "after two boots");
}

/// The first of two by one person is written, and forgotten with that; the second stands by itself.
#[test]
fn a_second_stop_outlasts_a_ledger_that_has_written_the_first() {
    let mut slow = Slow::new();
    let stop =
        |reason: &str| Event::StopAllRequested { by: Name::new("ada").unwrap(), reason: reason.to_owned() };
    slow.turn([stop("enough")]);
    let first = slow.held();
    let second = slow.turn([stop("again")]);
    slow.write(first);
    let (_, then) = slow.held();
    slow.hurry();
    then(Err(JournalError::new("the disk is full", Left::Nothing)));
    slow.land();
    assert!(matches!(answer(&second), Some(Ok(4))), "after a boot, the first, and another boot");
}

#[test]
fn g1_a_journal_that_does_not_answer_has_failed_and_its_late_word_changes_nothing() {
    let mut slow = Slow::new();
    slow.journal.kept().is_late = true;
    let first = slow.turn(nothing());
    let (_, late) = slow.held();
    slow.journal.kept().is_late = false;
    let hold = slow.journal.kept().held.take();
    slow.driver.settle();
    assert!(matches!(answer(&first), Some(Err(SubmitError::Ledger(_)))), "it has not written it");
    slow.journal.kept().held = hold;
    let second = slow.turn(nothing());
    late(Ok(Appended { first_seq: 2, last_seq: 2 }));
    slow.land();
    assert!(answer(&second).is_none(), "that was another one's");
    let held = slow.held();
    slow.write(held);
    assert!(matches!(answer(&second), Some(Ok(3))), "after two boots");
}

#[test]
fn what_cannot_be_written_down_takes_nothing_along_that_was_decided_before() {
    let mut slow = Slow::new();
    let first = slow.turn(nothing());
    let (request, then) = slow.held();
    let second = slow.turn(nothing());
    let outcome = slow.journal.kept().write(request);
    then(outcome);
    slow.hurry();
    let deep = Event::AgentSignalled {
        agent: eparch_domain::AgentId::from_bits(1),
        signal: Signal::Output { name: "x".to_owned(), value: super::commits::deep() },
    };
    let third = slow.turn([deep, Event::ClockTurned]);
    slow.driver.settle();
    assert!(matches!((answer(&first), answer(&second)), (Some(Ok(2)), Some(Ok(3)))));
    assert!(matches!(answer(&third), Some(Err(SubmitError::Unreadable(_)))));
    assert!(matches!(answer(&third[1..]), Some(Ok(4))));
    assert_eq!(slow.journal.boots(), 1);
}

#[test]
fn no_more_is_decided_on_than_a_commit_takes_before_something_is_written() {
    let mut slow = Slow::new();
    slow.turn(nothing());
    let (request, then) = slow.held();
    let many = vec![Event::ClockTurned; limits::COMMIT_BATCH - 1];
    slow.turn(many);
    assert_eq!(slow.driver.room(), 1);
    slow.turn(nothing());
    let outcome = slow.journal.kept().write(request);
    then(outcome);
    assert_eq!(
        slow.driver.room(),
        limits::COMMIT_BATCH,
        "it was written meanwhile, and the next is under way"
    );
    assert_eq!(slow.held().0.entries.len(), limits::COMMIT_BATCH);
}
