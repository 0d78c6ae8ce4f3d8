//! Deciding everything again (G10): the same events at the same times, handed to a fresh governor, must yield the same
//! facts and effects. What another version of the engine decided is taken as it stands; only the same version is expected
//! to decide the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use eparch_daemon::driver::ENGINE;
use eparch_domain::{Digest, Name};
use eparch_governor::{Answer, Event, Governor, Record, RestoreError, Snapshot};
use eparch_ledger::{ReadError, Reader, VerifierKey};
use eparch_pipeline::Pipeline;
use eparch_policy::PolicySet;
use serde::Serialize;

/// What came of deciding everything again.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Replay {
    /// Entries that were read.
    pub(crate) entries: u64,
    /// Entries that were decided again.
    pub(crate) decided: u64,
    /// Entries of other versions of the engine, taken as they stand.
    pub(crate) taken: u64,
    /// Saved states that are what the entries before them lead to.
    pub(crate) snapshots: u64,
    /// The first entry that was decided otherwise.
    pub(crate) difference: Option<Difference>,
}

/// An entry that was decided otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    /// Which.
    pub(crate) seq: u64,
    /// What is different: `facts`, `effects`, `answer`, the state saved after it, or why it could not be decided.
    pub(crate) what: String,
}

/// Decides a tenant's whole history again, up to the first difference.
pub(crate) fn replay(reader: &Reader, tenant: &Name, key: &VerifierKey) -> Result<Replay, ReadError> {
    let mut governor = Governor::new();
    let mut replay = Replay::default();
    let saved: BTreeSet<u64> = reader.snapshot_seqs(tenant)?.into_iter().collect();
    for entry in reader.entries(tenant, 1) {
        let entry = entry?;
        replay.entries += 1;
        let mut what = match Record::from_bytes(&entry.body) {
            Ok(record) => again(&mut governor, &record, reader, tenant, &mut replay)?,
            Err(problem) => Some(format!("it is not a record of this version: {problem}")),
        };
        if what.is_none()
            && saved.contains(&entry.seq)
            && let Some(snapshot) = reader.snapshot_at(tenant, entry.seq, key)?
        {
            what = compare(&governor, &snapshot.body, reader, tenant, &mut replay)?;
        }
        if let Some(what) = what {
            replay.difference = Some(Difference { seq: entry.seq, what });
            break;
        }
    }
    Ok(replay)
}

/// Decides one entry again; says what is different.
fn again(
    governor: &mut Governor,
    record: &Record,
    reader: &Reader,
    tenant: &Name,
    replay: &mut Replay,
) -> Result<Option<String>, ReadError> {
    let mut at_hand = true;
    if let Event::RunRequested(request) = &record.event {
        at_hand = learn(governor, &request.pipeline, reader, tenant)?;
    }
    if let Event::DiagnosticOffered { pipeline } = &record.event {
        at_hand = learn(governor, pipeline, reader, tenant)?;
    }
    if let Event::PoliciesOffered { policies, .. } = &record.event {
        let document = reader.document(tenant, policies)?;
        let found = document.and_then(|document| PolicySet::from_bytes(&document.bytes).ok());
        at_hand = found.is_some();
        if let Some(found) = found {
            governor.learn_policies(Arc::new(found));
        }
    }
    for digest in record.definitions() {
        if !learn(governor, &digest, reader, tenant)? {
            return Ok(Some(format!("the definition {digest} is not in the ledger")));
        }
    }
    if record.engine != ENGINE {
        record.decision.facts.iter().for_each(|fact| governor.apply(fact, record.at));
        replay.taken += 1;
        return Ok(None);
    }
    replay.decided += 1;
    let found = governor.handle(&record.event, record.at);
    let told = &record.decision;
    // The definition of a request that was refused is not kept, so why it was refused cannot be found out again.
    let refused_unseen = !at_hand && matches!(told.answer, Answer::Refused(_));
    Ok(if found.facts != told.facts {
        Some("facts".to_owned())
    } else if found.effects != told.effects {
        Some("effects".to_owned())
    } else if found.answer != told.answer && !refused_unseen {
        Some("answer".to_owned())
    } else {
        None
    })
}

/// Holds a saved state to the one that was replayed; says what is different. The driver writes the moment in a line before
/// the governor's snapshot.
fn compare(
    governor: &Governor,
    body: &[u8],
    reader: &Reader,
    tenant: &Name,
    replay: &mut Replay,
) -> Result<Option<String>, ReadError> {
    let different = || Ok(Some("the state saved after it is not what the entries lead to".to_owned()));
    let Some(line) = body.iter().position(|byte| *byte == b'\n') else { return different() };
    let snapshot = match Snapshot::from_bytes(&body[line + 1..]) {
        Ok(snapshot) => snapshot,
        // Another version's: recovery passes it over, and so does this.
        Err(RestoreError::Format { .. }) => return Ok(None),
        Err(_) => return different(),
    };
    let mut restored = Governor::new();
    for digest in snapshot.definitions() {
        learn(&mut restored, &digest, reader, tenant)?;
    }
    if restored.restore(snapshot).is_err() || !governor.agrees_with(&restored) {
        return different();
    }
    replay.snapshots += 1;
    Ok(None)
}

/// Has a definition at hand, if the ledger keeps it.
fn learn(
    governor: &mut Governor,
    digest: &Digest,
    reader: &Reader,
    tenant: &Name,
) -> Result<bool, ReadError> {
    if governor.knows(digest) {
        return Ok(true);
    }
    let document = reader.document(tenant, digest)?;
    let pipeline = document.and_then(|document| Pipeline::from_bytes(&document.bytes).ok());
    Ok(match pipeline {
        Some(pipeline) => {
            governor.learn_as(*digest, Arc::new(pipeline));
            true
        }
        None => false,
    })
}
