//! What policies that are only watched (`@shadow`) would have said, beside what was decided.

use eparch_ledger::views::{RunDetail, WatchedView};

use crate::output::outln;
use crate::paint;

/// Prints what watched policies said in a run; nothing where none spoke.
pub(crate) fn print(run: &RunDetail) {
    if run.watched.is_empty() {
        return;
    }
    let head = match run.summary.decided_otherwise {
        0 => "would change no decision".to_owned(),
        1 => "would change 1 decision".to_owned(),
        many => format!("would change {many} decisions"),
    };
    outln!("\n{} {head}", paint::out().faint("watched policies"));
    for word in &run.watched {
        outln!("  {} where {} was decided: {}", says(word), word.decided, times(word.times));
    }
}

/// What one would have said, and whether that is nothing new.
pub(crate) fn says(word: &WatchedView) -> String {
    let vain = if word.otherwise { "" } else { ", which changes nothing" };
    would_say(&word.policy, word.would.as_str(), &word.reason_code) + vain
}

/// What a policy would have said, in a line that does nothing to a terminal.
pub(super) fn would_say(policy: &str, would: &str, reason: &str) -> String {
    paint::harmless(&format!("{policy} would say {would} ({reason})")).into_owned()
}

fn times(times: u64) -> String {
    if times == 1 { "once".to_owned() } else { format!("{times} times") }
}
