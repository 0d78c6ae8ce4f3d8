//! Which process tree this was, so that a later boot of the daemon can prove it dead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eparch_domain::Span;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::cgroup;

/// One cage's process tree, for ever: a process id alone is used again, together with its start and the boot it never is.
///
/// It names the keeper, the first process of the cage's PID namespace. The kernel ends a namespace's first process only
/// after every other one in it, so a dead keeper is a dead tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeId {
    /// The keeper, as the host counts.
    pub pid: u32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The cage's cgroup folder, which is removed with the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
    /// Further ones, where each controller has its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_cgroups: Vec<PathBuf>,
}

/// Why a tree could not be proven dead.
#[derive(Debug, thiserror::Error)]
pub enum StillAlive {
    /// Something in it was alive at the deadline.
    #[error("process tree {pid} was still alive after {waited}")]
    Deadline {
        /// The keeper.
        pid: u32,
        /// How long was waited.
        waited: Span,
    },
    /// Everything in it is dead, and a cgroup of it could not be removed.
    #[error("the process tree is dead, and its cgroup `{path}` cannot be removed")]
    Cgroup {
        /// The cgroup.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel did not let it be looked at or ended.
    #[error("cannot end process tree {pid}")]
    Denied {
        /// The keeper.
        pid: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl TreeId {
    /// The identity of the tree whose keeper is `pid`, which must be alive or at least not reaped.
    pub(crate) fn of(pid: u32, cgroups: &[PathBuf]) -> io::Result<TreeId> {
        let (_, start_time) = stat(pid)?.ok_or(io::ErrorKind::NotFound)?;
        let mut cgroups = cgroups.iter().cloned();
        let cgroup = cgroups.next();
        Ok(TreeId { pid, start_time, boot_id: boot_id()?, cgroup, other_cgroups: cgroups.collect() })
    }

    /// All its cgroups.
    pub(crate) fn cgroups(&self) -> impl Iterator<Item = &Path> {
        self.cgroup.iter().chain(&self.other_cgroups).map(PathBuf::as_path)
    }

    /// True when nothing of the tree is alive.
    ///
    /// # Errors
    /// When `/proc` cannot be read: then nothing is proven.
    pub fn is_dead(&self) -> io::Result<bool> {
        if boot_id()? != self.boot_id {
            return Ok(true);
        }
        let keeper_gone = match stat(self.pid)? {
            Some((state, start_time)) => start_time != self.start_time || matches!(state, 'Z' | 'X'),
            None => true,
        };
        Ok(keeper_gone && self.members()?.is_empty())
    }

    /// Kills the whole tree, waits until it is dead, and removes its cgroup. At once when it is dead already.
    ///
    /// # Errors
    /// When it is not dead after `deadline`, or the kernel refuses.
    pub fn kill_and_wait(&self, deadline: Span) -> Result<(), StillAlive> {
        let denied = |source| StillAlive::Denied { pid: self.pid, source };
        let end = Instant::now() + deadline.as_duration();
        if boot_id().map_err(denied)? == self.boot_id {
            self.kill_keeper(end).map_err(denied)?;
            self.kill_members(end).map_err(denied)?;
            if !self.is_dead().map_err(denied)? {
                return Err(StillAlive::Deadline { pid: self.pid, waited: deadline });
            }
        }
        for cgroup in self.cgroups() {
            cgroup::remove(cgroup, end)
                .map_err(|source| StillAlive::Cgroup { path: cgroup.into(), source })?;
        }
        Ok(())
    }

    /// Processor time of the tree: of what lives in it and of what it has reaped.
    pub(crate) fn cpu(&self) -> io::Result<Span> {
        let mut ticks = 0u64;
        let mut waiting = vec![self.pid];
        while let Some(pid) = waiting.pop() {
            // What ends between two looks is counted with its parent the next time.
            let Some(line) = read_stat(pid)? else { continue };
            ticks = ticks.saturating_add(parse_ticks(&line).unwrap_or(0));
            let tasks = Path::new("/proc").join(pid.to_string()).join("task");
            for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                waiting
                    .extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Span::from_millis(ticks.saturating_mul(1_000) / per_second))
    }

    fn kill_keeper(&self, end: Instant) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        let keeper = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(keeper) => keeper,
            Err(Errno::SRCH | Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        // Only now is the id pinned: what it names from here on is one process, and this tells whether it is ours.
        if !matches!(stat(self.pid)?, Some((_, start_time)) if start_time == self.start_time) {
            return Ok(());
        }
        kill_and_wait(&keeper, end)
    }

    fn kill_members(&self, end: Instant) -> io::Result<()> {
        loop {
            let members = self.members()?;
            if members.is_empty() || Instant::now() >= end {
                return Ok(());
            }
            for member in members {
                if let Ok(member) = pidfd_open(member, PidfdFlags::empty()) {
                    kill_and_wait(&member, end)?;
                }
            }
        }
    }

    fn members(&self) -> io::Result<Vec<Pid>> {
        let mut members = Vec::new();
        for cgroup in self.cgroups() {
            members.extend(cgroup::members(cgroup)?);
        }
        Ok(members)
    }
}

/// Kills the process behind a pidfd and waits for its end, not past `end`.
pub(crate) fn kill_and_wait(process: impl std::os::fd::AsFd, end: Instant) -> io::Result<()> {
    match pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(errno.into()),
    }
    wait_dead(process, end).map(drop)
}

/// Waits for the end of the process behind a pidfd, not past `end`; true when it came.
pub(crate) fn wait_dead(process: impl std::os::fd::AsFd, end: Instant) -> io::Result<bool> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&process, PollFlags::IN)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A duration for `poll`.
pub(crate) fn timespec(span: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(span.subsec_nanos()),
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

/// State and start time of a process; `None` when there is none of that id.
fn stat(pid: u32) -> io::Result<Option<(char, u64)>> {
    let Some(line) = read_stat(pid)? else { return Ok(None) };
    parse_stat(&line).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn read_stat(pid: u32) -> io::Result<Option<String>> {
    match fs::read(Path::new("/proc").join(pid.to_string()).join("stat")) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // The process went while the file was read.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fields 14 to 17: its own time and that of its reaped children, in user and system mode.
fn parse_ticks(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().skip(11).take(4).map(|field| field.parse::<u64>().ok()).sum()
}

/// Fields 3 and 22. The program's name, field 2, may hold spaces and parentheses, so counting starts at the last one.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line =
            "7 (a) S) (b) R 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 18446744073709551615 0 0";
        assert_eq!(parse_stat(line), Some(('R', 987_654)));
        assert_eq!(parse_stat("7 (sh"), None);
        let busy = "7 (sh) R 1 7 7 0 -1 4194560 1 0 0 0 5 6 7 8 20 0";
        assert_eq!(parse_ticks(busy), Some(26));
    }

    #[test]
    fn r011_this_process_is_alive_and_others_of_its_id_are_not_it() {
        let here = TreeId::of(std::process::id(), &[]).unwrap();
        assert!(!here.is_dead().unwrap());
        let earlier = TreeId { start_time: here.start_time + 1, ..here.clone() };
        assert!(earlier.is_dead().unwrap());
        earlier.kill_and_wait(Span::from_secs(1)).unwrap();
        let other_boot = TreeId { boot_id: "another".into(), ..here };
        assert!(other_boot.is_dead().unwrap());
        other_boot.kill_and_wait(Span::from_secs(1)).unwrap();
    }
}
