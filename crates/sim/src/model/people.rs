//! What people ask for, and why it may be refused. Where there are several reasons any of them will do.

use std::collections::BTreeSet;

use eparch_domain::{LedgerTime, Name, RunId, RunStatus, StageStatus, Tier, limits};
use eparch_governor::{
    Bearer, GateAnswer, GateDecision, GatePurpose, Key, Lineage, OperatorRole, RunRequest,
};
use eparch_pipeline::{Pipeline, StageIx, Work};

use super::gates::is_meant;
use super::{Cell, Doing, Model, Run};
use crate::policies::Rules;

impl Model {
    pub(super) fn requested(&mut self, request: &RunRequest, now: LedgerTime) -> BTreeSet<&'static str> {
        let mut refusals = BTreeSet::new();
        let max = match self.people.get(&request.requester).map(|person| &person.operator) {
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
        if is_too_large(request) {
            refusals.insert("EP0213");
            return refusals;
        }
        let Some(score) = self.scores.get(&request.pipeline).cloned() else {
            refusals.insert("EP0208");
            return refusals;
        };
        if let Some(earlier) = request.idempotency_key.as_ref().and_then(|key| self.asked.get(key)) {
            let again = RunRequest { run: earlier.run, ..request.clone() } == *earlier;
            refusals.insert(if again { "already" } else { "EP0211" });
            return refusals;
        }
        if self.stopped {
            refusals.insert("EP0650");
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
        let repeated = request.lineage.as_ref().is_none_or(|lineage| {
            let mut names = lineage.kept.keys().chain(lineage.forgiven.keys()).chain([&lineage.from]);
            names.all(|name| score.pipeline.stages.iter().any(|stage| stage.name == *name))
        });
        if !repeated {
            refusals.insert("EP0209");
        }
        refusals.extend(self.rules_shut_people_out().then_some("EP0216"));
        if refusals.is_empty() {
            if let Some(key) = &request.idempotency_key {
                self.asked.insert(key.clone(), request.clone());
            }
            let run = Run {
                asked: self.turn,
                pipeline: score.pipeline.clone(),
                plan: eparch_pipeline::plan_id(&request.pipeline, &request.inputs, &request.env),
                requester: request.requester.clone(),
                go: request.inputs.get("go").is_some_and(|go| go == true),
                deadline: now.after(score.pipeline.timeout),
                ending: None,
                looks: false,
                looked_at: false,
                errors_at: Vec::new(),
                cells: vec![Cell::new(); score.pipeline.stages.len()],
                denied: BTreeSet::new(),
                score,
            };
            self.runs.insert(request.run, run);
            self.glass_for_next(request.run);
            if let Some(lineage) = &request.lineage {
                self.keep(request.run, lineage);
            }
        }
        refusals
    }

    /// Whether the policies in force let nobody do anything: there are none, or none that permits something. The others let
    /// people do what their roles are for.
    pub(super) fn rules_shut_people_out(&self) -> bool {
        matches!(self.rules, None | Some(Rules::Closed))
    }

    /// What an earlier run has done counts where it stands on nothing that is done again.
    fn keep(&mut self, id: RunId, lineage: &Lineage) {
        let pipeline = self.runs[&id].pipeline.clone();
        let Some(from) = pipeline.find(lineage.from.as_str()) else { return };
        let kept: Vec<StageIx> =
            pipeline.places().filter(|ix| counts(&pipeline, lineage, from, *ix)).collect();
        for ix in &kept {
            let name = &pipeline.stage(*ix).name;
            let (status, outputs) = match (lineage.kept.get(name), lineage.forgiven.get(name)) {
                (Some(left), _) => (StageStatus::Completed, left.outputs.clone()),
                (None, Some(failure)) => (*failure, std::collections::BTreeMap::new()),
                (None, None) => continue,
            };
            let cell = self.cell(id, *ix);
            (cell.status, cell.outputs) = (status, outputs);
        }
        for ix in kept {
            self.set_pending(id, ix, StageStatus::Skipped);
        }
    }

    /// Authority is taken away: nothing more is done with it, but by what is being ended already.
    pub(super) fn revoked(&mut self, bearer: Bearer, by: &Name) -> BTreeSet<&'static str> {
        let refusal = match (self.people.get(by).map(|person| person.operator.role), bearer) {
            (None, _) => Some("EP0204"),
            (Some(role), _) if !matches!(role, OperatorRole::Operator | OperatorRole::Admin) => {
                Some("EP0205")
            }
            (_, Bearer::Agent { agent }) => match self.agents().find(|(_, _, found)| found.id == agent) {
                None => Some("EP0214"),
                Some((run, ix, found)) => {
                    let given_up = self.runs[&run].cells[ix.at()].given_up_as.is_some();
                    (found.is_revoked() || found.only_lets_go() || found.cut_off && given_up)
                        .then_some("already")
                }
            },
            (_, Bearer::Run { run }) => match (self.runs.get(&run), self.ended.get(&run)) {
                (Some(live), _) if live.ending.is_some() => Some("already"),
                (Some(_), _) => None,
                (None, Some(_)) => Some("EP0203"),
                (None, None) => Some("EP0202"),
            },
        };
        match bearer {
            _ if refusal.is_some() => {}
            Bearer::Agent { agent } => {
                let place = self.agents().find(|(_, _, found)| found.id == agent);
                if let Some((run, ix)) = place.map(|(run, ix, _)| (run, ix)) {
                    self.revoke_agent_at(run, ix);
                }
            }
            Bearer::Run { run } => self.revoke_run(run),
        }
        refusal.into_iter().collect()
    }

