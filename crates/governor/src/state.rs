//! What the governor remembers: live things only. History is the ledger's.

use std::collections::BTreeMap;
use std::sync::Arc;

use eparch_domain::{
    AgentId, Artifact, Digest, ErrorBudget, GateId, LedgerTime, Name, Phase, RunId, RunStatus, StageStatus,
};
use eparch_pipeline::StageIx;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{AttemptEnd, GateDecision};
use crate::fact::{GateOpened, GateOutcome, RunSpawned};
use crate::graph::Graph;
use crate::operator::Operator;
use crate::recent::Recent;

/// Ended runs, answered gates and used keys are remembered so long, to give a late question a good answer.
const REMEMBERED: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) epoch: u64,
    pub(crate) agents_at_once: u32,
    pub(crate) operators: BTreeMap<Name, Operator>,
    /// Shares its structure with the snapshots taken of it: taking one copies a pointer, and only what is changed while
    /// it is written is copied, a stage at a time.
    pub(crate) runs: OrdMap<RunId, Arc<Run>>,
    pub(crate) ended_runs: Recent<RunId, RunStatus>,
    pub(crate) closed_gates: Recent<GateId, GateOutcome>,
    /// Idempotency keys: the run that came of it and the digest of what was asked.
    pub(crate) keys: Recent<String, (RunId, Digest)>,
    /// The next place in the queue for a free agent.
    pub(crate) queue_next: u64,
}

impl Default for State {
    fn default() -> Self {
        State {
            epoch: 0,
            agents_at_once: u32::try_from(eparch_domain::limits::AGENTS_AT_ONCE).expect("a small number"),
            operators: BTreeMap::new(),
            runs: OrdMap::new(),
            ended_runs: Recent::keeping(REMEMBERED),
            closed_gates: Recent::keeping(REMEMBERED),
            keys: Recent::keeping(REMEMBERED),
            queue_next: 0,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) spawned: Arc<RunSpawned>,
    pub(crate) status: RunStatus,
    /// How it will have ended, once that is settled from outside.
    pub(crate) ending: Option<(RunStatus, String)>,
    pub(crate) stages: Vec<Arc<StageState>>,
    /// Found again by its digest when a snapshot is restored.
    #[serde(skip)]
    pub(crate) graph: Option<Arc<Graph>>,
}

impl PartialEq for Run {
    fn eq(&self, other: &Run) -> bool {
        self.spawned == other.spawned
            && self.status == other.status
            && self.ending == other.ending
            && self.stages == other.stages
    }
}

impl Run {
    pub(crate) fn graph(&self) -> &Arc<Graph> {
        self.graph.as_ref().expect("a run is linked to its definition when it is spawned or restored")
    }

    pub(crate) fn stage(&self, ix: StageIx) -> &StageState {
        &self.stages[ix.at()]
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StageState {
    pub(crate) status: StageStatus,
    pub(crate) reason: String,
    /// Attempts begun.
    pub(crate) attempts: u32,
    /// Those of them that were cut off.
    pub(crate) interruptions: u32,
    pub(crate) outputs: BTreeMap<String, Value>,
    pub(crate) artifacts: Vec<Artifact>,
    /// When it must have ended, once it has become ready.
    pub(crate) deadline: Option<LedgerTime>,
    /// Its time is over: it is not tried again.
    pub(crate) expired: bool,
    /// The agent of the last attempt.
    pub(crate) last_agent: Option<AgentId>,
    pub(crate) doing: Doing,
}

impl StageState {
    pub(crate) fn new() -> StageState {
        StageState {
            status: StageStatus::Pending,
            reason: String::new(),
            attempts: 0,
            interruptions: 0,
            outputs: BTreeMap::new(),
            artifacts: Vec::new(),
            deadline: None,
            expired: false,
            last_agent: None,
            doing: Doing::Nothing,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Doing {
    /// Not started, ended, or made of other stages.
    Nothing,
    /// Waits for a free agent, at this place of the queue.
    Queued(u64),
    /// Waits until it is tried again.
    Backoff(LedgerTime),
    /// An attempt is under way.
    Attempt(Box<Attempt>),
    /// A gate waits.
    Gate(Box<Gate>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) agent: AgentId,
    pub(crate) phase: Phase,
    /// Under which epoch it was made ready.
    pub(crate) epoch: u64,
    pub(crate) start_by: LedgerTime,
    /// Set when its program was let go.
    pub(crate) execute_by: Option<LedgerTime>,
    pub(crate) idle_by: Option<LedgerTime>,
    pub(crate) tree: Option<Value>,
    pub(crate) outputs: BTreeMap<String, Value>,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) budget: ErrorBudget,
    /// What it is to do, once that is settled.
    pub(crate) plan: Option<Digest>,
    /// How often its plan was issued again.
    pub(crate) clarifications: u32,
    pub(crate) package: Option<Digest>,
    /// How it will have ended: it is being killed, or goes through its last phases after a failure.
    pub(crate) end: Option<AttemptEnd>,
    /// It was asked to end and its tree is not dead yet.
    pub(crate) being_killed: bool,
    /// Its holder died; its tree is not proven dead yet.
    pub(crate) cut_off: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gate {
    pub(crate) opened: GateOpened,
    pub(crate) votes: BTreeMap<Name, GateDecision>,
}
