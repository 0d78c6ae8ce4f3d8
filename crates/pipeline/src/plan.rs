//! A plan: what a run would do, in which order, at which tier, with which grants; nothing is run.

mod render;

use std::cell::RefCell;
use std::collections::BTreeMap;

use eparch_domain::{Digest, Name, Profile, Span, StageKind, Tier};
use serde::Serialize;
use serde_json::Value;

use crate::diagnostic::codes;
use crate::expr::{Fuel, Scope};
use crate::model::{
    AgentWork, Budget, GateType, GateWork, OnFailure, OnInterrupt, OnTimeout, Pipeline, Runtime, SandboxMode,
    StageIx, Work, plan_id,
};
use crate::text::Text;

/// What a run of a pipeline would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The plan's name: the digest of the definition and the inputs.
    pub plan_id: Digest,
    /// The pipeline's name.
    pub pipeline: Name,
    /// Its version.
    pub version: String,
    /// The digest of its definition.
    pub definition: Digest,
    /// How strict it is.
    pub profile: Profile,
    /// The inputs it would run with.
    pub inputs: BTreeMap<String, Value>,
    /// What it would read of the environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The highest tier any of its stages works at.
    pub tier: Tier,
    /// How long the run may take.
    pub timeout: Span,
    /// What the run may spend.
    pub budget: Budget,
    /// The longest it could take if every attempt, retry and wait took as long as it may; never more than `timeout`.
    pub worst_case: Span,
    /// The stages at the top, in waves: those of one wave can start once those of the waves before have ended.
    pub waves: Vec<Vec<Step>>,
    /// What stands in the way, or deserves a look.
    pub findings: Vec<Finding>,
}

/// One stage of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Its name.
    pub name: Name,
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: StageKind,
    /// What must end first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Name>,
    /// What it does.
    #[serde(flatten)]
    pub does: Does,
}

/// What a step does, by kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Does {
    /// Runs an agent.
    Agent(Box<AgentStep>),
    /// Waits.
    Gate(GateStep),
    /// Runs branches side by side.
    Parallel {
        /// How many at once; `None` is all.
        max_concurrency: Option<u16>,
        /// What a failed branch means.
        on_failure: OnFailure,
        /// The branches.
        branches: Vec<Lane>,
    },
    /// Chooses.
    Condition {
        /// The expression.
        #[serde(rename = "if")]
        condition: String,
        /// The two lists.
        branches: Vec<Lane>,
    },
}

/// A list of stages inside one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lane {
    /// The branch's name, or `then` and `else`.
    pub name: String,
    /// Its stages, in waves.
    pub waves: Vec<Vec<Step>>,
}

/// An agent, and what it would be granted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentStep {
    /// Its template, as `name@version`; empty when none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// What carries it out.
    pub runtime: Runtime,
    /// The tier it works at.
    pub tier: Tier,
    /// Its objective; expressions that depend only on inputs are filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<String>,
    /// Its command, as its objective.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Its own environment variables, as its objective.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Files its template puts into the workspace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// What it may read.
    pub read: Vec<String>,
    /// What it may write besides its own workspace.
    pub write: Vec<String>,
    /// What else it may ask for, as its objective.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// What it may ask for.
    pub tools: Vec<String>,
    /// What it may reach.
    pub egress: Vec<String>,
    /// Secrets it may read.
    pub secrets: Vec<String>,
    /// Locks that each attempt holds, as its objective.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<String>,
    /// Its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Attempts in all.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub backoff: Span,
    /// What happens to an attempt whose end nobody saw.
    pub on_interrupt: OnInterrupt,
    /// How long all attempts may take.
    pub timeout: Span,
    /// How long one attempt may take; `None` is as long as all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_timeout: Option<Span>,
    /// How long an attempt may take to be ready.
    pub start_timeout: Span,
    /// How long it may go without progress; `None` is as long as it likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Span>,
    /// What it may spend.
    pub budget: Budget,
    /// Files it must leave.
    pub artifacts: Vec<String>,
    /// Commands that check its result, as its objective.
    pub verify: Vec<Vec<String>>,
    /// Whether the run goes on as if it had completed when it fails.
    pub continue_on_error: bool,
    /// Whether missing confinement refuses.
    pub sandbox: SandboxMode,
}

/// A gate, and whom it would wait for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateStep {
    /// What it waits for.
    pub gate_type: GateType,
    /// Who may approve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<Name>,
    /// How many approvals.
    pub quorum: u16,
    /// How long it waits.
    pub timeout: Span,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// The council it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<Name>,
}