    /// Authority is taken from a run with all its agents.
    pub(super) fn revoke_run(&mut self, run: RunId) {
        let of_run = self.agents().filter(|(of, ..)| *of == run);
        let places: Vec<StageIx> = of_run.map(|(_, ix, _)| ix).collect();
        for ix in places {
            self.revoke_agent_at(run, ix);
        }
        self.end_run(run, RunStatus::Failed);
    }

    pub(super) fn revoke_agent_at(&mut self, run: RunId, ix: StageIx) {
        let now = self.now;
        let cell = self.cell(run, ix);
        match &mut cell.doing {
            Doing::Agent(agent) if agent.only_lets_go() || agent.is_revoked() => {}
            Doing::Agent(agent) if agent.cut_off => {
                cell.given_up_as.get_or_insert(StageStatus::Failed);
            }
            Doing::Agent(agent) => agent.revoke(now),
            _ => {}
        }
    }

    /// Nothing follows from a secret, but it is not everybody's.
    pub(super) fn secret_asked(&self, by: &Name, tier: Tier, reads: bool) -> BTreeSet<&'static str> {
        let refusal = match self.people.get(by).map(|person| &person.operator) {
            None => Some("EP0204"),
            Some(known) if known.role != OperatorRole::Admin => Some("EP0205"),
            Some(known) => (tier > known.max_tier).then_some("EP0403"),
        };
        let shut_out = reads && self.rules_shut_people_out();
        refusal.or(self.stopped.then_some("EP0650")).or(shut_out.then_some("EP0216")).into_iter().collect()
    }

    pub(super) fn stopped(&mut self, run: RunId, by: &Name) -> BTreeSet<&'static str> {
        let refusal = match (self.people.get(by).map(|person| person.operator.role), self.ended.get(&run)) {
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
        let asks_leave = opened.purpose != GatePurpose::Interrupted;
        let strict = asks_leave && Model::strictness(&self.runs[&run].pipeline);
        let young = self.strings.may_have_become(&answer.by, &opened.requester, self.runs[&run].asked);
        let (pulled, pulls) =
            (self.strings.pulled_by(&answer.by), |other: &Name| self.strings.pulled_by(other));
        let twice = gate.approvals.iter().any(|other| {
            *other != answer.by && (pulled.contains(other) || pulls(other).contains(&answer.by))
        });
        let person = &person.operator;
        let signed_with = answer.signed.as_ref().map(|signed| &signed.public_key);
        let own_key = match &person.key {
            Key::Home { .. } => None,
            Key::Remote { public_key } => Some(public_key),
        };
        let reasons = [
            (matches!(person.role, OperatorRole::Viewer | OperatorRole::Auditor), "EP0205"),
            (asks_leave && answer.by == opened.requester, "EP0305"),
            (!opened.approvers.iter().any(|entry| is_meant(person, entry)), "EP0304"),
            (gate.approvals.contains(&answer.by), "EP0307"),
            (answer.subject != opened.subject, "EP0306"),
            (
                answer.rationale.trim().is_empty() || answer.rationale.len() > limits::RATIONALE_BYTES,
                "EP0308",
            ),
            (signed_with != own_key, "EP0312"),
            (strict && own_key.is_none(), "EP0309"),
            (
                signed_with
                    .is_some_and(|key| gate.signed_with.values().any(|other| *other == key.to_lowercase())),
                "EP0307",
            ),
            (strict && (young || twice), "EP0311"),
            (answer.decision == GateDecision::Approve && self.rules_shut_people_out(), "EP0216"),
        ];
        refusals.extend(reasons.iter().filter(|(holds, _)| *holds).map(|(_, code)| *code));
        match self.asker(answer.gate) {
            _ if !refusals.is_empty() => {}
            Some(agent) => self.say(agent, answer),
            None => self.vote(run, ix, answer),
        }
        let _ = now;
        refusals
    }

    fn vote(&mut self, run: RunId, ix: StageIx, answer: &GateAnswer) {
        let cell = self.cell(run, ix);
        let Doing::Gate(gate) = &mut cell.doing else { return };
        let purpose = gate.opened.purpose;
        gate.approve(answer);
        let approved = match answer.decision {
            GateDecision::Deny => false,
            GateDecision::Approve if gate.approvals.len() >= usize::from(gate.opened.quorum) => true,
            GateDecision::Approve => return,
        };
        match (approved, purpose) {
            (true, GatePurpose::Interrupted) => self.ready_anew(run, ix),
            (true, GatePurpose::Stage) => self.end_stage(run, ix, StageStatus::Completed),
            (true, GatePurpose::Action) => {}
            (false, _) => self.end_stage(run, ix, StageStatus::Failed),
        }
        self.closed.insert(answer.gate, false);
    }
}

