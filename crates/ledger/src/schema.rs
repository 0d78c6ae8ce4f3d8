//! Schemas and how they grow: numbered scripts, each applied once, in one transaction.

use rusqlite::{Connection, TransactionBehavior};

use crate::tree::Hash;

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

impl Migration {
    pub(crate) fn digest(&self) -> Hash {
        *eparch_domain::Digest::of(self.sql.as_bytes()).as_bytes()
    }
}

/// A database file's kind and its steps; the number of steps is its version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    /// Written into the file's header, so that `file` and SQLite's own tools tell it from others.
    pub(crate) application_id: i32,
    pub(crate) migrations: &'static [Migration],
}

/// The journal. Its application id spells `EpJ` and a zero byte.
pub(crate) const JOURNAL: Schema = Schema {
    application_id: 0x4570_4A00,
    migrations: &[
        Migration { name: "journal", sql: include_str!("../migrations/001_journal.sql") },
        Migration { name: "snapshots_beside", sql: include_str!("../migrations/002_snapshots_beside.sql") },
    ],
};

/// Why a schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The file belongs to another program.
    #[error("the file is another program's database (application id {found:#x})")]
    Foreign {
        /// What its header says.
        found: i32,
    },
    /// Written by a newer version of this program.
    #[error("the file has schema version {found}; this build knows up to {known}")]
    TooNew {
        /// The file's version.
        found: usize,
        /// The newest this build knows.
        known: usize,
    },
    /// Written by an older version of this program and only opened for reading.
    #[error("the file has schema version {found}; opening it for writing brings it to {known}")]
    TooOld {
        /// The file's version.
        found: usize,
        /// This build's.
        known: usize,
    },
    /// A step failed; the file is as it was before that step.
    #[error("cannot apply migration {version} ({name})")]
    Step {
        /// Its number, from 1.
        version: usize,
        /// Its name.
        name: &'static str,
        /// What went wrong.
        #[source]
        source: rusqlite::Error,
    },
    /// The file could not be read.
    #[error("cannot read the schema version")]
    Read(#[source] rusqlite::Error),
}

impl Schema {
    /// The file's version, from 0 for an empty file; refuses what this build cannot read.
    pub(crate) fn version(&self, connection: &Connection) -> Result<usize, MigrateError> {
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let tables =
            || connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
        let found = pragma("application_id").map_err(MigrateError::Read)?;
        let empty = found == 0 && tables().map_err(MigrateError::Read)? == 0;
        if found != self.application_id && !empty {
            return Err(MigrateError::Foreign { found });
        }
        let version = pragma("user_version").map_err(MigrateError::Read)?;
        let known = self.migrations.len();
        match usize::try_from(version) {
            Ok(version) if version <= known => Ok(version),
            other => Err(MigrateError::TooNew { found: other.unwrap_or(usize::MAX), known }),
        }
    }

    /// Applies the steps the file has not had.
    pub(crate) fn migrate(&self, connection: &mut Connection) -> Result<(), MigrateError> {
        let done = self.version(connection)?;
        for (index, migration) in self.migrations.iter().enumerate().skip(done) {
            let version = index + 1;
            self.step(connection, version, migration).map_err(|source| MigrateError::Step {
                version,
                name: migration.name,
                source,
            })?;
        }
        Ok(())
    }

    fn step(
        &self,
        connection: &mut Connection,
        version: usize,
        migration: &Migration,
    ) -> Result<(), rusqlite::Error> {
        let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.execute_batch(migration.sql)?;
        step.execute(
            "INSERT INTO schema_migrations (version, name, digest) VALUES (?1, ?2, ?3)",
            (i64::try_from(version).unwrap_or(i64::MAX), migration.name, migration.digest()),
        )?;
        step.pragma_update(None, "application_id", self.application_id)?;
        step.pragma_update(None, "user_version", i64::try_from(version).unwrap_or(i64::MAX))?;
        step.commit()
    }

