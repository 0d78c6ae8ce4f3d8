//! The daemon's side: opening a cage, and its end.

use std::ffi::OsString;
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eparch_domain::{Span, limits};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{Pid, PidfdFlags};

use crate::cgroup::{self, Cgroup};
use crate::launch::LAUNCHER_WORD;
use crate::link::Link;
use crate::measure::{Measure, MeasureName};
use crate::plan::plan;
use crate::running::{Running, StartError};
use crate::spec::{CageSpec, Program};
use crate::tree::{self, StillAlive, TreeId};
use crate::wire::{self, Order, Report};
use crate::workspace::Workspace;

/// How long a launcher that ends is waited for when a cage is dropped: as long as a stop may take (R204).
const DROP_DEADLINE: Duration = Duration::from_secs(2);
/// The launcher's own processes, which are counted with the agent's: the outer stage and the keeper.
const LAUNCHER_PROCESSES: u64 = 2;
/// What a lost launcher said is quoted up to here.
const LAST_WORDS_BYTES: u64 = 4 << 10;

/// Which executable confines.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
}

impl Launcher {
    /// This very program, even if its file has been replaced since it started. Its `main` must call
    /// [`launcher_main`](crate::launcher_main).
    pub fn this_program() -> Launcher {
        Launcher { program: "/proc/self/exe".into() }
    }

    /// Another executable that calls [`launcher_main`](crate::launcher_main).
    pub fn at(program: impl Into<PathBuf>) -> Launcher {
        Launcher { program: program.into() }
    }

    fn spawn(&self, socket: OwnedFd) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        // A process group of its own: a Ctrl-C meant for the daemon must not end agents before it could.
        command.arg0("eparch-confine").arg(OsString::from(LAUNCHER_WORD)).env_clear().process_group(0);
        command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
    }
}

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
        let processes = spec.limits.processes.saturating_add(LAUNCHER_PROCESSES);
        let cgroup = Cgroup::create(spec.name.as_str(), spec.cgroup_parent.as_deref(), processes);
        let (counted, cgroup) = match cgroup {
            Ok(cgroup) => (Ok(cgroup.kind), Some(cgroup)),
            Err(why) => (Err(why), None),
        };
        let group = Group(cgroup);
        let rlimit = counted.is_err().then_some(processes);
        let mut plan = plan(spec, rlimit)?;

        let (ours, theirs) = UnixStream::pair().map_err(OpenError::Launcher)?;
        let mut opening = Opening::start(ours, launcher, theirs)?;
        if let (Some(cgroup), Some(outer)) = (&group.0, &opening.outer) {
            cgroup.join(outer.id()).map_err(OpenError::Launcher)?;
        }
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
        let tree = TreeId::of(keeper, group.0.as_ref().map(|group| group.path.clone()))
            .map_err(OpenError::Launcher)?;
        plan.user_namespace = measures.iter().any(|measure| measure.name == MeasureName::UserNamespace);
        measures.push(process_limit(counted, plan.user_namespace));
        opening.send(&Order::Build(plan))?;
        let (hidden, workspace, listener) = match opening.receive()? {
            (Report::Ready { measures: inner, hidden }, fds) => {
                measures.extend(inner);
                let [workspace, listener] = <[OwnedFd; 2]>::try_from(fds)
                    .map_err(|fds| opening.lost(format!("it sent {} descriptors", fds.len())))?;
                (hidden, workspace, TcpListener::from(listener))
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
        group.keep();
        Ok(Cage {
            link: Arc::new(Link::new(socket, keeper_fd)),
            outer: Mutex::new(outer),
            measures,
            tree,
            workspace: Workspace::new(workspace, hidden),
            listener,
            port,
        })
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

    /// Ends what runs: SIGTERM to every process, and SIGKILL after `grace`. [`Running::wait`] then returns. Does not
    /// wait itself, and does nothing when nothing runs.
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
        // The outer stage has nothing left to wait for.
        if let Ok(mut outer) = self.outer.lock() {
            let _ = outer.wait();
        }
        if let Some(cgroup) = &self.tree.cgroup {
            let _ = cgroup::remove(cgroup, end);
        }
    }
}

/// A cgroup that goes with a failed opening.
struct Group(Option<Cgroup>);

impl Group {
    /// The cage is open; its tree decides from now on.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.0 {
            let _ = cgroup::remove(&cgroup.path, Instant::now() + DROP_DEADLINE);
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

fn process_limit(counted: Result<&'static str, String>, own_namespace: bool) -> Measure {
    let name = MeasureName::ProcessLimit;
    let why = match counted {
        Ok(kind) => return Measure::held(name, kind),
        Err(why) => why,
    };
    // Before Linux 5.14 the limit counts every process of the user, inside and outside; and root it never binds.
    let root = rustix::process::geteuid().is_root();
    if own_namespace && !root && kernel() >= (5, 14) {
        return Measure::held(name, "rlimit-in-user-namespace");
    }
    Measure::missing(name, why)
}

fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
