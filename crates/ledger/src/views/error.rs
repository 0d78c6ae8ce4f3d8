//! What can go wrong with views. None of it can stop the journal.

use std::io;
use std::path::PathBuf;

use eparch_domain::Digest;
use rusqlite::ErrorCode;

use crate::read::ReadError;
use crate::schema::MigrateError;

/// Why views could not be opened, brought up to date or read.
#[derive(Debug, thiserror::Error)]
pub enum ViewsError {
    /// The file could not be opened, not even anew.
    #[error("cannot open the views at {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: rusqlite::Error,
    },
    /// The schema could not be made.
    #[error("cannot make the schema of the views at {path}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: MigrateError,
    },
    /// A file that is of no use could not be removed.
    #[error("cannot remove the views at {path}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The database refused.
    #[error("cannot {doing}")]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        #[source]
        source: rusqlite::Error,
    },
    /// A row is not what was written.
    #[error("a row of the views is damaged: {column} is {found:?}; `ledger rebuild-views` makes them anew")]
    Damaged {
        /// Which column.
        column: &'static str,
        /// What stands there.
        found: String,
    },
    /// The journal could not be read.
    #[error("cannot read the journal from entry {seq} on")]
    Journal {
        /// The first entry that is not in the views.
        seq: u64,
        /// What went wrong.
        #[source]
        source: ReadError,
    },
    /// An entry is not a record. The views end before it.
    #[error("entry {seq} is not a record")]
    Record {
        /// Which.
        seq: u64,
        /// What went wrong.
        #[source]
        source: serde_json::Error,
    },
    /// An entry was written by another version. The views end before it.
    #[error("entry {seq} has record format {found}; this build reads {known}")]
    Format {
        /// Which.
        seq: u64,
        /// Its format.
        found: u32,
        /// The one this build knows.
        known: u32,
    },
    /// A run's definition is not in the journal, or is not one. The views end before it.
    #[error("the definition {digest} that entry {seq} needs is missing or unreadable")]
    Definition {
        /// Which entry.
        seq: u64,
        /// Which definition.
        digest: Digest,
    },
}

impl ViewsError {
    /// Whether the file itself is of no use any more: [`super::Views::rebuild`] makes it anew.
    pub fn is_damage(&self) -> bool {
        match self {
            ViewsError::Damaged { .. } => true,
            ViewsError::Open { source, .. } | ViewsError::Sql { source, .. } => is_damage(source),
            _ => false,
        }
    }
}

/// Whether SQLite says that the file is not what it wrote, or not what this program made of it.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    // A statement that names no table of the file, and a row that contradicts others, are signs of it as well.
    let signs = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase, ErrorCode::ConstraintViolation];
    let unknown = |error: &rusqlite::ffi::Error| error.extended_code == rusqlite::ffi::SQLITE_ERROR;
    code.is_some_and(|code| signs.contains(&code))
        || error.sqlite_error().is_some_and(unknown)
        || matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::SqlInputError { .. }
        )
}

/// Turns a database error into a [`ViewsError`] that says what was being done.
pub(super) fn sql(doing: &'static str) -> impl Fn(rusqlite::Error) -> ViewsError + Copy {
    move |source| ViewsError::Sql { doing, source }
}
