//! Read models: what the journal means, in tables that are quick to ask.
//!
//! [`Views`] is a file of its own that follows the journal. It holds nothing that the journal does not say: it may be
//! thrown away at any time and is then filled again, and nothing that goes wrong with it stops the journal.

mod action;
mod apply;
mod audit;
mod column;
mod error;
mod read;
mod shape;
mod store;
pub mod summary;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eparch_domain::{Digest, Name, limits};
use eparch_governor::{RECORD_FORMAT, Record, RecordError};
use eparch_pipeline::Pipeline;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::entry::Entry;
use crate::read::Reader;
use crate::tree::{Hash, leaf_hash};
use apply::Step;
pub use audit::{
    ActionFilter, ActionPlace, ActionResult, ActionRow, AgentMetrics, BadActionPlace, PromotionRow, Ruling,
    ViolationRow,
};
pub use error::ViewsError;
use error::sql;
pub use read::{ApprovalFilter, RunFilter};
pub use shape::{ApprovalView, RunDetail, RunSummary, StageView, VoteView, WatchedView};

/// Definitions kept at hand while following: runs of one pipeline come in rows.
const DEFINITIONS: usize = 64;

/// The project that a run belongs to while its request names none.
const PROJECT: &str = "default";

/// The read models of one home.
#[derive(Debug)]
pub struct Views {
    path: PathBuf,
    connection: Connection,
    /// Why what was there was thrown away.
    started_over: Option<String>,
    definitions: BTreeMap<Digest, Arc<Pipeline>>,
    /// Tenants whose cursor was compared with the journal.
    compared: BTreeSet<Name>,
    /// Where making the views anew did not help: how far they came then.
    stuck: BTreeMap<Name, u64>,
}

impl Views {
    /// Opens the views at `path`. A file that is absent, damaged or of another version is made anew and empty; the next
    /// [`Views::follow`] fills it.
    pub fn open(path: &Path) -> Result<Views, ViewsError> {
        let (connection, started_over) = store::open(path)?;
        Ok(Views::of(path, connection, started_over))
    }

    fn of(path: &Path, connection: Connection, started_over: Option<String>) -> Views {
        Views {
            path: path.to_owned(),
            connection,
            started_over,
            definitions: BTreeMap::new(),
            compared: BTreeSet::new(),
            stuck: BTreeMap::new(),
        }
    }

    /// Why earlier views were thrown away, if they were; worth a line in a log.
    pub fn started_over(&self) -> Option<&str> {
        self.started_over.as_deref()
    }

    /// The newest entry of a tenant that can be seen here; 0 when there is none. Who must see their own write waits for
    /// its seq.
    pub fn seq(&self, tenant: &Name) -> Result<u64, ViewsError> {
        Ok(self.cursor(tenant)?.map_or(0, |(seq, _)| seq))
    }

    /// Takes in every entry that is new; returns the newest entry's seq. An entry that cannot be read ends it with an
    /// error that names the entry: everything before it is in, nothing after it is. Views that turn out to be damaged, or
    /// to be of another journal, are made anew; once for each entry that they fail at.
    pub fn follow(&mut self, reader: &Reader, tenant: &Name) -> Result<u64, ViewsError> {
        match self.catch_up(reader, tenant) {
            Err(error) if error.is_damage() && !self.is_stuck(tenant) => {
                self.start_over(error.to_string())?;
                let reached = self.catch_up(reader, tenant);
                if reached.as_ref().is_err_and(ViewsError::is_damage) {
                    self.stuck.insert(tenant.clone(), self.seq(tenant)?);
                }
                reached
            }
            // What the disk refused may be a file that SQLite could open only for reading: so it would stay.
            Err(ViewsError::Sql { .. }) => {
                self.reopen()?;
                self.catch_up(reader, tenant)
            }
            reached => reached,
        }
    }

    /// Whether the views were made anew before and came no further than they are now.
    fn is_stuck(&self, tenant: &Name) -> bool {
        let stuck = self.stuck.get(tenant);
        stuck.is_some() && self.seq(tenant).ok().as_ref() == stuck
    }

