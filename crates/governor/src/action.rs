//! What an agent asks to do. Policy answers, at the moment it is asked and again at the moment it is done; what is allowed is
//! allowed once, by a permit bound to exactly what was asked.

use eparch_domain::{Action, AgentId, Digest, Name, PermitId, RunId, Tier, ViolationType, limits};
use eparch_policy::{
    AgentSubject, BadResource, Circumstances, Credential, Decision as Says, Owner, Request, Resource,
    ResourceKind, Subject, Verdict, kinds_of, one_form,
};

use crate::asking;
use crate::decision::Refusal;
use crate::event::ActionAsked;
use crate::fact::{Fact, Permit, Ruled};
use crate::governor::Turn;
use crate::permit::{PermitFault, Stands, permit_id};
use crate::plan::is_planned;
use crate::revocation;
use crate::state::Attempt;

/// Why nothing is allowed where no policies are in force (G4).
const NO_POLICIES: &str = "no_policies";

/// What lies outside every project: nobody works for it, so nothing there is anybody's own.
const OUTSIDE: &str = "outside-of-projects";

/// Policies are to be in force. Whoever offers them has them at hand.
pub(crate) fn policies_offered(turn: &mut Turn<'_>, by: Option<&Name>, policies: Digest) {
    let may = |known: &crate::operator::Operator| known.role.may_administer();
    if let Some(by) = by
        && crate::operators::require(turn, by, "put policies in force", may).is_none()
    {
        return;
    }
    if !turn.governor.policies.contains_key(&policies) {
        return turn.refuse(Refusal::UnknownPolicies { policies });
    }
    if turn.governor.state.policy != Some(policies) {
        turn.record(Fact::PoliciesInForce { policies, by: by.cloned() });
        asking::policies_changed(turn);
    }
}

/// An agent asks whether it may do something.
pub(crate) fn asked(turn: &mut Turn<'_>, asked: &ActionAsked) {
    let (agent, now) = (asked.agent, turn.now.ledger);
    // Another spelling is the same thing: to people who said no to it, to those who count, and to what the run has done.
    let target = one_form(asked.action, &asked.target).unwrap_or_else(|_| asked.target.clone());
    let asked = &ActionAsked { target, ..asked.clone() };
    let Some((run, attempt)) = with_authority(turn, agent) else { return };
    if let Some(before) = attempt.actions.asked(&asked.key) {
        let ruled = before.ruled.clone();
        let same =
            ruled.action == asked.action && ruled.target == asked.target && ruled.params == asked.params;
        return match same {
            true => asking::asked_again(turn, run, &ruled),
            false => turn.refuse(Refusal::ActionKeyReused { key: asked.key.clone() }),
        };
    }
    if attempt.actions.open(now) >= limits::OPEN_PERMITS {
        return turn.refuse(Refusal::TooManyPermits { limit: limits::OPEN_PERMITS });
    }
    let question = Question {
        agent,
        tenant: &asked.tenant,
        project: &asked.project,
        action: asked.action,
        target: &asked.target,
        approvals: 0,
    };
    let verdict = match answer(turn, run, &question) {
        Ok(verdict) => verdict,
        Err(bad) => return turn.refuse(Refusal::BadTarget { action: asked.action, why: bad.to_string() }),
    };
    let asks = verdict.decision == Says::Ask;
    let ruled = Ruled {
        agent,
        key: asked.key.clone(),
        tenant: asked.tenant.clone(),
        project: asked.project.clone(),
        action: asked.action,
        target: asked.target.clone(),
        params: asked.params,
        verdict,
        policy: turn.governor.state.policy,
        permit: None,
        gate: None,
        approvals: 0,
        decided_by: Vec::new(),
    };
    if asks { asking::ask(turn, run, ruled) } else { settle(turn, ruled) }
}

/// Records an answer: with a permit, when it lets the agent do what it asked for.
pub(crate) fn settle(turn: &mut Turn<'_>, mut ruled: Ruled) {
    let Some((_, _, attempt)) = turn.governor.attempt(ruled.agent) else { return };
    let permitted = matches!(ruled.verdict.decision, Says::Allow | Says::Modify);
    ruled.permit = permitted.then(|| Permit {
        permit: permit_id(ruled.agent, attempt.actions.count()),
        expires: turn.now.ledger.after(limits::PERMIT_TTL),
    });
    turn.record(Fact::ActionDecided(Box::new(ruled.clone())));
    if counts_against_it(&ruled.verdict) {
        look_at_repeats(turn, &ruled);
    }
}

/// Whether a denial is held against whoever asks again. Where a retry can help, asking again is what it takes.
pub(crate) fn counts_against_it(verdict: &Verdict) -> bool {
    verdict.decision == Says::Deny && !verdict.retryable
}

