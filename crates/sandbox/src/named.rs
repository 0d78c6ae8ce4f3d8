//! Finding what is left of a cage by its name alone: a holder may die before it has written down which tree it was.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use eparch_domain::{Name, Span};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::tree::{StillAlive, kill_and_wait};
use crate::{cgroup, mountinfo};

/// How deep control groups are looked through; systemd's own nest some five deep.
const DEPTH: usize = 16;

/// Ends every process in the control groups of cages named `name`, whoever opened them, and proves them dead. True when
/// there was something to end. A cage that is being opened joins its group before anything else happens in it.
///
/// # Errors
/// When something is still alive after `deadline`, or no hierarchy of control groups can be looked through: then nothing is
/// proven.
pub fn end_named(name: &Name, deadline: Span) -> Result<bool, StillAlive> {
    let denied = |pid| move |source| StillAlive::Denied { pid, source };
    let end = Instant::now() + deadline.as_duration();
    let mut found = Vec::new();
    let roots = hierarchies().map_err(denied(0))?;
    if roots.is_empty() {
        return Err(denied(0)(io::Error::other("no control groups are mounted")));
    }
    for root in roots {
        find(&root, &format!("{name}-"), DEPTH, &mut found);
    }
    let mut killed = false;
    for group in found {
        loop {
            let members = cgroup::members(&group).map_err(denied(0))?;
            let Some(first) = members.first() else { break };
            killed = true;
            if Instant::now() >= end {
                let pid = first.as_raw_nonzero().get().unsigned_abs();
                return Err(StillAlive::Deadline { pid, waited: deadline });
            }
            // All of them are held before the first is killed: one takes others along, and what is dying already is no
            // longer listed, before it is dead.
            let held: Vec<_> = members
                .into_iter()
                .filter_map(|member| Some((member, pidfd_open(member, PidfdFlags::empty()).ok()?)))
                .collect();
            for (member, process) in held {
                let pid = member.as_raw_nonzero().get().unsigned_abs();
                kill_and_wait(&process, end).map_err(denied(pid))?;
            }
        }
        // Nothing lives in it; a folder that stays a little longer is no reason to doubt.
        let _ = cgroup::remove(&group, end);
    }
    Ok(killed)
}

fn hierarchies() -> io::Result<Vec<PathBuf>> {
    let counts = |mount: &mountinfo::Mount| match mount.kind.as_str() {
        "cgroup" => mount.options.split(',').any(|option| matches!(option, "pids" | "memory")),
        kind => kind == "cgroup2",
    };
    Ok(mountinfo::read()?.into_iter().filter(counts).map(|mount| mount.path).collect())
}

fn find(folder: &Path, prefix: &str, depth: usize, found: &mut Vec<PathBuf>) {
    // What goes while it is looked at is gone.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if entry.file_name().to_str().is_some_and(|own| own.starts_with(prefix)) {
            found.push(path);
        } else if depth > 0 {
            find(&path, prefix, depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::cgroup::{Caps, Groups};

    #[test]
    fn r011_what_nobody_wrote_down_is_found_by_its_name() {
        let name = Name::new(&format!("named-{}", std::process::id())).unwrap();
        let caps = Caps { processes: 8, memory_bytes: 64 << 20 };
        let mut groups = Groups::create(name.as_str(), None, caps);
        if !groups.counts_processes() {
            if let Some(file) = std::env::var_os("EPARCH_NOT_RUN") {
                let mut file = fs::File::options().append(true).create(true).open(file).unwrap();
                std::io::Write::write_all(&mut file, b"r011_what_nobody_wrote_down: no control groups\n")
                    .unwrap();
            }
            return;
        }
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        groups.join(child.id());
        let other = Name::new(&format!("{name}x")).unwrap();
        assert!(!end_named(&other, Span::from_secs(10)).unwrap());
        assert!(child.try_wait().unwrap().is_none(), "another's is left alone");
        assert!(end_named(&name, Span::from_secs(10)).unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(!end_named(&name, Span::from_secs(10)).unwrap(), "there is nothing left to end");
        assert!(groups.paths.iter().all(|path| !path.exists()), "{groups:?}");
    }
}
