//! The file as a whole: SQLite's structure, the schema, the migrations, the boots, the list of tenants.

use eparch_domain::{Name, in_full};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::report::{Finding, Report, Wrong};
use crate::entry;
use crate::schema::{JOURNAL, MigrateError, Schema};
use crate::seal;
use crate::tree::Hash;

/// Lines of SQLite's own check that are kept; it stops there.
const LINES: u32 = 20;

/// Repairs at a boot that are told one by one.
const REPAIRS: usize = 10;

/// Checks SQLite's pages, cells, keys and types. A sound file says `ok`.
pub(crate) fn check_structure(connection: &Connection, report: &mut Report) {
    let lines = connection.prepare(&format!("PRAGMA integrity_check({LINES})")).and_then(|mut rows| {
        let mut rows = rows.query([])?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            lines.push(match row.get_ref(0)? {
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                _ => "an unreadable message".to_owned(),
            });
        }
        Ok(lines)
    });
    match lines {
        Ok(lines) => lines
            .into_iter()
            .filter(|line| line != "ok")
            .for_each(|line| report.file(Wrong::File, format!("SQLite's check: {line}"))),
        Err(error) => report.file(Wrong::File, format!("SQLite's check stopped: {error}")),
    }
}

/// Whether this build can read the rest of a file.
pub(crate) enum Readable {
    Yes,
    /// It cannot, which was reported.
    No,
    /// It cannot, and nothing need be wrong.
    TooNew(MigrateError),
}

/// Compares tables, triggers and migrations with what this build would make.
pub(crate) fn check_schema(connection: &Connection, report: &mut Report) -> Readable {
    let version = match JOURNAL.version(connection) {
        Ok(version) if version > 0 => version,
        Ok(_) => {
            report.file(Wrong::Schema, "the file has no schema");
            return Readable::No;
        }
        Err(error @ MigrateError::TooNew { .. }) => return Readable::TooNew(error),
        Err(error) => {
            report.file(Wrong::Schema, in_full(&error));
            return Readable::No;
        }
    };
    let fresh = JOURNAL.fresh(version).expect("this build's own schema applies");
    let expected = Schema::parts(&fresh).expect("a database in memory can be read");
    match Schema::parts(connection) {
        Ok(found) => {
            for (kind, name, ..) in expected.iter().filter(|part| !found.contains(part)) {
                report.file(Wrong::Schema, format!("{kind} {name} is missing or was changed"));
            }
            for (kind, name, ..) in found.iter().filter(|part| !expected.contains(part)) {
                report.file(Wrong::Schema, format!("{kind} {name} is not of this schema"));
            }
        }
        Err(error) => report.file(Wrong::File, format!("the schema cannot be read: {error}")),
    }
    check_migrations(connection, version, report);
    Readable::Yes
}

fn check_migrations(connection: &Connection, version: usize, report: &mut Report) {
    let rows = connection
        .prepare("SELECT version, name, digest FROM schema_migrations ORDER BY version")
        .and_then(|mut rows| {
            rows.query_map([], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Hash>(2)?))
            })?
            .collect::<Result<Vec<_>, _>>()
        });
    match rows {
        Ok(rows) => {
            let known = JOURNAL.migrations[..version].iter().zip(1..);
            let known =
                known.map(|(migration, version)| (version, migration.name.to_owned(), migration.digest()));
            if rows != known.collect::<Vec<_>>() {
                report.file(Wrong::Schema, "the record of migrations is not this build's");
            }
        }
        Err(error) => report.file(Wrong::File, format!("the record of migrations cannot be read: {error}")),
    }
}

/// Recomputes the chain over boots; index 0 is the chain before the first.
pub(crate) fn check_boots(connection: &Connection, report: &mut Report) -> Vec<Hash> {
    let mut chains = vec![seal::START];
    let query = "SELECT epoch, at, pid, version, repaired, chain FROM boot ORDER BY epoch";
    let mut repairs = 0;
    let read = connection.prepare(query).and_then(|mut rows| {
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let before = chains[chains.len() - 1];
            let epoch: i64 = row.get(0)?;
            let (at, version, repaired): (String, String, String) = (row.get(1)?, row.get(3)?, row.get(4)?);
            let chain = seal::boot(&before, epoch, &at, row.get(2)?, &version, &repaired);
            if entry::to_sql(chains.len() as u64) != epoch || row.get::<_, Hash>(5)? != chain {
                report.file(Wrong::Boot, format!("boot {} is missing or was changed", chains.len()));
                return Ok(());
            }
            chains.push(chain);
            if !repaired.is_empty() {
                repairs += 1;
            }
            if !repaired.is_empty() && repairs <= REPAIRS {
                report.notices.push(format!("boot {epoch} found damaged and made anew: {repaired}"));
            }
        }
        Ok(())
    });
    if repairs > REPAIRS {
        report.notices.push(format!("{} later boots made something anew, too", repairs - REPAIRS));
    }
    if let Err(error) = read {
        report.file(Wrong::Boot, format!("boot {} cannot be read: {error}", chains.len()));
    }
    chains
}

/// The tenants whose rows are sound, by name; and a finding for each row that belongs to none.
pub(crate) fn check_tenants(connection: &Connection, report: &mut Report) -> Vec<(String, i64)> {
    let mut tenants = Vec::new();
    let mut ids = std::collections::HashSet::new();
    let read = connection.prepare("SELECT id, name, seal FROM tenant ORDER BY id").and_then(|mut rows| {
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let name: String = row.get(1)?;
            ids.insert(id);
            if Name::new(&name).is_err() || row.get::<_, Hash>(2)? != seal::tenant(id, &name) {
                let what = format!("tenant {id} was changed; its name now reads {name:?}");
                report.add(Finding { wrong: Wrong::Tenant, tenant: None, seq: None, what });
            }
            tenants.push((name, id));
        }
        Ok(())
    });
    if let Err(error) = read {
        report.file(Wrong::Tenant, format!("the tenants cannot be read: {error}"));
    }
    for table in ["entry", "subtree", "document", "checkpoint", "outbox", "tally"] {
        match owners(connection, table) {
            Ok(owners) => owners.into_iter().filter(|owner| !ids.contains(owner)).for_each(|owner| {
                report.file(
                    Wrong::Tenant,
                    format!("table {table} has rows of tenant {owner}, who is not there"),
                );
            }),
            Err(error) => report.file(Wrong::File, format!("table {table} cannot be read: {error}")),
        }
    }
    tenants.sort_unstable();
    tenants
}

/// Whose rows a table has, found by leaping from one tenant to the next.
fn owners(connection: &Connection, table: &str) -> Result<Vec<i64>, rusqlite::Error> {
    let entries = table == "entry";
    let query = if entries {
        "SELECT min(place) FROM entry WHERE place > ?1".to_owned()
    } else {
        format!("SELECT min(tenant) FROM {table} WHERE tenant > ?1")
    };
    let mut rows = connection.prepare(&query)?;
    let mut owners = Vec::new();
    let mut after = i64::MIN;
    while let Some(next) = rows.query_row([after], |row| row.get::<_, Option<i64>>(0))? {
        let owner = if entries { entry::tenant_of(next) } else { next };
        owners.push(owner);
        // In a damaged file the next may be no larger than the last; its structure is reported elsewhere.
        if next <= after {
            break;
        }
        after = if entries { entry::place(owner, entry::SEQ_MAX) } else { owner };
    }
    Ok(owners)
}
