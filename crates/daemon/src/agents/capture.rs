//! What an agent's program prints: line by line, bounded, redacted, kept.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write as _};
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eparch_domain::redact::{PrivateKeyLines, REDACTED, is_secret_number};
use eparch_domain::{Digest, Timestamp, limits};
use eparch_vault::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifacts::digest_of;

/// One captured line, as the log file holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read.
    pub ts: Timestamp,
    /// `stdout`, `stderr`, `agent` or `message` for what came over its listener, `act-stdout` and `act-stderr` for what was
    /// performed for it under a permit, `eparch` for what it is told here.
    pub stream: String,
    /// The line, redacted.
    pub line: String,
}

/// Whether a stream is of what was performed for an agent, and not of its own program.
pub fn is_performed(stream: &str) -> bool {
    matches!(stream, "act-stdout" | "act-stderr")
}

/// The log of one attempt.
pub(crate) struct Log {
    path: PathBuf,
    /// What counts and is not written yet. Its lock is held for moments only, whatever the disk does.
    said: Mutex<VecDeque<(LogLine, Show)>>,
    /// Somebody is writing it.
    settling: AtomicBool,
    file: Mutex<Kept>,
    lines: AtomicU64,
    dropped: AtomicU64,
    /// What must not appear in it: the agent's own token…
    secret: String,
    /// … and the secrets it was given.
    given: Mutex<Vec<Secret>>,
}

/// Lines that wait at most while the disk takes its time: what ten texts hold. More are lost, and counted.
const LINES_WAITING: usize = 10 * TEXT_LINES;

/// Who is shown a line once it is written.
pub(crate) type Show = Arc<dyn Fn(&LogLine) + Send + Sync>;

/// A text as it will be kept: redacted, in lines.
pub(crate) struct Said {
    lines: Vec<LogLine>,
    /// Lines of it that are not kept.
    rest: u64,
}

struct Kept {
    to: BufWriter<File>,
    bytes: u64,
}

/// Lines taken of one text that came over a listener.
const TEXT_LINES: usize = 100;

impl Log {
    pub(crate) fn create(path: PathBuf, secret: String) -> io::Result<Log> {
        let file = Mutex::new(Kept { to: BufWriter::new(File::create(&path)?), bytes: 0 });
        Ok(Log {
            path,
            said: Mutex::default(),
            settling: AtomicBool::new(false),
            file,
            lines: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            secret,
            given: Mutex::default(),
        })
    }

    /// Reads a stream to its end. Every line is redacted, written, and shown to `watch`; `moved` is told of those, too,
    /// that are not kept.
    pub(crate) fn follow(
        &self,
        stream: &str,
        from: impl Read,
        now: &dyn Fn() -> Timestamp,
        watch: &dyn Fn(&LogLine),
        moved: &dyn Fn(),
    ) {
        let mut from = BufReader::new(from);
        let mut keys = PrivateKeyLines::default();
        let mut buffer = Vec::new();
        while let Ok(Some(whole)) = next_line(&mut from, &mut buffer, || self.longest()) {
            let text = String::from_utf8_lossy(&buffer);
            // Asked again: one that was given meanwhile may be longer than what was read for it.
            let line = self.knowing(|known| shortened(keys.line(&text, known), whole, longest(known)));
            moved();
            self.write(LogLine { ts: now(), stream: stream.to_owned(), line }, watch);
        }
    }

    /// A text from elsewhere, line by line, redacted: a private key may go over several. Nothing is kept yet.
    pub(crate) fn lines_of(&self, stream: &str, text: &str, ts: Timestamp) -> Said {
        let mut keys = PrivateKeyLines::default();
        let mut lines = text.lines();
        let kept = |line: &str| {
            let hidden = self.knowing(|known| keys.line(line, known).into_owned());
            let line = hidden.chars().take(limits::LOG_LINE_BYTES / 4).collect();
            LogLine { ts, stream: stream.to_owned(), line }
        };
        let lines_kept = lines.by_ref().take(TEXT_LINES).map(kept).collect();
        Said { lines: lines_kept, rest: lines.count() as u64 }
    }

