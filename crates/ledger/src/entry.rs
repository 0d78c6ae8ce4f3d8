//! What goes into the journal and what comes out.

use eparch_domain::{Digest, Name};
use serde::{Deserialize, Serialize};

/// Entries to add to one tenant's history, all or none.
#[derive(Debug, Clone)]
pub struct Append {
    /// Whose history; a tenant begins with its first entry.
    pub tenant: Name,
    /// The newest entry the caller has seen, 0 for none. When the history has moved on since, nothing is added.
    pub after: u64,
    /// What to add, in order; at least one.
    pub entries: Vec<NewEntry>,
}

/// One entry to add.
#[derive(Debug, Clone, Default)]
pub struct NewEntry {
    /// The exact bytes that were decided on.
    pub body: Vec<u8>,
    /// How many effects of this entry wait for a result: they stand in the outbox as 0, 1, … until acknowledged.
    pub effects_due: u16,
    /// Effects of earlier entries whose results this entry records. Each must be in the outbox.
    pub acknowledges: Vec<EffectRef>,
    /// Documents this entry speaks of. One that the tenant already has is not stored again.
    pub documents: Vec<NewDocument>,
}

/// A plan, a definition or a policy set, kept beside the entries and named by its digest.
#[derive(Debug, Clone)]
pub struct NewDocument {
    /// SHA-256 of `bytes`; anything else is refused.
    pub digest: Digest,
    /// What it is, in a word.
    pub kind: String,
    /// The document.
    pub bytes: Vec<u8>,
}

/// An effect, by the entry that asked for it and its number in that entry, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectRef {
    /// The entry.
    pub seq: u64,
    /// Which of its effects.
    pub idx: u16,
}

/// Where the entries of an [`Append`] are now, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The first one's seq.
    pub first_seq: u64,
    /// The last one's seq.
    pub last_seq: u64,
}

/// One entry of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place: from 1, without gaps. Leaf `seq - 1` of the tenant's tree.
    pub seq: u64,
    /// The exact bytes that were appended.
    pub body: Vec<u8>,
}

/// A saved state: where recovery begins instead of at entry 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The entry after which the state was this.
    pub seq: u64,
    /// The state.
    pub body: Vec<u8>,
}

/// A document as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is, in a word.
    pub kind: String,
    /// The entry that brought it.
    pub seq: u64,
    /// The document.
    pub bytes: Vec<u8>,
}

/// The most bytes of an entry, and of a document. The largest entry is that of a run which repeats another: it takes over
/// all that the other has put out, up to `limits::RUN_OUTPUTS_BYTES`, told twice, as event and as fact; what it begins adds
/// `limits::TURN_BYTES` and one attempt, which may be given as much again. What would be longer all the same is refused
/// before it is written. It bounds what somebody who checks an export has to hold.
pub const BODY_MAX: usize = 64 << 20;

/// The most bytes of a saved state: more than `limits::LIVE_RUNS` ordinary runs need. Past this a start reads more of the journal, and nothing else is lost.
pub const SNAPSHOT_MAX: usize = 256 << 20;

/// The most bytes of a document's kind, which is a word.
pub(crate) const KIND_MAX: usize = 64;

/// Bits of a seq inside a place: a million million entries for each of four million tenants.
const SEQ_BITS: u32 = 40;

/// The largest seq.
pub(crate) const SEQ_MAX: u64 = (1 << SEQ_BITS) - 1;

/// The key of an entry: tenant and seq in one integer.
pub(crate) fn place(tenant: i64, seq: u64) -> i64 {
    tenant << SEQ_BITS | to_sql(seq.min(SEQ_MAX))
}

/// The tenant a place belongs to.
pub(crate) fn tenant_of(place: i64) -> i64 {
    place >> SEQ_BITS
}

/// The seq of a place.
pub(crate) fn seq_of(place: i64) -> u64 {
    place.unsigned_abs() & SEQ_MAX
}

/// A count or seq as SQLite stores it. Anything past 2⁶³ cannot be in the file, and finds nothing there.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
