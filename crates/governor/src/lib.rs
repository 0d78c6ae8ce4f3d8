#![doc = include_str!("../README.md")]

mod action;
mod agent;
mod alarm;
mod apply;
mod asking;
mod attempt_end;
mod bounds;
mod break_glass;
mod clock_doubt;
mod credential;
mod decision;
mod denials;
mod diagnostic;
mod effect;
mod ending;
mod ends;
mod event;
mod evidence;
mod fact;
mod gate;
mod governing;
mod governor;
mod graph;
mod heartbeat;
mod identity;
mod kept;
mod lease;
mod lock;
mod lookers;
mod opening;
mod operator;
mod operators;
mod people;
mod performance;
mod permit;
mod person;
mod plan;
mod promotion;
mod proof;
mod put_out;
mod question;
mod recent;
mod record;
mod request;
mod retry;
mod revocation;
mod run;
mod scope;
mod secrets;
mod snapshot;
mod sought;
mod spending;
mod standing;
mod state;
mod stop_all;
mod target;
mod timers;
mod until;
mod waking;
mod written;

pub use alarm::Alarm;
pub use attempt_end::AttemptEnd;
pub use break_glass::{
    Allowed, BreakGlass, BreakGlassAnswer, BreakGlassAsked, BreakGlassRequest, GlassEnd, GlassScope,
    GlassStands, UnderGlass, may_be_let_pass,
};
pub use credential::{Credential, CredentialOutcome};
pub use decision::{Answer, Decision, Refusal};
pub use effect::{AgentSpec, Effect, GivenFile};
/// A word of the vocabulary, named here too because operators are told of here.
pub use eparch_domain::OperatorRole;
pub use event::{
    ActionAsked, Check, ClockMoved, Ended, Event, GateAnswer, GateDecision, Kept, Lineage, Measure, Outcome,
    RunRequest, Signal, SignedAnswer, Usage,
};
pub use evidence::{Conduct, Evidence, Needs, is_planning, is_proven_by_files, needs, next_tier};
pub use fact::{Fact, GateOpened, GateOutcome, GatePurpose, Permit, Ruled, RunSpawned, SpawnedBy};
pub use governing::{PoliciesAnswer, PoliciesProposed, ProposalEnd};
pub use governor::Governor;
pub use heartbeat::SILENT;
pub use lease::{AgentStanding, AgentToken, Lease, LeaseEnd};
pub use lock::{LockLoss, LockShown, LockStanding, LockUser, LockWait};
pub use opening::{Reach, Shut};
pub use operator::{Key, Operator, Separation};
pub use people::{PROJECT, TENANT};
pub use performance::{Performance, PerformanceCage, PerformanceEnd, command_params, command_text};
pub use permit::PermitFault;
pub use promotion::{PromotionAnswer, PromotionOpened};
pub use record::{RECORD_FORMAT, Record, RecordError};
pub use revocation::{Bearer, Cause};
pub use secrets::{SecretAccess, SecretOutcome};
pub use snapshot::{RestoreError, Snapshot};
pub use sought::Sought;
pub use standing::{Lowered, Standing};
pub use stop_all::Stopped;
pub use timers::Deadline;
pub use until::Until;
