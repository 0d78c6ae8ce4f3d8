//! Requests, in few words.

use eparch_domain::{AgentId, Name, RunId, Tier};
use eparch_policy::{AgentSubject, Credential, Owner, PolicySet, PolicyText, Problem};

/// The tenant that everybody belongs to unless another is named.
pub(crate) const TENANT: &str = "acme";
/// The project of the agents that ask.
pub(crate) const PROJECT: &str = "web";

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(crate) fn run(number: u128) -> RunId {
    RunId::from_bits(number)
}

/// The agent that asks: of run 1.
pub(crate) fn agent(tier: Tier) -> AgentSubject {
    AgentSubject {
        id: AgentId::from_bits(1),
        tier,
        tenant: name(TENANT),
        project: name(PROJECT),
        run: run(1),
        template: Some(name("default")),
        seat: None,
        credential: Credential::Valid,
    }
}

pub(crate) fn own() -> Owner {
    Owner::Run { project: name(PROJECT), run: run(1) }
}

/// One file, called `test.cedar`.
pub(crate) fn load(text: &str) -> Result<PolicySet, Vec<Problem>> {
    PolicySet::load(&[PolicyText { name: "test.cedar", text }])
}
