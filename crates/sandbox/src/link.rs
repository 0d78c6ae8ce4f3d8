//! The daemon's end of the socket to a keeper, shared by the cage and what runs in it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use eparch_domain::Span;
use rustix::process::{Signal, pidfd_send_signal};

use crate::cgroup::Exhausted;
use crate::running::StartError;
use crate::spec::Program;
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
    exhausted: Option<Exhausted>,
}

impl Link {
    pub(crate) fn new(socket: UnixStream, keeper: OwnedFd, exhausted: Option<Exhausted>) -> Link {
        Link {
            socket,
            sending: Mutex::new(()),
            receiving: Mutex::new(()),
            busy: AtomicBool::new(false),
            keeper,
            exhausted,
        }
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
        self.send(&Order::Run(program.clone()), &[out, err])?;
        match self.receive()? {
            Report::Started => {
                turn.keep();
                Ok(())
            }
            Report::CannotStart(refusal) => Err(refusal.into()),
            other => {
                // Something may run that nobody waits for.
                self.kill_now();
                Err(out_of_turn(&other).into())
            }
        }
    }

    /// The next report of a running program.
    pub(crate) fn receive(&self) -> Result<Report, WireError> {
        let _one = alone(&self.receiving);
        wire::receive(&self.socket).map(|(report, _)| report)
    }

    /// Says that the running program has ended.
    pub(crate) fn free(&self) {
        self.busy.store(false, Ordering::Release);
    }

    pub(crate) fn stop(&self, grace: Span) {
        // A keeper that cannot be told is dead, and what it kept as well.
        let _ = self.send(&Order::Stop { grace }, &[]);
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
