//! Which gates open, for whom, and about what.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{Digest, InOrder, Name, RunId, StageStatus, limits};
use eparch_governor::{GateOpened, GatePurpose, Operator, OperatorRole, Separation, Until};
use eparch_pipeline::{GateWork, Pipeline, StageIx};

use super::people::surroundings;
use super::{Doing, Hints, Model, OpenGate};

/// Whether an entry of a gate's list means somebody: their name, a group of theirs, or the word for their role.
pub(super) fn is_meant(person: &Operator, entry: &Name) -> bool {
    let role = match person.role {
        OperatorRole::Viewer => "viewer",
        OperatorRole::Auditor => "auditor",
        OperatorRole::Operator => "operator",
        OperatorRole::Approver => "approver",
        OperatorRole::Admin => "admin",
    };
    entry == &person.name || entry.as_str() == role || person.groups.iter().any(|group| group == entry)
}

/// Whether a stage has ended, or never will begin, before another may start: that one, or what is around it, requires it,
/// or what is around it, directly or by others.
fn is_before(pipeline: &Pipeline, earlier: StageIx, ix: StageIx) -> bool {
    let around = surroundings(pipeline, earlier);
    surroundings(pipeline, ix)
        .iter()
        .flat_map(|outer| &pipeline.stage(*outer).requires)
        .any(|required| around.contains(required) || is_before(pipeline, earlier, *required))
}

impl Model {
    pub(super) fn open_stage_gate(
        &mut self,
        (run, ix): (RunId, StageIx),
        work: &GateWork,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let strict = Model::strictness(&self.runs[&run].pipeline);
        let separation = if strict { Separation::RemoteKey } else { Separation::SameHome };
        let until = self.ends_by(self.now.after(work.timeout)).until();
        let asked = (work.approvers.clone(), work.quorum, separation);
        self.open_gate((run, ix), GatePurpose::Stage, asked, until, hints)
    }

    /// Whoever asked for the run knows best what its agents do, and so may anybody who works with this home.
    pub(super) fn open_interrupted_gate(
        &mut self,
        (run, ix): (RunId, StageIx),
        hints: &mut Hints,
    ) -> Result<(), String> {
        let roles = ["operator", "approver", "admin"].map(|role| Name::new(role).expect("a word is a name"));
        let anybody = [self.runs[&run].requester.clone()].into_iter().chain(roles).collect();
        let until = self.ends_by(self.now.after(limits::GATE_TIMEOUT)).until();
        let asked = (anybody, 1, Separation::SameHome);
        self.open_gate((run, ix), GatePurpose::Interrupted, asked, until, hints)
    }

    /// Opens a gate, which the decision must have opened just so; only its id is news.
    fn open_gate(
        &mut self,
        (run, stage): (RunId, StageIx),
        purpose: GatePurpose,
        (approvers, quorum, separation): (Vec<Name>, u16, Separation),
        deadline: Until,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let Some(opened) = hints.gates.remove(&(run, stage)) else {
            return Err(format!("no gate was opened at stage s{} of {run}", stage.0));
        };
        let expected = GateOpened {
            gate: opened.gate,
            run,
            stage,
            purpose,
            subject: self.subject(run, stage),
            approvers,
            quorum,
            requester: self.runs[&run].requester.clone(),
            separation,
            deadline,
            sought: None,
        };
        if opened != expected {
            return Err(format!("a gate was opened as it should not be: {opened:?}, expected {expected:?}"));
        }
        let gate = OpenGate { opened, approvals: BTreeSet::new(), signed_with: BTreeMap::new() };
        let cell = self.cell(run, stage);
        (cell.status, cell.doing) = (StageStatus::AwaitingApproval, Doing::Gate(Box::new(gate)));
        Ok(())
    }

    /// What an approval at a stage is of: this run, this stage, what was asked for, and how everything before it ended.
    fn subject(&self, id: RunId, ix: StageIx) -> Digest {
        let run = &self.runs[&id];
        let mut left = Vec::new();
        for earlier in run.pipeline.places().filter(|earlier| is_before(&run.pipeline, *earlier, ix)) {
            let (name, cell) = (&run.pipeline.stage(earlier).name, &run.cells[earlier.at()]);
            let no_files: [(); 0] = [];
            left.push(serde_json::json!([name, cell.status.as_str(), cell.outputs, no_files]));
        }
        let left =
            serde_json::to_string(&InOrder(&serde_json::Value::from(left))).expect("stages are plain data");
        let mut parts: Vec<&[u8]> = vec![b"gate"];
        let (of_run, of_stage) = (id.bits().to_be_bytes(), ix.0.to_be_bytes());
        parts.extend([&of_run[..], &of_stage[..], run.plan.as_bytes(), left.as_bytes()]);
        Digest::of_parts(&parts)
    }
}
