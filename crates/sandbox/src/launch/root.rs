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

use super::mounts::{Access, Leaf, bind, magic, place, restrict, tmpfs};
use super::visible::{DEVICES, ENTRIES_WITHOUT_OVERLAY, ETC, PROC_HIDDEN, SYSTEM};
use crate::measure::{Measure, MeasureName};
use crate::spec::{HOME, WORKSPACE};
use crate::wire::{Mapping, Plan};

/// A root that stands.
pub(super) struct Root {
    pub(super) measures: Vec<Measure>,
    pub(super) workspace: OwnedFd,
    /// Paths in the workspace that are not the workspace's own.
    pub(super) hidden: Vec<PathBuf>,
    /// Folders in which everything may be done.
    pub(super) writable: Vec<PathBuf>,
}

/// Why there is no root.
pub(super) enum NoRoot {
    Missing(Measure),
    BadPath { path: PathBuf, why: String },
}

impl NoRoot {
    fn path(path: &Path, error: io::Error) -> NoRoot {
        NoRoot::BadPath { path: path.to_owned(), why: error.to_string() }
    }
}

/// Builds the root of `plan` and moves into it.
pub(super) fn build(plan: &Plan) -> Result<Root, NoRoot> {
    let missing = |name| move |error: io::Error| NoRoot::Missing(Measure::missing(name, error));
    let rootless = missing(MeasureName::MinimalRoot);
    stand_on_base().map_err(rootless)?;
    open_store(plan).map_err(missing(MeasureName::DiskLimit))?;
    let mut build = Build { plan, shown: Vec::new(), measures: Vec::new() };
    let disk = format!("{} bytes, {} files", plan.limits.workspace_bytes, plan.limits.workspace_inodes);
    build.measures.push(Measure::held(MeasureName::DiskLimit, disk));
    build.system().map_err(rootless)?;
    build.etc().map_err(rootless)?;
    build.devices().map_err(rootless)?;
    build.own_folders().map_err(rootless)?;
    build.project()?;
    build.mappings()?;
    let hidden = build.masks()?;
    proc_and_leave().map_err(rootless)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let workspace = openat(CWD, WORKSPACE, flags, Mode::empty()).map_err(|errno| rootless(errno.into()))?;
    build.measures.push(Measure::held(MeasureName::MinimalRoot, ""));
    let own = [WORKSPACE, HOME, "/tmp", "/dev/shm"].map(PathBuf::from);
    let written =
        plan.mappings.iter().filter(|mapping| mapping.writable).map(|mapping| mapping.inside.clone());
    let writable = own.into_iter().chain(written).collect();
    Ok(Root { measures: build.measures, workspace, hidden, writable })
}

/// Makes a small file system in memory the root, with the host's beneath it.
fn stand_on_base() -> io::Result<()> {
    // What is mounted on the host later must not appear, and nothing mounted here may appear there.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let point = ["/tmp", "/run", "/mnt", "/var"].iter().map(Path::new).find(|path| path.is_dir());
    let point = point.ok_or_else(|| io::Error::other("the host has no folder to begin on"))?;
    tmpfs(point, 1 << 20, 1_024, 0o755, MountFlags::empty())?;
    chdir(point)?;
    for folder in ["oldroot", "newroot", "proc", "store", "lower", "empty"] {
        fs::create_dir(folder)?;
    }
    pivot_root(".", "oldroot")?;
    chdir("/")?;
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", plain, None::<&CStr>)?;
    fs::write("/none", "")?;
    let root = Path::new(NEW);
    tmpfs(root, 4 << 20, 16_384, 0o755, MountFlags::empty())
}

const NEW: &str = "/newroot";
const OLD: &str = "/oldroot";

/// The one place that is written, with the disk limit.
fn open_store(plan: &Plan) -> io::Result<()> {
    let (bytes, inodes) = (plan.limits.workspace_bytes, plan.limits.workspace_inodes);
    tmpfs(Path::new("/store"), bytes, inodes, 0o755, MountFlags::empty())?;
    for folder in ["upper", "work", "workspace", "home", "tmp", "shm"] {
        fs::create_dir(Path::new("/store").join(folder))?;
    }
    for folder in ["tmp", "shm"] {
        fs::set_permissions(Path::new("/store").join(folder), fs::Permissions::from_mode(0o1777))?;
    }
    Ok(())
}

struct Build<'a> {
    plan: &'a Plan,
    /// What of the host is seen where, for the masks, and whether making a mount point there would touch the host.
    shown: Vec<Shown>,
    measures: Vec<Measure>,
}

