//! What the read models show: the same objects in the command line's JSON and in the API.

use std::collections::BTreeMap;

use eparch_domain::{
    AgentId, Artifact, Digest, GateId, Name, Phase, RunId, RunStatus, Span, StageKind, StageResult,
    StageStatus, Tier, Timestamp,
};
use eparch_governor::{GateDecision, GateOutcome, GatePurpose, Measure, Separation, Sought};
use eparch_policy::Decision;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run; `pipeline_id` is the seeds' name for it.
    pub pipeline_id: RunId,
    /// The pipeline's name.
    pub name: Name,
    /// How it stands.
    pub status: RunStatus,
    /// Why it ended so; empty when it goes without saying.
    pub reason: String,
    /// Who asked.
    pub requester: Name,
    /// The highest tier granted.
    pub tier: Tier,
    /// Definition and inputs.
    pub plan_id: Digest,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What a command that waited for it exits with.
    pub exit_code: Option<u8>,
    /// The run it repeats in part.
    pub repeats: Option<RunId>,
    /// The run that began it, when no person asked for it (R089).
    #[serde(default)]
    pub parent_id: Option<RunId>,
    /// The agent of that run that it began for.
    #[serde(default)]
    pub parent_agent: Option<AgentId>,
    /// Why it began.
    #[serde(default)]
    pub spawn_reason: Option<String>,
    /// Stages in it, nested ones included.
    pub stages_total: u32,
    /// Stages of it that have ended.
    pub stages_ended: u32,
    /// Gates of it that wait.
    pub approvals_waiting: u32,
    /// Decisions about its agents that would have been others, had a policy that is only watched been enforced.
    #[serde(default)]
    pub decided_otherwise: u32,
}

/// Everything about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunDetail {
    /// The run in a list.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// The definition.
    pub definition: Digest,
    /// Its inputs.
    pub inputs: BTreeMap<String, Value>,
    /// The project's folder.
    pub root: String,
    /// Its stages, in file order, a stage after the one around it.
    pub stages: Vec<StageView>,
    /// Runs that began because of it, the earliest first.
    #[serde(default)]
    pub spawned: Vec<RunId>,
    /// Its gates, in the order they opened.
    pub approvals: Vec<ApprovalView>,
    /// What watched policies said beside its decisions: what would change one first, then the most frequent; 256 at most.
    #[serde(default)]
    pub watched: Vec<WatchedView>,
}

/// A stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageView {
    /// Its name.
    pub name: Name,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: StageKind,
    /// How it stands.
    pub status: StageStatus,
    /// Why.
    pub reason: String,
    /// The stage around it.
    pub parent: Option<Name>,
    /// The branch of it that it stands in: a branch's name, `then` or `else`.
    pub branch: Option<String>,
    /// What it requires.
    pub requires: Vec<Name>,
    /// Attempts begun.
    pub attempts: u32,
    /// The agent of the last attempt.
    pub agent: Option<AgentId>,
    /// Where that agent is in its life.
    pub phase: Option<Phase>,
    /// The tier it works at.
    pub tier: Option<Tier>,
    /// When it first began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it put out.
    pub outputs: BTreeMap<String, Value>,
    /// The files it left.
    pub artifacts: Vec<Artifact>,
    /// What confinement was in force for its last attempt, and what was missing.
    pub confinement: Vec<Measure>,
}

impl StageView {
    /// What came of it, once it has ended (R023); `None` for a stage that never ran, or not in this run.
    pub fn result(&self) -> Option<StageResult> {
        let (started, ended) = (self.started_at?, self.ended_at?);
        let took = u64::try_from(ended.millis().saturating_sub(started.millis())).unwrap_or_default();
        Some(StageResult {
            stage: self.name.clone(),
            status: self.status,
            attempts: self.attempts,
            reason: self.reason.clone(),
            outputs: self.outputs.clone(),
            artifacts: self.artifacts.clone(),
            took: Span::from_millis(took),
        })
    }
}

/// A gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalView {
    /// The gate.
    pub gate: GateId,
    /// The run it is of.
    pub pipeline_id: RunId,
    /// That run's pipeline.
    pub pipeline: Name,
    /// The stage it stands at.
    pub stage: Name,
    /// What it is for.
    pub purpose: GatePurpose,
    /// The digest of what is approved.
    pub subject: Digest,
    /// What an agent seeks to do, at a gate that is for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sought: Option<Sought>,
    /// What watched policies said beside the decision to ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<WatchedView>,
    /// Definition and inputs.
    pub plan_id: Digest,
    /// Who may answer.
    pub approvers: Vec<Name>,
    /// How many approvals it takes.
    pub quorum: u16,
    /// Who asked for the run.
    pub requester: Name,
    /// How far apart an answer's key must be.
    pub separation: Separation,
    /// Answers so far.
    pub votes: Vec<VoteView>,
    /// How it closed; `None` while it waits.
    pub outcome: Option<GateOutcome>,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it will have waited long enough, by the wall clock of its opening.
    pub expires_at: Timestamp,
}

/// What a policy that is only watched (`@shadow`) said beside decisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedView {
    /// The policy.
    pub policy: String,
    /// What it would have said.
    pub would: Decision,
    /// Its reason.
    pub reason_code: String,
    /// What was decided.
    pub decided: Decision,
    /// Whether that would have been another decision, had the policy been enforced.
    pub otherwise: bool,
    /// How many times.
    pub times: u64,
}

/// An answer at a gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoteView {
    /// Who.
    pub by: Name,
    /// What.
    pub decision: GateDecision,
    /// Why.
    pub rationale: String,
    /// How far apart they were from the requester.
    pub separation: Separation,
    /// When.
    pub at: Timestamp,
}
