//! The shipped binary under faults from outside: killed at every write, sync and rename; given errors by the kernel;
//! killed under load. No hook in it knows of any of this (reliability F1–F3, G1, G7, R122).
//!
//! `strace` injects. A point that fails prints the line that replays it; `EPARCH_CRASH_POINT='straight pwrite64 17'`
//! tries that one alone.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure message")]

mod check;
mod cuts;
mod drills;
mod faults;
mod grip;
mod home;
mod plan;
mod revoke;
mod short;
mod strace;
mod visit;

use drills::Workflow;
use faults::Seat;
use plan::Plan;
use short::Span;

/// Kills the holder at the n-th call of each kind, for every n until a run gets through untouched. There must be at
/// least `least` such points.
fn exhaust(workflow: &Workflow, least: usize) {
    if !strace::can_inject() {
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
fn g1_g7_a_home_is_made_or_can_be_made_after_any_error() {
    Plan { seat: Seat::Init, for_good: false, part: 5 }.carry_out();
    Plan { seat: Seat::Init, for_good: true, part: 5 }.carry_out();
}

#[test]
fn g1_g7_an_error_once_at_every_call_that_opens_and_closes_a_ledger() {
    Plan { seat: Seat::First, for_good: false, part: 15 }.carry_out();
}

#[test]
fn g1_g7_an_error_for_good_at_every_call_that_opens_and_closes_a_ledger() {
    Plan { seat: Seat::First, for_good: true, part: 15 }.carry_out();
}

#[test]
fn g1_g7_an_error_once_at_every_call_that_recovers_a_ledger() {
    Plan { seat: Seat::Again, for_good: false, part: 20 }.carry_out();
}

#[test]
fn g1_g7_an_error_for_good_at_every_call_that_recovers_a_ledger() {
    Plan { seat: Seat::Again, for_good: true, part: 20 }.carry_out();
}

#[test]
fn g1_g7_r122_an_error_once_at_every_call_that_writes_the_journal() {
    Plan { seat: Seat::Writer, for_good: false, part: 20 }.carry_out();
}

#[test]
fn g1_g7_r122_an_error_for_good_at_every_call_that_writes_the_journal() {
    Plan { seat: Seat::Writer, for_good: true, part: 20 }.carry_out();
}

#[test]
fn g3_an_error_at_every_call_that_keeps_a_checkpoint() {
    Plan { seat: Seat::Anchor, for_good: false, part: 5 }.carry_out();
    Plan { seat: Seat::Anchor, for_good: true, part: 20 }.carry_out();
}

#[test]
fn g7_an_error_at_every_call_for_the_read_models_and_for_keys() {
    Plan { seat: Seat::Everyone, for_good: false, part: 5 }.carry_out();
    Plan { seat: Seat::Everyone, for_good: true, part: 20 }.carry_out();
}

#[test]
fn g7_an_error_at_every_call_that_keeps_an_artifact() {
    Plan { seat: Seat::Keeper(0), for_good: false, part: 5 }.carry_out();
    Plan { seat: Seat::Keeper(0), for_good: true, part: 20 }.carry_out();
}

#[test]
fn g1_g7_a_write_cut_short_is_taken_up_where_it_was_cut() {
    cuts::cut_short(Span::Retried, 30);
}

#[test]
fn g1_g7_a_write_cut_short_whose_rest_fails_once_costs_nothing() {
    cuts::cut_short(Span::Once, 30);
}

#[test]
fn g1_g7_a_write_cut_short_whose_rest_fails_for_good_is_told() {
    cuts::ceilings(30);
}

#[test]
fn g1_a_full_disk_stops_everything_and_a_freed_one_lets_it_go_on() {
    drills::full_disk();
}

#[test]
fn g2_g7_a_revocation_whose_holder_is_killed_is_wholly_done_or_wholly_absent() {
    revoke::killed_while_revoking(8);
}

#[test]
fn g7_killed_a_hundred_times_under_load() {
    drills::kills_under_load(100);
}
