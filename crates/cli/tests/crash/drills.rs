//! The drills: what is run, what is done to it, and what has to hold afterwards.

use std::process::{Output, Stdio};
use std::time::Duration;

use crate::check::{completed_once, released, verified, within_the_record};
use crate::home::{DrillHome, not_run, shown, wait_until, was_killed};

/// Something to run while it is being killed.
pub(crate) struct Workflow {
    pub(crate) name: &'static str,
    pub(crate) pipeline: &'static str,
    /// Stages that each append one line to `count/NAME` when they work.
    pub(crate) counted: &'static [&'static str],
    pub(crate) gate: bool,
}

pub(crate) static STRAIGHT: Workflow = Workflow {
    name: "straight",
    counted: &["one", "two", "three"],
    gate: false,
    pipeline: include_str!("straight.yaml"),
};

pub(crate) static PARALLEL: Workflow = Workflow {
    name: "parallel",
    counted: &["a", "b", "last"],
    gate: false,
    pipeline: include_str!("parallel.yaml"),
};

pub(crate) static ARTIFACTS: Workflow = Workflow {
    name: "artifacts",
    counted: &["make", "use"],
    gate: false,
    pipeline: include_str!("artifacts.yaml"),
};

pub(crate) static GATE: Workflow =
    Workflow { name: "gate", counted: &["before", "after"], gate: true, pipeline: include_str!("gate.yaml") };

pub(crate) static RETRY: Workflow =
    Workflow { name: "retry", counted: &["third"], gate: false, pipeline: include_str!("retry.yaml") };

/// Kills the holder at the `at`-th call of one kind, lets the run go on, and checks everything. False when the run got
/// through without being killed: there is no such call any more.
pub(crate) fn kill_at(workflow: &Workflow, call: &str, at: usize) -> bool {
    let replay = format!("EPARCH_CRASH_POINT='{} {call} {at}'", workflow.name);
    let home = DrillHome::new();
    home.write("p.yaml", workflow.pipeline);
    let mut holder = home.hold_injected(&format!("{call}:signal=SIGKILL:when={at}"));
    let output = run_to_end(&home, workflow.gate);
    home.stop_holder();
    let killed = was_killed(holder.wait().unwrap());
    assert!(output.status.success(), "{replay}\n{}", shown(&output));
    check(&home, workflow, &replay);
    killed
}

/// `eparch run`, which starts another holder when one dies; answers the gate, if there is one, from another process.
fn run_to_end(home: &DrillHome, gate: bool) -> Output {
    let mut run =
        home.eparch(&["run", "p.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if gate {
        // An answer whose holder dies between writing it down and saying so has been given all the same.
        wait_until("the gate has been answered, or the run is over", || {
            let waiting = home.json(&["approvals", "list"]);
            let gate = waiting.get(0).and_then(|gate| gate["gate"].as_str());
            let answered = gate.is_some_and(|gate| {
                home.output(&["--as", "grace", "approvals", "approve", gate, "--rationale", "drill"])
                    .status
                    .success()
            });
            answered || run.try_wait().unwrap().is_some()
        });
    }
    run.wait_with_output().unwrap()
}

/// What has to hold after anything: a clean ledger that decides the same again, every stage completed once, effects
/// within what the record allows, nothing alive.
fn check(home: &DrillHome, workflow: &Workflow, replay: &str) {
    let entries = verified(home, replay);
    for name in workflow.counted {
        assert!(home.count(name) >= 1, "{replay}: {name} never happened");
    }
    within_the_record(home, workflow.counted, &entries, replay);
    completed_once(&entries, replay);
    home.nothing_left();
}

/// Fills the disk of the home, and frees it again. While it is full nothing happens that is not written down; afterwards
/// everything goes on, with the same holder.
pub(crate) fn full_disk() {
    let Some(home) = DrillHome::on_a_small_disk() else {
        return not_run("full disk", "only root can mount a small disk");
    };
    home.write("p.yaml", STRAIGHT.pipeline);
    home.expect(&["run", "p.yaml"]);
    let filler = home.root().join("filler");
    // The disk is full when this fails.
    let _ = std::fs::write(&filler, vec![b'x'; 8 << 20]);
    let full = home.output(&["run", "p.yaml"]);
    assert!(!full.status.success(), "{}", shown(&full));
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(said.contains("EP0"), "{said}");
    std::fs::remove_file(&filler).unwrap();
    wait_until("runs complete again", || home.output(&["run", "p.yaml"]).status.success());
    let entries = verified(&home, "full disk");
    within_the_record(&home, STRAIGHT.counted, &entries, "full disk");
    home.nothing_left();
}

/// Kills the holder at random moments while runs are under way, with agents that try to outlive it.
pub(crate) fn kills_under_load(kills: usize) {
    let home = DrillHome::new();
    home.write("p.yaml", include_str!("load.yaml"));
    // A fixed seed; the moments differ with the machine's load all the same.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut killed = 0;
    while killed < kills {
        let live = home.json(&["runs", "list", "--live"]);
        if live.as_array().is_some_and(|live| live.len() < 3) {
            home.output(&["run", "--detach", "p.yaml"]);
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::park_timeout(Duration::from_millis((seed >> 33) % 400));
        killed += usize::from(home.kill_holder());
    }
    // Anything that talks to the home starts a holder, which goes on with what is in flight.
    wait_until("every run has ended", || {
        home.json(&["runs", "list", "--live"]).as_array().is_some_and(Vec::is_empty)
    });
    let entries = verified(&home, "kills under load");
    within_the_record(&home, &["stubborn", "after"], &entries, "kills under load");
    println!(
        "{killed} kills; {} effects of {} releases",
        home.count("stubborn"),
        released(&entries, "stubborn")
    );
    home.nothing_left();
}
