//! The instruction packet: what an agent is told, signed with the home's key, so that whoever holds the public key can tell
//! later what was said (R150). The agent itself is not given that key; its copy lies where it cannot be changed.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};
use eparch_domain::{AgentId, Digest, InOrder, Moment, Name, RunId, Tier, Timestamp};
use eparch_governor::AgentSpec;
use serde::Serialize;
use serde_json::Value;

/// What an agent is told. A file of its workspace; the signature lies beside it.
#[derive(Debug, Serialize)]
pub(crate) struct Packet<'s> {
    /// The packet's format.
    v: u32,
    run: RunId,
    agent: AgentId,
    /// The stage, which is the agent's task.
    task: &'s Name,
    attempt: u32,
    objective: Option<&'s str>,
    tier: Tier,
    constraints: Constraints<'s>,
    inputs: InOrder<'s, BTreeMap<String, Value>>,
    /// What it is given besides its stage's files, by content.
    #[serde(skip_serializing_if = "Option::is_none")]
    handoff: Option<Digest>,
    /// What was asked for: definition and inputs.
    plan_id: Digest,
    definition: Digest,
    issued_at: Timestamp,
    /// After this the agent's authority is over, whatever it is told.
    expires_at: Timestamp,
}

#[derive(Debug, Serialize)]
struct Constraints<'s> {
    read: &'s [String],
    write: &'s [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    actions: &'s [String],
    /// The locks it holds, each with its fencing number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    locks: &'s BTreeMap<Name, u64>,
    artifacts: &'s [String],
    timeout_ms: u64,
}

/// The packet's bytes and its signature, 128 hexadecimal digits of Ed25519 over exactly those bytes.
pub(crate) fn write(
    spec: &AgentSpec,
    handoff: Option<Digest>,
    now: Moment,
    key: &SigningKey,
) -> (Vec<u8>, String) {
    let timeout = i64::try_from(spec.timeout.millis()).unwrap_or(i64::MAX);
    let packet = Packet {
        v: 1,
        run: spec.run,
        agent: spec.agent,
        task: &spec.name,
        attempt: spec.attempt,
        objective: spec.objective.as_deref(),
        tier: spec.tier,
        constraints: Constraints {
            read: &spec.read,
            write: &spec.write,
            actions: &spec.actions,
            locks: &spec.locks,
            artifacts: &spec.artifacts,
            timeout_ms: spec.timeout.millis(),
        },
        inputs: InOrder(&spec.inputs),
        handoff,
        plan_id: spec.plan,
        definition: spec.pipeline,
        issued_at: now.wall,
        expires_at: Timestamp::from_millis(now.wall.millis().saturating_add(timeout)),
    };
    let mut bytes = serde_json::to_vec_pretty(&packet).expect("a packet is plain data");
    bytes.push(b'\n');
    let signature = key.sign(&bytes).to_bytes();
    let text = eparch_domain::hex(&signature) + "\n";
    (bytes, text)
}
