//! Checkpoints outside the database: a file per tenant, in the home and in each witness folder.
//!
//! A file is one signed note after another, each followed by an empty line. The database has every note first; a file
//! that is behind (its disk was full, its folder was away, a crash came between) is brought up to date from there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::folder::{self, sync_dir};

/// More bytes than any note has. It has at most some 600: a name of 64 twice, two numbers, four hashes and a signature.
/// What is longer is not the torn end of one.
pub(crate) const NOTE_MAX: u64 = 4 << 10;

/// How far back the last note is looked for behind bytes that are none. A disk may leave some pages of zeros after a
/// power cut; a file that ends in more than a megabyte of something else is not one that we wrote.
const TAIL_MAX: u64 = 1 << 20;

/// The suffix of an anchor file; before it stands the tenant's name.
pub(crate) const SUFFIX: &str = ".checkpoints";

/// Where a tenant's notes are kept inside `dir`.
pub(crate) fn path(dir: &Path, tenant: &str) -> PathBuf {
    dir.join(format!("{tenant}{SUFFIX}"))
}

/// The tenants that have an anchor file in `dir`.
pub(crate) fn tenants(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(dir)? {
        let name = file?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

/// What is said of a file by a name that no tenant has, with checkpoints of one that there is.
pub(crate) fn copy_notice(path: &Path, tenant: &str) -> String {
    let path = path.display();
    format!(
        "{path} has checkpoints of tenant {tenant}: the journal is held to them, and none are added to it"
    )
}

/// Opens a file for reading, provided that it is one: opening a pipe would wait for its other end. `None` when nothing
/// is there; else the file and its length.
pub(crate) fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(file) if !file.is_file() => return Err(io::Error::other("not a regular file")),
        other => other?,
    };
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok(Some((file, length)))
}

/// The end of an anchor file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The last whole note.
    pub(crate) note: Option<String>,
    /// Where the whole notes end.
    pub(crate) whole: u64,
    /// How many bytes follow: what was cut off in the middle of being written, or something that is no note.
    pub(crate) rest: u64,
}

impl Tail {
    /// Reads the end of the file at `path`; nothing when there is no such file.
    pub(crate) fn read(path: &Path) -> io::Result<Tail> {
        let Some((mut file, length)) = open(path)? else { return Ok(Tail::default()) };
        let mut span = NOTE_MAX;
        loop {
            let start = length.saturating_sub(span);
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            (&mut file).take(length - start).read_to_end(&mut bytes)?;
            let (notes, rest) = split_notes(&bytes);
            let (end, rest) = (bytes.len() - rest.len(), rest.len() as u64);
            match notes.last() {
                // Where it begins with the window, it may be only the end of a note.
                Some((_, note)) if start == 0 || note.len() + 1 < end => {
                    let note = std::str::from_utf8(note).ok().map(str::to_owned);
                    return Ok(Tail { note, whole: start + end as u64, rest });
                }
                _ if start == 0 => return Ok(Tail { note: None, whole: 0, rest: length }),
                _ if span >= TAIL_MAX => return Err(io::Error::other("no checkpoint in its last megabyte")),
                _ => span *= 16,
            }
        }
    }
}

/// The last signed note in a file of notes, such as those in an anchor folder, or in a file with one note alone. It is not
/// checked.
pub fn last_note(path: &Path) -> io::Result<Option<String>> {
    let tail = Tail::read(path)?;
    // Copied from a terminal, a note has lost the empty line behind it.
    if tail.rest > 0
        && tail.rest < NOTE_MAX
        && let Some((mut file, _)) = open(path)?
    {
        file.seek(SeekFrom::Start(tail.whole))?;
        let mut bytes = Vec::new();
        file.take(tail.rest).read_to_end(&mut bytes)?;
        bytes.extend_from_slice(if bytes.ends_with(b"\n") { b"\n" } else { b"\n\n" });
        if let (notes, []) = split_notes(&bytes)
            && let [(_, note)] = notes[..]
        {
            return Ok(std::str::from_utf8(note).ok().map(str::to_owned));
        }
    }
    Ok(tail.note)
}

/// The notes of a file from its beginning, one at a time.
#[derive(Debug)]
pub(crate) struct Notes {
    input: io::Take<BufReader<File>>,
    line: usize,
}

/// A part of an anchor file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// What should be a note, and the line it begins on (from 1).
    Note(usize, Vec<u8>),
    /// The end of the file in the middle of a note.
    Torn,
    /// Something from this line on that is longer than any note.
    Garbage(usize),
}

impl Notes {
    /// Reads the first `length` bytes of a file.
    pub(crate) fn of(file: File, length: u64) -> Notes {
        Notes { input: BufReader::new(file).take(length), line: 1 }
    }

    /// The next part; `None` at the end, which is also where garbage begins: nothing behind it can be told apart.
    pub(crate) fn next(&mut self) -> io::Result<Option<Piece>> {
        let begin = self.line;
        let mut bytes = Vec::new();
        let mut signed = false;
        loop {
            let known = bytes.len();
            let room = NOTE_MAX + 1 - known as u64;
            if (&mut self.input).take(room).read_until(b'\n', &mut bytes)? == 0 {
                return Ok((known > 0).then_some(Piece::Torn));
            }
            let line = &bytes[known..];
            self.line += usize::from(line.ends_with(b"\n"));
            if line == b"\n" && signed {
                bytes.pop();
                return Ok(Some(Piece::Note(begin, bytes)));
            }
            signed = ends_note(line);
            if bytes.len() as u64 > NOTE_MAX {
                self.input.set_limit(0);
                return Ok(Some(Piece::Garbage(begin)));
            }
        }
    }
}

