//! Runs and their stages.

use eparch_domain::{InOrder, RunId, RunStatus, StageStatus};
use eparch_governor::{Kept, RunSpawned};
use eparch_pipeline::{Pipeline, Stage, StageIx, Work};

use super::Writing;
use crate::views::PROJECT;
use crate::views::action::NewAction;
use crate::views::column::{count, json};

/// A run exists, and with it a row for each of its stages.
pub(super) fn spawned(
    to: &Writing<'_>,
    spawned: &RunSpawned,
    pipeline: &Pipeline,
) -> Result<(), rusqlite::Error> {
    let run = spawned.run.to_string();
    let (repeats, from) =
        spawned.repeats.as_ref().map(|(run, from)| (run.to_string(), from.to_string())).unzip();
    to.run(
        "INSERT INTO runs (tenant_id, project_id, run_id, name, status, requester, tier, plan_id, definition, inputs, root, \
         started_at, repeats, repeats_from, stages_total, parent_run, parent_agent, spawn_reason, opened_seq, \
         journal_seq, ts) \
         VALUES (?1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?3, ?14, ?15, ?16, ?17, ?18, ?19, ?2, ?2, ?3)",
        &[
            &PROJECT,
            &run,
            &pipeline.name.as_str(),
            &RunStatus::Spawned.as_str(),
            &spawned.requester.as_str(),
            &spawned.grant.number(),
            &spawned.plan.to_string(),
            &spawned.pipeline.to_string(),
            &json(&InOrder(&spawned.inputs)),
            &spawned.root,
            &repeats,
            &from,
            &count(pipeline.stages.len() as u64),
            &spawned.parent.as_ref().map(|parent| parent.run.to_string()),
            &spawned.parent.as_ref().map(|parent| parent.agent.to_string()),
            &spawned.parent.as_ref().map(|parent| &parent.reason),
        ],
    )?;
    for ix in pipeline.places() {
        let stage = pipeline.stage(ix);
        let requires: Vec<_> = stage.requires.iter().map(|earlier| &pipeline.stage(*earlier).name).collect();
        let work = match &stage.work {
            Work::Agent(work) => Some(work),
            _ => None,
        };
        to.run(
            "INSERT INTO stages (tenant_id, run_id, ix, name, kind, status, parent, branch, requires, tier, template, \
             standing, journal_seq, ts) VALUES (?1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?2, ?3)",
            &[
                &run,
                &ix.0,
                &stage.name.as_str(),
                &stage.work.kind().as_str(),
                &StageStatus::Pending.as_str(),
                &stage.parent.map(|parent| pipeline.stage(parent.stage).name.as_str()),
                &branch_of(stage, pipeline),
                &json(&requires),
                &work.map(|work| work.tier.min(spawned.grant).number()),
                &work.map(|work| work.template.as_str()).filter(|template| !template.is_empty()),
                &work.map(|work| work.standing().to_string()),
            ],
        )?;
    }
    used(to, "runs")
}

fn branch_of<'p>(stage: &Stage, pipeline: &'p Pipeline) -> Option<&'p str> {
    let parent = stage.parent?;
    match &pipeline.stage(parent.stage).work {
        Work::Parallel(work) => {
            work.branches.get(usize::from(parent.list)).map(|branch| branch.name.as_str())
        }
        Work::Condition(_) if parent.list == 0 => Some("then"),
        Work::Condition(_) => Some("else"),
        Work::Agent(_) | Work::Gate(_) => None,
    }
}

/// Counts one more of something for the tenant, on the day of the entry.
pub(super) fn used(to: &Writing<'_>, resource: &str) -> Result<(), rusqlite::Error> {
    to.run(
        "INSERT INTO tenant_usage (tenant_id, resource, period, used, journal_seq, ts) \
         VALUES (?1, ?4, substr(?3, 1, 10), 1, ?2, ?3) \
         ON CONFLICT DO UPDATE SET used = used + 1, journal_seq = excluded.journal_seq, ts = excluded.ts",
        &[&resource],
    )?;
    Ok(())
}

