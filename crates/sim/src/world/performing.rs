//! What a world does about a durable decision: people look at their gates, shells obey.

use std::collections::BTreeMap;

use eparch_domain::phase::AGENT_PHASES_ORDERED;
use eparch_domain::{AgentId, Phase, Tier};
use eparch_governor::{AttemptEnd, Effect, Fact, Kept, Record, Separation};

use super::{Act, BUSY_STEPS, World};
use crate::actors::{self, Temper};

impl World {
    /// Does what a durable decision asks for, and reacts to what it says.
    pub(super) fn perform(&mut self, record: &Record) {
        for fact in &record.decision.facts {
            self.notice(fact);
        }
        for effect in &record.decision.effects {
            self.obey(effect);
        }
    }

    fn notice(&mut self, fact: &Fact) {
        match fact {
            Fact::RunSpawned(spawned) => self.runs.push(spawned.run),
            // What nobody asked for nobody asks for again.
            Fact::RunChanged { run, status, .. }
                if status.is_terminal()
                    && self.scores_of.contains_key(run)
                    && self.steps.len() < BUSY_STEPS
                    && self.dice.chance(50) =>
            {
                self.later(5_000, Act::Repeat { run: *run });
            }
            Fact::GateOpened(opened) => {
                for _ in 0..self.dice.below(7) {
                    let within = *self.dice.pick(&[500, 5_000, 60_000]);
                    self.later(within, Act::Answer { gate: opened.gate });
                }
                if opened.separation == Separation::RemoteKey && self.dice.chance(60) {
                    self.later(500, Act::Replace { by: opened.requester.clone(), gate: opened.gate });
                }
            }
            Fact::GateClosed { gate, .. } => {
                if self.dice.chance(20) {
                    self.later(500, Act::Answer { gate: *gate });
                }
                self.was_answered(*gate);
            }
            Fact::OutputSeen { agent, outputs, artifacts } => {
                let nothing = || Kept { outputs: BTreeMap::new(), artifacts: Vec::new() };
                let left = self.left.entry(*agent).or_insert_with(nothing);
                left.outputs.extend(outputs.clone());
                left.artifacts.extend(artifacts.clone());
            }
            Fact::AttemptEnded { agent, end: AttemptEnd::Completed } => {
                if let (Some(left), Some(seen)) =
                    (self.left.remove(agent), self.player.seen().agents.get(agent))
                {
                    self.kept.insert((seen.run, seen.stage), left);
                }
            }
            Fact::ActionDecided(ruled) => self.was_ruled(ruled),
            Fact::PermitSpent { agent, permit } => self.was_spent(*agent, *permit),
            Fact::PerformanceReleased { agent, permit, .. } => self.was_let_go(*agent, *permit),
            _ => {}
        }
    }

    fn obey(&mut self, effect: &Effect) {
        match effect {
            Effect::Prepare(spec) => {
                let temper = Temper::random(&mut self.dice);
                self.tempers.insert(spec.agent, temper);
                if spec.tier >= Tier::T2 {
                    self.builders.insert(spec.agent);
                }
                if temper == Temper::Dishonest {
                    self.forge(spec.agent);
                }
                if self.dice.chance(30) {
                    self.will_ask(spec.agent, 2, 5_000);
                }
                self.work(spec.agent, Phase::Bootstrap, Phase::Plan);
            }
            Effect::Execute { agent, .. } => {
                let temper = self.tempers.get(agent).copied().unwrap_or(Temper::Diligent);
                let noisy = temper == Temper::Noisy;
                let (signals, within) = if noisy { (25, 2_000) } else { (self.dice.below(3), 20_000) };
                for _ in 0..signals {
                    self.later(within, Act::Signal { agent: *agent });
                }
                let (asks, within) = match temper {
                    Temper::Greedy => {
                        (self.dice.between(60, 140), *self.dice.pick(&[60_000, 300_000, 300_000]))
                    }
                    _ => (self.dice.below(12), *self.dice.pick(&[500, 5_000, 20_000])),
                };
                self.will_ask(*agent, asks, within);
                // Somebody who says that they live, and then nothing any more.
                if temper == Temper::Stuck {
                    for _ in 0..self.grim.between(4, 12) {
                        self.grimly(3_000, Act::Signal { agent: *agent });
                    }
                }
                // Those that are to live long keep what they find to themselves.
                if !matches!(temper, Temper::Stuck | Temper::Greedy) && self.grim.chance(4) {
                    self.grimly(20_000, Act::ShowToken { agent: *agent });
                }
                self.work(*agent, Phase::Execute, Phase::Execute);
            }
            Effect::Perform(performance) => self.will_perform(performance),
            Effect::EndPerformance { agent, permit, .. } => {
                self.later(2_000, Act::Performed { agent: *agent, permit: *permit });
            }
            Effect::Conclude { agent, from, .. } => {
                if self.dice.chance(50) {
                    self.will_ask(*agent, 2, 1_000);
                }
                if *from == Phase::Exit {
                    self.use_up(*agent);
                }
                self.work(*agent, *from, Phase::Exit);
            }
            Effect::Kill { agent, .. } => {
                let order = self.order(*agent);
                // Now and then nothing is heard of it, or only after it was asked for again.
                if self.dice.chance(85) || self.has_ended(*agent) {
                    let within = *self.dice.pick(&[3_000, 3_000, 3_000, 60_000]);
                    self.later(within, Act::Killed { agent: *agent, order });
                }
            }
            Effect::Reap { agent, .. } => {
                for (percent, certain) in [(80, self.has_ended(*agent)), (10, false)] {
                    if self.dice.chance(percent) || certain {
                        let within = *self.dice.pick(&[5_000, 5_000, 5_000, 60_000]);
                        self.later(within, Act::Reaped { agent: *agent });
                    }
                }
            }
            Effect::RenewCredential { .. }
            | Effect::EndCredential { .. }
            | Effect::Release { .. }
            | Effect::Seal { .. } => {}
        }
    }

