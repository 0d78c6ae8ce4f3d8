//! `strace` as the drills use it: it records the calls that change files, makes one of them fail, or stops a process at
//! one. Counts are those of one thread and one file, since that is how `when=` counts.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::home::wait_until;

/// Every call that changes a file or a folder; `?` where an architecture may not have it.
const CHANGES: &str = "?open,openat,?creat,write,writev,pwrite64,pwritev,fsync,fdatasync,ftruncate,fallocate,\
?rename,renameat,renameat2,?unlink,unlinkat,?link,linkat,?symlink,symlinkat,?mkdir,mkdirat,?rmdir,?chmod,fchmod,\
fchmodat,?chown,fchown,fchownat";

/// Calls that name a file by its path; all others name an open one.
const BY_PATH: [&str; 20] = [
    "open",
    "openat",
    "creat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "chmod",
    "fchmodat",
    "chown",
    "fchownat",
    "truncate",
];

/// Whether faults can be injected here.
pub(crate) fn can_inject() -> bool {
    version().is_some()
}

fn version() -> Option<String> {
    let output = Command::new("strace").arg("-V").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What strace is to look at, and what it is to do there.
#[derive(Debug, Clone)]
pub(crate) struct Rule(Vec<String>);

impl Rule {
    /// Records every change.
    pub(crate) fn record() -> Rule {
        Rule(vec!["-e".to_owned(), format!("trace={CHANGES}")])
    }

    /// Looks at some calls.
    pub(crate) fn look(calls: &[&str]) -> Rule {
        Rule(vec!["-e".to_owned(), format!("trace={}", calls.join(","))])
    }

    /// Does something at a call: `what` is what follows the call's name in `-e inject=`.
    pub(crate) fn inject(call: &str, what: &str) -> Rule {
        let words = ["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{what}")];
        Rule(words.map(str::to_owned).to_vec())
    }

    /// Looks at, and counts, only calls on this file.
    pub(crate) fn on(mut self, path: &Path) -> Rule {
        self.0.extend(["-P".to_owned(), path.to_str().unwrap().to_owned()]);
        self
    }

    /// The command line up to what is traced.
    pub(crate) fn words(&self, log: &Path) -> Vec<String> {
        // With `-I2` it lets go when it is told to end, even of a program that it started.
        let mut words: Vec<String> =
            ["strace", "-I2", "-qq", "-y", "-s", "0", "-o"].map(str::to_owned).to_vec();
        words.push(log.to_str().unwrap().to_owned());
        words.extend(self.0.iter().cloned());
        if self.0.iter().any(|word| word.contains("error=")) {
            // Only what failed, with the functions that led to it where strace can tell.
            words.push("-Z".to_owned());
            words.extend(version().filter(|text| text.contains("stack-trace=")).map(|_| "-k".to_owned()));
        }
        words
    }
}

/// Attaches to one thread, or with `everyone` to its whole process and what that starts; returns once it holds it.
pub(crate) fn attach(thread: u32, everyone: bool, rule: &Rule, log: &Path) -> Child {
    let words = rule.words(log);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(everyone.then_some("-f")).arg("-p").arg(thread.to_string());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("strace is attached", || {
        let threads = if everyone { threads_of(thread) } else { vec![(thread, String::new())] };
        threads.iter().all(|(thread, _)| tracer_of(*thread) == Some(child.id()))
    });
    child
}

/// Lets go of what a tracer holds, and waits until it has. One that waits for a thread which has just ended never would:
/// the kernel lets go for it.
pub(crate) fn detach(tracer: u32) {
    signal(tracer, Signal::TERM);
    let patience = Instant::now() + Duration::from_secs(2);
    wait_until("strace has let go", || {
        if Instant::now() > patience {
            signal(tracer, Signal::KILL);
        }
        !crate::home::is_alive(tracer)
    });
}

/// Sends a signal to somebody who may have gone.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process has a positive number");
    let _ = kill_process(pid, signal);
}

/// Who traces a thread.
pub(crate) fn tracer_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
    tracer.trim().parse().ok().filter(|tracer| *tracer != 0)
}

/// The threads of a process with their names, in the order in which they began.
pub(crate) fn threads_of(pid: u32) -> Vec<(u32, String)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            Some((task.file_name().to_str()?.parse().ok()?, name.trim_end().to_owned()))
        })
        .collect()
}

