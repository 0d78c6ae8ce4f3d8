//! Honest agents going round for ever: the load of the measurements.

#![allow(dead_code, reason = "each example uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use eparch_domain::{Digest, LedgerTime, Moment, Name, Phase, RunId, Span, Tier, Timestamp};
use eparch_governor::{
    Check, Decision, Effect, Ended, Event, Governor, Key, Operator, OperatorRole, Outcome, RunRequest,
    Signal, Usage,
};
use eparch_pipeline::{
    AgentWork, Budget, Pipeline, Retries, Runtime, SandboxMode, Stage, StageIx, Text, Work,
};
use eparch_policy::PolicySet;

/// A governor and what happens to it next.
pub(crate) struct Mill {
    /// The governor.
    pub(crate) governor: Governor,
    due: VecDeque<Event>,
    pipeline: Digest,
    millis: u64,
    runs: u128,
}

impl Mill {
    /// A governor with so many live runs, each of three agents in a row.
    pub(crate) fn with_runs(runs: usize) -> Mill {
        let pipeline = Arc::new(pipeline());
        let mut governor = Governor::new();
        let digest = governor.learn(pipeline);
        let mut mill = Mill { governor, due: VecDeque::new(), pipeline: digest, millis: 0, runs: 0 };
        let agents_at_once = u32::try_from(runs * 2).expect("a few thousand");
        let boot = Event::Booted { epoch: 1, version: "mill".to_owned(), agents_at_once, clock_moved: None };
        mill.handle(&boot);
        let operator = Operator {
            name: name("alice"),
            role: OperatorRole::Admin,
            groups: Vec::new(),
            max_tier: Tier::T4,
            key: Key::Home { hash: Digest::of(b"key") },
        };
        mill.handle(&Event::OperatorAdded { by: None, operator });
        let policies = Arc::new(PolicySet::defaults());
        let offered = Event::PoliciesOffered { by: None, policies: policies.digest() };
        mill.governor.learn_policies(policies);
        mill.handle(&offered);
        for _ in 0..runs {
            let event = mill.request();
            mill.due.push_back(event);
        }
        mill
    }

    /// The next event and its time.
    pub(crate) fn next(&mut self) -> (Event, Moment) {
        let event = self.due.pop_front().expect("whatever ends is followed by a new run");
        (event, self.now())
    }

    /// Handles an event and what follows from it.
    pub(crate) fn handle(&mut self, event: &Event) -> Decision {
        let now = self.now();
        let decision = self.governor.handle(event, now);
        self.take(&decision);
        decision
    }

    fn now(&mut self) -> Moment {
        self.millis += 1;
        let wall =
            Timestamp::from_millis(1_767_225_600_000 + i64::try_from(self.millis).expect("an hour or so"));
        Moment { ledger: LedgerTime::from_millis(self.millis), wall }
    }

    /// What a decision asks for is done by the events to come.
    pub(crate) fn take(&mut self, decision: &Decision) {
        for effect in &decision.effects {
            match effect {
                Effect::Prepare(spec) => {
                    let agent = spec.agent;
                    let outcomes = vec![
                        Outcome::Bootstrap {
                            token: Digest::of(b"token"),
                            packet: Digest::of(b"packet"),
                            tree: Some("tree".into()),
                        },
                        Outcome::Preflight { checks: checks(), confinement: Vec::new() },
                        Outcome::Plan {
                            plan: Digest::of(b"plan"),
                            actions: vec!["execute_command".to_owned()],
                            problem: None,
                        },
                    ];
                    self.due.push_back(Event::AgentAdvanced { agent, outcomes });
                }
                Effect::Execute { agent, .. } => {
                    let agent = *agent;
                    for _ in 0..4 {
                        self.due.push_back(Event::AgentSignalled { agent, signal: Signal::Progress });
                    }
                    let outputs: BTreeMap<_, _> = [("n".to_owned(), 1.into())].into();
                    let outcomes = vec![Outcome::Execute {
                        ended: Ended::Code { code: 0 },
                        outputs,
                        artifacts: Vec::new(),
                        leftovers: 0,
                        usage: Usage::default(),
                    }];
                    self.due.push_back(Event::AgentAdvanced { agent, outcomes });
                }
                Effect::Conclude { agent, from: Phase::Verify, .. } => {
                    let package = Digest::of(b"manifest");
                    let outcomes = vec![
                        Outcome::Verify { checks: Vec::new() },
                        Outcome::Package { manifest: package },
                        Outcome::Report { report: Digest::of(b"report"), package },
                        Outcome::Exit,
                    ];
                    self.due.push_back(Event::AgentAdvanced { agent: *agent, outcomes });
                }
                Effect::Seal { .. } => {
                    let event = self.request();
                    self.due.push_back(event);
                }
                _ => {}
            }
        }
    }

    fn request(&mut self) -> Event {
        self.runs += 1;
        Event::RunRequested(Box::new(RunRequest {
            run: RunId::from_bits(self.runs),
            pipeline: self.pipeline,
            inputs: BTreeMap::new(),
            env: BTreeMap::new(),
            requester: name("alice"),
            grant: None,
            root: "/project".to_owned(),
            idempotency_key: None,
            lineage: None,
        }))
    }
}

fn checks() -> Vec<Check> {
    let check = |name: &str| Check { name: name.to_owned(), ok: true, detail: String::new() };
    ["sandbox", "inventory", "dependencies"].map(check).into()
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a word is a name")
}

fn pipeline() -> Pipeline {
    let stage = |at: u16| Stage {
        name: name(&format!("s{at}")),
        parent: None,
        requires: (at > 0).then(|| StageIx(at - 1)).into_iter().collect(),
        work: Work::Agent(Box::new(AgentWork {
            template: String::new(),
            runtime: Runtime::Process,
            tier: Tier::T1,
            objective: None,
            command: vec![Text::parse("true").expect("a word is a text")],
            env: BTreeMap::new(),
            read: Vec::new(),
            write: Vec::new(),
            actions: Vec::new(),
            locks: Vec::new(),
            tools: Vec::new(),
            model: None,
            retries: Retries { max: 1, backoff: Span::from_secs(1) },
            on_interrupt: None,
            egress: Vec::new(),
            secrets: Vec::new(),
            verify: Vec::new(),
            continue_on_error: false,
            budget: Budget::default(),
            artifacts: Vec::new(),
            timeout: Span::from_hours(300),
            attempt_timeout: None,
            start_timeout: Span::from_hours(300),
            idle_timeout: Some(Span::from_hours(300)),
            sandbox: SandboxMode::Required,
            files: BTreeMap::new(),
        })),
    };
    Pipeline {
        name: name("mill"),
        version: "1.0".to_owned(),
        description: String::new(),
        timeout: Span::from_hours(1_000),
        profile: eparch_domain::Profile::Startup,
        inputs: BTreeMap::new(),
        budget: Budget::default(),
        stages: (0..3).map(stage).collect(),
    }
}

/// The median, and what 1 in 100 and 1 in 1,000 exceed.
pub(crate) fn percentiles(nanos: &mut [u64]) -> (u64, u64, u64) {
    nanos.sort_unstable();
    let at = |thousandths: usize| nanos[(nanos.len() * thousandths / 1_000).min(nanos.len() - 1)];
    (at(500), at(990), at(999))
}

/// Memory in use now, in KiB; 0 where the kernel does not tell.
pub(crate) fn resident() -> u64 {
    status("VmRSS:")
}

/// The most memory that was in use, in KiB.
pub(crate) fn peak() -> u64 {
    status("VmHWM:")
}

fn status(wanted: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(wanted));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
