//! What policy answers with *ask*: people are asked at a gate of the attempt, which goes on meanwhile. What they approve is
//! decided on once more when the agent comes back for it, with their approvals, and done once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eparch_domain::{AgentId, Digest, GateId, Name, OperatorRole, Phase, RunId, Span, limits};
use eparch_policy::{Decision as Says, Verdict, reasons};
use serde::{Deserialize, Serialize};

use crate::action;
use crate::decision::{Answer, Refusal};
use crate::denials;
use crate::event::GateDecision;
use crate::fact::{Fact, GateOpened, GateOutcome, GatePurpose, Ruled};
use crate::gate::least_separation;
use crate::governor::Turn;
use crate::question::{self, Question};
use crate::sought::Sought;
use crate::state::Gate;
use crate::until::Until;

/// Somebody who may answer said no.
pub(crate) const DENIED: &str = reasons::APPROVAL_DENIED;
/// Nobody answered, or nobody came back for the answer, while it was asked.
const TIMED_OUT: &str = reasons::APPROVAL_TIMED_OUT;
/// What was asked, or approved, holds no more.
pub(crate) const VOID: &str = reasons::APPROVAL_VOID;

/// What one agent has people asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Questions {
    /// The gates that wait.
    pub(crate) open: BTreeMap<GateId, Gate>,
    /// Those that were approved, until the agent comes back for what they let it do.
    pub(crate) approved: BTreeMap<GateId, Approved>,
    /// What is left of the idle timeout, which stands still while a gate waits; nothing when it does not run.
    pub(crate) idle_left: Option<Span>,
}

/// An approval that was not used yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Approved {
    /// Whose it is.
    pub(crate) by: BTreeSet<Name>,
    /// It may be used before this, by either time.
    pub(crate) until: Until,
    /// Somebody of those whose it is may act no longer: it lets nobody do anything.
    #[serde(default)]
    pub(crate) withdrawn: bool,
}

impl Questions {
    /// A gate waits no longer. What enough people approved is kept for the agent.
    pub(crate) fn close(&mut self, gate: GateId, outcome: GateOutcome) {
        let Some(open) = self.open.remove(&gate) else { return };
        if outcome == GateOutcome::Approved {
            let by = who_said(&open, GateDecision::Approve);
            self.approved.insert(gate, Approved { by, until: open.opened.deadline, withdrawn: false });
        }
    }

    /// Whether something that was approved and not used yet was approved by them.
    pub(crate) fn rest_on(&self, name: &Name) -> bool {
        self.approved.values().any(|approved| approved.by.contains(name))
    }

    /// Somebody may act no longer: what they approved is good for nothing.
    pub(crate) fn withdraw(&mut self, name: &Name) {
        for approved in self.approved.values_mut().filter(|approved| approved.by.contains(name)) {
            approved.withdrawn = true;
        }
    }
}

/// Who said this at a gate, so far.
pub(crate) fn who_said(open: &Gate, decision: GateDecision) -> BTreeSet<Name> {
    open.votes.iter().filter(|(_, vote)| vote.decision == decision).map(|(name, _)| name.clone()).collect()
}

/// Policy asks for people: a gate opens, unless no number of approvals would change what policy says, the agent's program has
/// ended, which nobody would come back from, or one more no could not be remembered. `ruled` is the answer so far, and `given`
/// the arguments as people are shown them.
pub(crate) fn ask(turn: &mut Turn<'_>, run: RunId, mut ruled: Ruled, given: Option<&str>) {
    let Some((_, ix, attempt)) = turn.governor.attempt(ruled.agent) else { return };
    let may_come_back = attempt.phase <= Phase::Execute;
    let quorum = quorum(turn, &ruled).filter(|_| may_come_back);
    let (Some(quorum), Some(policy)) = (quorum, ruled.policy) else {
        return action::settle(turn, ruled);
    };
    if attempt.actions.waiting() >= limits::OPEN_QUESTIONS {
        return turn.refuse(Refusal::TooManyQuestions { limit: limits::OPEN_QUESTIONS });
    }
    let Some(live) = turn.governor.run(run) else { return };
    if let Some(verdict) = denials::no_room(live) {
        ruled.verdict = verdict;
        return action::settle(turn, ruled);
    }
    // Whatever ends the attempt withdraws the question: nobody is told that there is more time than there is.
    let ends = [Some(live.spawned.deadline), live.stage(ix).deadline, attempt.execute_by];
    let deadline = ends.into_iter().flatten().fold(turn.now.ledger.after(limits::GATE_TIMEOUT), Ord::min);
    let deadline = Until::by(turn.now, deadline);
    let gate = gate_id(ruled.agent, attempt.actions.count());
    let sought = Sought {
        agent: ruled.agent,
        action: ruled.action,
        target: ruled.target.clone(),
        params: ruled.params,
        given: given.map(str::to_owned),
        policy,
        reason: ruled.verdict.reason.to_string(),
        unlock: ruled.verdict.unlock.clone(),
    };
    ruled.seen = !sought.is_unseen();
    let roles = [OperatorRole::Approver, OperatorRole::Admin];
    let opened = GateOpened {
        gate,
        run,
        stage: ix,
        purpose: GatePurpose::Action,
        subject: sought.subject(),
        approvers: roles.map(|role| Name::new(role.as_str()).expect("a role is a name")).to_vec(),
        quorum,
        requester: live.spawned.requester.clone(),
        separation: least_separation(live),
        deadline,
        sought: Some(Box::new(sought)),
    };
    ruled.gate = Some(gate);
    turn.record(Fact::ActionDecided(Arc::new(ruled)));
    turn.record(Fact::GateOpened(Box::new(opened)));
}

