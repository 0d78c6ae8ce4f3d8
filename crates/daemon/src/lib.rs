#![doc = include_str!("../README.md")]

mod agents;
mod api;
mod artifacts;
mod aside;
mod client;
mod clock;
mod config;
pub mod diagnostic;
mod doors;
pub mod driver;
mod heads;
mod health;
mod holder;
mod home;
pub mod journal;
mod live_events;
mod patient;
mod perform;
mod policies;
mod process_limits;
mod public_door;
mod socket;
mod tcp;
mod vault;
mod watched;

pub use agents::capture::{LogLine, is_performed};
#[cfg(any(test, feature = "stand"))]
pub use agents::door::stand;
pub use agents::evidence::{Manifest, Report};
pub use agents::prepare::STREAMS;
pub use api::problem::Problem;
pub use api::wire;
pub use artifacts::{Artifacts, Kept};
pub use client::{CallError, Client, Lines};
pub use clock::SystemClock;
pub use config::{
    AgentSettings, ConfigError, DiagnosticSettings, EnvironmentSettings, LedgerSettings, SandboxSettings,
    Settings,
};
/// The vault's section of the settings, and the variable that may hold its key: `cli` says how it is.
pub use eparch_vault::{KEY_VARIABLE, Settings as VaultSettings};
pub use holder::{HoldError, HoldOptions, TENANT, hold, serve};
pub use home::{DraftKey, Home, HomeError, LOCAL_HOME, Shared, random_bits};
pub use live_events::{Broadcast, END, LiveEvent};
pub use policies::{NoPolicies, PolicyFiles, Unreadable};

use std::collections::BTreeSet;

use eparch_domain::{BreakGlassId, Digest, GateId, Name, StandingId, Timestamp};
use eparch_governor::{GateDecision, Governor};

/// What an operator whose key this home never held signs to answer a gate: exactly these bytes.
pub fn gate_statement(
    gate: GateId,
    subject: &Digest,
    decision: GateDecision,
    by: &Name,
    rationale: &str,
) -> String {
    statement("gate", &gate, subject, decision, by, rationale)
}

/// The same for a request to promote an agent. What is signed for one is no answer to the other.
pub fn promotion_statement(
    standing: StandingId,
    subject: &Digest,
    decision: GateDecision,
    by: &Name,
    rationale: &str,
) -> String {
    statement("promotion", &standing, subject, decision, by, rationale)
}

/// The same for policies that wait for another person: those that somebody offered then, and no others.
pub fn policies_statement(
    offered_by: &Name,
    at: Timestamp,
    policies: &Digest,
    decision: GateDecision,
    by: &Name,
    rationale: &str,
) -> String {
    statement("policies", &format_args!("{offered_by} {}", at.millis()), policies, decision, by, rationale)
}

/// The same for a request to let pass what policy denies.
pub fn break_glass_statement(
    grant: BreakGlassId,
    subject: &Digest,
    decision: GateDecision,
    by: &Name,
    rationale: &str,
) -> String {
    statement("break-glass", &grant, subject, decision, by, rationale)
}

fn statement(
    kind: &str,
    id: &dyn std::fmt::Display,
    subject: &Digest,
    decision: GateDecision,
    by: &Name,
    rationale: &str,
) -> String {
    let decision = match decision {
        GateDecision::Approve => "approve",
        GateDecision::Deny => "deny",
    };
    let rationale = Digest::of(rationale.as_bytes());
    format!("eparch-{kind}-answer/v1\n{id}\n{subject}\n{decision}\n{by}\n{rationale}\n")
}

/// Everybody a gate may list: operators, their groups, and roles.
pub(crate) fn known_approvers(governor: &Governor) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        eparch_governor::OperatorRole::ALL.iter().map(|role| role.as_str().to_owned()).collect();
    for operator in governor.operators() {
        names.insert(operator.name.to_string());
        names.extend(operator.groups.iter().map(ToString::to_string));
    }
    names
}
