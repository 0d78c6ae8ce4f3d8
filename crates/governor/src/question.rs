//! What policy is asked of something that an agent wants to do, and what it answers.

use eparch_domain::{Action, AgentId, Name, RunId, Tier};
use eparch_pipeline::StageIx;
use eparch_policy::{
    AgentSubject, BadResource, Circumstances, Credential, Decision as Says, Owner, PolicySet, Request,
    Resource, ResourceKind, Subject, Target, Verdict, kinds_of, reasons,
};

use crate::agent;
use crate::break_glass::{self, Sought};
use crate::event::ActionAsked;
use crate::fact::Ruled;
use crate::governor::{Governor, Turn};
use crate::plan::is_planned;
use crate::state::{Attempt, Run};
use crate::target;

/// Why nothing is allowed where no policies are in force (G4).
const NO_POLICIES: &str = reasons::NO_POLICIES;

/// What lies outside every project: nobody works for it, so nothing there is anybody's own.
const OUTSIDE: &str = "outside-of-projects";

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
    /// What is asked for the first time.
    pub(crate) fn new(asked: &'q ActionAsked) -> Question<'q> {
        let ActionAsked { agent, tenant, project, action, target, .. } = asked;
        Question { agent: *agent, tenant, project, action: *action, target, approvals: 0, leaving_out: &[] }
    }

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

/// Whoever asks, found once: an answer needs them in a dozen places, and with many agents each look takes its time.
struct Asker<'g> {
    governor: &'g Governor,
    run: RunId,
    live: &'g Run,
    stage: StageIx,
    attempt: &'g Attempt,
    /// Their plan holds what they ask for.
    planned: bool,
}

impl<'g> Asker<'g> {
    fn of(governor: &'g Governor, question: &Question<'_>) -> Option<Asker<'g>> {
        let (run, stage, attempt) = governor.attempt(question.agent)?;
        let live = governor.run(run)?;
        let planned = is_planned(&attempt.may_ask, question.action, question.target, &live.spawned.root);
        Some(Asker { governor, run, live, stage, attempt, planned })
    }
}

/// What is the answer now: policy's, or that two people let it pass. That is looked at once, after all that policy says: what is
/// let pass under one of its names is let pass, whatever policy says of the other.
pub(crate) fn answer(turn: &Turn<'_>, question: &Question<'_>) -> Result<Verdict, BadResource> {
    let governor = &*turn.governor;
    let Some(asker) = Asker::of(governor, question) else { return Ok(no_policies()) };
    // What there cannot be is told, whether there are policies or not.
    let resource = resource(&asker, question)?;
    let Some(policies) = governor.policies_in_force() else { return Ok(no_policies()) };
    let said = policy_says(&asker, &policies, question, resource);
    let Question { agent, action, target, .. } = *question;
    let sought = Sought { run: asker.run, stage: asker.stage, agent, action, target };
    Ok(break_glass::let_pass(governor, &policies, said, sought, turn.now))
}

/// What policy says. It may speak of a place in the project by either of its names, so that it is asked about both: the heavier
/// answer counts, and silence about one of them is none. Of two denials the one that nobody may break is the heavier.
fn policy_says(
    asker: &Asker<'_>,
    policies: &PolicySet,
    question: &Question<'_>,
    resource: Resource,
) -> Verdict {
    let request = request(asker, question, resource);
    let root = asker.live.spawned.root.as_str();
    let full = target::is_path(question.action).then(|| target::in_full(question.target, root)).flatten();
    let Some(full) = full.filter(|full| full != question.target) else { return policies.decide(&request) };
    let (own, full) = policies.decide_by_both_names(request, &full);
    let Some(full) = full else { return own };
    let silent =
        |verdict: &Verdict| verdict.decision == Says::Deny && &*verdict.reason == reasons::NO_POLICY_ALLOWS;
    let weight = |verdict: &Verdict| (verdict.decision, !policies.is_breakable(verdict));
    match (silent(&own), silent(&full)) {
        (_, true) => own,
        (true, false) => full,
        (false, false) if weight(&full) > weight(&own) => full,
        (false, false) => own,
    }
}

/// What is asked, about the target by the name it was given.
fn request(asker: &Asker<'_>, question: &Question<'_>, resource: Resource) -> Request {
    let mut history = asker.live.history.clone();
    history.leave_out(question.leaving_out);
    Request {
        subject: subject_of(asker, question),
        action: question.action,
        circumstances: Circumstances {
            phase: asker.attempt.phase,
            planned: asker.planned,
            outside: leaves(question.action, resource.name()),
            approvals: question.approvals,
            history,
            ..Circumstances::default()
        },
        resource,
    }
}

/// The agent as policies know it.
pub(crate) fn subject(turn: &Turn<'_>, question: &Question<'_>) -> Option<Subject> {
    Asker::of(turn.governor, question).map(|asker| subject_of(&asker, question))
}

fn subject_of(asker: &Asker<'_>, question: &Question<'_>) -> Subject {
    let work = agent::work_at(asker.live, asker.stage);
    Subject::Agent(AgentSubject {
        id: question.agent,
        tier: asker.governor.tier_at(asker.live, asker.stage),
        tenant: question.tenant.clone(),
        project: question.project.clone(),
        run: asker.run,
        template: work.and_then(|work| Name::new(&work.template).ok()),
        seat: None,
        credential: Credential::Valid,
    })
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
fn resource(asker: &Asker<'_>, question: &Question<'_>) -> Result<Resource, BadResource> {
    let (governor, run) = (asker.governor, asker.run);
    let Target { kind, name, tier: said } = Target::read(question.action, question.target);
    let (tenant, project) = (question.tenant.clone(), question.project.clone());
    let of_project = || Owner::Project { project: project.clone() };
    let of_run = |run: RunId| Owner::Run { project: project.clone(), run };
    let owner = match kind {
        ResourceKind::Governance => Owner::Governance,
        ResourceKind::Agent => {
            let known = name.parse::<AgentId>().ok().and_then(|id| governor.attempt(id));
            let (of, tier) = match (known, said) {
                // Whatever is said of it, it can do what it can do.
                (Some((of, stage, _)), said) => {
                    let tier =
                        governor.run(of).and_then(|live| agent::work_at(live, stage)).map(|work| work.tier);
                    (of_run(of), tier.unwrap_or(Tier::T4).max(said.unwrap_or_default()))
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
        ResourceKind::Path if asker.planned => of_run(run),
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
