//! Two times: the wall clock for records, ledger time for durations.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::span::Span;

/// A wall-clock instant in milliseconds since 1970 (UTC); written as RFC 3339. For records only: it may jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// An instant from milliseconds since 1970, cut to the years −9999 to 9999 that RFC 3339 can write.
    pub fn from_millis(millis: i64) -> Timestamp {
        // jiff's own limits, inside the years ±9999.
        const EDGE: i64 = 253_402_200_000_000;
        Timestamp(millis.clamp(-EDGE, EDGE))
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>().map(|instant| Timestamp::from_millis(instant.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// Milliseconds of a home's life, advanced monotonically and never backwards, not even over restarts. Every duration,
/// deadline and timeout is measured in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LedgerTime(u64);

impl LedgerTime {
    /// The beginning of a home's life.
    pub const ZERO: LedgerTime = LedgerTime(0);

    /// A point of ledger time from its milliseconds.
    pub const fn from_millis(millis: u64) -> LedgerTime {
        LedgerTime(millis)
    }

    /// Milliseconds since the beginning.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The point `span` later; stays at the end of time rather than wrapping.
    pub const fn after(self, span: Span) -> LedgerTime {
        LedgerTime(self.0.saturating_add(span.millis()))
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    pub const fn since(self, earlier: LedgerTime) -> Span {
        Span::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The time of a decision: ledger time for durations, wall clock for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moment {
    /// For durations.
    #[serde(rename = "ledger_ms")]
    pub ledger: LedgerTime,
    /// For records.
    pub wall: Timestamp,
}

/// Where the shell reads the time. The governor never does: the time comes with each event.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Moment;
}

/// A clock moved by hand, for tests and simulation.
#[derive(Debug, Default)]
pub struct ManualClock {
    ledger: AtomicU64,
    wall: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `moment`.
    pub fn at(moment: Moment) -> ManualClock {
        ManualClock {
            ledger: AtomicU64::new(moment.ledger.millis()),
            wall: AtomicI64::new(moment.wall.millis()),
        }
    }

    /// Moves both times forward.
    pub fn advance(&self, span: Span) {
        self.ledger.fetch_add(span.millis(), Ordering::SeqCst);
        self.jump_wall(i64::try_from(span.millis()).unwrap_or(i64::MAX));
    }

    /// Moves the wall clock alone, as somebody setting it would.
    pub fn jump_wall(&self, millis: i64) {
        self.wall.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment {
            ledger: LedgerTime::from_millis(self.ledger.load(Ordering::SeqCst)),
            wall: Timestamp::from_millis(self.wall.load(Ordering::SeqCst)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_with_milliseconds() {
        let instant = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(instant.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(instant.to_string().parse::<Timestamp>().unwrap(), instant);
        assert!(!Timestamp::from_millis(i64::MAX).to_string().contains("ms"));
    }

    #[test]
    fn ledger_time_never_wraps_and_never_runs_backwards() {
        let end = LedgerTime::from_millis(u64::MAX);
        assert_eq!(end.after(Span::from_secs(1)), end);
        assert_eq!(LedgerTime::ZERO.since(end), Span::ZERO);
    }

    #[test]
    fn the_manual_clock_moves_only_by_hand() {
        let clock = ManualClock::default();
        clock.advance(Span::from_secs(60));
        clock.jump_wall(-3_600_000);
        let now = clock.now();
        assert_eq!(now.ledger.millis(), 60_000);
        assert_eq!(now.wall.millis(), 60_000 - 3_600_000);
    }
}
