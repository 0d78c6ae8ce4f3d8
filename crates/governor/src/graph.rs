//! A pipeline with what scheduling asks of it worked out once: who waits for whom, and who stands in which list.

use std::collections::BTreeSet;
use std::sync::Arc;

use eparch_domain::{StandingId, Tier};
use eparch_pipeline::{Pipeline, StageIx, Work};

/// So many stages and requirements are walked past in the time of one node of an expression.
const STEPS_PER_NODE: u64 = 16;

/// A definition, ready to be run. Shared by every run of it.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) pipeline: Arc<Pipeline>,
    /// For each stage, those that require it.
    pub(crate) dependents: Vec<Vec<StageIx>>,
    /// The stages at the top, in file order.
    pub(crate) top: Vec<StageIx>,
    /// The highest tier any stage works at.
    pub(crate) highest_tier: Tier,
    /// For each stage that is an agent's, under which standing it works.
    pub(crate) standings: Vec<Option<StandingId>>,
    /// What walking all of it costs, in nodes of an expression.
    pub(crate) weight: u64,
}

impl Graph {
    pub(crate) fn of(pipeline: Arc<Pipeline>) -> Graph {
        let mut dependents = vec![Vec::new(); pipeline.stages.len()];
        for ix in pipeline.places() {
            for required in &pipeline.stage(ix).requires {
                dependents[required.at()].push(ix);
            }
        }
        let top = pipeline.top().collect();
        let tiers = pipeline.stages.iter().filter_map(|stage| match &stage.work {
            Work::Agent(agent) => Some(agent.tier),
            _ => None,
        });
        let highest_tier = tiers.max().unwrap_or_default();
        let standings = pipeline.stages.iter().map(|stage| match &stage.work {
            Work::Agent(agent) => Some(agent.standing()),
            _ => None,
        });
        let standings = standings.collect();
        let edges: usize = dependents.iter().map(Vec::len).sum();
        let weight = (pipeline.stages.len() + edges) as u64 / STEPS_PER_NODE;
        Graph { dependents, top, highest_tier, standings, weight, pipeline }
    }

    /// One list of a parallel or condition stage; empty for any other stage.
    pub(crate) fn list(&self, ix: StageIx, list: u16) -> &[StageIx] {
        match &self.pipeline.stage(ix).work {
            Work::Parallel(parallel) => {
                parallel.branches.get(usize::from(list)).map_or(&[], |branch| &branch.stages)
            }
            Work::Condition(condition) if list == 0 => &condition.then,
            Work::Condition(condition) => &condition.otherwise,
            Work::Agent(_) | Work::Gate(_) => &[],
        }
    }

    /// How many lists a stage has.
    pub(crate) fn lists(&self, ix: StageIx) -> u16 {
        match &self.pipeline.stage(ix).work {
            Work::Parallel(parallel) => u16::try_from(parallel.branches.len())
                .expect("branches hold stages, at most limits::PIPELINE_STAGES"),
            Work::Condition(_) => 2,
            Work::Agent(_) | Work::Gate(_) => 0,
        }
    }

    /// Every stage that has to have ended before `ix` may start, nested ones included, in file order.
    pub(crate) fn before(&self, ix: StageIx) -> BTreeSet<StageIx> {
        let mut found = BTreeSet::new();
        let mut ask = vec![ix];
        while let Some(at) = ask.pop() {
            let stage = self.pipeline.stage(at);
            for required in &stage.requires {
                if found.insert(*required) {
                    ask.push(*required);
                    self.add_nested(*required, &mut found);
                }
            }
            // A nested stage starts after what the stage around it required.
            ask.extend(stage.parent.map(|parent| parent.stage));
        }
        found
    }

    fn add_nested(&self, ix: StageIx, found: &mut BTreeSet<StageIx>) {
        let mut ask = vec![ix];
        while let Some(at) = ask.pop() {
            for list in 0..self.lists(at) {
                for nested in self.list(at, list) {
                    found.insert(*nested);
                    ask.push(*nested);
                }
            }
        }
    }
}
