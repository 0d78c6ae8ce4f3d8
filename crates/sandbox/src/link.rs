//! The daemon's end of the socket to a keeper, shared by the cage and what runs in it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eparch_domain::Span;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::cgroup::Exhausted;
use crate::ended::Cause;
use crate::running::StartError;
use crate::spec::Program;
use crate::tree::{TreeId, timespec};
use crate::wire::{self, NoStart, Order, Report, WireError};

/// Orders may be sent at any time; reports are read by one at a time: who starts, then who waits.
#[derive(Debug)]
pub(crate) struct Link {
    socket: UnixStream,
    sending: Mutex<()>,
    receiving: Mutex<()>,
    busy: AtomicBool,
    /// The keeper, as a pidfd.
    pub(crate) keeper: OwnedFd,
    tree: TreeId,
    exhausted: Option<Exhausted>,
    /// By when what runs is to have ended, while something runs.
    due: Mutex<Option<Due>>,
    /// Wakes whoever waits for a report: it is due earlier now.
    sooner: OwnedFd,
}

/// By when a program is to have ended. The keeper shares its processor with what it keeps, and may be slowed down by it; what it
/// should have ended and has not is ended from here.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Option<Instant>,
    because: Cause,
}

impl Due {
    fn of(program: &Program) -> Due {
        let at = program.timeout.and_then(|timeout| by(timeout.as_duration(), program.grace));
        Due { at, because: Cause::Timeout }
    }
}

/// When a keeper that begins to end a program after `wait` has ended it for good.
fn by(wait: Duration, grace: Span) -> Option<Instant> {
    Instant::now().checked_add(wait)?.checked_add(grace.as_duration())?.checked_add(KEEPER_LATE)
}

/// How much later than told a keeper may end what it keeps: with `limits::KILL_GRACE` before, nothing is alive 2 s after a stop
/// (R204).
const KEEPER_LATE: Duration = Duration::from_millis(750);

/// What became of waiting for a report.
pub(crate) enum Heard {
    /// It came.
    Report(Report),
    /// It did not, and what runs should have ended by now, for this reason.
    Overdue(Cause),
}

