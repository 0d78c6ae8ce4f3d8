//! How attempts end.

use eparch_domain::{AgentStatus, Span, StageStatus};
use serde::{Deserialize, Serialize};

/// How an attempt ended, as its run sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum AttemptEnd {
    /// Well.
    Completed,
    /// Badly, by its own doing or in one of its phases.
    Failed {
        /// A stable code.
        code: String,
        /// Why.
        reason: String,
    },
    /// By a timeout.
    TimedOut {
        /// Which of the four, or `idle`.
        limit: String,
        /// How long it was allowed.
        allowed: Span,
    },
    /// Because its branch or its run was ended.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// Its authority was taken away.
    Revoked {
        /// Why.
        reason: String,
    },
    /// Its holder died. Whether it did something outside is unknown, unless it never ran.
    Interrupted {
        /// Whether its program had been let go.
        ran: bool,
    },
}

impl AttemptEnd {
    /// Whether it ended of its own doing, rather than with what was around it.
    pub(crate) fn is_its_own(&self) -> bool {
        !matches!(self, AttemptEnd::Cancelled { .. } | AttemptEnd::Interrupted { .. })
    }

    /// The status of an agent that ended so (R016).
    pub fn agent_status(&self) -> AgentStatus {
        match self {
            AttemptEnd::Completed => AgentStatus::Completed,
            AttemptEnd::TimedOut { .. } => AgentStatus::TimedOut,
            AttemptEnd::Revoked { .. } => AgentStatus::Revoked,
            AttemptEnd::Failed { .. } | AttemptEnd::Cancelled { .. } | AttemptEnd::Interrupted { .. } => {
                AgentStatus::Failed
            }
        }
    }

    /// The status of a stage that ends with this attempt.
    pub fn stage_status(&self) -> StageStatus {
        match self {
            AttemptEnd::Completed => StageStatus::Completed,
            AttemptEnd::TimedOut { .. } => StageStatus::TimedOut,
            AttemptEnd::Cancelled { .. } => StageStatus::Cancelled,
            AttemptEnd::Failed { .. } | AttemptEnd::Revoked { .. } | AttemptEnd::Interrupted { .. } => {
                StageStatus::Failed
            }
        }
    }

    /// Why, for people, with the code under which they find what to do.
    pub fn reason(&self) -> String {
        match self {
            AttemptEnd::Completed => String::new(),
            AttemptEnd::Failed { code, reason } => format!("{reason} ({code})"),
            AttemptEnd::Cancelled { reason } => reason.clone(),
            AttemptEnd::Revoked { reason } => format!("its authority was taken away: {reason}"),
            AttemptEnd::TimedOut { limit, allowed } => format!("the {limit} timeout of {allowed} passed"),
            AttemptEnd::Interrupted { ran: true } => {
                "cut off with its holder; what it did outside is unknown".to_owned()
            }
            AttemptEnd::Interrupted { ran: false } => {
                "cut off with its holder before its program ran".to_owned()
            }
        }
    }
}
