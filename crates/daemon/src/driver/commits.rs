//! What is decided becomes durable. While one batch is written the next is decided on, and nobody hears of it before it is
//! written as well.

use std::time::Instant;

use eparch_domain::{Moment, limits};
use eparch_governor::{ClockMoved, Event};
use eparch_ledger::{Appended, WriteError};

use super::core::{self, Decided, Done, Input, Unreadable};
use super::handle::{Reply, SubmitError};
use super::stops::made_up_for;
use super::{Driver, Shell, stopped_by};
use crate::journal::{Journal, JournalError, Left};

/// What somebody handed in, and how they are answered, if anybody waits.
pub(super) type Waiting = (Input, Option<Reply>);

/// What is decided and not given to the journal yet.
#[derive(Default)]
pub(super) struct Next {
    waiting: Vec<Waiting>,
    decided: Vec<Decided>,
}

/// What the journal has been given, and has not answered.
pub(super) struct Flight {
    number: u64,
    /// When it counts as failed.
    until: Instant,
    waiting: Vec<Waiting>,
    done: Vec<Done>,
}

/// What it answered.
pub(super) struct Landed {
    flight: u64,
    outcome: Result<Appended, JournalError>,
}

/// A journal that failed, what it was to write, and who waits to hear of it: those of what was decided meanwhile after them.
pub(super) struct Failed<J> {
    pub(super) journal: J,
    pub(super) problem: JournalError,
    attempted: Vec<Done>,
    waiting: Vec<Waiting>,
}

