//! Gates: what waits for people. Bound to what was shown, answered once by each, never by whoever asked.

use eparch_domain::{Digest, GateId, Name, OperatorRole, Profile, RunId, StageStatus, Tier, limits};
use eparch_pipeline::{GateWork, OnTimeout, StageIx, Work};

use crate::agent;
use crate::asking;
use crate::decision::Refusal;
use crate::event::{GateAnswer, GateDecision};
use crate::fact::{Fact, GateOpened, GateOutcome, GatePurpose};
use crate::governor::Turn;
use crate::operator::Separation;
use crate::people::{self, Wish};
use crate::person::{Apart, Asker};
use crate::proof;
use crate::run;
use crate::scope;
use crate::state::Run;
use crate::until::Until;

/// Opens the gate of a gate stage.
pub(crate) fn open_stage(turn: &mut Turn<'_>, run: RunId, ix: StageIx, work: &GateWork) {
    let Some(live) = turn.governor.run(run) else { return };
    let (subject, cost) = scope::subject_of(live, ix);
    let opened = GateOpened {
        gate: gate_id(run, ix, 0),
        run,
        stage: ix,
        purpose: GatePurpose::Stage,
        subject,
        approvers: work.approvers.clone(),
        quorum: work.quorum,
        requester: live.spawned.requester.clone(),
        separation: least_separation(live),
        deadline: Until::after(turn.now, work.timeout),
        sought: None,
    };
    turn.spend(cost);
    open(turn, opened);
}

/// Asks people whether an attempt that was cut off is made again. The requester may answer: nothing of theirs is
/// approved, a fact is supplied that nobody here can know.
pub(crate) fn open_interrupted(turn: &mut Turn<'_>, run: RunId, ix: StageIx) {
    let Some(live) = turn.governor.run(run) else { return };
    let attempts = live.stage(ix).attempts;
    let (subject, cost) = scope::subject_of(live, ix);
    let mut approvers = vec![live.spawned.requester.clone()];
    let roles = [OperatorRole::Operator, OperatorRole::Approver, OperatorRole::Admin];
    approvers.extend(roles.map(|role| Name::new(role.as_str()).expect("a role is a name")));
    let opened = GateOpened {
        gate: gate_id(run, ix, attempts),
        run,
        stage: ix,
        purpose: GatePurpose::Interrupted,
        subject,
        approvers,
        quorum: 1,
        requester: live.spawned.requester.clone(),
        separation: Separation::SameHome,
        deadline: Until::after(turn.now, limits::GATE_TIMEOUT),
        sought: None,
    };
    turn.spend(cost);
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
pub(crate) fn least_separation(run: &Run) -> Separation {
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
        Ok((opened, separation)) => {
            turn.record(Fact::VoteCast {
                gate: answer.gate,
                by: answer.by.clone(),
                decision: answer.decision,
                rationale: answer.rationale.clone(),
                separation,
                public_key: answer.signed.as_ref().map(|signed| signed.public_key.clone()),
            });
            count(turn, &opened);
        }
    }
}