    /// Whether an agent has ended. Silence is a reason to ask again, for as long as it lives. Its end may be told in the very
    /// commit that asks something of its shell: nobody asks that again, and the shell, which finds it dead, is not silent.
    pub(super) fn has_ended(&self, agent: AgentId) -> bool {
        !self.player.seen().agents.get(&agent).is_some_and(|seen| seen.alive)
    }

    /// Something else is asked of an agent's shell: what it was told before is void.
    fn order(&mut self, agent: AgentId) -> u64 {
        let order = self.orders.entry(agent).or_default();
        *order += 1;
        *order
    }

    /// Carries an agent through some phases, in one report or several.
    fn work(&mut self, agent: AgentId, from: Phase, to: Phase) {
        let order = self.order(agent);
        let temper = self.tempers.get(&agent).copied().unwrap_or(Temper::Diligent);
        let silent = match (temper, from <= Phase::Execute) {
            (Temper::Greedy, _) => 90,
            (_, true) => 60,
            (_, false) => 30,
        };
        // What a greedy one does takes its time.
        let is_silent = temper == Temper::Stuck || (temper == Temper::Greedy && from == Phase::Execute);
        if is_silent && self.dice.chance(silent) && !self.has_ended(agent) {
            return;
        }
        let mut outcomes = Vec::new();
        for phase in AGENT_PHASES_ORDERED.into_iter().filter(|phase| (from..=to).contains(phase)) {
            let well = temper != Temper::Failing || self.dice.chance(60);
            outcomes.push(actors::outcome(&mut self.dice, agent, phase, well));
        }
        let within = *self.dice.pick(&[50, 1_000, 30_000]);
        // A shell that reports phase by phase up to EXECUTE; afterwards it is asked again for what is left.
        if self.dice.chance(30) && to <= Phase::Execute {
            let mut at = within;
            for outcome in outcomes {
                self.acts += 1;
                self.agenda.insert(
                    (self.now + at, self.acts),
                    Act::Advance { agent, order, outcomes: vec![outcome] },
                );
                at += self.dice.below(500);
            }
        } else {
            let cut = if self.dice.chance(30) {
                usize::try_from(self.dice.between(1, 4)).expect("a few")
            } else {
                usize::MAX
            };
            if to == Phase::Exit {
                outcomes.truncate(cut);
            }
            self.later(within, Act::Advance { agent, order, outcomes });
        }
    }

    fn forge(&mut self, agent: AgentId) {
        for _ in 0..self.dice.between(1, 3) {
            let mut outcomes = Vec::new();
            for _ in 0..self.dice.below(3) {
                let phase = *self.dice.pick(&AGENT_PHASES_ORDERED);
                let well = self.dice.chance(80);
                outcomes.push(actors::outcome(&mut self.dice, agent, phase, well));
            }
            self.later(20_000, Act::Forge { agent, outcomes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_is_never_silent_about_an_agent_that_has_ended() {
        let agent = AgentId::from_bits(7);
        let asked = [
            Effect::Execute { agent, plan: eparch_domain::Digest::of(b"plan") },
            Effect::Conclude { agent, from: Phase::Verify, failure: None },
            Effect::Kill { agent, because: "enough".to_owned() },
            Effect::Reap { agent, tree: None, performances: Vec::new() },
        ];
        for (effect, seed) in asked.iter().flat_map(|effect| (0..50).map(move |seed| (effect, seed))) {
            let mut world = World::new(seed);
            world.tempers.insert(agent, Temper::Stuck);
            world.obey(effect);
            let told =
                |act: &Act| matches!(act, Act::Advance { .. } | Act::Killed { .. } | Act::Reaped { .. });
            assert!(world.agenda.values().any(told), "{effect:?} with seed {seed}");
        }
    }
}
