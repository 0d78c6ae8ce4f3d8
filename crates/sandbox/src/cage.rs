//! The daemon's side: opening a cage, and its end.

use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eparch_domain::{Span, limits};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{Pid, PidfdFlags};

use crate::cgroup::{self, Caps, Groups};
use crate::launcher::Launcher;
use crate::link::Link;
use crate::measure::{Measure, MeasureName};
use crate::plan::plan;
use crate::running::{Running, StartError};
use crate::spec::{CageSpec, Program};
use crate::tree::{self, StillAlive, TreeId};
use crate::wire::{self, Order, Report, Rlimits};
use crate::workspace::Workspace;

/// How long a launcher that ends is waited for when a cage is dropped: as long as a stop may take (R204).
const DROP_DEADLINE: Duration = Duration::from_secs(2);
/// The launcher's own processes, which are counted with the agent's: the outer stage and the keeper.
const LAUNCHER_PROCESSES: u64 = 2;
/// What a lost launcher said is quoted up to here.
const LAST_WORDS_BYTES: u64 = 4 << 10;

/// Why a cage did not open. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Measures that must hold do not.
    #[error("the sandbox cannot be had here: {}", list(.0))]
    Missing(Vec<Measure>),
    /// A path of the spec cannot appear in the cage.
    #[error("`{path}` cannot be in the cage: {why}")]
    BadPath {
        /// The path, of the host or inside.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The launcher could not be started.
    #[error("cannot start the launcher")]
    Launcher(#[source] io::Error),
    /// The launcher ended, or fell silent, before the cage was open.
    #[error("the launcher was lost while the cage was opened: {last_words}")]
    Lost {
        /// What it wrote before it ended.
        last_words: String,
    },
}

fn list(measures: &[Measure]) -> String {
    measures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A confined place in which programs run one after the other. Nothing runs in it until [`Cage::start`].
///
/// When a cage is dropped, or the process that holds it dies in whatever way, everything in it is killed.
#[derive(Debug)]
pub struct Cage {
    link: Arc<Link>,
    outer: Mutex<Child>,
    measures: Vec<Measure>,
    tree: TreeId,
    workspace: Workspace,
    listener: TcpListener,
    port: u16,
}

impl Cage {
    /// Opens a cage. Takes some tens of milliseconds; blocks.
    ///
    /// # Errors
    /// When a measure that `spec.sandbox` requires is missing, a path cannot be shown, or the launcher fails.
    pub fn open(spec: &CageSpec, launcher: &Launcher) -> Result<Cage, OpenError> {
        let mut plan = plan(spec)?;
        let processes = spec.limits.processes.saturating_add(LAUNCHER_PROCESSES);
        // What is stored in the workspace is memory, and counted with the rest.
        let memory_bytes = spec.limits.memory_bytes.saturating_add(spec.limits.workspace_bytes);
        let caps = Caps { processes, memory_bytes };
        let mut group = Group(Some(Groups::create(spec.name.as_str(), spec.cgroup_parent.as_deref(), caps)));

        let (ours, theirs) = UnixStream::pair().map_err(OpenError::Launcher)?;
        let mut opening = Opening::start(ours, &launcher.sealed(spec.sandbox), theirs)?;
        let groups = group.0.get_or_insert_default();
        if let Some(outer) = &opening.outer {
            groups.join(outer.id());
        }
        plan.rlimits = Rlimits {
            processes: (!groups.counts_processes()).then_some(processes),
            memory_bytes: (!groups.counts_memory()).then_some(spec.limits.memory_bytes),
        };
        let patience = Some(limits::START_TIMEOUT.as_duration());
        set_socket_timeout(&opening.socket, Timeout::Recv, patience)
            .map_err(|errno| OpenError::Launcher(errno.into()))?;

        opening.send(&Order::Enter)?;
        let (keeper, keeper_fd, mut measures) = match opening.receive()? {
            (Report::Entered { keeper, measures }, mut fds) if fds.len() == 1 => {
                (keeper, fds.remove(0), measures)
            }
            (Report::Refused { measures }, _) => return Err(OpenError::Missing(only_missing(measures))),
            (other, _) => return Err(opening.lost(format!("it answered {other:?}"))),
        };
        let tree = TreeId::of(keeper, &groups.paths).map_err(OpenError::Launcher)?;
        plan.user_namespace = measures.iter().any(|measure| measure.name == MeasureName::UserNamespace);
        measures.push(process_limit(groups.processes.take(), plan.user_namespace));
        measures.push(memory_limit(groups.memory.take(), caps.memory_bytes, spec.limits.memory_bytes));
        let exhausted = groups.exhausted.clone();
        opening.send(&Order::Build(plan))?;
        let (workspace, listener) = match opening.receive()? {
            (Report::Ready { measures: inner, hidden }, fds) => {
                measures.extend(inner);
                let count = fds.len();
                let mut fds = fds.into_iter();
                let (Some(workspace), Some(listener)) = (fds.next(), fds.next()) else {
                    return Err(opening.lost(format!("it sent {count} descriptors")));
                };
                let desk = spec.desk.as_ref().map(|desk| desk.at.clone()).zip(fds.next());
                let workspace = Workspace::new(workspace, desk, hidden).with_names(&spec.aliases);
                (workspace, TcpListener::from(listener))
            }
            (Report::Refused { measures: inner }, _) => {
                measures.extend(inner);
                return Err(OpenError::Missing(only_missing(measures)));
            }
            (Report::BadPath { path, why }, _) => return Err(OpenError::BadPath { path, why }),
            (other, _) => return Err(opening.lost(format!("it answered {other:?}"))),
        };
        measures.sort_by_key(|measure| measure.name);
        if measures.iter().any(|measure| measure.refuses(spec.sandbox)) {
            return Err(OpenError::Missing(only_missing(measures)));
        }
        let port = listener.local_addr().map_err(OpenError::Launcher)?.port();
        let (socket, outer) = opening.finish().map_err(OpenError::Launcher)?;
        let link = Link::new(socket, keeper_fd, tree.clone(), exhausted).map_err(OpenError::Launcher)?;
        group.keep();
        Ok(Cage { link: Arc::new(link), outer: Mutex::new(outer), measures, tree, workspace, listener, port })
    }

    /// What is in force, and under best effort what is not.
    pub fn measures(&self) -> &[Measure] {
        &self.measures
    }

    /// What to write down before the first program starts, so that a later boot can prove this tree dead.
    pub fn tree(&self) -> &TreeId {
        &self.tree
    }

    /// Processor time of everything that ever ran in the cage, which grows as long as something works in it.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn cpu(&self) -> io::Result<Span> {
        self.tree.cpu()
    }

    /// The files of the workspace.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// The listener inside the cage's network, on `127.0.0.1`. It is all that programs in the cage can reach, and the
    /// daemon accepts from it.
    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// The port of [`Cage::listener`] inside the cage.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes [`Cage::listener`], for a cage whose programs are to reach nobody: whoever connects is refused.
    ///
    /// # Errors
    /// When the kernel does not do it.
    pub fn hang_up(&self) -> io::Result<()> {
        // What listens and is shut down listens no longer, in whatever process it is held.
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).map_err(io::Error::from)
    }

    /// Says which file inside the cage a program would be, without running anything.
    ///
    /// # Errors
    /// As [`Cage::start`].
    pub fn resolve(&self, program: &Program) -> Result<PathBuf, StartError> {
        self.link.resolve(program)
    }

    /// Starts a program. One at a time; the next may start when [`Running::wait`] has returned.
    ///
    /// # Errors
    /// When there is no such program, when another one runs, or when the cage is dead. Nothing of the program has run.
    pub fn start(&self, program: &Program) -> Result<Running, StartError> {
        Running::start(&self.link, program)
    }

    /// Ends what runs: SIGTERM to every process, and SIGKILL after `grace`. [`Running::wait`] then returns: should the cage
    /// itself not do it in time, whoever waits kills the cage. Does not wait itself, and does nothing when nothing runs.
    pub fn stop(&self, grace: Span) {
        self.link.stop(grace);
    }

    /// Kills everything in the cage, the keeper included, at once, and proves it dead. The files of the workspace stay as
    /// long as a clone of [`Cage::workspace`] does.
    ///
    /// # Errors
    /// When something is still alive after `deadline`.
    pub fn close(self, deadline: Span) -> Result<(), StillAlive> {
        self.kill_now();
        self.tree.kill_and_wait(deadline)
    }

    /// Kills everything in the cage, the keeper included, by the kernel's hand and without anybody's cooperation.
    pub fn kill_now(&self) {
        self.link.kill_now();
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        self.link.kill_now();
        let end = Instant::now() + DROP_DEADLINE;
        if !matches!(tree::wait_dead(&self.link.keeper, end), Ok(true)) {
            return;
        }
        // The outer stage has nothing left to wait for, and is waited for no longer than the rest.
        if let Ok(mut outer) = self.outer.lock() {
            let pidfd = Pid::from_raw(outer.id().cast_signed())
                .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
            if pidfd.is_none_or(|pidfd| matches!(tree::wait_dead(&pidfd, end), Ok(true))) {
                let _ = outer.wait();
            }
        }
        for cgroup in self.tree.cgroups() {
            let _ = cgroup::remove(cgroup, end);
        }
    }
}