/// Whether the answer may count, at which gate, and how far apart whoever gave it is.
fn examine(turn: &Turn<'_>, answer: &GateAnswer) -> Result<(GateOpened, Separation), Refusal> {
    let (gate, by) = (answer.gate, &answer.by);
    let Some(open) = turn.governor.open_gate(gate) else {
        return Err(match turn.governor.state.closed_gates.get(&gate) {
            Some(GateOutcome::TimedOut) => Refusal::GateTimedOut { gate },
            Some(_) => Refusal::GateClosed { gate },
            None => Refusal::UnknownGate { gate },
        });
    };
    let opened = &open.opened;
    let Some(live) = turn.governor.run(opened.run) else { return Err(Refusal::UnknownGate { gate }) };
    if opened.deadline.is_over(turn.now) {
        return Err(Refusal::GateTimedOut { gate });
    }
    let Some(operator) = turn.governor.state.operators.get(by) else {
        return Err(Refusal::UnknownOperator { name: by.clone() });
    };
    if !operator.role.may_answer() {
        let role = operator.role.as_str().to_owned();
        return Err(Refusal::RoleForbids { name: by.clone(), role, what: "answer gates".to_owned() });
    }
    if opened.purpose != GatePurpose::Interrupted && *by == opened.requester {
        return Err(Refusal::OwnRequest { name: by.clone() });
    }
    if !opened.approvers.iter().any(|entry| operator.is_meant_by(entry)) {
        return Err(Refusal::NotAnApprover { name: by.clone(), approvers: opened.approvers.clone() });
    }
    // What agents may do is for those roles themselves, and not for whoever is called like one.
    if opened.purpose == GatePurpose::Action && !operator.role.may_vouch() {
        let (role, what) = (operator.role.as_str().to_owned(), "answer what agents ask".to_owned());
        return Err(Refusal::RoleForbids { name: by.clone(), role, what });
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
    let asker = Asker { name: &opened.requester, keys_before: live.keys_before };
    // Whoever asked may answer what is no leave of theirs.
    let (askers, apart) = match (opened.purpose, opened.separation) {
        (GatePurpose::Interrupted, _) => (&[][..], Apart::Named),
        (_, Separation::SameHome) => (&[asker][..], Apart::Named),
        (_, Separation::RemoteKey) => (&[asker][..], Apart::Since),
    };
    let asked = proof::Asked { askers, apart, separation: opened.separation, votes: &open.votes };
    let separation = proof::examine(&turn.governor.state, operator, answer.signed.as_ref(), &asked)?;
    // Whoever says no gives nobody anything.
    if answer.decision == GateDecision::Approve {
        let requester = (opened.purpose != GatePurpose::Interrupted).then_some(&opened.requester);
        let wish = Wish::approve(gate, opened.run, requester);
        people::refusal(turn.governor, operator, &wish).map_or(Ok(()), Err)?;
    }
    Ok((opened.clone(), separation))
}

/// Closes the gate when its votes decide it: one denial, or enough approvals.
fn count(turn: &mut Turn<'_>, opened: &GateOpened) {
    let Some(open) = turn.governor.open_gate(opened.gate) else { return };
    let denied = open.votes.values().any(|vote| vote.decision == GateDecision::Deny);
    // A version before this one kept the votes of those who may act no longer.
    let known = &turn.governor.state.operators;
    let counts =
        |name: &Name, decision: GateDecision| decision == GateDecision::Approve && known.contains_key(name);
    let approvals = open.votes.iter().filter(|(name, vote)| counts(name, vote.decision)).count();
    if denied {
        close(turn, opened.gate, GateOutcome::Denied, "denied");
    } else if approvals >= usize::from(opened.quorum) {
        close(turn, opened.gate, GateOutcome::Approved, "");
    }
}

/// A gate has waited long enough.
pub(crate) fn timed_out(turn: &mut Turn<'_>, gate: GateId) {
    close(turn, gate, GateOutcome::TimedOut, "nobody answered in time");
}

/// Closes a gate, whatever closes it, and ends its stage; an attempt that was cut off is made again when people say so, and
/// one whose agent has people asked goes on.
pub(crate) fn close(turn: &mut Turn<'_>, gate: GateId, outcome: GateOutcome, reason: &str) {
    let Some(opened) = turn.governor.gate(gate).cloned() else { return };
    if opened.purpose == GatePurpose::Action {
        return asking::close(turn, gate, outcome);
    }
    let (run, ix) = (opened.run, opened.stage);
    turn.record(Fact::GateClosed { gate, outcome });
    match (opened.purpose, outcome) {
        (GatePurpose::Interrupted, GateOutcome::Approved) => {
            agent::again(turn, run, ix, "a person asked for it to be made again");
        }
        (GatePurpose::Interrupted, GateOutcome::Denied | GateOutcome::TimedOut) => {
            let reason = "cut off with its holder, and nobody asked for it to be made again";
            run::end_stage(turn, run, ix, StageStatus::Failed, reason);
        }
        (GatePurpose::Stage, GateOutcome::Approved) => {
            run::end_stage(turn, run, ix, StageStatus::Completed, reason);
        }
        (GatePurpose::Stage, GateOutcome::Denied) => {
            run::end_stage(turn, run, ix, StageStatus::Failed, reason);
        }
        (GatePurpose::Stage, GateOutcome::TimedOut) => {
            let status = if is_skipped_unanswered(turn, run, ix) {
                StageStatus::Skipped
            } else {
                StageStatus::TimedOut
            };
            run::end_stage(turn, run, ix, status, reason);
        }
        // Closed above.
        (GatePurpose::Action, _) => {}
        (_, GateOutcome::Cancelled) => run::end_stage(turn, run, ix, StageStatus::Cancelled, reason),
    }
}

fn is_skipped_unanswered(turn: &Turn<'_>, run: RunId, ix: StageIx) -> bool {
    turn.governor.run(run).is_some_and(|live| {
        matches!(&live.graph().pipeline.stage(ix).work, Work::Gate(work) if work.on_timeout == OnTimeout::Skip)
    })
}
