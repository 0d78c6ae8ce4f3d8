//! The only reader of the wall clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use eparch_domain::{Clock, LedgerTime, Moment, Timestamp};

/// Ledger time carried on from where the home's last entry left it, advanced by the monotonic clock; the wall clock as
/// it is.
#[derive(Debug)]
pub struct SystemClock {
    begun: Instant,
    from: LedgerTime,
}

impl SystemClock {
    /// A clock that goes on where `seen` leaves off: moments of the home's entries, the newest first. The time the home was
    /// not held counts, as far as the wall clock can tell: a gate's thirty minutes pass while nobody holds it. A wall clock
    /// set back in the meantime counts as no time at all.
    pub fn after(seen: &[Moment]) -> SystemClock {
        SystemClock { begun: Instant::now(), from: carried_on(seen, wall()) }
    }
}

/// Where ledger time stands at a wall time. It is measured from the newest wall time that was ever recorded and is not in the
/// future, rather than from the last one: a clock that was wrong in between (a machine that began in 1970 and was put right
/// later) adds nothing, whatever was recorded by it.
fn carried_on(seen: &[Moment], wall: Timestamp) -> LedgerTime {
    // A home without entries begins at zero.
    let Some(last) = seen.first() else { return LedgerTime::ZERO };
    let believed = seen.iter().filter(|moment| moment.wall <= wall).max_by_key(|moment| moment.wall);
    let now = believed.map_or(LedgerTime::ZERO, |moment| {
        let gone = wall.millis().saturating_sub(moment.wall.millis()).unsigned_abs();
        LedgerTime::from_millis(moment.ledger.millis().saturating_add(gone))
    });
    now.max(last.ledger)
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let gone = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Moment { ledger: LedgerTime::from_millis(self.from.millis().saturating_add(gone)), wall: wall() }
    }
}

fn wall() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    Timestamp::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const MINUTE: i64 = 60_000;

    fn moment(ledger: u64, wall: i64) -> Moment {
        Moment { ledger: LedgerTime::from_millis(ledger), wall: Timestamp::from_millis(wall) }
    }

    /// Ledger time at `wall` for entries given the oldest first.
    fn at(wall: i64, entries: &[(u64, i64)]) -> u64 {
        let seen: Vec<Moment> = entries.iter().rev().map(|(ledger, wall)| moment(*ledger, *wall)).collect();
        carried_on(&seen, Timestamp::from_millis(wall)).millis()
    }

    #[test]
    fn ledger_time_counts_the_time_away_and_never_runs_backwards() {
        let now = wall().millis();
        assert!(SystemClock::after(&[moment(5_000, now - 3_600_000)]).now().ledger.millis() >= 3_605_000);
        // A wall clock that is behind tells nothing: only what passes while this runs is added.
        let behind = SystemClock::after(&[moment(5_000, now + 3_600_000)]).now().ledger.millis();
        assert!((5_000..3_000_000).contains(&behind), "{behind}");
        assert_eq!(at(100 * DAY, &[]), 0);
    }

    #[test]
    fn ledger_time_does_not_jump_because_a_clock_was_wrong_in_between() {
        let right = 100 * DAY;
        let minute = MINUTE.unsigned_abs();
        // Set back by a day, or to 1970, for one holder, and put right before the next.
        for wrong in [right - DAY, 0] {
            assert_eq!(at(wrong, &[(5_000, right)]), 5_000);
            assert_eq!(at(right + MINUTE, &[(5_000, right), (5_000, wrong)]), 5_000 + minute);
            // While it stays wrong, the time away from what was recorded by it counts.
            assert_eq!(at(wrong + MINUTE, &[(5_000, right), (5_000, wrong)]), 5_000 + minute);
        }
        // Ahead while a holder lived, and right again.
        let ahead = [(5_000, right), (6_000, right + DAY), (7_000, right + 2_000)];
        assert_eq!(at(right + 2_000 + MINUTE, &ahead), 7_000 + minute);
    }
}
