//! What ends by the wall clock and is renewed by nobody: permits, approvals, the waiting of gates and of policies, what two people let pass. When
//! the clock is set back, an end that was told by it before would come that much too late by it, for whoever sleeps meanwhile:
//! from then on it comes when ledger time would bring it, as the clock tells that now. A clock that is put ahead changes no
//! end: the machine may have slept.

use std::sync::Arc;

use eparch_domain::Moment;

use crate::break_glass::{BreakGlass, GlassStands};
use crate::fact::Fact;
use crate::governor::{Governor, Turn};
use crate::state::{Doing, Gate, Run, StageState};
use crate::timers::{Timer, Timers};
use crate::until::Until;

/// The wall clock has jumped, or is believed again. Whatever ends later by it than ledger time says ends sooner.
pub(crate) fn look(turn: &mut Turn<'_>) {
    let (now, state) = (turn.now, &turn.governor.state);
    let glasses = state.emergencies.glasses.live.values();
    let policies = state.proposal.iter().map(|waits| waits.proposed.until);
    let mut others = glasses.filter_map(BreakGlass::ends).chain(policies).map(Until::from);
    if state.runs.values().any(|run| lasts_too_long(run, now))
        || others.any(|ends| ends.sooner(now).is_some())
    {
        turn.record(Fact::EndsSooner);
    }
}

fn lasts_too_long(run: &Run, now: Moment) -> bool {
    run.stages.iter().any(|stage| stage_lasts_too_long(stage, now))
}

fn stage_lasts_too_long(stage: &StageState, now: Moment) -> bool {
    let too_long = |until: Until| until.sooner(now).is_some();
    match &stage.doing {
        Doing::Gate(gate) => too_long(gate.opened.deadline),
        Doing::Attempt(attempt) => {
            let asked = attempt.questions.open.values().map(|open| open.opened.deadline);
            let approved = attempt.questions.approved.values().map(|approved| approved.until);
            let permits = attempt.actions.ends();
            asked.chain(approved).chain(permits).any(too_long)
        }
        Doing::Nothing | Doing::Queued(_) | Doing::Locks(_) | Doing::Backoff(_) => false,
    }
}

/// Makes it so.
pub(crate) fn end_sooner(governor: &mut Governor, now: Moment) {
    let runs = governor.state.runs.iter().filter(|(_, run)| lasts_too_long(run, now));
    for id in runs.map(|(id, _)| *id).collect::<Vec<_>>() {
        let Some(run) = governor.state.runs.get_mut(&id) else { continue };
        let stages = Arc::make_mut(run).stages.iter_mut();
        for stage in stages.filter(|stage| stage_lasts_too_long(stage, now)) {
            match &mut Arc::make_mut(stage).doing {
                Doing::Gate(gate) => wait_less(&mut governor.timers, gate, now),
                Doing::Attempt(attempt) => {
                    let questions = &mut attempt.questions;
                    questions.open.values_mut().for_each(|open| wait_less(&mut governor.timers, open, now));
                    questions.approved.values_mut().for_each(|approved| shorten(&mut approved.until, now));
                    attempt.actions.ends_mut().for_each(|expires| shorten(expires, now));
                }
                Doing::Nothing | Doing::Queued(_) | Doing::Locks(_) | Doing::Backoff(_) => {}
            }
        }
    }
    for found in governor.state.emergencies.glasses.live.values_mut() {
        let ends = match &mut found.stands {
            GlassStands::Waiting => &mut found.asked.until,
            GlassStands::Open { expires, .. } => expires,
            GlassStands::Over { .. } => continue,
        };
        if let Some(wall) = Until::from(*ends).sooner(now) {
            ends.wall = wall;
        }
    }
    if let Some(waits) = &mut governor.state.proposal {
        let until = &mut waits.proposed.until;
        if let Some(wall) = Until::from(*until).sooner(now) {
            until.wall = wall;
            governor.timers.set_until(Timer::Policies, (*until).into());
        }
    }
}

fn wait_less(timers: &mut Timers, gate: &mut Gate, now: Moment) {
    shorten(&mut gate.opened.deadline, now);
    timers.set_until(Timer::Gate(gate.opened.gate), gate.opened.deadline);
}

fn shorten(until: &mut Until, now: Moment) {
    if let Some(wall) = until.sooner(now) {
        until.wall = Some(wall);
    }
}
