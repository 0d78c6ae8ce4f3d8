//! Times for people.

use std::time::{SystemTime, UNIX_EPOCH};

use eparch_domain::Timestamp;

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Milliseconds from one instant to a later one; none when it is not later.
pub(crate) fn between(earlier: Timestamp, later: Timestamp) -> u64 {
    u64::try_from(later.millis().saturating_sub(earlier.millis())).unwrap_or(0)
}

/// A length of time in a few characters: `840ms`, `3.2s`, `4m07s`, `2h05m`, `3d04h`.
pub(crate) fn length(millis: u64) -> String {
    let secs = millis / 1_000;
    match secs {
        0 => format!("{millis}ms"),
        1..60 => format!("{secs}.{}s", millis % 1_000 / 100),
        60..3_600 => format!("{}m{:02}s", secs / 60, secs % 60),
        3_600..86_400 => format!("{}h{:02}m", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{}d{:02}h", secs / 86_400, secs % 86_400 / 3_600),
    }
}

/// How long ago, in one unit: `just now`, `12s ago`, `3h ago`.
pub(crate) fn ago(then: Timestamp) -> String {
    let secs = between(then, now()) / 1_000;
    match secs {
        0..2 => "just now".to_owned(),
        2..120 => format!("{secs}s ago"),
        120..7_200 => format!("{}m ago", secs / 60),
        7_200..172_800 => format!("{}h ago", secs / 3_600),
        _ => format!("{}d ago", secs / 86_400),
    }
}

/// How long until then, in one unit; `now` when it has passed.
pub(crate) fn until(then: Timestamp) -> String {
    let secs = between(now(), then) / 1_000;
    match secs {
        0 => "now".to_owned(),
        1..120 => format!("in {secs}s"),
        120..7_200 => format!("in {}m", secs / 60),
        7_200..172_800 => format!("in {}h", secs / 3_600),
        _ => format!("in {}d", secs / 86_400),
    }
}

/// The time of day in UTC, `12:34:56Z`.
pub(crate) fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('T')
        .map_or(text.clone(), |(_, time)| format!("{}Z", time.chars().take(8).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short_and_times_are_utc() {
        let table = [
            (840, "840ms"),
            (3_250, "3.2s"),
            (247_000, "4m07s"),
            (7_500_000, "2h05m"),
            (273_600_000, "3d04h"),
        ];
        for (millis, text) in table {
            assert_eq!(length(millis), text);
        }
        assert_eq!(clock(Timestamp::from_millis(45_296_000)), "12:34:56Z");
        assert_eq!(ago(now()), "just now");
        assert_eq!(until(Timestamp::default()), "now");
    }
}
