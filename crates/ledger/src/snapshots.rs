//! Saved states: files beside the journal. They save time, nothing else: one that is not exactly what the home's key signed is as
//! good as none. Writing one takes as long as the disk takes for so many bytes, and nobody who appends waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eparch_domain::Name;
use rusqlite::Connection;

use crate::entry::{SNAPSHOT_MAX, Snapshot, to_sql};
use crate::folder;
use crate::key::LedgerKey;
use crate::note::VerifierKey;
use crate::open::with_suffix;
use crate::read::{ReadError, Reader, head, stored_hashes};
use crate::seal;
use crate::tree::{self, Frontier, Hash};
use crate::vouch::SavedState;
use crate::write_error::WriteError;

/// Kept for each tenant: the newest, and one to fall back on.
const KEPT: usize = 2;

/// What is not whole yet: one is saved at a time.
const UNFINISHED: &str = "unfinished";

/// The first line of a file, before its signature.
const MAGIC: &[u8] = b"eparch snapshot 1\n";

/// A signature of Ed25519 (RFC 8032).
const SIGNATURE: usize = 64;

/// What comes before the state.
const HEAD: usize = MAGIC.len() + SIGNATURE;

/// A state as it was found, with its signature, of which nothing is known yet.
pub(crate) struct Found {
    pub(crate) signature: [u8; SIGNATURE],
    pub(crate) body: Vec<u8>,
}

/// The folder of saved states: one file for each, by the number of its tenant and the entry after which the state was this.
#[derive(Debug, Clone)]
pub(crate) struct Snapshots {
    dir: PathBuf,
}

impl Snapshots {
    /// Those of the journal at `path`.
    pub(crate) fn beside(path: &Path) -> Snapshots {
        Snapshots { dir: with_suffix(path, ".snapshots") }
    }

    /// Where one is, or would be.
    pub(crate) fn path(&self, tenant: i64, seq: u64) -> PathBuf {
        self.dir.join(format!("{tenant}-{seq}"))
    }

    /// Which there are, by tenant. What has another name is none of them.
    pub(crate) fn list(&self) -> io::Result<BTreeMap<i64, BTreeSet<u64>>> {
        let mut all: BTreeMap<i64, BTreeSet<u64>> = BTreeMap::new();
        let files = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            files => files?,
        };
        for file in files {
            let name = file?.file_name();
            let Some((tenant, seq)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
            let (Ok(tenant), Ok(seq)) = (tenant.parse(), seq.parse()) else { continue };
            // A number may be written in more than one way.
            if self.path(tenant, seq).file_name() == Some(&name) {
                all.entry(tenant).or_default().insert(seq);
            }
        }
        Ok(all)
    }

    fn of(&self, tenant: i64) -> io::Result<BTreeSet<u64>> {
        self.list().map(|mut all| all.remove(&tenant).unwrap_or_default())
    }

    /// Reads one; nothing when it is not there.
    pub(crate) fn read(&self, tenant: i64, seq: u64) -> io::Result<Option<Found>> {
        let file = match fs::File::open(self.path(tenant, seq)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take((HEAD + SNAPSHOT_MAX + 1) as u64).read_to_end(&mut bytes)?;
        let rest = bytes.strip_prefix(MAGIC).filter(|_| bytes.len() <= HEAD + SNAPSHOT_MAX);
        let found = rest.and_then(|rest| rest.split_first_chunk());
        let (signature, body) = found.ok_or_else(|| io::Error::other("it is no saved state"))?;
        Ok(Some(Found { signature: *signature, body: body.to_vec() }))
    }

    /// Makes one durable under its name, whole or not at all, and lets go of older ones, and of what is said to come after it.
    pub(crate) fn write(&self, tenant: i64, seq: u64, found: &Found) -> io::Result<()> {
        folder::make(&self.dir, folder::PRIVATE, folder::sync_dir)?;
        let path = self.path(tenant, seq);
        let unfinished = self.dir.join(UNFINISHED);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&[MAGIC, &found.signature].concat())?;
        file.write_all(&found.body)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&unfinished, &path)?;
        folder::sync_dir(&self.dir)?;
        let all = self.of(tenant)?;
        let kept: Vec<u64> = all.range(..=seq).rev().take(KEPT).copied().collect();
        for old in all.iter().filter(|seq| !kept.contains(seq)) {
            fs::remove_file(self.path(tenant, *old))?;
        }
        Ok(())
    }
}

