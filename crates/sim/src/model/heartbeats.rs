//! Who has been silent for too long, told as time that was waited: it adds up while an agent is free to speak.

use eparch_domain::{AgentId, LedgerTime};
use eparch_governor::{Decision, Event, Fact, Signal};

use super::{Due, Model};

/// Three heartbeats, one every thirty seconds.
const THREE: u64 = 90_000;

/// What is known of an agent that has said that it lives.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse {
    /// For how long it was waited for, in milliseconds, before it was kept from speaking.
    waited: u64,
    /// Since when it is waited for, while it is.
    since: Option<LedgerTime>,
    /// It was found silent.
    found: bool,
}

impl Pulse {
    /// When it will have been silent for too long.
    pub(super) fn due(&self, id: AgentId) -> Option<(LedgerTime, Due)> {
        let since = self.since.filter(|_| !self.found)?;
        Some((LedgerTime::from_millis(since.millis() + THREE - self.waited), Due::Heartbeat(id)))
    }

    pub(super) fn is_found(&mut self) {
        self.found = true;
    }

    fn may_speak(&mut self, free: bool, now: LedgerTime) {
        match (self.since, free) {
            (Some(since), false) => {
                self.waited += now.since(since).millis();
                self.since = None;
            }
            (None, true) => self.since = Some(now),
            (Some(_), true) | (None, false) => {}
        }
    }
}

impl Model {
    /// After everything else: who works is waited for, unless people are asked or something is performed for it.
    pub(super) fn feel_pulses(&mut self) {
        let now = self.now;
        for agent in self.agents_mut() {
            let free = agent.questions.is_empty() && agent.performing.is_empty();
            let works = agent.works();
            agent.pulse = agent.pulse.take().filter(|_| works);
            if let Some(pulse) = &mut agent.pulse {
                pulse.may_speak(free, now);
            }
        }
    }

    /// What was found of heartbeats is what should have been.
    pub(super) fn compare_pulses(&self, event: &Event, decision: &Decision) -> Result<(), String> {
        let missed = decision.facts.iter().filter_map(|fact| match fact {
            Fact::HeartbeatsMissed { agent, .. } => Some(*agent),
            _ => None,
        });
        let missed: Vec<AgentId> = missed.collect();
        if missed != self.silent {
            return Err(format!("{missed:?} are silent, expected {:?}", self.silent));
        }
        let seen = decision.facts.iter().filter(|fact| matches!(fact, Fact::HeartbeatSeen { .. })).count();
        let is_one = matches!(event, Event::AgentSignalled { signal: Signal::Heartbeat, .. });
        if seen != usize::from(self.lives) || seen > usize::from(is_one) {
            return Err(format!("{seen} heartbeats were seen, expected {}", self.lives));
        }
        Ok(())
    }
}
