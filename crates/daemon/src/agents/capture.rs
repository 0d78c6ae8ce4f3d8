//! What an agent's program prints: line by line, bounded, redacted, kept.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write as _};
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use eparch_domain::redact::PrivateKeyLines;
use eparch_domain::{Digest, Timestamp, limits};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One captured line, as the log file holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read.
    pub ts: Timestamp,
    /// `stdout`, `stderr`, or `agent` for what came over its listener.
    pub stream: String,
    /// The line, redacted.
    pub line: String,
}

/// The log of one attempt.
pub(crate) struct Log {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
    lines: AtomicU64,
    dropped: AtomicU64,
    /// What must not appear in it: the agent's own token.
    secret: String,
}

impl Log {
    pub(crate) fn create(path: PathBuf, secret: String) -> io::Result<Log> {
        let file = Mutex::new(BufWriter::new(File::create(&path)?));
        Ok(Log { path, file, lines: AtomicU64::new(0), dropped: AtomicU64::new(0), secret })
    }

    /// Reads a stream to its end. Every line is redacted, written, and shown to `watch`.
    pub(crate) fn follow(
        &self,
        stream: &str,
        from: impl Read,
        now: &dyn Fn() -> Timestamp,
        watch: &dyn Fn(&LogLine),
    ) {
        let mut from = BufReader::new(from);
        let mut keys = PrivateKeyLines::default();
        let mut buffer = Vec::new();
        while let Ok(more) = next_line(&mut from, &mut buffer) {
            if !more {
                break;
            }
            let text = String::from_utf8_lossy(&buffer);
            let line = keys.line(&text, &[&self.secret]).into_owned();
            self.write(LogLine { ts: now(), stream: stream.to_owned(), line }, watch);
        }
    }

    /// Adds one line from elsewhere, redacted.
    pub(crate) fn add(&self, line: LogLine, watch: &dyn Fn(&LogLine)) {
        let redacted = eparch_domain::redact::redact(&line.line, &[&self.secret]).into_owned();
        self.write(LogLine { line: redacted, ..line }, watch);
    }

    fn write(&self, line: LogLine, watch: &dyn Fn(&LogLine)) {
        if self.lines.fetch_add(1, Ordering::SeqCst) >= limits::LOG_LINES as u64 {
            self.dropped.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written loses lines, not the run: the ledger is the record.
        let written = serde_json::to_writer(&mut *file, &line)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"));
        if written.and_then(|()| file.flush()).is_err() {
            self.dropped.fetch_add(1, Ordering::SeqCst);
        }
        drop(file);
        watch(&line);
    }

    /// A value without secrets: an output becomes part of the ledger (G8).
    pub(crate) fn hide(&self, value: Value) -> Value {
        match value {
            Value::String(text) => eparch_domain::redact::redact(&text, &[&self.secret]).into_owned().into(),
            Value::Array(items) => items.into_iter().map(|item| self.hide(item)).collect(),
            Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, self.hide(value))).collect(),
            plain => plain,
        }
    }

    /// Lines seen, and lines of them that were not kept.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.lines.load(Ordering::SeqCst), self.dropped.load(Ordering::SeqCst))
    }

    /// The digest of what was kept.
    pub(crate) fn digest(&self) -> io::Result<Digest> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
        // A log is bounded by its lines, so it fits.
        Ok(Digest::of(&std::fs::read(&self.path)?))
    }
}

/// Reads one line without its end, at most `limits::LOG_LINE_BYTES` of it; the rest of a longer one is skipped and
/// marked. False at the end of the stream.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut cut = false;
    let mut any = false;
    loop {
        let available = from.fill_buf()?;
        if available.is_empty() {
            break;
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        let room = limits::LOG_LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        cut |= part.len() > room;
        let used = end.map_or(available.len(), |end| end + 1);
        from.consume(used);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if cut {
        line.extend_from_slice(" […]".as_bytes());
    }
    Ok(any)
}

/// Reads a log file, from line `skip` on.
#[cfg(test)]
fn read(path: &Path, skip: usize) -> io::Result<Vec<LogLine>> {
    let file = BufReader::new(File::open(path)?);
    let mut found = Vec::new();
    for line in file.lines().skip(skip) {
        // The last line of a log that is being written may not be whole yet.
        match serde_json::from_str(&line?) {
            Ok(line) => found.push(line),
            Err(_) => break,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Put together here, so that the tree holds nothing that looks like a token.
    fn token() -> String {
        format!("ept_{}", "abcdefghijklm".repeat(2))
    }

    fn capture(input: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(path.clone(), token()).unwrap();
        log.follow("stdout", input, &Timestamp::default, &|_| {});
        read(&path, 0).unwrap().into_iter().map(|line| line.line).collect()
    }

    #[test]
    fn lines_are_kept_whole_or_cut_and_the_token_never() {
        assert_eq!(capture(b"a\r\nb\n\nlast"), ["a", "b", "", "last"]);
        let long = vec![b'x'; limits::LOG_LINE_BYTES + 10];
        let lines = capture(&[&long[..], b"\nnext\n"].concat());
        assert!(lines[0].ends_with("x […]") && lines[0].len() < limits::LOG_LINE_BYTES + 10);
        assert_eq!(lines[1], "next");
        assert_eq!(capture(format!("token {}!\n", token()).as_bytes()), ["token [redacted]!"]);
    }

    #[test]
    fn what_is_not_text_does_not_stop_it() {
        assert_eq!(capture(b"\xff\xfe\nok\n").last().unwrap(), "ok");
    }
}
