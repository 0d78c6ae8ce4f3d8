//! A gate that waits, as it is recorded, and how it closed.

use eparch_domain::{Digest, GateId, Name, RunId};
use eparch_pipeline::StageIx;
use serde::{Deserialize, Serialize};

use crate::operator::Separation;
use crate::sought::Sought;
use crate::until::Until;

/// A gate waits. What is approved, how many it takes and whom the pipeline lists are settled now and never change. Whom
/// an entry of that list means is looked up when somebody answers: people are added and removed while a gate waits, and
/// where keys must be kept apart, one that came from the requester's side since the run was asked for does not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateOpened {
    /// Which.
    pub gate: GateId,
    /// Of which run.
    pub run: RunId,
    /// At which stage.
    pub stage: StageIx,
    /// What it is for.
    pub purpose: GatePurpose,
    /// The digest of what is approved.
    pub subject: Digest,
    /// Operators, groups or roles who may answer.
    pub approvers: Vec<Name>,
    /// How many approvals it takes.
    pub quorum: u16,
    /// Who may not answer.
    pub requester: Name,
    /// The least separation an answer must have.
    pub separation: Separation,
    /// When it has waited long enough, by either time.
    pub deadline: Until,
    /// What an agent seeks to do, when it is for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sought: Option<Box<Sought>>,
}

/// What a gate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatePurpose {
    /// A stage of the pipeline.
    Stage,
    /// Whether an attempt that was cut off is made again (`on_interrupt: ask`).
    Interrupted,
    /// Whether an agent may do what policy asks people about. Its attempt goes on meanwhile.
    Action,
}

/// How a gate closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateOutcome {
    /// Enough approvals.
    Approved,
    /// One denial.
    Denied,
    /// It waited long enough.
    TimedOut,
    /// Its run or branch ended.
    Cancelled,
}
