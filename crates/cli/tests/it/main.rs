//! Console sessions against the real binary: commands, what they print, how they exit. Agents are confined for real, which
//! needs root or user namespaces.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure message")]

mod actions;
mod agents;
mod approvals;
mod asking;
mod authority;
#[path = "../../../vault/tests/it/bao.rs"]
#[expect(dead_code, reason = "the vault's own tests do more with a server")]
mod bao;
mod bounds;
mod canaries;
mod canaries_everywhere;
mod canaries_routes;
mod console;
mod diagnostic;
mod door;
mod emergencies;
mod environment;
mod examples;
mod files;
mod holder;
mod leases;
mod leases_server;
mod ledger;
mod locks;
mod logs;
mod machine;
mod paths;
mod performing;
mod policy;
mod runs;
mod secrets;
mod secrets_server;
mod serve;
mod standing;
mod terminal;
