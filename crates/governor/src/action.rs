//! What an agent asks to do. Policy answers, at the moment it is asked and again at the moment it is done; what is allowed is
//! allowed once, by a permit bound to exactly what was asked.

use std::sync::Arc;

use eparch_domain::{Action, AgentId, Digest, Name, RunId, Tier, ViolationType, limits};
use eparch_policy::{
    AgentSubject, BadResource, Circumstances, Credential, Decision as Says, Owner, PolicySet, Request,
    Resource, ResourceKind, Subject, Target, Verdict, kinds_of, reasons,
};

use crate::asking;
use crate::break_glass::{self, Sought};
use crate::decision::Refusal;
use crate::denials;
use crate::event::ActionAsked;
use crate::fact::{Fact, Permit, Ruled};
use crate::governor::Turn;
use crate::lock;
use crate::permit::{Asked, permit_id};
use crate::plan::is_planned;
use crate::revocation;
use crate::state::Attempt;
use crate::stop_all;
use crate::target;
use crate::until::{self, Until};

/// Why nothing is allowed where no policies are in force (G4).
const NO_POLICIES: &str = reasons::NO_POLICIES;

/// What lies outside every project: nobody works for it, so nothing there is anybody's own.
const OUTSIDE: &str = "outside-of-projects";

/// An agent asks whether it may do something.
pub(crate) fn asked(turn: &mut Turn<'_>, asked: &ActionAsked) {
    let (agent, now) = (asked.agent, turn.now);
    let Some((run, _)) = with_authority(turn, agent) else { return };
    let Some(live) = turn.governor.run(run) else { return };
    // Another spelling is the same thing: to people who said no to it, to those who count, and to what the run has done.
    let target = target::one_name(asked.action, &asked.target, &live.spawned.root);
    let asked = &ActionAsked { target, ..asked.clone() };
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    if let Some(before) = attempt.actions.asked(&asked.key) {
        let ruled = before.ruled.clone();
        let same =
            ruled.action == asked.action && ruled.target == asked.target && ruled.params == asked.params;
        return match same {
            true => asking::asked_again(turn, run, &ruled),
            false => turn.refuse(Refusal::ActionKeyReused { key: asked.key.clone() }),
        };
    }
    // What people are shown is what the approval is of.
    let found = asked.given.as_ref().map(|given| Digest::of(given.as_bytes()));
    if let Some(found) = found.filter(|found| *found != asked.params) {
        return turn.refuse(Refusal::ArgumentsDiffer { expected: asked.params, found });
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
        leaving_out: &[],
    };
    let verdict = match answer(turn, run, &question) {
        Ok(verdict) => verdict,
        Err(bad) => return turn.refuse(Refusal::BadTarget { action: asked.action, why: bad.to_string() }),
    };
    // A person's no outweighs whatever else would let it be done; what policy itself denies it says.
    let no = denials::by_whom(turn, run, asked.action, &asked.target);
    let (verdict, decided_by) = match no {
        Some(by) if verdict.decision != Says::Deny => (denials::said_no(), by),
        _ => (verdict, Vec::new()),
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
        seen: false,
        break_glass: None,
        decided_by,
    };
    if asks { asking::ask(turn, run, ruled, asked.given.as_deref()) } else { settle(turn, ruled) }
}

/// Records an answer: with a permit, when it lets the agent do what it asked for.
pub(crate) fn settle(turn: &mut Turn<'_>, mut ruled: Ruled) {
    let Some((_, _, attempt)) = turn.governor.attempt(ruled.agent) else { return };
    let permitted = matches!(ruled.verdict.decision, Says::Allow | Says::Modify);
    let permit = permit_id(ruled.agent, attempt.actions.count());
    let under = break_glass::under(turn, &ruled);
    let left = under.as_ref().map_or(limits::PERMIT_TTL, |(_, ends)| until::left(*ends, turn.now));
    let expires = Until::after(turn.now, left.min(limits::PERMIT_TTL));
    ruled.permit = permitted.then_some(Permit { permit, expires });
    ruled.break_glass = under.map(|(under, _)| under);
    let ruled = Arc::new(ruled);
    turn.record(Fact::ActionDecided(Arc::clone(&ruled)));
    break_glass::note_use(turn, &ruled);
    if counts_against_it(&ruled) {
        look_at_repeats(turn, &ruled);
    }
}

/// Whether a denial is held against whoever asks again. Where a retry can help, asking again is what it takes; and where people
/// were being asked when somebody said no to the same, in other words or to another agent, nobody has insisted yet.
pub(crate) fn counts_against_it(ruled: &Ruled) -> bool {
    let verdict = &ruled.verdict;
    let was_asked = ruled.gate.is_some() && &*verdict.reason == denials::SAID_NO;
    verdict.decision == Says::Deny && !verdict.retryable && !was_asked
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
    let violation = violation_of(turn, ruled);
    revocation::violation(turn, agent, violation, &detail);
}