impl Cell {
    pub(super) fn new() -> Cell {
        Cell {
            status: StageStatus::Pending,
            doing: Doing::Nothing,
            begun: BTreeSet::new(),
            given_up: false,
            attempts: 0,
            interruptions: 0,
            until: None,
            expired: false,
            given_up_as: None,
            outputs: std::collections::BTreeMap::new(),
        }
    }
}

/// Whether a request would have the home remember more than it will.
fn is_too_large(request: &RunRequest) -> bool {
    let written = |text: serde_json::Value| text.to_string().len();
    request.idempotency_key.as_ref().is_some_and(|key| key.len() > limits::IDEMPOTENCY_KEY_BYTES)
        || request.root.len() > limits::ROOT_BYTES
        || written(request.inputs.clone().into_iter().collect()) > limits::RUN_INPUTS_BYTES
        || written(request.env.clone().into_iter().collect()) > limits::RUN_INPUTS_BYTES
}

/// Whether what an earlier run made of a stage counts in a run that repeats it from another: it ended well, or its failure
/// was forgiven; nobody is asked in it; it is not, and has not in it, what is repeated; and what is around it and what it
/// requires counts as well.
fn counts(pipeline: &Pipeline, lineage: &Lineage, from: StageIx, ix: StageIx) -> bool {
    let stage = pipeline.stage(ix);
    let again = |inner: StageIx| inner == from || matches!(pipeline.stage(inner).work, Work::Gate(_));
    let inside = |inner: &StageIx| surroundings(pipeline, *inner).contains(&ix);
    let forgiving = matches!(&stage.work, Work::Agent(work) if work.continue_on_error);
    let failed =
        matches!(lineage.forgiven.get(&stage.name), Some(StageStatus::Failed | StageStatus::TimedOut));
    (lineage.kept.contains_key(&stage.name) || forgiving && failed)
        && !pipeline.places().filter(inside).any(again)
        && stage
            .requires
            .iter()
            .copied()
            .chain(stage.parent.map(|parent| parent.stage))
            .all(|other| counts(pipeline, lineage, from, other))
}

/// A stage and every stage around it.
pub(super) fn surroundings(pipeline: &Pipeline, ix: StageIx) -> Vec<StageIx> {
    let mut found = vec![ix];
    while let Some(parent) = pipeline.stage(found[found.len() - 1]).parent {
        found.push(parent.stage);
    }
    found
}
