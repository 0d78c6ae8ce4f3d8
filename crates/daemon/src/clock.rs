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
    /// A clock that goes on after `last`, the moment of the home's last entry. The time the home was not held counts,
    /// as far as the wall clock can tell: a gate's thirty minutes pass while nobody holds it. A wall clock set back in
    /// the meantime counts as no time at all.
    pub fn after(last: Moment) -> SystemClock {
        // A home without entries begins at zero.
        let away =
            if last == Moment::default() { 0 } else { wall().millis().saturating_sub(last.wall.millis()) };
        let away = away.max(0).unsigned_abs();
        SystemClock {
            begun: Instant::now(),
            from: LedgerTime::from_millis(last.ledger.millis().saturating_add(away)),
        }
    }
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

    #[test]
    fn ledger_time_counts_the_time_away_and_never_runs_backwards() {
        let hour_ago = Timestamp::from_millis(wall().millis() - 3_600_000);
        let last = Moment { ledger: LedgerTime::from_millis(5_000), wall: hour_ago };
        let now = SystemClock::after(last).now();
        assert!(now.ledger.millis() >= 3_605_000);

        let in_an_hour = Timestamp::from_millis(wall().millis() + 3_600_000);
        let last = Moment { ledger: LedgerTime::from_millis(5_000), wall: in_an_hour };
        assert!(SystemClock::after(last).now().ledger.millis() >= 5_000);
    }
}