/// Something about a plan that stands in the way, or deserves a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its stable code, when it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The stage it is about.
    pub stage: Name,
    /// True when the plan is refused for it.
    pub refused: bool,
    /// What it is.
    pub message: String,
}

impl Plan {
    /// Plans a run with inputs that fit ([`Pipeline::bind`]) and the variables it reads ([`Pipeline::env_names`]), under a
    /// grant of at most `grant`.
    pub fn of(
        pipeline: &Pipeline,
        inputs: &BTreeMap<String, Value>,
        env: &BTreeMap<String, String>,
        grant: Tier,
    ) -> Plan {
        let definition = pipeline.digest();
        let scope = Scope { inputs: inputs.clone(), ..Scope::default() };
        let planner = Planner { pipeline, scope, fuel: RefCell::default() };
        let top: Vec<StageIx> = pipeline.top().collect();
        let tiers = pipeline.stages.iter().filter_map(|stage| match &stage.work {
            Work::Agent(agent) => Some(agent.tier),
            _ => None,
        });
        Plan {
            plan_id: plan_id(&definition, inputs, env),
            pipeline: pipeline.name.clone(),
            version: pipeline.version.clone(),
            definition,
            profile: pipeline.profile,
            inputs: inputs.clone(),
            env: env.clone(),
            tier: tiers.max().unwrap_or_default(),
            timeout: pipeline.timeout,
            budget: pipeline.budget,
            worst_case: planner.longest(&top).min(pipeline.timeout),
            waves: planner.waves(&top),
            findings: planner.findings(grant),
        }
    }

    /// True when it cannot be run under its grant (R043).
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.refused)
    }
}

struct Planner<'p> {
    pipeline: &'p Pipeline,
    /// What is known before a run.
    scope: Scope,
    /// What all texts of a plan together may take to be filled in.
    fuel: RefCell<Fuel>,
}

