//! What is asked.

use eparch_domain::Action;

use crate::circumstances::Circumstances;
use crate::resource::{Owner, Resource};
use crate::subject::Subject;

/// May this subject do this action to this resource, in these circumstances?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub subject: Subject,
    /// What they want to do.
    pub action: Action,
    /// What they want to do it to.
    pub resource: Resource,
    /// What is known.
    pub circumstances: Circumstances,
}

/// How near a thing is to who asks; each is a Cedar entity `Scope::"…"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Own,
    Project,
    Tenant,
    Governance,
}

impl Scope {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scope::Own => "own",
            Scope::Project => "project",
            Scope::Tenant => "tenant",
            Scope::Governance => "governance",
        }
    }
}

impl Request {
    /// The scopes the resource is in, seen from the subject: nearer ones include farther ones. None for what is another
    /// tenant's.
    pub(crate) fn scopes(&self) -> &'static [Scope] {
        const OWN: &[Scope] = &[Scope::Own, Scope::Project, Scope::Tenant];
        let resource = &self.resource;
        if self.subject.tenant() != Some(resource.tenant()) {
            return &[];
        }
        let agent = match &self.subject {
            Subject::Agent(agent) => Some(agent),
            _ => None,
        };
        match resource.owner() {
            Owner::Governance => &[Scope::Governance],
            Owner::Tenant => &OWN[1..],
            Owner::Project { project } => match agent {
                Some(agent) if agent.project == *project => &OWN[1..],
                _ => &OWN[2..],
            },
            Owner::Run { project, run } => match agent {
                Some(agent) if agent.project == *project && agent.run == *run => OWN,
                Some(agent) if agent.project == *project => &OWN[1..],
                _ => &OWN[2..],
            },
        }
    }
}
