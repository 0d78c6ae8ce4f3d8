//! The file system a cage sees, built from nothing.
//!
//! First a base in memory becomes the root, with the host beneath `/oldroot`: from there on no link in anybody's folder
//! leads to the host by accident. The cage's root grows at `/newroot`; at the end it becomes the root and the base, with
//! the host, is detached.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_move, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::mounts::{ASIDE, Access, Leaf, bind_own, magic, place, restrict, tmpfs};
use super::shown::Shown;
use super::visible::{COPIED_BYTES, DEVICES, ETC, PROC_HIDDEN, SYSTEM, TERMINALS};
use crate::measure::{Measure, MeasureName};
use crate::spec::{HOME, WORKSPACE};
use crate::wire::Plan;

/// A root that stands.
pub(super) struct Root {
    pub(super) measures: Vec<Measure>,
    pub(super) workspace: OwnedFd,
    /// The caller's own folder in it, when it asked for one.
    pub(super) desk: Option<OwnedFd>,
    /// Paths in the workspace that are not the workspace's own.
    pub(super) hidden: Vec<PathBuf>,
    /// Folders in which everything may be done.
    pub(super) writable: Vec<PathBuf>,
    /// Where something of the host is seen as it is, sockets and all.
    pub(super) bound: Vec<PathBuf>,
    /// `/proc` as it was before it became read-only, for what the keeper does to its children.
    pub(super) proc: OwnedFd,
}

/// Why there is no root.
pub(super) enum NoRoot {
    Missing(Measure),
    BadPath { path: PathBuf, why: String },
}

impl NoRoot {
    pub(super) fn path(path: &Path, error: impl std::fmt::Display) -> NoRoot {
        NoRoot::BadPath { path: path.to_owned(), why: error.to_string() }
    }
}

/// Builds the root of `plan` and moves into it.
pub(super) fn build(plan: &Plan) -> Result<Root, NoRoot> {
    let missing = |name| move |error: io::Error| NoRoot::Missing(Measure::missing(name, error));
    let rootless = missing(MeasureName::MinimalRoot);
    stand_on_base().map_err(rootless)?;
    open_store(plan).map_err(missing(MeasureName::DiskLimit))?;
    let mut build = Build::new(plan).map_err(rootless)?;
    build.measures.push(Measure::held(MeasureName::DiskLimit, disk_limit(plan)));
    build.system().map_err(rootless)?;
    build.etc().map_err(rootless)?;
    devices().map_err(rootless)?;
    own_folders().map_err(rootless)?;
    build.project()?;
    build.mappings()?;
    build.masks()?;
    build.aliases()?;
    build.desk()?;
    let open = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).map_err(|errno| rootless(errno.into()))
    };
    // As it is stored, where nothing is mounted on it: the caller writes what programs only read.
    let desk = plan.desk.as_ref().map(|_| open(Path::new(DESK))).transpose()?;
    let proc = proc_and_leave().map_err(rootless)?;
    let workspace = open(Path::new(WORKSPACE))?;
    build.measures.push(Measure::held(MeasureName::MinimalRoot, ""));
    Ok(Root {
        workspace,
        desk,
        hidden: build.hidden(),
        writable: build.writable(),
        bound: build.bound,
        measures: build.measures,
        proc,
    })
}

/// What bounds the disk, and what of the host it does not bound.
fn disk_limit(plan: &Plan) -> String {
    let limits = plan.limits;
    let written = plan.mappings.iter().filter(|mapping| mapping.writable);
    let written: Vec<_> = written.map(|mapping| mapping.inside.display().to_string()).collect();
    let bounds = format!("{} bytes, {} files", limits.workspace_bytes, limits.workspace_inodes);
    match written.is_empty() {
        true => bounds,
        false => format!("{bounds}, not in {}, which is the host's", written.join(", ")),
    }
}

