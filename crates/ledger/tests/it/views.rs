//! Views: what people see follows from the journal, from wherever the views were.

use std::collections::BTreeMap;
use std::fs;

use eparch_domain::{Phase, RunId, RunStatus, Severity, Span, StageResult, StageStatus, Tier, ViolationType};
use eparch_governor::{
    Answer, Ended, Event, GateDecision, GateOutcome, OperatorRole, Outcome, Signal, Usage,
};
use eparch_ledger::views::{
    ActionFilter, ActionResult, ActionRow, Ruling, RunFilter, StageView, Views, ViewsError, summary,
};
use eparch_ledger::{Append, NewEntry, Reader};
use rusqlite::types::Value;

use crate::home::{Home, body, name};
use crate::views_story::{Story, opened, operator, out_of_order, without_evidence};

const ALL: ActionFilter = ActionFilter {
    run: None,
    agent: None,
    action: None,
    decision: None,
    since: None,
    before: None,
    limit: 100_000,
};

fn stage<'d>(stages: &'d [StageView], name: &str) -> &'d StageView {
    stages.iter().find(|stage| stage.name.as_str() == name).unwrap()
}

/// Every row of every table.
fn dump(story: &Story) -> BTreeMap<String, Vec<Vec<Value>>> {
    let connection = rusqlite::Connection::open(story.views_path()).unwrap();
    let query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'templates_fts%'";
    let mut tables = connection.prepare(query).unwrap();
    let tables = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let tables = tables.map(|table| {
        let table = table.unwrap();
        let mut rows = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let width = rows.column_count();
        let rows = rows.query_map([], |row| (0..width).map(|at| row.get::<_, Value>(at)).collect()).unwrap();
        let mut rows: Vec<Vec<Value>> = rows.collect::<Result<_, _>>().unwrap();
        rows.sort_by_key(|row| format!("{row:?}"));
        (table, rows)
    });
    tables.collect()
}

/// Runs that end every way an attempt and a gate can end.
fn eventful() -> Story {
    let mut story = Story::new();
    story.whole_run(1);
    // A retry after a failure, then a denial at the gate.
    let (_, record) = story.ask_for_run(2, "ann", "production");
    let first = Story::prepared(&record)["plan"];
    story.release(first);
    story.finish(first, 7);
    story.wait(Span::from_mins(1));
    let record = story.tell(Event::ClockTurned);
    let record = story.live(Story::prepared(&record)["plan"]);
    story.answer(opened(&record), "lead", GateDecision::Deny);
    // Somebody who may not, somebody who asked, and an approval used twice.
    story.ask_for_run(3, "eve", "staging");
    let (_, record) = story.ask_for_run(4, "ann", "production");
    let record = story.live(Story::prepared(&record)["plan"]);
    let gate = opened(&record);
    story.answer(gate, "ann", GateDecision::Approve);
    let record = story.answer(gate, "lead", GateDecision::Approve);
    story.answer(gate, "lead", GateDecision::Approve);
    // A report out of order, which counts for nothing, and one without evidence, which is a violation.
    let agents = Story::prepared(&record);
    story.release(agents["lint"]);
    story.advance(agents["lint"], out_of_order());
    story.advance(agents["lint"], without_evidence());
    story.signal(agents["lint"], Signal::Heartbeat);
    // The holder dies while the other one works.
    story.release(agents["tests"]);
    story.signal(agents["tests"], Signal::Output { name: "done".into(), value: 3.into() });
    story.boot();
    let record = story.tell(Event::TreeProvenDead { agent: agents["tests"], killed: true });
    let again = Story::prepared(&record)["tests"];
    story.release(again);
    for _ in 0..9 {
        story.signal(again, Signal::Error { code: "E_SAME".into() });
    }
    let killed =
        |in_phase| Outcome::Failed { in_phase, code: "EP0229".into(), reason: "it was killed".into() };
    story.advance(again, vec![killed(Phase::Execute)]);
    // Nobody answers in time, somebody stops a run, keys change.
    let (_, record) = story.ask_for_run(5, "ann", "staging");
    story.live(Story::prepared(&record)["plan"]);
    story.wait(Span::from_hours(1));
    story.tell(Event::ClockTurned);
    let (run, record) = story.ask_for_run(6, "ann", "staging");
    story.tell(Event::StopRequested { run, by: name("eve"), reason: String::new() });
    story.tell(Event::StopRequested { run, by: name("ann"), reason: "a mistake".into() });
    story.advance(Story::prepared(&record)["plan"], vec![killed(Phase::Bootstrap)]);
    story.tell(Event::ClockJumped { by_ms: -5_000 });
    let key = operator("other", OperatorRole::Admin).key;
    story.tell(Event::OperatorRotated { by: name("ann"), name: name("lead"), key });
    story.tell(Event::OperatorRemoved { by: name("ann"), name: name("eve") });
    story.tell(Event::OperatorRemoved { by: name("ann"), name: name("ann") });
    story
}

