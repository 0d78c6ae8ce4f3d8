//! The logs of a run's attempts as files, and how far they have been read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use eparch_domain::{Name, Timestamp};

use crate::api::wire::RunLogLine;
use crate::perform::log_name;

/// Bytes that are handed over at once, about.
const CHUNK: usize = 64 << 10;

/// Attempts whose lines are put in the order of their times. Those of a run with more come in the order of its stages,
/// because each takes an open file.
const MERGED: usize = 256;

/// A stage, and which attempt at it.
pub(super) type Attempt = (Name, u32);

/// The logs of a run, each with how many of its bytes were handed over.
pub(super) struct Logs {
    folder: PathBuf,
    had: BTreeMap<Attempt, u64>,
}

impl Logs {
    /// The logs in a folder, of which nothing was handed over.
    pub(super) fn of(folder: PathBuf) -> Logs {
        Logs { folder, had: BTreeMap::new() }
    }

    /// The next lines of some attempts, the earliest first, about a [`CHUNK`] of them; nothing when there are no more. Between
    /// two of them nothing is open: whoever is slow to take the first holds no file either.
    pub(super) fn chunk(&mut self, attempts: &[Attempt]) -> Option<Bytes> {
        // A log that is not there belongs to an attempt that never printed.
        let mut open: Vec<Captured> = attempts
            .iter()
            .filter_map(|attempt| {
                let had = self.had.get(attempt).copied().unwrap_or_default();
                Captured::open(&self.folder, attempt, had)
            })
            .collect();
        let chunk = merge(&mut open);
        let read =
            open.into_iter().map(|captured| ((captured.next.stage, captured.next.attempt), captured.had));
        self.had.extend(read);
        (!chunk.is_empty()).then(|| chunk.into())
    }
}

/// Which of so many attempts are put in the order of their times together.
pub(super) fn merged(attempts: usize) -> impl Iterator<Item = Range<usize>> {
    let at_once = if attempts <= MERGED { MERGED } else { 1 };
    (0..attempts).step_by(at_once).map(move |first| first..attempts.min(first + at_once))
}

/// The next lines of some attempts, the earliest first.
fn merge(open: &mut [Captured]) -> Vec<u8> {
    let mut next: BinaryHeap<Reverse<(Timestamp, usize)>> =
        open.iter().enumerate().map(|(at, captured)| Reverse((captured.next.line.ts, at))).collect();
    let mut chunk = Vec::new();
    while let Some(Reverse((_, at))) = next.pop() {
        serde_json::to_writer(&mut chunk, &open[at].next).expect("a line is plain data");
        chunk.push(b'\n');
        if open[at].go_on() {
            next.push(Reverse((open[at].next.line.ts, at)));
        }
        if chunk.len() >= CHUNK {
            break;
        }
    }
    chunk
}

/// The captured lines of one attempt, and the one that comes next.
struct Captured {
    file: BufReader<File>,
    next: RunLogLine,
    /// Where the next one begins.
    had: u64,
    /// Where it ends.
    end: u64,
}

impl Captured {
    /// The lines from a byte on, if there are any.
    fn open(folder: &Path, (stage, attempt): &Attempt, had: u64) -> Option<Captured> {
        let mut file = BufReader::new(File::open(folder.join(log_name(stage, *attempt))).ok()?);
        file.seek(SeekFrom::Start(had)).ok()?;
        let (line, bytes) = read_line(&mut file)?;
        let next = RunLogLine { stage: stage.clone(), attempt: *attempt, line };
        Some(Captured { file, next, had, end: had + bytes })
    }

    /// Goes on to the next line; false at the end.
    fn go_on(&mut self) -> bool {
        self.had = self.end;
        let Some((line, bytes)) = read_line(&mut self.file) else { return false };
        self.next.line = line;
        self.end += bytes;
        true
    }
}

/// Reads a line, with its length. The last one of a log that is being written may not be whole yet: then there is none.
fn read_line(file: &mut BufReader<File>) -> Option<(crate::agents::capture::LogLine, u64)> {
    let mut line = Vec::new();
    file.read_until(b'\n', &mut line).ok()?;
    let whole = line.strip_suffix(b"\n")?;
    Some((serde_json::from_slice(whole).ok()?, line.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(logs: &mut Logs, attempts: &[(&str, u32)]) -> Vec<String> {
        let attempts: Vec<Attempt> =
            attempts.iter().map(|(name, at)| (Name::new(name).unwrap(), *at)).collect();
        let text: Vec<u8> = merged(attempts.len())
            .flat_map(|group| std::iter::from_fn(|| logs.chunk(&attempts[group.clone()])).collect::<Vec<_>>())
            .flatten()
            .collect();
        let line = |line: &str| {
            let line: RunLogLine = serde_json::from_str(line).unwrap();
            format!("{}.{} {}", line.stage, line.attempt, line.line.line)
        };
        String::from_utf8(text).unwrap().lines().map(line).collect()
    }

    #[test]
    fn every_line_is_handed_over_once_and_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let line = |ts: i64, line: &str| {
            let ts = Timestamp::from_millis(ts);
            let line = crate::agents::capture::LogLine { ts, stream: "stdout".into(), line: line.into() };
            format!("{}\n", serde_json::to_string(&line).unwrap())
        };
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let mut logs = Logs::of(folder.path().to_owned());
        let all = [("a", 1), ("b", 1), ("b", 2)];
        assert!(said(&mut logs, &all).is_empty());
        let (first, second, third) = (line(1, "first"), line(2, "second"), line(3, "third"));
        write("a.1.jsonl", &format!("{first}{}", &third[..9]));
        write("b.1.jsonl", &second);
        assert_eq!(said(&mut logs, &all), ["a.1 first", "b.1 second"]);
        assert!(said(&mut logs, &all).is_empty());
        write("a.1.jsonl", &format!("{first}{third}"));
        write("b.2.jsonl", &second);
        assert_eq!(said(&mut logs, &[("b", 2)]), ["b.2 second"]);
        assert_eq!(said(&mut logs, &all), ["a.1 third"]);
    }
}
