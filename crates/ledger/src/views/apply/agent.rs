//! Agents: each one attempt, its life, and what it leaves.

use std::collections::BTreeMap;

use eparch_domain::{
    AgentId, AgentStatus, Artifact, ClarifiedPlan, Digest, InOrder, Phase, RunId, Tier, ViolationType,
};
use eparch_governor::{AttemptEnd, Outcome, SILENT};
use eparch_pipeline::StageIx;
use rusqlite::params;
use serde_json::Value;

use super::{AgentRow, Writing, run, standing};
use crate::views::action::NewAction;
use crate::views::audit::ActionResult;
use crate::views::column::{count, json};

/// An attempt began. What it will run stands in the effect that goes with it.
pub(super) fn began(
    to: &Writing<'_>,
    run: RunId,
    ix: StageIx,
    agent: AgentId,
    attempt: u32,
) -> Result<(), rusqlite::Error> {
    let spec = to.spec(agent);
    let params = spec.map(|spec| Digest::of(json(&spec.command).as_bytes()).to_string());
    let (run, agent) = (run.to_string(), agent.to_string());
    to.run(
        "INSERT INTO agents (tenant_id, agent_id, run_id, ix, stage, agent_name, agent_version, attempt, tier, phase, \
         status, program, params_digest, began_at, began_ms, standing, acted, journal_seq, ts) \
         SELECT ?1, ?6, ?4, ?5, s.name, r.name || '/' || s.name, s.template, ?7, coalesce(?13, s.tier, 0), ?8, ?9, ?10, ?11, \
         ?3, ?12, s.standing, ?14, ?2, ?3 FROM stages s JOIN runs r USING (tenant_id, run_id) \
         WHERE s.tenant_id = ?1 AND s.run_id = ?4 AND s.ix = ?5",
        &[
            &run,
            &ix.0,
            &agent,
            &attempt,
            &Phase::Bootstrap.as_str(),
            &AgentStatus::Pending.as_str(),
            &spec.and_then(|spec| spec.command.first()),
            &params,
            &count(to.record.at.ledger.millis()),
            &spec.map(|spec| spec.tier.number()),
            &spec.is_some_and(|spec| !spec.write.is_empty() && spec.tier >= Tier::T1),
        ],
    )?;
    to.run(
        "UPDATE stages SET attempts = ?6, agent_id = ?7, journal_seq = ?2, ts = ?3 \
         WHERE tenant_id = ?1 AND run_id = ?4 AND ix = ?5",
        &[&run, &ix.0, &attempt, &agent],
    )?;
    run::used(to, "agents")
}

/// What the shell found out on the way through an agent's phases. Nothing of it counts once the agent has ended.
pub(super) fn outcomes(
    to: &Writing<'_>,
    agent: AgentId,
    outcomes: &[Outcome],
) -> Result<(), rusqlite::Error> {
    if !to.agent(agent)?.is_some_and(|row| row.is_followed()) {
        return Ok(());
    }
    for outcome in outcomes {
        match outcome {
            Outcome::Bootstrap { packet, .. } => set(to, agent, "packet", &packet.to_string())?,
            Outcome::Preflight { confinement, .. } => set(to, agent, "confinement", &json(confinement))?,
            Outcome::Execute { usage, .. } => {
                to.run(
                    "UPDATE agents SET cpu_ms = ?5, max_rss_bytes = ?6, wall_ms = ?7, lines = ?8, lines_dropped = ?9, \
                     journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND agent_id = ?4",
                    &[
                        &agent.to_string(),
                        &count(usage.cpu_ms),
                        &count(usage.max_rss_bytes),
                        &count(usage.wall_ms),
                        &count(usage.lines),
                        &count(usage.lines_dropped),
                    ],
                )?;
            }
            // Facts tell of these.
            Outcome::Plan { .. }
            | Outcome::Verify { .. }
            | Outcome::Package { .. }
            | Outcome::Report { .. }
            | Outcome::Exit
            | Outcome::Failed { .. } => {}
        }
    }
    Ok(())
}

