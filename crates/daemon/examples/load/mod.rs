//! Runs of ten stages whose agents do nothing, through the real governor, driver and ledger on a real disk: the load of
//! the measurements. What is left out is what agents are made of: processes and sandboxes.

#![allow(dead_code, reason = "each example uses its part")]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use eparch_daemon::SystemClock;
use eparch_daemon::driver::{Core, Done, Input};
use eparch_daemon::journal::{Journal as _, JournalError, LedgerJournal};
use eparch_domain::{Clock, Digest, Name, RunId, Tier};
use eparch_governor::{
    Answer, Check, Effect, Ended, Event, Key, Operator, OperatorRole, Outcome, RunRequest, Usage,
};
use eparch_ledger::{Appended, EffectRef, Ledger, Settings};
use eparch_pipeline::{Catalogue, Known, Pipeline, check};
use eparch_policy::PolicySet;

/// Stages of one run, one after the other.
pub(crate) const STAGES: usize = 10;

/// The journal's word.
type Written = Receiver<Result<Appended, JournalError>>;

/// A home that runs go through.
pub(crate) struct Load {
    core: Core<LedgerJournal>,
    clock: Arc<dyn Clock>,
    epoch: u64,
    requester: Name,
    pipeline: Arc<Pipeline>,
    digest: Digest,
    waiting: VecDeque<Input>,
    /// What is being written.
    flight: Option<(Vec<Done>, Written)>,
    started: usize,
    commits: u64,
}

impl Load {
    /// Opens the ledger of a home; `requester` asks for the runs, and becomes the first operator where nobody is known
    /// yet.
    pub(crate) fn open(home: &Path, requester: &str) -> Load {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::after(&[]));
        let ledger = Ledger::open(&Settings::in_home(home), clock.now().wall, "bench");
        let ledger = Arc::new(ledger.expect("a folder that nobody holds"));
        let epoch = ledger.epoch();
        let journal = LedgerJournal::new(ledger, clock);
        let tenant = Name::new("default").expect("a word");
        let core = Core::recover(journal, tenant, epoch).expect("a sound journal");
        let pipeline = pipeline();
        let mut load = Load {
            clock: Arc::new(SystemClock::after(&[core.last()])),
            core,
            epoch,
            requester: Name::new(requester).expect("a word"),
            digest: pipeline.digest(),
            pipeline,
            waiting: VecDeque::new(),
            flight: None,
            started: 0,
            commits: 0,
        };
        load.begin();
        load
    }

    fn begin(&mut self) {
        let mut begin = vec![self.core.boot(1_024).expect("a sound journal")];
        if self.core.governor().operators().next().is_none() {
            let owner = Operator {
                name: self.requester.clone(),
                role: OperatorRole::Admin,
                groups: Vec::new(),
                max_tier: Tier::T1,
                key: Key::Home { hash: Digest::of(b"bench") },
            };
            begin.push(Event::OperatorAdded { by: None, operator: owner }.into());
        }
        // Nobody may ask for a run where there are none.
        let policies = Arc::new(PolicySet::defaults());
        let offered = Event::PoliciesOffered { by: None, policies: policies.digest() };
        begin.push(Input { policies: Some(policies), ..offered.into() });
        self.core.turn(&begin, self.clock.now()).expect("a healthy disk");
    }

    /// One commit: decides on everything waiting, and on new runs until `at_once` are alive where `more` are wanted; writes it as soon as
    /// what was decided before is written, as the driver does. False when there is nothing left to decide on.
    pub(crate) fn turn(&mut self, at_once: usize, more: bool) -> bool {
        let mut alive = self.core.governor().live_runs();
        if alive == 0 && !more {
            self.land();
            return false;
        }
        while more && alive < at_once {
            let run = self.request();
            self.waiting.push_back(run);
            alive += 1;
        }
        let batch: Vec<Input> = self.waiting.drain(..).collect();
        let decided = self.core.decide(&batch, self.clock.now()).expect("records that can be kept");
        self.land();
        if let Some((done, request)) = self.core.request(decided) {
            let (tell, told) = sync_channel(1);
            let then = move |outcome| tell.send(outcome).expect("it is waited for");
            self.core.journal().append_then(request, Box::new(then));
            self.flight = Some((done, told));
            self.commits += 1;
        }
        true
    }

    /// Waits until what was decided before is written; what comes of it is decided on next.
    fn land(&mut self) {
        let Some((done, told)) = self.flight.take() else { return };
        told.recv().expect("an answer").expect("a healthy disk");
        for done in &done {
            let said = &done.record.decision.answer;
            assert!(!matches!(said, Answer::Refused(_)), "what is measured is refused: {said:?}");
            for (at, effect) in done.effects() {
                self.waiting.extend(answer(at, effect));
            }
        }
    }

    /// Runs asked for so far.
    pub(crate) fn started(&self) -> usize {
        self.started
    }

    /// Commits made for them.
    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    /// The place of the last entry that was decided on.
    pub(crate) fn seq(&self) -> u64 {
        self.core.seq()
    }

    /// Saves the state, as the driver does it after every so many entries.
    pub(crate) fn save_snapshot(&mut self) {
        self.land();
        let core = &self.core;
        core.journal().save_snapshot(core.tenant(), core.seq(), core.state()).expect("a healthy disk");
    }

    fn request(&mut self) -> Input {
        self.started += 1;
        // A home that is filled a second time gets other runs.
        let run = RunId::from_bits(u128::from(self.epoch) << 64 | self.started as u128);
        let request = RunRequest {
            run,
            pipeline: self.digest,
            inputs: Default::default(),
            env: Default::default(),
            requester: self.requester.clone(),
            grant: None,
            root: "/".to_owned(),
            idempotency_key: None,
            lineage: None,
        };
        let event = Event::RunRequested(Box::new(request));
        Input { definition: Some(self.pipeline.clone()), ..event.into() }
    }
}

