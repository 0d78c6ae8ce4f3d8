//! A checked pipeline: what the parser hands over and everything later relies on. It holds no places and no doubts.
//!
//! Stages, nested ones included, stand in one list in file order; a stage stands after the stage around it. They refer
//! to each other by [`StageIx`], so that a run's state can be a list beside this one.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{Digest, InOrder, Name, Profile, Span, StageKind, StandingId, Tier, limits};
use serde::{Deserialize, Serialize};

use crate::expr::Expr;
use crate::text::Text;

/// The place of a stage in [`Pipeline::stages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageIx(pub u16);

impl StageIx {
    /// The place as an index.
    pub fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// A checked pipeline. Its JSON is the definition that runs are pinned to; [`Pipeline::digest`] names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Its name.
    pub name: Name,
    /// Its author's version, `1.0` when none was given.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// How long a run may take.
    pub timeout: Span,
    /// How strict it is.
    pub profile: Profile,
    /// What a run is given.
    pub inputs: BTreeMap<String, InputSpec>,
    /// What a run may spend.
    pub budget: Budget,
    /// Every stage, parents before children, in file order; at most `limits::PIPELINE_STAGES`.
    pub stages: Vec<Stage>,
}

/// What a run is given under one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: InputType,
    /// The values it may have; empty when any will do.
    #[serde(rename = "enum")]
    pub choices: Vec<serde_json::Value>,
    /// Its value when none is given; an input without one is required.
    pub default: Option<serde_json::Value>,
    /// What it means.
    pub description: String,
}

/// The type of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// Text.
    String,
    /// A whole number, 64 bits.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// What may be spent; `None` is no limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Budget {
    /// Tokens.
    pub tokens: Option<u64>,
    /// United States dollars.
    pub dollars: Option<f64>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name, unique in the whole file.
    pub name: Name,
    /// The stage around it and which of its lists it stands in; `None` at the top.
    pub parent: Option<Parent>,
    /// What must complete before it starts: stages of the same list.
    pub requires: Vec<StageIx>,
    /// What it does.
    pub work: Work,
}

/// Where a nested stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The parallel or condition stage around it.
    pub stage: StageIx,
    /// The branch of a parallel stage; of a condition 0 is `then` and 1 is `else`.
    pub list: u16,
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Work {
    /// Runs an agent.
    Agent(Box<AgentWork>),
    /// Waits for people or for consensus.
    Gate(GateWork),
    /// Runs branches side by side.
    Parallel(ParallelWork),
    /// Chooses one of two lists.
    Condition(ConditionWork),
}

impl Work {
    /// Its kind.
    pub fn kind(&self) -> StageKind {
        match self {
            Work::Agent(_) => StageKind::Agent,
            Work::Gate(_) => StageKind::Gate,
            Work::Parallel(_) => StageKind::Parallel,
            Work::Condition(_) => StageKind::Condition,
        }
    }
}