/// A run's time is over: nobody asked for its end, so it has a row of its own.
pub(super) fn ran_out(to: &Writing<'_>, run: RunId, reason: &str) -> Result<(), rusqlite::Error> {
    let run = run.to_string();
    let (target, reason) = (Some(run.clone()), Some(reason.to_owned()));
    NewAction { action: "end_run", target, run: Some(run), reason, ..NewAction::default() }.write(to)?;
    Ok(())
}

pub(super) fn changed(
    to: &Writing<'_>,
    run: RunId,
    status: RunStatus,
    reason: &str,
) -> Result<(), rusqlite::Error> {
    let ended = status.is_terminal().then_some(&to.ts);
    to.run(
        "UPDATE runs SET status = ?5, reason = ?6, exit_code = ?7, ended_at = ?8, journal_seq = ?2, ts = ?3 \
         WHERE tenant_id = ?1 AND run_id = ?4",
        &[&run.to_string(), &status.as_str(), &reason, &status.exit_code(), &ended],
    )?;
    Ok(())
}

pub(super) fn stage_changed(
    to: &Writing<'_>,
    run: RunId,
    ix: StageIx,
    status: StageStatus,
    reason: &str,
) -> Result<(), rusqlite::Error> {
    let run = run.to_string();
    if status.is_terminal() {
        return end_stage(to, &run, ix, status, reason);
    }
    // What is ready waits for a free agent, and has not begun.
    let began = (status != StageStatus::Ready).then_some(&to.ts);
    to.run(
        "UPDATE stages SET status = ?6, reason = ?7, started_at = coalesce(started_at, ?8), journal_seq = ?2, ts = ?3 \
         WHERE tenant_id = ?1 AND run_id = ?4 AND ix = ?5",
        &[&run, &ix.0, &status.as_str(), &reason, &began],
    )?;
    Ok(())
}

fn end_stage(
    to: &Writing<'_>,
    run: &str,
    ix: StageIx,
    status: StageStatus,
    reason: &str,
) -> Result<(), rusqlite::Error> {
    to.run(
        "UPDATE runs SET stages_ended = stages_ended + 1, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND run_id = ?4 \
         AND EXISTS (SELECT 1 FROM stages WHERE tenant_id = ?1 AND run_id = ?4 AND ix = ?5 AND ended_at IS NULL)",
        &[&run, &ix.0],
    )?;
    to.run(
        "UPDATE stages SET status = ?6, reason = ?7, ended_at = ?3, journal_seq = ?2, ts = ?3 \
         WHERE tenant_id = ?1 AND run_id = ?4 AND ix = ?5",
        &[&run, &ix.0, &status.as_str(), &reason],
    )?;
    Ok(())
}

/// A stage was kept from an earlier run: it has ended without having begun.
pub(super) fn stage_kept(
    to: &Writing<'_>,
    run: RunId,
    ix: StageIx,
    kept: &Kept,
) -> Result<(), rusqlite::Error> {
    let run = run.to_string();
    end_stage(to, &run, ix, StageStatus::Completed, "kept from the run it repeats")?;
    left(to, &run, ix, &json(&InOrder(&kept.outputs)))?;
    for (no, artifact) in (0_i64..).zip(&kept.artifacts) {
        let (digest, size) = (artifact.digest.to_string(), count(artifact.size));
        to.run(
            "INSERT INTO artifacts (tenant_id, run_id, ix, no, agent_id, path, digest, size, grade, journal_seq, ts) \
             VALUES (?1, ?4, ?5, ?6, NULL, ?7, ?8, ?9, ?10, ?2, ?3)",
            &[&run, &ix.0, &no, &artifact.path, &digest, &size, &artifact.grade.as_str()],
        )?;
    }
    Ok(())
}

/// What a completed stage has left, beside its artifacts.
pub(super) fn left(to: &Writing<'_>, run: &str, ix: StageIx, outputs: &str) -> Result<(), rusqlite::Error> {
    to.run(
        "UPDATE stages SET outputs = ?6, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND run_id = ?4 AND ix = ?5",
        &[&run, &ix.0, &outputs],
    )?;
    Ok(())
}
