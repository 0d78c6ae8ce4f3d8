//! Random pipelines, and what their conditions ask, in a form that the model can answer without the expression language.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use eparch_domain::{Name, Profile, Span, StageStatus, Tier};
use eparch_pipeline::{
    AgentWork, Branch, Budget, ConditionWork, Expr, GateType, GateWork, OnFailure, OnInterrupt, OnTimeout,
    ParallelWork, Parent, Pipeline, Retries, Runtime, SandboxMode, Stage, StageIx, Text, Work,
};

use crate::dice::Dice;

/// What a condition asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Nothing: the answer is fixed.
    Fixed(bool),
    /// Whether the run's input `go` is true.
    Input,
    /// Whether an earlier stage put out an `n` above 2; fails when it put out none.
    Above(Name),
    /// Whether an earlier stage has a status.
    Status(Name, StageStatus),
}

impl Question {
    fn source(&self) -> String {
        match self {
            Question::Fixed(answer) => answer.to_string(),
            Question::Input => "inputs.go".to_owned(),
            // A name may hold a dash, which the language would read as minus.
            Question::Above(stage) => format!("stages.{stage}.outputs.n > 2"),
            Question::Status(stage, status) => format!("stages.{stage}.status == '{status}'"),
        }
    }
}

/// A pipeline with its questions.
#[derive(Debug, Clone)]
pub struct Score {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// What each condition stage asks.
    pub questions: BTreeMap<StageIx, Question>,
}

/// How long things take in these pipelines: a few, so that deadlines meet.
const SPANS: [u64; 6] = [500, 1_000, 5_000, 20_000, 60_000, 600_000];

impl Score {
    /// A random pipeline of at most `most` stages.
    pub(crate) fn random(dice: &mut Dice, name: &str, most: usize) -> Score {
        let mut writer = Writer { dice, stages: Vec::new(), questions: BTreeMap::new(), most };
        writer.list(None, 0, &[]);
        let Writer { stages, questions, .. } = writer;
        let profile = if dice.chance(30) { Profile::Enterprise } else { Profile::Startup };
        let pipeline = Pipeline {
            name: Name::new(name).expect("the simulator gives good names"),
            version: "1.0".to_owned(),
            description: String::new(),
            timeout: Span::from_millis(*dice.pick(&[5_000, 60_000, 600_000, 3_600_000])),
            profile,
            inputs: BTreeMap::new(),
            budget: Budget::default(),
            stages,
        };
        Score { pipeline: Arc::new(pipeline), questions }
    }
}

impl Score {
    /// The pipeline that looks at runs whose agents make too many errors: two agents at T0, so that one may wait for the other.
    pub(crate) fn looks() -> Score {
        static LOOKS: OnceLock<Arc<Pipeline>> = OnceLock::new();
        let pipeline = LOOKS.get_or_init(|| {
            // Dice that are always the same.
            let mut dice = Dice::new(7);
            let mut writer =
                Writer { dice: &mut dice, stages: Vec::new(), questions: BTreeMap::new(), most: 2 };
            for name in ["look", "say"] {
                let requires = (0..u16::from(name == "say")).map(StageIx).collect();
                let work = AgentWork { tier: Tier::T0, ..writer.agent() };
                let name = Name::new(name).expect("a word is a name");
                let work = Work::Agent(Box::new(work));
                writer.stages.push(Stage { name, parent: None, requires, work });
            }
            let stages = writer.stages;
            Arc::new(Pipeline {
                name: Name::new("looks").expect("a word is a name"),
                version: "1.0".to_owned(),
                description: String::new(),
                timeout: Span::from_millis(60_000),
                profile: Profile::Startup,
                inputs: BTreeMap::new(),
                budget: Budget::default(),
                stages,
            })
        });
        Score { pipeline: pipeline.clone(), questions: BTreeMap::new() }
    }
}

struct Writer<'d> {
    dice: &'d mut Dice,
    stages: Vec<Stage>,
    questions: BTreeMap<StageIx, Question>,
    most: usize,
}

