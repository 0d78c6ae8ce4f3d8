#![doc = include_str!("../README.md")]

pub mod agent;
pub mod chaos;
pub mod clock;
pub mod core_version;
pub mod digest;
pub mod harmless;
pub mod id;
pub mod keys;
pub mod limits;
pub mod name;
pub mod outcome;
pub mod phase;
pub mod redact;
mod secret;
pub mod span;
pub mod status;
pub mod tier;
pub mod violation;
mod wire;

pub use agent::{Profile, Role};
pub use chaos::ChaosCondition;
pub use clock::{Clock, LedgerTime, ManualClock, Moment, Timestamp};
pub use core_version::{CORE_HISTORY, CORE_VERSION};
pub use digest::Digest;
pub use harmless::{harmless, is_harmful};
pub use id::{AgentId, GateId, LeaseId, RunId};
pub use name::{BadName, Name};
pub use outcome::{AgentOutput, Artifact, ClarifiedPlan, ErrorBudget, PipelineContext, StageResult};
pub use phase::{Grade, Phase};
pub use span::Span;
pub use status::{AgentStatus, RunStatus, StageKind, StageStatus};
pub use tier::Tier;
pub use violation::{RevocationType, Severity, ViolationType};
pub use wire::UnknownWord;
