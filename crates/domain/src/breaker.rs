//! Circuit breakers: a dependency that fails again and again is left alone for a while, so that nobody waits for what will
//! not answer, and what is getting well is not overrun (R268). One of three layers with three names: an agent has an error
//! budget, a run a rate window, a dependency a breaker (X13).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::clock::LedgerTime;
use crate::limits;
use crate::span::Span;

/// When a breaker opens (X30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TripRule {
    /// So many failures in a row: for dependencies, which are up or down.
    Consecutive {
        /// How many; at least 1.
        failures: u32,
    },
    /// Too few successes among the last calls: for what is well or unwell by degrees.
    Ratio {
        /// Of a hundred calls, how many have to succeed: 1 to 100.
        percent: u8,
        /// Over how many calls; nothing opens before there were so many.
        calls: usize,
    },
}

/// The rule for backends: `limits::BREAKER_FAILURES` in a row.
pub const FOR_BACKENDS: TripRule = TripRule::Consecutive { failures: limits::BREAKER_FAILURES };

/// The rule of the origin's failure-rate breaker: less than half of the last twenty calls (1.3-l).
pub const BY_RATIO: TripRule = TripRule::Ratio { percent: 50, calls: 20 };

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// None does.
    Open,
    /// One does, and shows whether the others may.
    HalfOpen,
}

/// Leave to make one call; what came of it is told with it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what came of the call has to be told"]
pub struct Admitted {
    round: u64,
}

/// No call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftAlone {
    /// How long until one may be tried; nothing when one is being tried.
    pub left: Span,
}

/// Counts what fails, and says whether to call. It knows no clock: the time comes with each question.
#[derive(Debug, Clone)]
pub struct Breaker {
    rule: TripRule,
    stands: Stands,
    /// Rises whenever how it stands changes: what was begun before then says nothing about now.
    round: u64,
    /// How long it was last open; nothing while it closed of itself.
    last_open: Option<Span>,
}

#[derive(Debug, Clone)]
enum Stands {
    Closed { in_a_row: u32, last: VecDeque<bool> },
    Open { until: LedgerTime },
    HalfOpen,
}

impl Breaker {
    /// A closed one.
    pub const fn new(rule: TripRule) -> Breaker {
        let stands = Stands::Closed { in_a_row: 0, last: VecDeque::new() };
        Breaker { rule, stands, round: 0, last_open: None }
    }

    /// How it stands now.
    pub fn state(&self, now: LedgerTime) -> BreakerState {
        match self.stands {
            Stands::Closed { .. } => BreakerState::Closed,
            Stands::Open { until } if now < until => BreakerState::Open,
            Stands::Open { .. } | Stands::HalfOpen => BreakerState::HalfOpen,
        }
    }

    /// Whether a call may be made. After it was open for its time, one may; until that has ended, no other.
    pub fn admit(&mut self, now: LedgerTime) -> Result<Admitted, LeftAlone> {
        match self.stands {
            Stands::Closed { .. } => Ok(Admitted { round: self.round }),
            Stands::Open { until } if now < until => Err(LeftAlone { left: until.since(now) }),
            Stands::Open { .. } => {
                self.turn(Stands::HalfOpen);
                Ok(Admitted { round: self.round })
            }
            Stands::HalfOpen => Err(LeftAlone { left: Span::ZERO }),
        }
    }

    /// The call did what it should, or was refused by somebody who is well.
    pub fn succeeded(&mut self, pass: &Admitted) {
        if pass.round != self.round {
            return;
        }
        match &mut self.stands {
            Stands::Closed { in_a_row, last } => {
                *in_a_row = 0;
                remember(self.rule, last, true);
            }
            Stands::HalfOpen => {
                self.last_open = None;
                self.turn(Stands::Closed { in_a_row: 0, last: VecDeque::new() });
            }
            Stands::Open { .. } => {}
        }
    }