/// How many approvals it takes, as policy says: the fewest with which it does not ask any more, but lets it be done.
fn quorum(turn: &Turn<'_>, ruled: &Ruled) -> Option<u16> {
    let lets = |approvals: &u16| {
        let verdict = question::answer(turn, &Question::of(ruled, u32::from(*approvals)));
        verdict.is_ok_and(|verdict| matches!(verdict.decision, Says::Allow | Says::Modify))
    };
    (1..=limits::ACTION_APPROVALS).find(lets)
}

/// One gate for each request of an agent: durable, and the same on every replay.
fn gate_id(agent: AgentId, asked_before: u64) -> GateId {
    let parts: [&[u8]; 3] = [b"ask", &agent.bits().to_be_bytes(), &asked_before.to_be_bytes()];
    GateId::derived(&Digest::of_parts(&parts))
}

/// An agent asks again for what it asked before. What people have approved meanwhile is decided on once more, with their
/// approvals: another thing may have happened since.
pub(crate) fn asked_again(turn: &mut Turn<'_>, run: RunId, before: &Ruled) {
    let Some((_, _, attempt)) = turn.governor.attempt(before.agent) else { return };
    let approved = before.gate.and_then(|gate| attempt.questions.approved.get(&gate)).cloned();
    let Some(approved) = approved else {
        turn.decision.answer = Answer::Ruled(Box::new(before.clone()));
        return;
    };
    if attempt.actions.open(turn.now) >= limits::OPEN_PERMITS {
        return turn.refuse(Refusal::TooManyPermits { limit: limits::OPEN_PERMITS });
    }
    if let Some(by) = denials::by_whom(turn, run, before.action, &before.target) {
        let verdict = denials::said_no();
        return action::settle(turn, Ruled { verdict, decided_by: by, ..before.clone() });
    }
    let approvals = u32::try_from(approved.by.len()).unwrap_or(u32::MAX);
    let verdict = if approved.until.is_over(turn.now) {
        no(TIMED_OUT, "ask again, with a new key, and come back for the answer in time")
    } else if approved.withdrawn {
        no(VOID, "ask again, with a new key: somebody who approved it may act no longer")
    } else if before.policy != turn.governor.state.policy {
        // It was taken back when they changed; where it counts it is looked at all the same.
        no(VOID, "ask again, with a new key: the policies have changed")
    } else {
        match question::answer(turn, &Question::of(before, approvals)) {
            Ok(verdict) if verdict.decision == Says::Ask => {
                no(VOID, "ask again, with a new key: what was approved takes more by now")
            }
            Ok(verdict) => verdict,
            Err(bad) => {
                let why = bad.to_string();
                return turn.refuse(Refusal::BadTarget { action: before.action, why });
            }
        }
    };
    let decided_by = approved.by.into_iter().collect();
    action::settle(turn, Ruled { verdict, approvals, decided_by, ..before.clone() });
}

/// A denial that comes of people, or of their silence. Only what somebody said no to is held against whoever insists.
fn no(reason: &str, unlock: &str) -> Verdict {
    Verdict {
        decision: Says::Deny,
        reason: reason.into(),
        policies: Vec::new(),
        retryable: reason != DENIED,
        unlock: Some(unlock.to_owned()),
        changes: Vec::new(),
        candidates: 0,
        shadowed: Vec::new(),
    }
}

