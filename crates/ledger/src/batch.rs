//! One transaction: many requests, each with its own precondition and its own savepoint.

use std::collections::HashMap;

use eparch_domain::{Digest, Name};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use crate::entry::{Append, Appended, BODY_MAX, KIND_MAX, NewEntry, SEQ_MAX, place, to_sql};
use crate::key::LedgerKey;
use crate::note::{Checkpoint, VerifierKey};
use crate::read::{self, ReadError};
use crate::seal;
use crate::tree::{self, Frontier, Hash};
use crate::write_error::WriteError;

/// What the writer remembers of a tenant between batches.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) id: i64,
    pub(crate) frontier: Frontier,
    /// How many documents, and the chain over them.
    documents: (u64, Hash),
    /// How many entries the newest checkpoint covers.
    pub(crate) signed: u64,
    /// What the outbox amounts to.
    tally: Hash,
}

/// A checkpoint that a batch made or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) tenant: i64,
    pub(crate) size: u64,
    pub(crate) note: String,
}

/// Why a transaction was not begun, or not ended.
pub(crate) enum BatchError {
    /// Another process writes to the journal.
    Fenced { ours: u64, found: u64 },
    /// The database; nothing of the batch can be relied on.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for BatchError {
    fn from(error: rusqlite::Error) -> BatchError {
        BatchError::Sql(error)
    }
}

/// Why a request was not carried out.
pub(crate) enum Failure {
    /// The request itself; the others go on.
    Request(WriteError),
    /// The database; nothing of the batch can be relied on.
    Batch(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        match error.sqlite_error_code() {
            // What a value is at fault for concerns its request alone.
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) => {
                Failure::Request(WriteError::Refused(std::sync::Arc::new(error)))
            }
            // Nothing that SQLite says: a value was read that has another type or length than was written.
            None => {
                let unreadable = ReadError::Sql { doing: "read what is there", source: error };
                Failure::Request(WriteError::Unreadable(std::sync::Arc::new(unreadable)))
            }
            _ => Failure::Batch(error),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        match error {
            ReadError::Sql { source, .. } => source.into(),
            other => Failure::Request(WriteError::Unreadable(std::sync::Arc::new(other))),
        }
    }
}

/// An open transaction and the state its requests see. What it changed becomes the writer's state only after the commit.
pub(crate) struct Batch<'a> {
    connection: &'a Connection,
    before: &'a HashMap<Name, Tenant>,
    key: &'a LedgerKey,
    changed: HashMap<Name, Tenant>,
}