/// Sets one column of an agent to a text; the column is one of this module's own words.
fn set(to: &Writing<'_>, agent: AgentId, column: &'static str, value: &str) -> Result<(), rusqlite::Error> {
    let statement = format!(
        "UPDATE agents SET {column} = ?5, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND agent_id = ?4"
    );
    to.run(&statement, &[&agent.to_string(), &value])?;
    Ok(())
}

/// Counts one more in a column of an agent.
fn count_one(to: &Writing<'_>, agent: AgentId, column: &'static str) -> Result<(), rusqlite::Error> {
    let statement = format!(
        "UPDATE agents SET {column} = {column} + 1, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND agent_id = ?4"
    );
    to.run(&statement, &[&agent.to_string()])?;
    Ok(())
}

pub(super) fn entered(to: &Writing<'_>, agent: AgentId, phase: Phase) -> Result<(), rusqlite::Error> {
    set(to, agent, "phase", phase.as_str())?;
    if let Some(row) = to.agent(agent)? {
        let target = Some(phase.to_string());
        NewAction { target, result: Some(ActionResult::Ok), ..NewAction::by(&row, "enter_phase") }
            .write(to)?;
    }
    Ok(())
}

pub(super) fn planned(to: &Writing<'_>, agent: AgentId, plan: &Digest) -> Result<(), rusqlite::Error> {
    set(to, agent, "plan", &plan.to_string())
}

/// Its plan is issued again because it made so many errors. What it was let go with stays its plan.
pub(super) fn clarified(
    to: &Writing<'_>,
    agent: AgentId,
    clarified: &ClarifiedPlan,
) -> Result<(), rusqlite::Error> {
    if let Some(row) = to.agent(agent)? {
        let (target, params_digest) =
            (Some(clarified.replaces.to_string()), Some(clarified.plan.to_string()));
        let reason = Some(clarified.reason.clone());
        NewAction { actor: None, target, params_digest, reason, ..NewAction::by(&row, "clarify_plan") }
            .write(to)?;
    }
    Ok(())
}

/// The agent's program was let go: the moment from which something may happen outside.
pub(super) fn released(to: &Writing<'_>, agent: AgentId) -> Result<(), rusqlite::Error> {
    set(to, agent, "released_at", &to.ts)?;
    if let Some(row) = to.agent(agent)? {
        let (target, params_digest) = (row.program.clone(), row.params_digest.clone());
        NewAction { target, params_digest, ..NewAction::by(&row, "execute_command") }.write(to)?;
    }
    Ok(())
}

pub(super) fn ending(to: &Writing<'_>, agent: AgentId) -> Result<(), rusqlite::Error> {
    to.run(
        "UPDATE agents SET ending = 1, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND agent_id = ?4",
        &[&agent.to_string()],
    )?;
    Ok(())
}

pub(super) fn put_out(
    to: &Writing<'_>,
    agent: AgentId,
    outputs: &BTreeMap<String, Value>,
    artifacts: &[Artifact],
) -> Result<(), rusqlite::Error> {
    let id = agent.to_string();
    to.run("UPDATE agents SET journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND agent_id = ?4", &[&id])?;
    for (name, value) in outputs {
        to.run(
            "INSERT INTO agent_outputs (tenant_id, agent_id, name, value, journal_seq, ts) \
             VALUES (?1, ?4, ?5, ?6, ?2, ?3) ON CONFLICT DO UPDATE SET value = excluded.value, \
             journal_seq = excluded.journal_seq, ts = excluded.ts",
            &[&id, &name, &json(&InOrder(value))],
        )?;
    }
    for artifact in artifacts {
        let (digest, size) = (artifact.digest.to_string(), count(artifact.size));
        to.run(
            "INSERT INTO agent_artifacts (tenant_id, agent_id, no, path, digest, size, grade, journal_seq, ts) \
             SELECT ?1, ?4, coalesce(max(no) + 1, 0), ?5, ?6, ?7, ?8, ?2, ?3 \
             FROM agent_artifacts WHERE tenant_id = ?1 AND agent_id = ?4",
            &[&id, &artifact.path, &digest, &size, &artifact.grade.as_str()],
        )?;
    }
    Ok(())
}