    /// Everything the schema consists of, in the order it was made: type, name, table, SQL (none for an index that a
    /// table brings along).
    pub(crate) fn parts(connection: &Connection) -> Result<Vec<Part>, rusqlite::Error> {
        let mut rows =
            connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid")?;
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
    }

    /// An empty file of `version`, in memory.
    pub(crate) fn fresh(&self, version: usize) -> Result<Connection, MigrateError> {
        let mut connection = Connection::open_in_memory().map_err(MigrateError::Read)?;
        Schema { migrations: &self.migrations[..version], ..*self }.migrate(&mut connection)?;
        Ok(connection)
    }
}

/// A table, index or trigger: type, name, table, SQL.
pub(crate) type Part = (String, String, String, Option<String>);

#[cfg(test)]
impl Schema {
    /// The schema as SQL text, in the order it was made: what the files that document it hold.
    pub(crate) fn dump(connection: &Connection) -> Result<String, rusqlite::Error> {
        let parts = Schema::parts(connection)?;
        Ok(parts.into_iter().filter_map(|part| part.3).map(|sql| sql + ";\n\n").collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Migration {
        name: "first",
        sql: "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name TEXT, digest BLOB);
              CREATE TABLE kept (id INTEGER PRIMARY KEY, word TEXT);",
    };
    const SECOND: Migration = Migration {
        name: "second",
        sql: "ALTER TABLE kept ADD COLUMN length INTEGER; UPDATE kept SET length = length(word);",
    };
    const BROKEN: Migration =
        Migration { name: "broken", sql: "DELETE FROM kept; INSERT INTO nowhere VALUES (1);" };

    const fn schema(migrations: &'static [Migration]) -> Schema {
        Schema { application_id: 7, migrations }
    }

    #[test]
    fn r118_steps_are_applied_once_in_order_and_rows_stay() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema(&[FIRST]).migrate(&mut connection).unwrap();
        connection.execute("INSERT INTO kept (word) VALUES ('seven')", []).unwrap();
        for _ in 0..2 {
            schema(&[FIRST, SECOND]).migrate(&mut connection).unwrap();
        }
        let row =
            connection.query_row("SELECT word, length FROM kept", [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(row, Ok(("seven".to_owned(), 5)));
        assert_eq!(schema(&[FIRST, SECOND]).version(&connection).unwrap(), 2);
    }

    #[test]
    fn r118_a_step_that_fails_leaves_the_file_as_it_was() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema(&[FIRST]).migrate(&mut connection).unwrap();
        connection.execute("INSERT INTO kept (word) VALUES ('seven')", []).unwrap();
        let before = Schema::dump(&connection).unwrap();
        let failed = schema(&[FIRST, BROKEN]).migrate(&mut connection);
        assert!(matches!(failed, Err(MigrateError::Step { version: 2, name: "broken", .. })));
        assert_eq!(Schema::dump(&connection).unwrap(), before);
        assert_eq!(schema(&[FIRST]).version(&connection).unwrap(), 1);
        let rows: i64 = connection.query_row("SELECT count(*) FROM kept", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn r118_newer_and_foreign_files_are_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema(&[FIRST, SECOND]).migrate(&mut connection).unwrap();
        let newer = schema(&[FIRST]).migrate(&mut connection);
        assert!(matches!(newer, Err(MigrateError::TooNew { found: 2, known: 1 })));
        let foreign = JOURNAL.migrate(&mut connection);
        assert!(matches!(foreign, Err(MigrateError::Foreign { found: 7 })));
    }

    #[test]
    fn r119_schema_sql_is_the_dump_of_a_fresh_journal() {
        let dump = Schema::dump(&JOURNAL.fresh(JOURNAL.migrations.len()).unwrap()).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.sql");
        if std::env::var_os("EPARCH_BLESS").is_some() {
            std::fs::write(path, &dump).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), dump, "EPARCH_BLESS=1 writes it anew");
    }
}