/// Whether a line is a signature, which an empty line has to follow.
fn ends_note(line: &[u8]) -> bool {
    line.ends_with(b"\n") && line.starts_with("\u{2014} ".as_bytes())
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
        signed = ends_note(piece);
    }
    (notes, &bytes[start..])
}

/// Adds notes to the file at `path` behind its first `whole` bytes, durably; returns the new length.
pub(crate) fn append(path: &Path, whole: u64, notes: &[String]) -> io::Result<u64> {
    append_and_sync(path, whole, notes, sync_dir)
}

fn append_and_sync(
    path: &Path,
    whole: u64,
    notes: &[String],
    sync: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<u64> {
    let dir = path.parent().unwrap_or(Path::new("."));
    if whole == 0 {
        folder::make(dir, folder::SHARED, &sync)?;
    }
    let mut file = OpenOptions::new().write(true).create(whole == 0).truncate(false).open(path)?;
    if file.metadata()?.len() < whole {
        // Making it longer would fill the gap with zeros.
        return Err(io::Error::other("it has become shorter"));
    }
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
    // A name that an attempt before made, and that then failed, is as new as one that was made now.
    if whole == 0 {
        sync(dir)?;
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
            let rest = torn as u64;
            let expected = Tail { note: Some(NOTE.to_owned()), whole, rest };
            // The empty line behind it is missing, nothing else; and with it, it is whole.
            assert_eq!(Tail::read(&path).unwrap(), expected, "{torn}");
        }
        append(&path, whole, &[NOTE.to_owned()]).unwrap();
        let bytes = fs::read(&path).unwrap();
        let (notes, rest) = split_notes(&bytes);
        assert_eq!((notes.len(), rest.len()), (3, 0));
        assert_eq!(notes[1], (7, NOTE.as_bytes()));
        assert_eq!(tenants(dir.path()).unwrap(), ["acme"]);
    }

    fn all(path: &Path) -> Vec<Piece> {
        let (file, length) = open(path).unwrap().unwrap();
        let mut notes = Notes::of(file, length);
        std::iter::from_fn(|| notes.next().unwrap()).collect()
    }

    #[test]
    fn r121_notes_are_found_before_any_garbage_and_in_no_more_memory_than_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "acme");
        let whole = append(&path, 0, &[NOTE.to_owned(), NOTE.to_owned()]).unwrap();
        let notes = [Piece::Note(1, NOTE.into()), Piece::Note(7, NOTE.into())];
        assert_eq!(all(&path), notes);
        for garbage in [1, 600, 4_096, 5_000, 70_000, 1 << 19] {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(whole + garbage).unwrap();
            let tail = Tail { note: Some(NOTE.to_owned()), whole, rest: garbage };
            assert_eq!(Tail::read(&path).unwrap(), tail, "{garbage}");
            let last = if garbage > NOTE_MAX { Piece::Garbage(13) } else { Piece::Torn };
            assert_eq!(all(&path)[2..], [last], "{garbage}");
        }
        // As long as any file may be, and nothing is read but its ends.
        OpenOptions::new().write(true).open(&path).unwrap().set_len(100 << 30).unwrap();
        assert!(Tail::read(&path).unwrap_err().to_string().contains("no checkpoint"));
        assert_eq!(all(&path)[2..], [Piece::Garbage(13)]);
        let one = dir.path().join("one");
        for (text, expected) in [
            (NOTE.to_owned(), Some(NOTE)),
            (NOTE.trim_end().to_owned(), Some(NOTE)),
            (format!("{NOTE}\n{NOTE}\n"), Some(NOTE)),
            (
                format!("{NOTE}\n{}", NOTE.replace('1', "2")),
                Some("eparch/h/t\n2\nroot\n\n\u{2014} eparch/h sig\n"),
            ),
            (String::new(), None),
            ("no note".to_owned(), None),
        ] {
            fs::write(&one, &text).unwrap();
            assert_eq!(last_note(&one).unwrap().as_deref(), expected, "{text:?}");
        }
        let empty = dir.path().join("zeta.checkpoints");
        fs::write(&empty, vec![0; 5_000]).unwrap();
        assert_eq!(Tail::read(&empty).unwrap(), Tail { note: None, whole: 0, rest: 5_000 });
    }

    #[test]
    fn r121_a_file_that_became_shorter_is_not_filled_up_with_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "acme");
        let whole = append(&path, 0, &[NOTE.to_owned()]).unwrap();
        for length in [0, 1, whole - 1] {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
            assert!(append(&path, whole, &[NOTE.to_owned()]).is_err(), "{length}");
            assert_eq!(fs::metadata(&path).unwrap().len(), length);
        }
        fs::remove_file(&path).unwrap();
        assert!(append(&path, whole, &[NOTE.to_owned()]).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn r121_a_name_that_was_not_made_durable_is_made_durable_by_the_next_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&dir.path().join("far").join("away"), "acme");
        let synced = std::cell::RefCell::new(Vec::new());
        let note = [NOTE.to_owned()];
        let failing = append_and_sync(&path, 0, &note, |folder| {
            synced.borrow_mut().push(folder.to_owned());
            if folder == path.parent().unwrap() { Err(io::Error::other("no space")) } else { Ok(()) }
        });
        assert!(failing.is_err());
        assert!(synced.borrow().contains(&dir.path().to_owned()), "the folders it made have names, too");
        synced.borrow_mut().clear();
        append_and_sync(&path, 0, &note, |folder| {
            synced.borrow_mut().push(folder.to_owned());
            Ok(())
        })
        .unwrap();
        let away = path.parent().unwrap();
        assert_eq!(*synced.borrow(), [away.parent().unwrap().to_owned(), away.to_owned()]);
    }
}
