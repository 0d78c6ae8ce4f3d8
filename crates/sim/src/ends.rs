//! What holds of whatever ends and is renewed by nobody: permits, approvals and gates end by whichever clock comes first, and a
//! wall clock that was set back lets nothing last longer (F17).

use eparch_domain::{AgentId, Moment, Timestamp};
use eparch_governor::{Fact, Until};

use crate::seen::{Seen, SeenGate};

/// Whether an end has come. One that the wall clock says nothing of is none that these worlds know.
pub(crate) fn is_over(until: Until, now: Moment) -> bool {
    now.ledger >= until.ledger || until.wall.is_none_or(|wall| now.wall >= wall)
}

/// What the wall clock would say when ledger time brings an end, if it went on as it does now.
fn told_now(until: Until, now: Moment) -> Timestamp {
    let left = until.ledger.since(now.ledger).millis().cast_signed();
    Timestamp::from_millis(now.wall.millis() + left)
}

/// An end comes no later by the wall clock than ledger time brings it.
pub(crate) fn sooner(until: &mut Until, now: Moment) {
    until.wall = until.wall.map(|wall| wall.min(told_now(*until, now)));
}

/// What a fact may follow on.
///
/// # Errors
///
/// What does not hold, in words.
pub(crate) fn before(seen: &Seen, fact: &Fact, now: Moment) -> Result<(), String> {
    let is_over = |gate: &SeenGate| is_over(gate.opened.deadline, now);
    match fact {
        Fact::VoteCast { gate, .. } if seen.gates.get(gate).is_some_and(is_over) => {
            Err(format!("a gate was answered past its time: {fact:?}"))
        }
        Fact::EndsSooner if seen.doubted => Err("ends were told by a clock that nobody believes".to_owned()),
        _ => Ok(()),
    }
}

/// What holds when a decision is whole, and nothing more is due: no gate waits past its time, and nothing that an agent may use
/// lasts longer by the wall clock than by ledger time.
///
/// # Errors
///
/// What does not hold, in words.
pub(crate) fn standing(seen: &Seen, now: Moment) -> Result<(), String> {
    if let Some(opened) = seen.open_gates().find(|opened| is_over(opened.deadline, now)) {
        return Err(format!("{} waits past its time", opened.gate));
    }
    let asks = |agent: AgentId| seen.agents.get(&agent).is_some_and(|of| of.has_authority());
    let permits = seen.permits.iter().filter(|(_, known)| !known.spent && asks(known.agent));
    let mut permits = permits.map(|(permit, known)| (permit.to_string(), known.expires));
    let approvals = seen.gates.iter().filter(|(gate, known)| {
        let asker = known.opened.sought.as_ref().map(|sought| sought.agent);
        known.approved && asker.is_some_and(asks) && !seen.used_approvals.contains(gate)
    });
    let mut approvals = approvals.map(|(gate, known)| (gate.to_string(), known.opened.deadline));
    let too_long = |(_, until): &(String, Until)| {
        until.ledger > now.ledger && until.wall.is_none_or(|wall| wall > told_now(*until, now))
    };
    match permits.find(too_long).or_else(|| approvals.find(too_long)) {
        Some((what, _)) => {
            Err(format!("{what} would last longer for whoever sleeps: the clock was set back"))
        }
        None => Ok(()),
    }
}
