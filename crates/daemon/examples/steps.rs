//! Durable pipeline steps: runs of ten stages whose agents do nothing, through the real governor, driver and ledger on a
//! real disk. What is left out is what agents are made of: processes and sandboxes.
//!
//! `cargo run --release -p eparch-daemon --example steps [FOLDER]` prints one JSON line per measurement. Beside each
//! stands the floor: the same number of commits of one small row, in the same folder.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use eparch_daemon::SystemClock;
use eparch_daemon::driver::{Core, Input};
use eparch_daemon::journal::{Journal, LedgerJournal};
use eparch_domain::{Clock, Digest, Moment, Name, RunId, Tier};
use eparch_governor::{
    AgentSpec, Effect, Ended, Event, Key, Operator, OperatorRole, Outcome, RunRequest, Usage,
};
use eparch_ledger::{Append, EffectRef, Ledger, NewEntry, Settings};
use eparch_pipeline::{Catalogue, Known, Pipeline, check};

/// Steps measured each time; some seconds' worth alone.
const STEPS: usize = 5_000;
const STAGES: usize = 10;

/// The binary's, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let folder =
        std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("eparch-steps"), PathBuf::from);
    for at_once in [1, 64] {
        let home = folder.join(format!("steps-{}-{at_once}", std::process::id()));
        let (seconds, commits) = measure(&home, at_once);
        let floor = floor(&home, commits);
        let _ = std::fs::remove_dir_all(&home);
        let line = serde_json::json!({
            "what": "steps",
            "at_once": at_once,
            "steps_per_s": (STEPS as f64 / seconds).round(),
            "steps": STEPS,
            "commits": commits,
            "commits_per_step": commits as f64 / STEPS as f64,
            "floor_steps_per_s": (STEPS as f64 / floor).round(),
        });
        println!("{line}");
    }
    let _ = std::fs::remove_dir(&folder);
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

fn measure(home: &std::path::Path, at_once: usize) -> (f64, u64) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::after(Moment::default()));
    let ledger =
        Arc::new(Ledger::open(&Settings::in_home(home), clock.now().wall, "bench").expect("a fresh folder"));
    let epoch = ledger.epoch();
    let tenant = Name::new("default").expect("a word");
    let mut core =
        Core::recover(LedgerJournal::new(ledger, clock.clone()), tenant, epoch).expect("an empty journal");
    let owner = Operator {
        name: Name::new("bench").expect("a word"),
        role: OperatorRole::Admin,
        groups: Vec::new(),
        max_tier: Tier::T1,
        key: Key::Home { hash: Digest::of(b"bench") },
    };
    let boot = core.boot(1_024).expect("a journal");
    let known = Event::OperatorAdded { by: None, operator: owner };
    core.turn(&[boot, known.into()], clock.now()).expect("a healthy disk");

    let pipeline = pipeline();
    let digest = pipeline.digest();
    let mut waiting: VecDeque<Input> = VecDeque::new();
    let (mut started, mut commits) = (0, 0);
    let begun = Instant::now();
    while started * STAGES < STEPS || core.governor().live_runs() > 0 {
        while core.governor().live_runs() + pending_starts(&waiting) < at_once && started * STAGES < STEPS {
            started += 1;
            waiting.push_back(start(&pipeline, digest, started));
        }
        let batch: Vec<Input> = waiting.drain(..).collect();
        let done = core.turn(&batch, clock.now()).expect("a healthy disk");
        commits += 1;
        for done in &done {
            for (at, effect) in done.effects() {
                waiting.extend(answer(at, effect));
            }
        }
    }
    (begun.elapsed().as_secs_f64(), commits)
}

fn pending_starts(waiting: &VecDeque<Input>) -> usize {
    waiting.iter().filter(|input| matches!(input.event, Event::RunRequested(_))).count()
}

fn start(pipeline: &Arc<Pipeline>, digest: Digest, number: usize) -> Input {
    let request = RunRequest {
        run: RunId::from_bits(number as u128),
        pipeline: digest,
        inputs: Default::default(),
        env: Default::default(),
        requester: Name::new("bench").expect("a word"),
        grant: None,
        root: "/".to_owned(),
        idempotency_key: None,
        lineage: None,
    };
    Input {
        event: Event::RunRequested(Box::new(request)),
        definition: Some(pipeline.clone()),
        acknowledges: Vec::new(),
    }
}

/// An agent that does nothing, successfully.
fn answer(at: Option<EffectRef>, effect: &Effect) -> Option<Input> {
    let digest = Digest::of(b"nothing");
    let (agent, outcomes) = match effect {
        Effect::Prepare(spec) => (spec.agent, ready(spec, digest)),
        Effect::Execute { agent } => (
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
    Some(Input { event, definition: None, acknowledges: at.into_iter().collect() })
}

fn ready(_spec: &AgentSpec, digest: Digest) -> Vec<Outcome> {
    vec![
        Outcome::Bootstrap { token: digest, packet: digest, tree: None },
        Outcome::Preflight { checks: Vec::new(), confinement: Vec::new() },
        Outcome::Plan { plan: digest, actions: Vec::new(), problem: None },
    ]
}

/// As many commits of one small entry each, with nothing decided: what the disk gives.
fn floor(home: &std::path::Path, commits: u64) -> f64 {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::after(Moment::default()));
    let floor = home.join("floor");
    let ledger = Arc::new(
        Ledger::open(&Settings::in_home(&floor), clock.now().wall, "bench").expect("a fresh folder"),
    );
    let journal = LedgerJournal::new(ledger, clock);
    let tenant = Name::new("default").expect("a word");
    let begun = Instant::now();
    for after in 0..commits {
        let entries = vec![NewEntry { body: b"{}".to_vec(), ..NewEntry::default() }];
        journal.append(Append { tenant: tenant.clone(), after, entries }).expect("a healthy disk");
    }
    begun.elapsed().as_secs_f64()
}
