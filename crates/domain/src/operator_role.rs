//! What people and programs are on a home.

use serde::{Deserialize, Serialize};

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    /// Looks.
    Viewer,
    /// Looks at everything, the ledger included.
    Auditor,
    /// Starts and stops runs.
    Operator,
    /// Answers gates.
    Approver,
    /// Both, and adds operators.
    Admin,
}

impl OperatorRole {
    /// Every role, in order.
    pub const ALL: [OperatorRole; 5] = [
        OperatorRole::Viewer,
        OperatorRole::Auditor,
        OperatorRole::Operator,
        OperatorRole::Approver,
        OperatorRole::Admin,
    ];

    /// The role's name.
    pub fn as_str(self) -> &'static str {
        match self {
            OperatorRole::Viewer => "viewer",
            OperatorRole::Auditor => "auditor",
            OperatorRole::Operator => "operator",
            OperatorRole::Approver => "approver",
            OperatorRole::Admin => "admin",
        }
    }

    /// Whether they may start and stop runs.
    pub fn may_run(self) -> bool {
        matches!(self, OperatorRole::Operator | OperatorRole::Admin)
    }

    /// Whether they may answer gates. An operator listed at a gate may, too: the list is the pipeline author's word.
    pub fn may_answer(self) -> bool {
        matches!(self, OperatorRole::Operator | OperatorRole::Approver | OperatorRole::Admin)
    }

    /// Whether they may answer a request to promote an agent. No list names them, so the role itself has to be for it.
    pub fn may_vouch(self) -> bool {
        matches!(self, OperatorRole::Approver | OperatorRole::Admin)
    }

    /// Whether they may add, rotate and remove operators.
    pub fn may_administer(self) -> bool {
        matches!(self, OperatorRole::Admin)
    }
}

impl std::str::FromStr for OperatorRole {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        OperatorRole::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            format!("unknown role {text:?}; roles are viewer, auditor, operator, approver and admin")
        })
    }
}