    /// From now on it counts. Nothing is written here: whoever accepts [settles](Log::settle) next, where it may take its time.
    pub(crate) fn accept(&self, said: Said, show: &Show) {
        let mut waiting = self.waiting();
        let room = LINES_WAITING.saturating_sub(waiting.len());
        let lost = said.rest + said.lines.len().saturating_sub(room) as u64;
        self.lines.fetch_add(lost, Ordering::SeqCst);
        self.dropped.fetch_add(lost, Ordering::SeqCst);
        waiting.extend(said.lines.into_iter().take(room).map(|line| (line, show.clone())));
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(LogLine, Show)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody is writing what was accepted, and will write what is accepted meanwhile.
    pub(crate) fn is_settling(&self) -> bool {
        self.settling.load(Ordering::SeqCst)
    }

    /// [`Log::settle`], unless somebody is at it already: however many say something while the disk hangs, one thread waits.
    pub(crate) fn settle_once(&self) {
        // Looked at again after it was let go of: what came in between found it taken.
        while !self.waiting().is_empty() && !self.settling.swap(true, Ordering::SeqCst) {
            self.settle();
            self.settling.store(false, Ordering::SeqCst);
        }
    }

    /// Writes what was accepted, in its order. As long as the disk takes.
    pub(crate) fn settle(&self) {
        let shown = self.settle_in(&mut self.file.lock().unwrap_or_else(PoisonError::into_inner));
        shown.iter().for_each(|(line, show)| show(line));
    }

    /// What was written of it, for whoever is shown it.
    fn settle_in(&self, file: &mut Kept) -> Vec<(LogLine, Show)> {
        let next = || self.waiting().pop_front();
        let mut shown = Vec::new();
        while let Some((line, show)) = next() {
            if self.write_to(file, &line) {
                shown.push((line, show));
            }
        }
        shown
    }

    fn write(&self, line: LogLine, watch: &dyn Fn(&LogLine)) {
        let fits = self.write_to(&mut self.file.lock().unwrap_or_else(PoisonError::into_inner), &line);
        if fits {
            watch(&line);
        }
    }

    /// Whether there was room for it.
    fn write_to(&self, file: &mut Kept, line: &LogLine) -> bool {
        if self.lines.fetch_add(1, Ordering::SeqCst) >= limits::LOG_LINES as u64 {
            self.dropped.fetch_add(1, Ordering::SeqCst);
            return false;
        }
        let mut bytes = serde_json::to_vec(line).expect("a line is plain data");
        bytes.push(b'\n');
        // The first line that does not fit, or cannot be written, is the last: a log with holes would look whole. Whoever
        // watches sees it all the same.
        file.bytes = file.bytes.saturating_add(bytes.len() as u64);
        let fits = file.bytes <= limits::LOG_BYTES;
        // A log that cannot be written loses lines, not the run: the ledger is the record.
        let kept = fits && file.to.write_all(&bytes).and_then(|()| file.to.flush()).is_ok();
        if !kept {
            self.dropped.fetch_add(1, Ordering::SeqCst);
            file.bytes = u64::MAX;
        }
        fits
    }

    /// Keeps texts that the agent was given out of everything it says from now on, and each of their lines, also as they stand
    /// in JSON: that is how they were given. What is shorter than eight characters is not looked for: it would be found
    /// everywhere.
    pub(crate) fn keep_out<'t>(&self, texts: impl Iterator<Item = &'t str>) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        for text in texts.flat_map(|text| std::iter::once(text.trim()).chain(text.lines().map(str::trim))) {
            if text.len() < 8 {
                continue;
            }
            for form in [text.to_owned(), in_json(text), in_plain_json(text)] {
                let form = Secret::from(form.as_str());
                if !given.iter().any(|known| known.expose() == form.expose()) {
                    given.push(form);
                }
            }
        }
        // A longer one may hold a shorter one, which would leave its rest.
        given.sort_by_key(|known| std::cmp::Reverse(known.expose().len()));
    }

    /// How long what must not appear may be.
    fn longest(&self) -> usize {
        self.knowing(longest)
    }

    /// Does something with everything that must not appear.
    fn knowing<T>(&self, act: impl FnOnce(&[&str]) -> T) -> T {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<&str> =
            std::iter::once(self.secret.as_str()).chain(given.iter().map(Secret::expose)).collect();
        act(&known)
    }

    /// A text of the agent's without secrets: whatever it says becomes part of the ledger (G8).
    pub(crate) fn hide_text(&self, text: &str) -> String {
        self.knowing(|known| eparch_domain::redact::redact(text, known).into_owned())
    }

    /// Whether something that is a name, and useless when it is changed, holds a secret.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        self.knowing(|known| eparch_domain::redact::redact(name, known) != name)
    }

    /// A value without secrets: an output becomes part of the ledger (G8).
    pub(crate) fn hide(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.hide_text(&text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.hide(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(key, value)| (self.hide_text(&key), self.hide(value))).collect()
            }
            Value::Number(number) if is_secret_number(&number) || self.is_secret(&number.to_string()) => {
                REDACTED.into()
            }
            plain => plain,
        }
    }

    /// Lines seen, and lines of them that were not kept; of everything accepted by then.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.settle();
        (self.lines.load(Ordering::SeqCst), self.dropped.load(Ordering::SeqCst))
    }

    /// The digest of what was kept, with everything accepted by then, which is durable by then: evidence names it.
    pub(crate) fn digest(&self) -> io::Result<Digest> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = self.settle_in(&mut file);
        shown.iter().for_each(|(line, show)| show(line));
        file.to.flush()?;
        file.to.get_ref().sync_all()?;
        digest_of(&mut File::open(&self.path)?)
    }
}

