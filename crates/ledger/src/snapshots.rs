//! Saved states: files beside the journal. They save time, nothing else: one that is not exactly what the home's key signed is as
//! good as none. Writing one takes as long as the disk takes for so many bytes, and nobody who appends waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eparch_domain::{Name, in_full};
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

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
const MAGIC: &[u8] = b"eparch snapshot 2\n";

/// A signature of Ed25519 (RFC 8032).
const SIGNATURE: usize = 64;

/// What comes before the state.
const HEAD: usize = MAGIC.len() + SIGNATURE;

/// A state as it was found, with its signature, of which nothing is known yet.
pub(crate) struct Found {
    signature: [u8; SIGNATURE],
    body: Vec<u8>,
}

impl Found {
    /// Whether one of `keys` has signed it, as the state of a tenant after an entry, at a place that may be this one.
    pub(crate) fn is_signed(&self, tenant: &str, seq: u64, place: &Place, keys: &[VerifierKey]) -> bool {
        let content = Sha256::digest(&self.body).into();
        place.of(tenant, seq, &content).is_signed(&self.signature, keys)
    }
}

/// Writes a state out, piece by piece.
pub(crate) type State = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// What a state is written into: counts, and looks at what is written. Of one that is too large only the beginning is kept.
struct Measured {
    file: fs::File,
    bytes: usize,
    content: Sha256,
}

impl Write for Measured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        if self.bytes <= SNAPSHOT_MAX {
            self.content.update(bytes);
            self.file.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

    /// Makes one durable under its name, whole or not at all; `sign` signs for the hash of what is in it. Lets go of older ones, and of
    /// what is said to come after it.
    fn write(
        &self,
        tenant: i64,
        seq: u64,
        state: State,
        sign: impl FnOnce(&Hash) -> [u8; SIGNATURE],
    ) -> Result<(), WriteError> {
        let failed = |error| WriteError::State(Arc::new(error));
        folder::make(&self.dir, folder::PRIVATE, folder::sync_dir).map_err(failed)?;
        let unfinished = self.dir.join(UNFINISHED);
        let written = fill(&unfinished, state, sign)
            .and_then(|()| fs::rename(&unfinished, self.path(tenant, seq)).map_err(failed));
        if written.is_err() {
            // It takes up room for nothing. Where it cannot be removed, the next one takes its place.
            let _ = fs::remove_file(&unfinished);
            return written;
        }
        self.prune(tenant, seq).map_err(failed)
    }

    /// Keeps the newest up to one that was just saved.
    fn prune(&self, tenant: i64, newest: u64) -> io::Result<()> {
        folder::sync_dir(&self.dir)?;
        let all = self.of(tenant)?;
        let kept: Vec<u64> = all.range(..=newest).rev().take(KEPT).copied().collect();
        for old in all.iter().filter(|seq| !kept.contains(seq)) {
            fs::remove_file(self.path(tenant, *old))?;
        }
        Ok(())
    }
}

/// Writes a state into a file and makes it durable.
fn fill(path: &Path, state: State, sign: impl FnOnce(&Hash) -> [u8; SIGNATURE]) -> Result<(), WriteError> {
    let failed = |error| WriteError::State(Arc::new(error));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    // The signature is known when everything is written.
    file.write_all(&[MAGIC, &[0; SIGNATURE]].concat()).map_err(failed)?;
    let mut measured = Measured { file, bytes: 0, content: Sha256::new() };
    state(&mut measured).map_err(failed)?;
    let Measured { file, bytes, content } = measured;
    if bytes > SNAPSHOT_MAX {
        return Err(WriteError::TooLong { what: "a snapshot", bytes, limit: SNAPSHOT_MAX });
    }
    let signature = sign(&content.finalize().into());
    file.write_all_at(&signature, MAGIC.len() as u64).and_then(|()| file.sync_all()).map_err(failed)
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
    /// A place by the number of its tenant and the root over the entries before it.
    pub(crate) fn new(tenant: i64, root: Hash) -> Place {
        Place { tenant, root }
    }

    /// What is signed of a state there.
    fn of<'a>(&'a self, tenant: &'a str, seq: u64, content: &Hash) -> SavedState<'a> {
        let seal = seal::snapshot(self.tenant, to_sql(seq), content);
        SavedState { tenant, seq, seal, root: &self.root }
    }

    /// Signs a state for it, and makes it durable.
    ///
    /// # Errors
    ///
    /// [`WriteError::TooLong`], and [`WriteError::State`] with what the folder says.
    pub(crate) fn save(
        &self,
        tenant: &str,
        seq: u64,
        state: State,
        key: &LedgerKey,
        into: &Snapshots,
    ) -> Result<(), WriteError> {
        into.write(self.tenant, seq, state, |content| self.of(tenant, seq, content).sign(key))
    }
}

/// What whoever looks after a home is told of a state that could not be saved: the same each time.
pub(crate) fn not_saved(tenant: &Name, why: &WriteError) -> String {
    let why = match why {
        WriteError::TooLong { limit, .. } => format!("it is larger than {limit} bytes"),
        why => in_full(why),
    };
    format!("the state of tenant {tenant} is not saved, and a start reads more of the journal: {why}")
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
        if seq > head(self.connection(), id)? {
            return Ok(None);
        }
        let Ok(Some(found)) = self.snapshots().read(id, seq) else { return Ok(None) };
        let place = Place::new(id, root_at(self.connection(), id, seq)?);
        let is_signed = found.is_signed(tenant.as_str(), seq, &place, std::slice::from_ref(key));
        Ok(is_signed.then_some(Snapshot { seq, body: found.body }))
    }
}
