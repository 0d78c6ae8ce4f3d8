//! A place of one's own for a session: a folder, a home in it, and the binary. Nothing of it is left afterwards.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a loaded machine; nothing waits so long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder with a home.
pub(crate) struct Place {
    dir: TempDir,
}

/// What a command printed, and how it exited.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Writes a file; returns its path as a word for a command.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eparch"));
        command.args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("EPARCH_HOME", self.home()).env_remove("NO_COLOR");
        // Whoever works with a vault of their own has these.
        for name in eparch_vault::SERVER_VARIABLES.into_iter().chain([eparch_vault::KEY_VARIABLE]) {
            command.env_remove(name);
        }
        command
    }

    /// Carries a command out.
    pub(crate) fn say(&self, words: &[&str]) -> Said {
        self.say_with(&[], words)
    }

    /// Carries a command out with some variables in its environment.
    pub(crate) fn say_with(&self, variables: &[(&str, &str)], words: &[&str]) -> Said {
        let output = self.command(words).envs(variables.iter().copied()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Carries a command out that must succeed; returns what it printed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let said = self.say(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
        said.out
    }

    /// Carries a command out that must succeed and print JSON.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let out = self.ok(&[words, &["--format", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|problem| panic!("{words:?}: {problem}: {out}"))
    }

    /// Has the policies of the home put in force, with a second person who looks at them where one has to.
    pub(crate) fn put_in_force(&self, second: &str) {
        let told = self.json(&["policy", "load"]);
        if let Some(digest) = told["waiting"]["digest"].as_str() {
            self.ok(&["--as", second, "policy", "load", "--approve", digest, "--rationale", "looked at it"]);
        }
    }

    /// Starts a command that goes on by itself.
    pub(crate) fn start(&self, words: &[&str]) -> Going {
        let mut child = self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
        let readers =
            vec![collect(child.stdout.take().unwrap(), &out), collect(child.stderr.take().unwrap(), &err)];
        Going { child, out, err, readers }
    }

    /// The process that holds the home, if any.
    pub(crate) fn holder(&self) -> Option<Pid> {
        let mut socket = UnixStream::connect(self.home().join("control.sock")).ok()?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: eparch\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        Pid::from_raw(i32::try_from(body["pid"].as_i64()?).ok()?)
    }

    /// Ends the holder, if any, and waits until it is gone.
    pub(crate) fn end_holder(&self, signal: Signal) {
        if let Some(pid) = self.holder() {
            let _ = kill_process(pid, signal);
            until_gone("the holder is gone", pid);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end_holder(Signal::TERM);
    }
}

/// Whether some process has this word on its command line.
pub(crate) fn runs_somewhere(word: &str) -> bool {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    processes
        .into_iter()
        .any(|words| words.split(|byte| *byte == 0).any(|found| OsStr::new(word).as_encoded_bytes() == found))
}

/// A command that is going on.
pub(crate) struct Going {
    child: Child,
    out: Arc<Lines>,
    err: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
}

/// Lines that a command has printed so far; whoever waits for one is woken by the next.
type Lines = Shown<Vec<String>>;

/// What is shown bit by bit. Whoever waits for something in it is woken by every bit.
#[derive(Default)]
pub(crate) struct Shown<T> {
    so_far: Mutex<T>,
    more: Condvar,
}

impl<T> Shown<T> {
    /// Shows more.
    pub(crate) fn add(&self, more: impl FnOnce(&mut T)) {
        more(&mut self.so_far.lock().unwrap());
        self.more.notify_all();
    }

    /// Waits until there is something in it; fails after a deadline.
    pub(crate) fn until<F>(&self, what: &str, mut look: impl FnMut(&T) -> Option<F>) -> F {
        let begun = Instant::now();
        let mut so_far = self.so_far.lock().unwrap();
        loop {
            if let Some(found) = look(&so_far) {
                return found;
            }
            let left = DEADLINE.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("waited in vain: {what}"));
            so_far = self.more.wait_timeout(so_far, left).unwrap().0;
        }
    }

    /// Looks at it as it is now.
    pub(crate) fn look<F>(&self, look: impl FnOnce(&T) -> F) -> F {
        look(&self.so_far.lock().unwrap())
    }
}

fn collect(from: impl Read + Send + 'static, to: &Arc<Lines>) -> JoinHandle<()> {
    let to = Arc::clone(to);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            to.add(|lines| lines.push(line));
        }
    })
}

impl Going {
    /// Waits for a line on standard output that `wanted` finds something in.
    pub(crate) fn until<T>(&self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let mut seen = 0;
        self.out.until(what, |lines| {
            let found = lines[seen..].iter().find_map(|line| wanted(line));
            seen = lines.len();
            found
        })
    }

    /// Waits for a JSON event of a kind; returns its data.
    pub(crate) fn event(&self, kind: &str) -> Value {
        self.until(kind, |line| {
            let event: Value = serde_json::from_str(line).unwrap();
            (event["type"] == kind).then(|| event["data"].clone())
        })
    }

    /// Waits for something on standard error.
    pub(crate) fn until_told(&self, what: &str) {
        self.err.until(what, |lines| lines.iter().any(|line| line.contains(what)).then_some(()));
    }

    /// Whether it has said something to people.
    pub(crate) fn has_told(&self, what: &str) -> bool {
        self.err.look(|lines| lines.iter().any(|line| line.contains(what)))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Said {
        until_gone("the command ends", self.pid());
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        let text = |lines: &Lines| lines.look(|lines| lines.iter().map(|line| format!("{line}\n")).collect());
        Said { code, out: text(&self.out), err: text(&self.err) }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // A test that failed meanwhile leaves nothing behind either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a process has ended, which the kernel says; fails after a deadline.
pub(crate) fn until_gone(what: &str, pid: Pid) {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        // It has ended, and was buried.
        Err(Errno::SRCH) => return,
        opened => opened.unwrap(),
    };
    let deadline = Timespec { tv_sec: DEADLINE.as_secs().cast_signed(), tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&deadline)).unwrap();
    assert_eq!(ended, 1, "waited in vain: {what}");
}

/// Looks again and again until something is there of which nobody tells; fails after a deadline.
pub(crate) fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A pipeline of one stage that runs a shell line.
pub(crate) fn one_stage(line: &str) -> String {
    format!(
        "name: one\nstages:\n  - name: only\n    type: agent\n    config: {{command: [sh, -c, {}]}}\n",
        Value::from(line)
    )
}

/// Whether a file is there.
pub(crate) fn is_there(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}
