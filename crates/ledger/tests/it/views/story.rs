//! A journal written the way the driver writes one: a governor decides, and each decision is an entry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use eparch_domain::{
    Action, AgentId, Artifact, Digest, GateId, Grade, LedgerTime, Moment, Name, Profile, RunId, Span, Tier,
    Timestamp,
};
use eparch_governor::{
    ActionAsked, Answer, Check, Effect, Ended, Event, Fact, GateAnswer, GateDecision, Governor, Key, Measure,
    Operator, OperatorRole, Outcome, RECORD_FORMAT, Record, RunRequest, Signal, Usage,
};
use eparch_ledger::views::Views;
use eparch_ledger::{Append, Ledger, NewDocument, NewEntry};
use eparch_pipeline::{
    AgentWork, Branch, Budget, ConditionWork, Expr, GateType, GateWork, OnFailure, OnTimeout, ParallelWork,
    Parent, Pipeline, Retries, Runtime, SandboxMode, Stage, StageIx, Text, Work,
};
use eparch_policy::{PolicySet, PolicyText};

use crate::home::{Home, name};

pub(crate) struct Story {
    pub(crate) home: Home,
    pub(crate) tenant: Name,
    pub(crate) records: Vec<Record>,
    ledger: Option<Ledger>,
    governor: Governor,
    now: Moment,
    epoch: u64,
}

impl Story {
    /// An empty journal of a tenant with a first operator, somebody who may only answer gates, and somebody who only looks.
    pub(crate) fn new() -> Story {
        let home = Home::new();
        let ledger = Some(home.open());
        let now = Moment { ledger: LedgerTime::ZERO, wall: Timestamp::from_millis(1_800_000_000_000) };
        let mut governor = Governor::new();
        // Policies in force are no part of the story: they are there, so that people may do what their roles are for.
        static SHIPPED: OnceLock<Arc<PolicySet>> = OnceLock::new();
        let policies = SHIPPED.get_or_init(|| Arc::new(PolicySet::defaults())).clone();
        let digest = policies.digest();
        governor.learn_policies(policies);
        let in_force =
            Fact::PoliciesInForce { policies: digest, by: None, approved_by: Vec::new(), alone: false };
        governor.apply(&in_force, now);
        let mut story =
            Story { home, tenant: name("default"), records: Vec::new(), ledger, governor, now, epoch: 0 };
        story.boot();
        story.tell(Event::OperatorAdded { by: None, operator: operator("ann", OperatorRole::Admin) });
        for (who, role) in [("lead", OperatorRole::Approver), ("eve", OperatorRole::Viewer)] {
            story.tell(Event::OperatorAdded { by: Some(name("ann")), operator: operator(who, role) });
        }
        story
    }

    pub(crate) fn views_path(&self) -> PathBuf {
        self.home.dir.path().join("views.db")
    }

    pub(crate) fn views(&self) -> Views {
        Views::open(&self.views_path()).unwrap()
    }

    /// Opens the views and brings them up to date.
    pub(crate) fn followed(&self) -> Views {
        let mut views = self.views();
        self.follow(&mut views);
        views
    }