impl<J: Journal + Clone + Send + 'static, S: Shell> Driver<J, S> {
    /// Decides on what waits; it is written as soon as the journal has answered what it was given before.
    pub(super) fn turn(&mut self, waiting: Vec<Waiting>) {
        if waiting.is_empty() {
            return;
        }
        self.try_again();
        match self.decide(waiting) {
            Ok(()) => self.launch(),
            Err(failed) => self.begin_again(failed),
        }
    }

    /// How much more can be decided on before something has to be written. Waits until that is something.
    pub(super) fn room(&mut self) -> usize {
        while self.next.decided.len() >= limits::COMMIT_BATCH {
            self.land_next();
        }
        limits::COMMIT_BATCH - self.next.decided.len()
    }

    /// When what the journal was given counts as failed.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.flight.as_ref().map(|flight| flight.until)
    }

    /// Waits until everything that is decided is written, or the journal has failed.
    pub(super) fn settle(&mut self) {
        while self.flight.is_some() {
            self.land_next();
        }
    }

    fn land_next(&mut self) {
        let Some(until) = self.overdue_at() else { return };
        match self.from.take_back(until) {
            Some(landed) => self.land(landed),
            None => self.give_up(),
        }
    }

    /// The journal has not answered in time.
    pub(super) fn give_up(&mut self) {
        if let Some(Flight { number: flight, .. }) = self.flight {
            self.land(Landed { flight, outcome: Err(WriteError::Late.into()) });
        }
    }

    /// The journal has answered. What it says of something that was given up is known already.
    pub(super) fn land(&mut self, Landed { flight, outcome }: Landed) {
        let Some(flight) = self.flight.take_if(|waited_for| waited_for.number == flight) else { return };
        match outcome {
            Ok(_) => {
                // First, so that the disk has work while people hear of it.
                self.launch();
                self.made_durable(flight.waiting, &flight.done);
            }
            Err(problem) => {
                let failed = self.fail(problem, flight.done, flight.waiting);
                self.begin_again(failed);
            }
        }
    }

    /// Gives the journal what is decided, unless it has something.
    fn launch(&mut self) {
        let Next { waiting, decided } = match self.flight {
            None => std::mem::take(&mut self.next),
            Some(_) => return,
        };
        let Some(core) = &self.core else { return };
        let Some((done, request)) = core.request(decided) else { return };
        self.flights += 1;
        let (flight, back) = (self.flights, self.from.back());
        let until = Instant::now() + core.journal().write_within();
        self.flight = Some(Flight { number: flight, until, waiting, done });
        core.journal().append_then(request, Box::new(move |outcome| back.send(Landed { flight, outcome })));
    }

    /// Decides, writes it down and sets it going, all of it at once: what was decided. Nothing else waits to be written.
    pub(super) fn commit(&mut self, waiting: Vec<Waiting>) -> Result<Vec<Done>, Failed<J>> {
        self.decide(waiting)?;
        let Next { waiting, decided } = std::mem::take(&mut self.next);
        let Some(core) = &self.core else { return Ok(Vec::new()) };
        let Some((done, request)) = core.request(decided) else { return Ok(Vec::new()) };
        match core.journal().append(request) {
            Ok(_) => {
                self.made_durable(waiting, &done);
                Ok(done)
            }
            Err(problem) => Err(self.fail(problem, done, waiting)),
        }
    }

    /// Decides on what waits, after everything that was decided before.
    fn decide(&mut self, mut waiting: Vec<Waiting>) -> Result<(), Failed<J>> {
        waiting.iter().for_each(|(input, _)| self.stops.keep(input));
        self.notice_jump(&mut waiting);
        while let Some(core) = &mut self.core {
            // Each time: what comes between takes as long as the disk takes.
            let now = self.clock.now();
            match core.decide(waiting.iter().map(|(input, _)| input), now) {
                Ok(decided) => {
                    self.next.decided.extend(decided);
                    self.next.waiting.extend(waiting);
                    return Ok(());
                }
                Err(unreadable) => waiting = self.forgo(unreadable, waiting)?,
            }
        }
        for reply in waiting.into_iter().filter_map(|(_, reply)| reply) {
            reply(Err(stopped_by(&self.why)));
        }
        Ok(())
    }

    /// What somebody handed in cannot be written down, and nobody else has to suffer for it: what is left.
    fn forgo(&mut self, what: Unreadable, mut waiting: Vec<Waiting>) -> Result<Vec<Waiting>, Failed<J>> {
        // What was decided before is part of what is read back.
        self.settle();
        let Some(core) = &mut self.core else { return Ok(waiting) };
        let problem = match core.reload() {
            Err(problem) => problem,
            Ok(()) => match waiting.remove(what.input) {
                (input, Some(reply)) => {
                    self.stops.forget(&input);
                    reply(Err(SubmitError::Unreadable(what.why)));
                    return Ok(waiting);
                }
                nobodys => {
                    waiting.insert(what.input, nobodys);
                    JournalError::of(&what)
                }
            },
        };
        Err(self.fail(problem, Vec::new(), waiting))
    }

    /// How the wall clock has moved is decided on before anything else.
    fn notice_jump(&mut self, waiting: &mut Vec<Waiting>) {
        let now = self.clock.now();
        let Some(moved) = self.core.as_ref().and_then(|core| clock_jump(core.last(), now)) else { return };
        let at = match waiting.first_mut().map(|(input, _)| &mut input.event) {
            // Decided on with the boot: what an entry before it began, the boot would cut off.
            Some(Event::Booted { clock_moved, .. }) if !self.has_begun => {
                *clock_moved = Some(moved);
                return;
            }
            // This process has measured ledger time all along; only what was in flight is in doubt.
            Some(Event::Booted { .. }) => 1,
            _ => 0,
        };
        waiting.insert(at, (Event::ClockJumped { by_ms: moved.by_ms }.into(), None));
    }

    /// Sets going what was written, and tells whoever waited for it.
    fn made_durable(&mut self, waiting: Vec<Waiting>, done: &[Done]) {
        // A boot alone says little: it is what a journal that fails with everything else is given again and again.
        if waiting.iter().any(|(input, _)| matches!(input.event, Event::Booted { .. })) {
            self.has_begun = true;
        } else {
            self.failures = 0;
            self.why.clear();
        }
        waiting.iter().for_each(|(input, _)| self.stops.forget(input));
        for (done, (_, reply)) in done.iter().zip(waiting) {
            self.shell.committed(done);
            // Before the answer: whoever hears that authority was taken away finds what bore it deaf and signalled (2.C
            // rule 5).
            for (at, effect) in done.effects() {
                self.shell.perform(at, effect);
            }
            if let Some(reply) = reply {
                reply(Ok(done.clone()));
            }
        }
    }

    /// The journal has failed: nothing in memory counts any more, nor what was decided on top of it.
    fn fail(&mut self, problem: JournalError, attempted: Vec<Done>, mut waiting: Vec<Waiting>) -> Failed<J> {
        self.shell.stopped(&problem);
        waiting.append(&mut std::mem::take(&mut self.next).waiting);
        // Of two stops by one person the first may have been written, and was forgotten then.
        waiting.iter().for_each(|(input, _)| self.stops.keep(input));
        let core = self.core.take().expect("something was decided");
        Failed { journal: core.into_journal(), problem, attempted, waiting }
    }

    /// After a failure: begins anew with what the journal says, and tells whoever waited.
    fn begin_again(&mut self, failed: Failed<J>) {
        // A journal that fails with everything it is given is given time, not another epoch.
        let Failed { journal, problem, attempted, waiting } = failed;
        let begun = if self.failures == 0 {
            self.failures = 1;
            self.rebuild(journal)
        } else {
            self.stop(journal, &problem);
            Vec::new()
        };
        self.tell(&problem, attempted, &begun, waiting);
    }

    /// Tells everybody who waited for a commit that failed what became of it. What was written counts, whatever was said
    /// meanwhile: it is part of the state that was rebuilt. Its effects are not performed, since the new epoch has decided
    /// anew about them. What was not counts as well where the new epoch has begun with it (`begun`). What was decided on top of it
    /// was not given to the journal at all.
    fn tell(&self, problem: &JournalError, attempted: Vec<Done>, begun: &[Done], waiting: Vec<Waiting>) {
        let written = match (problem.left, &self.core) {
            (Left::Nothing | Left::TakenOver, _) => Some(false),
            (Left::Unknown, Some(core)) => core::was_written(core.journal(), &self.tenant, &attempted).ok(),
            (Left::Unknown, None) => None,
        };
        let problem = problem.to_string();
        let mut attempted = attempted.into_iter();
        for (input, reply) in waiting {
            let attempted = attempted.next();
            let written = if attempted.is_some() { written } else { Some(false) };
            let done = attempted.filter(|_| written == Some(true));
            let answer = done.or_else(|| made_up_for(&input, begun).cloned()).ok_or_else(|| match written {
                Some(_) => SubmitError::Ledger(problem.clone()),
                None => SubmitError::Unknown(problem.clone()),
            });
            if let Some(reply) = reply {
                reply(answer);
            }
        }
    }
}

/// How the wall clock moved against ledger time since the last entry, when that is by more than `limits::CLOCK_SKEW`.
fn clock_jump(last: Moment, now: Moment) -> Option<ClockMoved> {
    if last == Moment::default() {
        return None;
    }
    let gone = i64::try_from(now.ledger.since(last.ledger).millis()).ok()?;
    let by_ms = now.wall.millis().checked_sub(last.wall.millis())?.checked_sub(gone)?;
    (by_ms.unsigned_abs() > limits::CLOCK_SKEW.millis()).then_some(ClockMoved { by_ms, from: last.wall })
}