impl Link {
    pub(crate) fn new(
        socket: UnixStream,
        keeper: OwnedFd,
        tree: TreeId,
        exhausted: Option<Exhausted>,
    ) -> io::Result<Link> {
        Ok(Link {
            socket,
            sending: Mutex::new(()),
            receiving: Mutex::new(()),
            busy: AtomicBool::new(false),
            keeper,
            tree,
            exhausted,
            due: Mutex::new(None),
            sooner: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Processor time of everything that ever ran in the cage, as far as it can be read.
    pub(crate) fn cpu(&self) -> Span {
        self.tree.cpu().unwrap_or_default()
    }

    /// How many processes of the cage the kernel ended because memory ran out.
    pub(crate) fn exhausted(&self) -> u64 {
        self.exhausted.as_ref().map_or(0, Exhausted::count)
    }

    pub(crate) fn resolve(&self, program: &Program) -> Result<PathBuf, StartError> {
        let _turn = self.take_turn()?;
        self.send(&Order::Resolve(program.clone()), &[])?;
        match self.receive()? {
            Report::Resolved { path } => Ok(path),
            Report::CannotStart(refusal) => Err(refusal.into()),
            other => Err(out_of_turn(&other).into()),
        }
    }

    /// Starts a program; while it runs, nothing else can.
    pub(crate) fn start(&self, program: &Program, out: &OwnedFd, err: &OwnedFd) -> Result<(), StartError> {
        let turn = self.take_turn()?;
        *self.due() = Some(Due::of(program));
        let started = self.ask_to_start(program, out, err);
        match started {
            Ok(()) => turn.keep(),
            Err(_) => *self.due() = None,
        }
        started
    }

    fn ask_to_start(&self, program: &Program, out: &OwnedFd, err: &OwnedFd) -> Result<(), StartError> {
        self.send(&Order::Run(program.clone()), &[out, err])?;
        match self.hear()? {
            Heard::Report(Report::Started) => Ok(()),
            Heard::Report(Report::CannotStart(refusal)) => Err(refusal.into()),
            Heard::Report(other) => {
                // Something may run that nobody waits for.
                self.kill_now();
                Err(out_of_turn(&other).into())
            }
            Heard::Overdue(_) => {
                self.kill_now();
                Err(WireError::Gone.into())
            }
        }
    }

    fn due(&self) -> MutexGuard<'_, Option<Due>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next report of a running program, for as long as it may run.
    pub(crate) fn hear(&self) -> Result<Heard, WireError> {
        let _one = alone(&self.receiving);
        match self.overdue().map_err(WireError::Io)? {
            Some(because) => Ok(Heard::Overdue(because)),
            None => wire::receive(&self.socket).map(|(report, _)| Heard::Report(report)),
        }
    }

    /// Waits until there is a report; why what runs should have ended, when that comes first.
    fn overdue(&self) -> io::Result<Option<Cause>> {
        loop {
            let due = *self.due();
            let left = due.and_then(|due| due.at).map(|at| at.saturating_duration_since(Instant::now()));
            let wait = left.map(timespec);
            let mut fds =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.sooner, PollFlags::IN)];
            match poll(&mut fds, wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let [reported, sooner] = fds.map(|fd| !fd.revents().is_empty());
            if reported {
                return Ok(None);
            }
            if sooner {
                // However often it was told, it is looked at once.
                let _ = rustix::io::read(&self.sooner, &mut [0u8; 8]);
            } else if left.is_some_and(|left| left.is_zero()) {
                return Ok(due.map(|due| due.because));
            }
        }
    }

    fn receive(&self) -> Result<Report, WireError> {
        let _one = alone(&self.receiving);
        wire::receive(&self.socket).map(|(report, _)| report)
    }

    /// Says that the running program has ended.
    pub(crate) fn free(&self) {
        *self.due() = None;
        self.busy.store(false, Ordering::Release);
    }

    pub(crate) fn stop(&self, grace: Span) {
        // A keeper that cannot be told is dead, and what it kept as well.
        let _ = self.send(&Order::Stop { grace }, &[]);
        let at = by(Duration::ZERO, grace);
        if let Some(due) = &mut *self.due()
            && at.is_some_and(|at| due.at.is_none_or(|before| at < before))
        {
            *due = Due { at, because: Cause::Stopped };
        }
        // One that cannot be written was written often enough.
        let _ = rustix::io::write(&self.sooner, &1u64.to_ne_bytes());
    }

    pub(crate) fn kill_now(&self) {
        // It may be dead already.
        let _ = pidfd_send_signal(&self.keeper, Signal::KILL);
    }

    fn send(&self, order: &Order, fds: &[&OwnedFd]) -> Result<(), WireError> {
        let _one = alone(&self.sending);
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        wire::send(&self.socket, order, &fds)
    }

    fn take_turn(&self) -> Result<Turn<'_>, StartError> {
        match self.busy.swap(true, Ordering::Acquire) {
            true => Err(StartError::Busy),
            false => Ok(Turn { busy: &self.busy }),
        }
    }
}

/// Who may start something; given back on drop unless a program keeps it.
struct Turn<'a> {
    busy: &'a AtomicBool,
}

impl Turn<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.busy.store(false, Ordering::Release);
    }
}

/// The lock guards the order of bytes on the socket, not data: a panic elsewhere does not spoil it.
fn alone(lock: &Mutex<()>) -> MutexGuard<'_, ()> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn out_of_turn(report: &Report) -> WireError {
    WireError::Io(std::io::Error::other(format!("a report out of turn: {report:?}")))
}

impl From<NoStart> for StartError {
    fn from(refusal: NoStart) -> Self {
        match refusal {
            NoStart::NotFound { program } => StartError::NotFound { program },
            NoStart::NotExecutable { path, why } => StartError::NotExecutable { path, why },
            NoStart::NoFolder { path, why } => StartError::NoFolder { path, why },
            NoStart::Unconfined { why } => StartError::Unconfined { why },
            NoStart::Busy => StartError::Busy,
        }
    }
}
