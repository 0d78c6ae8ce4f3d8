//! The version of the definitions in this crate. They are what other people's files and records are written in, so
//! they have a history of their own (R040).

/// The version of the core definitions, as `eparch version --core` prints it.
pub const CORE_VERSION: &str = "1.1";

/// Every version with its date and what changed, newest last. `cargo xtask check` refuses a version without a line
/// here and in the changelog.
pub const CORE_HISTORY: &[(&str, &str, &str)] = &[
    (
        "1.0",
        "2026-11-21",
        "the lifecycle, outputs, statuses, violations, limits and store keys of requirements R001–R040",
    ),
    ("1.1", "2026-11-21", "the 26 actions that policy decides on, and the roles of operators"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r040_the_current_version_ends_the_history() {
        assert_eq!(CORE_HISTORY.first().map(|line| line.0), Some("1.0"));
        assert_eq!(CORE_HISTORY.last().map(|line| line.0), Some(CORE_VERSION));
    }
}
