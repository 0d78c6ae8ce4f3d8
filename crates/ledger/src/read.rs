//! Reading: the same for a daemon, an auditor and a test, and never able to write.

use std::path::Path;

use eparch_domain::{Digest, Name};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::connection;
use crate::entry::{Document, EffectRef, Entry, SEQ_MAX, place, seq_of, to_sql};
use crate::schema::{JOURNAL, MigrateError};
use crate::seal;
use crate::snapshots::Snapshots;
use crate::tree::{self, Hash};

/// Entries read at once by [`Reader::entries`]: some hundred kilobytes of common ones.
const PAGE: u64 = 256;

/// Bytes of bodies after which a page ends, whatever was asked for: an entry may have 64 MiB, and a start that needed the
/// memory for thousands of those could never succeed. Of common entries it holds more than any caller asks for.
const PAGE_BYTES: usize = 8 << 20;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is not a journal this build can read.
    #[error("cannot read the journal's schema")]
    Schema(#[source] MigrateError),
    /// The database refused.
    #[error("cannot {doing}")]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        #[source]
        source: rusqlite::Error,
    },
    /// What was read is not what was written.
    #[error("{what} of tenant {tenant} is damaged at {seq}; `ledger verify` says more")]
    Damaged {
        /// Whose.
        tenant: String,
        /// Which kind of row.
        what: &'static str,
        /// Its seq, or number.
        seq: u64,
    },
}

/// Turns a database error into a [`ReadError`] that says what was being done.
pub(crate) fn sql(doing: &'static str) -> impl Fn(rusqlite::Error) -> ReadError {
    move |source| ReadError::Sql { doing, source }
}

/// A view of the journal that cannot write. It works beside a running daemon.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    snapshots: Snapshots,
}

