//! The answer to what an agent asked for, as it is recorded.

use eparch_domain::{Action, AgentId, Digest, GateId, Name, PermitId};
use eparch_policy::Verdict;
use serde::{Deserialize, Serialize};

use crate::break_glass::UnderGlass;
use crate::until::Until;

/// What an agent asked for, and the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruled {
    /// Which agent.
    pub agent: AgentId,
    /// Its key for the request.
    pub key: String,
    /// Whose tenant it works in.
    pub tenant: Name,
    /// The project it works for.
    pub project: Name,
    /// What it wants to do.
    pub action: Action,
    /// To what.
    pub target: String,
    /// The digest of the arguments.
    pub params: Digest,
    /// The answer.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The policies it was found under; `None` where there are none.
    pub policy: Option<Digest>,
    /// Leave to do it once, when the answer is allow or modify.
    pub permit: Option<Permit>,
    /// The gate at which people are asked for it, or were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateId>,
    /// With how many people's approvals it was found.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub approvals: u32,
    /// Whether people were shown the arguments, and not only their digest, when they were asked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub seen: bool,
    /// Under which break-glass grant it was allowed, where policy alone denies it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<UnderGlass>,
    /// Who said yes or no at the gate, when that decided it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided_by: Vec<Name>,
}

/// What nobody approved is the rule, and not written down: earlier records of it stay as they are.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(approvals: &u32) -> bool {
    *approvals == 0
}

/// As little is what nobody was asked about.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Ruled {
    /// Whether a person would have to allow it: whoever asked for that has asked rightly.
    pub fn escalates(&self) -> bool {
        self.verdict.decision == eparch_policy::Decision::Ask
    }
}

/// Leave to do one thing, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// Its name. Whoever knows it can do nothing with it: it is the agent's it was given to.
    pub permit: PermitId,
    /// It may be used before this, by either time.
    pub expires: Until,
}
