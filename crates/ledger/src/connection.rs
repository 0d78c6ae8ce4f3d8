//! How the journal's file is opened, for the one writer and for readers.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// While opening, somebody who merely verifies may be replaying the write-ahead log; that takes far less than this.
const OPENING: Duration = Duration::from_secs(2);

/// The writer's connection; the file is made (0600) when absent.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, rusqlite::Error> {
    let private = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    // SQLite would make it readable to all; when this fails, SQLite's own message about the path is the better one.
    drop(private);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(OPENING)?;
    harden(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // NORMAL may lose the newest commits when the power fails, and those were answered (G1).
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // REPLACE deletes rows; only with this do the triggers against deleting see it.
    connection.pragma_update(None, "recursive_triggers", true)?;
    // 16 MiB between two transfers into the database file: rarer than SQLite's 4 MiB, small enough to replay at once.
    connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// A connection that cannot write. It works beside a writer in another process, and on a file in a folder that cannot
/// be written to, provided the writer closed it.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    match prepare_reader(&connection) {
        Err(error) if cannot_share(&error) && !has_log(path) => {
            // No shared memory can be made here, and none is needed: with no log beside it, the file is all there is.
            let uri = format!("file:{}?immutable=1", percent(path));
            let connection = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?;
            prepare_reader(&connection)?;
            Ok(connection)
        }
        Err(error) => Err(error),
        Ok(()) => Ok(connection),
    }
}

fn prepare_reader(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(OPENING)?;
    harden(connection)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    // The first read is where a folder that cannot be written to shows.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

fn harden(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

fn cannot_share(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

/// The path as it stands in a URI.
fn percent(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    path.as_os_str()
        .as_bytes()
        .iter()
        .map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
