//! The file of the views: how it is opened, and when it is made anew. It holds nothing that the journal does not say,
//! so whatever is wrong with it is put right by throwing it away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::{ViewsError, is_damage};
use crate::connection;
use crate::schema::{MigrateError, Migration, Schema};
use crate::tree::Hash;

/// The views. Their application id spells `EpV` and a zero byte. A file that other scripts made is made anew rather than
/// brought up to date: what a new column would hold is only in the journal.
pub(super) const VIEWS: Schema = Schema {
    application_id: 0x4570_5600,
    migrations: &[
        Migration { name: "multi_tenant", sql: include_str!("../../migrations/views/001_multi_tenant.sql") },
        Migration { name: "marketplace", sql: include_str!("../../migrations/views/002_marketplace.sql") },
        Migration { name: "governance", sql: include_str!("../../migrations/views/003_governance.sql") },
        Migration { name: "standing", sql: include_str!("../../migrations/views/004_standing.sql") },
        Migration { name: "parents", sql: include_str!("../../migrations/views/005_parents.sql") },
        Migration { name: "watched", sql: include_str!("../../migrations/views/006_watched.sql") },
        Migration { name: "plan_only", sql: include_str!("../../migrations/views/007_plan_only.sql") },
        Migration { name: "ends", sql: include_str!("../../migrations/views/008_ends.sql") },
    ],
};

/// Up to this size the whole file is checked when it is opened; reading it takes some hundredths of a second. Damage in
/// a larger one shows when it is met.
const CHECKED_AT_OPEN: u64 = 16 << 20;

/// Opens the views, making them anew when the file is of no use; then why is told, too.
pub(super) fn open(path: &Path) -> Result<(Connection, Option<String>), ViewsError> {
    if !path.exists() {
        return Ok((create(path)?, None));
    }
    match open_existing(path) {
        Ok(connection) => Ok((connection, None)),
        Err(NoUse::Error(error)) => Err(ViewsError::Open { path: path.to_owned(), source: error }),
        Err(NoUse::Discard(why)) => {
            discard(path)?;
            Ok((create(path)?, Some(why)))
        }
    }
}

/// Why an existing file was not opened.
enum NoUse {
    /// It may be fine; something else is in the way.
    Error(rusqlite::Error),
    /// It is damaged, or was made by another version.
    Discard(String),
}

impl From<rusqlite::Error> for NoUse {
    fn from(error: rusqlite::Error) -> NoUse {
        if is_damage(&error) {
            NoUse::Discard(format!("it is damaged: {error}"))
        } else {
            NoUse::Error(error)
        }
    }
}

fn open_existing(path: &Path) -> Result<Connection, NoUse> {
    let connection = connect(path)?;
    let version = match VIEWS.version(&connection) {
        Ok(version) => version,
        Err(MigrateError::Read(error)) => return Err(error.into()),
        Err(other) => return Err(NoUse::Discard(other.to_string())),
    };
    if version != VIEWS.migrations.len() {
        return Err(NoUse::Discard(format!("it has schema version {version}")));
    }
    let known: Vec<Hash> = VIEWS.migrations.iter().map(Migration::digest).collect();
    match made_by(&connection) {
        Ok(found) if found == known => {}
        Ok(_) => return Err(NoUse::Discard("it was made by another version".to_owned())),
        Err(error @ rusqlite::Error::SqlInputError { .. }) => {
            return Err(NoUse::Discard(format!("its schema is not the one it names: {error}")));
        }
        Err(error) => return Err(error.into()),
    }
    let fresh = VIEWS.fresh(VIEWS.migrations.len()).expect("this build's own schema applies");
    let expected = Schema::parts(&fresh)?;
    if Schema::parts(&connection)? != expected {
        return Err(NoUse::Discard("its tables are not those of this version".to_owned()));
    }
    if fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_AT_OPEN) {
        let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(NoUse::Discard(format!("it is damaged: {verdict}")));
        }
    }
    Ok(connection)
}

/// The digests of the scripts that made the file.
fn made_by(connection: &Connection) -> Result<Vec<Hash>, rusqlite::Error> {
    let mut rows = connection.prepare("SELECT digest FROM schema_migrations ORDER BY version")?;
    rows.query_map([], |row| row.get(0))?.collect()
}

/// Makes a new file with the schema in it.
pub(super) fn create(path: &Path) -> Result<Connection, ViewsError> {
    let mut connection =
        connect(path).map_err(|source| ViewsError::Open { path: path.to_owned(), source })?;
    VIEWS.migrate(&mut connection).map_err(|source| ViewsError::Schema { path: path.to_owned(), source })?;
    Ok(connection)
}

/// Puts a new file in the place of the old one. What SQLite kept beside the old one goes first: it would be taken for the
/// new one's. A crash between leaves no file, which is filled again.
pub(super) fn replace(path: &Path, new: &Path) -> Result<(), ViewsError> {
    discard(path)?;
    fs::rename(new, path).map_err(|source| ViewsError::Remove { path: path.to_owned(), source })
}