    /// The dependency failed.
    pub fn failed(&mut self, pass: &Admitted, now: LedgerTime) {
        if pass.round != self.round {
            return;
        }
        let opens = match &mut self.stands {
            Stands::Closed { in_a_row, last } => {
                *in_a_row = in_a_row.saturating_add(1);
                remember(self.rule, last, false);
                match self.rule {
                    TripRule::Consecutive { failures } => *in_a_row >= failures,
                    TripRule::Ratio { percent, calls } => {
                        let well = last.iter().filter(|ok| **ok).count();
                        last.len() >= calls && well * 100 < last.len() * usize::from(percent)
                    }
                }
            }
            Stands::HalfOpen => true,
            Stands::Open { .. } => false,
        };
        if opens {
            let doubled = |span: Span| Span::from_millis(span.millis().saturating_mul(2));
            let open = self.last_open.map_or(limits::BREAKER_OPEN, doubled).min(limits::BREAKER_OPEN_MAX);
            self.last_open = Some(open);
            self.turn(Stands::Open { until: now.after(open) });
        }
    }

    /// Nobody knows what came of the call: whoever made it does not wait for it any more. That says nothing about the
    /// dependency, and another may be tried.
    pub fn given_up(&mut self, pass: &Admitted, now: LedgerTime) {
        if pass.round == self.round && matches!(self.stands, Stands::HalfOpen) {
            self.turn(Stands::Open { until: now });
        }
    }

    fn turn(&mut self, stands: Stands) {
        self.stands = stands;
        self.round += 1;
    }
}

