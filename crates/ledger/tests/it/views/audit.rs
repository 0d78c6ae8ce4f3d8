//! The audit trail: a row for every decision, every violation, and the figures they add up to.

use std::collections::BTreeMap;

use eparch_domain::{Severity, Tier, ViolationType};
use eparch_ledger::views::{ActionFilter, ActionResult, ActionRow, Ruling};

use super::{ALL, dump, eventful};

#[test]
fn r112_every_decision_writes_a_row() {
    let story = eventful();
    let views = story.followed();
    let rows = views.actions(&story.tenant, &ALL).unwrap();
    for seq in 1..=story.head() {
        assert!(rows.iter().any(|row| row.action_id.seq == seq && row.action_id.no == 0), "entry {seq}");
    }
    let find = |action: &str, fits: &dyn Fn(&ActionRow) -> bool| -> ActionRow {
        let found = rows.iter().filter(|row| row.action == action).find(|row| fits(row));
        found.unwrap_or_else(|| panic!("no {action} like that")).clone()
    };
    let spawn = find("spawn", &|row| row.decision == Ruling::Allow);
    assert_eq!((spawn.actor.as_deref(), spawn.result), (Some("ann"), Some(ActionResult::Ok)));
    assert!(spawn.params_digest.is_some() && spawn.pipeline_id.is_some());
    let refused = find("spawn", &|row| row.decision == Ruling::Deny);
    assert_eq!((refused.actor.as_deref(), refused.decision_reason.as_deref()), (Some("eve"), Some("EP0205")));
    assert_eq!(refused.result, Some(ActionResult::Denied));
    assert_eq!(
        find("approve", &|row| row.decision_reason.as_deref() == Some("EP0305")).actor.as_deref(),
        Some("ann")
    );
    find("approve", &|row| {
        row.decision_reason.as_deref() == Some("EP0301") || row.decision_reason.as_deref() == Some("EP0302")
    });
    let execute = find("execute_command", &|row| row.agent_name.as_deref() == Some("release/plan"));
    assert_eq!((execute.target.as_deref(), execute.decision), (Some("python3"), Ruling::Allow));
    assert_eq!(execute.params_digest, Some(eparch_domain::Digest::of(br#"["python3","staging.py"]"#)));
    assert_eq!((execute.agent_version.as_deref(), execute.tier), (Some("default@1"), Some(Tier::T1)));
    let failed = find("end_attempt", &|row| row.error_type.as_deref() == Some("EP0232"));
    assert_eq!(failed.error_message.as_deref(), Some("it exited with 7"));
    assert!(failed.duration_ms >= Some(3_000));
    let misplaced = find("report_outcome", &|row| row.error_type.as_deref() == Some("out_of_order"));
    assert_eq!(misplaced.error_message.as_deref(), Some("EXIT came in EXECUTE"));
    find("end_attempt", &|row| row.error_type.as_deref() == Some("interrupted"));
    find("end_attempt", &|row| row.error_type.as_deref() == Some("cancelled"));
    let revoked = find("end_attempt", &|row| row.error_type.as_deref() == Some("revoked"));
    assert_eq!(revoked.result, Some(ActionResult::Denied));
    assert_eq!(
        find("heartbeat", &|row| row.decision == Ruling::Deny).decision_reason.as_deref(),
        Some("late")
    );
    assert_eq!(find("stop", &|row| row.decision == Ruling::Deny).actor.as_deref(), Some("eve"));
    assert_eq!(
        find("gate_closed", &|row| row.decision_reason.as_deref() == Some("timed_out")).decision,
        Ruling::Deny
    );
    assert_eq!(
        find("operator_remove", &|row| row.decision == Ruling::Deny).error_type.as_deref(),
        Some("EP0402")
    );
    assert!(rows.iter().any(|row| row.session_id == "1") && rows.iter().any(|row| row.session_id == "2"));
}

#[test]
fn who_asked_for_a_secret_and_what_they_got_stands_in_the_audit_trail() {
    let story = eventful();
    let views = story.followed();
    let mut rows = views.actions(&story.tenant, &ALL).unwrap();
    rows.retain(|row| row.target.as_deref() == Some("production/database"));
    rows.reverse();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.action.as_str(), row.actor.as_deref(), row.decision_reason.as_deref(), row.result))
        .collect();
    let (ok, ann) = (Some(ActionResult::Ok), Some("ann"));
    assert_eq!(
        told,
        [
            ("secret_read", Some("lead"), Some("EP0205"), Some(ActionResult::Denied)),
            ("secret_read", ann, None, ok),
            ("secret_was_read", ann, Some("version 3"), ok),
            ("secret_read", ann, None, ok),
            ("secret_not_served", ann, None, Some(ActionResult::Error)),
        ]
    );
    assert_eq!(rows[4].error_type.as_deref(), Some("EP0903"));
}

#[test]
fn r112_actions_are_filtered_and_paged_without_gaps() {
    let story = eventful();
    let views = story.followed();
    let all = views.actions(&story.tenant, &ALL).unwrap();
    assert!(all.is_sorted_by(|newer, older| newer.action_id > older.action_id));
    let mut paged = Vec::new();
    loop {
        let before = paged.last().map(|row: &ActionRow| row.action_id);
        let page = views.actions(&story.tenant, &ActionFilter { before, limit: 7, ..ALL }).unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let only = |filter: &ActionFilter, fits: &dyn Fn(&ActionRow) -> bool| {
        let expected: Vec<_> = all.iter().filter(|row| fits(row)).cloned().collect();
        assert!(!expected.is_empty());
        assert_eq!(views.actions(&story.tenant, filter).unwrap(), expected);
    };
    let run = all.iter().find_map(|row| row.pipeline_id);
    let agent = all.iter().find(|row| row.action == "violation").and_then(|row| row.agent_id);
    let since = Some(all[all.len() / 2].ts);
    only(&ActionFilter { run, ..ALL }, &|row| row.pipeline_id == run);
    only(&ActionFilter { agent, ..ALL }, &|row| row.agent_id == agent);
    only(&ActionFilter { action: Some("approve".into()), ..ALL }, &|row| row.action == "approve");
    only(&ActionFilter { decision: Some(Ruling::Deny), ..ALL }, &|row| row.decision == Ruling::Deny);
    only(&ActionFilter { decision: Some(Ruling::Deny), agent, ..ALL }, &|row| {
        row.decision == Ruling::Deny && row.agent_id == agent
    });
    only(&ActionFilter { decision: Some(Ruling::Allow), run, ..ALL }, &|row| {
        row.decision == Ruling::Allow && row.pipeline_id == run
    });
    only(&ActionFilter { since, ..ALL }, &|row| Some(row.ts) >= since);
}

#[test]
fn r113_metrics_are_what_the_actions_add_up_to() {
    let story = eventful();
    let views = story.followed();
    let mut actions = views.actions(&story.tenant, &ALL).unwrap();
    actions.reverse();
    // From agent_actions alone: runs, compliant ones, those in a row, violations.
    let mut expected: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    let mut violated = std::collections::BTreeSet::new();
    for row in actions {
        let Some(agent) = row.agent_name.clone() else { continue };
        match row.action.as_str() {
            "violation" => {
                violated.insert(row.agent_id);
                let sums = expected.entry(agent).or_default();
                *sums = [sums[0], sums[1], 0, sums[3] + 1];
            }
            "end_attempt" if !matches!(row.error_type.as_deref(), Some("cancelled" | "interrupted")) => {
                let sums = expected.entry(agent).or_default();
                sums[0] += 1;
                if row.result == Some(ActionResult::Ok) && !violated.contains(&row.agent_id) {
                    sums[1] += 1;
                    sums[2] += 1;
                } else {
                    sums[2] = 0;
                }
            }
            _ => {}
        }
    }
    let metrics = views.metrics(&story.tenant, story.now()).unwrap();
    let found: BTreeMap<String, [u64; 4]> = metrics
        .iter()
        .map(|of| {
            (
                of.agent_name.clone(),
                [of.total_runs, of.compliant_runs, of.consecutive_compliant, of.violations_30d],
            )
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(found["release/plan"], [5, 4, 3, 0]);
    assert_eq!((found["release/lint"][3], found["release/tests"][3]), (1, 1));
    let later = eparch_domain::Timestamp::from_millis(story.now().millis() + 31 * 86_400_000);
    assert!(views.metrics(&story.tenant, later).unwrap().iter().all(|of| of.violations_30d == 0));
}

#[test]
fn r114_a_violation_has_a_row_with_its_severity() {
    let story = eventful();
    let views = story.followed();
    let violations = views.violations(&story.tenant, None, 100).unwrap();
    let without = violations.iter().find(|found| found.kind == ViolationType::EvidenceMissing).unwrap();
    assert_eq!((without.severity, without.agent_name.as_deref()), (Severity::Low, Some("release/lint")));
    assert_eq!(without.revocation_type, without.kind.revocation());
    assert!(without.pipeline_id.is_some() && without.detail.contains("does not refer to its evidence"));
    let budget = violations.iter().find(|found| found.kind == ViolationType::BudgetExceeded).unwrap();
    assert_eq!(budget.severity, Severity::Medium);
    assert_eq!(violations.len(), dump(&story)["violations"].len());
    let of_lint = views.violations(&story.tenant, Some("release/lint"), 100).unwrap();
    assert!(!of_lint.is_empty() && of_lint.len() < violations.len());
}