/// Cgroups that go with a failed opening.
struct Group(Option<Groups>);

impl Group {
    /// The cage is open; its tree decides from now on.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let end = Instant::now() + DROP_DEADLINE;
        for path in self.0.iter().flat_map(|groups| &groups.paths) {
            let _ = cgroup::remove(path, end);
        }
    }
}

/// A launcher that is not a cage yet.
struct Opening {
    socket: UnixStream,
    outer: Option<Child>,
}

impl Opening {
    fn start(socket: UnixStream, launcher: &Launcher, theirs: UnixStream) -> Result<Opening, OpenError> {
        let outer = launcher.spawn(theirs.into()).map_err(OpenError::Launcher)?;
        Ok(Opening { socket, outer: Some(outer) })
    }

    fn send(&mut self, order: &Order) -> Result<(), OpenError> {
        wire::send(&self.socket, order, &[]).map_err(|error| self.lost(error))
    }

    fn receive(&mut self) -> Result<(Report, Vec<OwnedFd>), OpenError> {
        wire::receive(&self.socket).map_err(|error| self.lost(error))
    }

    fn lost(&mut self, error: impl std::fmt::Display) -> OpenError {
        let stderr = self.outer.as_mut().and_then(|outer| outer.stderr.take());
        self.end();
        let mut words = Vec::new();
        if let Some(stderr) = stderr {
            // What is there is enough; a stage that cannot die must not be waited for.
            let _ = fcntl_setfl(&stderr, OFlags::NONBLOCK);
            let _ = stderr.take(LAST_WORDS_BYTES).read_to_end(&mut words);
        }
        let words = String::from_utf8_lossy(&words);
        OpenError::Lost { last_words: format!("{error}; {}", words.trim()) }
    }