/// Keeps what a rule looks back on, and no more.
fn remember(rule: TripRule, last: &mut VecDeque<bool>, ok: bool) {
    let TripRule::Ratio { calls, .. } = rule else { return };
    last.push_back(ok);
    while last.len() > calls {
        last.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> LedgerTime {
        LedgerTime::from_millis(millis)
    }

    fn fail(breaker: &mut Breaker, now: LedgerTime) {
        let pass = breaker.admit(now).unwrap();
        breaker.failed(&pass, now);
    }

    fn succeed(breaker: &mut Breaker, now: LedgerTime) {
        let pass = breaker.admit(now).unwrap();
        breaker.succeeded(&pass);
    }

    fn opened() -> (Breaker, LedgerTime) {
        let mut breaker = Breaker::new(FOR_BACKENDS);
        (0..limits::BREAKER_FAILURES).for_each(|_| fail(&mut breaker, at(0)));
        (breaker, at(0).after(limits::BREAKER_OPEN))
    }

    #[test]
    fn r268_four_failures_leave_it_closed_and_the_fifth_opens_it() {
        let mut breaker = Breaker::new(FOR_BACKENDS);
        (0..4).for_each(|_| fail(&mut breaker, at(0)));
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        succeed(&mut breaker, at(0));
        (0..4).for_each(|_| fail(&mut breaker, at(0)));
        assert_eq!(breaker.state(at(0)), BreakerState::Closed, "only what fails in a row counts");
        fail(&mut breaker, at(0));
        assert_eq!(breaker.state(at(0)), BreakerState::Open);
        let left = breaker.admit(at(1)).unwrap_err().left;
        assert_eq!(left.millis(), limits::BREAKER_OPEN.millis() - 1);
    }

    #[test]
    fn r268_half_open_lets_one_probe_through_which_decides() {
        let (mut breaker, until) = opened();
        assert!(breaker.admit(at(until.millis() - 1)).is_err());
        let probe = breaker.admit(until).unwrap();
        assert_eq!(breaker.state(until), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(until), Err(LeftAlone { left: Span::ZERO }), "one probe");
        breaker.succeeded(&probe);
        assert_eq!(breaker.state(until), BreakerState::Closed);
        (0..4).for_each(|_| fail(&mut breaker, until));
        assert_eq!(breaker.state(until), BreakerState::Closed, "counted from nothing again");
    }

    #[test]
    fn r268_each_probe_in_vain_doubles_the_wait_up_to_its_longest() {
        let (mut breaker, mut now) = opened();
        let mut open = limits::BREAKER_OPEN;
        for _ in 0..12 {
            fail(&mut breaker, now);
            open = Span::from_millis(open.millis() * 2).min(limits::BREAKER_OPEN_MAX);
            assert_eq!(breaker.admit(now).unwrap_err().left, open);
            now = now.after(open);
        }
        assert_eq!(open, limits::BREAKER_OPEN_MAX);
        succeed(&mut breaker, now);
        (0..5).for_each(|_| fail(&mut breaker, now));
        assert_eq!(
            breaker.admit(now).unwrap_err().left,
            limits::BREAKER_OPEN,
            "short again once it was well"
        );
    }

    #[test]
    fn r268_what_was_begun_before_it_opened_says_nothing_about_now() {
        let mut breaker = Breaker::new(FOR_BACKENDS);
        let early = breaker.admit(at(0)).unwrap();
        (0..5).for_each(|_| fail(&mut breaker, at(0)));
        breaker.succeeded(&early);
        assert_eq!(breaker.state(at(0)), BreakerState::Open);
        let until = at(0).after(limits::BREAKER_OPEN);
        let probe = breaker.admit(until).unwrap();
        breaker.failed(&early, until);
        assert_eq!(breaker.state(until), BreakerState::HalfOpen, "only the probe decides");
        breaker.succeeded(&probe);
        assert_eq!(breaker.state(until), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_was_given_up_makes_room_for_another() {
        let (mut breaker, until) = opened();
        let probe = breaker.admit(until).unwrap();
        breaker.given_up(&probe, until);
        let another = breaker.admit(until).unwrap();
        breaker.succeeded(&probe);
        assert_eq!(breaker.state(until), BreakerState::HalfOpen);
        breaker.succeeded(&another);
        assert_eq!(breaker.state(until), BreakerState::Closed);
    }

    #[test]
    fn x30_by_ratio_it_opens_below_half_of_the_last_twenty() {
        let mut breaker = Breaker::new(BY_RATIO);
        for call in 0..19 {
            if call % 2 == 0 { fail(&mut breaker, at(0)) } else { succeed(&mut breaker, at(0)) }
        }
        succeed(&mut breaker, at(0));
        assert_eq!(breaker.state(at(0)), BreakerState::Closed, "half of them is enough");
        succeed(&mut breaker, at(0));
        fail(&mut breaker, at(0));
        fail(&mut breaker, at(0));
        assert_eq!(breaker.state(at(0)), BreakerState::Closed, "ten of the last twenty");
        fail(&mut breaker, at(0));
        assert_eq!(breaker.state(at(0)), BreakerState::Open, "nine of the last twenty");
    }

    proptest! {
        /// Whatever happens: what is open lets nothing through before its time, and half-open lets one through at once.
        #[test]
        fn r268_it_never_lets_through_what_it_should_not(steps in prop::collection::vec((0u8..5, 0u64..5_000), 0..200)) {
            let mut breaker = Breaker::new(FOR_BACKENDS);
            let (mut now, mut under_way, mut open_until) = (at(0), Vec::new(), at(0));
            for (step, passes) in steps {
                now = now.after(Span::from_millis(passes));
                let before = breaker.state(now);
                match step {
                    0 | 1 => match breaker.admit(now) {
                        Ok(pass) => {
                            prop_assert!(now >= open_until);
                            let probing = before == BreakerState::HalfOpen;
                            if probing {
                                prop_assert!(breaker.admit(now).is_err());
                            }
                            under_way.push(pass);
                        }
                        Err(alone) => {
                            prop_assert!(before != BreakerState::Closed);
                            prop_assert!(alone.left <= limits::BREAKER_OPEN_MAX);
                        }
                    },
                    2 | 3 if !under_way.is_empty() => {
                        let pass = under_way.remove(0);
                        if step == 2 { breaker.failed(&pass, now) } else { breaker.succeeded(&pass) }
                    }
                    4 if !under_way.is_empty() => breaker.given_up(&under_way.remove(0), now),
                    _ => {}
                }
                if before != BreakerState::Open && breaker.state(now) == BreakerState::Open {
                    open_until = now.after(breaker.admit(now).unwrap_err().left);
                }
            }
        }
    }
}
