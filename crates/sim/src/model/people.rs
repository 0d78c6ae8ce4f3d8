//! What people ask for, and why it may be refused. Where there are several reasons any of them will do.

use std::collections::BTreeSet;

use eparch_domain::{LedgerTime, Name, RunId, RunStatus, StageStatus, Tier, limits};
use eparch_governor::{
    GateAnswer, GateDecision, GatePurpose, Key, Lineage, OperatorRole, RunRequest, Separation,
};
use eparch_pipeline::{Pipeline, StageIx, Work};

use super::{Cell, Doing, Model, Run};

impl Model {
    pub(super) fn requested(&mut self, request: &RunRequest, now: LedgerTime) -> BTreeSet<&'static str> {
        let mut refusals = BTreeSet::new();
        let max = match self.people.get(&request.requester) {
            None => {
                refusals.insert("EP0204");
                return refusals;
            }
            Some(person) if !matches!(person.role, OperatorRole::Operator | OperatorRole::Admin) => {
                refusals.insert("EP0205");
                return refusals;
            }
            Some(person) => person.max_tier,
        };
        let Some(score) = self.scores.get(&request.pipeline).cloned() else {
            refusals.insert("EP0208");
            return refusals;
        };
        let plan = eparch_pipeline::plan_id(&request.pipeline, &request.inputs, &request.env);
        if let Some((_, asked)) = request.idempotency_key.as_ref().and_then(|key| self.keys.get(key)) {
            refusals.insert(if *asked == plan { "already" } else { "EP0211" });
            return refusals;
        }
        if self.runs.contains_key(&request.run) || self.ended.contains_key(&request.run) {
            refusals.insert("EP0201");
        }
        let grant = request.grant.unwrap_or(max.min(Tier::T2));
        if grant > max {
            refusals.insert("EP0206");
        }
        let tiers = score.pipeline.stages.iter().filter_map(|stage| match &stage.work {
            Work::Agent(work) => Some(work.tier),
            _ => None,
        });
        if tiers.max().is_some_and(|tier| tier > grant) {
            refusals.insert("EP0207");
        }
        if refusals.is_empty() {
            if let Some(key) = &request.idempotency_key {
                self.keys.insert(key.clone(), (request.run, plan));
            }
            let run = Run {
                pipeline: score.pipeline.clone(),
                requester: request.requester.clone(),
                go: request.inputs.get("go").is_some_and(|go| go == true),
                deadline: now.after(score.pipeline.timeout),
                ending: None,
                cells: vec![Cell::new(); score.pipeline.stages.len()],
                score,
            };
            self.runs.insert(request.run, run);
            if let Some(lineage) = &request.lineage {
                self.keep(request.run, lineage);
            }
        }
        refusals
    }

    /// What an earlier run completed counts, unless it is, follows or surrounds the stage to repeat from.
    fn keep(&mut self, id: RunId, lineage: &Lineage) {
        let pipeline = self.runs[&id].pipeline.clone();
        let Some(from) = pipeline.find(lineage.from.as_str()) else { return };
        let keeps = |ix: StageIx| {
            let around = surroundings(&pipeline, ix);
            let named = |ix: &StageIx| lineage.kept.contains_key(&pipeline.stage(*ix).name);
            around.iter().all(|ix| named(ix) && *ix != from && !surroundings(&pipeline, from).contains(ix))
                && !follows(&pipeline, ix, from)
        };
        for ix in pipeline.places().filter(|ix| keeps(*ix)) {
            let kept = &lineage.kept[&pipeline.stage(ix).name];
            let cell = self.cell(id, ix);
            (cell.status, cell.outputs) = (StageStatus::Completed, kept.outputs.clone());
        }
        for ix in pipeline.places().filter(|ix| keeps(*ix)) {
            self.set_pending(id, ix, StageStatus::Skipped);
        }
    }

    pub(super) fn stopped(&mut self, run: RunId, by: &Name) -> BTreeSet<&'static str> {
        let refusal = match (self.people.get(by).map(|person| person.role), self.ended.get(&run)) {
            (None, _) => Some("EP0204"),
            (Some(role), _) if !matches!(role, OperatorRole::Operator | OperatorRole::Admin) => {
                Some("EP0205")
            }
            (_, Some(RunStatus::Stopped)) => Some("already"),
            (_, Some(_)) => Some("EP0203"),
            (_, None) if !self.runs.contains_key(&run) => Some("EP0202"),
            _ => None,
        };
        if refusal.is_none() {
            self.end_run(run, RunStatus::Stopped);
        }
        refusal.into_iter().collect()
    }

    pub(super) fn answered(&mut self, answer: &GateAnswer, now: LedgerTime) -> BTreeSet<&'static str> {
        let mut refusals = BTreeSet::new();
        let found = self.gates().find(|(_, _, gate)| gate.opened.gate == answer.gate);
        let Some((run, ix, gate)) = found else {
            refusals.insert(match self.closed.get(&answer.gate) {
                None => "EP0301",
                Some(false) => "EP0302",
                Some(true) => "EP0303",
            });
            return refusals;
        };
        let opened = gate.opened.clone();
        let Some(person) = self.people.get(&answer.by) else {
            refusals.insert("EP0204");
            return refusals;
        };
        let strict = opened.purpose == GatePurpose::Stage && Model::strictness(&self.runs[&run].pipeline);
        let apart = answer.separation == Separation::RemoteKey && matches!(person.key, Key::Remote { .. });
        let reasons = [
            (matches!(person.role, OperatorRole::Viewer | OperatorRole::Auditor), "EP0205"),
            (opened.purpose == GatePurpose::Stage && answer.by == opened.requester, "EP0305"),
            (!opened.approvers.iter().any(|entry| person.is_meant_by(entry)), "EP0304"),
            (gate.approvals.contains(&answer.by), "EP0307"),
            (answer.subject != opened.subject, "EP0306"),
            (
                answer.rationale.trim().is_empty() || answer.rationale.len() > limits::RATIONALE_BYTES,
                "EP0308",
            ),
            (strict && !apart, "EP0309"),
        ];
        refusals.extend(reasons.iter().filter(|(holds, _)| *holds).map(|(_, code)| *code));
        if refusals.is_empty() {
            self.vote(run, ix, answer);
        }
        let _ = now;
        refusals
    }

    fn vote(&mut self, run: RunId, ix: StageIx, answer: &GateAnswer) {
        let turn = self.turn;
        let cell = self.cell(run, ix);
        let Doing::Gate(gate) = &mut cell.doing else { return };
        let purpose = gate.opened.purpose;
        gate.approvals.insert(answer.by.clone());
        let approved = match answer.decision {
            GateDecision::Deny => false,
            GateDecision::Approve if gate.approvals.len() >= usize::from(gate.opened.quorum) => true,
            GateDecision::Approve => return,
        };
        match (approved, purpose) {
            (true, GatePurpose::Interrupted) => {
                (cell.status, cell.doing) = (StageStatus::Ready, Doing::Queued(turn))
            }
            (true, GatePurpose::Stage) => self.end_stage(run, ix, StageStatus::Completed),
            (false, _) => self.end_stage(run, ix, StageStatus::Failed),
        }
        self.closed.insert(answer.gate, false);
    }
}

impl Cell {
    fn new() -> Cell {
        Cell {
            status: StageStatus::Pending,
            doing: Doing::Nothing,
            begun: BTreeSet::new(),
            given_up: false,
            attempts: 0,
            interruptions: 0,
            until: None,
            expired: false,
            outputs: std::collections::BTreeMap::new(),
        }
    }
}

/// A stage and every stage around it.
fn surroundings(pipeline: &Pipeline, ix: StageIx) -> Vec<StageIx> {
    let mut found = vec![ix];
    while let Some(parent) = pipeline.stage(found[found.len() - 1]).parent {
        found.push(parent.stage);
    }
    found
}

/// Whether a stage can only start after another has ended.
fn follows(pipeline: &Pipeline, ix: StageIx, earlier: StageIx) -> bool {
    let inside_or_same = |outer: StageIx| surroundings(pipeline, earlier).contains(&outer);
    surroundings(pipeline, ix)
        .iter()
        .flat_map(|around| &pipeline.stage(*around).requires)
        .any(|required| inside_or_same(*required) || follows(pipeline, *required, earlier))
}