    /// Lets the keeper see the end, so that it leaves and the outer stage after it; and kills what does not leave.
    fn end(&mut self) {
        let Some(mut outer) = self.outer.take() else { return };
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let pidfd = Pid::from_raw(outer.id().cast_signed())
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        let left = pidfd
            .is_some_and(|pidfd| matches!(tree::wait_dead(&pidfd, Instant::now() + DROP_DEADLINE), Ok(true)));
        if !left {
            let _ = outer.kill();
        }
        let _ = outer.wait();
    }

    fn finish(&mut self) -> io::Result<(UnixStream, Child)> {
        set_socket_timeout(&self.socket, Timeout::Recv, None)?;
        let socket = self.socket.try_clone()?;
        let outer = self.outer.take().ok_or(io::ErrorKind::NotFound)?;
        Ok((socket, outer))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.end();
    }
}

fn only_missing(measures: Vec<Measure>) -> Vec<Measure> {
    measures.into_iter().filter(|measure| !measure.in_force()).collect()
}

fn process_limit(counted: Option<Result<&'static str, String>>, own_namespace: bool) -> Measure {
    let name = MeasureName::ProcessLimit;
    let why = match counted {
        Some(Ok(kind)) => return Measure::held(name, kind),
        Some(Err(why)) => why,
        None => "no cgroup hierarchy with the pids controller is mounted".into(),
    };
    // Before Linux 5.14 the limit counts every process of the user, inside and outside; and root it never binds.
    let root = rustix::process::geteuid().is_root();
    if own_namespace && !root && kernel() >= (5, 14) {
        return Measure::held(name, "rlimit-in-user-namespace");
    }
    Measure::missing(name, why)
}

/// Where no group counts all processes together, each is bounded for itself: weaker, and said so. (Since Linux 4.7 the
/// limit counts private mappings and not only the heap; what is shared no limit counts.)
fn memory_limit(counted: Option<Result<&'static str, String>>, together: u64, each: u64) -> Measure {
    let name = MeasureName::MemoryLimit;
    match counted {
        Some(Ok(kind)) => Measure::held(name, format!("{kind}, {together} bytes")),
        _ if kernel() >= (4, 7) => Measure::held(
            name,
            format!("rlimit-data, {each} bytes for each process, shared memory not counted"),
        ),
        Some(Err(why)) => Measure::missing(name, why),
        None => Measure::missing(name, "no cgroup hierarchy with the memory controller is mounted"),
    }
}

fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
