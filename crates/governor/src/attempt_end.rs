//! How attempts end.

use eparch_domain::{AgentStatus, Name, Span, StageStatus};
use serde::{Deserialize, Serialize};

use crate::lock::LockLoss;

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
        /// Which: `start`, `attempt` or `stage`; in old entries `idle` as well.
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
    /// It made no progress for as long as its stage allows, and its authority was taken away for that, and nobody else's (R081).
    /// What was held up was this agent: another one may try the stage.
    Stalled {
        /// How long it was allowed to make none.
        allowed: Span,
    },
    /// It lost a lock, and with it the right to go on.
    LockLost {
        /// Which.
        lock: Name,
        /// Why.
        #[serde(flatten)]
        because: LockLoss,
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
        !matches!(
            self,
            AttemptEnd::Cancelled { .. } | AttemptEnd::LockLost { .. } | AttemptEnd::Interrupted { .. }
        )
    }

    /// Whether its authority was taken away for what it did, or did not do, or because somebody said so: it puts out nothing
    /// more, and ends in REVOKED (R012).
    pub fn is_revocation(&self) -> bool {
        matches!(self, AttemptEnd::Revoked { .. } | AttemptEnd::Stalled { .. })
    }

    /// Whether another attempt may follow it, where the stage has some left. Whoever takes a lock away does not want the
    /// stage to have it again.
    pub(crate) fn may_be_retried(&self) -> bool {
        match self {
            AttemptEnd::Failed { .. } | AttemptEnd::TimedOut { .. } | AttemptEnd::Stalled { .. } => true,
            AttemptEnd::LockLost { because, .. } => *because == LockLoss::Expired,
            AttemptEnd::Completed
            | AttemptEnd::Cancelled { .. }
            | AttemptEnd::Revoked { .. }
            | AttemptEnd::Interrupted { .. } => false,
        }
    }

    /// The status of an agent that ended so (R016).
    pub fn agent_status(&self) -> AgentStatus {
        match self {
            AttemptEnd::Completed => AgentStatus::Completed,
            AttemptEnd::TimedOut { .. } => AgentStatus::TimedOut,
            AttemptEnd::Revoked { .. } | AttemptEnd::Stalled { .. } => AgentStatus::Revoked,
            AttemptEnd::Failed { .. }
            | AttemptEnd::Cancelled { .. }
            | AttemptEnd::LockLost { .. }
            | AttemptEnd::Interrupted { .. } => AgentStatus::Failed,
        }
    }

    /// The status of a stage that ends with this attempt.
    pub fn stage_status(&self) -> StageStatus {
        match self {
            AttemptEnd::Completed => StageStatus::Completed,
            AttemptEnd::TimedOut { .. } | AttemptEnd::Stalled { .. } => StageStatus::TimedOut,
            AttemptEnd::Cancelled { .. } => StageStatus::Cancelled,
            AttemptEnd::Failed { .. }
            | AttemptEnd::Revoked { .. }
            | AttemptEnd::LockLost { .. }
            | AttemptEnd::Interrupted { .. } => StageStatus::Failed,
        }
    }

    /// Why, for people, with the code under which they find what to do.
    pub fn reason(&self) -> String {
        match self {
            AttemptEnd::Completed => String::new(),
            AttemptEnd::Failed { code, reason } => format!("{reason} ({code})"),
            AttemptEnd::Cancelled { reason } => reason.clone(),
            AttemptEnd::Revoked { reason } => format!("its authority was taken away: {reason}"),
            AttemptEnd::Stalled { allowed } => {
                format!("its authority was taken away: it made no progress for {allowed}, its idle timeout")
            }
            AttemptEnd::TimedOut { limit, allowed } => format!("the {limit} timeout of {allowed} passed"),
            AttemptEnd::LockLost { lock, because } => format!("it lost the lock {lock}: {because} (EP0672)"),
            AttemptEnd::Interrupted { ran: true } => {
                "cut off with its holder; what it did outside is unknown".to_owned()
            }
            AttemptEnd::Interrupted { ran: false } => {
                "cut off with its holder before its program ran".to_owned()
            }
        }
    }
}
