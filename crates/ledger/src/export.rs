//! A tenant's history as a file: JSON lines in the order things happened.
//!
//! First a header; then entries, each after the documents it brought and before the checkpoint that was signed behind it;
//! last a line that says it is the last. Bytes are a JSON string where they are UTF-8, which keeps them exactly, and
//! base64 where they are not. Boots are the home's, not the tenant's, and
//! stay out: what a checkpoint says about them cannot be checked here.

use std::io::{self, Write};

use eparch_domain::{Digest, Name};
use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator as _;
use serde::{Deserialize, Serialize};

use crate::entry::{BODY_MAX, SEQ_MAX, place, seq_of, to_sql};
use crate::note::VerifierKey;
use crate::read::{ReadError, Reader, sql};
use crate::wire;

/// The version of the format.
pub(crate) const FORMAT: u32 = 1;

/// The longest line: an entry of the greatest length, and what stands around it.
pub(crate) const LINE_MAX: u64 = (wire::LONGER * BODY_MAX + (64 << 10)) as u64;

/// One line of an export.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line {
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

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// How many entries.
    pub entries: u64,
    /// How many of them, the newest, no checkpoint was signed for yet.
    pub unsigned: u64,
}

impl Reader {
    /// Writes a tenant's whole history, as it is at one moment. `key` is the home's public
    /// key, named in the header for the reader's convenience.
    pub fn export(
        &self,
        tenant: &Name,
        key: &VerifierKey,
        out: &mut impl Write,
    ) -> Result<Exported, ExportError> {
        let doing = sql("read the history");
        // Rolled back when dropped; it has only read.
        let moment = self.connection().unchecked_transaction().map_err(&doing)?;
        write_line(out, &Line::Header { format: FORMAT, tenant: tenant.clone(), key: key.to_string() })?;
        let id = self.id(tenant)?.unwrap_or(0);
        let prepare = |query| moment.prepare(query).map_err(sql("read the history"));
        let mut entries =
            prepare("SELECT place, body, leaf FROM entry WHERE place BETWEEN ?1 AND ?2 ORDER BY place")?;
        // Read beside the entries, which they came with in this order: to look for those of each entry would be to walk
        // through all of them each time.
        let mut documents =
            prepare("SELECT seq, digest, kind, bytes FROM document WHERE tenant = ?1 ORDER BY no")?;
        let mut documents = documents.query([id]).map_err(&doing)?;
        documents.advance().map_err(&doing)?;
        let mut checkpoint = prepare("SELECT note FROM checkpoint WHERE tenant = ?1 AND size = ?2")?;
        let mut rows = entries.query([place(id, 0), place(id, SEQ_MAX)]).map_err(&doing)?;
        let (mut count, mut unsigned) = (0, 0);
        while let Some(row) = rows.next().map_err(&doing)? {
            let seq = seq_of(row.get(0).map_err(&doing)?);
            while let Some(row) = documents.get() {
                if row.get::<_, i64>(0).map_err(&doing)? > to_sql(seq) {
                    break;
                }
                let digest = Digest::from_bytes(row.get(1).map_err(&doing)?);
                let kind = row.get(2).map_err(&doing)?;
                write_line(out, &Line::Document { digest, kind, bytes: row.get(3).map_err(&doing)? })?;
                documents.advance().map_err(&doing)?;
            }
            let leaf = Digest::from_bytes(row.get(2).map_err(&doing)?);
            write_line(out, &Line::Entry { seq, leaf, body: row.get(1).map_err(&doing)? })?;
            (count, unsigned) = (count + 1, unsigned + 1);
            let mut signed = checkpoint.query([id, to_sql(seq)]).map_err(&doing)?;
            if let Some(row) = signed.next().map_err(&doing)? {
                write_line(out, &Line::Checkpoint(row.get(0).map_err(&doing)?))?;
                unsigned = 0;
            }
        }
        write_line(out, &Line::End { entries: count })?;
        out.flush()?;
        Ok(Exported { entries: count, unsigned })
    }
}

fn write_line(out: &mut impl Write, line: &Line) -> Result<(), io::Error> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