fn pipeline() -> Arc<Pipeline> {
    let mut text = String::from("name: steps\nstages:\n");
    for number in 1..=STAGES {
        let requires = if number > 1 { format!(", requires: [s{}]", number - 1) } else { String::new() };
        text.push_str(&format!(
            "  - {{name: s{number}, type: agent{requires}, config: {{command: ['true']}}}}\n"
        ));
    }
    let checked = check("steps.yaml", &text, &Catalogue::built_in(), &Known::default());
    Arc::new(checked.pipeline.expect("the pipeline above is valid"))
}

/// An agent that does nothing, successfully.
fn answer(at: Option<EffectRef>, effect: &Effect) -> Option<Input> {
    let digest = Digest::of(b"nothing");
    let (agent, outcomes) = match effect {
        Effect::Prepare(spec) => (spec.agent, ready(digest)),
        Effect::Execute { agent, .. } => (
            *agent,
            vec![
                Outcome::Execute {
                    ended: Ended::Code { code: 0 },
                    outputs: Default::default(),
                    artifacts: Vec::new(),
                    leftovers: 0,
                    usage: Usage::default(),
                },
                Outcome::Verify { checks: Vec::new() },
                Outcome::Package { manifest: digest },
                Outcome::Report { report: digest, package: digest },
                Outcome::Exit,
            ],
        ),
        _ => return None,
    };
    let event = Event::AgentAdvanced { agent, outcomes };
    Some(Input { acknowledges: at.into_iter().collect(), ..event.into() })
}

fn held(name: &str) -> Check {
    Check { name: name.to_owned(), ok: true, detail: String::new() }
}

fn ready(digest: Digest) -> Vec<Outcome> {
    vec![
        Outcome::Bootstrap { token: digest, packet: digest, tree: None },
        Outcome::Preflight {
            checks: ["sandbox", "inventory", "dependencies"].map(held).into(),
            confinement: Vec::new(),
        },
        Outcome::Plan { plan: digest, actions: vec!["execute_command".to_owned()], problem: None },
    ]
}
