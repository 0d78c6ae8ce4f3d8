//! What people do, as policy is asked about it. What a person's role lets them do in code is the most they may; the policies in
//! force can take of that away, and never add to it. What takes authority away (a no, a stop, a revocation) nobody is asked
//! about: no policy keeps anybody from that whose role is for it.

use eparch_domain::{Action, BreakGlassId, Digest, GateId, Name, Phase, RunId, StandingId, Tier};
use eparch_policy::{
    BadResource, Circumstances, Decision as Says, OperatorSubject, Owner, Request, Resource, ResourceKind,
    Subject, Verdict,
};

use crate::decision::Refusal;
use crate::governor::Governor;
use crate::operator::Operator;
use crate::question::no_policies;

/// The one tenant of a home, for now: everybody who is known in it is of it.
pub const TENANT: &str = "default";
/// The one project of a home, for now.
pub const PROJECT: &str = "default";

/// What somebody wants to do, as policy is asked.
#[derive(Debug, Clone)]
pub(crate) struct Wish<'w> {
    action: Action,
    resource: Result<Resource, BadResource>,
    /// Who asked for what they answer.
    requester: Option<&'w Name>,
    /// How many others approved exactly this.
    approvals: u32,
}

fn default_name(text: &str) -> Name {
    Name::new(text).expect("a word is a name")
}

fn tenant() -> Name {
    default_name(TENANT)
}

/// What is nobody's own, as people see it: the tenant's.
fn of_tenant() -> Owner {
    Owner::Project { project: default_name(PROJECT) }
}

impl<'w> Wish<'w> {
    fn new(action: Action, resource: Result<Resource, BadResource>) -> Wish<'w> {
        Wish { action, resource, requester: None, approvals: 0 }
    }

    /// To have a pipeline run, with a grant: what it starts may do as much as that.
    pub(crate) fn run(pipeline: &Name, grant: Tier) -> Wish<'w> {
        Wish::new(Action::SpawnAgent, Resource::agent(pipeline.as_str(), grant, tenant(), of_tenant()))
    }

    /// To say yes at a gate; whoever it is another's request of is told, too.
    pub(crate) fn approve(gate: GateId, run: RunId, requester: Option<&'w Name>) -> Wish<'w> {
        let owner = Owner::Run { project: default_name(PROJECT), run };
        let resource = Resource::new(ResourceKind::Gate, &gate.to_string(), tenant(), owner);
        Wish { requester, ..Wish::new(Action::Approve, resource) }
    }

    /// To say yes to letting something pass.
    pub(crate) fn let_pass(grant: BreakGlassId, requester: &'w Name) -> Wish<'w> {
        let resource = Resource::new(ResourceKind::Gate, &grant.to_string(), tenant(), of_tenant());
        Wish { requester: Some(requester), ..Wish::new(Action::Approve, resource) }
    }

    /// To say yes to other policies.
    pub(crate) fn approve_policies(policies: &Digest, requester: &'w Name) -> Wish<'w> {
        let resource = Resource::new(ResourceKind::Gate, &policies.to_string(), tenant(), of_tenant());
        Wish { requester: Some(requester), ..Wish::new(Action::Approve, resource) }
    }

    /// To say yes to a promotion.
    pub(crate) fn promote(standing: StandingId, to: Tier, requester: &'w Name) -> Wish<'w> {
        let resource = Resource::agent(&standing.to_string(), to, tenant(), of_tenant());
        Wish { requester: Some(requester), ..Wish::new(Action::Promote, resource) }
    }

    /// To read a secret.
    pub(crate) fn read_secret(path: &str) -> Wish<'w> {
        Wish::new(Action::ReadSecret, Resource::new(ResourceKind::Secret, path, tenant(), of_tenant()))
    }

    /// To put other policies in force, which so many others approved.
    pub(crate) fn govern(approvals: u32) -> Wish<'w> {
        let resource = Resource::new(ResourceKind::Governance, "policy", tenant(), Owner::Governance);
        Wish { approvals, ..Wish::new(Action::ModifyGovernance, resource) }
    }
}

/// What policy says of it; without policies nothing is allowed (G4).
pub(crate) fn verdict(governor: &Governor, by: &Operator, wish: &Wish<'_>) -> Result<Verdict, BadResource> {
    let resource = wish.resource.clone()?;
    let Some(policies) = governor.policies_in_force() else { return Ok(no_policies()) };
    Ok(policies.decide(&Request {
        subject: Subject::Operator(OperatorSubject {
            name: by.name.clone(),
            role: by.role,
            groups: by.groups.clone(),
            max_tier: by.max_tier,
            tenant: tenant(),
        }),
        action: wish.action,
        resource,
        // People have neither phases nor plans: nothing is held against them for that.
        circumstances: Circumstances {
            phase: Phase::Execute,
            planned: true,
            approvals: wish.approvals,
            requester: wish.requester.cloned(),
            ..Circumstances::default()
        },
    }))
}

/// Why policy does not let somebody do what their role lets them do, if it does not. Nobody is asked for a person's sake, and
/// nothing is done for one in another way: where policy wants that, it is not done.
pub(crate) fn refusal(governor: &Governor, by: &Operator, wish: &Wish<'_>) -> Option<Refusal> {
    match verdict(governor, by, wish) {
        Ok(verdict) if verdict.decision == Says::Allow => None,
        Ok(verdict) => Some(denied(by, wish, &verdict)),
        Err(bad) => Some(Refusal::BadTarget { action: wish.action, why: bad.to_string() }),
    }
}

/// The refusal for a verdict that does not let somebody do it.
pub(crate) fn denied(by: &Operator, wish: &Wish<'_>, verdict: &Verdict) -> Refusal {
    let target = wish.resource.as_ref().map(|resource| match resource.tier() {
        Some(tier) => format!("{}@{tier}", resource.name()),
        None => resource.name().to_owned(),
    });
    Refusal::PolicyForbids {
        name: by.name.clone(),
        action: wish.action,
        target: target.unwrap_or_default().into(),
        asks: verdict.decision == Says::Ask,
        reason: (*verdict.reason).into(),
        policies: verdict.policies.iter().map(ToString::to_string).collect(),
        unlock: verdict.unlock.as_deref().map(Box::from),
    }
}
