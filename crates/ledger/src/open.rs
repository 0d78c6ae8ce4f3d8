//! What has to be right before anything is written.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use eparch_domain::Name;
use rusqlite::{Connection, OptionalExtension as _};

use crate::anchor::{self, Tail};
use crate::entry::to_sql;
use crate::key::KeyError;
use crate::note::{Checkpoint, VerifierKey};
use crate::read::{self, ReadError};
use crate::schema::MigrateError;
use crate::tree;

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes to it.
    #[error("the ledger at {path} is held by {}", pid.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    Held {
        /// The journal.
        path: PathBuf,
        /// The holder, if it said so.
        pid: Option<u32>,
    },
    /// A file or folder could not be used.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The signing key could not be had.
    #[error("cannot use the ledger key")]
    Key(#[from] KeyError),
    /// The database could not be opened.
    #[error("cannot open the journal at {path}")]
    Sql {
        /// The journal.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: rusqlite::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the journal's schema up to date")]
    Schema(#[from] MigrateError),
    /// The journal could not be read.
    #[error("cannot read the journal")]
    Read(#[from] ReadError),
    /// A signed checkpoint outside says more than the journal holds: it was cut, replaced or restored from a copy.
    /// Writing on would sign a second history.
    #[error("{anchor} vouches for {anchored} entries of tenant {tenant}, but the journal has {entries}")]
    BehindAnchor {
        /// Which file says so.
        anchor: PathBuf,
        /// Whose history.
        tenant: String,
        /// Entries the checkpoint covers.
        anchored: u64,
        /// Entries in the journal.
        entries: u64,
    },
    /// There are entries and no signed checkpoint of them, although the first ones are signed in the commit that adds them.
    /// Writing on would sign what somebody else wrote.
    #[error("the journal has {entries} entries of tenant {tenant} and no signed checkpoint of them")]
    Unsigned {
        /// Whose history.
        tenant: String,
        /// Entries in the journal.
        entries: u64,
    },
    /// A signed checkpoint outside is not about this history.
    #[error("the last checkpoint in {anchor} does not match the journal: {why}")]
    Forked {
        /// Which file.
        anchor: PathBuf,
        /// What does not match.
        why: String,
    },
}

pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { doing, path, source }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The tenants that have checkpoints. Their names become names of files, so one that is no name is refused here.
pub(crate) fn signed_tenants(connection: &Connection) -> Result<Vec<(i64, Name)>, OpenError> {
    let doing = read::sql("list the tenants");
    let query = "SELECT id, name FROM tenant t WHERE EXISTS (SELECT 1 FROM checkpoint c WHERE c.tenant = t.id) ORDER BY id";
    let mut rows = connection.prepare(query).map_err(&doing)?;
    let rows =
        rows.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).map_err(&doing)?;
    rows.map(|row| {
        let (id, name) = row.map_err(&doing)?;
        let damage = || read::damaged(&format!("#{id}"), "the name", id.unsigned_abs());
        Ok((id, Name::new(&name).map_err(|_| damage())?))
    })
    .collect()
}

/// Refuses to go on from a history that was never signed for.
pub(crate) fn refuse_unsigned(connection: &Connection) -> Result<(), OpenError> {
    let doing = read::sql("look for checkpoints");
    let query = "SELECT id, name FROM tenant t WHERE NOT EXISTS (SELECT 1 FROM checkpoint c WHERE c.tenant = t.id) ORDER BY id";
    let mut rows = connection.prepare(query).map_err(&doing)?;
    let mut rows = rows.query([]).map_err(&doing)?;
    while let Some(row) = rows.next().map_err(&doing)? {
        let entries = read::head(connection, row.get(0).map_err(&doing)?)?;
        if entries > 0 {
            return Err(OpenError::Unsigned { tenant: row.get(1).map_err(&doing)?, entries });
        }
    }
    Ok(())
}

/// Refuses to go on from a journal that has less, or other, history than the newest checkpoint in `dir` vouches for.
/// Hands back what is worth knowing: folders and files that should have vouched for the tenants in `signed` and could not
/// be asked. That must not stop the journal; but whoever puts an old copy in its place would have them missing.
pub(crate) fn hold_to_anchors(
    connection: &Connection,
    dir: &Path,
    key: &VerifierKey,
    signed: &[(i64, Name)],
) -> Result<Vec<String>, OpenError> {
    let found = match anchor::tenants(dir) {
        Ok(found) => found,
        Err(_) if signed.is_empty() => return Ok(Vec::new()),
        Err(error) => {
            return Ok(vec![format!("{} vouches for nothing: it cannot be read: {error}", dir.display())]);
        }
    };
    let mut notices = Vec::new();
    let mut absent: BTreeSet<&str> = signed.iter().map(|(_, name)| name.as_str()).collect();
    for tenant in found {
        absent.remove(tenant.as_str());
        let path = anchor::path(dir, &tenant);
        let note = match Tail::read(&path) {
            Ok(Tail { note: Some(note), .. }) => note,
            // A crash came before the end of the first note.
            Ok(Tail { whole: 0, rest, .. }) if rest <= anchor::NOTE_MAX => continue,
            unusable => {
                let why =
                    unusable.map_or_else(|error| error.to_string(), |_| "no checkpoint in it".to_owned());
                notices.push(format!("{} vouches for nothing: {why}", path.display()));
                continue;
            }
        };
        let forked = |why: String| OpenError::Forked { anchor: path.clone(), why };
        let checkpoint =
            Checkpoint::verify(&note, std::slice::from_ref(key)).map_err(|bad| forked(bad.to_string()))?;
        let id_of = |tenant: &str| match Name::new(tenant) {
            Ok(name) => read::tenant_id(connection, &name),
            Err(_) => Ok(None),
        };
        let (tenant, id) = match key.tenant_of(&checkpoint.origin) {
            Some(about) if about == tenant => (tenant, id_of(about)?),
            // A copy, by a name that is no tenant's. It is as good as what it was copied from.
            Some(about) if id_of(&tenant)?.is_none() => {
                notices.push(anchor::copy_notice(&path, about));
                absent.remove(about);
                (about.to_owned(), id_of(about)?)
            }
            _ => return Err(forked(format!("it is about {}", checkpoint.origin))),
        };
        let entries = id.map_or(Ok(0), |id| read::head(connection, id))?;
        let anchored = checkpoint.size;
        let Some(id) = id.filter(|_| entries >= anchored) else {
            return Err(OpenError::BehindAnchor { anchor: path, tenant, anchored, entries });
        };
        let known: Option<String> = connection
            .query_row(
                "SELECT note FROM checkpoint WHERE tenant = ?1 AND size = ?2",
                [id, to_sql(anchored)],
                |row| row.get(0),
            )
            .optional()
            .map_err(read::sql("find a checkpoint"))?;
        if known.as_ref() != Some(&note) {
            return Err(forked(format!(
                "the journal has another checkpoint, or none, at {anchored} entries"
            )));
        }
        let root = tree::range_root(0, anchored, &mut read::stored_hashes(connection, id))?;
        if root != checkpoint.root {
            return Err(forked(format!("the first {anchored} entries have another root")));
        }
    }
    let none = |name| format!("{} has no checkpoints of tenant {name}, unless it is new", dir.display());
    notices.extend(absent.into_iter().map(none));
    Ok(notices)
}
