//! Putting right what is only work in progress. A boot acknowledges every effect that is due, whatever it was; so an
//! outbox that cannot be believed, or is not what its tally says, is cleared.

use eparch_domain::Name;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use crate::entry::to_sql;
use crate::read;
use crate::seal;
use crate::tree::Hash;

/// Repairs every tenant's outbox; says what was wrong, and nothing when nothing was.
pub(crate) fn work_in_progress(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let mut tenants = connection.prepare("SELECT id, name FROM tenant ORDER BY id")?;
    let mut tenants = tenants.query([])?;
    let mut repaired = Vec::new();
    while let Some(row) = tenants.next()? {
        let id = row.get(0)?;
        let name = match row.get_ref(1)? {
            ValueRef::Text(name) => std::str::from_utf8(name).ok().filter(|name| Name::new(name).is_ok()),
            _ => None,
        };
        let name = name.map_or_else(|| format!("#{id}"), str::to_owned);
        repaired.extend(repair(connection, id)?.map(|what| format!("{what} of tenant {name}")));
    }
    Ok(repaired)
}

fn repair(connection: &Connection, tenant: i64) -> Result<Option<&'static str>, rusqlite::Error> {
    let effects = effects(connection, tenant)?;
    // What does not read as a tally is none.
    let tally = read::tally(connection, tenant).ok();
    if effects.is_some() && effects == tally {
        return Ok(None);
    }
    connection.execute("DELETE FROM outbox WHERE tenant = ?1", [tenant])?;
    connection.execute(
        "INSERT OR REPLACE INTO tally (tenant, outbox) VALUES (?1, ?2)",
        params![tenant, seal::NOTHING],
    )?;
    Ok(Some("the outbox"))
}

/// What a tenant's outbox amounts to; `None` when a row of it is not what was written.
fn effects(connection: &Connection, tenant: i64) -> Result<Option<Hash>, rusqlite::Error> {
    let Ok(head) = read::head(connection, tenant) else { return Ok(None) };
    let mut rows = connection.prepare("SELECT seq, idx, seal FROM outbox WHERE tenant = ?1")?;
    let mut rows = rows.query([tenant])?;
    let mut sum = seal::NOTHING;
    while let Some(row) = rows.next()? {
        let (ValueRef::Integer(seq), ValueRef::Integer(idx), ValueRef::Blob(found)) =
            (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?)
        else {
            return Ok(None);
        };
        let seal = seal::outbox(tenant, seq, idx);
        if found != seal || !(1..=to_sql(head)).contains(&seq) || u16::try_from(idx).is_err() {
            return Ok(None);
        }
        seal::toggle(&mut sum, &seal);
    }
    Ok(Some(sum))
}
