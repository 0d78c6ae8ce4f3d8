//! What a watcher knows of a run: its stages and gates as the events tell them. The governor decides; this only listens.

use std::collections::{BTreeMap, VecDeque};

use eparch_daemon::{LiveEvent, is_performed};
use eparch_domain::{GateId, Name, Phase, RunId, RunStatus, StageKind, StageStatus, Tier, Timestamp};
use eparch_governor::{Fact, GateDecision, GateOutcome, GatePurpose, Ruled, SILENT, Sought};
use eparch_ledger::views::{RunDetail, StageView};
use serde_json::Value;

use super::watched::would_say;
use crate::paint;

/// Lines kept of each stage, to show the end of what a failed one said.
const LAST_LINES: usize = 8;

/// A run, as far as it is known here.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) run: RunId,
    pub(crate) name: Name,
    pub(crate) status: RunStatus,
    pub(crate) tier: Tier,
    pub(crate) started_at: Timestamp,
    /// In file order: an event names a stage by its place.
    pub(crate) stages: Vec<Stage>,
    /// Gates that wait, by their stage's place.
    pub(crate) gates: BTreeMap<GateId, Gate>,
    /// Decisions that would have been others, had a watched policy been enforced.
    pub(crate) otherwise: u32,
}

/// A stage, as far as it is known here.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) name: Name,
    pub(crate) kind: StageKind,
    pub(crate) status: StageStatus,
    pub(crate) reason: String,
    /// How deep it is nested.
    pub(crate) depth: usize,
    /// The branch it stands in, where that is not its own name.
    branch: Option<String>,
    pub(crate) attempts: u32,
    agent: Option<String>,
    pub(crate) phase: Option<Phase>,
    pub(crate) tier: Option<Tier>,
    pub(crate) began: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) last_lines: VecDeque<String>,
}

/// How much of the arguments of an action a line about it has room for, in characters.
const ARGUMENTS_IN_A_LINE: usize = 160;

/// A gate that waits.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) stage: usize,
    pub(crate) purpose: GatePurpose,
    pub(crate) approvers: Vec<Name>,
    pub(crate) quorum: u16,
    pub(crate) approvals: u16,
    /// What an agent seeks to do, when it is asked about that.
    pub(crate) sought: Option<String>,
}

/// What an agent seeks to do, in a line that does nothing to a terminal.
pub(crate) fn in_words(sought: &Sought) -> String {
    paint::written_out(&format!("{} {}", sought.action, sought.target)).into_owned()
}

/// The same with what it would be done with, cut where a line ends: whoever answers looks at the whole.
pub(crate) fn in_full_words(sought: &Sought) -> String {
    let with = match (sought.command(), &sought.given) {
        (Some(words), _) => format!(" -- {}", super::gate::in_shell(&words)),
        (None, Some(given)) => format!(" with {given}"),
        (None, None) if sought.is_unseen() => " with arguments that are not shown".to_owned(),
        (None, None) => String::new(),
    };
    let with = paint::written_out(&with).into_owned();
    let cut = with.char_indices().nth(ARGUMENTS_IN_A_LINE).map(|(at, _)| format!("{}…", &with[..at]));
    format!("{}{}", in_words(sought), cut.unwrap_or(with))
}

/// What was decided and what watched policies said beside it, in a line that does nothing to a terminal.
fn beside(ruled: &Ruled) -> String {
    let verdict = &ruled.verdict;
    let would = verdict
        .shadowed
        .iter()
        .map(|shadow| would_say(&shadow.policy, shadow.decision.as_str(), &shadow.reason));
    let would: Vec<String> = would.collect();
    let decided = format!("{} {}: {} ({})", ruled.action, ruled.target, verdict.decision, verdict.reason);
    format!("{}; watched: {}", paint::harmless(&decided), would.join(", "))
}

/// What an event changed.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// Nothing of this run.
    None,
    /// Something that is only counted.
    Known,
    Run {
        status: RunStatus,
        reason: String,
    },
    Ending {
        status: RunStatus,
        reason: String,
    },
    Stage {
        at: usize,
    },
    LockWaiting {
        at: usize,
    },
    Attempt {
        at: usize,
    },
    Phase {
        at: usize,
        phase: Phase,
    },
    Retry {
        at: usize,
    },
    Log {
        at: usize,
        /// It is of what was performed for the agent, and not of its own program.
        performed: bool,
        line: String,
    },
    GateOpened {
        gate: GateId,
    },
    Vote {
        at: usize,
        by: Name,
        decision: GateDecision,
        rationale: String,
    },
    GateClosed {
        gate: GateId,
        at: usize,
        outcome: GateOutcome,
    },
    /// A watched policy spoke beside a decision.
    Watched {
        at: usize,
        said: String,
    },
    Violation {
        at: usize,
        kind: String,
        detail: String,
    },
    /// An agent that gave heartbeats has missed three.
    Silent {
        at: usize,
    },
}

