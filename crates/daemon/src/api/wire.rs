//! What callers send and get back, one file per resource. What the read models show is in `eparch_ledger::views`.

use serde::{Deserialize, Serialize};

mod authority;
mod emergencies;
mod health;
mod locks;
mod operators;
mod runs;
mod standing;
mod vault;

pub use authority::{AgentTokenShown, LeaseShown, Revoke, RevokeRun, Revoked, TokenOwed, TokenShown};
pub use emergencies::{AskBreakGlass, BreakGlassShown, StopAll, StopAllShown, StoppedShown};
pub use health::{Component, Confinement, Enforced, Ready, ReadyDetails, WatchedShown};
pub use locks::{LockReleased, LockView, ReleaseLock};
pub use operators::{AddOperator, InForce, OfferedPolicies, OperatorView, PoliciesWait, PutInForce};
pub use runs::{Answer, RetryRun, RunLogLine, RunLogNews, Signed, StartRun, Started, StopRun};
pub use standing::{AskPromotion, NextTier, StandingDetail, StandingView, Waiting};
pub use vault::{
    Fields, OpenFields, PutSecret, Secret, SecretNames, SecretShown, SecretWritten, VaultStatus,
};

/// What something that was decided is like now. It counts whatever can be shown of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Decided<T> {
    /// As the read models show it.
    Shown(T),
    /// The read models are not well.
    Unseen {
        /// The entry it was decided in.
        decided: u64,
        /// What is wrong with the read models.
        read_models: String,
    },
}
