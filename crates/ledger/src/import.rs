//! Verifying an export: it needs the public key, and no database.

use std::io::{self, BufRead, Read as _};

use eparch_domain::{Digest, Name};
use serde::Serialize;

use crate::entry::to_sql;
use crate::export::{FORMAT, LINE_MAX, Line};
use crate::note::{Checkpoint, VerifierKey};
use crate::seal;
use crate::tree::{Frontier, Hash, leaf_hash};

/// Characters of the file that a finding quotes.
const QUOTED: usize = 200;

/// What an export holds, as far as it can be relied on.
#[derive(Debug, Clone, Serialize)]
pub struct ImportReport {
    /// Whose history it is, as the header says.
    pub tenant: Option<Name>,
    /// Entries that were read.
    pub entries: u64,
    /// The root over them, recomputed.
    pub root: Digest,
    /// Signed checkpoints that hold.
    pub checkpoints: u64,
    /// Entries behind the last of those and of the known ones that it agrees with: nothing vouches for them.
    pub beyond_last_checkpoint: u64,
    /// Documents behind them.
    pub documents_beyond_last_checkpoint: u64,
    /// Where it is wrong first; `None` when nothing contradicts anything, which is not yet to say that it is sound.
    pub first_bad: Option<ImportFinding>,
}

impl ImportReport {
    /// Whether nothing is wrong, and signed checkpoints vouch for everything.
    pub fn is_sound(&self) -> bool {
        let beyond = self.beyond_last_checkpoint + self.documents_beyond_last_checkpoint;
        self.first_bad.is_none() && beyond == 0
    }

    /// Whether nothing is wrong, and signed checkpoints vouch for all but a tail. Where none vouches for anything, there is
    /// no history that it could be the tail of.
    pub fn is_sound_but_for_a_tail(&self) -> bool {
        self.is_sound() || self.first_bad.is_none() && self.beyond_last_checkpoint < self.entries
    }
}

/// Where an export is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportFinding {
    /// The line, from 1.
    pub line: u64,
    /// The first seq that cannot be relied on.
    pub seq: u64,
    /// What is wrong. It may quote the file, shortened and as it stands there: what shows it on a terminal makes it harmless.
    pub what: String,
}

/// Verifies an export in one pass and bounded memory, up to the first thing that is wrong. `keys` are those whose
/// checkpoints are believed; `known` are checkpoints from elsewhere that the history must agree with, such as the last ones
/// of a witness.
pub fn import_verify(
    mut input: impl BufRead,
    keys: &[VerifierKey],
    known: &[Checkpoint],
) -> io::Result<ImportReport> {
    let mut import = Import::default();
    let mut expected = known.to_vec();
    let mut first_bad = None;
    expected.sort_unstable_by_key(|checkpoint| checkpoint.size);
    let mut text = Vec::new();
    while first_bad.is_none() && !import.ended {
        text.clear();
        let read = (&mut input).take(LINE_MAX).read_until(b'\n', &mut text)? as u64;
        import.line += 1;
        if text.last() != Some(&b'\n') {
            let what = if read < LINE_MAX { "the export ends before its end" } else { "a line without end" };
            first_bad = Some(import.next(what));
            break;
        }
        first_bad = match serde_json::from_slice::<Line>(&text) {
            Ok(line) => import.read(line, keys, &expected).err(),
            Err(error) => {
                Some(import.next(format!("not a line of an export: {}", short(&error.to_string()))))
            }
        };
    }
    if first_bad.is_none() {
        let head = import.tree.size();
        if let Some(missing) = expected.last().filter(|checkpoint| checkpoint.size > head) {
            let what = format!(
                "the export ends at entry {head}, but a checkpoint from elsewhere covers {}",
                missing.size
            );
            first_bad = Some(ImportFinding { line: import.line, seq: head + 1, what });
        } else if !input.fill_buf()?.is_empty() {
            import.line += 1;
            first_bad = Some(import.next("something follows the end"));
        }
    }
    Ok(ImportReport {
        tenant: import.tenant,
        entries: import.tree.size(),
        root: Digest::from_bytes(import.tree.root()),
        checkpoints: import.checkpoints,
        beyond_last_checkpoint: import.tree.size() - import.good,
        documents_beyond_last_checkpoint: import.documents.0 - import.good_documents,
        first_bad,
    })
}

/// An export being read.
struct Import {
    line: u64,
    tenant: Option<Name>,
    tree: Frontier,
    /// How many documents, and the chain over them.
    documents: (u64, Hash),
    /// How many entries the last checkpoint that holds covers, and how many documents.
    good: u64,
    good_documents: u64,
    checkpoints: u64,
    ended: bool,
}

