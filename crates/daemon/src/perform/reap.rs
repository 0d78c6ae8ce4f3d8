//! Proving agents dead: those of earlier epochs, and those that did not leave by themselves.

use eparch_domain::{AgentId, Name};
use eparch_governor::{Event, PerformanceCage};
use eparch_ledger::EffectRef;
use eparch_sandbox::{StillAlive, TreeId, end_named};
use serde_json::Value;

use super::Job;
use crate::agents::live::{CLOSE_DEADLINE, prove_dead};
use crate::agents::{reach, spec};

impl Job {
    /// Proves everything of an agent dead, and says so. May be asked any number of times, also at once;
    /// what is not proven is not said, and what has been asked stays due until it is.
    pub(super) fn reap(
        &self,
        at: Option<EffectRef>,
        agent: AgentId,
        tree: Option<Value>,
        performances: Vec<PerformanceCage>,
    ) {
        let agents = &self.tools.agents;
        if !agents.doubt(agent, at, self.born) {
            return;
        }
        let Some(mut killed) = self.is_proven_dead(agent, tree) else { return };
        for PerformanceCage { permit, tree } in performances {
            // What is performed for it dies with it (G7).
            let Some(died) = prove_gone(tree, &reach::cage_name(agent, permit)) else { return };
            killed |= died;
        }
        if let Some(waiting) = agents.proven(agent, self.born) {
            self.report(waiting, Event::TreeProvenDead { agent, killed });
        }
    }

    /// Whether anything had to be killed, when nothing of the agent is alive any more; `None` when that is not proven.
    fn is_proven_dead(&self, agent: AgentId, tree: Option<Value>) -> Option<bool> {
        // What this process holds goes first: of an epoch that is over without its having ended, or of this one.
        let left = self.tools.agents.left(agent, CLOSE_DEADLINE.as_duration()).ok()?;
        let held = left.or_else(|| self.tools.agents.get(agent));
        let mut killed = false;
        if let Some(live) = held {
            killed = !live.cage.tree().is_dead().unwrap_or(false);
            self.put_away(&live).ok()?;
        }
        Some(killed | prove_gone(tree, &spec::cage_name(agent))?)
    }
}

/// Whether anything had to be killed, when nothing of a cage is alive any more; `None` when that is not proven.
fn prove_gone(tree: Option<Value>, name: &Name) -> Option<bool> {
    let known = tree.is_some();
    if let Some(tree) = tree.and_then(|tree| serde_json::from_value::<TreeId>(tree).ok()) {
        let killed = !tree.is_dead().unwrap_or(false);
        prove_dead(&tree, CLOSE_DEADLINE).ok()?;
        return Some(killed);
    }
    // What no holder wrote down, or one that spoke differently, is found by the name every cage has.
    match end_named(name, CLOSE_DEADLINE) {
        Ok(ended) => Some(ended),
        // Without control groups cages have no names. One that was not written down was not let go either: nothing ran in it,
        // and it ended with its holder.
        Err(StillAlive::Denied { .. }) if !known => Some(false),
        Err(_) => None,
    }
}