    fn reopen(&mut self) -> Result<(), ViewsError> {
        // A file that turns out to be of no use is removed, which an old connection must not see.
        self.connection = Connection::open_in_memory().map_err(sql("let go of the views"))?;
        let (connection, started_over) = store::open(&self.path)?;
        self.connection = connection;
        self.compared.clear();
        self.started_over = started_over.or(self.started_over.take());
        Ok(())
    }

    /// Makes the file anew and takes the whole journal in, every tenant's. Until that is done the old file stays in its
    /// place; where the journal cannot be read to its end, the new one has what comes before that, and the error of
    /// `tenant` is returned.
    pub fn rebuild(&mut self, reader: &Reader, tenant: &Name) -> Result<u64, ViewsError> {
        let beside = self.path.with_extension("new");
        store::discard(&beside)?;
        let mut fresh = Views::of(&beside, store::create(&beside)?, None);
        // A list that cannot be read leaves the others to their own following.
        let mut others = reader.tenants().unwrap_or_default();
        others.retain(|other| other != tenant);
        for other in &others {
            // What is wrong with it is told to whoever follows it.
            let _ = fresh.catch_up(reader, other);
        }
        let reached = fresh.catch_up(reader, tenant);
        if let Err(error @ (ViewsError::Sql { .. } | ViewsError::Damaged { .. })) = reached {
            drop(fresh);
            store::discard(&beside)?;
            return Err(error);
        }
        drop(fresh);
        // The old connection has to be gone before its file is.
        self.connection = Connection::open_in_memory().map_err(sql("let go of the old views"))?;
        store::replace(&self.path, &beside)?;
        let (connection, started_over) = store::open(&self.path)?;
        *self = Views::of(&self.path.clone(), connection, started_over);
        reached
    }

    fn start_over(&mut self, why: String) -> Result<(), ViewsError> {
        // The old connection has to be gone before its file is.
        self.connection = Connection::open_in_memory().map_err(sql("let go of damaged views"))?;
        store::discard(&self.path)?;
        self.connection = store::create(&self.path)?;
        self.compared.clear();
        self.started_over = Some(why);
        Ok(())
    }

    fn forget(&mut self, tenant: &Name) -> Result<(), ViewsError> {
        let forgotten =
            self.connection.execute("DELETE FROM tenants WHERE tenant_id = ?1", [tenant.as_str()]);
        forgotten.map(|_| ()).map_err(sql("forget a tenant's views"))
    }

    fn cursor(&self, tenant: &Name) -> Result<Option<(u64, Hash)>, ViewsError> {
        self.connection
            .prepare_cached("SELECT seq, leaf FROM cursor WHERE tenant_id = ?1")
            .and_then(|mut row| {
                row.query_row([tenant.as_str()], |row| {
                    Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
                })
                .optional()
            })
            .map_err(sql("read how far the views have come"))
    }

    /// The first entry that is not in the views. Views of another journal, or of one that was cut, are forgotten.
    fn next(&mut self, reader: &Reader, tenant: &Name) -> Result<u64, ViewsError> {
        let Some((seq, leaf)) = self.cursor(tenant)? else { return Ok(1) };
        if !self.compared.contains(tenant) {
            let entry = reader.entry(tenant, seq).map_err(|source| ViewsError::Journal { seq, source })?;
            if entry.is_none_or(|entry| leaf_hash(&entry.body) != leaf) {
                self.forget(tenant)?;
                self.started_over =
                    Some(format!("entry {seq} of the journal is not the one the views had seen"));
                return Ok(1);
            }
            self.compared.insert(tenant.clone());
        }
        Ok(seq + 1)
    }