    pub(crate) fn follow(&self, views: &mut Views) {
        let reached = views.follow(&self.ledger().read(), &self.tenant).unwrap();
        assert_eq!(reached, self.head());
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    pub(crate) fn head(&self) -> u64 {
        self.ledger().head(&self.tenant).unwrap()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now.wall
    }

    pub(crate) fn wait(&mut self, span: Span) {
        self.now.ledger = self.now.ledger.after(span);
        self.now.wall =
            Timestamp::from_millis(self.now.wall.millis() + i64::try_from(span.millis()).unwrap());
    }

    /// The wall clock is set back, and nothing else.
    pub(crate) fn set_back(&mut self, span: Span) {
        let wall = self.now.wall.millis() - i64::try_from(span.millis()).unwrap();
        self.now.wall = Timestamp::from_millis(wall);
    }

    /// A holder takes the home, the first one or after one that died.
    pub(crate) fn boot(&mut self) -> Record {
        self.epoch += 1;
        self.tell(Event::Booted {
            epoch: self.epoch,
            version: "0.1.0-test".into(),
            agents_at_once: 8,
            clock_moved: None,
        })
    }

    /// Has the governor decide on an event, and writes what came of it.
    pub(crate) fn tell(&mut self, event: Event) -> Record {
        self.wait(Span::from_millis(10));
        let decision = self.governor.handle(&event, self.now);
        let (epoch, at) = (self.epoch, self.now);
        let record =
            Record { v: RECORD_FORMAT, engine: "test".into(), epoch, at, policy: None, event, decision };
        let documents = record.definitions().map(|digest| {
            let bytes = pipeline().to_bytes();
            assert_eq!(Digest::of(&bytes), digest);
            NewDocument { digest, kind: "pipeline".into(), bytes }
        });
        self.append(NewEntry {
            body: record.to_bytes(),
            documents: documents.collect(),
            ..NewEntry::default()
        });
        self.records.push(record.clone());
        record
    }

    /// Writes an entry that no governor decided on.
    pub(crate) fn append(&self, entry: NewEntry) {
        let append = Append { tenant: self.tenant.clone(), after: self.head(), entries: vec![entry] };
        self.ledger().append(append).unwrap();
    }

    pub(crate) fn ask_for_run(&mut self, run: u128, by: &str, environment: &str) -> (RunId, Record) {
        let definition = self.governor.learn(Arc::new(pipeline()));
        let run = RunId::from_bits(run);
        let record = self.tell(Event::RunRequested(Box::new(RunRequest {
            run,
            pipeline: definition,
            inputs: [("environment".to_owned(), environment.into())].into(),
            env: BTreeMap::new(),
            requester: name(by),
            grant: Some(Tier::T1),
            root: "/project".into(),
            idempotency_key: None,
            lineage: None,
        })));
        (run, record)
    }

    /// Agents that a decision asks to be made ready, by stage.
    pub(crate) fn prepared(record: &Record) -> BTreeMap<String, AgentId> {
        let specs = record.decision.effects.iter().filter_map(|effect| match effect {
            Effect::Prepare(spec) => Some((spec.name.to_string(), spec.agent)),
            _ => None,
        });
        specs.collect()
    }

    pub(crate) fn advance(&mut self, agent: AgentId, outcomes: Vec<Outcome>) -> Record {
        self.tell(Event::AgentAdvanced { agent, outcomes })
    }

    /// Takes an agent up to the moment its program is let go.
    pub(crate) fn release(&mut self, agent: AgentId) -> Record {
        let confinement = vec![Measure { name: "landlock".into(), in_force: true, detail: "ABI 4".into() }];
        let checks = ["sandbox", "inventory", "dependencies"];
        let checks = checks.map(|name| Check { name: name.to_owned(), ..check(true) }).into();
        let plan = Outcome::Plan {
            plan: Digest::of(b"plan"),
            actions: vec!["execute_command".into()],
            problem: None,
        };
        self.advance(
            agent,
            vec![
                Outcome::Bootstrap { token: Digest::of(b"token"), packet: Digest::of(b"packet"), tree: None },
                Outcome::Preflight { checks, confinement },
                plan,
            ],
        )
    }

    /// Takes an agent whose program was let go to its end.
    pub(crate) fn finish(&mut self, agent: AgentId, exit: i32) -> Record {
        self.wait(Span::from_secs(3));
        let risk = [("risk".to_owned(), "low".into())].into();
        let artifact = Artifact {
            path: "out/plan.json".into(),
            digest: Digest::of(b"{}"),
            size: 2,
            grade: Grade::Refined,
        };
        self.advance(
            agent,
            vec![Outcome::Execute {
                ended: Ended::Code { code: exit },
                outputs: risk,
                artifacts: vec![artifact],
                leftovers: 0,
                usage: Usage {
                    cpu_ms: 40,
                    max_rss_bytes: 1 << 20,
                    lines: 3,
                    lines_dropped: 0,
                    wall_ms: 3_000,
                    out_of_memory: false,
                    breaches: 0,
                },
            }],
        );
        self.advance(
            agent,
            vec![
                Outcome::Verify { checks: vec![check(exit == 0)] },
                Outcome::Package { manifest: Digest::of(b"manifest") },
                Outcome::Report { report: Digest::of(b"report"), package: Digest::of(b"manifest") },
                Outcome::Exit,
            ],
        )
    }

    /// A whole life of an agent that does well.
    pub(crate) fn live(&mut self, agent: AgentId) -> Record {
        self.release(agent);
        self.signal(agent, Signal::Heartbeat);
        self.finish(agent, 0)
    }

    pub(crate) fn signal(&mut self, agent: AgentId, signal: Signal) -> Record {
        self.tell(Event::AgentSignalled { agent, signal })
    }

    /// These policies, and no others, are in force from now on.
    pub(crate) fn policies(&mut self, text: &str) -> Record {
        let set =
            PolicySet::load(&[PolicyText { name: "story.cedar", text }]).expect("they are without fault");
        let (digest, set) = (set.digest(), Arc::new(set));
        self.governor.learn_policies(set);
        self.tell(Event::PoliciesOffered { by: None, policies: digest })
    }

    /// An agent asks whether it may.
    pub(crate) fn ask(&mut self, agent: AgentId, action: Action, target: &str, key: &str) -> Record {
        self.tell(Event::ActionAsked(Box::new(ActionAsked {
            agent,
            tenant: self.tenant.clone(),
            project: name("default"),
            action,
            target: target.to_owned(),
            params: Digest::of(b""),
            given: None,
            key: key.to_owned(),
        })))
    }

    pub(crate) fn answer(&mut self, gate: GateId, by: &str, decision: GateDecision) -> Record {
        let subject = self.governor.gate(gate).map_or(Digest::of(b"nothing"), |gate| gate.subject);
        self.tell(Event::GateAnswered(GateAnswer {
            gate,
            by: name(by),
            signed: None,
            decision,
            subject,
            rationale: "looked at it".into(),
        }))
    }

    /// A run from its request to its good end, through the gate and both branches.
    pub(crate) fn whole_run(&mut self, number: u128) -> RunId {
        let (run, record) = self.ask_for_run(number, "ann", "staging");
        let record = self.live(Story::prepared(&record)["plan"]);
        let gate = opened(&record);
        let record = self.answer(gate, "lead", GateDecision::Approve);
        assert_eq!(record.decision.answer, Answer::Taken);
        let agents = Story::prepared(&record);
        self.live(agents["lint"]);
        let record = self.live(agents["tests"]);
        self.live(Story::prepared(&record)["note"]);
        run
    }
}

/// The gate that a decision opened.
pub(crate) fn opened(record: &Record) -> GateId {
    let gate = record.decision.facts.iter().find_map(|fact| match fact {
        Fact::GateOpened(opened) => Some(opened.gate),
        _ => None,
    });
    gate.unwrap()
}

fn check(ok: bool) -> Check {
    Check { name: "workspace".into(), ok, detail: "as asked".into() }
}

pub(crate) fn operator(who: &str, role: OperatorRole) -> Operator {
    let hash = Digest::of(who.as_bytes());
    Operator { name: name(who), role, groups: Vec::new(), max_tier: Tier::T2, key: Key::Home { hash } }
}

/// plan → review (a gate) → checks (lint and tests, side by side) → route (deploy in production, note elsewhere).
pub(crate) fn pipeline() -> Pipeline {
    let stage = |name: &str, parent: Option<(u16, u16)>, requires: &[u16], work: Work| Stage {
        name: crate::home::name(name),
        parent: parent.map(|(stage, list)| Parent { stage: StageIx(stage), list }),
        requires: requires.iter().copied().map(StageIx).collect(),
        work,
    };
    let gate = GateWork {
        gate_type: GateType::Approval,
        approvers: vec![name("approver")],
        quorum: 1,
        timeout: Span::from_mins(30),
        on_timeout: OnTimeout::Fail,
        of: None,
    };
    let checks = ParallelWork {
        branches: vec![
            Branch { name: name("style"), stages: vec![StageIx(3)] },
            Branch { name: name("behaviour"), stages: vec![StageIx(4)] },
        ],
        max_concurrency: None,
        on_failure: OnFailure::WaitAll,
    };
    let route = ConditionWork {
        condition: Expr::parse("inputs.environment == \"production\"").unwrap(),
        then: vec![StageIx(6)],
        otherwise: vec![StageIx(7)],
    };
    Pipeline {
        name: name("release"),
        version: "1.0".into(),
        description: String::new(),
        timeout: Span::from_hours(24),
        profile: Profile::Startup,
        inputs: BTreeMap::new(),
        budget: Budget::default(),
        stages: vec![
            stage("plan", None, &[], agent_work("plan", Tier::T1, 1)),
            stage("review", None, &[0], Work::Gate(gate)),
            stage("checks", None, &[1], Work::Parallel(checks)),
            stage("lint", Some((2, 0)), &[], agent_work("lint", Tier::T0, 0)),
            stage("tests", Some((2, 1)), &[], agent_work("tests", Tier::T1, 0)),
            stage("route", None, &[2], Work::Condition(route)),
            stage("deploy", Some((5, 0)), &[], agent_work("deploy", Tier::T1, 0)),
            stage("note", Some((5, 1)), &[], agent_work("note", Tier::T0, 0)),
        ],
    }
}

/// Every stage has a standing of its own: its model is another.
fn agent_work(model: &str, tier: Tier, retries: u32) -> Work {
    Work::Agent(Box::new(AgentWork {
        template: "default@1".into(),
        runtime: Runtime::Process,
        tier,
        objective: None,
        command: vec![Text::parse("python3").unwrap(), Text::parse("${{ inputs.environment }}.py").unwrap()],
        env: BTreeMap::new(),
        read: Vec::new(),
        write: Vec::new(),
        actions: Vec::new(),
        locks: Vec::new(),
        tools: Vec::new(),
        model: Some(model.into()),
        retries: Retries { max: retries, backoff: Span::from_secs(5) },
        on_interrupt: None,
        egress: Vec::new(),
        secrets: Vec::new(),
        verify: Vec::new(),
        continue_on_error: false,
        budget: Budget::default(),
        artifacts: Vec::new(),
        timeout: Span::from_hours(2),
        attempt_timeout: None,
        start_timeout: Span::from_secs(60),
        idle_timeout: None,
        sandbox: SandboxMode::Required,
        files: BTreeMap::new(),
    }))
}

/// A report that cannot have come next: its agent has not left EXECUTE.
pub(crate) fn out_of_order() -> Vec<Outcome> {
    vec![Outcome::Exit]
}

/// An agent whose program did well and whose report is of somebody else's evidence.
pub(crate) fn without_evidence() -> Vec<Outcome> {
    vec![
        Outcome::Execute {
            ended: Ended::Code { code: 0 },
            outputs: BTreeMap::new(),
            artifacts: Vec::new(),
            leftovers: 0,
            usage: Usage::default(),
        },
        Outcome::Verify { checks: vec![check(true)] },
        Outcome::Package { manifest: Digest::of(b"manifest") },
        Outcome::Report { report: Digest::of(b"report"), package: Digest::of(b"another") },
    ]
}
