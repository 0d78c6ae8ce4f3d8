//! Worlds by the thousand (F4). A failure prints how to play it again, and a short history that fails in the same way.

use eparch_governor::{Answer, Event, Fact};
use eparch_sim::{case, run, shrink};

/// Plays the worlds of some seeds; the virtual time they lasted.
fn play(seeds: std::ops::Range<u64>) -> u64 {
    let mut millis = 0;
    for seed in seeds {
        let report = run(seed);
        millis += report.millis;
        if let Some(broken) = &report.broken {
            let (short, why) = shrink::shrink(&report.case, broken);
            panic!(
                "seed {seed} fails at step {}: {}\nreplay: EPARCH_SIM_SEED={seed} cargo test -p eparch-sim --test it one_seed\n\nin short, after step {}: {}\n{}",
                broken.step,
                broken.why,
                why.step,
                why.why,
                shrink::render(&short)
            );
        }
    }
    millis
}

/// How many seeds each shard plays; nights play more.
fn seeds() -> u64 {
    std::env::var("EPARCH_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

#[test]
fn every_world_of_the_first_shard_holds() {
    assert!(play(0..seeds()) > 0);
}

#[test]
fn every_world_of_the_second_shard_holds() {
    assert!(play(1_000_000..1_000_000 + seeds()) > 0);
}

#[test]
fn one_seed() {
    let seed = std::env::var("EPARCH_SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    play(seed..seed + 1);
}

#[test]
fn g10_one_seed_is_one_history() {
    for seed in 500..600 {
        assert_eq!(run(seed).trace, run(seed).trace, "seed {seed}");
    }
}

/// Worlds in which little happens prove little: together they reach nearly everything that can be recorded or refused.
#[test]
fn worlds_reach_what_can_happen() {
    let mut reached = std::collections::BTreeSet::new();
    for seed in 0..1_000 {
        let case = run(seed).case;
        let mut player = case::Player::new(&case.scores);
        for step in &case.steps {
            for record in player.step(step).expect("the world has held") {
                let violates = |fact: &Fact| matches!(fact, Fact::ViolationFound { .. });
                if matches!(record.event, Event::TokenShown { .. })
                    && record.decision.facts.iter().any(violates)
                {
                    reached.insert("another's token".to_owned());
                }
                for fact in &record.decision.facts {
                    let fact = serde_json::to_value(fact).expect("a fact is plain data");
                    if fact["parent"].is_object() {
                        reached.insert("run_spawned by itself".to_owned());
                    }
                    let word = |key: &str| fact[key].as_str().unwrap_or_default().to_owned();
                    reached.insert(
                        format!("{} {}{}", word("type"), word("status"), word("outcome")).trim().to_owned(),
                    );
                    reached.insert(format!(
                        "{} {}",
                        word("type"),
                        fact["end"]["end"].as_str().unwrap_or_default()
                    ));
                    reached.insert(format!("{} {}{}", word("type"), word("decision"), word("violation")));
                    let how = fact["end"]["how"].as_str().unwrap_or_default();
                    reached.insert(format!("{} {how}", word("type")));
                    reached.insert(format!("{} {}{}", word("type"), word("reason_code"), word("purpose")));
                    reached.insert(format!("{} {} {}", word("type"), word("action"), word("decision")));
                }
                match &record.decision.answer {
                    Answer::Refused(refusal) => drop(reached.insert(refusal.code().to_owned())),
                    Answer::Ruled(_) => drop(reached.insert("ruled".to_owned())),
                    Answer::Taken | Answer::Already { .. } => {}
                }
            }
        }
    }
    let expected = [
        "run_changed COMPLETED",
        "run_changed FAILED",
        "run_changed STOPPED",
        "run_changed TIMEOUT",
        "stage_changed AWAITING_APPROVAL",
        "stage_changed CANCELLED",
        "stage_changed COMPLETED",
        "stage_changed FAILED",
        "stage_changed SKIPPED",
        "stage_changed TIMED_OUT",
        "stage_kept",
        "stage_expired",
        "backoff_over",
        "condition_decided",
        "report_misplaced",
        "violation_found",
        "operator_rekeyed",
        "operator_forgotten",
        "plan_clarified",
        "diagnostic_known",
        "run_spawned by itself",
        "output_dropped",
        "agent_lingers",
        "all_stopped",
        "all_lifted",
        "break_glass_asked",
        "break_glass_opened",
        "break_glass_bound",
        "break_glass_over",
        "alarm_raised",
        "action_decided break_glass",
        "EP0650",
        "EP0652",
        "EP0653",
        "EP0654",
        "EP0655",
        "EP0656",
        "EP0657",
        "calls_limited",
        "ends_sooner",
        "heartbeat_seen",
        "heartbeats_missed",
        "violation_found NO_PROGRESS",
        "attempt_ended stalled",
        "revoked",
        "secret_granted",
        "lock_waiting",
        "lock_wait_over",
        "lock_acquired",
        "locks_renewed",
        "lock_lost",
        "lock_missed",
        "lock_released",
        "attempt_ended lock_lost",
        "EP0670",
        "EP0671",
        "performance_began",
        "performance_released",
        "performance_ended code",
        "performance_ended never_ran",
        "performance_ended unknown",
        "policies_in_force",
        "action_decided allow",
        "action_decided deny",
        "action_decided ask",
        "action_decided ansible_run allow",
        "action_decided approval_denied",
        "action_decided approval_void",
        "action_decided people_said_no",
        "gate_opened action",
        "EP0621",
        "EP0622",
        "ruled",
        "permit_spent",
        "permit_refused",
        "action_ended",
        "violation_found GOVERNANCE_TAMPERING",
        "violation_found FORBIDDEN_ACTION",
        "violation_found IDENTITY_FORGERY",
        "another's token",
        "violation_found APPROVAL_BYPASS",
        "stage_ending CANCELLED",
        "attempt_cut_off",
        "attempt_ended cancelled",
        "attempt_ended completed",
        "attempt_ended failed",
        "attempt_ended interrupted",
        "attempt_ended revoked",
        "attempt_ended timed_out",
        "gate_closed approved",
        "gate_closed cancelled",
        "gate_closed denied",
        "gate_closed timed_out",
        "EP0201",
        "EP0202",
        "EP0203",
        "EP0204",
        "EP0205",
        "EP0206",
        "EP0207",
        "EP0208",
        "EP0211",
        "EP0213",
        "EP0214",
        "EP0215",
        "EP0302",
        "EP0303",
        "EP0304",
        "EP0305",
        "EP0306",
        "EP0307",
        "EP0308",
        "EP0309",
        "EP0311",
        "EP0312",
        "EP0401",
        "EP0402",
        "EP0403",
        "EP0404",
        "EP0610",
        "EP0611",
        "EP0612",
        "EP0613",
        "EP0614",
        "EP0615",
        "EP0616",
        "EP0617",
        "EP0618",
        "EP0619",
        "EP0620",
    ];
    let missing: Vec<_> = expected.into_iter().filter(|word| !reached.contains(*word)).collect();
    assert!(missing.is_empty(), "1,000 worlds never reach {missing:?}");
}