impl Model {
    /// The run as it was asked for; with `fresh`, before anything happened in it.
    pub(crate) fn of(detail: &RunDetail, fresh: bool) -> Model {
        let summary = &detail.summary;
        let mut stages: Vec<Stage> = Vec::with_capacity(detail.stages.len());
        for view in &detail.stages {
            // A stage stands after the one around it.
            let parent =
                view.parent.as_ref().and_then(|name| stages.iter().find(|stage| stage.name == *name));
            let depth = parent.map_or(0, |parent| parent.depth + 1);
            stages.push(Stage::of(view, depth, fresh));
        }
        let status = if fresh { RunStatus::Spawned } else { summary.status };
        let mut gates = BTreeMap::new();
        for view in detail.approvals.iter().filter(|gate| !fresh && gate.outcome.is_none()) {
            if let Some(stage) = stages.iter().position(|stage| stage.name == view.stage) {
                let yes = view.votes.iter().filter(|vote| vote.decision == GateDecision::Approve).count();
                let gate = Gate {
                    stage,
                    purpose: view.purpose,
                    approvers: view.approvers.clone(),
                    quorum: view.quorum,
                    approvals: u16::try_from(yes).unwrap_or(u16::MAX),
                    sought: view.sought.as_ref().map(in_full_words),
                };
                gates.insert(view.gate, gate);
            }
        }
        Model {
            run: summary.pipeline_id,
            name: summary.name.clone(),
            status,
            tier: summary.tier,
            started_at: summary.started_at,
            stages,
            gates,
            otherwise: if fresh { 0 } else { summary.decided_otherwise },
        }
    }

    /// Whether nothing more will happen.
    pub(crate) fn has_ended(&self) -> bool {
        self.status.is_terminal()
    }

    /// How many stages have ended.
    pub(crate) fn stages_ended(&self) -> usize {
        self.stages.iter().filter(|stage| stage.status.is_terminal()).count()
    }

    /// Takes in an event.
    pub(crate) fn hear(&mut self, event: &LiveEvent) -> News {
        if event.kind == "log" {
            return self.hear_line(event);
        }
        let mut data = event.data.clone();
        if let Some(fields) = data.as_object_mut() {
            fields.insert("type".to_owned(), Value::from(event.kind.as_str()));
        }
        // A fact of a newer holder is passed over: what matters will show in the run's end.
        let Ok(fact) = serde_json::from_value::<Fact>(data) else { return News::None };
        self.hear_fact(fact, event.ts)
    }

    fn hear_line(&mut self, event: &LiveEvent) -> News {
        let text = |key: &str| event.data.get(key).and_then(Value::as_str).unwrap_or_default();
        let Some(at) = self.stages.iter().position(|stage| stage.name.as_str() == text("stage")) else {
            return News::None;
        };
        let line = crate::paint::harmless(text("line")).into_owned();
        let last = &mut self.stages[at].last_lines;
        last.push_back(line.clone());
        if last.len() > LAST_LINES {
            last.pop_front();
        }
        News::Log { at, performed: is_performed(text("stream")), line }
    }

