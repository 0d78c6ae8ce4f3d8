//! Gates: what waits for people. Bound to what was shown, answered once by each, never by whoever asked.

use eparch_domain::{Digest, GateId, Name, Profile, RunId, StageStatus, Tier, limits};
use eparch_pipeline::{GateWork, OnTimeout, StageIx, Work};

use crate::agent;
use crate::decision::Refusal;
use crate::event::{GateAnswer, GateDecision};
use crate::fact::{Fact, GateOpened, GateOutcome, GatePurpose};
use crate::governor::Turn;
use crate::operator::{Key, OperatorRole, Separation};
use crate::run;
use crate::scope;
use crate::state::{Doing, Run};

/// Opens the gate of a gate stage.
pub(crate) fn open_stage(turn: &mut Turn<'_>, run: RunId, ix: StageIx, work: &GateWork) {
    let Some(live) = turn.governor.run(run) else { return };
    let opened = GateOpened {
        gate: gate_id(run, ix, 0),
        run,
        stage: ix,
        purpose: GatePurpose::Stage,
        subject: scope::subject_of(live, ix),
        approvers: work.approvers.clone(),
        quorum: work.quorum,
        requester: live.spawned.requester.clone(),
        separation: least_separation(live),
        deadline: turn.now.ledger.after(work.timeout),
    };
    open(turn, opened);
}

/// Asks people whether an attempt that was cut off is made again. The requester may answer: nothing of theirs is
/// approved, a fact is supplied that nobody here can know.
pub(crate) fn open_interrupted(turn: &mut Turn<'_>, run: RunId, ix: StageIx) {
    let Some(live) = turn.governor.run(run) else { return };
    let attempts = live.stage(ix).attempts;
    let mut approvers = vec![live.spawned.requester.clone()];
    let roles = [OperatorRole::Operator, OperatorRole::Approver, OperatorRole::Admin];
    approvers.extend(roles.map(|role| Name::new(role.as_str()).expect("a role is a name")));
    let opened = GateOpened {
        gate: gate_id(run, ix, attempts),
        run,
        stage: ix,
        purpose: GatePurpose::Interrupted,
        subject: scope::subject_of(live, ix),
        approvers,
        quorum: 1,
        requester: live.spawned.requester.clone(),
        separation: Separation::SameHome,
        deadline: turn.now.ledger.after(limits::GATE_TIMEOUT),
    };
    open(turn, opened);
}

fn open(turn: &mut Turn<'_>, opened: GateOpened) {
    let (run, stage) = (opened.run, opened.stage);
    turn.record(Fact::GateOpened(Box::new(opened)));
    turn.record(Fact::StageChanged {
        run,
        stage,
        status: StageStatus::AwaitingApproval,
        reason: String::new(),
    });
}

/// One gate for each stage, and one more for each interruption: durable, and the same on every replay.
fn gate_id(run: RunId, ix: StageIx, round: u32) -> GateId {
    let parts: [&[u8]; 4] = [b"gate", &run.bits().to_be_bytes(), &ix.0.to_be_bytes(), &round.to_be_bytes()];
    GateId::derived(&Digest::of_parts(&parts))
}

/// Strict profiles, and T3 and up, take only answers signed by a key this home never held (architecture, Gates).
fn least_separation(run: &Run) -> Separation {
    let graph = run.graph();
    if graph.pipeline.profile != Profile::Startup || graph.highest_tier >= Tier::T3 {
        Separation::RemoteKey
    } else {
        Separation::SameHome
    }
}

/// Somebody answered.
pub(crate) fn answered(turn: &mut Turn<'_>, answer: &GateAnswer) {
    match examine(turn, answer) {
        Err(refusal) => turn.refuse(refusal),
        Ok(opened) => {
            turn.record(Fact::VoteCast {
                gate: answer.gate,
                by: answer.by.clone(),
                decision: answer.decision,
                rationale: answer.rationale.clone(),
                separation: answer.separation,
            });
            count(turn, &opened);
        }
    }
}

