//! Heartbeats: whoever says that it lives is expected to go on saying so, and is found silent when it does not (2.C rule 3,
//! R152). A heartbeat is no progress, and a missed one is no error: nothing is taken from anybody for it.
//!
//! Who owes them: an agent that has given one, from then on until its program ends. The origin expects one of every agent at
//! T1 (1.3-a); here most are programs that were written before there was anybody to tell, and would be found silent for nothing
//! that is wrong with them. Whoever begins means to go on, so that their silence says something.

use eparch_domain::{AgentId, LedgerTime, Severity, Span};
use serde::{Deserialize, Serialize};

use crate::fact::Fact;
use crate::governor::Turn;

/// How bad silence is: as bad as no progress (1.4), which is LIVENESS as well. It raises no alert, as nothing below HIGH does
/// (R079).
pub(crate) const SILENCE: Severity = Severity::Medium;

/// What people are told of an agent that was found silent.
pub const SILENT: &str = "its agent has missed three heartbeats";

/// What is known of an agent's heartbeats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heartbeats {
    /// When the last one came; nothing before the first.
    pub(crate) last: Option<LedgerTime>,
    /// The next has to come before this, while it is waited for.
    pub(crate) due_by: Option<LedgerTime>,
    /// What is left until then, while nobody waits for it; nothing once it was missed.
    pub(crate) left: Option<Span>,
}

impl Heartbeats {
    /// Whether nothing is known of any.
    pub(crate) fn are_none(&self) -> bool {
        *self == Heartbeats::default()
    }
}

/// An agent has been silent for as long as three heartbeats take. That is said once; a heartbeat begins it anew.
pub(crate) fn missed(turn: &mut Turn<'_>, agent: AgentId) {
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let (Some(last), Some(_)) = (attempt.heartbeats.last, attempt.heartbeats.due_by) else { return };
    turn.record(Fact::HeartbeatsMissed { agent, last, severity: SILENCE });
}