impl<'a> Batch<'a> {
    /// Begins a transaction; fails when boot `ours` is no longer the newest, which means that somebody else writes.
    pub(crate) fn begin(
        connection: &'a Connection,
        before: &'a HashMap<Name, Tenant>,
        key: &'a LedgerKey,
        ours: u64,
    ) -> Result<Batch<'a>, BatchError> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let found: Option<i64> =
            connection.prepare_cached("SELECT max(epoch) FROM boot")?.query_row([], |row| row.get(0))?;
        let found = found.unwrap_or(0).unsigned_abs();
        if found != ours {
            connection.prepare_cached("ROLLBACK")?.execute([])?;
            return Err(BatchError::Fenced { ours, found });
        }
        Ok(Batch { connection, before, key, changed: HashMap::new() })
    }

    /// Makes everything durable and hands over the tenants as they are now.
    pub(crate) fn commit(self) -> Result<HashMap<Name, Tenant>, rusqlite::Error> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(self.changed)
    }

    /// Carries out one request, wholly or not at all.
    pub(crate) fn alone<T>(
        &mut self,
        request: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<Result<T, WriteError>, rusqlite::Error> {
        let run = |connection: &Connection, sql| connection.prepare_cached(sql)?.execute([]);
        run(self.connection, "SAVEPOINT request")?;
        let outcome = match request(self) {
            Ok(done) => Ok(done),
            Err(Failure::Batch(error)) => return Err(error),
            Err(Failure::Request(error)) => {
                run(self.connection, "ROLLBACK TO request")?;
                Err(error)
            }
        };
        run(self.connection, "RELEASE request")?;
        Ok(outcome)
    }

    /// Adds entries to a tenant's history.
    pub(crate) fn append(&mut self, request: &Append) -> Result<Appended, Failure> {
        if request.entries.is_empty() {
            return Err(Failure::Request(WriteError::Empty));
        }
        let mut tenant = match self.tenant(&request.tenant)? {
            Some(tenant) => tenant,
            None => self.new_tenant(&request.tenant)?,
        };
        let found = tenant.frontier.size();
        if found != request.after {
            return Err(Failure::Request(WriteError::Conflict { expected: request.after, found }));
        }
        let tally = tenant.tally;
        for entry in &request.entries {
            self.add(&mut tenant, entry)?;
        }
        if tenant.tally != tally {
            self.keep_tally(&tenant)?;
        }
        let appended = Appended { first_seq: found + 1, last_seq: tenant.frontier.size() };
        self.changed.insert(request.tenant.clone(), tenant);
        Ok(appended)
    }

    fn add(&self, tenant: &mut Tenant, entry: &NewEntry) -> Result<(), Failure> {
        let seq = tenant.frontier.size() + 1;
        if seq > SEQ_MAX {
            return Err(Failure::Request(WriteError::Full));
        }
        within("an entry", entry.body.len(), BODY_MAX)?;
        for document in &entry.documents {
            within("a document", document.bytes.len(), BODY_MAX)?;
            within("a document's kind", document.kind.len(), KIND_MAX)?;
        }
        let leaf = tree::leaf_hash(&entry.body);
        self.connection
            .prepare_cached("INSERT INTO entry (place, body, leaf) VALUES (?1, ?2, ?3)")?
            .execute(params![place(tenant.id, seq), entry.body, leaf])?;
        let mut subtrees = Vec::new();
        tenant.frontier.push(leaf, |subtree| subtrees.push(subtree));
        for subtree in subtrees {
            self.connection
                .prepare_cached("INSERT INTO subtree (tenant, level, idx, hash) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![tenant.id, subtree.level, to_sql(subtree.index), subtree.hash])?;
        }
        for effect in &entry.acknowledges {
            let removed = self
                .connection
                .prepare_cached("DELETE FROM outbox WHERE tenant = ?1 AND seq = ?2 AND idx = ?3")?
                .execute(params![tenant.id, to_sql(effect.seq), effect.idx])?;
            if removed != 1 {
                return Err(Failure::Request(WriteError::NotOutstanding { effect: *effect }));
            }
            let seal = seal::outbox(tenant.id, to_sql(effect.seq), i64::from(effect.idx));
            seal::toggle(&mut tenant.tally, &seal);
        }
        for idx in 0..entry.effects_due {
            let seal = seal::outbox(tenant.id, to_sql(seq), i64::from(idx));
            self.connection
                .prepare_cached("INSERT INTO outbox (tenant, seq, idx, seal) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![tenant.id, to_sql(seq), idx, seal])?;
            seal::toggle(&mut tenant.tally, &seal);
        }
        for document in &entry.documents {
            if Digest::of(&document.bytes) != document.digest {
                return Err(Failure::Request(WriteError::BadDocument { digest: document.digest }));
            }
            let kept = self
                .connection
                .prepare_cached("SELECT 1 FROM document WHERE tenant = ?1 AND digest = ?2")?
                .exists(params![tenant.id, document.digest.as_bytes()])?;
            if kept {
                continue;
            }
            let (count, before) = tenant.documents;
            let (no, digest) = (count + 1, document.digest.as_bytes());
            let chain = seal::document(&before, to_sql(no), to_sql(seq), digest, &document.kind);
            self.connection
                .prepare_cached(
                    "INSERT INTO document (tenant, no, seq, digest, kind, bytes, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![tenant.id, to_sql(no), to_sql(seq), digest, document.kind, document.bytes, chain])?;
            tenant.documents = (no, chain);
        }
        Ok(())
    }

    fn keep_tally(&self, tenant: &Tenant) -> Result<(), rusqlite::Error> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO tally (tenant, outbox) VALUES (?1, ?2)")?
            .execute(params![tenant.id, tenant.tally])
            .map(drop)
    }

    /// Signs a tenant's history as it now is; hands back the newest checkpoint when that already covers it.
    pub(crate) fn sign(&mut self, name: &Name, boots: (u64, Hash)) -> Result<Signed, Failure> {
        let mut tenant = self.known(name)?;
        let size = tenant.frontier.size();
        if size == tenant.signed {
            let (_, _, note) = read::last_checkpoint(self.connection, tenant.id)?
                .ok_or_else(|| Failure::Request(WriteError::NoTenant(name.clone())))?;
            return Ok(Signed { tenant: tenant.id, size, note });
        }
        let root = tenant.frontier.root();
        let origin = self.key.verifier().origin(name.as_str());
        let note = self.key.sign(&Checkpoint { origin, size, root, documents: tenant.documents, boots });
        self.connection
            .prepare_cached("INSERT INTO checkpoint (tenant, size, root, note) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![tenant.id, to_sql(size), root, note])?;
        tenant.signed = size;
        let signed = Signed { tenant: tenant.id, size, note };
        self.changed.insert(name.clone(), tenant);
        Ok(signed)
    }

    fn known(&mut self, name: &Name) -> Result<Tenant, Failure> {
        self.tenant(name)?.ok_or_else(|| Failure::Request(WriteError::NoTenant(name.clone())))
    }

    fn tenant(&mut self, name: &Name) -> Result<Option<Tenant>, Failure> {
        if let Some(tenant) = self.changed.get(name).or_else(|| self.before.get(name)) {
            return Ok(Some(tenant.clone()));
        }
        let Some(id) = read::tenant_id(self.connection, name)? else { return Ok(None) };
        let tenant = load(self.connection, id, name, self.key.verifier())?;
        self.changed.insert(name.clone(), tenant.clone());
        Ok(Some(tenant))
    }

    fn new_tenant(&self, name: &Name) -> Result<Tenant, Failure> {
        let newest: Option<i64> =
            self.connection.prepare_cached("SELECT max(id) FROM tenant")?.query_row([], |row| row.get(0))?;
        let id = newest.unwrap_or(0) + 1;
        self.connection
            .prepare_cached("INSERT INTO tenant (id, name, seal) VALUES (?1, ?2, ?3)")?
            .execute(params![id, name.as_str(), seal::tenant(id, name.as_str())])?;
        Ok(Tenant {
            id,
            frontier: Frontier::default(),
            documents: (0, seal::START),
            signed: 0,
            tally: seal::NOTHING,
        })
    }
}

/// Refuses a value that is too long.
fn within(what: &'static str, bytes: usize, limit: usize) -> Result<(), Failure> {
    if bytes <= limit { Ok(()) } else { Err(Failure::Request(WriteError::TooLong { what, bytes, limit })) }
}

/// Reads a tenant's state and holds it to the newest checkpoint: a tree that no longer has the signed root is not built on.
/// Nor is one that nothing vouches for: signing it on would vouch for what somebody else wrote.
fn load(connection: &Connection, id: i64, name: &Name, key: &VerifierKey) -> Result<Tenant, Failure> {
    let size = read::head(connection, id)?;
    let mut fetch = read::stored_hashes(connection, id);
    let frontier = Frontier::load(size, &mut fetch)?;
    let documents = connection
        .prepare_cached("SELECT no, chain FROM document WHERE tenant = ?1 ORDER BY no DESC LIMIT 1")?
        .query_row([id], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)))
        .optional()?
        .unwrap_or((0, seal::START));
    let damaged = |what, seq| Err(Failure::from(ReadError::Damaged { tenant: name.to_string(), what, seq }));
    let signed = match read::last_checkpoint(connection, id)? {
        Some((covered, root, note)) => {
            let ours = Checkpoint::verify(&note, std::slice::from_ref(key)).is_ok_and(|checkpoint| {
                let Checkpoint { origin, size, root: noted, .. } = checkpoint;
                (size, noted, origin) == (covered, root, key.origin(name.as_str()))
            });
            if !ours {
                return damaged("the newest checkpoint", covered);
            }
            if covered == 0 || covered > size || tree::range_root(0, covered, &mut fetch)? != root {
                return damaged("the history before the newest checkpoint", covered);
            }
            covered
        }
        // The first entries are signed in the commit that adds them.
        None if size > 0 => return damaged("the record of checkpoints", 1),
        None => 0,
    };
    let tally = read::tally(connection, id)?;
    Ok(Tenant { id, frontier, documents, signed, tally })
}
