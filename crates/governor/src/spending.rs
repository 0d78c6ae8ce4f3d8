//! Using a permit: it is good once, for what it was given for, and only while it would be given again.

use eparch_domain::{AgentId, Digest, PermitId, RunId, ViolationType, limits};

use crate::action::with_authority;
use crate::asking;
use crate::break_glass;
use crate::decision::Refusal;
use crate::denials;
use crate::fact::Fact;
use crate::governor::Turn;
use crate::permit::{Asked, PermitFault, Stands};
use crate::question::{Question, answer};
use crate::revocation;

/// An agent is about to do what a permit is for.
pub(crate) fn permit_used(turn: &mut Turn<'_>, agent: AgentId, permit: PermitId, params: &Digest) {
    if with_authority(turn, agent).is_some() {
        spend(turn, agent, permit, Some(params));
    }
}

/// Spends a permit, if it is good. It is looked at again, against the policies and the history of now: another thing may have
/// happened since. What is about to be done is what was asked for, unless `params` says something else.
fn spend(turn: &mut Turn<'_>, agent: AgentId, permit: PermitId, params: Option<&Digest>) -> bool {
    let good = is_good(turn, agent, permit, params);
    if good {
        turn.record(Fact::PermitSpent { agent, permit });
    }
    good
}

/// Whether a permit is good now, and not spent by looking; that the agent has authority is known. One that is not is refused, and what
/// is wrong with it is recorded.
pub(crate) fn is_good(
    turn: &mut Turn<'_>,
    agent: AgentId,
    permit: PermitId,
    params: Option<&Digest>,
) -> bool {
    let Some((run, _, attempt)) = turn.governor.attempt(agent) else { return false };
    let fault = match attempt.actions.permitted(permit) {
        None => match holder_of(turn, permit) {
            Some(_) => PermitFault::OfAnother,
            None => PermitFault::Unknown,
        },
        Some(asked) => match fault_of(turn, run, asked, params) {
            None => return true,
            Some(fault) => fault,
        },
    };
    turn.record(Fact::PermitRefused { agent, permit, reason: fault.reason().to_owned() });
    match &fault {
        PermitFault::OfAnother => {
            let detail = format!("it showed {permit}, which is another agent's");
            revocation::violation(turn, agent, ViolationType::IdentityForgery, &detail);
        }
        PermitFault::OtherArguments => {
            let detail = format!("it was about to do something else than {permit} is for");
            revocation::violation(turn, agent, ViolationType::ApprovalBypass, &detail);
        }
        _ => {}
    }
    turn.refuse(Refusal::Permit { permit, fault });
    false
}

/// What is wrong with a permit of the agent's own at the moment it is used.
fn fault_of(turn: &Turn<'_>, run: RunId, asked: &Asked, params: Option<&Digest>) -> Option<PermitFault> {
    let ruled = &asked.ruled;
    if asked.stands != Stands::Open {
        return Some(PermitFault::Spent);
    }
    if ruled.permit.is_none_or(|given| given.expires.is_over(turn.now)) {
        return Some(PermitFault::Expired);
    }
    if params.is_some_and(|params| ruled.params != *params) {
        return Some(PermitFault::OtherArguments);
    }
    no_longer(turn, run, asked)
}

/// Why what was let be done is not let be done now: other policies, somebody's no, an approval that is one no more, or what has
/// happened since.
pub(crate) fn no_longer(turn: &Turn<'_>, run: RunId, asked: &Asked) -> Option<PermitFault> {
    let ruled = &asked.ruled;
    if ruled.policy != turn.governor.state.policy {
        return Some(PermitFault::OtherPolicies);
    }
    let void = |reason: &str| Some(PermitFault::Void { reason: reason.to_owned() });
    if denials::by_whom(turn, run, ruled.action, &ruled.target).is_some() {
        return void(denials::SAID_NO);
    }
    if asked.withdrawn {
        return void(asking::VOID);
    }
    let question = Question::of(ruled, ruled.approvals).leaving_out(&asked.noted);
    match answer(turn, &question) {
        // What was let pass is let pass by that very grant, and what policy allowed is not let pass instead.
        Ok(verdict)
            if verdict.decision == ruled.verdict.decision
                && verdict.changes == ruled.verdict.changes
                && break_glass::is(&verdict) == break_glass::is(&ruled.verdict)
                && break_glass::still_stands(turn, ruled) =>
        {
            None
        }
        Ok(verdict) => void(&verdict.reason),
        Err(_) => void("bad_target"),
    }
}

/// The agent that lives and has a permit.
fn holder_of(turn: &Turn<'_>, permit: PermitId) -> Option<AgentId> {
    let has = |agent: &AgentId| {
        let attempt = turn.governor.attempt(*agent).map(|(_, _, attempt)| attempt);
        attempt.is_some_and(|attempt| attempt.actions.permitted(permit).is_some())
    };
    turn.governor.agents.keys().copied().find(has)
}

/// What was done under a permit has ended. What an agent did itself is told afterwards: its permit is spent with it.
pub(crate) fn ended(turn: &mut Turn<'_>, agent: AgentId, permit: PermitId, ok: bool, detail: &str) {
    if with_authority(turn, agent).is_none() {
        return;
    }
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    match attempt.actions.permitted(permit).map(|asked| asked.stands) {
        Some(Stands::Doing) => {}
        // What is performed for it the performer tells, and nobody else.
        Some(Stands::Performing | Stands::Over | Stands::Answered | Stands::Waiting) => {
            return turn.refuse(Refusal::Permit { permit, fault: PermitFault::Spent });
        }
        Some(Stands::Open) | None => {
            if !spend(turn, agent, permit, None) {
                return;
            }
        }
    }
    let detail = crate::ending::cut(detail, limits::ACTION_DETAIL_BYTES).to_owned();
    turn.record(Fact::ActionEnded { agent, permit, ok, detail });
    turn.record(Fact::ProgressSeen { agent });
}
