//! What of the host is shown in a cage: the project, and what was named.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::symlinkat;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::mounts::{Access, Leaf, Source, bind, bind_own, find, magic, place, show_apart};
use super::root::{Build, DESK, NEW, NoRoot, OLD, host, new};
use super::visible::{ENTRIES_WITHOUT_OVERLAY, KERNEL_FILE_SYSTEMS};
use crate::measure::{Measure, MeasureName};
use crate::mountinfo;
use crate::spec::{Alias, HOME, WORKSPACE};
use crate::wire::{Mapping, Plan};

/// Something of the host that is seen inside.
pub(super) struct Shown {
    pub(super) host: PathBuf,
    pub(super) inside: PathBuf,
    pub(super) how: How,
}

/// How it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// As a project: what is written over it is a copy.
    Copied,
    Read,
    Written,
}

impl<'a> Build<'a> {
    pub(super) fn new(plan: &'a Plan) -> io::Result<Build<'a>> {
        // What the kernel itself puts there tells of the machine, and is shown only where it is named.
        let mounts = mountinfo::read()?.into_iter();
        let mounts = mounts.filter(|mount| !KERNEL_FILE_SYSTEMS.contains(&mount.kind.as_str()));
        let mounts = mounts.filter_map(|mount| Some(Path::new("/").join(mount.path.strip_prefix(OLD).ok()?)));
        let mounts: BTreeSet<PathBuf> = mounts.collect();
        Ok(Build {
            plan,
            shown: Vec::new(),
            bound: Vec::new(),
            overlays: true,
            covered: BTreeSet::new(),
            mounts: mounts.into_iter().collect(),
            measures: Vec::new(),
        })
    }

    pub(super) fn project(&mut self) -> Result<(), NoRoot> {
        let Some(project) = &self.plan.project else { return Ok(()) };
        match self.overlay(project) {
            Ok(()) => {
                self.measures.push(Measure::held(MeasureName::Overlay, ""));
                let inside = PathBuf::from(WORKSPACE);
                self.shown.push(Shown { host: project.clone(), inside, how: How::Copied });
                // An overlay shows nothing of what is mounted beneath its lower folder.
                self.beneath(project, Path::new(WORKSPACE)).map_err(|error| NoRoot::path(project, error))
            }
            Err(error) => {
                let missing = Measure::missing(MeasureName::Overlay, self.explained(project, error));
                if missing.refuses(self.plan.sandbox) {
                    return Err(NoRoot::Missing(missing));
                }
                self.measures.push(missing);
                self.entries(project)
            }
        }
    }

    /// An overlay of what an ordinary user may not take apart fails with a riddle.
    fn explained(&self, project: &Path, error: io::Error) -> io::Error {
        let beneath = self.mounts.iter().find(|mount| mount.starts_with(project) && *mount != project);
        match beneath.filter(|_| error.raw_os_error() == Some(Errno::INVAL.raw_os_error())) {
            Some(mount) => io::Error::other(format!("{error}; `{}` is mounted in it", mount.display())),
            None => error,
        }
    }

    fn overlay(&mut self, project: &Path) -> io::Result<()> {
        let source = find(Path::new(OLD), project)?;
        let lower = place(Path::new("/"), Path::new("/lower"), Leaf::Folder, false)?;
        // Through a name of our own, since the options give `,` and `:` of a path a meaning.
        bind(&source, &lower, Path::new("/"), Path::new("/lower"), Access::ReadOnly)?;
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
    fn entries(&mut self, project: &Path) -> Result<(), NoRoot> {
        let bad = |error| NoRoot::path(project, error);
        let entries = fs::read_dir(host(project)).map_err(bad)?.take(ENTRIES_WITHOUT_OVERLAY + 1);
        let names =
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>().map_err(bad)?;
        if names.len() > ENTRIES_WITHOUT_OVERLAY {
            let why = format!("without overlay, more than {ENTRIES_WITHOUT_OVERLAY} entries are not shown");
            return Err(NoRoot::path(project, why));
        }
        // What cannot lie beneath one overlay cannot lie beneath another.
        self.overlays = false;
        let shown = names.iter().try_for_each(|name| self.entry(project, Path::new(name))).map_err(bad);
        self.overlays = true;
        shown
    }

    fn entry(&mut self, project: &Path, name: &Path) -> io::Result<()> {
        let (source, inside) = (project.join(name), Path::new(WORKSPACE).join(name));
        if self.plan.desk.as_ref().is_some_and(|desk| desk.at.starts_with(name)) {
            return Ok(());
        }
        let kind = fs::symlink_metadata(host(&source))?.file_type();
        if kind.is_symlink() {
            symlink(fs::read_link(host(&source))?, new(&inside))
        } else if kind.is_dir() || kind.is_file() {
            self.show(&source, &inside, Access::ReadOnly)
        } else {
            Ok(())
        }
    }

    pub(super) fn mappings(&mut self) -> Result<(), NoRoot> {
        let mut mappings: Vec<&Mapping> = self.plan.mappings.iter().collect();
        // What lies deeper is shown on top.
        mappings.sort_by_key(|mapping| mapping.inside.components().count());
        for Mapping { host, inside, writable, file_only } in mappings {
            let already = self.shown.iter().any(|shown| {
                shown.how != How::Copied
                    && !writable
                    && inside.strip_prefix(&shown.inside).ok() == host.strip_prefix(&shown.host).ok()
                    && inside.starts_with(&shown.inside)
            });
            if !already {
                let access = if *writable { Access::ReadWrite } else { Access::ReadOnly };
                let shown = self.show_if(host, inside, access, |found| match found.leaf {
                    Leaf::Folder if *file_only => {
                        Err(io::Error::other("it is a folder, and was to be a file"))
                    }
                    _ => Ok(()),
                });
                shown.map_err(|error| NoRoot::path(inside, error))?;
            }
        }
        Ok(())
    }

    /// Makes something of the host appear, with what is mounted beneath it, unless it is masked.
    pub(super) fn show(&mut self, source: &Path, inside: &Path, access: Access) -> io::Result<()> {
        self.show_if(source, inside, access, |_| Ok(()))
    }

    /// The same, if what was found is fit for it.
    fn show_if(
        &mut self,
        source: &Path,
        inside: &Path,
        access: Access,
        fit: impl FnOnce(&Source) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.plan.mask.iter().any(|mask| source.starts_with(mask)) {
            return Ok(());
        }
        let found = find(Path::new(OLD), source)?;
        fit(&found)?;
        let above = self.shown.iter().filter(|shown| inside.starts_with(&shown.inside));
        let deepest = above.max_by_key(|shown| shown.inside.components().count());
        let create = deepest.is_none_or(|shown| shown.how == How::Copied);
        let point = place(Path::new(NEW), inside, found.leaf, create)?;
        let how = if access == Access::ReadWrite { How::Written } else { How::Read };
        let apart = how == How::Read && self.apart(&found, &point);
        if !apart {
            bind(&found, &point, Path::new(NEW), inside, access)?;
            self.bound.push(inside.to_owned());
        }
        self.shown.push(Shown { host: source.to_owned(), inside: inside.to_owned(), how });
        // A bind brings what is mounted beneath along.
        if apart && found.leaf == Leaf::Folder { self.beneath(source, inside) } else { Ok(()) }
    }

    fn apart(&self, found: &Source, point: &std::os::fd::OwnedFd) -> bool {
        // Where it cannot be had, the measure `unix-sockets` says what is in its place.
        self.overlays && show_apart(found, point, self.plan.user_namespace).is_ok()
    }

    /// Shows read-only what the host has mounted beneath `source`, on the same places beneath `inside`.
    fn beneath(&mut self, source: &Path, inside: &Path) -> io::Result<()> {
        let mounts = self.mounts.iter().filter(|mount| mount.starts_with(source) && *mount != source);
        // In order, so that a mount comes after the one it lies on.
        for mount in mounts.cloned().collect::<Vec<_>>() {
            if self.plan.mask.iter().any(|mask| mount.starts_with(mask)) {
                continue;
            }
            let rest = mount.strip_prefix(source).unwrap_or(Path::new(""));
            let at = inside.join(rest);
            let found = match find(Path::new(OLD), &mount) {
                // Covered by another mount, or in a folder that cannot be searched.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
                {
                    continue;
                }
                other => other?,
            };
            let point = place(Path::new(NEW), &at, found.leaf, false)?;
            if !self.apart(&found, &point) {
                bind(&found, &point, Path::new(NEW), &at, Access::ReadOnly)?;
                self.bound.push(at.clone());
            }
            self.shown.push(Shown { host: mount, inside: at, how: How::Read });
        }
        Ok(())
    }

    /// Makes further names, where there is nothing of the name yet. One that leads through a link which is seen itself needs
    /// none: the link leads where it leads.
    pub(super) fn aliases(&self) -> Result<(), NoRoot> {
        for Alias { at, to } in &self.plan.aliases {
            let above = self.shown.iter().filter(|shown| at.starts_with(&shown.inside));
            let deepest = above.max_by_key(|shown| shown.inside.components().count());
            let own = deepest.is_none_or(|shown| shown.how == How::Copied)
                && !self.covered.iter().any(|covered| at.starts_with(covered))
                && !["/proc", "/dev"].iter().any(|own| at.starts_with(own));
            let (Some(folder), Some(name)) = (at.parent().filter(|_| own), at.file_name()) else { continue };
            let made = place(Path::new(NEW), folder, Leaf::Folder, true)
                .and_then(|folder| Ok(symlinkat(to, &folder, name)?));
            match made {
                Err(error) if is_taken(&error) => {}
                other => other.map_err(|error| NoRoot::path(at, error))?,
            }
        }
        Ok(())
    }

    /// The caller's own folder in the workspace: nothing of the project is seen in it, and nothing of it in the project.
    pub(super) fn desk(&mut self) -> Result<(), NoRoot> {
        let Some(desk) = &self.plan.desk else { return Ok(()) };
        let inside = Path::new(WORKSPACE).join(&desk.at);
        let stand = || -> io::Result<()> {
            let deepest = self.shown.iter().filter(|shown| inside.starts_with(&shown.inside));
            let deepest = deepest.max_by_key(|shown| shown.inside.components().count());
            if deepest.is_none_or(|shown| shown.how == How::Copied)
                && fs::symlink_metadata(new(&inside)).is_ok_and(|found| !found.is_dir())
            {
                // A file or link of a project by this name; it goes from the copy alone.
                fs::remove_file(new(&inside))?;
            }
            // Where the whole workspace is a folder of the host that is written, an empty one is made in it.
            let point = place(Path::new(NEW), &inside, Leaf::Folder, true)?;
            let stored = Path::new(DESK);
            bind_own(stored, &point, &new(&inside), Access::ReadWrite)?;
            for given in &desk.given {
                fs::create_dir(stored.join(given))?;
                let point = place(Path::new(NEW), &inside.join(given), Leaf::Folder, false)?;
                rustix::mount::mount_bind(stored.join(given), magic(&point))?;
                super::mounts::restrict(&new(inside.join(given)), Access::ReadOnly)?;
            }
            for file in &desk.files {
                fs::File::create_new(stored.join(file))?;
                let at = inside.join(file);
                let point = place(Path::new(NEW), &at, Leaf::File, false)?;
                bind_own(&stored.join(file), &point, &new(&at), Access::ReadOnly)?;
            }
            Ok(())
        };
        stand().map_err(|error| NoRoot::path(&inside, error))
    }

    /// What of the workspace is not its own, nor the caller's to collect from.
    pub(super) fn hidden(&self) -> Vec<PathBuf> {
        let read = self.shown.iter().filter(|shown| shown.how == How::Read).map(|shown| &shown.inside);
        let within = |path: &PathBuf| Some(path.strip_prefix(WORKSPACE).ok()?.to_owned());
        read.chain(&self.covered).filter_map(within).filter(|path| !path.as_os_str().is_empty()).collect()
    }

    /// Folders in which everything may be done.
    pub(super) fn writable(&self) -> Vec<PathBuf> {
        let own = [WORKSPACE, HOME, "/tmp", "/dev/shm"].map(PathBuf::from);
        let written = self.plan.mappings.iter().filter(|mapping| mapping.writable);
        own.into_iter().chain(written.map(|mapping| mapping.inside.clone())).collect()
    }
}

/// Whether something of the name is there, or on the way to it.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory)
        || Errno::from_io_error(error) == Some(Errno::LOOP)
}
