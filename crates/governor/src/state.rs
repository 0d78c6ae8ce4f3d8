//! What the governor remembers: live things only. History is the ledger's.

use std::collections::BTreeMap;
use std::sync::Arc;

use eparch_domain::limits::{AGENTS_AT_ONCE, HISTORIES_REMEMBERED, REMEMBERED};
use eparch_domain::{
    AgentId, Artifact, Digest, ErrorBudget, GateId, LedgerTime, Name, PermitId, Phase, RunId, RunStatus,
    StageStatus, Timestamp,
};
use eparch_pipeline::StageIx;
use eparch_policy::History;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::asking::Questions;
use crate::attempt_end::AttemptEnd;
use crate::break_glass::Glasses;
use crate::credential::{Credential, Known};
use crate::denials::Denials;
use crate::event::GateDecision;
use crate::evidence::Conduct;
use crate::fact::{GateOpened, GateOutcome, RunSpawned};
use crate::governing::Proposal;
use crate::graph::Graph;
use crate::heartbeat::Heartbeats;
use crate::lease::{AgentToken, Lease};
use crate::lock::{Holding, Locks, Waiting};
use crate::lookers::GoneLookers;
use crate::operator::Operator;
use crate::performance::Performing;
use crate::permit::Actions;
use crate::person::KeyOrigin;
use crate::recent::Recent;
use crate::standing::Standings;
use crate::stop_all::Stopped;
use crate::written;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) epoch: u64,
    pub(crate) agents_at_once: u32,
    pub(crate) operators: BTreeMap<Name, Operator>,
    /// How each of them came by their present key.
    pub(crate) key_origins: BTreeMap<Name, KeyOrigin>,
    /// How many keys operators have been given so far.
    pub(crate) keys_given: u64,
    /// Shares its structure with the snapshots taken of it: taking one copies a pointer, and only what is changed while
    /// it is written is copied, a stage at a time.
    pub(crate) runs: OrdMap<RunId, Arc<Run>>,
    pub(crate) ended_runs: Recent<RunId, RunStatus, REMEMBERED>,
    /// What was done in those of them that ended last.
    #[serde(default)]
    pub(crate) ended_histories: Recent<RunId, Arc<History>, HISTORIES_REMEMBERED>,
    /// What agents have earned from run to run.
    #[serde(default)]
    pub(crate) standings: Standings,
    pub(crate) closed_gates: Recent<GateId, GateOutcome, REMEMBERED>,
    #[serde(default)]
    pub(crate) leases: Leases,
    /// What people did because something is very wrong.
    #[serde(default)]
    pub(crate) emergencies: Emergencies,
    /// Idempotency keys of runs that live: the run and the digest of what was asked. None is forgotten before its run
    /// has ended.
    pub(crate) live_requests: OrdMap<String, (RunId, Digest)>,
    /// Those of runs that have ended.
    pub(crate) ended_requests: Recent<String, (RunId, Digest), REMEMBERED>,
    /// The next place in the queue.
    pub(crate) queue_next: u64,
    #[serde(default)]
    pub(crate) locks: Locks,
    /// The policies in force, by the digest of their document.
    #[serde(default)]
    pub(crate) policy: Option<Digest>,
    /// Who could have looked at policies when this holder began, or later, and cannot any more.
    #[serde(default, skip_serializing_if = "GoneLookers::is_empty")]
    pub(crate) gone_lookers: GoneLookers,
    /// The policies that wait for another person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proposal: Option<Proposal>,
    /// The pipeline that looks at runs whose agents make too many errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) diagnostic: Option<Digest>,
}

impl Default for State {
    fn default() -> Self {
        State {
            epoch: 0,
            agents_at_once: u32::try_from(AGENTS_AT_ONCE).expect("a small number"),
            operators: BTreeMap::new(),
            key_origins: BTreeMap::new(),
            keys_given: 0,
            runs: OrdMap::new(),
            ended_runs: Recent::default(),
            ended_histories: Recent::default(),
            standings: Standings::default(),
            closed_gates: Recent::default(),
            leases: Leases::default(),
            locks: Locks::default(),
            emergencies: Emergencies::default(),
            live_requests: OrdMap::new(),
            ended_requests: Recent::default(),
            queue_next: 0,
            policy: None,
            gone_lookers: GoneLookers::default(),
            proposal: None,
            diagnostic: None,
        }
    }
}