pub(super) fn erred(to: &Writing<'_>, agent: AgentId) -> Result<(), rusqlite::Error> {
    count_one(to, agent, "errors")
}

pub(super) fn packaged(to: &Writing<'_>, agent: AgentId, manifest: &Digest) -> Result<(), rusqlite::Error> {
    set(to, agent, "manifest", &manifest.to_string())
}

pub(super) fn reported(to: &Writing<'_>, agent: AgentId, report: &Digest) -> Result<(), rusqlite::Error> {
    set(to, agent, "report", &report.to_string())
}

/// How it stands from here on, as the governor reads its facts.
pub(super) fn stands(to: &Writing<'_>, agent: AgentId, status: AgentStatus) -> Result<(), rusqlite::Error> {
    set(to, agent, "status", status.as_str())
}

/// Its holder died: whether it still runs is not known until its tree is proven dead.
pub(super) fn cut_off(to: &Writing<'_>, agent: AgentId) -> Result<(), rusqlite::Error> {
    to.run(
        "UPDATE agents SET cut_off = 1, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND agent_id = ?4",
        &[&agent.to_string()],
    )?;
    Ok(())
}

/// It is to be dead, and nothing says that it is: whoever looks at the run learns why it does not end.
pub(super) fn lingers(to: &Writing<'_>, agent: AgentId, asked: u32) -> Result<(), rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return Ok(()) };
    let times = if asked == 1 { "once".to_owned() } else { format!("{asked} times") };
    let reason = format!("its agent is not reported gone, although that was asked for {times}");
    to.run(
        "UPDATE stages SET reason = ?6, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND run_id = ?4 AND ix = ?5",
        &[&row.run_id, &row.ix, &reason],
    )?;
    let mut action = NewAction { actor: None, ..NewAction::by(&row, "end_agent") };
    action.failed("lingers", reason);
    action.write(to).map(drop)
}

/// It gave heartbeats, and has given none for a while: whoever looks at the run learns of it.
pub(super) fn is_silent(to: &Writing<'_>, agent: AgentId) -> Result<(), rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return Ok(()) };
    to.run(
        "UPDATE stages SET reason = ?6, journal_seq = ?2, ts = ?3 \
         WHERE tenant_id = ?1 AND run_id = ?4 AND ix = ?5 AND reason = ''",
        &[&row.run_id, &row.ix, &SILENT],
    )?;
    let mut action = NewAction { actor: None, ..NewAction::by(&row, "heartbeat") };
    action.failed("heartbeats_missed", SILENT.to_owned());
    action.write(to).map(drop)
}

/// It says that it lives: what was said of its silence holds no more.
pub(super) fn lives(to: &Writing<'_>, agent: AgentId) -> Result<(), rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return Ok(()) };
    to.run(
        "UPDATE stages SET reason = '', journal_seq = ?2, ts = ?3 \
         WHERE tenant_id = ?1 AND run_id = ?4 AND ix = ?5 AND reason = ?6",
        &[&row.run_id, &row.ix, &SILENT],
    )?;
    Ok(())
}

/// Some of what it put out was too much.
pub(super) fn dropped(
    to: &Writing<'_>,
    agent: AgentId,
    outputs: u32,
    artifacts: u32,
) -> Result<(), rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return Ok(()) };
    let mut action = NewAction::by(&row, "put_out");
    action.denied("too_many", format!("{outputs} outputs and {artifacts} files do not count"));
    action.write(to).map(drop)
}