    fn hear_fact(&mut self, fact: Fact, ts: Timestamp) -> News {
        let mine = self.run;
        match fact {
            Fact::RunChanged { run, status, reason } if run == mine => {
                self.status = status;
                News::Run { status, reason }
            }
            Fact::RunEnding { run, status, reason, .. } if run == mine => News::Ending { status, reason },
            Fact::StageChanged { run, stage, status, reason } if run == mine => {
                let at = stage.at();
                let Some(stage) = self.stages.get_mut(at) else { return News::None };
                stage.change(status, reason, ts);
                News::Stage { at }
            }
            Fact::LockWaiting { run, stage, wait, .. } if run == mine => {
                let at = stage.at();
                let Some(stage) = self.stages.get_mut(at) else { return News::None };
                stage.change(StageStatus::Ready, wait.to_string(), ts);
                News::LockWaiting { at }
            }
            Fact::LockWaitOver { run, stage } if run == mine => {
                if let Some(stage) = self.stages.get_mut(stage.at()) {
                    stage.change(StageStatus::Ready, String::new(), ts);
                }
                News::Known
            }
            Fact::StageKept { run, stage, .. } if run == mine => match self.stages.get_mut(stage.at()) {
                Some(found) => {
                    "kept from the earlier run".clone_into(&mut found.reason);
                    News::Known
                }
                None => News::None,
            },
            Fact::AttemptBegan { run, stage, agent, attempt, .. } if run == mine => {
                let at = stage.at();
                let Some(stage) = self.stages.get_mut(at) else { return News::None };
                stage.attempts = attempt;
                stage.agent = Some(agent.to_string());
                stage.phase = None;
                stage.began = stage.began.or(Some(ts));
                News::Attempt { at }
            }
            Fact::RetryScheduled { run, stage, .. } if run == mine => News::Retry { at: stage.at() },
            Fact::PhaseEntered { agent, phase } => match self.by_agent(&agent.to_string()) {
                Some(at) => {
                    self.stages[at].phase = Some(phase);
                    News::Phase { at, phase }
                }
                None => News::None,
            },
            Fact::ActionDecided(ruled) if !ruled.verdict.shadowed.is_empty() => {
                let Some(at) = self.by_agent(&ruled.agent.to_string()) else { return News::None };
                self.otherwise += u32::from(ruled.verdict.otherwise().next().is_some());
                News::Watched { at, said: beside(&ruled) }
            }
            Fact::ViolationFound { agent, violation, detail } => match self.by_agent(&agent.to_string()) {
                Some(at) => News::Violation { at, kind: violation.to_string(), detail },
                None => News::None,
            },
            Fact::HeartbeatsMissed { agent, .. } => match self.by_agent(&agent.to_string()) {
                Some(at) => {
                    SILENT.clone_into(&mut self.stages[at].reason);
                    News::Silent { at }
                }
                None => News::None,
            },
            Fact::HeartbeatSeen { agent } => match self.by_agent(&agent.to_string()) {
                Some(at) => {
                    if self.stages[at].reason == SILENT {
                        self.stages[at].reason.clear();
                    }
                    News::Known
                }
                None => News::None,
            },
            Fact::GateOpened(opened) if opened.run == mine => {
                let gate = Gate {
                    stage: opened.stage.at(),
                    purpose: opened.purpose,
                    approvers: opened.approvers,
                    quorum: opened.quorum,
                    approvals: 0,
                    sought: opened.sought.as_deref().map(in_full_words),
                };
                if gate.stage >= self.stages.len() {
                    return News::None;
                }
                self.gates.insert(opened.gate, gate);
                News::GateOpened { gate: opened.gate }
            }
            Fact::VoteCast { gate, by, decision, rationale, .. } => match self.gates.get_mut(&gate) {
                Some(open) => {
                    open.approvals += u16::from(decision == GateDecision::Approve);
                    News::Vote { at: open.stage, by, decision, rationale }
                }
                None => News::None,
            },
            Fact::GateClosed { gate, outcome } => match self.gates.remove(&gate) {
                Some(open) => News::GateClosed { gate, at: open.stage, outcome },
                None => News::None,
            },
            fact => self.whether_mine(&fact),
        }
    }

    /// Facts that change nothing here are still of this run, or of another.
    fn whether_mine(&self, fact: &Fact) -> News {
        let data = serde_json::to_value(fact).unwrap_or_default();
        let names = |key: &str| data.get(key).and_then(Value::as_str);
        let mine = match (names("run"), names("agent")) {
            (Some(run), _) => run == self.run.to_string(),
            (None, Some(agent)) => self.by_agent(agent).is_some(),
            (None, None) => false,
        };
        if mine { News::Known } else { News::None }
    }

    fn by_agent(&self, agent: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.agent.as_deref() == Some(agent))
    }
}

impl Stage {
    fn of(view: &StageView, depth: usize, fresh: bool) -> Stage {
        let stage = Stage {
            name: view.name.clone(),
            kind: view.kind,
            status: StageStatus::Pending,
            reason: String::new(),
            depth,
            branch: view.branch.clone().filter(|branch| *branch != view.name.as_str()),
            attempts: 0,
            agent: None,
            phase: None,
            tier: view.tier,
            began: None,
            ended: None,
            last_lines: VecDeque::new(),
        };
        if fresh {
            return stage;
        }
        Stage {
            status: view.status,
            reason: view.reason.clone(),
            attempts: view.attempts,
            agent: view.agent.map(|agent| agent.to_string()),
            phase: view.phase,
            began: view.started_at,
            ended: view.ended_at,
            ..stage
        }
    }

    fn change(&mut self, status: StageStatus, reason: String, ts: Timestamp) {
        if status != StageStatus::Pending && status != StageStatus::Skipped {
            self.began = self.began.or(Some(ts));
        }
        self.ended = status.is_terminal().then_some(ts);
        // What it kept from an earlier run says more than nothing.
        if !reason.is_empty() || !status.is_terminal() {
            self.reason = reason;
        }
        self.status = status;
    }

    /// Its name, and its branch's where that says more.
    pub(crate) fn label(&self) -> String {
        match &self.branch {
            Some(branch) => format!("{branch} › {}", self.name),
            None => self.name.to_string(),
        }
    }

    /// How long it has taken, by `now` when it has not ended; `None` when it has not begun.
    pub(crate) fn took(&self, now: Timestamp) -> Option<u64> {
        self.began.map(|began| crate::when::between(began, self.ended.unwrap_or(now)))
    }
}