/// Whose authority lasts how long, and what stands behind it in a vault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Leases {
    /// The lease of each run of which somebody works.
    pub(crate) held: OrdMap<RunId, Lease>,
    /// Credentials that are good for something, by what a vault calls them.
    pub(crate) credentials: OrdMap<String, Known>,
    /// Credentials that are to end and are not known to have.
    pub(crate) to_end: OrdMap<String, Credential>,
    /// Since when each of them is.
    #[serde(default)]
    pub(crate) to_end_since: OrdMap<String, LedgerTime>,
    /// The last of them that was asked for after a boot, and when the next are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ending: Option<(String, LedgerTime)>,
    /// The latest wall time that was recorded, while the wall clock is behind it.
    pub(crate) wall_seen: Option<Timestamp>,
    /// Until the wall clock says so much it is not believed, and when it is looked at again.
    pub(crate) doubt: Option<(Timestamp, LedgerTime)>,
}

/// Whether everything is stopped, what is let pass although policy denies it, and how often somebody had to be told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Emergencies {
    pub(crate) stopped: Option<Stopped>,
    pub(crate) glasses: Glasses,
    /// Alarms raised so far: the next one's id follows from it.
    pub(crate) alarms: u64,
}

impl State {
    /// The definitions that it takes to go on, the same one as often as it is needed.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = Digest> + '_ {
        self.runs.values().map(|run| run.spawned.pipeline).chain(self.diagnostic)
    }

    /// The run that came of a request with this key, and the digest of what was asked.
    pub(crate) fn request(&self, key: &String) -> Option<(RunId, Digest)> {
        self.live_requests.get(key).or_else(|| self.ended_requests.get(key)).copied()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) spawned: Arc<RunSpawned>,
    /// How many keys operators had been given when it was asked for.
    pub(crate) keys_before: u64,
    pub(crate) status: RunStatus,
    /// How it will have ended, once that is settled from outside.
    pub(crate) ending: Option<(RunStatus, String)>,
    pub(crate) stages: Vec<Arc<StageState>>,
    /// What its agents have done under permits.
    #[serde(default)]
    pub(crate) history: History,
    /// How many leases it has had.
    #[serde(default)]
    pub(crate) leases_begun: u32,
    /// What people said no to in it.
    #[serde(default)]
    pub(crate) denials: Denials,
    /// Whether another run looks at it, or has: none does so twice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) diagnosed: bool,
    /// When the errors of the last minute were made, by all its agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors_at: Vec<LedgerTime>,
    /// Found again by its digest when a snapshot is restored.
    #[serde(skip)]
    pub(crate) graph: Option<Arc<Graph>>,
}

impl PartialEq for Run {
    fn eq(&self, other: &Run) -> bool {
        self.spawned == other.spawned
            && self.keys_before == other.keys_before
            && self.status == other.status
            && self.ending == other.ending
            && self.stages == other.stages
            && self.history == other.history
            && self.leases_begun == other.leases_begun
            && self.denials == other.denials
            && self.diagnosed == other.diagnosed
            && self.errors_at == other.errors_at
    }
}

impl Run {
    pub(crate) fn graph(&self) -> &Arc<Graph> {
        self.graph.as_ref().expect("a run is linked to its definition when it is spawned or restored")
    }

    pub(crate) fn stage(&self, ix: StageIx) -> &StageState {
        &self.stages[ix.at()]
    }

