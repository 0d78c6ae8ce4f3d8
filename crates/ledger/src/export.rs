//! A tenant's history as a file: JSON lines in the order things happened, and a verifier for it that needs no database.
//!
//! First a header; then entries, each after the documents it brought and before the checkpoint that was signed behind it;
//! last a line that says it is the last. Bytes are a JSON string where they are UTF-8, which keeps them exactly, and
//! base64 where they are not. Boots are the home's, not the tenant's, and
//! stay out: what a checkpoint says about them cannot be checked here.

use std::io::{self, BufRead, Read as _, Write};

use eparch_domain::{Digest, Name};
use serde::{Deserialize, Serialize};

use crate::entry::{SEQ_MAX, place, seq_of, to_sql};
use crate::note::{Checkpoint, VerifierKey};
use crate::read::{ReadError, Reader, sql};
use crate::seal;
use crate::tree::{Frontier, Hash, leaf_hash};
use crate::wire;

/// The version of the format.
const FORMAT: u32 = 1;

/// The longest line that is read. SQLite itself keeps no value of more than a gigabyte; a quarter of that, escaped, is
/// far beyond any entry, and bounds the memory that a hostile file can ask for.
const LINE_MAX: u64 = 256 << 20;

/// One line of an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Header {
        format: u32,
        tenant: Name,
        key: String,
    },
    Document {
        digest: Digest,
        kind: String,
        #[serde(with = "wire")]
        bytes: Vec<u8>,
    },
    Entry {
        seq: u64,
        /// Redundant, so that damage to a line is found in that line.
        leaf: Digest,
        #[serde(with = "wire")]
        body: Vec<u8>,
    },
    Checkpoint(String),
    End {
        entries: u64,
    },
}

/// Why an export could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal could not be read.
    #[error("cannot read the journal")]
    Read(#[from] ReadError),
    /// The output could not be written.
    #[error("cannot write the export")]
    Write(#[from] io::Error),
}

impl Reader {
    /// Writes a tenant's whole history, as it is at one moment; returns how many entries. `key` is the home's public
    /// key, named in the header for the reader's convenience.
    pub fn export(&self, tenant: &Name, key: &VerifierKey, out: &mut impl Write) -> Result<u64, ExportError> {
        let doing = sql("read the history");
        // Rolled back when dropped; it has only read.
        let moment = self.connection().unchecked_transaction().map_err(&doing)?;
        write_line(out, &Line::Header { format: FORMAT, tenant: tenant.clone(), key: key.to_string() })?;
        let id = self.id(tenant)?.unwrap_or(0);
        let prepare = |query| moment.prepare(query).map_err(sql("read the history"));
        let mut entries =
            prepare("SELECT place, body, leaf FROM entry WHERE place BETWEEN ?1 AND ?2 ORDER BY place")?;
        let mut documents =
            prepare("SELECT digest, kind, bytes FROM document WHERE tenant = ?1 AND seq = ?2 ORDER BY no")?;
        let mut checkpoint = prepare("SELECT note FROM checkpoint WHERE tenant = ?1 AND size = ?2")?;
        let mut rows = entries.query([place(id, 0), place(id, SEQ_MAX)]).map_err(&doing)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(&doing)? {
            let seq = seq_of(row.get(0).map_err(&doing)?);
            let mut brought = documents.query([id, to_sql(seq)]).map_err(&doing)?;
            while let Some(row) = brought.next().map_err(&doing)? {
                let digest = Digest::from_bytes(row.get(0).map_err(&doing)?);
                let kind = row.get(1).map_err(&doing)?;
                write_line(out, &Line::Document { digest, kind, bytes: row.get(2).map_err(&doing)? })?;
            }
            let leaf = Digest::from_bytes(row.get(2).map_err(&doing)?);
            write_line(out, &Line::Entry { seq, leaf, body: row.get(1).map_err(&doing)? })?;
            let mut signed = checkpoint.query([id, to_sql(seq)]).map_err(&doing)?;
            if let Some(row) = signed.next().map_err(&doing)? {
                write_line(out, &Line::Checkpoint(row.get(0).map_err(&doing)?))?;
            }
            count += 1;
        }
        write_line(out, &Line::End { entries: count })?;
        out.flush()?;
        Ok(count)
    }
}

fn write_line(out: &mut impl Write, line: &Line) -> Result<(), io::Error> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

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
    /// Entries behind the last of those: nothing vouches for them.
    pub beyond_last_checkpoint: u64,
    /// Where it is wrong first; `None` when it is sound.
    pub first_bad: Option<ImportFinding>,
}

