//! Alarms: what somebody should know at once that is no violation of an agent's. Each has an id that follows from its number,
//! so that whoever hears of it twice knows that it is the same.

use eparch_domain::{Action, AgentId, AlertId, BreakGlassId, Digest, Severity};
use serde::{Deserialize, Serialize};

use crate::fact::Fact;
use crate::governor::Turn;

/// What an alarm is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Alarm {
    /// Somebody stopped everything.
    StoppedAll,
    /// Two people let something be done that policy does not allow.
    BreakGlassOpened {
        /// The grant.
        grant: BreakGlassId,
    },
    /// Something was allowed under such a grant that had not been before.
    BreakGlassUsed {
        /// The grant.
        grant: BreakGlassId,
        /// Who asked for it.
        agent: AgentId,
        /// What it wants to do.
        action: Action,
        /// To what.
        target: String,
    },
}

impl Alarm {
    /// How bad it is. That everything stands still is as bad as it gets; what two people answer for is not.
    pub fn severity(&self) -> Severity {
        match self {
            Alarm::StoppedAll => Severity::Critical,
            Alarm::BreakGlassOpened { .. } | Alarm::BreakGlassUsed { .. } => Severity::High,
        }
    }
}

pub(crate) fn raise(turn: &mut Turn<'_>, alarm: Alarm) {
    let before = turn.governor.state.emergencies.alarms;
    let alert = AlertId::derived(&Digest::of_parts(&[b"alarm", &before.to_be_bytes()]));
    turn.record(Fact::AlarmRaised { alert, severity: alarm.severity(), alarm });
}