    fn catch_up(&mut self, reader: &Reader, tenant: &Name) -> Result<u64, ViewsError> {
        let mut next = self.next(reader, tenant)?;
        loop {
            let (entries, problem) = reader.sound_page(tenant, next, limits::COMMIT_BATCH as u64);
            let unread = next + entries.len() as u64;
            let mut problem = problem.map(|source| ViewsError::Journal { seq: unread, source });
            let Some(last) = entries.last() else { return problem.map_or(Ok(next - 1), Err) };
            let mut reached = (last.seq, leaf_hash(&last.body));
            let mut steps = Vec::with_capacity(entries.len());
            for (at, entry) in entries.iter().enumerate() {
                match self.understand(reader, tenant, entry) {
                    Ok(step) => steps.push(step),
                    Err(error) => {
                        problem = Some(error);
                        let Some(before) = at.checked_sub(1).map(|before| &entries[before]) else { break };
                        reached = (before.seq, leaf_hash(&before.body));
                        break;
                    }
                }
            }
            if !steps.is_empty() {
                self.take_in(tenant, &steps, reached)?;
                next = reached.0 + 1;
            }
            if let Some(problem) = problem {
                return Err(problem);
            }
        }
    }

    /// Reads an entry's record, and the definition of a run that begins with it.
    fn understand(&mut self, reader: &Reader, tenant: &Name, entry: &Entry) -> Result<Step, ViewsError> {
        let seq = entry.seq;
        let record = Record::from_bytes(&entry.body).map_err(|problem| match problem {
            RecordError::Unreadable(source) => ViewsError::Record { seq, source },
            RecordError::Format { found } => ViewsError::Format { seq, found, known: RECORD_FORMAT },
        })?;
        let mut definitions = BTreeMap::new();
        for digest in record.definitions() {
            definitions.insert(digest, self.definition(reader, tenant, seq, digest)?);
        }
        Ok(Step { seq, record, definitions })
    }

    fn definition(
        &mut self,
        reader: &Reader,
        tenant: &Name,
        seq: u64,
        digest: Digest,
    ) -> Result<Arc<Pipeline>, ViewsError> {
        if let Some(known) = self.definitions.get(&digest) {
            return Ok(known.clone());
        }
        let document =
            reader.document(tenant, &digest).map_err(|source| ViewsError::Journal { seq, source })?;
        let document = document.ok_or(ViewsError::Definition { seq, digest })?;
        let pipeline =
            Pipeline::from_bytes(&document.bytes).map_err(|_| ViewsError::Definition { seq, digest })?;
        if self.definitions.len() >= DEFINITIONS {
            self.definitions.clear();
        }
        let pipeline = Arc::new(pipeline);
        self.definitions.insert(digest, pipeline.clone());
        Ok(pipeline)
    }

    /// Writes what some entries mean, and how far that is, in one transaction.
    fn take_in(&mut self, tenant: &Name, steps: &[Step], reached: (u64, Hash)) -> Result<(), ViewsError> {
        let doing = sql("write the views");
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(doing)?;
        if let Some(first) = steps.first() {
            make_tenant(&transaction, tenant, first).map_err(doing)?;
        }
        for step in steps {
            apply::apply(&transaction, tenant, step).map_err(doing)?;
        }
        transaction
            .prepare_cached(
                "INSERT INTO cursor (tenant_id, seq, leaf) VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET seq = excluded.seq, leaf = excluded.leaf",
            )
            .and_then(|mut row| row.execute(params![tenant.as_str(), column::count(reached.0), reached.1]))
            .map_err(doing)?;
        transaction.commit().map_err(doing)
    }
}

/// A tenant, and the project its runs belong to, exist from its first entry on.
fn make_tenant(connection: &Connection, tenant: &Name, first: &Step) -> Result<(), rusqlite::Error> {
    let ts = first.record.at.wall.to_string();
    connection
        .prepare_cached("INSERT INTO tenants (tenant_id, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![tenant.as_str(), ts])?;
    connection
        .prepare_cached("INSERT INTO projects (tenant_id, project_id, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
        .execute(params![tenant.as_str(), PROJECT, ts])?;
    Ok(())
}
