//! What callers send and get back about secrets and the vault.

use eparch_domain::Span;
pub use eparch_vault::{Fields, Secret};
use serde::{Deserialize, Serialize};

use crate::api::problem::Problem;

/// The fields of a secret in the open. They are written out between a holder and its caller, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct OpenFields(pub Fields);

impl Serialize for OpenFields {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.0.iter().map(|(name, secret)| (name, secret.expose())))
    }
}

/// A new version of a secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutSecret {
    /// What it holds, by name.
    pub fields: OpenFields,
    /// Only when this is the newest version; 0 says that there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cas: Option<u32>,
}

/// A secret that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretWritten {
    /// Where.
    pub path: String,
    /// The new version.
    pub version: u32,
}

/// A secret that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretShown {
    /// Where it lies.
    pub path: String,
    /// Which version it is.
    pub version: u32,
    /// What it holds, by name.
    pub fields: OpenFields,
}

/// What lies below a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretNames {
    /// Below which; nothing is the top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Names of secrets, and of folders with a `/` behind them, in order.
    pub names: Vec<String>,
}

/// How the vault is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultStatus {
    /// `embedded` in a sealed file of the home, or `server`.
    pub kind: String,
    /// The folder of the file, or the address of the server.
    pub place: String,
    /// Whether there is one: the sealed file is made when something is first written.
    pub made: bool,
    /// Whether secrets and authority can be had from it, or, where there is none yet, could.
    pub usable: bool,
    /// Whether it waits for its keys; unknown when nobody answers.
    pub sealed: Option<bool>,
    /// How far the clock is behind what was recorded last; no token gives authority meanwhile.
    pub clock_behind: Option<Span>,
    /// What is wrong, when something is.
    pub problem: Option<Problem>,
    /// The policies in force for runs and agents, by name. A server may hold others under these names.
    pub policies: Vec<String>,
    /// Who holds tokens to them: `eparch`, or `server`.
    pub enforced_by: String,
}