impl Reader {
    /// Opens the journal at `path` for reading only. Nothing is made or migrated; a write-ahead log left by a crash is
    /// read through.
    pub fn open(path: &Path) -> Result<Reader, ReadError> {
        let connection = connection::open_reader(path).map_err(sql("open the journal for reading"))?;
        let version = JOURNAL.version(&connection).map_err(ReadError::Schema)?;
        if version != JOURNAL.migrations.len() {
            let known = JOURNAL.migrations.len();
            return Err(ReadError::Schema(MigrateError::TooOld { found: version, known }));
        }
        Ok(Reader { connection, snapshots: Snapshots::beside(path) })
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Every tenant that has a history, by name.
    pub fn tenants(&self) -> Result<Vec<Name>, ReadError> {
        let doing = sql("list the tenants");
        let mut rows =
            self.connection.prepare_cached("SELECT id, name FROM tenant ORDER BY name").map_err(&doing)?;
        let rows = rows
            .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
            .map_err(&doing)?;
        rows.map(|row| {
            let (id, name) = row.map_err(&doing)?;
            Name::new(&name).map_err(|_| damaged(&name, "the name", id.unsigned_abs()))
        })
        .collect()
    }

    /// The seq of the newest entry; 0 when there is none.
    pub fn head(&self, tenant: &Name) -> Result<u64, ReadError> {
        self.id(tenant)?.map_or(Ok(0), |id| head(&self.connection, id))
    }

    /// One entry.
    pub fn entry(&self, tenant: &Name, seq: u64) -> Result<Option<Entry>, ReadError> {
        Ok(self.page(tenant, seq, 1)?.into_iter().next().filter(|entry| entry.seq == seq))
    }

    /// The entries from seq `from` on, read a page at a time. An entry that is not what was written ends it with an error;
    /// every one before that is given.
    pub fn entries<'a>(
        &'a self,
        tenant: &'a Name,
        from: u64,
    ) -> impl Iterator<Item = Result<Entry, ReadError>> + 'a {
        let mut next = from.max(1);
        let mut page = Vec::new().into_iter();
        let mut problem = None;
        let mut ended = false;
        std::iter::from_fn(move || {
            if page.len() == 0 && !ended {
                let (entries, damage) = self.sound_page(tenant, next, PAGE);
                ended = entries.is_empty() || damage.is_some();
                (page, problem) = (entries.into_iter(), damage);
            }
            let entry: Option<Entry> = page.next();
            next += u64::from(entry.is_some());
            entry.map(Ok).or_else(|| problem.take().map(Err))
        })
    }

    /// At most `limit` entries from seq `from` on, and fewer where they are large: only an empty page is the end. An error
    /// when one of them is not what was written.
    pub fn page(&self, tenant: &Name, from: u64, limit: u64) -> Result<Vec<Entry>, ReadError> {
        let (entries, problem) = self.sound_page(tenant, from, limit);
        problem.map_or(Ok(entries), Err)
    }

    /// The entries of a [`page`](Reader::page), up to the first that is not what was written; and what is wrong with
    /// that one.
    pub fn sound_page(&self, tenant: &Name, from: u64, limit: u64) -> (Vec<Entry>, Option<ReadError>) {
        let mut entries = Vec::new();
        let problem = self.read_page(tenant, from.max(1), limit, &mut entries).err();
        (entries, problem)
    }

    fn read_page(
        &self,
        tenant: &Name,
        from: u64,
        limit: u64,
        entries: &mut Vec<Entry>,
    ) -> Result<(), ReadError> {
        let Some(id) = self.id(tenant)?.filter(|_| from <= SEQ_MAX) else { return Ok(()) };
        let doing = sql("read entries");
        let mut rows = self
            .connection
            .prepare_cached(
                "SELECT place, body, leaf FROM entry WHERE place BETWEEN ?1 AND ?2 ORDER BY place LIMIT ?3",
            )
            .map_err(&doing)?;
        let span = params![place(id, from), place(id, SEQ_MAX), to_sql(limit)];
        let mut rows = rows.query(span).map_err(&doing)?;
        let (mut expected, mut bytes) = (from, 0);
        while let Some(row) = rows.next().map_err(&doing)? {
            let seq = seq_of(row.get(0).map_err(&doing)?);
            let body: Vec<u8> = row.get(1).map_err(&doing)?;
            let leaf: Hash = row.get(2).map_err(&doing)?;
            if seq != expected || tree::leaf_hash(&body) != leaf {
                return Err(damaged(tenant.as_str(), "the entry", expected));
            }
            (expected, bytes) = (expected + 1, bytes + body.len());
            entries.push(Entry { seq, body });
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(())
    }

    /// Every effect that is written down and has no result yet, oldest first.
    pub fn outbox(&self, tenant: &Name) -> Result<Vec<EffectRef>, ReadError> {
        let doing = sql("read the outbox");
        // One moment for the rows and what they amount to; rolled back when dropped, having only read.
        let _moment = self.connection.unchecked_transaction().map_err(&doing)?;
        let Some(id) = self.id(tenant)? else { return Ok(Vec::new()) };
        let mut rows = self
            .connection
            .prepare_cached("SELECT seq, idx, seal FROM outbox WHERE tenant = ?1 ORDER BY seq, idx")
            .map_err(&doing)?;
        let mut rows = rows.query([id]).map_err(&doing)?;
        let mut effects = Vec::new();
        let mut sum = seal::NOTHING;
        while let Some(row) = rows.next().map_err(&doing)? {
            let (seq, idx): (i64, i64) = (row.get(0).map_err(&doing)?, row.get(1).map_err(&doing)?);
            let damage = || damaged(tenant.as_str(), "the outbox", seq.unsigned_abs());
            let seal = seal::outbox(id, seq, idx);
            if row.get::<_, Hash>(2).map_err(&doing)? != seal {
                return Err(damage());
            }
            seal::toggle(&mut sum, &seal);
            effects
                .push(EffectRef { seq: seq.unsigned_abs(), idx: u16::try_from(idx).map_err(|_| damage())? });
        }
        if tally(&self.connection, id)? == sum {
            Ok(effects)
        } else {
            Err(damaged(tenant.as_str(), "the outbox", 0))
        }
    }

    /// A document of this tenant.
    pub fn document(&self, tenant: &Name, digest: &Digest) -> Result<Option<Document>, ReadError> {
        let Some(id) = self.id(tenant)? else { return Ok(None) };
        let found = self
            .connection
            .prepare_cached("SELECT seq, kind, bytes FROM document WHERE tenant = ?1 AND digest = ?2")
            .and_then(|mut rows| {
                rows.query_row(params![id, digest.as_bytes()], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
                })
                .optional()
            })
            .map_err(sql("read a document"))?;
        let Some((seq, kind, bytes)) = found else { return Ok(None) };
        let seq = seq.unsigned_abs();
        if Digest::of(&bytes) != *digest {
            return Err(damaged(tenant.as_str(), "a document", seq));
        }
        Ok(Some(Document { kind, seq, bytes }))
    }

    /// The newest signed checkpoint, as a note.
    pub fn checkpoint(&self, tenant: &Name) -> Result<Option<String>, ReadError> {
        let Some(id) = self.id(tenant)? else { return Ok(None) };
        Ok(last_checkpoint(&self.connection, id)?.map(|(_, _, note)| note))
    }

    /// The row id of a tenant.
    pub(crate) fn id(&self, tenant: &Name) -> Result<Option<i64>, ReadError> {
        tenant_id(&self.connection, tenant)
    }
}

