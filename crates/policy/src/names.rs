//! What a subject and a resource are called in the schema's world, and the groups they are in.

use std::fmt::Write as _;

use crate::request::Request;
use crate::resource::{Owner, ResourceKind};
use crate::subject::Subject;

/// The entity types of the schema, actions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Type {
    Tier,
    Role,
    Seat,
    Phase,
    Scope,
    Tenant,
    Project,
    Run,
    Group,
    MadeFrom,
    Operator,
    Path,
    Host,
    Secret,
    Tool,
    Model,
    Agent,
    Work,
    Template,
    Lock,
    Gate,
    Governance,
}

impl Type {
    pub(crate) const ALL: [Type; 22] = [
        Type::Tier,
        Type::Role,
        Type::Seat,
        Type::Phase,
        Type::Scope,
        Type::Tenant,
        Type::Project,
        Type::Run,
        Type::Group,
        Type::MadeFrom,
        Type::Operator,
        Type::Path,
        Type::Host,
        Type::Secret,
        Type::Tool,
        Type::Model,
        Type::Agent,
        Type::Work,
        Type::Template,
        Type::Lock,
        Type::Gate,
        Type::Governance,
    ];

    /// The name in the schema, which is that of the variant.
    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    /// The type with this name.
    pub(crate) fn named(name: &str) -> Option<Type> {
        Type::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The place in [`Type::ALL`].
    pub(crate) fn place(self) -> usize {
        self as usize
    }
}

impl From<ResourceKind> for Type {
    fn from(kind: ResourceKind) -> Type {
        match kind {
            ResourceKind::Path => Type::Path,
            ResourceKind::Host => Type::Host,
            ResourceKind::Secret => Type::Secret,
            ResourceKind::Tool => Type::Tool,
            ResourceKind::Model => Type::Model,
            ResourceKind::Agent => Type::Agent,
            ResourceKind::Work => Type::Work,
            ResourceKind::Template => Type::Template,
            ResourceKind::Lock => Type::Lock,
            ResourceKind::Gate => Type::Gate,
            ResourceKind::Governance => Type::Governance,
        }
    }
}

/// A name of the schema's world: of the subject or the resource, or of a group it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named<'n> {
    pub(crate) kind: Type,
    pub(crate) id: &'n str,
}

/// What has to be printed to be a name, kept while names borrow from it.
#[derive(Debug, Default)]
pub(crate) struct Printed {
    agent: String,
    run: String,
    resource_run: String,
    hosts: Vec<String>,
}

impl Printed {
    pub(crate) fn new(request: &Request) -> Printed {
        let mut printed = Printed::of_subject(&request.subject);
        if let Owner::Run { run, .. } = request.resource.owner() {
            write!(printed.resource_run, "{run}").expect("a String takes everything");
        }
        if request.resource.kind() == ResourceKind::Host {
            printed.hosts = request.resource.groups().map(|group| format!("{group}*")).collect();
        }
        printed
    }

    /// What has to be printed for a subject alone.
    pub(crate) fn of_subject(subject: &Subject) -> Printed {
        let mut printed = Printed::default();
        if let Subject::Agent(agent) = subject {
            write!(printed.agent, "{}", agent.id).expect("a String takes everything");
            write!(printed.run, "{}", agent.run).expect("a String takes everything");
        }
        printed
    }
}

/// The tiers' names, each tier together with those below it.
pub(crate) const TIERS: [&str; 5] = ["T0", "T1", "T2", "T3", "T4"];

/// The subject's own name first, then every group it is in.
pub(crate) fn names_of_subject<'r>(subject: &'r Subject, printed: &'r Printed) -> Vec<Named<'r>> {
    let named = |kind, id| Named { kind, id };
    match subject {
        Subject::Anonymous => Vec::new(),
        Subject::Agent(agent) => {
            let mut names = Vec::with_capacity(12);
            names.push(named(Type::Agent, &printed.agent));
            names.extend(
                TIERS[..=usize::from(agent.tier.number())].iter().map(|tier| named(Type::Tier, tier)),
            );
            names.extend(agent.seat.map(|seat| named(Type::Seat, seat.as_str())));
            names.extend(agent.template.as_ref().map(|template| named(Type::MadeFrom, template.as_str())));
            names.push(named(Type::Run, &printed.run));
            names.push(named(Type::Project, agent.project.as_str()));
            names.push(named(Type::Tenant, agent.tenant.as_str()));
            names
        }
        Subject::Operator(operator) => {
            let mut names = vec![
                named(Type::Operator, operator.name.as_str()),
                named(Type::Role, operator.role.as_str()),
                named(Type::Tenant, operator.tenant.as_str()),
            ];
            names.extend(operator.groups.iter().map(|group| named(Type::Group, group.as_str())));
            names
        }
    }
}

/// The resource's own name first, then every group it is in.
pub(crate) fn names_of_resource<'r>(request: &'r Request, printed: &'r Printed) -> Vec<Named<'r>> {
    let resource = &request.resource;
    let kind = Type::from(resource.kind());
    let named = |kind, id| Named { kind, id };
    let mut names = Vec::with_capacity(16);
    names.push(named(kind, resource.name()));
    match resource.kind() {
        ResourceKind::Host => names.extend(printed.hosts.iter().map(|group| named(kind, group))),
        _ => names.extend(resource.groups().map(|group| named(kind, group))),
    }
    names.extend(request.scopes().iter().map(|scope| named(Type::Scope, scope.as_str())));
    if let Some(tier) = resource.tier() {
        names.extend(TIERS[..=usize::from(tier.number())].iter().map(|tier| named(Type::Tier, tier)));
    }
    match resource.owner() {
        Owner::Run { project, .. } => {
            names.push(named(Type::Run, &printed.resource_run));
            names.push(named(Type::Project, project.as_str()));
        }
        Owner::Project { project } => names.push(named(Type::Project, project.as_str())),
        Owner::Tenant | Owner::Governance => {}
    }
    names.push(named(Type::Tenant, resource.tenant().as_str()));
    names
}
