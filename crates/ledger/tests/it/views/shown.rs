//! What a page shows of runs, stages, gates and agents.

use std::collections::BTreeMap;

use eparch_domain::{RunId, RunStatus, Span, StageResult, StageStatus, Tier, limits};
use eparch_governor::{
    Answer, Ended, Event, Fact, GateDecision, GateOutcome, Outcome, SILENT, Signal, Usage,
};
use eparch_ledger::views::{ActionFilter, RunFilter, StageView, Views, summary};
use eparch_ledger::{Append, NewEntry};
use rusqlite::types::Value;

use super::story::{Story, opened};
use super::{ALL, dump, eventful, stage};
use crate::home::name;

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
    assert_eq!(tables["schema_migrations"].len(), 8);
}

/// Whoever looks at a run is told of an agent that has gone silent, until it speaks again (R152).
#[test]
fn r152_a_silent_agent_shows_at_its_stage_until_it_speaks() {
    let mut story = Story::new();
    let (run, record) = story.ask_for_run(1, "ann", "staging");
    let agent = Story::prepared(&record)["plan"];
    story.release(agent);
    let reason = |story: &Story| {
        let detail = story.followed().run(&story.tenant, run).unwrap().unwrap();
        stage(&detail.stages, "plan").reason.clone()
    };
    story.signal(agent, Signal::Heartbeat);
    story.wait(limits::HEARTBEATS_MISSED);
    assert_eq!(reason(&story), "");
    story.tell(Event::ClockTurned);
    assert_eq!(reason(&story), SILENT);
    story.signal(agent, Signal::Heartbeat);
    assert_eq!(reason(&story), "");
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

/// F17: what is shown of a gate's end is when it ends, also once the wall clock was set back.
#[test]
fn f17_a_gate_is_shown_to_end_when_it_does_whatever_the_wall_clock_did() {
    let mut story = Story::new();
    let (_, record) = story.ask_for_run(1, "ann", "production");
    let record = story.live(Story::prepared(&record)["plan"]);
    let gate = opened(&record);
    let opened_at = record.at.wall.millis();
    let mut views = story.followed();
    let mut shown = |story: &Story| {
        story.follow(&mut views);
        views.approval(&story.tenant, gate).unwrap().unwrap().expires_at.millis()
    };
    assert_eq!(shown(&story), opened_at + 30 * 60 * 1_000);
    story.wait(Span::from_mins(10));
    story.set_back(Span::from_hours(1));
    story.tell(Event::ClockJumped { by_ms: -3_600_000 });
    assert_eq!(shown(&story), opened_at - 30 * 60 * 1_000, "twenty minutes from now, as the clock is");
    story.wait(Span::from_mins(20));
    let record = story.tell(Event::ClockTurned);
    let closed = Fact::GateClosed { gate, outcome: GateOutcome::TimedOut };
    assert!(record.decision.facts.contains(&closed), "{:?}", record.decision.facts);
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