#[test]
fn r111_r116_the_first_entry_makes_tenant_and_project() {
    let story = Story::new();
    let views = story.followed();
    assert_eq!(views.started_over(), None);
    assert_eq!(views.seq(&story.tenant).unwrap(), story.head());
    let tables = dump(&story);
    assert_eq!(tables["tenants"][0][0], Value::Text("default".into()));
    assert_eq!(tables["projects"][0][..2], [Value::Text("default".into()), Value::Text("default".into())]);
    assert_eq!(tables["user_roles"].len(), 3);
    assert_eq!(tables["schema_migrations"].len(), 3);
}

#[test]
fn a_run_shows_its_stages_its_gates_and_how_it_ended() {
    let mut story = Story::new();
    let run = story.whole_run(1);
    let views = story.followed();
    let detail = views.run(&story.tenant, run).unwrap().unwrap();
    assert_eq!(detail.summary.status, RunStatus::Completed);
    assert_eq!((detail.summary.exit_code, detail.summary.tier), (Some(0), Tier::T1));
    assert_eq!((detail.summary.stages_total, detail.summary.stages_ended), (8, 8));
    assert!(detail.summary.ended_at > Some(detail.summary.started_at));
    assert_eq!(detail.inputs["environment"], "staging");
    let names: Vec<&str> = detail.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["plan", "review", "checks", "lint", "tests", "route", "deploy", "note"]);

    let plan = stage(&detail.stages, "plan");
    assert_eq!((plan.status, plan.attempts, plan.tier), (StageStatus::Completed, 1, Some(Tier::T1)));
    assert_eq!((plan.phase.map(|phase| phase.as_str()), plan.confinement.len()), (Some("EXIT"), 1));
    assert_eq!(
        (plan.outputs["risk"].as_str(), plan.artifacts[0].path.as_str()),
        (Some("low"), "out/plan.json")
    );
    let tests = stage(&detail.stages, "tests");
    assert_eq!((tests.parent.clone(), tests.branch.as_deref()), (Some(name("checks")), Some("behaviour")));
    assert_eq!(stage(&detail.stages, "review").requires, [name("plan")]);
    let deploy = stage(&detail.stages, "deploy");
    assert_eq!(
        (deploy.status, deploy.branch.as_deref(), deploy.attempts),
        (StageStatus::Skipped, Some("then"), 0)
    );
    assert_eq!(deploy.reason, "its branch was not taken");
    assert_eq!(stage(&detail.stages, "note").branch.as_deref(), Some("else"));

    let gate = &detail.approvals[0];
    assert_eq!(
        (gate.outcome, gate.stage.as_str(), gate.pipeline.as_str()),
        (Some(GateOutcome::Approved), "review", "release")
    );
    assert_eq!(gate.expires_at.millis() - gate.opened_at.millis(), 30 * 60 * 1_000);
    assert_eq!((gate.votes[0].by.as_str(), gate.votes[0].decision), ("lead", GateDecision::Approve));
    assert_eq!(views.approval(&story.tenant, gate.gate).unwrap().as_ref(), Some(gate));
    assert_eq!(views.approvals(&story.tenant, true).unwrap(), []);
    assert_eq!(views.approvals(&story.tenant, false).unwrap().len(), 1);
}

