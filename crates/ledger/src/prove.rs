//! Proofs that leave the house: one entry, or one prefix, checked by a stranger with nothing but the public key.

use eparch_domain::{Digest, Name};
use rusqlite::OptionalExtension as _;
use serde::{Deserialize, Serialize};

use crate::entry::to_sql;
use crate::note::{BadNote, Checkpoint, VerifierKey};
use crate::proof::{verify_consistency, verify_inclusion};
use crate::read::{ReadError, Reader, sql, stored_hashes};
use crate::tree::{Hash, consistency_path, inclusion_path, leaf_hash};
use crate::wire;

/// That an entry is part of a signed history. Written as JSON, it is complete in itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryProof {
    /// Whose history.
    pub tenant: Name,
    /// The entry's place, from 1.
    pub seq: u64,
    /// The exact bytes of the entry.
    #[serde(with = "wire")]
    pub body: Vec<u8>,
    /// The hashes beside the way from the leaf to the root.
    pub path: Vec<Digest>,
    /// The checkpoint it leads to.
    pub checkpoint: String,
}

/// That one signed history continues another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixProof {
    /// Whose history.
    pub tenant: Name,
    /// The hashes that both roots are made of.
    pub path: Vec<Digest>,
    /// The earlier checkpoint.
    pub old: String,
    /// The later checkpoint.
    pub new: String,
}

/// Why something cannot be proved.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// There is no such entry.
    #[error("there is no entry {seq}")]
    NoEntry {
        /// What was asked for.
        seq: u64,
    },
    /// No signed checkpoint covers so much of the history.
    #[error("no checkpoint of {at_least} entries or more is signed yet")]
    Unsigned {
        /// How much it would have to cover.
        at_least: u64,
    },
    /// The journal could not be read.
    #[error("cannot read the journal")]
    Read(#[from] ReadError),
}

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// A checkpoint cannot be believed.
    #[error("the proof's checkpoint cannot be believed")]
    Note(#[from] BadNote),
    /// A checkpoint is about another log.
    #[error("the proof's checkpoint is about another tenant")]
    Origin,
    /// The hashes do not lead to the signed root.
    #[error("the proof does not lead to the signed root")]
    Path,
}

impl Reader {
    /// Proves that entry `seq` is part of the history that the first checkpoint covering it was signed for.
    pub fn prove(&self, tenant: &Name, seq: u64) -> Result<EntryProof, ProveError> {
        let entry = self.entry(tenant, seq)?.ok_or(ProveError::NoEntry { seq })?;
        let id = self.id(tenant)?.ok_or(ProveError::NoEntry { seq })?;
        let (size, checkpoint) = self.checkpoint_from(id, seq)?;
        let path = inclusion_path(seq - 1, size, &mut stored_hashes(self.connection(), id))?;
        Ok(EntryProof { tenant: tenant.clone(), seq, body: entry.body, path: digests(path), checkpoint })
    }

    /// Proves that the newest signed history continues that of the first checkpoint of at least `size` entries.
    pub fn prove_prefix(&self, tenant: &Name, size: u64) -> Result<PrefixProof, ProveError> {
        let unsigned = ProveError::Unsigned { at_least: size };
        let Some(id) = self.id(tenant)? else { return Err(unsigned) };
        let (old_size, old) = self.checkpoint_from(id, size)?;
        let Some((new_size, _, new)) = crate::read::last_checkpoint(self.connection(), id)? else {
            return Err(unsigned);
        };
        let path = consistency_path(old_size, new_size, &mut stored_hashes(self.connection(), id))?;
        Ok(PrefixProof { tenant: tenant.clone(), path: digests(path), old, new })
    }

    fn checkpoint_from(&self, tenant: i64, at_least: u64) -> Result<(u64, String), ProveError> {
        let found = self
            .connection()
            .query_row(
                "SELECT size, note FROM checkpoint WHERE tenant = ?1 AND size >= ?2 ORDER BY size LIMIT 1",
                [tenant, to_sql(at_least)],
                |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, String>(1)?)),
            )
            .optional()
            .map_err(sql("find a checkpoint"))?;
        found.ok_or(ProveError::Unsigned { at_least })
    }
}

impl EntryProof {
    /// Checks the proof; `keys` are those whose checkpoints are believed.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Checkpoint, BadProof> {
        let checkpoint = believed(&self.checkpoint, &self.tenant, keys)?;
        let leaf = leaf_hash(&self.body);
        let index = self.seq.checked_sub(1).ok_or(BadProof::Path)?;
        let holds = verify_inclusion(&leaf, index, checkpoint.size, &hashes(&self.path), &checkpoint.root);
        if holds { Ok(checkpoint) } else { Err(BadProof::Path) }
    }
}

impl PrefixProof {
    /// Checks the proof; returns the earlier and the later checkpoint.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<(Checkpoint, Checkpoint), BadProof> {
        let old = believed(&self.old, &self.tenant, keys)?;
        let new = believed(&self.new, &self.tenant, keys)?;
        let holds = verify_consistency(old.size, &old.root, new.size, &new.root, &hashes(&self.path));
        if holds { Ok((old, new)) } else { Err(BadProof::Path) }
    }
}

fn believed(note: &str, tenant: &Name, keys: &[VerifierKey]) -> Result<Checkpoint, BadProof> {
    let checkpoint = Checkpoint::verify(note, keys)?;
    let about = keys.iter().any(|key| key.origin(tenant.as_str()) == checkpoint.origin);
    if about { Ok(checkpoint) } else { Err(BadProof::Origin) }
}

fn digests(hashes: Vec<Hash>) -> Vec<Digest> {
    hashes.into_iter().map(Digest::from_bytes).collect()
}

fn hashes(digests: &[Digest]) -> Vec<Hash> {
    digests.iter().map(|digest| *digest.as_bytes()).collect()
}