/// The root over a tenant's first `seq` entries, at most as many as there are.
fn root_at(connection: &Connection, tenant: i64, seq: u64) -> Result<Hash, ReadError> {
    match seq {
        0 => Ok(Frontier::default().root()),
        _ => tree::range_root(0, seq, &mut stored_hashes(connection, tenant)),
    }
}

/// The place of a state in a history.
pub(crate) struct Place {
    tenant: i64,
    root: Hash,
}

impl Place {
    /// Signs a state for it, and makes it durable.
    pub(crate) fn save(
        &self,
        tenant: &Name,
        snapshot: Snapshot,
        key: &LedgerKey,
        into: &Snapshots,
    ) -> io::Result<()> {
        let Snapshot { seq, body } = snapshot;
        let seal = &seal::snapshot(self.tenant, to_sql(seq), &body);
        let saved = SavedState { tenant: tenant.as_str(), seq, seal, root: &self.root };
        into.write(self.tenant, seq, &Found { signature: saved.sign(key), body })
    }
}

impl Reader {
    /// Where the state of a tenant after entry `seq` belongs.
    pub(crate) fn place_of(&self, tenant: &Name, seq: u64) -> Result<Place, WriteError> {
        let unreadable = |error| WriteError::Unreadable(Arc::new(error));
        let id = self.id(tenant).map_err(unreadable)?.ok_or_else(|| WriteError::NoTenant(tenant.clone()))?;
        let head = head(self.connection(), id).map_err(unreadable)?;
        if seq > head {
            return Err(WriteError::BeyondHead { seq, head });
        }
        Ok(Place { tenant: id, root: root_at(self.connection(), id, seq).map_err(unreadable)? })
    }

    /// The newest saved state that can be believed, and the seqs of newer ones that cannot.
    pub fn snapshot(
        &self,
        tenant: &Name,
        key: &VerifierKey,
    ) -> Result<(Option<Snapshot>, Vec<u64>), ReadError> {
        let mut passed_over = Vec::new();
        for seq in self.snapshot_seqs(tenant)?.into_iter().rev() {
            match self.snapshot_at(tenant, seq, key)? {
                Some(snapshot) => return Ok((Some(snapshot), passed_over)),
                None => passed_over.push(seq),
            }
        }
        Ok((None, passed_over))
    }

    /// After which entries a state was saved, in order; none where that cannot be read.
    pub fn snapshot_seqs(&self, tenant: &Name) -> Result<Vec<u64>, ReadError> {
        let Some(id) = self.id(tenant)? else { return Ok(Vec::new()) };
        Ok(self.snapshots().of(id).unwrap_or_default().into_iter().collect())
    }

    /// The state saved after entry `seq`; `None` when there is none, or none that can be believed.
    pub fn snapshot_at(
        &self,
        tenant: &Name,
        seq: u64,
        key: &VerifierKey,
    ) -> Result<Option<Snapshot>, ReadError> {
        let Some(id) = self.id(tenant)? else { return Ok(None) };
        let Ok(Some(Found { signature, body })) = self.snapshots().read(id, seq) else { return Ok(None) };
        if seq > head(self.connection(), id)? {
            return Ok(None);
        }
        let seal = &seal::snapshot(id, to_sql(seq), &body);
        let root = &root_at(self.connection(), id, seq)?;
        let saved = SavedState { tenant: tenant.as_str(), seq, seal, root };
        Ok(saved.is_signed(&signature, std::slice::from_ref(key)).then_some(Snapshot { seq, body }))
    }
}