impl Planner<'_> {
    /// How many stages of the same list stand before each one, along the longest chain.
    fn depths(&self, list: &[StageIx]) -> BTreeMap<StageIx, usize> {
        let mut depths = BTreeMap::new();
        // A requirement may stand further down in the file: as many rounds as there are stages are enough.
        for _ in 0..list.len() {
            let mut changed = false;
            for ix in list {
                let requires = &self.pipeline.stage(*ix).requires;
                let depth = requires
                    .iter()
                    .map(|required| depths.get(required).copied().unwrap_or(0) + 1)
                    .max()
                    .unwrap_or(0);
                changed |= depths.insert(*ix, depth) != Some(depth);
            }
            if !changed {
                break;
            }
        }
        depths
    }

    fn waves(&self, list: &[StageIx]) -> Vec<Vec<Step>> {
        let depths = self.depths(list);
        let last = depths.values().max().map_or(0, |depth| depth + 1);
        let wave = |at: usize| list.iter().filter(|ix| depths[ix] == at).map(|ix| self.step(*ix)).collect();
        (0..last).map(wave).collect()
    }

    fn step(&self, ix: StageIx) -> Step {
        let stage = self.pipeline.stage(ix);
        let name = |ix: &StageIx| self.pipeline.stage(*ix).name.clone();
        let does = match &stage.work {
            Work::Agent(agent) => Does::Agent(Box::new(self.agent(agent))),
            Work::Gate(gate) => Does::Gate(self.gate(gate)),
            Work::Parallel(parallel) => Does::Parallel {
                max_concurrency: parallel.max_concurrency,
                on_failure: parallel.on_failure,
                branches: parallel
                    .branches
                    .iter()
                    .map(|branch| self.lane(branch.name.as_str(), &branch.stages))
                    .collect(),
            },
            Work::Condition(condition) => Does::Condition {
                condition: condition.condition.source().to_owned(),
                branches: vec![self.lane("then", &condition.then), self.lane("else", &condition.otherwise)],
            },
        };
        Step {
            name: stage.name.clone(),
            kind: stage.work.kind(),
            requires: stage.requires.iter().map(name).collect(),
            does,
        }
    }

    fn lane(&self, name: &str, list: &[StageIx]) -> Lane {
        Lane { name: name.to_owned(), waves: self.waves(list) }
    }

    fn agent(&self, agent: &AgentWork) -> AgentStep {
        let shown = |texts: &[Text]| texts.iter().map(|text| self.filled(text)).collect::<Vec<_>>();
        AgentStep {
            template: agent.template.clone(),
            runtime: agent.runtime,
            tier: agent.tier,
            objective: agent.objective.as_ref().map(|objective| self.filled(objective)),
            command: shown(&agent.command),
            env: agent.env.iter().map(|(name, text)| (name.clone(), self.filled(text))).collect(),
            files: agent.files.keys().cloned().collect(),
            read: shown(&agent.read),
            write: shown(&agent.write),
            actions: shown(&agent.actions),
            tools: agent.tools.clone(),
            egress: agent.egress.clone(),
            secrets: agent.secrets.clone(),
            locks: shown(&agent.locks),
            model: agent.model.clone(),
            attempts: agent.retries.max + 1,
            backoff: agent.retries.backoff,
            on_interrupt: agent.on_interrupt(),
            timeout: agent.timeout,
            attempt_timeout: agent.attempt_timeout,
            start_timeout: agent.start_timeout,
            idle_timeout: agent.idle_timeout,
            budget: agent.budget,
            artifacts: shown(&agent.artifacts),
            verify: agent.verify.iter().map(|command| shown(command)).collect(),
            continue_on_error: agent.continue_on_error,
            sandbox: agent.sandbox,
        }
    }

    fn gate(&self, gate: &GateWork) -> GateStep {
        GateStep {
            gate_type: gate.gate_type,
            approvers: gate.approvers.clone(),
            quorum: gate.quorum,
            timeout: gate.timeout,
            on_timeout: gate.on_timeout,
            of: gate.of.map(|ix| self.pipeline.stage(ix).name.clone()),
        }
    }

    /// A text with what is known before a run filled in; as written when it depends on more.
    fn filled(&self, text: &Text) -> String {
        let rendered = text.render_with(&self.scope, &mut self.fuel.borrow_mut());
        rendered.unwrap_or_else(|_| text.source().to_owned())
    }

    /// The longest a list can take.
    fn longest(&self, list: &[StageIx]) -> Span {
        let depths = self.depths(list);
        let mut order: Vec<StageIx> = list.to_vec();
        order.sort_by_key(|ix| depths[ix]);
        let mut ends: BTreeMap<StageIx, u64> = BTreeMap::new();
        for ix in order {
            let stage = self.pipeline.stage(ix);
            let start =
                stage.requires.iter().filter_map(|required| ends.get(required)).max().copied().unwrap_or(0);
            ends.insert(ix, start.saturating_add(self.own(&stage.work).millis()));
        }
        Span::from_millis(ends.values().max().copied().unwrap_or(0)).min(Span::MAX)
    }

    fn own(&self, work: &Work) -> Span {
        match work {
            Work::Agent(agent) => attempts(agent),
            Work::Gate(gate) => gate.timeout,
            Work::Parallel(parallel) => {
                let each = parallel.branches.iter().map(|branch| self.longest(&branch.stages));
                match parallel.max_concurrency {
                    // With fewer places than branches the sum is an upper bound that holds for every order.
                    Some(places) if usize::from(places) < parallel.branches.len() => {
                        Span::from_millis(each.map(Span::millis).fold(0, u64::saturating_add)).min(Span::MAX)
                    }
                    _ => each.max().unwrap_or_default(),
                }
            }
            Work::Condition(condition) => {
                self.longest(&condition.then).max(self.longest(&condition.otherwise))
            }
        }
    }

    fn findings(&self, grant: Tier) -> Vec<Finding> {
        let mut findings = Vec::new();
        for stage in &self.pipeline.stages {
            let Work::Agent(agent) = &stage.work else { continue };
            if agent.tier > grant {
                findings.push(Finding {
                    code: Some(codes::ABOVE_GRANT),
                    stage: stage.name.clone(),
                    refused: true,
                    message: format!("it works at {}, the grant is {grant}", agent.tier),
                });
            }
            if agent.sandbox == SandboxMode::BestEffort {
                findings.push(Finding {
                    code: None,
                    stage: stage.name.clone(),
                    refused: false,
                    message: "it may run without full confinement (sandbox: best-effort)".into(),
                });
            }
        }
        findings
    }
}

/// The longest an agent's attempts can take: each as long as it may, with the waits between them, within the stage's own
/// timeout. Nobody knows how long others have the locks it waits for.
fn attempts(agent: &AgentWork) -> Span {
    if !agent.locks.is_empty() {
        return agent.timeout;
    }
    let each =
        agent.attempt_timeout.unwrap_or(agent.timeout).millis().saturating_add(agent.start_timeout.millis());
    let again = (2..=agent.retries.max.saturating_add(1))
        .map(|next| agent.retries.longest_wait(next).millis().saturating_add(each));
    Span::from_millis(again.fold(each, u64::saturating_add)).min(agent.timeout)
}
