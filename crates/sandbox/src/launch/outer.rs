//! Stage 1: outside the cage's PID namespace. It enters every namespace, starts the keeper, and lives only to reap it.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use nix::sched::{CloneFlags, unshare};
use rustix::process::{Pid, PidfdFlags, getegid, geteuid, pidfd_open};
use rustix::thread::{CapabilitySet, capabilities};

use super::{KEEPER, Outcome, powers, stage, take_socket};
use crate::measure::{Measure, MeasureName};
use crate::wire::{self, Order, Report};

pub(super) fn run() -> Outcome {
    let socket = take_socket()?;
    let (Order::Enter, _) = wire::receive(&socket)? else {
        return Err("the first order must be to enter".into());
    };
    let measures = enter_namespaces();
    if measures.iter().any(|measure| !measure.in_force()) {
        wire::send(&socket, &Report::Refused { measures }, &[])?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut keeper = stage(KEEPER, socket.try_clone()?).spawn()?;
    let pid =
        i32::try_from(keeper.id()).ok().and_then(Pid::from_raw).ok_or("the keeper has no process id")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    wire::send(&socket, &Report::Entered { keeper: keeper.id(), measures }, &[pidfd.as_fd()])?;
    drop((socket, pidfd));
    keeper.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// Enters one namespace after the other, so that a refusal names the one refused.
fn enter_namespaces() -> Vec<Measure> {
    let mut measures = Vec::new();
    let root = geteuid().is_root()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    if !root {
        match enter_user_namespace() {
            Ok(()) => measures.push(Measure::held(MeasureName::UserNamespace, "")),
            Err(error) => {
                measures.push(Measure::missing(MeasureName::UserNamespace, error));
                return measures;
            }
        }
    }
    let namespaces = [
        (MeasureName::MountNamespace, CloneFlags::CLONE_NEWNS, "mnt"),
        (MeasureName::PidNamespace, CloneFlags::CLONE_NEWPID, "pid_for_children"),
        (MeasureName::IpcNamespace, CloneFlags::CLONE_NEWIPC, "ipc"),
        (MeasureName::NetworkNamespace, CloneFlags::CLONE_NEWNET, "net"),
        (MeasureName::Uts, CloneFlags::CLONE_NEWUTS, "uts"),
    ];
    for (name, flag, file) in namespaces {
        measures.push(match enter(flag, file) {
            Ok(()) => Measure::held(name, ""),
            Err(error) => Measure::missing(name, error),
        });
    }
    // So that no program reads where on the host its group is. What it counts is counted all the same.
    let _ = unshare(CloneFlags::CLONE_NEWCGROUP);
    measures
}

/// Enters one namespace and looks whether it did. What follows rearranges the root and kills whatever it finds: done in
/// the host's own namespaces, that would be the end of the host.
fn enter(flag: CloneFlags, file: &str) -> io::Result<()> {
    let at = Path::new("/proc/self/ns").join(file);
    let before = fs::read_link(&at)?;
    unshare(flag)?;
    // A PID namespace without its first process has no name yet.
    match fs::read_link(&at) {
        Ok(after) if after == before => Err(io::Error::other("the kernel agreed and did nothing")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Every id but the caller's own is unknown inside, and the caller's stays what it is: programs that refuse to run as
/// root, or ask who owns a file, see the truth.
fn enter_user_namespace() -> io::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    enter(CloneFlags::CLONE_NEWUSER, "user")?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    // Some systems let anybody make the namespace and then give no power in it; then the next step would fail with a
    // riddle.
    if !capabilities(None)?.effective.contains(CapabilitySet::SYS_ADMIN) {
        return Err(io::Error::other("the namespace was made but grants no capabilities"));
    }
    // What the kernel counts for each user is bounded here for this cage, so that it does not take all of its user's.
    // Where `/proc` is read-only, as in some containers, the user's own bounds are all there are.
    for (file, most) in OWN_BOUNDS {
        let _ = fs::write(Path::new("/proc/sys/user").join(file), most);
    }
    powers::keep_over_exec()
}

/// Of the host's usual 128 and some hundred thousand: enough for a file watcher in each of many processes.
const OWN_BOUNDS: [(&str, &str); 2] = [("max_inotify_instances", "32"), ("max_inotify_watches", "65536")];
