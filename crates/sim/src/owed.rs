//! Which effects a decision owes for the facts it found: these and no others.

use eparch_domain::{AgentId, Digest, PermitId, Phase, RunId};
use eparch_governor::{Effect, Event, Fact};

use crate::seen::Seen;

/// One effect, as far as facts say it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Prepare(AgentId),
    Execute(AgentId, Option<Digest>),
    Perform(PermitId),
    EndPerformance(PermitId),
    Conclude(AgentId, Phase),
    Kill(AgentId),
    Release(AgentId),
    /// With what is performed for it, and whether its tree is known.
    Reap(AgentId, Vec<(PermitId, bool)>),
    Seal(RunId),
}

/// What is owed so far for one decision.
#[derive(Debug)]
pub(crate) struct Owed {
    due: Vec<Due>,
    /// The agent that outcomes came of, and whether one of them was taken.
    advanced: Option<(AgentId, bool)>,
    /// Whether it goes no further.
    stands: bool,
    /// Agents that have to be found cut off.
    to_cut_off: Vec<AgentId>,
}

impl Owed {
    /// What is owed for the event alone.
    pub(crate) fn of(seen: &Seen, event: &Event) -> Owed {
        let mut owed = Owed { due: Vec::new(), advanced: None, stands: false, to_cut_off: Vec::new() };
        match event {
            Event::Booted { .. } => owed.to_cut_off = seen.alive().map(|(agent, _)| agent).collect(),
            Event::AgentAdvanced { agent, .. } => {
                owed.advanced = Some((*agent, false));
                // Something came of an agent that has ended: it may hold something again.
                if seen.agents.get(agent).is_none_or(|of| !of.alive) {
                    owed.due.push(Due::Release(*agent));
                }
            }
            _ => {}
        }
        owed
    }

    /// What is owed for a fact, with everything seen before it.
    pub(crate) fn follows(&mut self, seen: &Seen, fact: &Fact) {
        match fact {
            Fact::AttemptBegan { agent, .. } => self.due.push(Due::Prepare(*agent)),
            Fact::ProgramReleased { agent, .. } => {
                let plan = seen.agents.get(agent).and_then(|of| of.plan);
                self.due.push(Due::Execute(*agent, plan));
            }
            Fact::PerformanceBegan { permit, .. } => self.due.push(Due::Perform(*permit)),
            Fact::PerformanceEnding { permit, .. } => self.due.push(Due::EndPerformance(*permit)),
            Fact::PhaseEntered { agent, .. } => {
                if let Some((advanced, moved)) = &mut self.advanced {
                    *moved |= advanced == agent;
                }
            }
            Fact::AgentEnding { agent, to_prove: true, .. } => {
                self.stands = true;
                self.due.push(Due::Reap(*agent, performed(seen, *agent)));
            }
            Fact::AgentEnding { agent, .. } if seen.agents.get(agent).is_some_and(|of| !of.killed) => {
                self.due.push(Due::Kill(*agent));
            }
            Fact::AttemptCutOff { agent } => {
                self.to_cut_off.retain(|other| other != agent);
                self.due.push(Due::Reap(*agent, performed(seen, *agent)));
            }
            Fact::AgentLingers { agent, .. } => {
                self.due.push(Due::Reap(*agent, performed(seen, *agent)));
            }
            Fact::AttemptEnded { agent, .. } => {
                let begun = seen.agents.get(agent).is_some_and(|of| of.released);
                // One that has reached EXIT, or was proven dead, holds nothing any more.
                if self.advanced.is_some_and(|(advanced, _)| advanced == *agent) && !begun {
                    self.due.push(Due::Release(*agent));
                }
            }
            Fact::RunChanged { run, status, .. } if status.is_terminal() => self.due.push(Due::Seal(*run)),
            _ => {}
        }
    }

    /// Whether just that was asked for. By now the facts have been seen.
    ///
    /// # Errors
    ///
    /// What was forgotten, and what nothing leads to.
    pub(crate) fn settled(mut self, seen: &Seen, effects: &[Effect]) -> Result<(), String> {
        if let Some(agent) = self.to_cut_off.first() {
            return Err(format!("{agent} was not found cut off"));
        }
        if let Some((agent, true)) = self.advanced
            && let Some(of) = seen.agents.get(&agent).filter(|of| of.alive && !self.stands)
            && let Some(phase) = of.phase.filter(|phase| *phase > Phase::Execute)
        {
            self.due.push(Due::Conclude(agent, phase));
        }
        let mut asked: Vec<Due> = effects.iter().filter_map(told).collect();
        asked.sort();
        self.due.sort();
        if asked == self.due {
            return Ok(());
        }
        let without = |one: &[Due], other: &[Due]| {
            let mut left = one.to_vec();
            for due in other {
                if let Some(at) = left.iter().position(|known| known == due) {
                    left.remove(at);
                }
            }
            left
        };
        let (forgotten, unfounded) = (without(&self.due, &asked), without(&asked, &self.due));
        Err(format!("effects do not follow from facts: forgotten {forgotten:?}, unfounded {unfounded:?}"))
    }
}

/// What is performed for an agent.
fn performed(seen: &Seen, agent: AgentId) -> Vec<(PermitId, bool)> {
    let of_agent = seen.permits.iter().filter(|(_, permit)| permit.agent == agent && permit.is_performed());
    of_agent.map(|(permit, seen)| (*permit, seen.released)).collect()
}

/// Worlds have no vault.
fn told(effect: &Effect) -> Option<Due> {
    Some(match effect {
        Effect::Prepare(spec) => Due::Prepare(spec.agent),
        Effect::Execute { agent, plan } => Due::Execute(*agent, Some(*plan)),
        Effect::Conclude { agent, from, .. } => Due::Conclude(*agent, *from),
        Effect::Kill { agent, .. } => Due::Kill(*agent),
        Effect::Release { agent } => Due::Release(*agent),
        Effect::Perform(performance) => Due::Perform(performance.permit),
        Effect::EndPerformance { permit, .. } => Due::EndPerformance(*permit),
        Effect::Reap { agent, performances, .. } => {
            let cages = performances.iter().map(|cage| (cage.permit, cage.tree.is_some()));
            Due::Reap(*agent, cages.collect())
        }
        Effect::RenewCredential { .. } | Effect::EndCredential { .. } => return None,
        Effect::Seal { run } => Due::Seal(*run),
    })
}
