//! Everything the governor can ask of the world.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, Digest, Name, PermitId, Phase, RunId, Span, Tier};
use eparch_pipeline::{SandboxMode, StageIx};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fact::SpawnedBy;
use crate::performance::{Performance, PerformanceCage};

/// Something to be done, written down before it is done. Each is performed at most once in the epoch that decided it;
/// after a crash [`crate::Event::Booted`] decides anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Effect {
    /// Make an agent ready: identity, confinement, preflight, plan. No program runs yet.
    Prepare(Box<AgentSpec>),
    /// Let the agent's program go, if what would be let go is what was planned; anything else is refused (R007).
    Execute {
        /// Which agent.
        agent: AgentId,
        /// The digest of the plan that was settled.
        plan: Digest,
    },
    /// Perform a command for an agent in a second cage: open it, ask whether the command may be let go
    /// ([`crate::Event::PerformanceReady`]), and say how it ended.
    Perform(Box<Performance>),
    /// End a command that is performed, before it is over; how it ended follows.
    EndPerformance {
        /// For which agent.
        agent: AgentId,
        /// Under which permit.
        permit: PermitId,
        /// Why.
        because: String,
    },
    /// Carry an agent whose program has ended through what is left: VERIFY, PACKAGE, REPORT, EXIT.
    Conclude {
        /// Which agent.
        agent: AgentId,
        /// The phase to begin with.
        from: Phase,
        /// What has gone wrong so far; verification is not attempted then.
        failure: Option<String>,
    },
    /// End an agent's process tree now; the outcome of its phase follows.
    Kill {
        /// Which agent.
        agent: AgentId,
        /// Why.
        because: String,
    },
    /// Release whatever an agent still holds that will not reach EXIT and whose program was never let go.
    Release {
        /// Which agent.
        agent: AgentId,
    },
    /// Prove the process tree of an agent dead, killing it if need be: one of an earlier epoch, one that was to be killed and
    /// of which nothing was heard, or one whose last phases were not carried out. What it holds is released with it.
    Reap {
        /// Which agent.
        agent: AgentId,
        /// How to find its tree, as recorded in its BOOTSTRAP.
        #[serde(serialize_with = "eparch_domain::in_order")]
        tree: Option<Value>,
        /// The cages of what is performed for it: they are proven dead with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        performances: Vec<PerformanceCage>,
    },
    /// Make a token of the vault go on.
    RenewCredential {
        /// What it is called.
        accessor: String,
        /// For how long from now.
        ttl: Span,
    },
    /// End a token of the vault, and those that come from it; as often as it takes.
    EndCredential {
        /// Of which run.
        run: RunId,
        /// What it is called.
        accessor: String,
        /// Which vault issued it, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
    },
    /// A run has ended: sign a checkpoint.
    Seal {
        /// Which run.
        run: RunId,
    },
}

impl Effect {
    /// Whether an event will tell what came of it. Such an effect stays due until then.
    pub fn has_result(&self) -> bool {
        match self {
            Effect::Prepare(_)
            | Effect::Execute { .. }
            | Effect::Perform(_)
            | Effect::Conclude { .. }
            | Effect::Reap { .. }
            | Effect::RenewCredential { .. }
            | Effect::EndCredential { .. } => true,
            Effect::Kill { .. }
            | Effect::EndPerformance { .. }
            | Effect::Release { .. }
            | Effect::Seal { .. } => false,
        }
    }

    /// The agent it concerns.
    pub fn agent(&self) -> Option<AgentId> {
        match self {
            Effect::Prepare(spec) => Some(spec.agent),
            Effect::Perform(performance) => Some(performance.agent),
            Effect::Execute { agent, .. }
            | Effect::Conclude { agent, .. }
            | Effect::EndPerformance { agent, .. }
            | Effect::Kill { agent, .. }
            | Effect::Release { agent }
            | Effect::Reap { agent, .. } => Some(*agent),
            Effect::RenewCredential { .. } | Effect::EndCredential { .. } | Effect::Seal { .. } => None,
        }
    }
}

/// Everything an attempt is, with every expression resolved. The files of its template are found through the pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Which agent.
    pub agent: AgentId,
    /// Of which run.
    pub run: RunId,
    /// The run's pipeline.
    pub pipeline: Digest,
    /// What was asked for: pipeline and inputs.
    pub plan: Digest,
    /// Which stage.
    pub stage: StageIx,
    /// The stage's name.
    pub name: Name,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The attempt it follows.
    pub follows: Option<AgentId>,
    /// Its effective tier (X35).
    pub tier: Tier,
    /// What it is to achieve.
    pub objective: Option<String>,
    /// Its program and arguments.
    pub command: Vec<String>,
    /// Its own environment.
    pub env: BTreeMap<String, String>,
    /// Paths it may read.
    pub read: Vec<String>,
    /// Paths it may write.
    pub write: Vec<String>,
    /// What it may ask for beyond what follows from the rest: `ansible_run sandbox-*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// The locks it holds, each with the number it was taken with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locks: BTreeMap<Name, u64>,
    /// Commands that check its result.
    pub verify: Vec<Vec<String>>,
    /// Files it must leave.
    pub artifacts: Vec<String>,
    /// Artifacts of earlier stages it is given, by stage.
    pub inputs_from: BTreeMap<Name, Vec<GivenFile>>,
    /// The run's inputs.
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub inputs: BTreeMap<String, Value>,
    /// The project's folder.
    pub root: String,
    /// Whether missing confinement refuses.
    pub sandbox: SandboxMode,
    /// How long it may execute; for its packet, the governor keeps the time itself.
    pub timeout: Span,
    /// Whether it must show progress, and how soon; the shell then reports progress.
    pub idle_timeout: Option<Span>,
    /// What it looks at, when its run is one that no person asked for: it is given what is known of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks_at: Option<SpawnedBy>,
}

/// An earlier artifact that an agent is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenFile {
    /// Its path below the stage's folder.
    pub path: String,
    /// Its content.
    pub digest: Digest,
}
