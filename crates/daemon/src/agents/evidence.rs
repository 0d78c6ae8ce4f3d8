//! What an agent leaves behind: the manifest of its evidence (PACKAGE) and its report (REPORT). Both are kept by
//! content, and name each other and the ledger by digest and place.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, Artifact, Digest, Name, RunId, Tier, Timestamp};
use eparch_governor::{Check, Ended, Measure, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agents::live::{Executed, Live};

/// Everything that proves what an agent did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The manifest's format.
    pub v: u32,
    /// The run.
    pub run: RunId,
    /// The stage.
    pub stage: Name,
    /// The agent.
    pub agent: AgentId,
    /// Which attempt it was.
    pub attempt: u32,
    /// The tier it worked at.
    pub tier: Tier,
    /// The definition and inputs that were asked for.
    pub plan_id: Digest,
    /// The definition.
    pub definition: Digest,
    /// The packet it was given.
    pub packet: Digest,
    /// The plan it carried out.
    pub plan: Digest,
    /// Its program and arguments.
    pub command: Vec<String>,
    /// How its program ended.
    pub ended: Ended,
    /// What went wrong; empty when nothing did.
    pub failure: String,
    /// Its outputs.
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub outputs: BTreeMap<String, Value>,
    /// Its artifacts.
    pub artifacts: Vec<Artifact>,
    /// The checks of its result.
    pub verified: Vec<Check>,
    /// What confined it, and what was missing.
    pub confinement: Vec<Measure>,
    /// What it used.
    pub usage: Usage,
    /// Processes that outlived its program and were killed.
    pub leftovers: u32,
    /// The digest of what it printed.
    pub log: Digest,
    /// The entries of the ledger it is recorded in, so far: first and last.
    pub ledger: (u64, u64),
    /// When this was put together.
    pub at: Timestamp,
}

/// What came of an agent, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The report's format.
    pub v: u32,
    /// The run.
    pub run: RunId,
    /// The stage.
    pub stage: Name,
    /// The agent.
    pub agent: AgentId,
    /// Whether everything went well.
    pub ok: bool,
    /// What went wrong; empty when nothing did.
    pub failure: String,
    /// The digest of the manifest of its evidence.
    pub package: Digest,
    /// When it was written.
    pub at: Timestamp,
}

impl Manifest {
    pub(crate) fn of(
        live: &Live,
        executed: &Executed,
        failure: &str,
        log: Digest,
        last_seq: u64,
        at: Timestamp,
    ) -> Manifest {
        let spec = &live.spec;
        Manifest {
            v: 1,
            run: spec.run,
            stage: spec.name.clone(),
            agent: spec.agent,
            attempt: spec.attempt,
            tier: spec.tier,
            plan_id: spec.plan,
            definition: spec.pipeline,
            packet: live.packet,
            plan: live.plan,
            command: spec.command.clone(),
            ended: executed.ended.clone(),
            failure: failure.to_owned(),
            outputs: executed.outputs.clone(),
            artifacts: executed.artifacts.clone(),
            verified: executed.verified.clone(),
            confinement: live.confinement.clone(),
            usage: executed.usage,
            leftovers: executed.leftovers,
            log,
            ledger: (live.first_seq, last_seq),
            at,
        }
    }
}

impl Report {
    pub(crate) fn of(live: &Live, failure: &str, package: Digest, at: Timestamp) -> Report {
        let spec = &live.spec;
        Report {
            v: 1,
            run: spec.run,
            stage: spec.name.clone(),
            agent: spec.agent,
            ok: failure.is_empty(),
            failure: failure.to_owned(),
            package,
            at,
        }
    }
}
