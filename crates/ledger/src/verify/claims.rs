//! What signed checkpoints claim about a tenant's history, from the database and from outside, in the order of the
//! entries they cover. There is one for each second in which something was written, so they are read as they are needed.

use rusqlite::types::ValueRef;
use rusqlite::{Row, Rows};

use super::anchors::{AnchorFile, Place};
use super::report::{Finding, Report, Wrong};
use crate::anchor::{self, Notes, Piece};
use crate::note::{Checkpoint, VerifierKey};
use crate::tree::Hash;

/// What one valid note claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) root: Hash,
    pub(crate) documents: (u64, Hash),
    pub(crate) boots: (u64, Hash),
    /// The note itself, by its hash.
    note: Hash,
}

impl Claim {
    fn of(checkpoint: &Checkpoint, note: &str) -> Claim {
        let Checkpoint { root, documents, boots, .. } = *checkpoint;
        let note = *eparch_domain::Digest::of(note.as_bytes()).as_bytes();
        Claim { root, documents, boots, note }
    }
}

/// Whose claims, and which keys are believed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) keys: &'a [VerifierKey],
}

impl About<'_> {
    /// The size and claim of a note, or why it is not to be believed.
    fn read(&self, note: &[u8]) -> Result<(u64, Claim), String> {
        let note = std::str::from_utf8(note).map_err(|_| "not text".to_owned())?;
        let checkpoint = Checkpoint::verify(note, self.keys).map_err(|bad| bad.to_string())?;
        if !self.keys.iter().any(|key| key.origin(self.tenant) == checkpoint.origin) {
            return Err(format!("the checkpoint is about {}", checkpoint.origin));
        }
        Ok((checkpoint.size, Claim::of(&checkpoint, note)))
    }

    fn found(&self, report: &mut Report, wrong: Wrong, what: String) {
        report.add(Finding { wrong, tenant: Some(self.tenant.to_owned()), seq: None, what });
    }
}

/// The valid notes of one anchor file, by growing size.
#[derive(Debug)]
pub(crate) struct FileClaims<'a> {
    about: About<'a>,
    file: &'a AnchorFile,
    notes: Option<Notes>,
    next: Option<(u64, Claim)>,
    /// It has some valid note.
    vouches: bool,
    /// Sizes of notes that the journal has not, or has otherwise.
    strange: Sizes,
    /// Sizes of notes of the journal that are missing before others.
    missing: Sizes,
    /// Notes of the journal behind the last one here.
    behind: u64,
}

/// Some sizes, as far as they are told.
#[derive(Debug, Default)]
struct Sizes {
    count: u64,
    first: u64,
    last: u64,
}

impl Sizes {
    fn add(&mut self, size: u64) {
        if self.count == 0 {
            self.first = size;
        }
        (self.count, self.last) = (self.count + 1, size);
    }

    /// In words; `None` when there are none.
    fn told(&self) -> Option<String> {
        match self.count {
            0 => None,
            1 => Some(format!("a checkpoint of {} entries", self.first)),
            many => Some(format!("{many} checkpoints, of {} to {} entries,", self.first, self.last)),
        }
    }
}

impl<'a> FileClaims<'a> {
    pub(crate) fn open(about: About<'a>, file: &'a AnchorFile, report: &mut Report) -> FileClaims<'a> {
        let notes = match anchor::open(&file.path) {
            Ok(opened) => opened.map(|(open, _)| Notes::of(open, file.length)),
            Err(error) => {
                report.notices.push(format!("{} cannot be read: {error}", file.path.display()));
                None
            }
        };
        let (strange, missing) = (Sizes::default(), Sizes::default());
        let mut claims =
            FileClaims { about, file, notes, next: None, vouches: false, strange, missing, behind: 0 };
        claims.advance(report);
        claims
    }

    /// The largest size of any note from here on; 0 when there is none.
    pub(crate) fn last_size(mut self, report: &mut Report) -> u64 {
        let mut last = 0;
        while let Some((size, _)) = self.next {
            last = size;
            self.advance(report);
        }
        last
    }

    fn advance(&mut self, report: &mut Report) {
        let last = self.next.take().map_or(0, |(size, _)| size);
        let name = self.file.path.display();
        while let Some(notes) = &mut self.notes {
            let (line, read) = match notes.next() {
                Ok(Some(Piece::Note(line, note))) => (line, self.about.read(&note)),
                Ok(Some(Piece::Garbage(line))) => (line, Err("longer than any checkpoint".to_owned())),
                Ok(Some(Piece::Torn)) => {
                    report.notices.push(format!(
                        "{name} ends in the middle of a checkpoint, as after a crash; the next opening writes it again"
                    ));
                    continue;
                }
                Ok(None) => break,
                Err(error) => {
                    report.notices.push(format!("{name} cannot be read to its end: {error}"));
                    break;
                }
            };
            let why = match read {
                Ok((size, claim)) if size > last => {
                    self.next = Some((size, claim));
                    self.vouches = true;
                    return;
                }
                Ok((size, _)) => format!("{size} entries after {last}: sizes must grow"),
                Err(why) => why,
            };
            self.about.found(report, Wrong::Anchor, format!("{name}, line {line}: {why}"));
        }
        self.notes = None;
    }

    fn tell(&self, report: &mut Report) {
        let name = self.file.path.display();
        if self.file.named && !self.vouches {
            self.about.found(report, Wrong::Anchor, format!("{name} vouches for nothing"));
        }
        if let Some(strange) = self.strange.told() {
            let what = format!("{name} has {strange} that the journal lacks");
            self.about.found(report, Wrong::Checkpoint, what);
        }
        if let Some(missing) = self.missing.told() {
            self.about.found(report, Wrong::Anchor, format!("{name} lacks {missing} between others"));
        }
        if self.behind > 0 && !self.file.copy {
            let behind = self.behind;
            report.notices.push(format!(
                "{name} is {behind} checkpoints behind the journal; an opening brings it up to date"
            ));
        }
    }
}