/// An agent's task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentWork {
    /// The template it was made from, as `name@version`; empty when none.
    pub template: String,
    /// What carries it out.
    pub runtime: Runtime,
    /// The highest tier it works at.
    pub tier: Tier,
    /// What it is to achieve.
    pub objective: Option<Text>,
    /// Its program and arguments; one word each, whatever an expression yields.
    pub command: Vec<Text>,
    /// Its own environment variables.
    pub env: BTreeMap<String, Text>,
    /// Paths it may read, absolute or relative to the project.
    pub read: Vec<Text>,
    /// Folders, and files that are there, that it may write, absolute or relative to the project; from T1 on they are the
    /// project's own.
    pub write: Vec<Text>,
    /// What it may ask for beyond what follows from its paths, tools, secrets and model, each `ACTION TARGET`; at most
    /// `limits::STAGE_ACTIONS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Text>,
    /// Tools it may ask for.
    pub tools: Vec<String>,
    /// The model a planner uses.
    pub model: Option<String>,
    /// How often it is tried again.
    pub retries: Retries,
    /// What happens to an attempt that was cut off; `None` is the tier's default: retry at T0–T1, ask from T2 (G7).
    pub on_interrupt: Option<OnInterrupt>,
    /// `host:port` it may reach through the daemon.
    pub egress: Vec<String>,
    /// Names of secrets it may read.
    pub secrets: Vec<String>,
    /// Locks that each attempt holds from before it begins until nothing of it lives; at most `limits::STAGE_LOCKS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<Text>,
    /// Commands that check its result.
    pub verify: Vec<Vec<Text>>,
    /// Whether the run goes on as if it had completed when it fails.
    pub continue_on_error: bool,
    /// What it may spend.
    pub budget: Budget,
    /// Files it must leave, relative to its workspace.
    pub artifacts: Vec<Text>,
    /// How long the stage may take, all attempts and waits included.
    pub timeout: Span,
    /// How long one attempt may execute; `None` is the stage's timeout.
    pub attempt_timeout: Option<Span>,
    /// How long an attempt may take to be ready to execute.
    pub start_timeout: Span,
    /// How long it may go without progress; `None` is as long as it likes.
    pub idle_timeout: Option<Span>,
    /// Whether missing confinement refuses.
    pub sandbox: SandboxMode,
    /// Files its template puts into the workspace: relative path to content.
    pub files: BTreeMap<String, String>,
}

/// What carries an agent's task out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// A confined process.
    Process,
    /// A loop of model calls inside the daemon.
    Planner,
    /// Several planners who reach consensus.
    Council,
}

/// How often and how soon a failed attempt is followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// Attempts after the first; at most `limits::MAX_RETRIES`.
    pub max: u32,
    /// The wait before the first retry, doubled each time up to `limits::RETRY_BACKOFF_MAX`.
    pub backoff: Span,
}

impl Retries {
    /// The part of a wait that may come on top of it, so that stages that failed together do not come back together.
    const JITTER: u64 = 4;

    /// How long to wait before attempt `next` (from 2): the backoff, doubled for each attempt after the second. Up to a
    /// quarter more may come on top ([`Retries::longest_wait`]).
    pub fn wait(&self, next: u32) -> Span {
        let doublings = next.saturating_sub(2).min(32);
        let doubled = self.backoff.millis().saturating_mul(1 << doublings);
        Span::from_millis(doubled.min(limits::RETRY_BACKOFF_MAX.millis()))
    }

    /// The longest wait there can be before attempt `next`.
    pub fn longest_wait(&self, next: u32) -> Span {
        let wait = self.wait(next).millis();
        Span::from_millis(wait + wait / Self::JITTER)
    }
}

/// What happens to an attempt whose end nobody saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnInterrupt {
    /// It is made again.
    Retry,
    /// The stage fails.
    Fail,
    /// A person decides.
    Ask,
}

impl OnInterrupt {
    /// What happens at a tier when nobody says (G7).
    pub fn unasked(tier: Tier) -> OnInterrupt {
        if tier <= Tier::T1 { OnInterrupt::Retry } else { OnInterrupt::Ask }
    }
}

/// Whether an agent may work when part of its confinement is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxMode {
    /// It may not.
    Required,
    /// It may, and what was missing is recorded and shown.
    BestEffort,
}

/// A gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateWork {
    /// What it waits for.
    pub gate_type: GateType,
    /// Operators, groups or roles who may approve.
    pub approvers: Vec<Name>,
    /// How many approvals it takes, at least 1.
    pub quorum: u16,
    /// How long it waits.
    pub timeout: Span,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// The council stage a consensus gate waits for.
    pub of: Option<StageIx>,
}

/// What a gate waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateType {
    /// People.
    Approval,
    /// A council.
    Consensus,
}

/// What happens when a gate has waited long enough. There is no way to approve by waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// The stage ends TIMED_OUT and the run fails.
    Fail,
    /// The stage is SKIPPED, and with it what requires it; the run goes on elsewhere.
    Skip,
}

/// Branches side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParallelWork {
    /// The branches, in file order.
    pub branches: Vec<Branch>,
    /// How many branches may work at once; `None` is all.
    pub max_concurrency: Option<u16>,
    /// What a stage that fails means for the other branches and the rest of its own.
    pub on_failure: OnFailure,
}