struct Shown {
    host: PathBuf,
    inside: PathBuf,
    of_host: bool,
    writable: bool,
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
            if fs::metadata(host(&source)).is_ok() {
                self.show(&source, &inside, Access::ReadOnly)?;
            }
        }
        fs::write(new("/etc/hosts"), format!("127.0.0.1 localhost {}\n::1 localhost\n", self.plan.hostname))
    }

    fn devices(&mut self) -> io::Result<()> {
        fs::create_dir(new("/dev"))?;
        for device in DEVICES {
            let path = Path::new("/dev").join(device);
            if host(&path).exists() {
                let point = place(Path::new(NEW), &path, Leaf::File, true)?;
                bind(&host(&path), &point, &new(&path), Access::Device)?;
            }
        }
        let links = [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")];
        for (name, target) in links {
            symlink(target, new(Path::new("/dev").join(name)))?;
        }
        // Terminals of its own are a convenience; a kernel without them is no reason to refuse.
        fs::create_dir(new("/dev/pts"))?;
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        if mount("devpts", new("/dev/pts"), "devpts", flags, c"newinstance,ptmxmode=0666,mode=620").is_ok() {
            symlink("pts/ptmx", new("/dev/ptmx"))?;
        }
        Ok(())
    }

    /// Folders every cage has: all but the workspace of a project come from the store.
    fn own_folders(&mut self) -> io::Result<()> {
        for (stored, inside) in
            [("home", HOME), ("tmp", "/tmp"), ("shm", "/dev/shm"), ("workspace", WORKSPACE)]
        {
            self.show_stored(stored, Path::new(inside))?;
        }
        for folder in ["/proc", "/run", "/var"] {
            fs::create_dir(new(folder))?;
        }
        symlink("/tmp", new("/var/tmp"))?;
        symlink("/run", new("/var/run"))
    }

    fn show_stored(&mut self, stored: &str, inside: &Path) -> io::Result<()> {
        let point = place(Path::new(NEW), inside, Leaf::Folder, true)?;
        bind(&Path::new("/store").join(stored), &point, &new(inside), Access::ReadWrite)
    }

    fn project(&mut self) -> Result<(), NoRoot> {
        let Some(project) = &self.plan.project else { return Ok(()) };
        let inside = PathBuf::from(WORKSPACE);
        match self.overlay(project) {
            Ok(()) => {
                self.measures.push(Measure::held(MeasureName::Overlay, ""));
                self.shown.push(Shown { host: project.clone(), inside, of_host: false, writable: true });
                Ok(())
            }
            Err(error) => {
                let missing = Measure::missing(MeasureName::Overlay, error);
                if missing.refuses(self.plan.sandbox) {
                    return Err(NoRoot::Missing(missing));
                }
                self.measures.push(missing);
                self.entries(project).map_err(|error| NoRoot::path(project, error))
            }
        }
    }

    fn overlay(&mut self, project: &Path) -> io::Result<()> {
        let lower = place(Path::new("/"), Path::new("/lower"), Leaf::Folder, false)?;
        // Through a name of our own, since the options give `,` and `:` of a path a meaning.
        bind(&host(project), &lower, Path::new("/lower"), Access::ReadOnly)?;
        let options = match self.plan.user_namespace {
            false => c"lowerdir=/lower,upperdir=/store/upper,workdir=/store/work",
            // The usual attributes need rights on the host.
            true => c"lowerdir=/lower,upperdir=/store/upper,workdir=/store/work,userxattr",
        };
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("overlay", new(WORKSPACE), "overlay", flags, options)?;
        Ok(())
    }

    /// Without overlay: each entry read-only in a workspace that itself can be written.
    fn entries(&mut self, project: &Path) -> io::Result<()> {
        for entry in fs::read_dir(host(project))?.take(ENTRIES_WITHOUT_OVERLAY) {
            let name = entry?.file_name();
            let (source, inside) = (project.join(&name), Path::new(WORKSPACE).join(&name));
            let kind = fs::symlink_metadata(host(&source))?.file_type();
            if kind.is_symlink() {
                symlink(fs::read_link(host(&source))?, new(&inside))?;
            } else if kind.is_dir() || kind.is_file() {
                self.show(&source, &inside, Access::ReadOnly)?;
            }
        }
        Ok(())
    }

    fn mappings(&mut self) -> Result<(), NoRoot> {
        let mut mappings: Vec<&Mapping> = self.plan.mappings.iter().collect();
        // What lies deeper is shown on top.
        mappings.sort_by_key(|mapping| mapping.inside.components().count());
        for Mapping { host, inside, writable } in mappings {
            let already = self.shown.iter().any(|shown| {
                shown.of_host
                    && !writable
                    && inside.strip_prefix(&shown.inside).ok() == host.strip_prefix(&shown.host).ok()
                    && inside.starts_with(&shown.inside)
            });
            if !already {
                let access = if *writable { Access::ReadWrite } else { Access::ReadOnly };
                self.show(host, inside, access).map_err(|error| NoRoot::path(inside, error))?;
            }
        }
        Ok(())
    }

    fn show(&mut self, source: &Path, inside: &Path, access: Access) -> io::Result<()> {
        if self.plan.mask.iter().any(|mask| source.starts_with(mask)) {
            return Ok(());
        }
        let leaf = if fs::metadata(host(source))?.is_dir() { Leaf::Folder } else { Leaf::File };
        let above = self.shown.iter().filter(|shown| inside.starts_with(&shown.inside));
        let deepest = above.max_by_key(|shown| shown.inside.components().count());
        let create = !deepest.is_some_and(|shown| shown.of_host);
        let point = place(Path::new(NEW), inside, leaf, create)?;
        bind(&host(source), &point, &new(inside), access)?;
        let writable = access == Access::ReadWrite;
        self.shown.push(Shown {
            host: source.to_owned(),
            inside: inside.to_owned(),
            of_host: true,
            writable,
        });
        Ok(())
    }

    /// Covers every masked path, wherever it would be seen. Returns what of the workspace is not its own.
    fn masks(&mut self) -> Result<Vec<PathBuf>, NoRoot> {
        let mut covered: BTreeSet<PathBuf> = BTreeSet::new();
        for mask in self.plan.mask.iter().chain(&self.plan.sockets) {
            for shown in &self.shown {
                let Ok(rest) = mask.strip_prefix(&shown.host) else { continue };
                let inside =
                    if rest.as_os_str().is_empty() { shown.inside.clone() } else { shown.inside.join(rest) };
                let beneath = covered.iter().any(|covered| inside.starts_with(covered));
                if beneath || !covered.insert(inside.clone()) {
                    continue;
                }
                let there = cover(&inside, !shown.of_host)
                    .map_err(|error| NoRoot::Missing(Measure::missing(MeasureName::HomeMasked, error)))?;
                if !there && shown.writable {
                    let why = "it does not exist, and could be made through a writable path".into();
                    return Err(NoRoot::BadPath { path: mask.clone(), why });
                }
            }
        }
        if !self.plan.mask.is_empty() {
            self.measures.push(Measure::held(MeasureName::HomeMasked, ""));
        }
        let foreign = self.shown.iter().filter(|shown| shown.of_host).map(|shown| shown.inside.clone());
        let within = |path: PathBuf| Some(path.strip_prefix(WORKSPACE).ok()?.to_owned());
        Ok(foreign.chain(covered).filter_map(within).filter(|path| !path.as_os_str().is_empty()).collect())
    }
}

