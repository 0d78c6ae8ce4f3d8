//! Stage 2: process 1 of the cage. It builds the root, then waits for orders; it ends when the daemon's side of its
//! socket closes, and with it, by the kernel's rule for process 1, everything in the cage.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use eparch_domain::Span;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus as NixStatus, waitid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};

use super::resolve::{resolve, settled};
use super::{INNER, Outcome, network, root, stage, system_calls, take_socket};
use crate::ended::{Cause, Ended, Exit};
use crate::measure::{Measure, MeasureName};
use crate::spec::Program;
use crate::tree::timespec;
use crate::wire::{self, Dress, Dressed, Exec, NoStart, Order, Plan, Report, WireError};

pub(super) fn run() -> Outcome {
    let everyone =
        Everyone::of_this_namespace().ok_or("the keeper is not process 1 of a namespace of its own")?;
    // The outer stage reaps; should it be killed, nobody would, and the cage ends.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let socket = take_socket()?;
    let (Order::Build(plan), _) = wire::receive(&socket)? else {
        return Err("the first order must be to build".into());
    };
    let Some(mut keeper) = Keeper::build(everyone, socket, plan)? else { return Ok(ExitCode::SUCCESS) };
    match keeper.obey() {
        Ok(()) | Err(KeepError::Wire(WireError::Gone)) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}

struct Keeper {
    everyone: Everyone,
    socket: UnixStream,
    children: SignalFd,
    plan: Plan,
    writable: Vec<PathBuf>,
    bound: Vec<PathBuf>,
    proc: OwnedFd,
    job: Option<Job>,
    /// How many filters this process has, which whatever it starts has as well.
    filters: Option<usize>,
    /// More children may have ended than were taken note of.
    more_ended: bool,
}

/// Ended children that are taken note of before orders and the clock are looked at again: a program that begins and ends
/// processes as fast as it can must not be able to keep its keeper from ending it.
const REAPED_AT_ONCE: usize = 64;

/// The program that runs.
struct Job {
    main: i32,
    grace: Duration,
    /// When to begin ending it: the timeout.
    deadline: Option<Instant>,
    /// When to end it for good.
    kill_at: Option<Instant>,
    cause: Cause,
    cpu_before: Duration,
    /// Processes that the filters ended, of those that were taken note of.
    breaches: u32,
}

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("the keeper cannot talk to the daemon")]
    Wire(#[from] WireError),
    #[error("the keeper cannot watch its processes")]
    Io(#[from] io::Error),
}

impl Keeper {
    fn build(
        everyone: Everyone,
        socket: UnixStream,
        plan: Plan,
    ) -> Result<Option<Keeper>, Box<dyn std::error::Error>> {
        let missing = |measure| Report::Refused { measures: vec![measure] };
        let mut root = match root::build(&plan) {
            Ok(root) => root,
            Err(refusal) => {
                let report = match refusal {
                    root::NoRoot::Missing(measure) => missing(measure),
                    root::NoRoot::BadPath { path, why } => Report::BadPath { path, why },
                };
                wire::send(&socket, &report, &[])?;
                return Ok(None);
            }
        };
        if let Err(errno) = rustix::system::sethostname(plan.hostname.as_bytes()) {
            wire::send(&socket, &missing(Measure::missing(MeasureName::Uts, io::Error::from(errno))), &[])?;
            return Ok(None);
        }
        let listener = match network::open() {
            Ok(listener) => listener,
            Err(error) => {
                wire::send(&socket, &missing(Measure::missing(MeasureName::NetworkNamespace, error)), &[])?;
                return Ok(None);
            }
        };
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block()?;
        let children = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        // The rest of what is set up above the host's authority is over: nobody inside may look into this process.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
        let keeper = Keeper {
            everyone,
            socket,
            children,
            plan,
            writable: root.writable,
            bound: root.bound,
            filters: filters(&root.proc, "self"),
            proc: root.proc,
            job: None,
            more_ended: false,
        };
        let mut measures = std::mem::take(&mut root.measures);
        match keeper.dress(None, None)? {
            Some(Dressed::Rehearsed { measures: own }) => measures.extend(own),
            other => return Err(format!("the rehearsal ended with {other:?}").into()),
        }
        keeper.reap_all();
        let ready = Report::Ready { measures, hidden: root.hidden };
        let mut fds = vec![root.workspace.as_fd(), listener.as_fd()];
        fds.extend(root.desk.as_ref().map(AsFd::as_fd));
        wire::send(&keeper.socket, &ready, &fds)?;
        Ok(Some(keeper))
    }

    fn obey(&mut self) -> Result<(), KeepError> {
        loop {
            let (ordered, _) = self.wait()?;
            if ordered {
                let (order, fds) = wire::receive(&self.socket)?;
                self.follow(order, fds)?;
            }
            if let Some(exit) = self.reap()? {
                self.finish(exit)?;
            }
            self.mind_the_clock();
        }
    }

    /// Sleeps until there is an order, a child's end or a deadline.
    fn wait(&self) -> Result<(bool, bool), KeepError> {
        let now = self.more_ended.then(Instant::now);
        let next = now.or(self.job.as_ref().and_then(|job| job.kill_at.or(job.deadline)));
        let left = next.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.children, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let [ordered, ended] = fds.map(|fd| !fd.revents().is_empty());
        while ended && matches!(self.children.read_signal(), Ok(Some(_))) {}
        Ok((ordered, ended))
    }

    fn follow(&mut self, order: Order, fds: Vec<OwnedFd>) -> Result<(), KeepError> {
        let report = match order {
            Order::Stop { grace } => {
                self.begin_end(Cause::Stopped, Some(grace.as_duration()));
                return Ok(());
            }
            Order::Run(_) | Order::Resolve(_) if self.job.is_some() => Report::CannotStart(NoStart::Busy),
            Order::Resolve(program) => match resolve(&settled(program, &self.writable)) {
                Ok(path) => Report::Resolved { path },
                Err(refusal) => Report::CannotStart(refusal),
            },
            Order::Run(program) => match self.start(program, fds)? {
                Ok(()) => Report::Started,
                Err(refusal) => Report::CannotStart(refusal),
            },
            Order::Enter | Order::Build(_) => return Err(io::Error::other("an order out of turn").into()),
        };
        Ok(wire::send(&self.socket, &report, &[])?)
    }

    fn start(&mut self, program: Program, fds: Vec<OwnedFd>) -> Result<Result<(), NoStart>, KeepError> {
        let program = settled(program, &self.writable);
        let path = match resolve(&program) {
            Ok(path) => path,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Ok([out, err]) = <[OwnedFd; 2]>::try_from(fds) else {
            return Err(io::Error::other("a program needs two descriptors").into());
        };
        let cpu_before = used_cpu()?;
        let exec = Exec { path, argv: program.argv, env: program.env, cwd: program.cwd };
        let mut main = 0;
        let answer = self.dress(Some((exec, out, err)), Some(&mut main))?;
        if let Some(answer) = answer {
            self.kill_all();
            let refusal = match answer {
                Dressed::Failed(refusal) => refusal,
                Dressed::Rehearsed { .. } => {
                    NoStart::Unconfined { why: "the launcher only rehearsed".into() }
                }
            };
            return Ok(Err(refusal));
        }
        self.job = Some(Job {
            main,
            grace: program.grace.as_duration(),
            deadline: program.timeout.map(|timeout| Instant::now() + timeout.as_duration()),
            kill_at: None,
            cause: Cause::Itself,
            cpu_before,
            breaches: 0,
        });
        Ok(Ok(()))
    }

    /// Starts the inner stage. `None` is the answer of one that became its program.
    fn dress(
        &self,
        exec: Option<(Exec, OwnedFd, OwnedFd)>,
        main: Option<&mut i32>,
    ) -> Result<Option<Dressed>, KeepError> {
        let (own, theirs) = UnixStream::pair()?;
        let mut inner = stage(INNER, theirs);
        let exec = match exec {
            Some((exec, out, err)) => {
                inner.stdout(out).stderr(err);
                Some(exec)
            }
            None => {
                inner.stderr(Stdio::null());
                None
            }
        };
        let child = inner.spawn()?;
        drop(inner);
        if let Some(main) = main {
            *main = child.id().cast_signed();
        }
        self.first_to_go(&child);
        let dress = Dress {
            sandbox: self.plan.sandbox,
            limits: self.plan.limits,
            rlimits: self.plan.rlimits,
            writable: self.writable.clone(),
            bound: self.bound.clone(),
            writes_host: self.plan.mappings.iter().any(|mapping| mapping.writable),
            exec,
        };
        wire::send(&own, &dress, &[])?;
        match wire::receive(&own) {
            Ok((answer, _)) => Ok(Some(answer)),
            Err(WireError::Gone) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// When memory runs out the kernel ends an agent before anybody else, this process included: somebody has to tell.
    /// The stage waits for its orders, so nothing of a program runs before.
    fn first_to_go(&self, child: &std::process::Child) {
        let file = format!("{}/oom_score_adj", child.id());
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        // Raising the score needs no right; a kernel that refuses ends somebody else first, and no more than that.
        if let Ok(file) = openat(&self.proc, file, flags, Mode::empty()) {
            let _ = rustix::io::write(&file, b"1000");
        }
    }

    /// Takes note of some ended children without waiting; the exit of the main program when it is among them.
    fn reap(&mut self) -> Result<Option<Exit>, KeepError> {
        let mut found = None;
        self.more_ended = false;
        for at in 0..REAPED_AT_ONCE {
            let breaches = self.is_breach(WaitPidFlag::WNOHANG);
            let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) else { break };
            self.more_ended = at + 1 == REAPED_AT_ONCE;
            if let Some(job) = self.job.as_mut().filter(|_| breaches == Some(pid.as_raw_nonzero().get())) {
                job.breaches = job.breaches.saturating_add(1);
            }
            if self.job.as_ref().is_some_and(|job| job.main == pid.as_raw_nonzero().get()) {
                found = exit(status);
            }
        }
        Ok(found)
    }

    /// The main program is dead. Now so is everything else, and only then it is said.
    fn finish(&mut self, exit: Exit) -> Result<(), KeepError> {
        let Some(job) = self.job.take() else { return Ok(()) };
        let (leftovers, breaches) = self.kill_all();
        let ended = Ended {
            exit,
            cause: job.cause,
            leftovers,
            breaches: job.breaches.saturating_add(breaches),
            // The daemon's side can read it, and does.
            out_of_memory: false,
            cpu: Span::from_millis(millis(used_cpu()?.saturating_sub(job.cpu_before))),
            max_rss_bytes: largest_memory()?,
        };
        Ok(wire::send(&self.socket, &Report::Ended(ended), &[])?)
    }

    fn mind_the_clock(&mut self) {
        let now = Instant::now();
        let Some(job) = &self.job else { return };
        if job.kill_at.is_some_and(|at| now >= at) {
            self.everyone.signal(Signal::SIGKILL);
            // The end of the main program follows as a signal; nothing is due before.
            if let Some(job) = &mut self.job {
                job.kill_at = Some(now + Duration::from_secs(1));
            }
        } else if job.kill_at.is_none() && job.deadline.is_some_and(|at| now >= at) {
            self.begin_end(Cause::Timeout, None);
        }
    }

    fn begin_end(&mut self, cause: Cause, grace: Option<Duration>) {
        let Some(job) = &mut self.job else { return };
        let kill_at = Instant::now() + grace.unwrap_or(job.grace);
        if job.kill_at.is_none() {
            job.cause = cause;
            self.everyone.signal(Signal::SIGTERM);
        }
        // A second, shorter word counts; a longer one does not lengthen a life.
        job.kill_at = Some(job.kill_at.map_or(kill_at, |before| before.min(kill_at)));
    }

    /// Kills everything but this process and waits until nothing is left; how many had to be killed, and how many the filters
    /// had ended before.
    fn kill_all(&self) -> (u32, u32) {
        self.everyone.signal(Signal::SIGKILL);
        self.reap_all()
    }

    /// Waits for every child. The children of a dead process become this one's, so none is missed.
    fn reap_all(&self) -> (u32, u32) {
        let (mut killed, mut breaches) = (0, 0);
        loop {
            let breach = self.is_breach(WaitPidFlag::empty());
            match wait(WaitOptions::empty()) {
                Ok(Some((_, status))) if status.terminating_signal() == Some(libc::SIGKILL) => killed += 1,
                Ok(Some((pid, _))) if breach == Some(pid.as_raw_nonzero().get()) => breaches += 1,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return (killed, breaches),
            }
        }
    }

    /// The child that is waited for next, if the cage's own filters ended it. A program may have filters of its own, which end it
    /// with the same signal: what that one was ended for nobody knows.
    fn is_breach(&self, how: WaitPidFlag) -> Option<i32> {
        let how = how | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let Ok(NixStatus::Signaled(pid, Signal::SIGSYS, _)) = waitid(Id::All, how) else { return None };
        let of_child = filters(&self.proc, &pid.to_string())?;
        (Some(of_child) == self.filters.map(|own| own + system_calls::FILTERS)).then_some(pid.as_raw())
    }
}

/// How many filters a process has, also one that has ended and was not waited for.
fn filters(proc: &OwnedFd, process: &str) -> Option<usize> {
    let status = openat(proc, format!("{process}/status"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut text = String::new();
    File::from(status.ok()?).read_to_string(&mut text).ok()?;
    let found = text.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"))?;
    found.trim().parse().ok()
}

/// Every process of the namespace but this one. A signal to "all" outside a namespace of one's own is a signal to the
/// whole machine, so this cannot be had anywhere else: only a namespace's first process has the id 1, and a child of
/// another program has it in no other way.
struct Everyone(());

impl Everyone {
    fn of_this_namespace() -> Option<Everyone> {
        (std::process::id() == 1).then_some(Everyone(()))
    }

    /// One pass reaches all: a process about to fork has the signal before its child exists.
    fn signal(&self, signal: Signal) {
        // Nobody there is not an error.
        let _ = kill(nix::unistd::Pid::from_raw(-1), signal);
    }
}

fn exit(status: WaitStatus) -> Option<Exit> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(Exit::Code(code)),
        (None, Some(signal)) => Some(Exit::Signal(signal)),
        (None, None) => None,
    }
}

fn used_cpu() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let part = |time: nix::sys::time::TimeVal| {
        let secs = u64::try_from(time.tv_sec()).unwrap_or(0);
        let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
        Duration::from_secs(secs) + Duration::from_micros(micros)
    };
    Ok(part(usage.user_time()) + part(usage.system_time()))
}

fn largest_memory() -> io::Result<u64> {
    let kibibytes = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok(u64::try_from(kibibytes).unwrap_or(0).saturating_mul(1_024))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