/// Makes a small file system in memory the root, with the host's beneath it.
fn stand_on_base() -> io::Result<()> {
    // What is mounted on the host later must not appear, and nothing mounted here may appear there.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let point = ["/tmp", "/run", "/mnt", "/var"].iter().map(Path::new).find(|path| path.is_dir());
    let point = point.ok_or_else(|| io::Error::other("the host has no folder to begin on"))?;
    tmpfs(point, 1 << 20, 1_024, 0o755, MountFlags::empty())?;
    chdir(point)?;
    for folder in ["oldroot", "newroot", "proc", "store", "lower", "empty", "aside"] {
        fs::create_dir(folder)?;
    }
    pivot_root(".", "oldroot")?;
    chdir("/")?;
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", plain, None::<&CStr>)?;
    fs::write(NONE, "")?;
    let root = Path::new(NEW);
    tmpfs(root, 8 << 20, 16_384, 0o755, MountFlags::empty())
}

/// Where the cage's root grows.
pub(super) const NEW: &str = "/newroot";
/// Where the host is meanwhile.
pub(super) const OLD: &str = "/oldroot";
/// Where the caller's own folder is stored.
pub(super) const DESK: &str = "/store/desk";
/// An empty file to put over others.
pub(super) const NONE: &str = "/none";

/// The one place that is written, with the disk limit.
fn open_store(plan: &Plan) -> io::Result<()> {
    let (bytes, inodes) = (plan.limits.workspace_bytes, plan.limits.workspace_inodes);
    tmpfs(Path::new("/store"), bytes, inodes, 0o755, MountFlags::empty())?;
    for folder in ["upper", "work", "workspace", "home", "tmp", "shm", "desk"] {
        fs::create_dir(Path::new("/store").join(folder))?;
    }
    for folder in ["tmp", "shm"] {
        fs::set_permissions(Path::new("/store").join(folder), fs::Permissions::from_mode(0o1777))?;
    }
    Ok(())
}

/// What is being built.
pub(super) struct Build<'a> {
    pub(super) plan: &'a Plan,
    /// What of the host is seen where.
    pub(super) shown: Vec<Shown>,
    /// What of it is seen as it is and not through an overlay.
    pub(super) bound: Vec<PathBuf>,
    /// Whether what is only read may be seen through one.
    pub(super) overlays: bool,
    /// Paths inside that are covered.
    pub(super) covered: BTreeSet<PathBuf>,
    /// Where the host has mounts, as it names them.
    pub(super) mounts: Vec<PathBuf>,
    pub(super) measures: Vec<Measure>,
}

