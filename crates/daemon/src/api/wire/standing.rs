//! What callers send and get back about what agents have earned.

use eparch_domain::{Action, Digest, Name, Span, StandingId, Tier};
use eparch_governor::Separation;
use eparch_ledger::views::{PromotionRow, ViolationRow};
use serde::{Deserialize, Serialize};

/// A promotion that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskPromotion {
    /// To which tier; the next one when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Tier>,
    /// Why.
    pub rationale: String,
}

/// What one kind of agent has earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandingView {
    /// The standing: that of a template, a command and a model.
    pub standing: StandingId,
    /// `pipeline/stage`, where it worked last; empty when it has not.
    pub agent_name: String,
    /// The tier it has earned.
    pub tier: Tier,
    /// Runs, which are attempts that ended by their own doing.
    pub total_runs: u32,
    /// Those that ended well and violated nothing.
    pub compliant_runs: u32,
    /// Those of them in which it planned, and did nothing else.
    pub plan_only_runs: u32,
    /// The last ones of them in a row.
    pub consecutive_compliant: u32,
    /// What was done in compliant runs.
    pub actions: Vec<Action>,
    /// Compliant runs in which it asked for what only a person may allow.
    pub escalations: u32,
    /// Violations of the last 30 days.
    pub violations_30d: u64,
    /// What the next tier takes; none above T4.
    pub next: Option<NextTier>,
    /// The promotion that waits for answers.
    pub promotion: Option<Waiting>,
}

/// What a tier takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextTier {
    /// Which.
    pub tier: Tier,
    /// Compliant runs.
    pub compliant_runs: u32,
    /// Whether only those count in which it did nothing but plan.
    pub plan_only: bool,
    /// So many of them in a row.
    pub consecutive: u32,
    /// Actions done in compliant runs.
    pub actions: Vec<Action>,
    /// Correct escalations.
    pub escalations: u32,
    /// How long nothing was violated.
    pub without_violation: Span,
    /// Approvals of people who did not ask for it.
    pub approvals: u16,
    /// What is missing, for people.
    pub missing: Vec<String>,
}

/// A promotion that waits for answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The tier it has.
    pub from: Tier,
    /// The tier it would have.
    pub to: Tier,
    /// Who asked; they may not approve it.
    pub requested_by: Name,
    /// Why.
    pub rationale: String,
    /// How many approvals it takes.
    pub approvals: u16,
    /// Who approved it so far.
    pub approved_by: Vec<Name>,
    /// How far apart an answer's key must be.
    pub separation: Separation,
    /// The digest of what is approved.
    pub subject: Digest,
}

/// Everything about a standing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandingDetail {
    /// The standing in a list.
    #[serde(flatten)]
    pub standing: StandingView,
    /// Its last violations, newest first.
    pub violations: Vec<ViolationRow>,
    /// What was asked and decided about it, newest first.
    pub promotions: Vec<PromotionRow>,
}
