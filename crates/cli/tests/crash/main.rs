//! The shipped binary under faults from outside: killed at every write, sync and rename; given errors by the kernel;
//! killed under load. No hook in it knows of any of this (reliability F1–F3, G1, G7, R122).
//!
//! `strace` injects. A point that fails prints the line that replays it; `EPARCH_CRASH_POINT='straight pwrite64 17'`
//! tries that one alone.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure message")]

mod drills;
mod home;

use drills::{Fault, Workflow};

/// Kills the holder at the n-th call of each kind, for every n until a run gets through untouched. There must be at
/// least `least` such points.
fn exhaust(workflow: &Workflow, least: usize) {
    if !home::can_inject() {
        return home::not_injected(workflow.name);
    }
    if let Ok(point) = std::env::var("EPARCH_CRASH_POINT") {
        return replay(workflow, &point);
    }
    let mut points = 0;
    for call in ["pwrite64", "fdatasync", "fsync", "rename", "ftruncate", "unlink", "linkat"] {
        let before = points;
        while drills::kill_at(workflow, call, points - before + 1) {
            points += 1;
        }
        println!("{}: {} points at {call}", workflow.name, points - before);
    }
    println!("{}: {points} crash points", workflow.name);
    assert!(points >= least, "only {points} crash points");
}

/// Tries one point, if it is of this workflow.
fn replay(workflow: &Workflow, point: &str) {
    let words: Vec<&str> = point.split(' ').collect();
    if let [name, call, at] = words[..]
        && name == workflow.name
    {
        let killed = drills::kill_at(workflow, call, at.parse().expect("a number"));
        println!("{point}: {}", if killed { "killed" } else { "got through" });
    }
}

#[test]
fn g7_r122_killed_at_every_call_of_a_straight_run() {
    exhaust(&drills::STRAIGHT, 100);
}

#[test]
fn g7_r122_killed_at_every_call_of_a_parallel_run() {
    exhaust(&drills::PARALLEL, 100);
}

#[test]
fn g7_r122_killed_at_every_call_of_a_run_with_artifacts() {
    exhaust(&drills::ARTIFACTS, 100);
}

#[test]
fn g7_r122_killed_at_every_call_of_a_run_with_a_gate() {
    exhaust(&drills::GATE, 100);
}

#[test]
fn g7_r122_killed_at_every_call_of_a_run_with_retries() {
    exhaust(&drills::RETRY, 100);
}

#[test]
fn g1_nothing_happens_that_is_not_written_when_the_disk_fails_once() {
    drills::errors(&Fault::Once);
}

#[test]
fn g1_nothing_happens_that_is_not_written_when_the_disk_fails_for_good() {
    drills::errors(&Fault::ForGood);
}

#[test]
fn g1_a_full_disk_stops_everything_and_a_freed_one_lets_it_go_on() {
    drills::full_disk();
}

#[test]
fn g7_killed_a_hundred_times_under_load() {
    drills::kills_under_load(100);
}
