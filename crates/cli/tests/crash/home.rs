//! One home for one drill: its holder, its runs, what is left of it.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::strace::{Rule, threads_of};

const EPARCH: &str = env!("CARGO_BIN_EXE_eparch");

/// Runs a program that is told of a file that grew too large by an error, not by a deadly signal.
pub(crate) const UNLIMITED: &str = "trap '' XFSZ; exec \"$0\" \"$@\"";

/// Says that a drill was not run, where the summary of the tests finds it: a drill that did nothing has proved nothing.
pub(crate) fn not_run(drill: &str, why: &str) {
    println!("not run, because {why}");
    if let Some(path) = std::env::var_os("EPARCH_NOT_RUN") {
        let mut notes = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(notes, "{drill}: {why}").unwrap();
    }
}

/// What injects is installed by the tests' own command, so CI has no excuse for doing without.
pub(crate) fn not_injected(drill: &str) {
    assert!(std::env::var_os("CI").is_none(), "{drill} has to run in CI, but strace is not installed");
    not_run(drill, "strace is not installed");
}

/// A home of its own, with a project folder beside it.
pub(crate) struct DrillHome {
    dir: tempfile::TempDir,
    /// Whether the home is a small disk of its own, to be unmounted.
    mounted: bool,
}

impl DrillHome {
    /// A fresh home whose owner is whoever runs this, with an approver `grace`.
    pub(crate) fn new() -> DrillHome {
        DrillHome::on(false)
    }

    /// The same, on a disk of eight megabytes; `None` where disks cannot be mounted.
    pub(crate) fn on_a_small_disk() -> Option<DrillHome> {
        rustix::process::geteuid().is_root().then(|| DrillHome::on(true))
    }

    /// A project without a home.
    pub(crate) fn bare() -> DrillHome {
        let home = DrillHome { dir: tempfile::tempdir().unwrap(), mounted: false };
        fs::create_dir(home.project()).unwrap();
        home
    }

    /// A home that was never held.
    pub(crate) fn fresh() -> DrillHome {
        let home = DrillHome::bare();
        home.expect(&["init"]);
        home
    }

    /// A home that knows `grace` and has seen a run, and whose holder was killed.
    pub(crate) fn killed() -> DrillHome {
        let home = DrillHome::new();
        home.write("straight.yaml", include_str!("straight.yaml"));
        home.expect(&["run", "straight.yaml"]);
        home.kill_holder();
        home
    }

    /// A copy of a home that nobody holds, or of a project without one.
    pub(crate) fn like(other: &DrillHome) -> DrillHome {
        let home = DrillHome { dir: tempfile::tempdir().unwrap(), mounted: false };
        let folders = [other.project(), other.root()].into_iter().filter(|folder| folder.exists());
        let copied = Command::new("cp").arg("-a").args(folders).arg(home.dir.path()).status();
        assert!(copied.unwrap().success(), "a home cannot be copied");
        home
    }

    fn on(mounted: bool) -> DrillHome {
        let mut home = DrillHome::bare();
        home.mounted = mounted;
        if mounted {
            fs::create_dir(home.root()).unwrap();
            let status = Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
                .arg(home.root())
                .status();
            assert!(status.unwrap().success(), "the small disk cannot be mounted");
        }
        home.expect(&["init"]);
        home.expect(&["operator", "add", "grace", "--role", "approver"]);
        home.stop_holder();
        home
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A file beside the home and the project.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Everything that holders said of themselves.
    pub(crate) fn last_words(&self) -> String {
        fs::read_to_string(self.root().join("logs/holder.log")).unwrap_or_default()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.project().join(name), text).unwrap();
    }

    /// What a visit runs.
    pub(crate) fn write_pipelines(&self) {
        self.write("everything.yaml", include_str!("everything.yaml"));
        self.write("straight.yaml", include_str!("straight.yaml"));
    }

    pub(crate) fn eparch(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(EPARCH);
        command
            .current_dir(self.project())
            .arg("--home")
            .arg(self.root())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.eparch(arguments).output().unwrap()
    }