pub(crate) fn damaged(tenant: &str, what: &'static str, seq: u64) -> ReadError {
    ReadError::Damaged { tenant: tenant.to_owned(), what, seq }
}

pub(crate) fn tenant_id(connection: &Connection, tenant: &Name) -> Result<Option<i64>, ReadError> {
    connection
        .prepare_cached("SELECT id FROM tenant WHERE name = ?1")
        .and_then(|mut row| row.query_row([tenant.as_str()], |row| row.get(0)).optional())
        .map_err(sql("look up a tenant"))
}

pub(crate) fn head(connection: &Connection, tenant: i64) -> Result<u64, ReadError> {
    let newest: Option<i64> = connection
        .prepare_cached("SELECT place FROM entry WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC LIMIT 1")
        .and_then(|mut row| {
            row.query_row([place(tenant, 1), place(tenant, SEQ_MAX)], |row| row.get(0)).optional()
        })
        .map_err(sql("find the newest entry"))?;
    Ok(newest.map_or(0, seq_of))
}

/// What a tenant's outbox amounts to.
pub(crate) fn tally(connection: &Connection, tenant: i64) -> Result<Hash, ReadError> {
    connection
        .prepare_cached("SELECT outbox FROM tally WHERE tenant = ?1")
        .and_then(|mut row| row.query_row([tenant], |row| row.get(0)).optional())
        .map(|found| found.unwrap_or(seal::NOTHING))
        .map_err(sql("read the tally of work in progress"))
}

/// The newest checkpoint of a tenant: size, root, note.
pub(crate) fn last_checkpoint(
    connection: &Connection,
    tenant: i64,
) -> Result<Option<(u64, Hash, String)>, ReadError> {
    connection
        .prepare_cached(
            "SELECT size, root, note FROM checkpoint WHERE tenant = ?1 ORDER BY size DESC LIMIT 1",
        )
        .and_then(|mut row| {
            row.query_row([tenant], |row| {
                Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?, row.get(2)?))
            })
            .optional()
        })
        .map_err(sql("find the newest checkpoint"))
}

/// The stored hashes of a tenant's tree, for [`tree::Fetch`].
pub(crate) fn stored_hashes(
    connection: &Connection,
    tenant: i64,
) -> impl FnMut(u32, u64, u64) -> Result<Vec<Hash>, ReadError> {
    move |level, first, count| {
        let doing = sql("read the tree");
        let last = first + count - 1;
        let mut rows;
        let mut rows = if level == 0 {
            // Leaf 0 is entry 1.
            let query = "SELECT leaf FROM entry WHERE place BETWEEN ?1 AND ?2 ORDER BY place";
            rows = connection.prepare_cached(query).map_err(&doing)?;
            rows.query([place(tenant, first + 1), place(tenant, last + 1)])
        } else {
            let query = "SELECT hash FROM subtree WHERE tenant = ?1 AND level = ?2 AND idx BETWEEN ?3 AND ?4 ORDER BY idx";
            rows = connection.prepare_cached(query).map_err(&doing)?;
            rows.query(params![tenant, level, to_sql(first), to_sql(last)])
        }
        .map_err(&doing)?;
        let mut hashes = Vec::new();
        while let Some(row) = rows.next().map_err(&doing)? {
            hashes.push(row.get::<_, Hash>(0).map_err(&doing)?);
        }
        if hashes.len() as u64 == count {
            Ok(hashes)
        } else {
            Err(damaged(&format!("#{tenant}"), "the tree", first))
        }
    }
}