pub(super) fn violated(
    to: &Writing<'_>,
    agent: AgentId,
    violation: ViolationType,
    detail: &str,
) -> Result<(), rusqlite::Error> {
    count_one(to, agent, "violations")?;
    let row = to.agent(agent)?;
    let mut action = match &row {
        Some(row) => NewAction::by(row, "violation"),
        None => NewAction { action: "violation", actor: Some(agent.to_string()), ..NewAction::default() },
    };
    action.denied(violation.as_str(), detail.to_owned());
    let no = action.write(to)?;
    to.run(
        "INSERT INTO violations (tenant_id, journal_seq, no, ts, agent_id, agent_name, pipeline_id, type, severity, \
         revocation_type, detail, standing) VALUES (?1, ?2, ?4, ?3, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        &[
            &no,
            &agent.to_string(),
            &row.as_ref().map(|row| &row.agent_name),
            &row.as_ref().map(|row| &row.run_id),
            &violation.as_str(),
            &violation.severity().as_str(),
            &violation.revocation().as_str(),
            &detail,
            &row.as_ref().and_then(|row| row.standing.as_ref()),
        ],
    )?;
    row.map_or(Ok(()), |row| standing::violated(to, &row))
}

/// An attempt ended: the row of what came of it, what its stage keeps of it, and how the agent stands now.
pub(super) fn ended(to: &Writing<'_>, agent: AgentId, end: &AttemptEnd) -> Result<(), rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return Ok(()) };
    let mut action = NewAction::by(&row, "end_attempt");
    action.duration_ms = Some(count(to.record.at.ledger.millis()).saturating_sub(row.began_ms));
    match end {
        AttemptEnd::Completed => action.result = Some(ActionResult::Ok),
        AttemptEnd::Failed { code, reason } => action.failed(code, reason.clone()),
        AttemptEnd::TimedOut { limit, .. } => action.failed(&format!("{limit}_timeout"), end.reason()),
        AttemptEnd::Cancelled { .. } => action.failed("cancelled", end.reason()),
        AttemptEnd::LockLost { .. } => action.failed("EP0672", end.reason()),
        AttemptEnd::Interrupted { .. } => action.failed("interrupted", end.reason()),
        AttemptEnd::Revoked { .. } => action.denied("revoked", end.reason()),
        AttemptEnd::Stalled { .. } => action.denied("no_progress", end.reason()),
    }
    action.write(to)?;
    to.run(
        "UPDATE agents SET ended = ?5, ended_at = ?3, journal_seq = ?2, ts = ?3 \
         WHERE tenant_id = ?1 AND agent_id = ?4",
        &[&row.agent_id, &json(end)],
    )?;
    if *end == AttemptEnd::Completed {
        keep(to, &row)?;
    }
    standing::ended(to, &row, end)
}

/// What a completed attempt put out is what its stage has left.
fn keep(to: &Writing<'_>, row: &AgentRow) -> Result<(), rusqlite::Error> {
    let mut outputs = to.sql.prepare_cached(
        "SELECT name, value FROM agent_outputs WHERE tenant_id = ?1 AND agent_id = ?2 ORDER BY name",
    )?;
    let outputs = outputs.query_map(params![to.tenant, row.agent_id], |row| {
        let text: String = row.get(1)?;
        let value: Value = serde_json::from_str(&text).map_err(|source| {
            let kind = rusqlite::types::Type::Text;
            rusqlite::Error::FromSqlConversionFailure(1, kind, Box::new(source))
        })?;
        Ok((row.get::<_, String>(0)?, value))
    })?;
    let outputs: BTreeMap<String, Value> = outputs.collect::<Result<_, _>>()?;
    run::left(to, &row.run_id, StageIx(row.ix), &json(&InOrder(&outputs)))?;
    to.run(
        "INSERT INTO artifacts (tenant_id, run_id, ix, no, agent_id, path, digest, size, grade, journal_seq, ts) \
         SELECT ?1, ?4, ?5, no, ?6, path, digest, size, grade, ?2, ?3 \
         FROM agent_artifacts WHERE tenant_id = ?1 AND agent_id = ?6",
        &[&row.run_id, &row.ix, &row.agent_id],
    )?;
    Ok(())
}
