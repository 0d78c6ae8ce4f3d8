//! A wall clock that nobody can believe. While a holder lives, ledger time goes on whatever the wall clock does, and what is
//! over is over by it. A holder that begins with the wall clock before what was recorded cannot tell which authority is over:
//! none is given until the clock has caught up, or somebody who knows says that it is right.

use eparch_domain::{Name, Span, Timestamp, limits};

use crate::ends;
use crate::event::ClockMoved;
use crate::fact::Fact;
use crate::governor::Turn;
use crate::operators;

/// The wall clock was set back or forward while its holder lived. That is no reason to doubt it, neither now nor by a later
/// holder: nothing happened that ledger time has not measured. Where it is doubted already, it may catch up sooner or later
/// than was thought.
pub(crate) fn jumped(turn: &mut Turn<'_>) {
    match doubted_until(turn) {
        Some(until) => doubt(turn, until),
        None => ends::look(turn),
    }
    crate::lease::clock_jumped(turn);
    crate::lock::clock_jumped(turn);
}

/// A holder begins: a clock that was set back meanwhile is not believed, and one that was not believed and is still behind is
/// not either.
pub(crate) fn booted(turn: &mut Turn<'_>, moved: Option<&ClockMoved>) {
    let doubted = doubted_until(turn);
    match moved.filter(|moved| is_behind(turn, moved.from)) {
        Some(moved) => {
            let seen = doubted.map_or(moved.from, |until| until.max(moved.from));
            turn.record(Fact::ClockSetBack { seen });
            doubt(turn, seen);
        }
        None => match doubted {
            Some(until) => doubt(turn, until),
            // It was set back under a holder of an earlier version, which left this note.
            None if turn.governor.state.leases.wall_seen.is_some() => {
                turn.record(Fact::ClockTrusted { by: None });
            }
            None => {}
        },
    }
}

/// Whether the clock is before a time by more than is allowed for.
fn is_behind(turn: &Turn<'_>, seen: Timestamp) -> bool {
    let behind = seen.millis().saturating_sub(turn.now.wall.millis());
    behind > i64::try_from(limits::CLOCK_SKEW.millis()).unwrap_or(i64::MAX)
}

/// What the clock has to say to be believed, while it is not.
fn doubted_until(turn: &Turn<'_>) -> Option<Timestamp> {
    let leases = &turn.governor.state.leases;
    leases.wall_seen.filter(|_| leases.doubt.is_some())
}

fn doubt(turn: &mut Turn<'_>, until: Timestamp) {
    let behind = until.millis().saturating_sub(turn.now.wall.millis()).max(0).unsigned_abs();
    let look_at = turn.now.ledger.after(Span::from_millis(behind));
    turn.record(Fact::ClockDoubted { until, look_at });
}

/// The clock was to have caught up by now. Had it, it would be believed already: before anything else is looked at, that is.
pub(crate) fn look(turn: &mut Turn<'_>) {
    if let Some(until) = doubted_until(turn) {
        doubt(turn, until);
    }
}

/// Whatever the clock was believed to be behind of has come.
pub(crate) fn caught_up(turn: &mut Turn<'_>) {
    if turn.governor.state.leases.wall_seen.is_some_and(|seen| turn.now.wall >= seen) {
        turn.record(Fact::ClockTrusted { by: None });
        ends::look(turn);
    }
}

/// Somebody says that the clock is right.
pub(crate) fn vouched(turn: &mut Turn<'_>, by: &Name) {
    let may = |known: &crate::operator::Operator| known.role.may_administer();
    if operators::require(turn, by, "vouch for the clock", may).is_none() {
        return;
    }
    if turn.governor.state.leases.wall_seen.is_some() {
        turn.record(Fact::ClockTrusted { by: Some(by.clone()) });
        ends::look(turn);
    }
}
