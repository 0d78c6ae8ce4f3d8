//! The shipped binary in a folder of its own: what a user sees of it from outside.

#![allow(dead_code, reason = "each example uses its part")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Starts measured in each home.
const STARTS: usize = 15;

/// Between two looks: short beside what is measured, and the holder keeps its core.
const LOOK_AGAIN: Duration = Duration::from_micros(100);

/// Longer than anything measured here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a home and what its user calls pipelines; removed in the end.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) home: PathBuf,
    binary: PathBuf,
}

impl Place {
    /// A fresh home, made by the binary that the first argument names, else by the one beside this program.
    pub(crate) fn new(what: &str) -> Place {
        let beside = || std::env::current_exe().ok()?.parent()?.parent().map(|folder| folder.join("eparch"));
        let binary = std::env::args().nth(1).map(PathBuf::from).or_else(beside).expect("a binary");
        let folder = std::env::temp_dir().join(format!("eparch-{what}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let place = Place { home: folder.join("home"), folder, binary };
        place.run(&["init", "--owner", "bench"]);
        place
    }

    /// Carries out a command.
    pub(crate) fn run(&self, words: &[&str]) {
        let status = Command::new(&self.binary)
            .arg("--home")
            .arg(&self.home)
            .args(words)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{words:?}");
    }

    /// Writes a pipeline.
    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).expect("a file");
    }

    /// The binary's size.
    pub(crate) fn binary_bytes(&self) -> u64 {
        std::fs::metadata(&self.binary).map_or(0, |meta| meta.len())
    }

    /// Bytes of a file of the home.
    pub(crate) fn bytes_of(&self, file: &str) -> u64 {
        std::fs::metadata(self.home.join(file)).map_or(0, |meta| meta.len())
    }

    /// Starts a holder and waits for its first answer.
    pub(crate) fn hold(&self) -> Holder {
        let deadline = Instant::now() + PATIENCE;
        let (mut begun, mut child) = self.spawn();
        loop {
            if let Some(answer) = self.ready()
                && answer["pid"] == child.id()
            {
                return Holder { ms: begun.elapsed().as_secs_f64() * 1e3, answer, child };
            }
            assert!(Instant::now() < deadline, "the holder does not answer");
            // The one before may still be letting go of its lock.
            if matches!(child.try_wait(), Ok(Some(_))) {
                (begun, child) = self.spawn();
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
    }

    fn spawn(&self) -> (Instant, Child) {
        let begun = Instant::now();
        let mut command = Command::new(&self.binary);
        // As the commands start it.
        command.args(["__hold", "--home"]).arg(&self.home).env("MIMALLOC_ARENA_EAGER_COMMIT", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        (begun, command.spawn().expect("a holder"))
    }

    /// What the holder says of itself; nothing while it is not ready.
    pub(crate) fn ready(&self) -> Option<Value> {
        let ask = || -> std::io::Result<String> {
            let mut socket = UnixStream::connect(self.home.join("control.sock"))?;
            socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().ok().filter(|answer| answer.starts_with("HTTP/1.1 200"))?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Waits until the holder that a command started has left.
    pub(crate) fn wait_gone(&self) {
        while self.home.join("control.sock").exists() {
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Starts a holder so many times and lets `end` end it: how long each took to its first answer, and what memory it
    /// had then.
    pub(crate) fn measure_starts(&self, what: &str, end: impl Fn(Holder)) -> Value {
        let (mut ms, mut rss) = (Vec::new(), Vec::new());
        let mut entries = Value::Null;
        for _ in 0..STARTS {
            let holder = self.hold();
            ms.push(tenth(holder.ms));
            rss.push(megabytes(holder.memory("VmRSS:")));
            entries = holder.answer["seq"].clone();
            end(holder);
        }
        json!({ "what": what, "ms": ms, "idle_rss_mb": rss, "entries": entries })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A holder that answers.
pub(crate) struct Holder {
    /// Milliseconds from its start to its first answer.
    pub(crate) ms: f64,
    answer: Value,
    child: Child,
}

impl Holder {
    /// Ends it in order.
    pub(crate) fn end(mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A field of what the kernel says of its memory, in bytes.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        let kib: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        kib << 10
    }
}

/// Megabytes, to a tenth.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    tenth(bytes as f64 / 1e6)
}

/// To a tenth.
pub(crate) fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
