//! What policies that are only watched would have said.

use std::collections::BTreeSet;

use eparch_governor::Ruled;

use super::Writing;

/// An agent was answered; watched policies may have spoken beside it.
pub(super) fn spoke(to: &Writing<'_>, no: i64, ruled: &Ruled) -> Result<(), rusqlite::Error> {
    let verdict = &ruled.verdict;
    if verdict.shadowed.is_empty() {
        return Ok(());
    }
    let Some(row) = to.agent(ruled.agent)? else { return Ok(()) };
    let otherwise: BTreeSet<&str> = verdict.otherwise().map(|shadow| &*shadow.policy).collect();
    let gate = ruled.gate.map(|gate| gate.to_string());
    for shadow in &verdict.shadowed {
        to.run(
            "INSERT INTO watched (tenant_id, journal_seq, ts, no, policy, run_id, agent_id, gate_id, action, target, decided, \
             would, reason_code, otherwise) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            &[
                &no,
                &&*shadow.policy,
                &row.run_id,
                &row.agent_id,
                &gate,
                &ruled.action.as_str(),
                &ruled.target,
                &verdict.decision.as_str(),
                &shadow.decision.as_str(),
                &&*shadow.reason,
                &otherwise.contains(&*shadow.policy),
            ],
        )?;
    }
    if !otherwise.is_empty() {
        to.run(
            "UPDATE runs SET decided_otherwise = decided_otherwise + 1, journal_seq = ?2, ts = ?3 \
             WHERE tenant_id = ?1 AND run_id = ?4",
            &[&row.run_id],
        )?;
    }
    Ok(())
}