impl Default for Import {
    fn default() -> Import {
        Import {
            line: 0,
            tenant: None,
            tree: Frontier::default(),
            documents: (0, seal::START),
            good: 0,
            good_documents: 0,
            checkpoints: 0,
            ended: false,
        }
    }
}

/// A text from the file, as much of it as helps.
fn short(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Import {
    /// Something wrong with the entry that comes next.
    fn next(&self, what: impl Into<String>) -> ImportFinding {
        self.at(self.tree.size() + 1, what)
    }

    /// Something wrong with what the last checkpoint does not cover.
    fn unsigned(&self, what: impl Into<String>) -> ImportFinding {
        self.at(self.good + 1, what)
    }

    fn at(&self, seq: u64, what: impl Into<String>) -> ImportFinding {
        ImportFinding { line: self.line, seq, what: what.into() }
    }

    fn read(
        &mut self,
        line: Line,
        keys: &[VerifierKey],
        expected: &[Checkpoint],
    ) -> Result<(), ImportFinding> {
        match (line, &self.tenant) {
            (Line::Header { format, .. }, None) if format != FORMAT => {
                Err(self.next(format!("format {format} is not known")))
            }
            (Line::Header { tenant, key, .. }, None) => {
                self.tenant = Some(tenant);
                let known = keys.iter().any(|known| known.to_string() == key);
                if known {
                    Ok(())
                } else {
                    Err(self.next(format!("it is signed with another key: {}", short(&key))))
                }
            }
            (_, None) | (Line::Header { .. }, _) => Err(self.next("an export begins with its one header")),
            (Line::Document { digest, kind, bytes }, _) => {
                if Digest::of(&bytes) != digest {
                    return Err(self.next(format!("the document is not {digest}")));
                }
                let (count, before) = self.documents;
                let seq = to_sql(self.tree.size() + 1);
                let chain = seal::document(&before, to_sql(count + 1), seq, digest.as_bytes(), &kind);
                self.documents = (count + 1, chain);
                Ok(())
            }
            (Line::Entry { seq, leaf, body }, tenant) => {
                let last = self.tree.size();
                if seq != last + 1 {
                    return Err(self.at(last + 1, format!("entry {seq} follows entry {last}")));
                }
                if leaf_hash(&body) != *leaf.as_bytes() {
                    return Err(self.at(seq, format!("entry {seq} is not what was written")));
                }
                self.tree.push(*leaf.as_bytes(), |_| ());
                let Some(tenant) = tenant.clone() else { return Ok(()) };
                for checkpoint in expected.iter().filter(|checkpoint| checkpoint.size == seq) {
                    self.agree(&tenant, checkpoint, keys).map_err(|finding| ImportFinding {
                        what: format!("against a checkpoint from elsewhere: {}", finding.what),
                        ..finding
                    })?;
                }
                Ok(())
            }
            (Line::Checkpoint(note), Some(tenant)) => {
                let tenant = tenant.clone();
                let checkpoint =
                    Checkpoint::verify(&note, keys).map_err(|bad| self.unsigned(bad.to_string()))?;
                self.agree(&tenant, &checkpoint, keys)?;
                self.checkpoints += 1;
                Ok(())
            }
            (Line::End { entries }, _) => {
                self.ended = true;
                if entries == self.tree.size() {
                    Ok(())
                } else {
                    Err(self.next(format!("it should have {entries} entries")))
                }
            }
        }
    }

    /// Holds what was read so far to a checkpoint; from then on it vouches for that.
    fn agree(
        &mut self,
        tenant: &Name,
        checkpoint: &Checkpoint,
        keys: &[VerifierKey],
    ) -> Result<(), ImportFinding> {
        let size = self.tree.size();
        let Checkpoint { origin, size: signed, root, documents, .. } = checkpoint;
        if *signed != size || !keys.iter().any(|key| key.origin(tenant.as_str()) == *origin) {
            return Err(self.unsigned(format!("the checkpoint is for {signed} entries of {}", short(origin))));
        }
        if *root != self.tree.root() {
            let from = self.good + 1;
            return Err(
                self.unsigned(format!("entries from {from} to {size} are not those that were signed for"))
            );
        }
        if *documents != self.documents {
            return Err(
                self.unsigned(format!("the documents up to entry {size} are not those that were signed for"))
            );
        }
        (self.good, self.good_documents) = (size, self.documents.0);
        Ok(())
    }
}