/// One branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    /// Its name, unique in its stage.
    pub name: Name,
    /// Its stages, directly in it.
    pub stages: Vec<StageIx>,
}

/// What a stage that fails means for the other branches and the rest of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They are cancelled at once.
    FailFast,
    /// They go on; the stage fails when all have ended.
    WaitAll,
}

/// A choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionWork {
    /// The expression; must yield a boolean.
    #[serde(rename = "if")]
    pub condition: Expr,
    /// The stages when it is true.
    pub then: Vec<StageIx>,
    /// The stages when it is false.
    #[serde(rename = "else")]
    pub otherwise: Vec<StageIx>,
}

impl Pipeline {
    /// The definition's exact bytes: what is kept, and what [`Pipeline::digest`] is of.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a pipeline has no map with keys that are not text")
    }

    /// Reads a definition back from [`Pipeline::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Pipeline, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The digest of the definition.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// The stage at a place.
    pub fn stage(&self, ix: StageIx) -> &Stage {
        &self.stages[ix.at()]
    }

    /// The place of a stage by its name.
    pub fn find(&self, name: &str) -> Option<StageIx> {
        let at = self.stages.iter().position(|stage| stage.name.as_str() == name)?;
        u16::try_from(at).ok().map(StageIx)
    }

    /// Every place, in file order.
    pub fn places(&self) -> impl Iterator<Item = StageIx> + use<> {
        let count = u16::try_from(self.stages.len())
            .expect("a checked pipeline has at most limits::PIPELINE_STAGES stages");
        (0..count).map(StageIx)
    }

    /// The stages at the top.
    pub fn top(&self) -> impl Iterator<Item = StageIx> + '_ {
        self.places().filter(|ix| self.stage(*ix).parent.is_none())
    }

    /// The names of environment variables its expressions read; values are taken when a run is asked for.
    pub fn env_names(&self) -> BTreeSet<String> {
        self.expressions().iter().flat_map(|expr| expr.env_names().iter().cloned()).collect()
    }

    /// Every expression in it.
    pub fn expressions(&self) -> Vec<&Expr> {
        let mut found = Vec::new();
        for stage in &self.stages {
            match &stage.work {
                Work::Agent(agent) => found.extend(agent.texts().flat_map(Text::expressions)),
                Work::Condition(condition) => found.push(&condition.condition),
                Work::Gate(_) | Work::Parallel(_) => {}
            }
        }
        found
    }
}

/// What a person asks for, and approves: a definition, its inputs and what it reads of the environment, under one digest
/// (R061).
pub fn plan_id(
    pipeline: &Digest,
    inputs: &BTreeMap<String, serde_json::Value>,
    env: &BTreeMap<String, String>,
) -> Digest {
    let inputs = serde_json::to_vec(&InOrder(inputs)).expect("inputs are plain data");
    let env = serde_json::to_vec(env).expect("an environment is plain data");
    Digest::of_parts(&[b"plan", pipeline.as_bytes(), &inputs, &env])
}

impl AgentWork {
    /// Whose evidence it is that an attempt at this leaves: that of its template, name and content, of its command as it is
    /// written, expressions and all, and of its model. Anything else about a stage may change and its standing stays.
    pub fn standing(&self) -> StandingId {
        let written = serde_json::to_vec(&(&self.template, &self.files, &self.command, &self.model));
        let written = written.expect("texts and files are plain data");
        StandingId::derived(&Digest::of_parts(&[b"standing", &written]))
    }

    /// Every text in it that may hold an expression.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        self.objective
            .iter()
            .chain(&self.command)
            .chain(self.env.values())
            .chain(&self.read)
            .chain(&self.write)
            .chain(&self.actions)
            .chain(&self.locks)
            .chain(self.verify.iter().flatten())
            .chain(&self.artifacts)
    }

    /// What happens to an attempt that was cut off, the tier's default applied (G7).
    pub fn on_interrupt(&self) -> OnInterrupt {
        self.on_interrupt.unwrap_or(OnInterrupt::unasked(self.tier))
    }
}