/// Closes the gate of a question. When there will be no approval, that is the answer to what was asked.
pub(crate) fn close(turn: &mut Turn<'_>, gate: GateId, outcome: GateOutcome) {
    let Some(open) = turn.governor.open_gate(gate) else { return };
    let Some(agent) = open.opened.sought.as_ref().map(|sought| sought.agent) else { return };
    let denied_by: Vec<Name> = who_said(open, GateDecision::Deny).into_iter().collect();
    let run = open.opened.run;
    turn.record(Fact::GateClosed { gate, outcome });
    let verdict = match outcome {
        GateOutcome::Approved => return,
        GateOutcome::Denied => no(DENIED, "something else: a person said no to this"),
        GateOutcome::TimedOut => no(TIMED_OUT, "ask again, with a new key, when somebody is there to answer"),
        GateOutcome::Cancelled => no(VOID, "ask again, with a new key: the policies have changed"),
    };
    let same = open_for_the_same(turn, run, agent, gate, outcome);
    answered(turn, agent, gate, verdict, denied_by.clone());
    for (agent, gate) in same {
        turn.record(Fact::GateClosed { gate, outcome: GateOutcome::Cancelled });
        answered(turn, agent, gate, denials::said_no(), denied_by.clone());
    }
}

/// The other gates of a run at which people are asked for what somebody has just said no to. Nobody is to say yes to it by being
/// asked in other words.
fn open_for_the_same(
    turn: &Turn<'_>,
    run: RunId,
    agent: AgentId,
    gate: GateId,
    outcome: GateOutcome,
) -> Vec<(AgentId, GateId)> {
    let governor = &*turn.governor;
    let denied = governor.attempt(agent).and_then(|(_, _, attempt)| attempt.actions.asked_at(gate));
    let (Some(denied), GateOutcome::Denied) = (denied, outcome) else { return Vec::new() };
    let of_run = governor.agents.iter().filter(|(_, (of, _))| *of == run).map(|(agent, _)| *agent);
    let asked = of_run.filter_map(|agent| Some((agent, governor.attempt(agent)?.2)));
    let open = asked.flat_map(|(agent, attempt)| {
        attempt.questions.open.iter().map(move |(gate, open)| (agent, *gate, open))
    });
    let same = open.filter(|(_, _, open)| {
        let sought = open.opened.sought.as_deref();
        let thing = (denied.action, denied.target.as_str());
        sought.is_some_and(|sought| denials::is_same(thing, (sought.action, &sought.target)))
    });
    same.map(|(agent, gate, _)| (agent, gate)).collect()
}

/// The answer to what was asked at a gate, when no approval comes of it.
fn answered(turn: &mut Turn<'_>, agent: AgentId, gate: GateId, verdict: Verdict, decided_by: Vec<Name>) {
    let before = turn.governor.attempt(agent).and_then(|(_, _, attempt)| attempt.actions.asked_at(gate));
    let Some(before) = before.cloned() else { return };
    let policy = turn.governor.state.policy;
    turn.record(Fact::ActionDecided(Arc::new(Ruled { verdict, decided_by, policy, ..before })));
}

/// Other policies are in force: what was asked under the ones before is withdrawn, and what was approved is void.
pub(crate) fn policies_changed(turn: &mut Turn<'_>) {
    let agents: Vec<AgentId> = turn.governor.agents.keys().copied().collect();
    for agent in agents {
        let Some((_, _, attempt)) = turn.governor.attempt(agent) else { continue };
        if attempt.end.is_some() || attempt.cut_off {
            continue;
        }
        let open: Vec<GateId> = attempt.questions.open.keys().copied().collect();
        let approved: Vec<GateId> = attempt.questions.approved.keys().copied().collect();
        for gate in open {
            close(turn, gate, GateOutcome::Cancelled);
        }
        for gate in approved {
            let verdict = no(VOID, "ask again, with a new key: the policies have changed");
            answered(turn, agent, gate, verdict, Vec::new());
        }
    }
}

/// Nothing an agent asks for counts any more: nobody is asked for it any longer.
pub(crate) fn withdraw(turn: &mut Turn<'_>, agent: AgentId) {
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let open: Vec<GateId> = attempt.questions.open.keys().copied().collect();
    for gate in open {
        turn.record(Fact::GateClosed { gate, outcome: GateOutcome::Cancelled });
    }
}