/// Everything that is claimed about one size.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) size: u64,
    /// The same note in two places is one claim.
    pub(crate) claims: Vec<Claim>,
    /// Where the best of those outside the database lies, if any does.
    pub(crate) outside: Option<Place>,
}

/// All claims about a tenant, by growing size; the database and every anchor file are compared on the way.
pub(crate) struct Claims<'a> {
    about: About<'a>,
    /// Rows of size, root and note, by size.
    stored: Option<Rows<'a>>,
    next_stored: Option<(u64, Claim)>,
    /// Notes of the database that can be believed, so far.
    pub(crate) believed: u64,
    files: Vec<FileClaims<'a>>,
}

impl<'a> Claims<'a> {
    pub(crate) fn new(
        about: About<'a>,
        stored: Option<Rows<'a>>,
        files: Vec<FileClaims<'a>>,
        report: &mut Report,
    ) -> Claims<'a> {
        let mut claims = Claims { about, stored, next_stored: None, believed: 0, files };
        claims.advance(report);
        claims
    }

    fn advance(&mut self, report: &mut Report) {
        self.next_stored = None;
        while let Some(rows) = &mut self.stored {
            match rows.next().and_then(|row| row.map(|row| stored(self.about, row)).transpose()) {
                Ok(Some(Ok(claim))) => {
                    self.next_stored = Some(claim);
                    self.believed += 1;
                    return;
                }
                Ok(Some(Err(why))) => self.about.found(report, Wrong::Checkpoint, why),
                Ok(None) => self.stored = None,
                Err(error) => {
                    self.about.found(report, Wrong::Checkpoint, format!("a row cannot be read: {error}"));
                    self.stored = None;
                }
            }
        }
    }

    /// The size that comes next.
    pub(crate) fn size(&self) -> Option<u64> {
        let files = self.files.iter().map(|file| &file.next);
        files.chain([&self.next_stored]).flatten().map(|(size, _)| *size).min()
    }

    /// The claims about the size that comes next. After the last one it is told what the database and the files lack.
    pub(crate) fn next(&mut self, report: &mut Report) -> Option<Claimed> {
        let Some(size) = self.size() else {
            self.files.drain(..).for_each(|file| file.tell(report));
            return None;
        };
        let mut claimed = Claimed { size, claims: Vec::new(), outside: None };
        let stored = self.next_stored.filter(|(stored, _)| *stored == size).map(|(_, claim)| claim);
        claimed.claims.extend(stored);
        for file in &mut self.files {
            match file.next.filter(|(next, _)| *next == size) {
                Some((_, claim)) => {
                    if stored.is_none_or(|stored| stored.note != claim.note) {
                        file.strange.add(size);
                    }
                    if !claimed.claims.contains(&claim) {
                        claimed.claims.push(claim);
                    }
                    claimed.outside = claimed.outside.max(Some(file.file.place));
                    file.advance(report);
                }
                None if stored.is_none() => {}
                None if file.next.is_some() => file.missing.add(size),
                None => file.behind += 1,
            }
        }
        if stored.is_some() {
            self.advance(report);
        }
        Some(claimed)
    }
}

/// A checkpoint of the database: the size, and the claim of its note.
fn stored(about: About<'_>, row: &Row<'_>) -> Result<Result<(u64, Claim), String>, rusqlite::Error> {
    let size = row.get::<_, i64>(0)?.unsigned_abs();
    let root: Hash = row.get(1)?;
    let read = match row.get_ref(2)? {
        ValueRef::Text(note) => about.read(note),
        _ => Err("its note is not text".to_owned()),
    };
    Ok(match read {
        Ok((noted, claim)) if noted == size && root == claim.root => Ok((size, claim)),
        Ok(_) => Err(format!("checkpoint {size} does not say what its note says")),
        Err(why) => Err(format!("checkpoint {size}: {why}")),
    })
}