/// Which violation it is to insist on what is denied: the gravest that a policy which denied it says. No policy makes less of what
/// governs and of the vault's root.
fn violation_of(turn: &Turn<'_>, ruled: &Ruled) -> ViolationType {
    let by_action = match ruled.action {
        Action::ModifyGovernance => ViolationType::GovernanceTampering,
        Action::AccessVaultRoot => ViolationType::RootSecretAccess,
        _ => ViolationType::ForbiddenAction,
    };
    let policies = turn.governor.policies_in_force();
    let said = ruled.verdict.policies.iter().filter_map(|id| policies.as_ref()?.rule(id)?.violation);
    // Of those that are as grave the first that says so, and what is said before what is not.
    let gravest = said.reduce(|first, other| if other.severity() > first.severity() { other } else { first });
    match gravest {
        Some(said)
            if by_action == ViolationType::ForbiddenAction || said.severity() > by_action.severity() =>
        {
            said
        }
        _ => by_action,
    }
}

/// Whether policy lets an agent do to another place what it was let do to one.
pub(crate) fn allows_as_well(turn: &Turn<'_>, run: RunId, asked: &Asked, target: &str) -> bool {
    let ruled = &asked.ruled;
    if denials::by_whom(turn, run, ruled.action, target).is_some() {
        return false;
    }
    // People approved that one thing, and nothing beside it; and what they let pass is asked for by its name.
    let verdict = answer(turn, run, &Question { target, ..Question::of(ruled, 0).leaving_out(&asked.noted) });
    let allows = |verdict: &Verdict| verdict.decision == Says::Allow && verdict.changes.is_empty();
    verdict.is_ok_and(|verdict| allows(&verdict) && !break_glass::is(&verdict))
}

/// The agent's attempt, if what it asks for counts; otherwise it is told.
pub(crate) fn with_authority<'t>(turn: &'t mut Turn<'_>, agent: AgentId) -> Option<(RunId, &'t Attempt)> {
    // What stops everything is told before what is held against somebody.
    if stop_all::refusal(turn.governor).is_none() {
        lock::asks_without(turn, agent);
    }
    authority_of(turn, agent)
}