    /// What everything takes that its stages have put out, those that are under way included.
    pub(crate) fn put_out(&self) -> usize {
        let under_way = |stage: &StageState| match &stage.doing {
            Doing::Attempt(attempt) => attempt.put_out,
            _ => 0,
        };
        self.stages.iter().map(|stage| stage.put_out + under_way(stage)).sum()
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
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub(crate) outputs: BTreeMap<String, Value>,
    pub(crate) artifacts: Vec<Artifact>,
    /// What both take when they are written down; counted again when a snapshot is restored.
    #[serde(skip)]
    pub(crate) put_out: usize,
    /// When it must have ended, once it has become ready.
    pub(crate) deadline: Option<LedgerTime>,
    /// Its time is over: it is not tried again.
    pub(crate) expired: bool,
    /// How it will have ended, and why, once its attempt that was cut off is proven dead.
    pub(crate) ending: Option<(StageStatus, String)>,
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
            put_out: 0,
            deadline: None,
            expired: false,
            ending: None,
            last_agent: None,
            doing: Doing::Nothing,
        }
    }

    /// Counts what it has put out, as no snapshot says it.
    pub(crate) fn count_put_out(&mut self) {
        self.put_out = written::left(&self.outputs, &self.artifacts);
        if let Doing::Attempt(attempt) = &mut self.doing {
            attempt.put_out = written::left(&attempt.outputs, &attempt.artifacts);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Doing {
    /// Not started, ended, or made of other stages.
    Nothing,
    /// Waits at this place of the queue, for a free agent or for a turn with work left.
    Queued(u64),
    /// Its turn had come, and it waits for locks.
    Locks(Box<Waiting>),
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
    pub(crate) start_by: LedgerTime,
    /// Set when its program was let go.
    pub(crate) execute_by: Option<LedgerTime>,
    pub(crate) idle_by: Option<LedgerTime>,
    /// Set while it is to be dead: by then that must have been reported.
    pub(crate) gone_by: Option<LedgerTime>,
    /// How often its death was asked for in vain.
    pub(crate) asked_in_vain: u32,
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub(crate) tree: Option<Value>,
    #[serde(serialize_with = "eparch_domain::in_order")]
    pub(crate) outputs: BTreeMap<String, Value>,
    pub(crate) artifacts: Vec<Artifact>,
    /// What both take when they are written down; counted again when a snapshot is restored.
    #[serde(skip)]
    pub(crate) put_out: usize,
    pub(crate) budget: ErrorBudget,
    /// When it said that it lives, and when it should again.
    #[serde(default, skip_serializing_if = "Heartbeats::are_none")]
    pub(crate) heartbeats: Heartbeats,
    /// What its standing is to know of it.
    #[serde(default)]
    pub(crate) conduct: Conduct,
    /// When its calls were limited, within `limits::LIMITED_WITHIN`.
    #[serde(default)]
    pub(crate) limited_at: Vec<LedgerTime>,
    /// What it is to do, once that is settled.
    pub(crate) plan: Option<Digest>,
    /// What it may ask for, as its plan says.
    #[serde(default)]
    pub(crate) may_ask: Vec<String>,
    /// What it asked for.
    #[serde(default)]
    pub(crate) actions: Actions,
    /// What is performed for it, by the permit it is performed under.
    #[serde(default)]
    pub(crate) performing: BTreeMap<PermitId, Performing>,
    /// What it has people asked.
    #[serde(default)]
    pub(crate) questions: Questions,
    /// What stands for what it has, while what it asks for counts.
    #[serde(default)]
    pub(crate) token: Option<AgentToken>,
    /// The locks it has, if its stage names any.
    #[serde(default)]
    pub(crate) locks: Option<Box<Holding>>,
    /// Whether its plan was issued again.
    pub(crate) clarified: bool,
    pub(crate) package: Option<Digest>,
    /// How it will have ended: it is being killed, or goes through its last phases after a failure.
    pub(crate) end: Option<AttemptEnd>,
    /// It was asked to end and its tree is not dead yet.
    pub(crate) being_killed: bool,
    /// It goes no further, and its death was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) to_prove: bool,
    /// Its holder died; its tree is not proven dead yet.
    pub(crate) cut_off: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gate {
    pub(crate) opened: GateOpened,
    pub(crate) votes: BTreeMap<Name, Vote>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vote {
    pub(crate) decision: GateDecision,
    /// What it was signed with, if it was.
    pub(crate) public_key: Option<String>,
}
