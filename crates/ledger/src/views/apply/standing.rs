//! How an agent stands from run to run: what promotion and demotion will ask for.

use super::{AgentRow, Writing};
use crate::views::audit::violations_from;

/// What changes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A run ended well, and nothing was violated in it.
    RanCompliantly,
    /// A run ended otherwise.
    Ran,
    /// Something was violated.
    Violated,
}

pub(super) fn change(to: &Writing<'_>, row: &AgentRow, change: Change) -> Result<(), rusqlite::Error> {
    let (ran, compliant) = (change != Change::Violated, change == Change::RanCompliantly);
    to.run(
        "INSERT INTO agent_metrics (tenant_id, agent_id, current_tier, total_runs, compliant_runs, consecutive_compliant, \
         violations_30d, last_run_at, last_violation_at, journal_seq, ts) \
         SELECT ?1, ?4, ?5, ?6, ?7, ?7, \
         (SELECT count(*) FROM violations WHERE tenant_id = ?1 AND agent_name = ?4 AND ts > ?8), \
         iif(?6, ?3, NULL), iif(?6, NULL, ?3), ?2, ?3 WHERE true \
         ON CONFLICT DO UPDATE SET current_tier = excluded.current_tier, total_runs = total_runs + excluded.total_runs, \
         compliant_runs = compliant_runs + excluded.compliant_runs, \
         consecutive_compliant = iif(excluded.compliant_runs, consecutive_compliant + 1, 0), \
         violations_30d = excluded.violations_30d, last_run_at = coalesce(excluded.last_run_at, last_run_at), \
         last_violation_at = coalesce(excluded.last_violation_at, last_violation_at), \
         journal_seq = excluded.journal_seq, ts = excluded.ts",
        &[&row.agent_name, &row.tier, &ran, &compliant, &violations_from(to.record.at.wall).to_string()],
    )?;
    Ok(())
}