/// Whether the answer may count, and at which gate.
fn examine(turn: &Turn<'_>, answer: &GateAnswer) -> Result<GateOpened, Refusal> {
    let (gate, by) = (answer.gate, &answer.by);
    let Some((run, ix)) = turn.governor.gates.get(&gate).copied() else {
        return Err(match turn.governor.state.closed_gates.get(&gate) {
            Some(GateOutcome::TimedOut) => Refusal::GateTimedOut { gate },
            Some(_) => Refusal::GateClosed { gate },
            None => Refusal::UnknownGate { gate },
        });
    };
    let Some(Doing::Gate(open)) = turn.governor.run(run).map(|live| &live.stage(ix).doing) else {
        return Err(Refusal::UnknownGate { gate });
    };
    let opened = &open.opened;
    if turn.now.ledger >= opened.deadline {
        return Err(Refusal::GateTimedOut { gate });
    }
    let Some(operator) = turn.governor.state.operators.get(by) else {
        return Err(Refusal::UnknownOperator { name: by.clone() });
    };
    if !operator.role.may_answer() {
        let role = operator.role.as_str().to_owned();
        return Err(Refusal::RoleForbids { name: by.clone(), role, what: "answer gates".to_owned() });
    }
    if opened.purpose == GatePurpose::Stage && *by == opened.requester {
        return Err(Refusal::OwnRequest { name: by.clone() });
    }
    if !opened.approvers.iter().any(|entry| operator.is_meant_by(entry)) {
        return Err(Refusal::NotAnApprover { name: by.clone(), approvers: opened.approvers.clone() });
    }
    if open.votes.contains_key(by) {
        return Err(Refusal::AnsweredBefore { name: by.clone() });
    }
    if answer.subject != opened.subject {
        return Err(Refusal::SubjectDiffers { expected: opened.subject, found: answer.subject });
    }
    if answer.rationale.trim().is_empty() || answer.rationale.len() > limits::RATIONALE_BYTES {
        return Err(Refusal::BadRationale { limit: limits::RATIONALE_BYTES });
    }
    // A key that this home made cannot have been kept apart from it, whatever the shell says it has proven.
    let apart =
        if matches!(operator.key, Key::Remote { .. }) { answer.separation } else { Separation::SameHome };
    if apart < opened.separation {
        return Err(Refusal::SeparationTooWeak { needed: opened.separation });
    }
    Ok(opened.clone())
}

/// Closes the gate when its votes decide it: one denial, or enough approvals.
fn count(turn: &mut Turn<'_>, opened: &GateOpened) {
    let Some(Doing::Gate(open)) = turn.governor.run(opened.run).map(|live| &live.stage(opened.stage).doing)
    else {
        return;
    };
    let denied = open.votes.values().any(|vote| *vote == GateDecision::Deny);
    let approvals = open.votes.values().filter(|vote| **vote == GateDecision::Approve).count();
    if denied {
        close(turn, opened, GateOutcome::Denied);
    } else if approvals >= usize::from(opened.quorum) {
        close(turn, opened, GateOutcome::Approved);
    }
}

/// A gate has waited long enough.
pub(crate) fn timed_out(turn: &mut Turn<'_>, gate: GateId) {
    if let Some(opened) = turn.governor.gate(gate).cloned() {
        close(turn, &opened, GateOutcome::TimedOut);
    }
}

fn close(turn: &mut Turn<'_>, opened: &GateOpened, outcome: GateOutcome) {
    let (run, ix) = (opened.run, opened.stage);
    turn.record(Fact::GateClosed { gate: opened.gate, outcome });
    if opened.purpose == GatePurpose::Interrupted {
        match outcome {
            GateOutcome::Approved => agent::again(turn, run, ix, "a person asked for it to be made again"),
            GateOutcome::Denied | GateOutcome::TimedOut | GateOutcome::Cancelled => {
                let reason = "cut off with its holder, and nobody asked for it to be made again";
                run::end_stage(turn, run, ix, StageStatus::Failed, reason);
            }
        }
        return;
    }
    let on_timeout = turn.governor.run(run).and_then(|live| match &live.graph().pipeline.stage(ix).work {
        Work::Gate(work) => Some(work.on_timeout),
        _ => None,
    });
    match outcome {
        GateOutcome::Approved => run::end_stage(turn, run, ix, StageStatus::Completed, ""),
        GateOutcome::Denied => run::end_stage(turn, run, ix, StageStatus::Failed, "denied"),
        GateOutcome::TimedOut if on_timeout == Some(OnTimeout::Skip) => {
            run::end_stage(turn, run, ix, StageStatus::Skipped, "nobody answered in time");
        }
        GateOutcome::TimedOut => {
            run::end_stage(turn, run, ix, StageStatus::TimedOut, "nobody answered in time")
        }
        GateOutcome::Cancelled => run::end_stage(turn, run, ix, StageStatus::Cancelled, "cancelled"),
    }
}