/// One call that strace saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// Whose, when strace followed more than one thread.
    pub(crate) thread: Option<u32>,
    pub(crate) name: String,
    /// The file, relative to the home; `.` is the home itself.
    pub(crate) path: String,
    /// Whether it can change anything: opening to read cannot.
    pub(crate) changes: bool,
    /// Whether strace made it fail.
    pub(crate) injected: bool,
    pub(crate) wrote: Option<Write>,
    /// The functions of the program that led to it, innermost first; empty when strace cannot tell.
    pub(crate) by: Vec<String>,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write {
    /// How many bytes it was given.
    pub(crate) size: u64,
    /// How many it took; none when it failed.
    pub(crate) took: Option<u64>,
    /// Where it began, if it says.
    pub(crate) from: Option<u64>,
}

impl Write {
    /// Whether it took some of what it was given.
    pub(crate) fn is_short(&self) -> bool {
        self.took.is_some_and(|took| 0 < took && took < self.size)
    }
}

impl Call {
    /// Keeping an artifact begins with looking whether their folder is there.
    pub(crate) fn begins_an_artifact(&self) -> bool {
        self.name == "mkdir" && self.path == "artifacts"
    }
}

/// The calls in a log that touch the home at `root`.
pub(crate) fn calls(log: &Path, root: &Path) -> Vec<Call> {
    let mut calls = Vec::new();
    // The stack that follows a call elsewhere is nobody's.
    let mut ours = false;
    let text = fs::read(log).unwrap_or_default();
    for line in String::from_utf8_lossy(&text).lines() {
        if let Some(frame) = line.strip_prefix(" > ") {
            if ours && let Some(call) = calls.last_mut() {
                let call: &mut Call = call;
                call.by.extend(function(frame));
            }
            continue;
        }
        let call = parse(line, root);
        ours = call.is_some();
        calls.extend(call);
    }
    calls
}

/// Which threads stopped at a call where a rule stops them, in this order; a log of one thread does not say which.
pub(crate) fn stops(log: &Path, calls: &[&str]) -> Vec<Option<u32>> {
    let text = fs::read(log).unwrap_or_default();
    let (mut at, mut stops) = (None, Vec::new());
    for line in String::from_utf8_lossy(&text).lines() {
        let (thread, rest) = who(line);
        if rest.split_once('(').is_some_and(|(name, _)| calls.contains(&name)) {
            at = Some(thread);
        } else if rest.starts_with("--- stopped by SIGSTOP") && at == Some(thread) {
            stops.push(thread);
            at = None;
        }
    }
    stops
}

/// Whose line it is, where the log says so, and the rest of it.
fn who(line: &str) -> (Option<u32>, &str) {
    match line.split_once(' ') {
        Some((number, rest)) if number.parse::<u32>().is_ok() => (number.parse().ok(), rest.trim_start()),
        _ => (None, line),
    }
}

fn parse(line: &str, root: &Path) -> Option<Call> {
    let (thread, rest) = who(line);
    let (name, arguments) = rest.split_once('(')?;
    let between = |from: char, to: char| {
        let (_, rest) = arguments.split_once(from)?;
        rest.split_once(to).map(|(between, _)| between)
    };
    let by_path = BY_PATH.contains(&name);
    let path = if by_path { between('"', '"') } else { between('<', '>') }?;
    let path = Path::new(path).strip_prefix(root).ok()?.to_str()?;
    let path = if path.is_empty() { "." } else { path };
    let opens = name == "open" || name == "openat";
    let to_write = ["O_CREAT", "O_WRONLY", "O_RDWR"].iter().any(|flag| arguments.contains(flag));
    Some(Call {
        thread,
        name: name.to_owned(),
        path: path.to_owned(),
        changes: !opens || to_write,
        injected: rest.ends_with("(INJECTED)"),
        wrote: wrote(name, arguments),
        by: Vec::new(),
    })
}

/// What a write was given, took, and began at: `12</file>, ""..., 4096, 56) = 4096`.
fn wrote(name: &str, arguments: &str) -> Option<Write> {
    if name != "pwrite64" && name != "write" {
        return None;
    }
    let (given, result) = arguments.rsplit_once(')')?;
    let (given, result) = match result.trim_start().strip_prefix('=') {
        Some(result) => (given, result),
        // What stands in brackets after the number is the name of an error.
        None => {
            let (given, result) = arguments.split_once(") ")?;
            (given, result.trim_start().strip_prefix('=')?)
        }
    };
    let took = result.split_whitespace().next()?.parse().ok();
    let mut words = given.rsplit(", ");
    let from = if name == "pwrite64" { Some(words.next()?.parse().ok()?) } else { None };
    Some(Write { size: words.next()?.parse().ok()?, took, from })
}

/// The function in a frame of the program itself: `/…/eparch(unixSync+0x16) [0xefafe6]`.
fn function(frame: &str) -> Option<String> {
    let (file, rest) = frame.split_once('(')?;
    let (name, _) = rest.rsplit_once("+0x")?;
    file.ends_with("/eparch").then(|| name.to_owned())
}
