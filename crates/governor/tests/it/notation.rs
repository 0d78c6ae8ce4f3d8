//! A pipeline in a few lines: the header of a scenario.
//!
//! ```text
//! pipeline main timeout=1h profile=enterprise
//!   agent build tier=T1 retries=2 backoff=10s
//!   gate ok requires=build approvers=bob,leads quorum=2 timeout=30m on_timeout=skip
//!   parallel both on_failure=wait_all at_once=1
//!     branch left
//!       agent l1
//!   condition risky requires=build if stages.build.outputs.n > 1
//!     then
//!       agent deep
//! ```

use std::collections::BTreeMap;

use eparch_domain::{Name, Profile, Span, limits};
use eparch_pipeline::{
    AgentWork, Branch, Budget, ConditionWork, Expr, GateType, GateWork, InputSpec, InputType, OnFailure,
    OnTimeout, ParallelWork, Parent, Pipeline, Retries, Runtime, SandboxMode, Stage, StageIx, Text, Work,
};

use crate::words::{Args, words};

/// Reads a pipeline: its own line, then one line for each stage, branch and list.
pub(crate) fn pipeline(lines: &[&str]) -> Pipeline {
    let head = words(lines[0]);
    let args = Args::of(&head[1..]);
    let mut reader = Reader { stages: Vec::new() };
    let body: Vec<(usize, &str)> =
        lines[1..].iter().map(|line| (line.len() - line.trim_start().len(), line.trim())).collect();
    reader.list(&body, None);
    Pipeline {
        name: name(args.plain.first().map_or("main", String::as_str)),
        version: "1.0".to_owned(),
        description: String::new(),
        timeout: args.read("timeout").unwrap_or(limits::PIPELINE_TIMEOUT),
        profile: args.word("profile").unwrap_or(Profile::Startup),
        inputs: args.list("inputs").iter().map(|name| (name.clone(), input(name))).collect(),
        budget: Budget::default(),
        stages: reader.stages,
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A required input: a number when it is called so, text otherwise.
fn input(name: &str) -> InputSpec {
    let kind = if name == "attempt" { InputType::Integer } else { InputType::String };
    InputSpec { kind, choices: Vec::new(), default: None, description: String::new() }
}

fn text(source: &str) -> Text {
    Text::parse(source).unwrap_or_else(|error| panic!("{source}: {error:?}"))
}

fn stage_ix(at: usize) -> StageIx {
    StageIx(u16::try_from(at).expect("a scenario's pipeline is small"))
}

struct Reader {
    stages: Vec<Stage>,
}

impl Reader {
    /// Reads the stages of one list; returns their places.
    fn list(&mut self, body: &[(usize, &str)], parent: Option<Parent>) -> Vec<StageIx> {
        let mut found = Vec::new();
        for block in blocks(body) {
            found.push(self.stage(block, parent));
        }
        found
    }

    fn stage(&mut self, block: &[(usize, &str)], parent: Option<Parent>) -> StageIx {
        let (line, condition) = match block[0].1.split_once(" if ") {
            Some((line, condition)) => (line, Some(condition)),
            None => (block[0].1, None),
        };
        let line = words(line);
        let args = Args::of(&line[1..]);
        let ix = stage_ix(self.stages.len());
        let requires = args.list("requires").iter().map(|earlier| self.find(earlier)).collect();
        // The stage stands before what is in it, so its place is taken first.
        let place = Work::Parallel(ParallelWork {
            branches: Vec::new(),
            max_concurrency: None,
            on_failure: OnFailure::WaitAll,
        });
        self.stages.push(Stage { name: name(args.first()), parent, requires, work: place });
        let work = match line[0].as_str() {
            "agent" => Work::Agent(Box::new(agent(&args))),
            "gate" => Work::Gate(gate(&args)),
            "parallel" => Work::Parallel(self.parallel(&args, &block[1..], ix)),
            "condition" => {
                Work::Condition(self.condition(condition.expect("a condition says `if`"), &block[1..], ix))
            }
            other => panic!("no kind of stage: {other}"),
        };
        self.stages[ix.at()].work = work;
        ix
    }

    fn find(&self, wanted: &str) -> StageIx {
        let at = self.stages.iter().position(|stage| stage.name.as_str() == wanted);
        stage_ix(at.unwrap_or_else(|| panic!("no stage {wanted} above")))
    }

    fn parallel(&mut self, args: &Args, body: &[(usize, &str)], ix: StageIx) -> ParallelWork {
        let mut branches = Vec::new();
        for (list, block) in blocks(body).into_iter().enumerate() {
            let words = words(block[0].1);
            let stages = self.list(&block[1..], Some(Parent { stage: ix, list: stage_ix(list).0 }));
            branches.push(Branch { name: name(&words[1]), stages });
        }
        let on_failure = args.word("on_failure").unwrap_or(OnFailure::FailFast);
        ParallelWork { branches, max_concurrency: args.read("at_once"), on_failure }
    }

    fn condition(&mut self, condition: &str, body: &[(usize, &str)], ix: StageIx) -> ConditionWork {
        let (mut then, mut otherwise) = (Vec::new(), Vec::new());
        for block in blocks(body) {
            match block[0].1 {
                "then" => then = self.list(&block[1..], Some(Parent { stage: ix, list: 0 })),
                "else" => otherwise = self.list(&block[1..], Some(Parent { stage: ix, list: 1 })),
                other => panic!("a condition has `then` and `else`, not {other}"),
            }
        }
        ConditionWork {
            condition: Expr::parse(condition).expect("a scenario's condition is in the language"),
            then,
            otherwise,
        }
    }
}

/// Lines in groups: each begins at the first line's depth and takes the deeper lines after it.
fn blocks<'b, 'l>(body: &'b [(usize, &'l str)]) -> Vec<&'b [(usize, &'l str)]> {
    let Some((depth, _)) = body.first() else { return Vec::new() };
    let starts: Vec<usize> = (0..body.len()).filter(|at| body[*at].0 <= *depth).collect();
    let ends = starts.iter().skip(1).copied().chain([body.len()]);
    starts.iter().zip(ends).map(|(from, to)| &body[*from..to]).collect()
}