impl Build<'_> {
    fn system(&mut self) -> io::Result<()> {
        for path in SYSTEM.iter().map(Path::new) {
            let source = host(path);
            match fs::symlink_metadata(&source) {
                // `/bin` is a link to `usr/bin` on most systems, and stays one.
                Ok(found) if found.is_symlink() => symlink(fs::read_link(&source)?, new(path))?,
                Ok(found) if found.is_dir() => self.show(path, path, Access::ReadOnly)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn etc(&mut self) -> io::Result<()> {
        let etc = Path::new("/etc");
        fs::create_dir(new(etc))?;
        let present: BTreeSet<String> = match fs::read_dir(host(etc)) {
            Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect(),
            Err(_) => BTreeSet::new(),
        };
        let mut wanted: Vec<&str> = Vec::new();
        for name in ETC {
            match name.strip_suffix('*') {
                Some(start) => {
                    wanted.extend(present.iter().filter(|have| have.starts_with(start)).map(String::as_str))
                }
                None => wanted.push(name),
            }
        }
        for name in wanted {
            let inside = etc.join(name);
            // A link such as `localtime` or `os-release` is resolved by hand: an absolute one means the host's root.
            let Some(source) = follow(&inside) else { continue };
            let Ok(found) = fs::symlink_metadata(host(&source)) else { continue };
            if found.is_dir() {
                self.show(&source, &inside, Access::ReadOnly)?;
            } else if found.is_file() && found.len() <= COPIED_BYTES {
                // A copy, which is cheaper than a mount and shares no lock with the host's file.
                if let Some(above) = inside.parent() {
                    fs::create_dir_all(new(above))?;
                }
                // What its owner keeps to himself is not what programs need.
                if let Ok(content) = fs::read(host(&source)) {
                    fs::write(new(&inside), content)?;
                }
            }
        }
        fs::write(new("/etc/hosts"), format!("127.0.0.1 localhost {}\n::1 localhost\n", self.plan.hostname))
    }
}

fn devices() -> io::Result<()> {
    fs::create_dir(new("/dev"))?;
    for device in DEVICES {
        let path = Path::new("/dev").join(device);
        if host(&path).exists() {
            let point = place(Path::new(NEW), &path, Leaf::File, true)?;
            bind_own(&host(&path), &point, &new(&path), Access::Device)?;
        }
    }
    let links = [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")];
    for (name, target) in links {
        symlink(target, new(Path::new("/dev").join(name)))?;
    }
    // Terminals of its own are a convenience; a kernel without them is no reason to refuse.
    fs::create_dir(new("/dev/pts"))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    if mount("devpts", new("/dev/pts"), "devpts", flags, TERMINALS).is_ok() {
        symlink("pts/ptmx", new("/dev/ptmx"))?;
    }
    Ok(())
}

/// Folders every cage has: all but the workspace of a project come from the store.
fn own_folders() -> io::Result<()> {
    for (stored, inside) in [("home", HOME), ("tmp", "/tmp"), ("shm", "/dev/shm"), ("workspace", WORKSPACE)] {
        let point = place(Path::new(NEW), Path::new(inside), Leaf::Folder, true)?;
        bind_own(&Path::new("/store").join(stored), &point, &new(inside), Access::ReadWrite)?;
    }
    for folder in ["/proc", "/run", "/var"] {
        fs::create_dir(new(folder))?;
    }
    symlink("/tmp", new("/var/tmp"))?;
    symlink("/run", new("/var/run"))
}

/// Gives `/proc` its final place and form, makes the root read-only, and leaves the host behind.
fn proc_and_leave() -> io::Result<OwnedFd> {
    let kept = keep_proc()?;
    for name in PROC_HIDDEN {
        let at = Path::new("/proc").join(name);
        let Ok(found) = fs::metadata(&at) else { continue };
        let leaf = if found.is_dir() { Leaf::Folder } else { Leaf::File };
        let point = place(Path::new("/proc"), Path::new(name), leaf, false)?;
        match leaf {
            Leaf::Folder => tmpfs(&magic(&point), 4_096, 2, 0o555, MountFlags::RDONLY | MountFlags::NOEXEC)?,
            Leaf::File => bind_own(Path::new(NONE), &point, &at, Access::ReadOnly)?,
        }
    }
    let read_only = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount_remount("/proc", read_only | MountFlags::NOEXEC, "")?;
    mount_move("/proc", new("/proc"))?;
    restrict(Path::new(NEW), Access::ReadOnly)?;
    chdir(NEW)?;
    // The old root lands on the new one and is the topmost mount there, so `.` names it once more.
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    Ok(kept)
}

/// A second mount of `/proc` that only a descriptor leads to. Nobody in the cage may look at the keeper's descriptors.
fn keep_proc() -> io::Result<OwnedFd> {
    rustix::mount::mount_bind("/proc", ASIDE)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let kept = openat(CWD, ASIDE, flags, Mode::empty())?;
    unmount(ASIDE, UnmountFlags::DETACH)?;
    Ok(kept)
}

/// Follows links of the host's `/etc` by hand, as if the host's root were the root; `None` when they lead nowhere.
fn follow(path: &Path) -> Option<PathBuf> {
    let mut at = path.to_owned();
    for _ in 0..8 {
        let Ok(target) = fs::read_link(host(&at)) else { return Some(at) };
        at = at.parent()?.join(target);
        let mut plain = PathBuf::from("/");
        for part in at.components() {
            match part {
                std::path::Component::ParentDir => drop(plain.pop()),
                std::path::Component::Normal(name) => plain.push(name),
                _ => {}
            }
        }
        at = plain;
    }
    None
}

pub(super) fn host(path: impl AsRef<Path>) -> PathBuf {
    under(OLD, path.as_ref())
}

pub(super) fn new(path: impl AsRef<Path>) -> PathBuf {
    under(NEW, path.as_ref())
}

fn under(root: &str, path: &Path) -> PathBuf {
    Path::new(root).join(path.strip_prefix("/").unwrap_or(path))
}
