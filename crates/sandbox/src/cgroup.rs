//! Counting what an agent's processes take together, with cgroups of version 1 or 2.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::mountinfo;

/// How much a group may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caps {
    /// Processes and threads.
    pub(crate) processes: u64,
    /// Bytes of memory, files in memory included.
    pub(crate) memory_bytes: u64,
}

/// The groups of one cage: one in version 2, one for each controller in version 1. Not removed on drop: the tree that
/// is in them decides when they can be.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) paths: Vec<PathBuf>,
    /// Which way processes are counted, or what was tried.
    pub(crate) processes: Option<Result<&'static str, String>>,
    /// The same for memory.
    pub(crate) memory: Option<Result<&'static str, String>>,
    /// Where it is told that memory ran out.
    pub(crate) exhausted: Option<Exhausted>,
}

/// The kernel's count of processes it ended because a group was full.
#[derive(Debug, Clone)]
pub(crate) struct Exhausted(PathBuf);

impl Exhausted {
    /// How many so far; none when it cannot be read.
    pub(crate) fn count(&self) -> u64 {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

/// Distinguishes the cages of one process; the process id distinguishes the processes.
static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Groups {
    /// Makes the groups of a cage, as far as they can be had. `parent` is the folder they are made under, when the caller
    /// knows a better one than those found here.
    pub(crate) fn create(name: &str, parent: Option<&Path>, caps: Caps) -> Groups {
        let mut groups = Groups::default();
        let candidates = match parent {
            Some(parent) => {
                let v1 = parent.join("pids.max").exists() && !parent.join("cgroup.controllers").exists();
                vec![Candidate { parent: parent.to_owned(), kind: if v1 { Kind::Pids } else { Kind::V2 } }]
            }
            None => candidates(),
        };
        for Candidate { parent, kind } in candidates {
            let (wants_processes, wants_memory) = (!held(&groups.processes), !held(&groups.memory));
            let needed = match kind {
                // Its one group counts both, so it is worth having only before another one counts.
                Kind::V2 => wants_processes,
                Kind::Pids => wants_processes,
                Kind::Memory => wants_memory,
            };
            if !needed {
                continue;
            }
            match create_under(&parent, kind, name, caps) {
                Ok(made) => {
                    if kind != Kind::Memory {
                        groups.processes = Some(Ok(kind.word()));
                    }
                    if let Some(events) = made.exhausted {
                        groups.memory = Some(Ok(kind.word()));
                        groups.exhausted = Some(Exhausted(events));
                    }
                    groups.paths.push(made.path);
                }
                Err(error) => {
                    let slot = if kind == Kind::Memory { &mut groups.memory } else { &mut groups.processes };
                    let tried = format!("{} {}: {error}", kind.word(), parent.display());
                    match slot {
                        Some(Err(before)) => *before = format!("{before}; {tried}"),
                        _ => *slot = Some(Err(tried)),
                    }
                }
            }
        }
        groups
    }

    /// Moves a process in; its later children are born there. Where one group cannot be joined none is said to count: one
    /// that was joined before it may still bind, which harms nobody. All stay the cage's, and are removed with it.
    pub(crate) fn join(&mut self, pid: u32) {
        let Some(error) = self.paths.iter().find_map(|path| {
            let joined = put(&path.join("cgroup.procs"), &pid.to_string());
            joined.err().map(|error| format!("{}: {error}", path.display()))
        }) else {
            return;
        };
        self.processes = Some(Err(error.clone()));
        self.memory = Some(Err(error));
        self.exhausted = None;
    }

    /// Processes are counted by a group.
    pub(crate) fn counts_processes(&self) -> bool {
        held(&self.processes)
    }

    /// Memory is counted by a group.
    pub(crate) fn counts_memory(&self) -> bool {
        held(&self.memory)
    }
}

fn held(slot: &Option<Result<&'static str, String>>) -> bool {
    matches!(slot, Some(Ok(_)))
}

/// The folder that holds the groups of all cages.
const OURS: &str = "eparch";

/// Which hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    V2,
    /// Version 1, `pids`.
    Pids,
    /// Version 1, `memory`.
    Memory,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Kind::V2 => "cgroup-v2",
            Kind::Pids | Kind::Memory => "cgroup-v1",
        }
    }
}

struct Candidate {
    parent: PathBuf,
    kind: Kind,
}

/// Folders beneath which a cage's groups may be made, best first.
fn candidates() -> Vec<Candidate> {
    let Ok(mounts) = mountinfo::read() else { return Vec::new() };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for mount in mounts {
        let has = |wanted: &str| mount.options.split(',').any(|option| option == wanted);
        let (kind, marker) = match mount.kind.as_str() {
            "cgroup" if has("pids") => (Kind::Pids, "pids"),
            "cgroup" if has("memory") => (Kind::Memory, "memory"),
            "cgroup2" => (Kind::V2, ""),
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
        if kind != Kind::V2 {
            found.push(Candidate { parent: here.join(OURS), kind });
            continue;
        }
        // Version 2 has processes only in leaves, so the group cannot be made below our own. A service with
        // `DelegateSubgroup=` may use the folder above; root may use the top, as container engines do.
        if let Some(above) = here.parent().filter(|above| above.starts_with(&mount.path)) {
            found.push(Candidate { parent: above.join(OURS), kind });
        }
        found.push(Candidate { parent: mount.path.join(OURS), kind });
    }
    found
}

struct Made {
    path: PathBuf,
    /// Where it tells of memory that ran out, when it counts memory.
    exhausted: Option<PathBuf>,
}

/// Tries again what is done in a folder that the ends of other cages remove: between two looks at it, it may have come and
/// gone, and with it all that was set in it.
fn however_often_it_goes<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let gone =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound);
    let mut made = attempt();
    for _ in 0..100 {
        match &made {
            Err(error) if gone(error) => made = attempt(),
            _ => break,
        }
    }
    made
}