/// Asking is how an agent finds its limits; asking for the same again and again is trying to get past them (1.4).
fn look_at_repeats(turn: &mut Turn<'_>, ruled: &Ruled) {
    let (agent, action, reason) = (ruled.agent, ruled.action, &*ruled.verdict.reason);
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let repeats = attempt.actions.denied(action, &ruled.target).saturating_sub(1);
    if repeats < limits::DENIED_REPEATS {
        return;
    }
    let detail = format!("{action} was asked for again {repeats} times after it was denied: {reason}");
    revocation::violation(turn, agent, violation_of(action, reason), &detail);
}

/// Which violation it is to insist on what is denied.
fn violation_of(action: Action, reason: &str) -> ViolationType {
    match (action, reason) {
        (Action::ModifyGovernance, _) | (_, "governance_protected") => ViolationType::GovernanceTampering,
        (Action::AccessVaultRoot, _) => ViolationType::RootSecretAccess,
        (_, "above_own_tier") => ViolationType::TierEscalation,
        (_, "secret_then_send") => ViolationType::SecretExfiltration,
        (_, "forbidden_target") => ViolationType::ForbiddenTarget,
        _ => ViolationType::ForbiddenAction,
    }
}

/// An agent is about to do what a permit is for.
pub(crate) fn permit_used(turn: &mut Turn<'_>, agent: AgentId, permit: PermitId, params: &Digest) {
    spend(turn, agent, permit, Some(params));
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

/// Whether a permit is good now, and not spent by looking. One that is not is refused, and what is wrong with it is recorded.
pub(crate) fn is_good(
    turn: &mut Turn<'_>,
    agent: AgentId,
    permit: PermitId,
    params: Option<&Digest>,
) -> bool {
    let Some((run, attempt)) = with_authority(turn, agent) else { return false };
    let fault = match attempt.actions.permitted(permit) {
        None => match holder_of(turn, permit) {
            Some(_) => PermitFault::OfAnother,
            None => PermitFault::Unknown,
        },
        Some(asked) => {
            let (ruled, stands) = (asked.ruled.clone(), asked.stands);
            match fault_of(turn, run, &ruled, stands, params) {
                None => return true,
                Some(fault) => fault,
            }
        }
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
fn fault_of(
    turn: &Turn<'_>,
    run: RunId,
    ruled: &Ruled,
    stands: Stands,
    params: Option<&Digest>,
) -> Option<PermitFault> {
    if stands != Stands::Open {
        return Some(PermitFault::Spent);
    }
    if ruled.permit.is_none_or(|given| turn.now.ledger >= given.expires) {
        return Some(PermitFault::Expired);
    }
    if params.is_some_and(|params| ruled.params != *params) {
        return Some(PermitFault::OtherArguments);
    }
    if ruled.policy != turn.governor.state.policy {
        return Some(PermitFault::OtherPolicies);
    }
    let void = |reason: &str| Some(PermitFault::Void { reason: reason.to_owned() });
    match answer(turn, run, &Question::of(ruled, ruled.approvals)) {
        Ok(verdict)
            if verdict.decision == ruled.verdict.decision && verdict.changes == ruled.verdict.changes =>
        {
            None
        }
        Ok(verdict) => void(&verdict.reason),
        Err(_) => void("bad_target"),
    }
}

/// Whether policy lets an agent do to another place what it was let do to one.
pub(crate) fn allows_as_well(turn: &Turn<'_>, run: RunId, ruled: &Ruled, target: &str) -> bool {
    let (tenant, project) = (&ruled.tenant, &ruled.project);
    // People approved that one thing, and nothing beside it.
    let question =
        Question { agent: ruled.agent, tenant, project, action: ruled.action, target, approvals: 0 };
    let verdict = answer(turn, run, &question);
    verdict.is_ok_and(|verdict| verdict.decision == Says::Allow && verdict.changes.is_empty())
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
    let Some((_, attempt)) = with_authority(turn, agent) else { return };
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

/// The agent's attempt, if what it asks for counts; otherwise whoever asks is told.
pub(crate) fn with_authority<'t>(turn: &'t mut Turn<'_>, agent: AgentId) -> Option<(RunId, &'t Attempt)> {
    let refusal = match turn.governor.attempt(agent) {
        None => Refusal::UnknownAgent { agent },
        Some((_, _, attempt)) if attempt.end.is_some() || attempt.cut_off => Refusal::AuthorityOver { agent },
        Some((_, _, attempt)) if crate::lease::has_expired(attempt, turn.now) => {
            Refusal::TokenExpired { agent }
        }
        Some(_) => return turn.governor.attempt(agent).map(|(run, _, attempt)| (run, attempt)),
    };
    turn.refuse(refusal);
    None
}

/// What policy is asked.
pub(crate) struct Question<'q> {
    agent: AgentId,
    tenant: &'q Name,
    project: &'q Name,
    action: Action,
    target: &'q str,
    /// How many people approved exactly this.
    approvals: u32,
}

impl Question<'_> {
    /// What was asked before, with so many approvals.
    pub(crate) fn of(ruled: &Ruled, approvals: u32) -> Question<'_> {
        let Ruled { agent, tenant, project, action, target, .. } = ruled;
        Question { agent: *agent, tenant, project, action: *action, target, approvals }
    }
}

