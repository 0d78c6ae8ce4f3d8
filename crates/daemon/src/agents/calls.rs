//! How often an agent calls (R083).

use std::collections::VecDeque;

use eparch_domain::{LedgerTime, Span, limits};

/// How far back calls are counted (2.C rule 2).
const MINUTE: Span = Span::from_secs(60);

/// The calls of an agent in the last minute.
#[derive(Debug, Default)]
pub(super) struct Calls {
    at: VecDeque<LedgerTime>,
    /// When it was last said that there were too many.
    told: Option<LedgerTime>,
}

/// A call too many.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limited {
    /// When there is room for one again.
    pub(super) after: Span,
    /// The first in a minute: it has to be told.
    pub(super) is_first: bool,
}

impl Calls {
    /// Counts a call; every one counts, whatever it asks and whoever makes it.
    pub(super) fn count(&mut self, now: LedgerTime) -> Result<(), Limited> {
        let lately = |at: &LedgerTime| now.since(*at) < MINUTE;
        while self.at.front().is_some_and(|at| !lately(at)) {
            self.at.pop_front();
        }
        if self.at.len() < usize::try_from(limits::CALLS_PER_MINUTE).unwrap_or(usize::MAX) {
            self.at.push_back(now);
            return Ok(());
        }
        let is_first = !self.told.as_ref().is_some_and(lately);
        if is_first {
            self.told = Some(now);
        }
        let oldest = self.at.front().map_or(0, |at| now.since(*at).millis());
        Err(Limited { after: Span::from_millis(MINUTE.millis() - oldest), is_first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r083_the_hundred_and_first_call_of_a_minute_is_refused_and_told_once_a_minute() {
        let mut calls = Calls::default();
        let at = |millis: u64| LedgerTime::from_millis(millis);
        for call in 0..u64::from(limits::CALLS_PER_MINUTE) {
            assert_eq!(calls.count(at(1_000 + call)), Ok(()), "{call}");
        }
        let limited = |calls: &mut Calls, now: u64| calls.count(at(now)).unwrap_err();
        let after = |millis: u64, is_first: bool| Limited { after: Span::from_millis(millis), is_first };
        assert_eq!(limited(&mut calls, 2_000), after(59_000, true));
        assert_eq!(limited(&mut calls, 60_999), after(1, false));
        // The first of them was made a minute ago: one more is well, and then it is the turn of the next.
        assert_eq!(calls.count(at(61_000)), Ok(()));
        assert_eq!(limited(&mut calls, 61_000), after(1, false));
        for call in 1..u64::from(limits::CALLS_PER_MINUTE) {
            assert_eq!(calls.count(at(61_000 + call)), Ok(()), "{call}");
        }
        assert_eq!(limited(&mut calls, 62_000), after(59_000, true), "another minute");
    }
}
