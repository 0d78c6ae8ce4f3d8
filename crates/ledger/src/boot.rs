//! Each opening for writing is a boot with a number of its own: whatever an earlier one had not finished is void.

use eparch_domain::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::seal;
use crate::tree::Hash;

/// Records a boot; returns its epoch and the chain over all boots. From now on a lock that others hold is an error at
/// once: a batch that waits makes every caller late.
pub(crate) fn record(
    connection: &Connection,
    at: Timestamp,
    version: &str,
) -> Result<(u64, Hash), rusqlite::Error> {
    let last: Option<(i64, Hash)> = connection
        .query_row("SELECT epoch, chain FROM boot ORDER BY epoch DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let (before, chain) = last.unwrap_or((0, seal::START));
    let (epoch, at, pid) = (before + 1, at.to_string(), i64::from(std::process::id()));
    let chain = seal::boot(&chain, epoch, &at, pid, version);
    connection.execute(
        "INSERT INTO boot (epoch, at, pid, version, chain) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![epoch, at, pid, version, chain],
    )?;
    connection.busy_timeout(std::time::Duration::ZERO)?;
    Ok((epoch.unsigned_abs(), chain))
}

/// Closes a connection that failed, leaving the log as it is for the next opening to read.
pub(crate) fn abandon(connection: Connection) {
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    let _ = connection.close();
}
