//! Lengths of time, as people write them: `30m`, `2h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time in whole milliseconds. Written and read as a number with a unit: `500ms`, `30s`, `10m`, `2h`, `7d`
/// (R044).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(u64);

/// Why a text is not a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSpan {
    /// No number, or no known unit.
    #[error("a duration is a whole number with a unit: ms, s, m, h or d, as in 30m")]
    Shape,
    /// Longer than [`Span::MAX`].
    #[error("a duration is at most 366d")]
    TooLong,
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// The longest length that can be written, 366 days: past a year a deadline is a mistake, and every sum of two
    /// lengths stays far from overflow.
    pub const MAX: Span = Span(366 * 86_400_000);

    /// A length of so many milliseconds.
    pub const fn from_millis(millis: u64) -> Span {
        Span(millis)
    }

    /// A length of so many seconds.
    pub const fn from_secs(secs: u64) -> Span {
        Span(secs.saturating_mul(1_000))
    }

    /// A length of so many minutes.
    pub const fn from_mins(mins: u64) -> Span {
        Span(mins.saturating_mul(60_000))
    }

    /// A length of so many hours.
    pub const fn from_hours(hours: u64) -> Span {
        Span(hours.saturating_mul(3_600_000))
    }

    /// Whole milliseconds.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The same length for the standard library.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// True when it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

impl FromStr for Span {
    type Err = BadSpan;
    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(BadSpan::Shape)?;
        if number.is_empty() {
            return Err(BadSpan::Shape);
        }
        let number: u64 = number.parse().map_err(|_| BadSpan::TooLong)?;
        let span = Span(number.checked_mul(*factor).ok_or(BadSpan::TooLong)?);
        if span > Span::MAX { Err(BadSpan::TooLong) } else { Ok(span) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.pad("0s");
        }
        let (name, factor) = ["d", "h", "m", "s", "ms"]
            .iter()
            .filter_map(|name| UNITS.iter().find(|(known, _)| known == name))
            .find(|(_, factor)| self.0.is_multiple_of(*factor))
            .expect("every length is a whole number of milliseconds");
        f.pad(&format!("{}{name}", self.0 / factor))
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r044_units_are_read_and_nonsense_is_not() {
        let table =
            [("30m", 1_800_000), ("10m", 600_000), ("5s", 5_000), ("2h", 7_200_000), ("1d", 86_400_000)];
        for (text, millis) in table {
            assert_eq!(text.parse::<Span>().unwrap().millis(), millis);
            assert_eq!(Span::from_millis(millis).to_string(), text);
        }
        for bad in ["", "30", "m", "-5s", "1.5h", "5 s", "5S", "5sm", "1y"] {
            assert_eq!(bad.parse::<Span>(), Err(BadSpan::Shape), "{bad}");
        }
        for long in ["367d", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(long.parse::<Span>(), Err(BadSpan::TooLong), "{long}");
        }
    }

    proptest! {
        #[test]
        fn r044_written_lengths_read_back(millis in 0..=Span::MAX.millis()) {
            let span = Span::from_millis(millis);
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
    }
}
