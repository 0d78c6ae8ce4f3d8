//! Who asks.

use eparch_domain::{AgentId, Name, OperatorRole, Role, RunId, Tier};

/// Who asks, as far as whoever proves identities could tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Nobody that is known.
    Anonymous,
    /// An agent.
    Agent(AgentSubject),
    /// A person, or a program that acts as one.
    Operator(OperatorSubject),
}

/// An agent that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSubject {
    /// Which one.
    pub id: AgentId,
    /// The tier it has in effect (X35).
    pub tier: Tier,
    /// Whose it is.
    pub tenant: Name,
    /// The project it works for.
    pub project: Name,
    /// The run it belongs to.
    pub run: RunId,
    /// The template it was made from, when there is one.
    pub template: Option<Name>,
    /// Its part in a council, when it has one.
    pub seat: Option<Role>,
    /// What its token is worth now.
    pub credential: Credential,
}

/// What a token is worth at the moment it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credential {
    /// It holds.
    Valid,
    /// Its time is over.
    Expired,
    /// It was taken away.
    Revoked,
}

/// A person that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorSubject {
    /// Their name.
    pub name: Name,
    /// What they are.
    pub role: OperatorRole,
    /// Groups they belong to.
    pub groups: Vec<Name>,
    /// The highest tier they may grant.
    pub max_tier: Tier,
    /// Whose they are.
    pub tenant: Name,
}

impl Subject {
    /// Whose they are; `None` for nobody.
    pub fn tenant(&self) -> Option<&Name> {
        match self {
            Subject::Anonymous => None,
            Subject::Agent(agent) => Some(&agent.tenant),
            Subject::Operator(operator) => Some(&operator.tenant),
        }
    }
}