fn create_under(parent: &Path, kind: Kind, name: &str, caps: Caps) -> io::Result<Made> {
    let above = parent.parent().unwrap_or(parent);
    if kind == Kind::V2 && !fs::read_to_string(above.join("cgroup.controllers"))?.contains("pids") {
        return Err(io::Error::other("the pids controller is not there"));
    }
    however_often_it_goes(|| create_in(parent, above, kind, name, caps))
}

fn create_in(parent: &Path, above: &Path, kind: Kind, name: &str, caps: Caps) -> io::Result<Made> {
    fs::create_dir_all(parent)?;
    if kind == Kind::V2 {
        // A controller must be handed down at each level. Memory and processor time are a gain, not a condition.
        for level in [above, parent] {
            hand_down(level, "pids")?;
            let _ = hand_down(level, "memory").and_then(|()| hand_down(level, "cpu"));
        }
    }
    sweep(parent);
    let path = loop {
        let own = format!("{name}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(own);
        match fs::create_dir(&path) {
            Ok(()) => break path,
            // An earlier process of this id died and left it; what is in it is not ours.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    };
    match set(&path, kind, caps) {
        Ok(exhausted) => Ok(Made { path, exhausted }),
        Err(error) => {
            let _ = fs::remove_dir(&path);
            Err(error)
        }
    }
}

fn hand_down(level: &Path, controller: &str) -> io::Result<()> {
    let file = level.join("cgroup.subtree_control");
    // What is handed down already is not an error.
    if fs::read_to_string(&file)?.split_ascii_whitespace().any(|enabled| enabled == controller) {
        return Ok(());
    }
    put(&file, &format!("+{controller}"))
}

/// Writes a file that is there: in a folder that is no cgroup none is made.
fn put(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

/// Sets the limits of a new group; where it tells of memory that ran out, if it does.
fn set(path: &Path, kind: Kind, caps: Caps) -> io::Result<Option<PathBuf>> {
    let write = |file: &str, number: u64| put(&path.join(file), &number.to_string());
    match kind {
        Kind::Pids => write("pids.max", caps.processes).map(|()| None),
        Kind::Memory => {
            write("memory.limit_in_bytes", caps.memory_bytes)?;
            // Not every kernel counts what is swapped out.
            let _ = write("memory.memsw.limit_in_bytes", caps.memory_bytes);
            Ok(Some(path.join("memory.oom_control")))
        }
        Kind::V2 => {
            write("pids.max", caps.processes)?;
            // A fifth of what everybody else has: an agent must not keep its holder from ending it.
            let _ = write("cpu.weight", 20);
            if write("memory.max", caps.memory_bytes).is_err() {
                return Ok(None);
            }
            let _ = write("memory.swap.max", 0);
            Ok(Some(path.join("memory.events")))
        }
    }
}

/// Removes groups whose makers died without having removed them. One that still holds processes stays: the kernel
/// refuses.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.rsplit('-').nth(1)?.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_remove_is_made_again_with_all_that_was_set_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let (parent, own) = (folder.path().join("eparch"), folder.path().join("eparch/own"));
        let mut removals = 3;
        let made = however_often_it_goes(|| {
            fs::create_dir_all(&parent)?;
            fs::write(parent.join("set"), "")?;
            // Another cage's end, at the worst moment.
            if removals > 0 {
                removals -= 1;
                fs::remove_dir_all(&parent)?;
            }
            fs::create_dir(&own)
        });
        assert!(made.is_ok() && own.is_dir() && parent.join("set").is_file());
        // Another error is not waited out.
        let mut attempts = 0;
        let denied = however_often_it_goes(|| {
            attempts += 1;
            Err::<(), _>(io::ErrorKind::PermissionDenied.into())
        });
        assert!(denied.is_err() && attempts == 1);
    }

    #[test]
    fn a_group_that_cannot_be_joined_counts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cgroup.procs")).unwrap();
        let mut groups = Groups {
            paths: vec![folder.path().into()],
            processes: Some(Ok("cgroup-v1")),
            memory: Some(Ok("cgroup-v1")),
            exhausted: None,
        };
        groups.join(std::process::id());
        assert!(!groups.counts_processes() && !groups.counts_memory());
        assert!(matches!(&groups.processes, Some(Err(why)) if why.contains("directory")), "{groups:?}");
    }

    #[test]
    fn what_a_dead_maker_left_is_removed_and_what_a_living_one_made_is_not() {
        let folder = tempfile::tempdir().unwrap();
        // No process has a number above the kernel's largest.
        for name in ["agent-4194305-0", &format!("agent-{}-7", std::process::id()), "somebodys"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        sweep(folder.path());
        assert!(!folder.path().join("agent-4194305-0").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
