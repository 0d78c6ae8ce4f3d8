//! A wall clock that nobody can believe. While a holder lives, ledger time goes on whatever the wall clock does. One that
//! begins with the wall clock before what was recorded cannot tell which authority is over: none is given until the clock
//! has caught up, or somebody who knows says that it is right.

use eparch_domain::{Name, Span, Timestamp, limits};

use crate::fact::Fact;
use crate::governor::Turn;
use crate::operators;

/// The wall clock was set back or forward by so much.
pub(crate) fn jumped(turn: &mut Turn<'_>, by_ms: i64) {
    if by_ms < 0 {
        let before = turn.now.wall.millis().saturating_sub(by_ms);
        let seen = turn.governor.state.leases.wall_seen.map_or(before, |seen| seen.millis().max(before));
        turn.record(Fact::ClockSetBack { seen: Timestamp::from_millis(seen) });
    }
    crate::lease::clock_jumped(turn);
}

/// A holder begins: a clock that is still behind what was recorded before is not believed.
pub(crate) fn booted(turn: &mut Turn<'_>) {
    let Some(until) = turn.governor.state.leases.wall_seen else { return };
    let behind = until.millis().saturating_sub(turn.now.wall.millis());
    if behind > i64::try_from(limits::CLOCK_SKEW.millis()).unwrap_or(i64::MAX) {
        doubt(turn, until);
    }
}

fn doubt(turn: &mut Turn<'_>, until: Timestamp) {
    let behind = until.millis().saturating_sub(turn.now.wall.millis()).max(0).unsigned_abs();
    let look_at = turn.now.ledger.after(Span::from_millis(behind));
    turn.record(Fact::ClockDoubted { until, look_at });
}

/// The clock was to have caught up by now. Had it, it would be believed already: before anything else is looked at, that is.
pub(crate) fn look(turn: &mut Turn<'_>) {
    let leases = &turn.governor.state.leases;
    if let (Some(_), Some(until)) = (leases.doubt, leases.wall_seen) {
        doubt(turn, until);
    }
}

/// Whatever the clock was believed to be behind of has come.
pub(crate) fn caught_up(turn: &mut Turn<'_>) {
    if turn.governor.state.leases.wall_seen.is_some_and(|seen| turn.now.wall >= seen) {
        turn.record(Fact::ClockTrusted { by: None });
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
    }
}
