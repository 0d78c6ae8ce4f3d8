//! How the journal's file is opened, for the one writer and for readers.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

/// While opening, somebody who merely verifies may be replaying the write-ahead log; that takes far less than this.
const OPENING: Duration = Duration::from_secs(2);

/// The log is moved into the database file when it has so many bytes. Whoever comes while it is moved waits for that: for a little each
/// time rather than for much, and seldom enough for a disk.
const LONG_LOG_BYTES: i64 = 4 << 20;

/// A page of a journal that is made here. Each page of a commit is two calls to the system, and most entries have about a kilobyte: with
/// SQLite's own 4 KiB there are about as many calls as entries. With 16 KiB the writer's thread takes half as long again.
const PAGE_BYTES: i64 = 8_192;

/// The writer's connection; the file is made (0600) when absent.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = open_private(path, Some(PAGE_BYTES))?;
    // NORMAL may lose the newest commits when the power fails, and those were answered (G1).
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // REPLACE deletes rows; only with this do the triggers against deleting see it.
    connection.pragma_update(None, "recursive_triggers", true)?;
    // The writer moves it between two commits: whoever was in the last one has been answered by then.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The log of the writer's connection, and how far it was when it was last moved into the database file.
#[derive(Debug, Default)]
pub(crate) struct Log {
    tried_at: i64,
}

impl Log {
    /// Moves it once it has grown, as far as no reader is in the way. What one keeps is tried again when as much has come again.
    ///
    /// # Errors
    ///
    /// The disk has failed. What was committed is in the log; which of it is in the file as well is open.
    pub(crate) fn move_if_long(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let page_bytes: i64 =
            connection.prepare_cached("PRAGMA page_size")?.query_row([], |row| row.get(0))?;
        // Pages in the log, whether they were moved or not: once all of them were, the next commit begins it anew.
        let pages: i64 =
            connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], |row| row.get("log"))?;
        if pages < self.tried_at {
            self.tried_at = 0;
        }
        if (pages - self.tried_at) * page_bytes < LONG_LOG_BYTES {
            return Ok(());
        }
        self.tried_at = pages;
        connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))
    }
}

/// A connection that writes to a database with a write-ahead log; the file is made (0600) when absent, with pages of so many bytes,
/// or of SQLite's own size.
pub(crate) fn open_private(path: &Path, page_bytes: Option<i64>) -> Result<Connection, rusqlite::Error> {
    // SQLite would make it readable to all; when this fails, SQLite's own message about the path is the better one.
    let _ = make_private(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(OPENING)?;
    harden(&connection)?;
    if let Some(page_bytes) = page_bytes {
        // Of a file that is there already it changes nothing.
        connection.pragma_update(None, "page_size", page_bytes)?;
    }
    keep_a_log(&connection)?;
    Ok(connection)
}

/// Where memory cannot be shared SQLite silently goes on without a log, and every reader would be in the writer's way.
fn keep_a_log(connection: &Connection) -> Result<(), rusqlite::Error> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode == "wal" {
        return Ok(());
    }
    let why = format!("no write-ahead log can be had here; SQLite offers {mode:?}");
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(why)))
}

/// Makes an empty file that only its owner may read. A file that is there is left alone and not even opened: closing
/// any descriptor of a file drops every POSIX lock that this process has on it, and SQLite's locks are such.
fn make_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_without_a_write_ahead_log_is_refused() {
        let refused = keep_a_log(&Connection::open_in_memory().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("write-ahead log") && refused.contains("memory"), "{refused}");
    }
}
