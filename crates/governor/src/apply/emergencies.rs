//! What facts about stops of everything, break-glass and alarms make so.

use eparch_domain::{Moment, limits};

use crate::alarm::Alarm;
use crate::break_glass::{Allowed, BreakGlass, GlassScope, GlassStands, wakes};
use crate::fact::Fact;
use crate::governor::Governor;
use crate::stop_all::Stopped;
use crate::timers::Timer;

/// Makes one such fact so; any other is none of these.
pub(super) fn apply(governor: &mut Governor, fact: &Fact, now: Moment) {
    match fact {
        Fact::AllStopped { by, reason } => {
            let (by, reason, at) = (by.clone(), reason.clone(), now.wall);
            governor.state.emergencies.stopped = Some(Stopped { by, at, reason, again_at: None });
        }
        Fact::StoppingGoesOn { again_at } => {
            if let Some(stopped) = &mut governor.state.emergencies.stopped {
                stopped.again_at = *again_at;
            }
            match again_at {
                Some(at) => governor.timers.set(Timer::Stopping, *at),
                None => governor.timers.clear(Timer::Stopping),
            }
        }
        Fact::AllLifted { .. } => governor.state.emergencies.stopped = None,
        Fact::BreakGlassAsked(asked) => {
            let keys_before = governor.state.keys_given;
            let asked = BreakGlass {
                asked: asked.as_ref().clone(),
                stands: GlassStands::Waiting,
                used: Vec::new(),
                keys_before,
            };
            governor.state.emergencies.glasses.count += 1;
            put(governor, asked);
        }
        Fact::BreakGlassOpened { grant, by, separation, expires, .. } => {
            let found = governor.state.emergencies.glasses.live.get(grant).cloned();
            let Some(mut found) = found else { return };
            let run = match &found.asked.scope {
                GlassScope::Run { run } | GlassScope::Stage { run, .. } => Some(*run),
                GlassScope::Agent { agent } => governor.agents.get(agent).map(|(run, _)| *run),
                GlassScope::NextRun { .. } => None,
            };
            let (by, separation, expires) = (by.clone(), *separation, *expires);
            found.stands = GlassStands::Open { by, separation, expires, run };
            put(governor, found);
        }
        Fact::BreakGlassBound { grant, run: bound } => {
            let found = governor.state.emergencies.glasses.live.get_mut(grant);
            if let Some(GlassStands::Open { run, .. }) = found.map(|found| &mut found.stands) {
                *run = Some(*bound);
            }
        }
        Fact::BreakGlassOver { grant, because } => {
            governor.timers.clear(Timer::BreakGlass(*grant));
            let glasses = &mut governor.state.emergencies.glasses;
            let Some(mut found) = glasses.live.remove(grant) else { return };
            let approved_by = match found.stands {
                GlassStands::Open { by, .. } => Some(by),
                GlassStands::Waiting | GlassStands::Over { .. } => None,
            };
            found.stands = GlassStands::Over { approved_by, because: because.clone() };
            glasses.over.push_back(found);
            while glasses.over.len() > limits::BREAK_GLASS_REMEMBERED {
                glasses.over.pop_front();
            }
        }
        Fact::AlarmRaised { alarm, .. } => {
            let emergencies = &mut governor.state.emergencies;
            emergencies.alarms += 1;
            if let Alarm::BreakGlassUsed { grant, action, target, .. } = alarm
                && let Some(found) = emergencies.glasses.live.get_mut(grant)
            {
                found.used.push(Allowed { action: *action, target: target.clone() });
            }
        }
        _ => {}
    }
}

/// Keeps one that is not over, and wakes when it is.
fn put(governor: &mut Governor, found: BreakGlass) {
    let grant = found.asked.grant;
    if let Some(at) = wakes(&found) {
        governor.timers.set(Timer::BreakGlass(grant), at);
    }
    governor.state.emergencies.glasses.live.insert(grant, found);
}