    pub(crate) fn expect(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", shown(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command prints as one JSON document; null when it prints something else.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--format", "json"];
        all.extend(arguments);
        serde_json::from_slice(&self.output(&all).stdout).unwrap_or_default()
    }

    /// Starts a holder in which `rule` is injected, and waits until it listens or has died.
    pub(crate) fn hold_injected(&self, rule: &str) -> Child {
        let call = rule.split(':').next().unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-b", "execve", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
        command.arg("-e").arg(format!("inject={rule}"));
        command.arg(EPARCH).args(["__hold", "--home"]).arg(self.root()).current_dir(self.project());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        wait_until("the holder listens or is dead", || self.listens() || child.try_wait().unwrap().is_some());
        child
    }

    /// Starts a holder, and waits until it listens.
    pub(crate) fn hold(&self) -> Child {
        let mut command = self.eparch(&["__hold"]);
        let child = command.stdout(Stdio::null()).stderr(self.holder_log()).spawn().unwrap();
        wait_until("the holder listens", || self.listens());
        child
    }

    /// Starts a holder whose first thread is traced; strace is not its parent, so that it can let go of it.
    pub(crate) fn spawn_under(&self, rule: &Rule, log: &Path) -> Child {
        let mut command = self.under(rule, log, &["-D", "sh", "-c", UNLIMITED]);
        command.arg(EPARCH).arg("--home").arg(self.root()).arg("__hold");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.holder_log()).spawn().unwrap()
    }

    /// A command whose first thread is traced to its end.
    pub(crate) fn output_under(&self, rule: &Rule, log: &Path, arguments: &[&str]) -> Output {
        let mut command = self.under(rule, log, &[EPARCH]);
        command.arg("--home").arg(self.root()).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn under(&self, rule: &Rule, log: &Path, more: &[&str]) -> Command {
        let words = rule.words(log);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(more).current_dir(self.project());
        command
    }

    /// Where a holder says what is wrong with it.
    fn holder_log(&self) -> fs::File {
        let logs = self.root().join("logs");
        fs::OpenOptions::new().append(true).create(true).open(logs.join("holder.log")).unwrap()
    }

    pub(crate) fn listens(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.root().join("control.sock")).is_ok()
    }

    /// The process that holds the home, if one does.
    pub(crate) fn holder(&self) -> Option<u32> {
        let root = self.root().into_os_string().into_encoded_bytes();
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            let ours = words.contains(&&b"__hold"[..]) && words.contains(&root.as_slice());
            // The one that strace runs, not strace.
            (ours && !words[0].ends_with(b"strace")).then_some(pid)
        })
    }

    pub(crate) fn stop_holder(&self) {
        self.end_holder("TERM");
    }

    /// Kills the holder, if there is one.
    pub(crate) fn kill_holder(&self) -> bool {
        self.end_holder("KILL")
    }

    fn end_holder(&self, signal: &str) -> bool {
        self.holder().is_some_and(|pid| {
            kill(pid, signal);
            wait_until("the holder has ended", || !is_alive(pid));
            true
        })
    }

    /// What is worth knowing of a home in which something hangs: whether its holder is stopped or traced, what waits, and
    /// what it said of itself.
    pub(crate) fn state_of_things(&self) -> String {
        let Some(holder) = self.holder() else { return format!("no holder\n{}", self.last_words()) };
        let of_thread = |(thread, name): (u32, String)| {
            let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
            let told =
                |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("?").trim();
            format!("  {name} ({thread}): {}, tracer {}\n", told("State:"), told("TracerPid:"))
        };
        let threads: String = threads_of(holder).into_iter().map(of_thread).collect();
        // A holder that is stopped answers nobody.
        let asked = if threads.contains("stopped") {
            "not asked".to_owned()
        } else {
            let words = [&["doctor"][..], &["approvals", "list", "--all"], &["ledger", "verify"]];
            words.map(|words| shown(&self.output(&[&["--format", "json"], words].concat()))).join("\n")
        };
        format!("holder {holder}\n{threads}{asked}\n{}", self.last_words())
    }

    fn unmount(&self) {
        if self.mounted {
            let _ = Command::new("umount").arg(self.root()).stderr(Stdio::null()).status();
        }
    }

    /// How often something happened: agents append a line to a file of the project.
    pub(crate) fn count(&self, name: &str) -> usize {
        fs::read_to_string(self.project().join("count").join(name)).map_or(0, |text| text.lines().count())
    }

    /// Nothing of this home's agents is alive: no process but our own has its folders mounted or named.
    pub(crate) fn nothing_left(&self) {
        self.stop_holder();
        // The host sees the small disk as well.
        self.unmount();
        let marker = self.dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        wait_until("no process of this home is alive", || {
            fs::read_dir("/proc").unwrap().flatten().all(|entry| {
                let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
                !mounts.contains(&marker)
            })
        });
    }
}

impl Drop for DrillHome {
    fn drop(&mut self) {
        self.kill_holder();
        self.unmount();
    }
}

pub(crate) fn is_alive(pid: u32) -> bool {
    // A zombie is as dead as it gets until its parent looks.
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| {
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let _ =
        Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Waits for a condition; a minute is a failure.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub(crate) fn shown(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Whether a program that strace ran was killed by what it injected: strace ends as its program does.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9) || status.code() == Some(137)
}