/// What policy says now.
pub(crate) fn answer(turn: &Turn<'_>, run: RunId, question: &Question<'_>) -> Result<Verdict, BadResource> {
    let governor = &*turn.governor;
    let (Some(live), Some((_, _, attempt))) = (governor.run(run), governor.attempt(question.agent)) else {
        return Ok(no_policies());
    };
    let resource = resource(turn, run, attempt, question)?;
    let Some(policies) = governor.policies_in_force() else { return Ok(no_policies()) };
    let work = crate::agent::work_of(turn, question.agent);
    let tier = governor.agents.get(&question.agent).map_or(Tier::T0, |(_, ix)| governor.tier_at(live, *ix));
    let template = work.and_then(|work| Name::new(&work.template).ok());
    let request = Request {
        subject: Subject::Agent(AgentSubject {
            id: question.agent,
            tier,
            tenant: question.tenant.clone(),
            project: question.project.clone(),
            run,
            template,
            seat: None,
            credential: Credential::Valid,
        }),
        action: question.action,
        circumstances: Circumstances {
            phase: attempt.phase,
            planned: is_planned(&attempt.may_ask, question.action, resource.name()),
            outside: leaves(question.action, resource.name()),
            approvals: question.approvals,
            history: live.history.clone(),
            ..Circumstances::default()
        },
        resource,
    };
    Ok(policies.decide(&request))
}

/// The answer where there is nothing to ask (G4).
fn no_policies() -> Verdict {
    Verdict {
        decision: Says::Deny,
        reason: NO_POLICIES.into(),
        policies: Vec::new(),
        retryable: false,
        unlock: Some(
            "policies that can be loaded: `eparch policy check` says what is wrong with them".to_owned(),
        ),
        changes: Vec::new(),
        candidates: 0,
        shadowed: Vec::new(),
    }
}

/// What an action's target is, and whose. What an agent's stage was given is its own; what lies outside the project is
/// nobody's here.
fn resource(
    turn: &Turn<'_>,
    run: RunId,
    attempt: &Attempt,
    question: &Question<'_>,
) -> Result<Resource, BadResource> {
    let kind = kinds_of(question.action).first().copied().unwrap_or(ResourceKind::Governance);
    let (tenant, project) = (question.tenant.clone(), question.project.clone());
    let of_project = || Owner::Project { project: project.clone() };
    let of_run = |run: RunId| Owner::Run { project: project.clone(), run };
    let owner = match kind {
        ResourceKind::Governance => Owner::Governance,
        ResourceKind::Agent => {
            let known = question.target.parse::<AgentId>().ok().and_then(|id| turn.governor.attempt(id));
            let (of, tier) = match known {
                Some((of, ..)) => {
                    let work = question.target.parse().ok().and_then(|id| crate::agent::work_of(turn, id));
                    (of_run(of), work.map_or(Tier::T4, |work| work.tier))
                }
                // One that is to be made, or is not there: as if it could do everything.
                None => (of_project(), Tier::T4),
            };
            return Resource::agent(question.target, tier, tenant, of);
        }
        ResourceKind::Work if question.target == "." || question.target == run.to_string() => of_run(run),
        ResourceKind::Path if question.target.starts_with('/') => {
            let outside = Name::new(OUTSIDE).expect("it is a name");
            Owner::Project { project: outside }
        }
        ResourceKind::Path if is_planned(&attempt.may_ask, question.action, question.target) => of_run(run),
        _ => of_project(),
    };
    Resource::new(kind, question.target, tenant, owner)
}

/// Whether what is sent with an action may leave the machine: everything that is not known to stay.
fn leaves(action: Action, target: &str) -> bool {
    match action {
        Action::LlmChat | Action::CallTool => true,
        _ if kinds_of(action).contains(&ResourceKind::Host) => target != "localhost",
        _ => false,
    }
}

/// Notes what a run is doing, as policies may ask for it. Looking at ever more files is one fact, so that it does not fill
/// the history.
pub(crate) fn note(history: &mut eparch_policy::History, ruled: &Ruled) {
    match ruled.action {
        Action::ReadFile | Action::ListDirectory | Action::SearchCode | Action::WriteFile => {
            history.note_fact(ruled.action.as_str());
        }
        action => history.note(action, &ruled.target),
    }
}