/// Puts an empty thing over `inside`. Where there is nothing yet, an empty folder is put there first if it may be;
/// otherwise the answer is false.
fn cover(inside: &Path, create: bool) -> io::Result<bool> {
    let at = new(inside);
    match fs::symlink_metadata(&at) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            let point = place(Path::new(NEW), inside, Leaf::File, false)?;
            return bind(Path::new("/none"), &point, &at, Access::ReadOnly).map(|()| true);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let point = place(Path::new(NEW), inside, Leaf::Folder, create)?;
    let flags = MountFlags::RDONLY | MountFlags::NOEXEC;
    tmpfs(&magic(&point), 4_096, 2, 0o555, flags).map(|()| true)
}

/// Gives `/proc` its final place and form, makes the root read-only, and leaves the host behind.
fn proc_and_leave() -> io::Result<()> {
    for name in PROC_HIDDEN {
        let at = Path::new("/proc").join(name);
        let Ok(found) = fs::metadata(&at) else { continue };
        let leaf = if found.is_dir() { Leaf::Folder } else { Leaf::File };
        let point = place(Path::new("/proc"), Path::new(name), leaf, false)?;
        match leaf {
            Leaf::Folder => tmpfs(&magic(&point), 4_096, 2, 0o555, MountFlags::RDONLY | MountFlags::NOEXEC)?,
            Leaf::File => bind(Path::new("/none"), &point, &at, Access::ReadOnly)?,
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
    Ok(())
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

fn host(path: impl AsRef<Path>) -> PathBuf {
    under(OLD, path.as_ref())
}

fn new(path: impl AsRef<Path>) -> PathBuf {
    under(NEW, path.as_ref())
}

fn under(root: &str, path: &Path) -> PathBuf {
    Path::new(root).join(path.strip_prefix("/").unwrap_or(path))
}