fn agent(args: &Args) -> AgentWork {
    AgentWork {
        template: String::new(),
        runtime: args.word("runtime").unwrap_or(Runtime::Process),
        tier: args.read("tier").unwrap_or_default(),
        objective: args.get("objective").map(text),
        command: vec![text(args.get("command").unwrap_or("true"))],
        env: args.under("env").iter().map(|(key, value)| (key.clone(), text(value))).collect(),
        read: Vec::new(),
        write: Vec::new(),
        actions: Vec::new(),
        locks: args.list("locks").iter().map(|lock| text(lock)).collect(),
        tools: Vec::new(),
        model: None,
        retries: Retries {
            max: args.read("retries").unwrap_or(0),
            backoff: args.read("backoff").unwrap_or(Span::from_secs(10)),
        },
        on_interrupt: args.word("on_interrupt"),
        egress: Vec::new(),
        secrets: Vec::new(),
        verify: Vec::new(),
        continue_on_error: args.read("continue_on_error").unwrap_or(false),
        budget: Budget::default(),
        artifacts: Vec::new(),
        timeout: args.read("timeout").unwrap_or(limits::STAGE_TIMEOUT),
        attempt_timeout: args.read("attempt_timeout"),
        start_timeout: args.read("start_timeout").unwrap_or(limits::START_TIMEOUT),
        idle_timeout: args.read("idle_timeout"),
        sandbox: SandboxMode::Required,
        files: BTreeMap::new(),
    }
}

fn gate(args: &Args) -> GateWork {
    GateWork {
        gate_type: args.word("type").unwrap_or(GateType::Approval),
        approvers: args.list("approvers").iter().map(|who| name(who)).collect(),
        quorum: args.read("quorum").unwrap_or(1),
        timeout: args.read("timeout").unwrap_or(limits::GATE_TIMEOUT),
        on_timeout: args.word("on_timeout").unwrap_or(OnTimeout::Fail),
        of: None,
    }
}
