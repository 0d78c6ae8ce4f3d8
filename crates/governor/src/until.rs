//! When authority is over. It ends by ledger time and by the wall clock, whichever says so first: ledger time stands still while
//! the machine sleeps, and the wall clock may be set back.

use eparch_domain::{LedgerTime, Moment, Span, Timestamp};
use serde::{Deserialize, Serialize};

/// When something is over that nobody renews: a permit, an approval, a gate's waiting (F17). It is written as a moment. What was
/// written before ends told the wall clock is a number, milliseconds of ledger time, and ends by that alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Until {
    /// By ledger time.
    pub ledger: LedgerTime,
    /// By the wall clock; `None` where an earlier version wrote it down.
    pub wall: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Both(Moment),
    ByLedgerTime(LedgerTime),
}

impl From<Written> for Until {
    fn from(written: Written) -> Until {
        match written {
            Written::Both(moment) => moment.into(),
            Written::ByLedgerTime(ledger) => Until { ledger, wall: None },
        }
    }
}

impl From<Until> for Written {
    fn from(until: Until) -> Written {
        let Until { ledger, wall } = until;
        wall.map_or(Written::ByLedgerTime(ledger), |wall| Written::Both(Moment { ledger, wall }))
    }
}

impl From<Moment> for Until {
    fn from(moment: Moment) -> Until {
        Until { ledger: moment.ledger, wall: Some(moment.wall) }
    }
}

impl Until {
    /// So long after now, by both times.
    pub fn after(now: Moment, span: Span) -> Until {
        end(now, span).into()
    }

    /// When ledger time says so much, and what the wall clock will say by then.
    pub fn by(now: Moment, ledger: LedgerTime) -> Until {
        Until { ledger, wall: end(now, ledger.since(now.ledger)).wall.into() }
    }

    /// Whether it has come: either time says so.
    pub fn is_over(self, now: Moment) -> bool {
        now.ledger >= self.ledger || self.wall.is_some_and(|wall| now.wall >= wall)
    }

    /// What is left until then, by whichever time says less.
    pub fn left(self, now: Moment) -> Span {
        let by_ledger = self.ledger.since(now.ledger);
        let by_wall = |wall: Timestamp| wall.millis().saturating_sub(now.wall.millis()).max(0).unsigned_abs();
        self.wall.map_or(by_ledger, |wall| by_ledger.min(Span::from_millis(by_wall(wall))))
    }

    /// When the wall clock brings it once it was set back, where that is sooner than it says now: when ledger time would.
    pub(crate) fn sooner(self, now: Moment) -> Option<Timestamp> {
        let by_ledger = end(now, self.ledger.since(now.ledger)).wall;
        self.wall.filter(|wall| *wall > by_ledger).map(|_| by_ledger)
    }

    /// What the wall clock will say then, as far as it is known now.
    pub fn wall(self, now: Moment) -> Timestamp {
        self.wall.unwrap_or_else(|| end(now, self.ledger.since(now.ledger)).wall)
    }
}

/// Whether an end has come: either time says so.
pub(crate) fn is_over(expires: Moment, now: Moment) -> bool {
    Until::from(expires).is_over(now)
}

/// So long after now, by both times.
pub(crate) fn end(now: Moment, ttl: Span) -> Moment {
    let wall = now.wall.millis().saturating_add(i64::try_from(ttl.millis()).unwrap_or(i64::MAX));
    Moment { ledger: now.ledger.after(ttl), wall: Timestamp::from_millis(wall) }
}

/// What is left until an end.
pub(crate) fn left(expires: Moment, now: Moment) -> Span {
    Until::from(expires).left(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn moment(ledger: u64, wall: i64) -> Moment {
        Moment { ledger: LedgerTime::from_millis(ledger), wall: Timestamp::from_millis(wall) }
    }

    /// F17: a moment before, at and after, by one time while the other stands still or has gone back.
    #[test]
    fn f17_an_end_comes_by_whichever_time_says_so_first() {
        let until = Until::after(moment(5_000, HOUR), Span::from_secs(60));
        let table = [
            (moment(64_999, HOUR), false, 1),
            (moment(65_000, HOUR), true, 0),
            (moment(65_001, 0), true, 0),
            (moment(5_000, HOUR + 59_999), false, 1),
            (moment(5_000, HOUR + 60_000), true, 0),
            (moment(5_000, 3 * HOUR), true, 0),
            (moment(64_000, 0), false, 1_000),
        ];
        for (now, over, left) in table {
            assert_eq!((until.is_over(now), until.left(now)), (over, Span::from_millis(left)), "{now:?}");
        }
    }

    #[test]
    fn an_end_of_an_earlier_version_is_one_of_ledger_time_alone_and_stays_written_so() {
        let old: Until = serde_json::from_str("65000").unwrap();
        assert_eq!(old, Until { ledger: LedgerTime::from_millis(65_000), wall: None });
        assert!(!old.is_over(moment(64_999, i64::MAX)) && old.is_over(moment(65_000, 0)));
        assert_eq!(old.left(moment(64_000, 9 * HOUR)), Span::from_secs(1));
        assert_eq!(old.wall(moment(64_000, HOUR)), Timestamp::from_millis(HOUR + 1_000));
        assert_eq!(serde_json::to_string(&old).unwrap(), "65000");
        let new = Until::by(moment(5_000, HOUR), LedgerTime::from_millis(65_000));
        assert_eq!(new, moment(65_000, HOUR + 60_000).into());
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(text, r#"{"ledger_ms":65000,"wall":"1970-01-01T01:01:00.000Z"}"#);
        assert_eq!(serde_json::from_str::<Until>(&text).unwrap(), new);
    }
}
