#![doc = include_str!("../README.md")]

mod embedded;
mod error;
mod guarded;
mod hashicorp;
mod path;
mod policy;
mod secret;
mod settings;
mod vault;
mod wiped;

pub use embedded::{BadSeal, Embedded, KeyFrom, OpenError, SealKey, SealKeyError, StoreError};
pub use error::{Ending, VaultError};
pub use guarded::Guarded;
pub use hashicorp::{ConnectError, Hashicorp};
pub use path::{BadPath, SecretPath};
pub use policy::{
    BadPolicy, Capability, DAEMON, PIPELINE_AGENT, Policy, Rule, SHIPPED, WrapBounds, least_tier, tier_policy,
};
pub use secret::{Fields, Secret, Token};
pub use settings::{KEY_VARIABLE, SERVER_VARIABLES, Settings};
pub use vault::{
    Accessor, Answer, BadAccessor, ChildGrant, Health, Issued, Reader, RunGrant, SecretVersion, TokenStatus,
    Vault,
};
