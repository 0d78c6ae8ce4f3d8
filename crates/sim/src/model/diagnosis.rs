//! Runs that begin by themselves: a run is looked at, once, when its agents make six errors within a minute (R080, R089).

use std::collections::BTreeSet;

use eparch_domain::{AgentId, Digest, LedgerTime, RunId, Tier};
use eparch_pipeline::Work;

use super::{Cell, Hints, Model, Run};

impl Model {
    /// Somebody offers what looks at runs: it is there, and everybody in it works at T0.
    pub(super) fn diagnostic_offered(&mut self, pipeline: Digest) -> BTreeSet<&'static str> {
        let Some(score) = self.scores.get(&pipeline) else { return ["EP0208"].into() };
        let is_high = |work: &Work| matches!(work, Work::Agent(work) if work.tier > Tier::T0);
        if score.pipeline.stages.iter().any(|stage| is_high(&stage.work)) {
            return ["EP0207"].into();
        }
        self.looks = Some(pipeline);
        BTreeSet::new()
    }

    /// An agent has just lost its authority, as its run made six errors within a minute.
    pub(super) fn look_at(
        &mut self,
        id: RunId,
        agent: AgentId,
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let Some(score) = self.looks.and_then(|looks| self.scores.get(&looks)).cloned() else {
            return Ok(());
        };
        let looking = self.runs.values().filter(|run| run.looks).count();
        let (live, of) = (self.runs.len(), &self.runs[&id]);
        if of.looks || of.looked_at || looking >= 8 || live >= eparch_domain::limits::LIVE_RUNS {
            return Ok(());
        }
        let told = hints.looks.take().ok_or_else(|| format!("nothing looks at {id}"))?;
        let parent = told.parent.as_ref().map(|parent| (parent.run, parent.agent));
        if parent != Some((id, agent)) || self.runs.contains_key(&told.run) {
            return Err(format!("{} looks at {parent:?}, expected {id} and {agent}", told.run));
        }
        if told.grant != Tier::T0
            || told.pipeline != score.pipeline.digest()
            || told.requester != of.requester
        {
            return Err(format!("{} is not what looks at runs here", told.run));
        }
        let run = Run {
            asked: self.turn,
            pipeline: score.pipeline.clone(),
            plan: told.plan,
            requester: of.requester.clone(),
            go: false,
            deadline: now.after(score.pipeline.timeout),
            ending: None,
            looks: true,
            looked_at: false,
            errors_at: Vec::new(),
            denied: of.denied.clone(),
            cells: vec![Cell::new(); score.pipeline.stages.len()],
            score,
        };
        self.runs.insert(told.run, run);
        if let Some(of) = self.runs.get_mut(&id) {
            of.looked_at = true;
        }
        Ok(())
    }
}
