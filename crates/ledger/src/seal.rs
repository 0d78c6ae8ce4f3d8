//! What a row's other columns are held to: seals over single rows, chains over rows in order.
//!
//! The tree covers entries. The rows beside it carry a hash of their own, so that no byte of the file is without a
//! witness. The chains are named in every checkpoint and a snapshot's seal is signed, so that nobody without the key can
//! make them anew. The seals of outbox and tally anybody can make: they are there against accidents, and nothing that
//! they hold is believed for longer than until the next boot.

use eparch_domain::Digest;

use crate::tree::Hash;

/// The chain before the first row.
pub(crate) const START: Hash = [0; 32];

pub(crate) fn tenant(id: i64, name: &str) -> Hash {
    hash(&[b"tenant", &id.to_be_bytes(), name.as_bytes()])
}

pub(crate) fn outbox(tenant: i64, seq: i64, idx: i64) -> Hash {
    hash(&[b"outbox", &tenant.to_be_bytes(), &seq.to_be_bytes(), &idx.to_be_bytes()])
}

/// `content` is the hash of what is saved.
pub(crate) fn snapshot(tenant: i64, seq: i64, content: &Hash) -> Hash {
    hash(&[b"snapshot", &tenant.to_be_bytes(), &seq.to_be_bytes(), content])
}

pub(crate) fn document(before: &Hash, no: i64, seq: i64, digest: &Hash, kind: &str) -> Hash {
    hash(&[b"document", before, &no.to_be_bytes(), &seq.to_be_bytes(), digest, kind.as_bytes()])
}

pub(crate) fn boot(before: &Hash, epoch: i64, at: &str, pid: i64, version: &str, repaired: &str) -> Hash {
    let (epoch, pid) = (epoch.to_be_bytes(), pid.to_be_bytes());
    hash(&[b"boot", before, &epoch, at.as_bytes(), &pid, version.as_bytes(), repaired.as_bytes()])
}

/// Adds a seal to a sum over a set of rows, or takes it out again.
pub(crate) fn toggle(sum: &mut Hash, seal: &Hash) {
    sum.iter_mut().zip(seal).for_each(|(sum, seal)| *sum ^= seal);
}

/// The sum over no rows.
pub(crate) const NOTHING: Hash = [0; 32];

fn hash(parts: &[&[u8]]) -> Hash {
    *Digest::of_parts(parts).as_bytes()
}