#[test]
fn r023_every_stage_that_ran_leaves_a_result_and_no_other_does() {
    let mut story = Story::new();
    let (run, record) = story.ask_for_run(1, "ann", "staging");
    let plan = Story::prepared(&record)["plan"];
    story.release(plan);
    let mut views = story.followed();
    let results = |views: &Views, story: &Story| -> BTreeMap<String, StageResult> {
        let stages = views.run(&story.tenant, run).unwrap().unwrap().stages;
        stages.iter().filter_map(StageView::result).map(|result| (result.stage.to_string(), result)).collect()
    };
    assert_eq!(results(&views, &story), BTreeMap::new(), "nothing has ended");
    story.finish(plan, 7);
    story.wait(Span::from_mins(1));
    let record = story.tell(Event::ClockTurned);
    let record = story.live(Story::prepared(&record)["plan"]);
    let record = story.answer(opened(&record), "lead", GateDecision::Approve);
    let agents = Story::prepared(&record);
    story.release(agents["lint"]);
    story.finish(agents["lint"], 3);
    story.live(agents["tests"]);
    story.follow(&mut views);
    let found = results(&views, &story);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["checks", "lint", "plan", "review", "tests"]);
    let plan = &found["plan"];
    assert_eq!((plan.status, plan.attempts, plan.reason.as_str()), (StageStatus::Completed, 2, ""));
    assert_eq!(
        (plan.outputs["risk"].as_str(), plan.artifacts[0].path.as_str()),
        (Some("low"), "out/plan.json")
    );
    // Two attempts of three seconds, and what was waited between them.
    assert!(plan.took > Span::from_secs(66) && plan.took < Span::from_secs(67), "{}", plan.took);
    let lint = &found["lint"];
    assert_eq!(
        (lint.status, lint.attempts, lint.reason.as_str()),
        (StageStatus::Failed, 1, "it exited with 3 (EP0232)")
    );
    assert_eq!((lint.outputs.len(), lint.artifacts.len()), (0, 0));
    assert_eq!(found["checks"].status, StageStatus::Failed);
}