/// Removes the file and what SQLite keeps beside it.
pub(super) fn discard(path: &Path) -> Result<(), ViewsError> {
    for suffix in ["-wal", "-shm", ""] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let file = PathBuf::from(file);
        match fs::remove_file(&file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(ViewsError::Remove { path: file, source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = connection::open_private(path, None)?;
    // A power failure may take the newest commits; the journal still has them, and the cursor says from where.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Connection {
        let connection = VIEWS.fresh(VIEWS.migrations.len()).unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection.pragma_update(None, "trusted_schema", false).unwrap();
        connection
    }

    fn texts(connection: &Connection, query: &str) -> Vec<String> {
        let mut rows = connection.prepare(query).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn r119_views_sql_is_the_dump_of_fresh_views() {
        // Full-text search makes tables for itself; they are SQLite's own business.
        let parts =
            Schema::parts(&fresh()).unwrap().into_iter().filter(|part| !part.1.starts_with("templates_fts_"));
        let dump: String = parts.filter_map(|part| part.3).map(|sql| sql + ";\n\n").collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/views.sql");
        if std::env::var_os("EPARCH_BLESS").is_some() {
            fs::write(path, &dump).unwrap();
        }
        assert_eq!(fs::read_to_string(path).unwrap(), dump, "EPARCH_BLESS=1 writes it anew");
    }

    #[test]
    fn r112_r113_r114_the_base_tables_have_the_documented_columns() {
        let connection = fresh();
        for (table, documented) in [
            (
                "agent_actions",
                "action_id agent_id agent_version tier session_id pipeline_id phase action target decision decision_reason \
                 confidence params_digest result error_type error_message duration_ms token_accessor trace_id span_id \
                 side_effect rollback_ref",
            ),
            (
                "agent_metrics",
                "agent_id current_tier total_runs compliant_runs consecutive_compliant violations_30d last_run_at \
                 last_violation_at promotion_eligible",
            ),
            (
                "violations",
                "violation_id agent_id pipeline_id type severity revocation_type detail evidence_ref remediation \
                 acknowledged_by acknowledged_at",
            ),
            (
                "promotions",
                "promotion_id agent_id from_tier to_tier kind requested_by approved_by second_approver rationale \
                 evidence_ref state",
            ),
        ] {
            let columns = texts(&connection, &format!("SELECT name FROM pragma_table_xinfo('{table}')"));
            for column in documented.split_whitespace().chain(["journal_seq", "tenant_id", "ts"]) {
                assert!(columns.iter().any(|known| known == column), "{table}.{column}");
            }
        }
    }

    #[test]
    fn r116_foreign_keys_of_tenants_and_projects_are_enforced() {
        let connection = fresh();
        let project = "INSERT INTO projects VALUES ('acme', 'web', '2026-01-01T00:00:00.000Z')";
        assert!(connection.execute(project, []).is_err(), "a project of nobody");
        connection.execute("INSERT INTO tenants VALUES ('acme', '2026-01-01T00:00:00.000Z')", []).unwrap();
        connection.execute(project, []).unwrap();
        connection.execute("DELETE FROM tenants", []).unwrap();
        assert_eq!(texts(&connection, "SELECT project_id FROM projects"), Vec::<String>::new());
    }

    #[test]
    fn r116_every_row_of_a_tenant_goes_with_the_tenant() {
        let left_behind = texts(
            &fresh(),
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'templates_fts%' \
             AND name NOT IN ('schema_migrations', 'tenants') \
             AND NOT EXISTS (SELECT 1 FROM pragma_foreign_key_list(sqlite_schema.name) \
                             WHERE \"table\" = 'tenants' AND \"from\" = 'tenant_id' AND on_delete = 'CASCADE')",
        );
        assert_eq!(left_behind, Vec::<String>::new());
    }

    #[test]
    fn r117_the_six_marketplace_tables_are_made_and_can_be_searched() {
        let connection = fresh();
        let tables = texts(&connection, "SELECT name FROM sqlite_schema WHERE type = 'table'");
        for table in [
            "agent_templates",
            "template_versions",
            "template_installations",
            "template_ratings",
            "template_downloads",
            "templates_fts",
        ] {
            assert!(tables.iter().any(|known| known == table), "{table}");
        }
        connection
            .execute_batch(
                "INSERT INTO tenants VALUES ('acme', '2026-01-01T00:00:00.000Z');
                 INSERT INTO agent_templates (tenant_id, template_id, name, description, tier, journal_seq, ts)
                 VALUES ('acme', 'linter', 'Linter', 'finds faults in playbooks', 0, 1, '2026-01-01T00:00:00.000Z');",
            )
            .unwrap();
        let search = "SELECT t.template_id FROM templates_fts f JOIN agent_templates t ON t.number = f.rowid \
                      WHERE templates_fts MATCH 'playbooks'";
        assert_eq!(texts(&connection, search), ["linter"]);
        connection.execute("UPDATE agent_templates SET description = 'finds faults in roles'", []).unwrap();
        assert_eq!(texts(&connection, search), Vec::<String>::new());
        connection.execute("DELETE FROM tenants", []).unwrap();
        assert_eq!(texts(&connection, &search.replace("playbooks", "roles")), Vec::<String>::new());
    }
}
