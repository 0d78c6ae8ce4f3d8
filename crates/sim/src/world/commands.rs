//! What is performed for agents of a world under their permits: a cage that opens or does not, a command that is let go, and how
//! it ends, well, badly, never, or told out of turn.

use eparch_domain::{AgentId, PermitId};
use eparch_governor::{Event, Performance, PerformanceEnd};

use super::{Act, World};

/// What agents mostly have performed.
pub(super) fn usual() -> Vec<String> {
    ["cat", "docs/guide"].map(str::to_owned).into()
}

impl World {
    /// An agent shows a permit for a command; now and then for another one than it asked for, or with one of no command.
    pub(super) fn perform_under(&mut self, agent: AgentId, permit: PermitId) -> Event {
        let mut command = usual();
        if self.dice.chance(6) {
            command.push("and more".to_owned());
        }
        if self.dice.chance(10) {
            self.later(1_000, Act::Perform { agent, permit });
        }
        Event::PerformanceAsked { agent, permit, command }
    }

    /// The shell opens a cage, and says so unless something is wrong with it.
    pub(super) fn will_perform(&mut self, performance: &Performance) {
        let (agent, permit) = (performance.agent, performance.permit);
        let within = *self.dice.pick(&[50, 500, 20_000]);
        match self.dice.below(10) {
            0 => self.later(within, Act::Performed { agent, permit }),
            1 => {}
            _ => self.later(within, Act::Opened { agent, permit }),
        }
        if self.dice.chance(10) {
            self.later(20_000, Act::Performed { agent, permit });
        }
    }

    pub(super) fn opened(&mut self, agent: AgentId, permit: PermitId) -> Event {
        if self.dice.chance(10) {
            self.later(1_000, Act::Opened { agent, permit });
        }
        let tree = Some(serde_json::json!({ "pid": permit.to_string() }));
        Event::PerformanceReady { agent, permit, tree, confinement: Vec::new() }
    }

    /// What was let go ends, mostly.
    pub(super) fn was_let_go(&mut self, agent: AgentId, permit: PermitId) {
        if self.dice.chance(80) {
            let within = *self.dice.pick(&[50, 5_000, 120_000]);
            self.later(within, Act::Performed { agent, permit });
        }
    }

    /// How it ended; now and then of what was never let go that it ran.
    pub(super) fn performed(&mut self, agent: AgentId, permit: PermitId) -> Event {
        let released = self.player.seen().permits.get(&permit).is_some_and(|seen| seen.released);
        let never =
            || PerformanceEnd::NeverRan { code: "EP0635".to_owned(), reason: "no sandbox".to_owned() };
        let end = match self.dice.below(8) {
            0 => never(),
            1 => PerformanceEnd::TimedOut,
            2 => PerformanceEnd::Stopped,
            3 => PerformanceEnd::Signal { signal: 9 },
            _ if !released => never(),
            _ => PerformanceEnd::Code { code: 0 },
        };
        Event::PerformanceEnded { agent, permit, end, breaches: 0 }
    }
}