#[test]
fn r016_an_agent_stands_as_the_governor_says() {
    let mut story = Story::new();
    let (_, record) = story.ask_for_run(1, "ann", "staging");
    let plan = Story::prepared(&record)["plan"];
    let mut views = story.followed();
    let status = |story: &Story| {
        let raw = rusqlite::Connection::open(story.views_path()).unwrap();
        let query = "SELECT status FROM agents WHERE agent_id = ?1";
        raw.query_row(query, [plan.to_string()], |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!(status(&story), "PENDING");
    story.release(plan);
    story.follow(&mut views);
    assert_eq!(status(&story), "RUNNING");
    story.boot();
    story.follow(&mut views);
    assert_eq!(status(&story), "WAITING");
    story.tell(Event::TreeProvenDead { agent: plan, killed: false });
    story.follow(&mut views);
    assert_eq!(status(&story), "FAILED");
}

#[test]
fn a_gate_that_waits_is_counted_until_it_closes() {
    let mut story = Story::new();
    let (run, record) = story.ask_for_run(1, "ann", "staging");
    let record = story.live(Story::prepared(&record)["plan"]);
    let mut views = story.followed();
    let waiting = views.approvals(&story.tenant, true).unwrap();
    assert_eq!((waiting.len(), waiting[0].outcome), (1, None));
    assert_eq!(views.latest_run(&story.tenant).unwrap().unwrap().approvals_waiting, 1);
    story.answer(opened(&record), "lead", GateDecision::Deny);
    story.follow(&mut views);
    let detail = views.run(&story.tenant, run).unwrap().unwrap();
    assert_eq!((detail.summary.approvals_waiting, detail.summary.status), (0, RunStatus::Failed));
    assert_eq!(
        (detail.summary.exit_code, stage(&detail.stages, "review").reason.as_str()),
        (Some(1), "denied")
    );
}

#[test]
fn runs_are_listed_newest_first_and_paged() {
    let story = eventful();
    let views = story.followed();
    let list = |filter: RunFilter| -> Vec<u128> {
        views.runs(&story.tenant, &filter).unwrap().iter().map(|run| run.pipeline_id.bits()).collect()
    };
    let page = |before, live_only| RunFilter { live_only, limit: 2, before };
    assert_eq!(list(page(None, false)), [6, 5]);
    assert_eq!(list(page(Some(RunId::from_bits(5)), false)), [4, 2]);
    assert_eq!(list(page(Some(RunId::from_bits(2)), false)), [1]);
    assert_eq!(list(page(Some(RunId::from_bits(77)), false)), [0; 0]);
    for run in list(page(None, true)) {
        let detail = views.run(&story.tenant, RunId::from_bits(run)).unwrap().unwrap();
        assert_eq!(detail.summary.ended_at, None);
    }
    assert_eq!(views.run(&story.tenant, RunId::from_bits(3)).unwrap(), None, "refused");
}

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
                of.agent_id.clone(),
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
fn r113_rebuilt_views_are_the_followed_ones() {
    let story = eventful();
    let mut views = story.followed();
    let followed = dump(&story);
    let head = story.head();
    assert_eq!(views.rebuild(&story.ledger().read(), &story.tenant).unwrap(), head);
    assert_eq!(dump(&story), followed);
    drop(views);
    fs::remove_file(story.views_path()).unwrap();
    drop(story.followed());
    assert_eq!(dump(&story), followed);
}

#[test]
fn why_a_run_does_not_end_and_what_did_not_count_can_be_seen() {
    let mut story = Story::new();
    let (run, record) = story.ask_for_run(1, "ann", "staging");
    let plan = Story::prepared(&record)["plan"];
    story.release(plan);
    let many = (0..300).map(|at| (format!("o{at:03}"), at.into())).collect();
    story.advance(
        plan,
        vec![Outcome::Execute {
            ended: Ended::Code { code: 0 },
            outputs: many,
            artifacts: Vec::new(),
            leftovers: 0,
            usage: Usage::default(),
        }],
    );
    story.tell(Event::StopRequested { run, by: name("ann"), reason: "enough".to_owned() });
    for (wait, times) in [(15, "once"), (30, "2 times")] {
        story.wait(Span::from_secs(wait));
        story.tell(Event::ClockTurned);
        let detail = story.followed().run(&story.tenant, run).unwrap().unwrap();
        let reason = format!("its agent is not reported gone, although that was asked for {times}");
        assert_eq!(stage(&detail.stages, "plan").reason, reason);
    }
    let actions = story.followed().actions(&story.tenant, &ALL).unwrap();
    let dropped = actions.iter().find(|row| row.action == "put_out").unwrap();
    assert_eq!(dropped.error_message.as_deref(), Some("44 outputs and 0 files do not count"));
    assert_eq!(actions.iter().filter(|row| row.action == "end_agent").count(), 2);
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

#[test]
fn r113_following_in_any_steps_leads_to_the_same() {
    let story = eventful();
    drop(story.followed());
    let at_once = dump(&story);
    drop(story);
    // The same story, with the views closed and opened again after every entry.
    let story = Story::new();
    let source = eventful();
    for seq in story.head() + 1..=source.head() {
        let entry = source.ledger().read().entry(&source.tenant, seq).unwrap().unwrap();
        let definitions = source.records[usize::try_from(seq).unwrap() - 1].definitions();
        let documents = definitions.map(|digest| {
            let bytes = source.ledger().document(&source.tenant, &digest).unwrap().unwrap().bytes;
            eparch_ledger::NewDocument { digest, kind: "pipeline".into(), bytes }
        });
        story.append(NewEntry { body: entry.body, documents: documents.collect(), ..NewEntry::default() });
        drop(story.followed());
    }
    assert_eq!(dump(&story), at_once);
}

#[test]
fn r111_damaged_views_are_made_anew() {
    let story = eventful();
    drop(story.followed());
    let good = dump(&story);
    let file = fs::read(story.views_path()).unwrap();
    let damages: Vec<(&str, Vec<u8>)> = vec![
        ("text", b"this is no database, but long enough to look like a file with something in it".to_vec()),
        ("empty", Vec::new()),
        ("cut", file[..file.len() / 2].to_vec()),
        ("header", [&[0x55; 64], &file[64..]].concat()),
        (
            "pages",
            file.iter()
                .enumerate()
                .map(|(at, byte)| if at > 8_192 && at % 512 == 0 { !byte } else { *byte })
                .collect(),
        ),
    ];
    for (what, bytes) in damages {
        fs::write(story.views_path(), bytes).unwrap();
        let views = story.followed();
        assert!(views.started_over().is_some(), "{what}");
        drop(views);
        assert_eq!(dump(&story), good, "{what}");
    }
}

#[test]
fn r118_views_of_another_version_are_made_anew() {
    let story = eventful();
    drop(story.followed());
    let good = dump(&story);
    for change in [
        "PRAGMA user_version = 99",
        "PRAGMA user_version = 2",
        "UPDATE schema_migrations SET digest = zeroblob(32) WHERE version = 3",
        "ALTER TABLE schema_migrations RENAME COLUMN digest TO hash",
        "PRAGMA application_id = 7",
    ] {
        let connection = rusqlite::Connection::open(story.views_path()).unwrap();
        connection.execute_batch(change).unwrap();
        drop(connection);
        let views = story.followed();
        assert!(views.started_over().is_some(), "{change}");
        drop(views);
        assert_eq!(dump(&story), good, "{change}");
    }
}

#[test]
fn damage_that_shows_while_following_is_put_right() {
    let mut story = eventful();
    let mut views = story.followed();
    let (_, record) = story.ask_for_run(9, "ann", "staging");
    story.follow(&mut views);
    let agent = Story::prepared(&record)["plan"];
    // Somebody writes into the file while it is open.
    let raw = rusqlite::Connection::open(story.views_path()).unwrap();
    let bad = "INSERT INTO agent_outputs VALUES ('default', ?1, 'bad', 'no JSON', 1, '')";
    raw.execute(bad, [agent.to_string()]).unwrap();
    drop(raw);
    story.live(agent);
    story.follow(&mut views);
    assert!(views.started_over().is_some());
    drop(views);
    let healed = dump(&story);
    fs::remove_file(story.views_path()).unwrap();
    drop(story.followed());
    assert_eq!(dump(&story), healed);
}

#[test]
fn r113_rebuilding_makes_the_file_anew_whatever_is_wrong_with_it() {
    let story = eventful();
    drop(story.followed());
    let good = dump(&story);
    for damage in [
        "DROP TABLE artifacts",
        "DROP TABLE votes; DROP TABLE approvals",
        "DROP INDEX runs_by_age",
        "PRAGMA foreign_keys = OFF; INSERT INTO stages (tenant_id, run_id, ix, name, kind, status, requires, journal_seq, ts) \
         VALUES ('default', 'run_none', 0, 'x', 'agent', 'pending', '[]', 1, '')",
        "DELETE FROM runs",
        "CREATE TRIGGER quiet AFTER INSERT ON runs BEGIN DELETE FROM runs; END",
    ] {
        let mut views = story.followed();
        let raw = rusqlite::Connection::open(story.views_path()).unwrap();
        raw.execute_batch(damage).unwrap();
        drop(raw);
        let head = story.head();
        assert_eq!(views.rebuild(&story.ledger().read(), &story.tenant).unwrap(), head, "{damage}");
        assert_eq!(dump(&story), good, "{damage}");
        let left: Vec<_> = fs::read_dir(story.views_path().parent().unwrap())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".new"))
            .collect();
        assert_eq!(left, Vec::<String>::new());
    }
    // A file whose tables are not those that its version names is not even opened.
    let raw = rusqlite::Connection::open(story.views_path()).unwrap();
    raw.execute_batch("DROP INDEX runs_by_age").unwrap();
    drop(raw);
    assert!(story.followed().started_over().is_some());
    assert_eq!(dump(&story), good);
}

#[test]
fn a_table_that_is_lost_under_open_views_is_put_right_by_following() {
    let mut story = eventful();
    let mut views = story.followed();
    let raw = rusqlite::Connection::open(story.views_path()).unwrap();
    raw.execute_batch("DROP TABLE violations; DROP TABLE agents").unwrap();
    drop(raw);
    story.ask_for_run(9, "ann", "staging");
    story.follow(&mut views);
    assert!(views.started_over().is_some());
    drop(views);
    let healed = dump(&story);
    fs::remove_file(story.views_path()).unwrap();
    drop(story.followed());
    assert_eq!(dump(&story), healed);
}

#[test]
fn r120_gates_are_read_a_page_at_a_time() {
    let story = eventful();
    let views = story.followed();
    for waiting_only in [false, true] {
        let all = views.approvals(&story.tenant, waiting_only).unwrap();
        assert_eq!(all.len() > 3, !waiting_only);
        let mut paged = Vec::new();
        loop {
            let after = paged.last().map(|gate: &eparch_ledger::views::ApprovalView| gate.gate);
            let filter = eparch_ledger::views::ApprovalFilter { waiting_only, after, limit: 2 };
            let page = views.approvals_page(&story.tenant, &filter).unwrap();
            assert!(page.len() <= 2);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, all);
    }
}

#[test]
fn an_entry_that_is_no_record_is_named_and_everything_before_it_is_seen() {
    let mut story = Story::new();
    let run = story.whole_run(1);
    let good = story.head();
    story.append(NewEntry { body: body("default", 1), ..NewEntry::default() });
    let mut views = story.views();
    for _ in 0..2 {
        let failed = views.follow(&story.ledger().read(), &story.tenant);
        assert!(matches!(failed, Err(ViewsError::Record { seq, .. }) if seq == good + 1));
        assert_eq!(views.seq(&story.tenant).unwrap(), good);
    }
    assert!(views.run(&story.tenant, run).unwrap().is_some());
}

#[test]
fn r124_another_tenant_sees_nothing() {
    let mut story = Story::new();
    let run = story.whole_run(1);
    let (acme, zeta) = (story.tenant.clone(), name("zeta"));
    let entry = story.ledger().read().entry(&acme, 1).unwrap().unwrap();
    let entries = vec![NewEntry { body: entry.body, ..NewEntry::default() }];
    story.ledger().append(Append { tenant: zeta.clone(), after: 0, entries }).unwrap();
    let mut views = story.followed();
    assert_eq!(views.follow(&story.ledger().read(), &zeta).unwrap(), 1);
    assert_eq!(views.runs(&zeta, &RunFilter { limit: 10, ..RunFilter::default() }).unwrap(), []);
    assert_eq!(views.run(&zeta, run).unwrap(), None);
    assert_eq!(views.approvals(&zeta, false).unwrap(), []);
    let gate = views.approvals(&acme, false).unwrap()[0].gate;
    assert_eq!(views.approval(&zeta, gate).unwrap(), None);
    assert_eq!(views.actions(&zeta, &ALL).unwrap().len(), 1);
    assert_eq!(views.actions(&zeta, &ActionFilter { run: Some(run), ..ALL }).unwrap(), []);
    assert_eq!(
        (views.violations(&zeta, None, 9).unwrap().len(), views.metrics(&zeta, story.now()).unwrap().len()),
        (0, 0)
    );
    // Making one tenant's views anew leaves the other's.
    let before = views.actions(&acme, &ALL).unwrap();
    views.rebuild(&story.ledger().read(), &zeta).unwrap();
    assert_eq!((views.seq(&acme).unwrap(), views.actions(&acme, &ALL).unwrap()), (story.head(), before));
}

#[test]
fn r113_views_of_another_history_are_not_continued() {
    let (mut story, mut other) = (Story::new(), Story::new());
    story.whole_run(1);
    other.whole_run(2);
    drop(other.followed());
    drop(story.followed());
    let good = dump(&story);
    fs::copy(other.views_path(), story.views_path()).unwrap();
    let views = story.followed();
    assert!(views.started_over().is_some());
    drop(views);
    assert_eq!(dump(&story), good);
}

#[test]
fn following_an_empty_journal_is_nothing() {
    let home = Home::new();
    let ledger = home.open();
    let reader: Reader = ledger.reader().unwrap();
    let mut views = Views::open(&home.dir.path().join("views.db")).unwrap();
    assert_eq!(views.follow(&reader, &name("nobody")).unwrap(), 0);
    assert_eq!(views.latest_run(&name("nobody")).unwrap(), None);
}

#[test]
fn a_record_is_told_in_one_line() {
    let mut story = Story::new();
    let (run, record) = story.ask_for_run(1, "ann", "staging");
    let agent = Story::prepared(&record)["plan"];
    assert_eq!(
        summary::of(&record),
        format!(
            "ann asks for {run}: run {run} RUNNING; stage plan READY; attempt 1 of stage plan begins as {agent}; \
             stage plan RUNNING; plan ({agent}) enters BOOTSTRAP"
        )
    );
    let (_, refused) = story.ask_for_run(2, "eve", "staging");
    assert_eq!(
        summary::of(&refused),
        "eve asks for run_00000000000000000000000002: refused EP0205, eve is viewer and may not start runs"
    );
    let record = story.live(agent);
    let gate = opened(&record);
    let views = story.followed();
    let line = views.summary(&story.tenant, &record).unwrap();
    assert!(
        line.starts_with(&format!("plan ({agent}) came through VERIFY, PACKAGE, REPORT, EXIT: ")),
        "{line}"
    );
    assert!(
        line.ends_with(&format!("gate {gate} waits at stage review; stage review AWAITING_APPROVAL")),
        "{line}"
    );
    let mut record = story.answer(gate, "lead", GateDecision::Deny);
    assert_eq!(record.decision.answer, Answer::Taken);
    if let Event::GateAnswered(answer) = &mut record.event {
        answer.rationale = "no\n\u{1b}[2Jway".into();
    }
    assert!(
        summary::of(&record).starts_with(&format!("lead denies {gate} (no  [2Jway): gate {gate} was denied"))
    );
}

/// How long following takes; a figure, not a promise of a test (`cargo test --release -- --ignored --nocapture`).
#[test]
#[ignore = "measures"]
fn following_ten_thousand_entries_is_quick() {
    let mut story = Story::new();
    for number in 1.. {
        story.whole_run(number);
        if story.head() >= 10_000 {
            break;
        }
    }
    let mut views = story.views();
    let head = story.head();
    let start = std::time::Instant::now();
    views.follow(&story.ledger().read(), &story.tenant).unwrap();
    let took = start.elapsed();
    println!("{{\"entries\":{head},\"seconds\":{:.3}}}", took.as_secs_f64());
}