/// A text as it stands between the quotes of JSON.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// The same where nothing but ASCII is left as it is, which is what many programs write, Python's among them.
fn in_plain_json(text: &str) -> String {
    let mut plain = String::new();
    for letter in in_json(text).chars() {
        if letter.is_ascii() {
            plain.push(letter);
        } else {
            let mut units = [0; 2];
            plain.extend(letter.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    plain
}

/// What a secret may be long and still be known by its shape.
const SECRET_BYTES: usize = 4 << 10;

/// What a secret may be long and still be known, by its shape or by itself.
fn longest(known: &[&str]) -> usize {
    known.iter().map(|text| text.len()).fold(SECRET_BYTES, usize::max)
}

/// Reads one line without its end, and of a longer one so much more than is kept that a secret at the cut is seen whole; the
/// rest is skipped. `longest` says how long one may be, once there is something to read. Whether all of it was read; `None` at
/// the end of the stream.
fn next_line(
    from: &mut impl BufRead,
    line: &mut Vec<u8>,
    longest: impl Fn() -> usize,
) -> io::Result<Option<bool>> {
    line.clear();
    let mut whole = true;
    let mut any = false;
    loop {
        let available = from.fill_buf()?;
        if available.is_empty() {
            break;
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        let room = (limits::LOG_LINE_BYTES + longest()).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        whole &= part.len() <= room;
        let used = end.map_or(available.len(), |end| end + 1);
        from.consume(used);
        if end.is_some() {
            break;
        }
    }
    if whole && line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(any.then_some(whole))
}

/// A redacted line as it is kept. It is cut after it was redacted, when no half of a secret can be left; and of one that was
/// not read to its end the last part is not kept either, wherever it came to stand when what is before it was taken out.
fn shortened(line: Cow<'_, str>, whole: bool, longest: usize) -> String {
    let sure = if whole { line.len() } else { line.len().saturating_sub(longest) };
    if whole && sure <= limits::LOG_LINE_BYTES {
        return line.into_owned();
    }
    let most = sure.min(limits::LOG_LINE_BYTES);
    let end = (0..=most).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    format!("{} […]", &line[..end])
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

    fn add(log: &Log, stream: &str, text: &str) {
        let show: Show = Arc::new(|_| {});
        log.accept(log.lines_of(stream, text, Timestamp::default()), &show);
        log.settle();
    }

    #[test]
    fn what_was_accepted_is_of_the_evidence_in_its_order_and_shown_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(path.clone(), token()).unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let to = shown.clone();
        let show: Show = Arc::new(move |line| to.lock().unwrap().push(line.line.clone()));
        let say = |text: &str| log.accept(log.lines_of("agent", text, Timestamp::default()), &show);
        say("a\nb");
        say("c");
        assert!(read(&path, 0).unwrap().is_empty() && shown.lock().unwrap().is_empty());
        assert_eq!(log.digest().unwrap(), Digest::of(&std::fs::read(&path).unwrap()));
        log.settle();
        assert_eq!(log.counts(), (3, 0));
        let kept: Vec<_> = read(&path, 0).unwrap().into_iter().map(|line| line.line).collect();
        assert_eq!(kept, ["a", "b", "c"]);
        assert_eq!(*shown.lock().unwrap(), kept);
    }

    fn capture(input: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(path.clone(), token()).unwrap();
        log.follow("stdout", input, &Timestamp::default, &|_| {}, &|| {});
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
    fn g8_no_half_of_a_secret_is_left_where_a_line_is_cut() {
        let (token, key) = (token(), format!("{}{}", "AKIA", "ABCDEFGHIJKLMNOP"));
        for secret in [&token, &key] {
            for end in [limits::LOG_LINE_BYTES, limits::LOG_LINE_BYTES + SECRET_BYTES] {
                for left in 1..secret.len() {
                    // Many short ones before it move what is behind them towards the front.
                    for before in [String::new(), format!("{token} ").repeat(100)] {
                        let fill = ".".repeat(end - left - before.len() - 1);
                        let line = format!("{before}{fill} {secret} and more{}", ".".repeat(10_000));
                        let kept = capture(line.as_bytes()).remove(0);
                        let half = secret.get(4..10).unwrap();
                        assert!(!kept.contains(half) && kept.ends_with(" […]"), "{left} of {end}");
                        assert!(kept.len() <= limits::LOG_LINE_BYTES + 10);
                    }
                }
            }
        }
        // Between what is kept and what is read, too.
        let line = format!("{} {key}", ".".repeat(limits::LOG_LINE_BYTES - 5));
        assert!(!capture(line.as_bytes())[0].contains("AKIA"));
    }

    /// What gives it prints JSON, and a script passes that on.
    #[test]
    fn g8_a_secret_is_known_as_it_stands_in_json() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(path.clone(), token()).unwrap();
        let secret = "pa\"ss\\w\u{f6}rd-\u{1f511}-1234\nanother \"line\"";
        log.keep_out([secret].into_iter());
        let plain = in_plain_json(secret);
        assert_eq!(plain, r#"pa\"ss\\w\u00f6rd-\ud83d\udd11-1234\nanother \"line\""#);
        for said in
            [secret.to_owned(), serde_json::to_string(secret).unwrap(), format!("{{\"key\": \"{plain}\"}}")]
        {
            log.follow("stdout", said.as_bytes(), &Timestamp::default, &|_| {}, &|| {});
        }
        let kept: Vec<String> = read(&path, 0).unwrap().into_iter().map(|line| line.line).collect();
        let wanted = ["[redacted]", "[redacted]", "\"[redacted]\"", "{\"key\": \"[redacted]\"}"];
        assert_eq!(kept, wanted);
    }

    /// A secret may be longer than a line that is kept.
    #[test]
    fn g8_no_half_of_a_long_secret_that_was_given_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(path.clone(), token()).unwrap();
        let secret = "k3y.".repeat(limits::VAULT_SECRET_BYTES / 4);
        log.keep_out([secret.as_str()].into_iter());
        for before in [0, 1, 3_000, limits::LOG_LINE_BYTES - 1, limits::LOG_LINE_BYTES] {
            for behind in ["", " and more"] {
                let line = format!("{}{secret}{behind}{}\n", ".".repeat(before), "-".repeat(before));
                log.follow("stdout", line.as_bytes(), &Timestamp::default, &|_| {}, &|| {});
            }
        }
        let kept = read(&path, 0).unwrap();
        assert_eq!(kept.len(), 10);
        assert!(kept.iter().all(|line| !line.line.contains("k3y")), "{kept:?}");
    }

    #[test]
    fn what_is_not_text_does_not_stop_it() {
        assert_eq!(capture(b"\xff\xfe\nok\n").last().unwrap(), "ok");
    }

    #[test]
    fn a_log_has_an_end_in_bytes_and_what_is_past_it_still_moves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(path.clone(), token()).unwrap();
        // What is not text is written out sixfold.
        let line = [vec![1u8; limits::LOG_LINE_BYTES], b"\n".to_vec()].concat();
        let lines = 2_000;
        let (shown, moved) = (AtomicU64::new(0), AtomicU64::new(0));
        let count = |at: &AtomicU64| {
            at.fetch_add(1, Ordering::SeqCst);
        };
        let all = line.repeat(lines);
        log.follow("stdout", &all[..], &Timestamp::default, &|_| count(&shown), &|| count(&moved));
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size <= limits::LOG_BYTES && size > limits::LOG_BYTES / 2, "{size}");
        assert_eq!(moved.into_inner(), lines as u64);
        let (seen, dropped) = log.counts();
        assert_eq!((seen, seen - dropped), (lines as u64, shown.into_inner()));
        assert_eq!(log.digest().unwrap(), Digest::of(&std::fs::read(&path).unwrap()));
    }

    #[test]
    fn g8_a_private_key_in_a_text_is_hidden_over_all_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(path.clone(), token()).unwrap();
        let (begin, end) = ("-----BEGIN ", "PRIVATE KEY-----");
        let text = format!("see\n{begin}{end}\nMIIEow\n-----END {end}\nafter");
        add(&log, "message", &text);
        let lines: Vec<_> = read(&path, 0).unwrap().into_iter().map(|line| line.line).collect();
        assert_eq!(lines, ["see", "[redacted]", "[redacted]", "[redacted]", "after"]);
    }

    #[test]
    fn g8_r142_what_an_agent_was_given_is_taken_out_of_what_it_says_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(path.clone(), token()).unwrap();
        log.keep_out(
            ["hunter-2-hunter", "hunter-2-hunter-and-more\nits second line", "short", "1234567890"]
                .into_iter(),
        );
        add(&log, "agent", "a hunter-2-hunter-and-more b hunter-2-hunter\nits second line\nshort");
        let lines: Vec<_> = read(&path, 0).unwrap().into_iter().map(|line| line.line).collect();
        assert_eq!(lines, ["a [redacted] b [redacted]", "[redacted]", "short"]);
        let value = log.hide(serde_json::json!({ "n": 1_234_567_890, "m": 12 }));
        assert_eq!(value, serde_json::json!({ "n": "[redacted]", "m": 12 }));
        assert!(!format!("{:?}", log.given).contains("hunter"));
    }

    #[test]
    fn g8_names_that_hold_a_secret_are_known_and_keys_are_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(dir.path().join("log"), token()).unwrap();
        assert!(log.is_secret(&token()) && !log.is_secret("risk"));
        let value = log.hide(serde_json::json!({ token(): [token()], "plain": 1 }));
        assert_eq!(value, serde_json::json!({ "[redacted]": ["[redacted]"], "plain": 1 }));
        // A published test number, put together so that the tree holds none.
        let card: u64 = ["4111", "111111111111"].concat().parse().unwrap();
        let value = log.hide(serde_json::json!({ "pay": [card], "score": 0.25 }));
        assert_eq!(value, serde_json::json!({ "pay": ["[redacted]"], "score": 0.25 }));
    }
}
