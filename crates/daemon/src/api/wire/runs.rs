//! What callers send and get back about runs, and what is asked of a gate.

use std::collections::BTreeMap;

use eparch_domain::{Digest, Name, RunId, RunStatus, Span, Tier};
use eparch_governor::GateDecision;
use serde::{Deserialize, Serialize};

/// A run to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// What the pipeline's file is called, for messages.
    pub file: String,
    /// The pipeline, as text.
    pub pipeline: String,
    /// Its inputs, as text; each is read as its declared type.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// The highest tier to grant; what the caller may grant, at most `limits::GRANT_UNASKED`, when absent.
    #[serde(default)]
    pub tier: Option<Tier>,
    /// A shorter timeout for the whole run, such as `10m`.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// The project's folder.
    pub root: String,
    /// Environment variables that the pipeline's expressions may read.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A second request with the same key is the same request.
    #[serde(default)]
    pub idempotency_key: Option<String>,
}

/// A run that was started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The run.
    pub pipeline_id: RunId,
    /// The pipeline's name.
    pub name: Name,
    /// How it stands.
    pub status: RunStatus,
    /// The highest tier granted.
    pub tier: Tier,
    /// Definition and inputs.
    pub plan_id: Digest,
    /// The entry it began with: events from here on are its own.
    pub seq: u64,
}

/// A run to stop.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopRun {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A run to repeat in part.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRun {
    /// The stage to begin with.
    pub from: Name,
    /// A second request with the same key is the same request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// An answer at a gate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Yes or no.
    pub decision: GateDecision,
    /// Why.
    pub rationale: String,
    /// The digest of what was looked at.
    pub subject: Digest,
    /// For an operator whose key this home never held.
    #[serde(default)]
    pub signed: Option<Signed>,
}

/// A signature of an answer, see [`crate::gate_statement`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// Who signed.
    pub by: Name,
    /// Ed25519, 128 hexadecimal digits.
    pub signature: String,
}

/// A captured line with its place, as in `GET /api/runs/{id}/logs` and `runs logs --format json`, whether the run is followed
/// or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunLogLine {
    /// The stage.
    pub stage: Name,
    /// The attempt at it.
    pub attempt: u32,
    /// The line.
    #[serde(flatten)]
    pub line: crate::agents::capture::LogLine,
}

/// One JSON line of `GET /api/runs/{id}/logs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RunLogNews {
    /// A captured line.
    Line(RunLogLine),
    /// The last line of a stream that its holder ends before the run has ended; its kind is [`crate::END`].
    End(crate::LiveEvent),
}
