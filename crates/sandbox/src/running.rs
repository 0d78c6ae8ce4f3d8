//! A program that runs in a cage.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eparch_domain::Span;

use crate::ended::{Cause, Ended, Exit};
use crate::link::{Heard, Link, out_of_turn};
use crate::spec::Program;
use crate::tree::wait_dead;
use crate::wire::{Report, WireError};

/// How long a cage that is killed is waited for; the kernel needs milliseconds, or more for a large tree.
const DEATH_DEADLINE: Duration = Duration::from_secs(10);

/// What tells a stream from every other one on this machine, in a cage and outside it alike: a device and a number.
///
/// # Errors
/// When the kernel does not say.
pub fn stream_name(stream: impl AsFd) -> io::Result<String> {
    let is = rustix::fs::fstat(stream)?;
    Ok(format!("{}:{}", is.st_dev, is.st_ino))
}

/// Why a program did not start. Nothing of it has run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such program in the cage; a shell would say 127.
    #[error("there is no program `{program}` in the sandbox")]
    NotFound {
        /// Its name, as given.
        program: String,
    },
    /// There is, but it cannot be executed; a shell would say 126.
    #[error("`{path}` cannot be executed in the sandbox: {why}")]
    NotExecutable {
        /// The file inside.
        path: PathBuf,
        /// What the kernel said.
        why: String,
    },
    /// Its working folder does not exist in the cage.
    #[error("`{path}` cannot be the working folder in the sandbox: {why}")]
    NoFolder {
        /// The folder inside.
        path: PathBuf,
        /// What the kernel said.
        why: String,
    },
    /// A measure that held when the cage opened no longer does.
    #[error("the program could not be confined: {why}")]
    Unconfined {
        /// The measures.
        why: String,
    },
    /// Its command and environment are more than the launcher takes. The cage is as it was.
    #[error("the program's command and environment are {bytes} bytes as JSON, which is too long")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// Another program runs in the cage.
    #[error("another program runs in this sandbox")]
    Busy,
    /// The pipes for its output could not be made.
    #[error("cannot make pipes for the program's output")]
    Pipes(#[source] io::Error),
    /// The cage is dead, or was told to be.
    #[error("the sandbox is gone")]
    Gone(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<WireError> for StartError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::TooLong(bytes) => StartError::TooLong { bytes },
            other => StartError::Gone(Box::new(other)),
        }
    }
}

/// The cage died while a program ran in it: killed, closed, or lost. Everything in it is dead or dying; what
/// [`TreeId`](crate::TreeId) says is proof.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox ended while a program ran in it")]
pub struct Lost(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A started program. Whoever holds it waits for it; dropped without that, it takes the cage with it.
#[derive(Debug)]
pub struct Running {
    link: Arc<Link>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    over: bool,
    exhausted_before: u64,
    cpu_before: Span,
}

impl Running {
    pub(crate) fn start(link: &Arc<Link>, program: &Program) -> Result<Running, StartError> {
        let (stdout, out) = io::pipe().map_err(StartError::Pipes)?;
        let (stderr, err) = io::pipe().map_err(StartError::Pipes)?;
        let (exhausted_before, cpu_before) = (link.exhausted(), link.cpu());
        let mut program = program.clone();
        if let Some(variable) = &program.streams_in {
            let names = [stream_name(&out), stream_name(&err)].map(|name| name.map_err(StartError::Pipes));
            let [out, err] = names;
            program.env.insert(variable.clone(), format!("{} {}", out?, err?));
        }
        link.start(&program, &OwnedFd::from(out), &OwnedFd::from(err))?;
        let (stdout, stderr) = (Some(stdout), Some(stderr));
        Ok(Running { link: Arc::clone(link), stdout, stderr, over: false, exhausted_before, cpu_before })
    }

    /// What the program writes; ends when it and everything it started is dead. Can be taken once.
    pub fn take_stdout(&mut self) -> Option<PipeReader> {
        self.stdout.take()
    }

    /// As [`Running::take_stdout`].
    pub fn take_stderr(&mut self) -> Option<PipeReader> {
        self.stderr.take()
    }

    /// Ends it, as [`Cage::stop`](crate::Cage::stop).
    pub fn stop(&self, grace: Span) {
        self.link.stop(grace);
    }

    /// Waits until the program has ended and everything it ever started is dead (R011). Output must be read meanwhile,
    /// or a program that writes much waits for ever.
    ///
    /// What has to end, by its timeout or a stop, and that the cage does not end in time, is ended from here, and the cage with it:
    /// what runs in a cage can slow down all of it. Of such a program its survivors and its memory are not counted.
    ///
    /// # Errors
    /// When the cage ended first. A second call says the same.
    pub fn wait(&mut self) -> Result<Ended, Lost> {
        let lost = |error: WireError| Lost(Box::new(error));
        if self.over {
            return Err(lost(WireError::Gone));
        }
        self.over = true;
        match self.link.hear() {
            Ok(Heard::Report(Report::Ended(ended))) => {
                let out_of_memory = self.link.exhausted() > self.exhausted_before;
                self.link.free();
                Ok(Ended { out_of_memory, ..ended })
            }
            Ok(Heard::Report(other)) => {
                self.link.kill_now();
                Err(lost(out_of_turn(&other)))
            }
            Ok(Heard::Overdue(cause)) => self.put_down(cause).ok_or_else(|| lost(WireError::Gone)),
            Err(error) => {
                self.link.kill_now();
                Err(lost(error))
            }
        }
    }
}

impl Running {
    /// Kills the cage, and says how the program ended when that is proven; nothing when it is not.
    fn put_down(&self, cause: Cause) -> Option<Ended> {
        let cpu = Span::from_millis(self.link.cpu().millis().saturating_sub(self.cpu_before.millis()));
        self.link.kill_now();
        if !matches!(wait_dead(&self.link.keeper, Instant::now() + DEATH_DEADLINE), Ok(true)) {
            return None;
        }
        let out_of_memory = self.link.exhausted() > self.exhausted_before;
        self.link.free();
        let exit = Exit::Signal(libc::SIGKILL);
        Some(Ended { exit, cause, leftovers: 0, cpu, out_of_memory, breaches: 0, max_rss_bytes: 0 })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            self.link.kill_now();
        }
    }
}
