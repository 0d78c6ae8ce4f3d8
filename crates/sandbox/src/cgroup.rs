//! Counting an agent's processes with the `pids` controller, cgroup v1 or v2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::mountinfo;

/// A cgroup of one cage. Not removed on drop: the tree that is in it decides when it can be.
#[derive(Debug)]
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
    /// `cgroup-v1` or `cgroup-v2`.
    pub(crate) kind: &'static str,
}

/// Distinguishes the cages of one process; the process id distinguishes the processes.
static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Cgroup {
    /// Makes a cgroup that holds at most `processes` processes and threads. On failure the text says what was tried.
    pub(crate) fn create(name: &str, parent: Option<&Path>, processes: u64) -> Result<Cgroup, String> {
        let candidates = match parent {
            Some(parent) => {
                let v1 = parent.join("pids.max").exists() && !parent.join("cgroup.controllers").exists();
                vec![(parent.to_owned(), if v1 { V1 } else { V2 })]
            }
            None => candidates(),
        };
        let mut tried = Vec::new();
        for (parent, kind) in candidates {
            match create_under(&parent, kind, name, processes) {
                Ok(path) => return Ok(Cgroup { path, kind }),
                Err(error) => tried.push(format!("{} {}: {error}", kind, parent.display())),
            }
        }
        Err(match tried.is_empty() {
            true => "no cgroup hierarchy with the pids controller is mounted".into(),
            false => tried.join("; "),
        })
    }

    /// Moves a process in; its later children are born there.
    pub(crate) fn join(&self, pid: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }
}

/// The folder that holds the groups of all cages.
const OURS: &str = "eparch";
const V1: &str = "cgroup-v1";
const V2: &str = "cgroup-v2";

/// Folders beneath which a cage's group may be made, best first.
fn candidates() -> Vec<(PathBuf, &'static str)> {
    let Ok(mounts) = mountinfo::read() else { return Vec::new() };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for mount in mounts {
        let (kind, marker) = match mount.kind.as_str() {
            "cgroup" if mount.options.split(',').any(|option| option == "pids") => (V1, "pids"),
            "cgroup2" => (V2, ""),
            _ => continue,
        };
        let within = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            controllers.split(',').any(|name| name == marker).then(|| parts.next())?
        });
        // What is mounted may be a part of the hierarchy, as in a container.
        let within = Path::new(within.unwrap_or("/"));
        let within = within.strip_prefix(&mount.root).unwrap_or(Path::new(""));
        let here = mount.path.join(within.strip_prefix("/").unwrap_or(within));
        match kind {
            V1 => found.push((here.join(OURS), kind)),
            _ => {
                // Version 2 has processes only in leaves, so the group cannot be made below our own. A service with
                // `DelegateSubgroup=` may use the folder above; root may use the top, as container engines do.
                if let Some(above) = here.parent().filter(|above| above.starts_with(&mount.path)) {
                    found.push((above.join(OURS), kind));
                }
                found.push((mount.path.join(OURS), kind));
            }
        }
    }
    found
}

fn create_under(parent: &Path, kind: &str, name: &str, processes: u64) -> io::Result<PathBuf> {
    let above = parent.parent().unwrap_or(parent);
    if kind == V2 && !fs::read_to_string(above.join("cgroup.controllers"))?.contains("pids") {
        return Err(io::Error::other("the pids controller is not there"));
    }
    fs::create_dir_all(parent)?;
    if kind == V2 {
        // A controller must be handed down at each level; what is already handed down is not an error.
        for level in [above, parent] {
            let enabled = fs::read_to_string(level.join("cgroup.subtree_control"))?;
            if !enabled.split_ascii_whitespace().any(|controller| controller == "pids") {
                fs::write(level.join("cgroup.subtree_control"), "+pids")?;
            }
        }
    }
    let path = loop {
        let own = format!("{name}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(own);
        match fs::create_dir(&path) {
            Ok(()) => break path,
            // An earlier process of this id died and left it; what is in it is not ours.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // The end of another cage just removed the folder above.
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(parent)?,
            Err(error) => return Err(error),
        }
    };
    if let Err(error) = fs::write(path.join("pids.max"), processes.to_string()) {
        let _ = fs::remove_dir(&path);
        return Err(error);
    }
    Ok(path)
}

/// The processes in a cgroup; none when it does not exist.
pub(crate) fn members(path: &Path) -> io::Result<Vec<Pid>> {
    match fs::read_to_string(path.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()),
        // ENODEV: it was removed between open and read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Removes an empty cgroup. The kernel lets go of dead processes a moment after they are seen dead, so it is asked
/// again until `end`.
pub(crate) fn remove(path: &Path, end: Instant) -> io::Result<()> {
    loop {
        match fs::remove_dir(path) {
            Ok(()) => {
                // The last one out. Not empty is the rule, and no error.
                let _ = path.parent().filter(|parent| parent.ends_with(OURS)).map(fs::remove_dir);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}