impl Writer<'_> {
    /// Writes one list of stages. `seen` are agent stages that have ended before anything in the list starts.
    fn list(&mut self, parent: Option<Parent>, depth: u64, seen: &[Name]) -> Vec<StageIx> {
        let mut written: Vec<StageIx> = Vec::new();
        let wanted = self.dice.between(1, if depth == 0 { 4 } else { 2 });
        for _ in 0..wanted {
            if self.stages.len() >= self.most {
                break;
            }
            let mut requires: Vec<StageIx> = Vec::new();
            for earlier in &written {
                if self.dice.chance(45) {
                    requires.push(*earlier);
                }
            }
            let before = self.agents_in(&requires, seen);
            let ix = self.stage(parent, requires, depth, &before);
            written.push(ix);
        }
        written
    }

    /// Agent stages that are sure to have ended once `requires` have.
    fn agents_in(&self, requires: &[StageIx], seen: &[Name]) -> Vec<Name> {
        let direct = requires.iter().map(|ix| &self.stages[ix.at()]);
        let agents =
            direct.filter(|stage| matches!(stage.work, Work::Agent(_))).map(|stage| stage.name.clone());
        agents.chain(seen.iter().cloned()).collect()
    }

    fn stage(
        &mut self,
        parent: Option<Parent>,
        requires: Vec<StageIx>,
        depth: u64,
        before: &[Name],
    ) -> StageIx {
        let at = self.stages.len();
        let ix = StageIx(u16::try_from(at).expect("a random pipeline is small"));
        let name = Name::new(&format!("s{at}")).expect("a letter and a number are a name");
        let kind = if depth >= 3 || at + 2 >= self.most { self.dice.below(75) } else { self.dice.below(100) };
        let work = match kind {
            0..60 => Work::Agent(Box::new(self.agent())),
            60..75 => Work::Gate(self.gate()),
            // What stands in it is written after it.
            _ => Work::Parallel(ParallelWork {
                branches: Vec::new(),
                max_concurrency: None,
                on_failure: OnFailure::WaitAll,
            }),
        };
        self.stages.push(Stage { name, parent, requires, work });
        match kind {
            75..88 => {
                let work = self.parallel(ix, depth, before);
                self.stages[at].work = Work::Parallel(work);
            }
            88.. => {
                let work = self.condition(ix, depth, before);
                self.stages[at].work = Work::Condition(work);
            }
            _ => {}
        }
        ix
    }

    fn parallel(&mut self, ix: StageIx, depth: u64, before: &[Name]) -> ParallelWork {
        let count = u16::try_from(self.dice.between(1, 3)).expect("a few");
        let mut branches = Vec::new();
        for list in 0..count {
            let stages = self.list(Some(Parent { stage: ix, list }), depth + 1, before);
            let name = Name::new(&format!("b{list}")).expect("a letter and a number are a name");
            if !stages.is_empty() {
                branches.push(Branch { name, stages });
            }
        }
        let max_concurrency =
            self.dice.chance(40).then(|| u16::try_from(self.dice.between(1, 2)).expect("a few"));
        let on_failure = if self.dice.chance(50) { OnFailure::FailFast } else { OnFailure::WaitAll };
        ParallelWork { branches, max_concurrency, on_failure }
    }

    fn condition(&mut self, ix: StageIx, depth: u64, before: &[Name]) -> ConditionWork {
        let question = match self.dice.below(5) {
            0 => Question::Fixed(self.dice.chance(50)),
            1 | 2 if !before.is_empty() => Question::Above(self.dice.pick(before).clone()),
            3 if !before.is_empty() => {
                Question::Status(self.dice.pick(before).clone(), StageStatus::Completed)
            }
            _ => Question::Input,
        };
        let condition =
            Expr::parse(&question.source()).expect("the simulator's questions are in the language");
        self.questions.insert(ix, question);
        let then = self.list(Some(Parent { stage: ix, list: 0 }), depth + 1, before);
        let otherwise = if self.dice.chance(60) {
            self.list(Some(Parent { stage: ix, list: 1 }), depth + 1, before)
        } else {
            Vec::new()
        };
        ConditionWork { condition, then, otherwise }
    }

    fn span(&mut self) -> Span {
        Span::from_millis(*self.dice.pick(&SPANS))
    }

    fn agent(&mut self) -> AgentWork {
        let tier = *self.dice.pick(&[Tier::T0, Tier::T1, Tier::T1, Tier::T2, Tier::T3]);
        let on_interrupt = match self.dice.below(5) {
            0 => Some(OnInterrupt::Retry),
            1 => Some(OnInterrupt::Fail),
            2 => Some(OnInterrupt::Ask),
            _ => None,
        };
        let max = u32::try_from(self.dice.below(4)).expect("a few");
        // Some have time to forget what they were let, and to be forgotten what they asked.
        let is_patient = self.dice.chance(25);
        AgentWork {
            template: String::new(),
            runtime: Runtime::Process,
            tier: if self.dice.chance(95) { tier.min(Tier::T2) } else { tier },
            objective: None,
            command: vec![Text::parse("work").expect("a word is a text")],
            env: BTreeMap::new(),
            read: Vec::new(),
            write: Vec::new(),
            actions: Vec::new(),
            locks: self.locks(),
            tools: Vec::new(),
            model: None,
            retries: Retries { max, backoff: if self.dice.chance(30) { Span::ZERO } else { self.span() } },
            on_interrupt,
            egress: Vec::new(),
            secrets: Vec::new(),
            verify: Vec::new(),
            continue_on_error: self.dice.chance(20),
            budget: Budget::default(),
            artifacts: Vec::new(),
            timeout: if is_patient { Span::from_millis(600_000) } else { self.span() },
            attempt_timeout: (!is_patient && self.dice.chance(50)).then(|| self.span()),
            start_timeout: self.span(),
            idle_timeout: (!is_patient && self.dice.chance(35)).then(|| self.span()),
            sandbox: SandboxMode::Required,
            files: BTreeMap::new(),
        }
    }

    /// Few names, so that stages meet at them.
    fn locks(&mut self) -> Vec<Text> {
        let count = if self.dice.chance(40) { self.dice.between(1, 2) } else { 0 };
        let names = (0..count).map(|_| *self.dice.pick(&["db", "dns", "production"]));
        names.map(|name| Text::parse(name).expect("a word is a text")).collect()
    }

    fn gate(&mut self) -> GateWork {
        let lists: [&[&str]; 4] =
            [&["bob"], &["bob", "carol"], &["alice", "root", "leads"], &["approver", "operator"]];
        let approvers =
            self.dice.pick(&lists).iter().map(|who| Name::new(who).expect("a word is a name")).collect();
        let on_timeout = if self.dice.chance(40) { OnTimeout::Skip } else { OnTimeout::Fail };
        GateWork {
            gate_type: GateType::Approval,
            approvers,
            quorum: u16::try_from(self.dice.between(1, 2)).expect("a few"),
            timeout: self.span(),
            on_timeout,
            of: None,
        }
    }
}
