//! Checkpoints outside the database: a file per tenant, in the home and in each witness folder.
//!
//! A file is one signed note after another, each followed by an empty line. The database has every note first; a file
//! that is behind (its disk was full, its folder was away, a crash came between) is brought up to date from there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::key::sync_dir;

/// How much of a file's end is read to find its last note. A note has at most some 600 bytes: a name of 64 twice, two
/// numbers, four hashes and a signature.
const TAIL: u64 = 4 << 10;

/// The suffix of an anchor file; before it stands the tenant's name.
pub(crate) const SUFFIX: &str = ".checkpoints";

/// Where a tenant's notes are kept inside `dir`.
pub(crate) fn path(dir: &Path, tenant: &str) -> PathBuf {
    dir.join(format!("{tenant}{SUFFIX}"))
}

/// The tenants that have an anchor file in `dir`; none when there is no such folder.
pub(crate) fn tenants(dir: &Path) -> io::Result<Vec<String>> {
    let listing = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for file in listing {
        let name = file?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

/// The end of an anchor file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The last whole note.
    pub(crate) note: Option<String>,
    /// Where the whole notes end; what follows was cut off in the middle of being written.
    pub(crate) whole: u64,
}

impl Tail {
    /// Reads the end of the file at `path`; nothing when there is no such file.
    pub(crate) fn read(path: &Path) -> io::Result<Tail> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tail::default()),
            // Opening a pipe would wait for its other end.
            Ok(file) if !file.is_file() => return Err(io::Error::other("not a regular file")),
            other => other?,
        };
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        let (notes, rest) = split_notes(&bytes);
        let whole = start + (bytes.len() - rest.len()) as u64;
        let note = notes.last().and_then(|(_, note)| std::str::from_utf8(note).ok()).map(str::to_owned);
        Ok(Tail { note, whole })
    }
}

/// Cuts the content of an anchor file into notes, each with the line it begins on (from 1), and what is left over. Where
/// `bytes` begin in the middle of a note, the first one is only its end.
pub(crate) fn split_notes(bytes: &[u8]) -> (Vec<(usize, &[u8])>, &[u8]) {
    let mut notes = Vec::new();
    let (mut start, mut line, mut at) = (0, 1, 0);
    let mut lines_seen = 1;
    let mut signed = false;
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        at += piece.len();
        lines_seen += 1;
        if piece == b"\n" && signed {
            notes.push((line, &bytes[start..at - 1]));
            (start, line) = (at, lines_seen);
        }
        signed = piece.ends_with(b"\n") && piece.starts_with("\u{2014} ".as_bytes());
    }
    (notes, &bytes[start..])
}

/// Adds notes to the file at `path` behind its first `whole` bytes, durably; returns the new length.
pub(crate) fn append(path: &Path, whole: u64, notes: &[String]) -> io::Result<u64> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let fresh = !path.exists();
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    // What stands behind the whole notes is the torn end of one that the database still has.
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    let mut text = String::new();
    for note in notes {
        text.push_str(note);
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    if fresh {
        sync_dir(dir)?;
    }
    Ok(whole + text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str = "eparch/h/t\n1\nroot\n\n\u{2014} eparch/h sig\n";

    #[test]
    fn a_torn_note_is_cut_off_and_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "acme");
        assert_eq!(Tail::read(&path).unwrap(), Tail::default());
        let whole = append(&path, 0, &[NOTE.to_owned(), NOTE.to_owned()]).unwrap();
        for torn in 1..=NOTE.len() {
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(usize::try_from(whole).unwrap());
            bytes.extend_from_slice(&NOTE.as_bytes()[..torn]);
            fs::write(&path, bytes).unwrap();
            assert_eq!(Tail::read(&path).unwrap(), Tail { note: Some(NOTE.to_owned()), whole }, "{torn}");
        }
        append(&path, whole, &[NOTE.to_owned()]).unwrap();
        let bytes = fs::read(&path).unwrap();
        let (notes, rest) = split_notes(&bytes);
        assert_eq!((notes.len(), rest.len()), (3, 0));
        assert_eq!(notes[1], (7, NOTE.as_bytes()));
        assert_eq!(tenants(dir.path()).unwrap(), ["acme"]);
    }
}