/// Where an export is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportFinding {
    /// The line, from 1.
    pub line: u64,
    /// The first seq that cannot be relied on.
    pub seq: u64,
    /// What is wrong.
    pub what: String,
}

/// Verifies an export in one pass and bounded memory, up to the first thing that is wrong. `keys` are those whose
/// checkpoints are believed; `known` are notes from elsewhere that the history must agree with, such as the last ones of
/// a witness.
pub fn import_verify(
    mut input: impl BufRead,
    keys: &[VerifierKey],
    known: &[String],
) -> io::Result<ImportReport> {
    let mut import = Import::default();
    let mut expected = Vec::new();
    let mut first_bad = None;
    for note in known {
        match Checkpoint::verify(note, keys) {
            Ok(checkpoint) => expected.push(checkpoint),
            Err(bad) => {
                first_bad = Some(import.next(format!("a checkpoint from elsewhere is no good: {bad}")))
            }
        }
    }
    expected.sort_unstable_by_key(|checkpoint| checkpoint.size);
    let mut text = Vec::new();
    while first_bad.is_none() && !import.ended {
        text.clear();
        let read = (&mut input).take(LINE_MAX).read_until(b'\n', &mut text)?;
        import.line += 1;
        if read == 0 || text.last() != Some(&b'\n') {
            first_bad = Some(import.next("the export ends before its end"));
            break;
        }
        first_bad = match serde_json::from_slice::<Line>(&text) {
            Ok(line) => import.read(line, keys, &expected).err(),
            Err(error) => Some(import.next(format!("not a line of an export: {error}"))),
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
        first_bad,
    })
}

/// An export being read.
#[derive(Default)]
struct Import {
    line: u64,
    tenant: Option<Name>,
    tree: Frontier,
    documents: Option<(u64, Hash)>,
    /// How many entries the last checkpoint that holds covers.
    good: u64,
    checkpoints: u64,
    ended: bool,
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
                if known { Ok(()) } else { Err(self.next(format!("it is signed with another key: {key}"))) }
            }
            (_, None) | (Line::Header { .. }, _) => Err(self.next("an export begins with its one header")),
            (Line::Document { digest, kind, bytes }, _) => {
                if Digest::of(&bytes) != digest {
                    return Err(self.next(format!("the document is not {digest}")));
                }
                let (count, before) = self.documents.unwrap_or((0, seal::START));
                let seq = to_sql(self.tree.size() + 1);
                let chain = seal::document(&before, to_sql(count + 1), seq, digest.as_bytes(), &kind);
                self.documents = Some((count + 1, chain));
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
                let tenant = tenant.as_ref().map_or("", Name::as_str);
                for checkpoint in expected.iter().filter(|checkpoint| checkpoint.size == seq) {
                    if checkpoint.root != self.tree.root()
                        || !keys.iter().any(|key| key.origin(tenant) == checkpoint.origin)
                    {
                        return Err(self.unsigned(format!(
                            "entries up to {seq} are not those of a checkpoint from elsewhere"
                        )));
                    }
                }
                Ok(())
            }
            (Line::Checkpoint(note), Some(tenant)) => {
                let checkpoint =
                    Checkpoint::verify(&note, keys).map_err(|bad| self.unsigned(bad.to_string()))?;
                let size = self.tree.size();
                if checkpoint.size != size
                    || !keys.iter().any(|key| key.origin(tenant.as_str()) == checkpoint.origin)
                {
                    let what =
                        format!("the checkpoint is for {} entries of {}", checkpoint.size, checkpoint.origin);
                    return Err(self.unsigned(what));
                }
                if checkpoint.root != self.tree.root() {
                    let what = format!(
                        "entries from {} to {size} are not those that were signed for",
                        self.good + 1
                    );
                    return Err(self.unsigned(what));
                }
                if checkpoint.documents != self.documents.unwrap_or((0, seal::START)) {
                    let what = format!("the documents up to entry {size} are not those that were signed for");
                    return Err(self.unsigned(what));
                }
                self.good = size;
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
}
