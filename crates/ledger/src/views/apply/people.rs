//! People and programs that may act, and which of their keys were good when.

use eparch_domain::Name;
use eparch_governor::{Event, Key, Operator};

use super::Writing;
use crate::views::column::json;

/// Somebody may act from now on.
pub(super) fn known(to: &Writing<'_>, no: i64, operator: &Operator) -> Result<(), rusqlite::Error> {
    let by = match &to.record.event {
        Event::OperatorAdded { by, .. } => by.as_ref().map(Name::as_str),
        _ => None,
    };
    to.run(
        "INSERT OR REPLACE INTO user_roles (tenant_id, user_id, role, groups, max_tier, added_by, journal_seq, ts) \
         VALUES (?1, ?4, ?5, ?6, ?7, ?8, ?2, ?3)",
        &[
            &operator.name.as_str(),
            &operator.role.as_str(),
            &json(&operator.groups),
            &operator.max_tier.number(),
            &by,
        ],
    )?;
    rekeyed(to, no, &operator.name, &operator.key)
}

/// A new key is good, and the one before it is not.
pub(super) fn rekeyed(to: &Writing<'_>, no: i64, name: &Name, key: &Key) -> Result<(), rusqlite::Error> {
    revoke(to, name)?;
    let (kept, key) = match key {
        Key::Home { hash } => ("home", hash.to_string()),
        Key::Remote { public_key } => ("remote", public_key.clone()),
    };
    to.run(
        "INSERT INTO api_keys (tenant_id, journal_seq, no, ts, user_id, kept, key) VALUES (?1, ?2, ?4, ?3, ?5, ?6, ?7)",
        &[&no, &name.as_str(), &kept, &key],
    )?;
    Ok(())
}

/// Somebody may act no longer.
pub(super) fn forgotten(to: &Writing<'_>, name: &Name) -> Result<(), rusqlite::Error> {
    revoke(to, name)?;
    // What they said where people are still asked counts no more, and somebody called like them may answer there.
    to.sql
        .prepare_cached(
            "DELETE FROM votes WHERE tenant_id = ?1 AND voter = ?2 AND gate_id IN \
             (SELECT gate_id FROM approvals WHERE tenant_id = ?1 AND outcome IS NULL)",
        )?
        .execute((to.tenant, name.as_str()))?;
    to.sql
        .prepare_cached("DELETE FROM user_roles WHERE tenant_id = ?1 AND user_id = ?2")?
        .execute((to.tenant, name.as_str()))?;
    Ok(())
}

fn revoke(to: &Writing<'_>, name: &Name) -> Result<(), rusqlite::Error> {
    to.sql
        .prepare_cached("UPDATE api_keys SET revoked_at = ?3 WHERE tenant_id = ?1 AND user_id = ?2 AND revoked_at IS NULL")?
        .execute((to.tenant, name.as_str(), &to.ts))?;
    Ok(())
}
