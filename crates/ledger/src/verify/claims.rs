//! What signed checkpoints claim about a tenant's history, from the database and from outside, before it is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::report::{Finding, Report, Wrong};
use crate::anchor;
use crate::note::{Checkpoint, VerifierKey};
use crate::tree::Hash;

/// What one valid note claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) root: Hash,
    pub(crate) documents: (u64, Hash),
    pub(crate) boots: (u64, Hash),
    /// The note itself, by its hash.
    pub(crate) note: Hash,
}

impl Claim {
    fn of(checkpoint: &Checkpoint, note: &str) -> Claim {
        let Checkpoint { root, documents, boots, .. } = *checkpoint;
        Claim { root, documents, boots, note: note_hash(note) }
    }
}

/// What a note is compared by.
pub(crate) fn note_hash(note: &str) -> Hash {
    *eparch_domain::Digest::of(note.as_bytes()).as_bytes()
}

/// The size and claim of a note about `tenant`, or why it is not to be believed.
pub(crate) fn read_note(tenant: &str, note: &str, keys: &[VerifierKey]) -> Result<(u64, Claim), String> {
    let checkpoint = Checkpoint::verify(note, keys).map_err(|bad| bad.to_string())?;
    if !keys.iter().any(|key| key.origin(tenant) == checkpoint.origin) {
        return Err(format!("the checkpoint is about {}", checkpoint.origin));
    }
    Ok((checkpoint.size, Claim::of(&checkpoint, note)))
}

/// The valid notes of one tenant in one anchor folder, by size.
#[derive(Debug, Default)]
pub(crate) struct AnchorFile {
    pub(crate) path: PathBuf,
    pub(crate) claims: BTreeMap<u64, Claim>,
}

/// Reads every anchor file in `dirs` about `only`, or about anybody; findings and notices go to the report.
pub(crate) fn read_anchors(
    dirs: &[PathBuf],
    only: Option<&str>,
    keys: &[VerifierKey],
    report: &mut Report,
) -> BTreeMap<String, Vec<AnchorFile>> {
    let mut found: BTreeMap<String, Vec<AnchorFile>> = BTreeMap::new();
    for dir in dirs {
        let tenants = match anchor::tenants(dir) {
            Ok(tenants) => tenants,
            Err(error) => {
                report.notices.push(format!("the anchor folder {} cannot be read: {error}", dir.display()));
                continue;
            }
        };
        for tenant in tenants.into_iter().filter(|tenant| only.is_none_or(|only| only == tenant)) {
            let path = anchor::path(dir, &tenant);
            match std::fs::read(&path) {
                Ok(bytes) => {
                    let file = read_file(&path, &tenant, &bytes, keys, report);
                    found.entry(tenant).or_default().push(file);
                }
                Err(error) => report.notices.push(format!("{} cannot be read: {error}", path.display())),
            }
        }
    }
    found
}

fn read_file(
    path: &Path,
    tenant: &str,
    bytes: &[u8],
    keys: &[VerifierKey],
    report: &mut Report,
) -> AnchorFile {
    let mut file = AnchorFile { path: path.to_owned(), claims: BTreeMap::new() };
    let (texts, rest) = anchor::split_notes(bytes);
    for (line, text) in texts {
        let read = std::str::from_utf8(text).map_err(|_| "not text".to_owned());
        let read = read.and_then(|text| read_note(tenant, text, keys));
        let read = read.and_then(|(size, claim)| match file.claims.last_key_value() {
            Some((last, _)) if *last >= size => Err(format!("{size} entries after {last}: sizes must grow")),
            _ => Ok((size, claim)),
        });
        match read {
            Ok((size, claim)) => {
                file.claims.insert(size, claim);
            }
            Err(why) => report.add(Finding {
                wrong: Wrong::Anchor,
                tenant: Some(tenant.to_owned()),
                seq: None,
                what: format!("{}, line {line}: {why}", path.display()),
            }),
        }
    }
    if !rest.is_empty() {
        report.notices.push(format!(
            "{} ends in the middle of a checkpoint, as after a crash; the next opening writes it again",
            path.display()
        ));
    }
    file
}
