//! Gates and the answers at them.

use eparch_domain::{GateId, LedgerTime, Name, Timestamp};
use eparch_governor::{GateDecision, GateOpened, GateOutcome, Separation, Until};

use super::Writing;
use crate::views::action::NewAction;
use crate::views::audit::Ruling;
use crate::views::column::{count, json, word};

/// A gate waits.
pub(super) fn opened(to: &Writing<'_>, no: i64, opened: &GateOpened) -> Result<(), rusqlite::Error> {
    let expires = opened.deadline.wall(to.record.at);
    let run = opened.run.to_string();
    to.run(
        "INSERT INTO approvals (tenant_id, gate_id, run_id, ix, stage, pipeline, purpose, subject, plan_id, approvers, \
         quorum, requester, separation, opened_at, expires_at, opened_seq, opened_no, sought, ends_ms, journal_seq, ts) \
         SELECT ?1, ?4, ?5, ?6, s.name, r.name, ?7, ?8, r.plan_id, ?9, ?10, ?11, ?12, ?3, ?13, ?2, ?14, ?15, ?16, ?2, ?3 \
         FROM stages s JOIN runs r USING (tenant_id, run_id) WHERE s.tenant_id = ?1 AND s.run_id = ?5 AND s.ix = ?6",
        &[
            &opened.gate.to_string(),
            &run,
            &opened.stage.0,
            &word(&opened.purpose),
            &opened.subject.to_string(),
            &json(&opened.approvers),
            &opened.quorum,
            &opened.requester.as_str(),
            &word(&opened.separation),
            &expires.to_string(),
            &no,
            &opened.sought.as_ref().map(json),
            &count(opened.deadline.ledger.millis()),
        ],
    )?;
    waiting(to, &run, 1)
}

/// The wall clock was set back: what waits waits no longer by it than by ledger time.
pub(super) fn wait_less(to: &Writing<'_>) -> Result<(), rusqlite::Error> {
    let at = to.record.at;
    let mut open = to.sql.prepare_cached(
        "SELECT gate_id, ends_ms, expires_at FROM approvals WHERE tenant_id = ?1 AND outcome IS NULL",
    )?;
    let rows = open.query_map([to.tenant], |row| {
        let (gate, ends, expires): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((gate, ends, expires))
    })?;
    for row in rows.collect::<Result<Vec<_>, _>>()? {
        let (gate, ends, expires) = row;
        let by_ledger = LedgerTime::from_millis(ends.unsigned_abs());
        let sooner = Until { ledger: by_ledger, wall: None }.wall(at);
        if expires.parse().is_ok_and(|expires: Timestamp| sooner < expires) {
            to.run(
                "UPDATE approvals SET expires_at = ?5, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND gate_id = ?4",
                &[&gate, &sooner.to_string()],
            )?;
        }
    }
    Ok(())
}

fn waiting(to: &Writing<'_>, run: &str, more: i64) -> Result<(), rusqlite::Error> {
    to.run(
        "UPDATE runs SET approvals_waiting = approvals_waiting + ?5, journal_seq = ?2, ts = ?3 \
         WHERE tenant_id = ?1 AND run_id = ?4",
        &[&run, &more],
    )?;
    Ok(())
}

/// Somebody answered, and their answer counts.
pub(super) fn voted(
    to: &Writing<'_>,
    gate: GateId,
    by: &Name,
    decision: GateDecision,
    rationale: &str,
    separation: Separation,
) -> Result<(), rusqlite::Error> {
    to.run(
        "INSERT INTO votes (tenant_id, gate_id, voter, decision, rationale, separation, journal_seq, ts) \
         VALUES (?1, ?4, ?5, ?6, ?7, ?8, ?2, ?3)",
        &[&gate.to_string(), &by.as_str(), &word(&decision), &rationale, &word(&separation)],
    )?;
    Ok(())
}

/// A gate waits no longer: by the last answer, by time, or with its run. Its row says which.
pub(super) fn closed(to: &Writing<'_>, gate: GateId, outcome: GateOutcome) -> Result<(), rusqlite::Error> {
    let gate = gate.to_string();
    let run = to.run_of_gate(&gate)?;
    to.run(
        "UPDATE approvals SET outcome = ?5, closed_at = ?3, journal_seq = ?2, ts = ?3 WHERE tenant_id = ?1 AND gate_id = ?4",
        &[&gate, &word(&outcome)],
    )?;
    if let Some(run) = &run {
        waiting(to, run, -1)?;
    }
    let ruling = if outcome == GateOutcome::Approved { Ruling::Allow } else { Ruling::Deny };
    let reason = Some(word(&outcome));
    NewAction { action: "gate_closed", run, target: Some(gate), ruling, reason, ..NewAction::default() }
        .write(to)?;
    Ok(())
}