/// The same for what is asked on its behalf, which is not held against it.
pub(crate) fn authority_of<'t>(turn: &'t mut Turn<'_>, agent: AgentId) -> Option<(RunId, &'t Attempt)> {
    if let Some(stopped) = stop_all::refusal(turn.governor) {
        turn.refuse(stopped);
        return None;
    }
    let refusal = match turn.governor.attempt(agent) {
        None => Refusal::UnknownAgent { agent },
        Some((_, _, attempt)) if attempt.end.is_some() || attempt.cut_off => match lock::lost(attempt) {
            Some(lock) => Refusal::LockLost { agent, lock: lock.clone() },
            None => Refusal::AuthorityOver { agent },
        },
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
    /// What of all that the run has done is not looked at: that this very thing is being done.
    leaving_out: &'q [String],
}

impl<'q> Question<'q> {
    /// What was asked before, with so many approvals.
    pub(crate) fn of(ruled: &'q Ruled, approvals: u32) -> Question<'q> {
        let Ruled { agent, tenant, project, action, target, .. } = ruled;
        Question { agent: *agent, tenant, project, action: *action, target, approvals, leaving_out: &[] }
    }

    /// The same of something else.
    pub(crate) fn about(self, action: Action, target: &'q str) -> Question<'q> {
        Question { action, target, ..self }
    }

    /// The same, without these facts of what the run has done.
    pub(crate) fn leaving_out(self, leaving_out: &'q [String]) -> Question<'q> {
        Question { leaving_out, ..self }
    }
}

/// What is the answer now: policy's, or that two people let it pass. That is looked at once, after all that policy says: what is
/// let pass under one of its names is let pass, whatever policy says of the other.
pub(crate) fn answer(turn: &Turn<'_>, run: RunId, question: &Question<'_>) -> Result<Verdict, BadResource> {
    let governor = &*turn.governor;
    let Some((_, stage, _)) = governor.attempt(question.agent) else { return Ok(no_policies()) };
    let Some(policies) = governor.policies_in_force() else {
        // What there cannot be is told all the same.
        return resource(turn, run, question, question.target).map(|_| no_policies());
    };
    let said = policy_says(turn, &policies, run, question)?;
    let Question { agent, action, target, .. } = *question;
    let sought = Sought { run, stage, agent, action, target };
    Ok(break_glass::let_pass(governor, &policies, said, sought, turn.now))
}

/// What policy says. It may speak of a place in the project by either of its names, so that it is asked about both: the heavier
/// answer counts, and silence about one of them is none. Of two denials the one that nobody may break is the heavier.
fn policy_says(
    turn: &Turn<'_>,
    policies: &PolicySet,
    run: RunId,
    question: &Question<'_>,
) -> Result<Verdict, BadResource> {
    let Some(mut request) = request(turn, run, question)? else { return Ok(no_policies()) };
    let own = policies.decide(&request);
    let root = turn.governor.run(run).map(|live| live.spawned.root.as_str()).unwrap_or_default();
    let full = target::is_path(question.action).then(|| target::in_full(question.target, root)).flatten();
    let Some(full) = full.filter(|full| full != question.target) else { return Ok(own) };
    // What cannot be named so no policy names so.
    let Ok(found) = resource(turn, run, question, &full) else { return Ok(own) };
    request.resource = found;
    let full = policies.decide(&request);
    let silent =
        |verdict: &Verdict| verdict.decision == Says::Deny && &*verdict.reason == reasons::NO_POLICY_ALLOWS;
    let weight = |verdict: &Verdict| (verdict.decision, !policies.is_breakable(verdict));
    Ok(match (silent(&own), silent(&full)) {
        (_, true) => own,
        (true, false) => full,
        (false, false) if weight(&full) > weight(&own) => full,
        (false, false) => own,
    })
}

/// What is asked, about the target by the name it was given. Nothing when the agent or its run is gone.
fn request(turn: &Turn<'_>, run: RunId, question: &Question<'_>) -> Result<Option<Request>, BadResource> {
    let governor = &*turn.governor;
    let (Some(live), Some((_, _, attempt))) = (governor.run(run), governor.attempt(question.agent)) else {
        return Ok(None);
    };
    let resource = resource(turn, run, question, question.target)?;
    let mut history = live.history.clone();
    history.leave_out(question.leaving_out);
    let Some(subject) = subject(turn, run, question) else { return Ok(None) };
    Ok(Some(Request {
        subject,
        action: question.action,
        circumstances: Circumstances {
            phase: attempt.phase,
            planned: is_in_plan(turn, run, question),
            outside: leaves(question.action, resource.name()),
            approvals: question.approvals,
            history,
            ..Circumstances::default()
        },
        resource,
    }))
}

/// Whether an agent's plan holds what is asked.
fn is_in_plan(turn: &Turn<'_>, run: RunId, question: &Question<'_>) -> bool {
    let governor = &*turn.governor;
    let (Some(live), Some((_, _, attempt))) = (governor.run(run), governor.attempt(question.agent)) else {
        return false;
    };
    is_planned(&attempt.may_ask, question.action, question.target, &live.spawned.root)
}

/// The agent as policies know it.
pub(crate) fn subject(turn: &Turn<'_>, run: RunId, question: &Question<'_>) -> Option<Subject> {
    let governor = &*turn.governor;
    let live = governor.run(run)?;
    let work = crate::agent::work_of(turn, question.agent);
    Some(Subject::Agent(AgentSubject {
        id: question.agent,
        tier: governor.agents.get(&question.agent).map_or(Tier::T0, |(_, ix)| governor.tier_at(live, *ix)),
        tenant: question.tenant.clone(),
        project: question.project.clone(),
        run,
        template: work.and_then(|work| Name::new(&work.template).ok()),
        seat: None,
        credential: Credential::Valid,
    }))
}

/// The answer where there is nothing to ask (G4).
pub(crate) fn no_policies() -> Verdict {
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
    question: &Question<'_>,
    name: &str,
) -> Result<Resource, BadResource> {
    let Target { kind, name, tier: said } = Target::read(question.action, name);
    let (tenant, project) = (question.tenant.clone(), question.project.clone());
    let of_project = || Owner::Project { project: project.clone() };
    let of_run = |run: RunId| Owner::Run { project: project.clone(), run };
    let owner = match kind {
        ResourceKind::Governance => Owner::Governance,
        ResourceKind::Agent => {
            let known = name.parse::<AgentId>().ok().and_then(|id| turn.governor.attempt(id));
            let (of, tier) = match (known, said) {
                // Whatever is said of it, it can do what it can do.
                (Some((of, ..)), said) => {
                    let work = name.parse().ok().and_then(|id| crate::agent::work_of(turn, id));
                    (of_run(of), work.map_or(Tier::T4, |work| work.tier).max(said.unwrap_or_default()))
                }
                // One that is to be made has the tier that is asked for, which is in what a permit is for.
                (None, Some(tier)) if question.action == Action::SpawnAgent => (of_project(), tier),
                (None, None) if question.action == Action::SpawnAgent => return Err(BadResource::NoTier),
                // One that is not there: as if it could do everything.
                (None, _) => (of_project(), Tier::T4),
            };
            return Resource::agent(name, tier, tenant, of);
        }
        ResourceKind::Work if name == "." || name == run.to_string() => of_run(run),
        ResourceKind::Path if question.target.starts_with('/') => {
            let outside = Name::new(OUTSIDE).expect("it is a name");
            Owner::Project { project: outside }
        }
        ResourceKind::Path if is_in_plan(turn, run, question) => of_run(run),
        _ => of_project(),
    };
    Resource::new(kind, name, tenant, owner)
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
/// the history. Returns what was not in it before.
pub(crate) fn note(history: &mut eparch_policy::History, ruled: &Ruled) -> Vec<String> {
    let before = history.clone();
    match ruled.action {
        Action::ReadFile | Action::ListDirectory | Action::SearchCode | Action::WriteFile => {
            history.note_fact(ruled.action.as_str());
        }
        action => history.note(action, &ruled.target),
    }
    let news = history.facts().filter(|fact| !before.holds(fact));
    news.map(str::to_owned).collect()
}
