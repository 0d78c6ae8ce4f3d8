//! What is hidden wherever it would appear.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::mounts::{Access, Leaf, bind_own, magic, pin, place, tmpfs};
use super::root::{Build, NEW, NONE, NoRoot, new};
use super::shown::How;
use super::visible::WALKED_ENTRIES;
use crate::measure::{Measure, MeasureName};
use crate::spec::Sandbox;

impl Build<'_> {
    /// Covers every masked path, wherever it would be seen.
    pub(super) fn masks(&mut self) -> Result<(), NoRoot> {
        let missing = |error| NoRoot::Missing(Measure::missing(MeasureName::HomeMasked, error));
        for mask in &self.plan.mask {
            for shown in &self.shown {
                let Ok(rest) = mask.strip_prefix(&shown.host) else { continue };
                let inside: PathBuf = shown.inside.join(rest).components().collect();
                if self.covered.iter().any(|covered| inside.starts_with(covered)) {
                    continue;
                }
                if shown.how == How::Written {
                    pin_above(&shown.inside, rest).map_err(missing)?;
                }
                let there = cover(&inside, shown.how == How::Copied).map_err(missing)?;
                if !there && shown.how == How::Written {
                    let why = "it does not exist, and could be made through a writable path";
                    return Err(NoRoot::path(mask, why));
                }
                if there {
                    self.covered.insert(inside);
                }
            }
        }
        if !self.plan.mask.is_empty() {
            self.measures.push(Measure::held(MeasureName::HomeMasked, ""));
        }
        // Where sockets cannot be reached whatever is bound, there is nothing to look for.
        if self.plan.sandbox == Sandbox::BestEffort {
            let sockets = MeasureName::UnixSockets;
            self.sockets().map_err(|error| NoRoot::Missing(Measure::missing(sockets, error)))?;
        }
        Ok(())
    }

    /// Covers the sockets that lie now in what is seen of the host as it is. One that is itself named by the caller is
    /// meant to be seen.
    fn sockets(&mut self) -> io::Result<()> {
        let mut waiting: Vec<PathBuf> = self
            .bound
            .iter()
            .filter(|bound| fs::symlink_metadata(new(bound)).is_ok_and(|at| at.is_dir()))
            .cloned()
            .collect();
        let mut left = WALKED_ENTRIES;
        while let Some(folder) = waiting.pop() {
            if self.covered.contains(&folder) {
                continue;
            }
            // What cannot be listed, or was there a moment ago, cannot be walked by an agent either.
            let Ok(entries) = fs::read_dir(new(&folder)) else { continue };
            for entry in entries.flatten() {
                let Some(fewer) = left.checked_sub(1) else { return Ok(()) };
                left = fewer;
                let Ok(kind) = entry.file_type() else { continue };
                let inside = folder.join(entry.file_name());
                if kind.is_dir() {
                    waiting.push(inside);
                } else if std::os::unix::fs::FileTypeExt::is_socket(&kind) && cover(&inside, false)? {
                    self.covered.insert(inside);
                }
            }
        }
        Ok(())
    }
}

/// Keeps the folders between a writable path and what is masked in it in their places: moved away, its host would find
/// somebody else's things there, and the mask would be left behind.
fn pin_above(inside: &Path, rest: &Path) -> io::Result<()> {
    let mut above: Vec<&Path> =
        rest.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    above.reverse();
    for folder in above {
        match pin(Path::new(NEW), &inside.join(folder)) {
            // It is told when what is masked turns out not to be there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// Puts an empty thing over `inside`. Where there is nothing yet, an empty folder is put there first if it may be;
/// otherwise the answer is false.
fn cover(inside: &Path, create: bool) -> io::Result<bool> {
    let at = new(inside);
    match fs::symlink_metadata(&at) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            let over = || {
                place(Path::new(NEW), inside, Leaf::File, false)
                    .and_then(|point| bind_own(Path::new(NONE), &point, &at, Access::ReadOnly))
            };
            // Going, a file loses what is mounted on it a moment before its name: what was mounted then is no mount any
            // more. Asked once more, the kernel says that nothing can be put there.
            let covered = over().or_else(|error| match Errno::from_io_error(&error) {
                Some(Errno::INVAL) => over(),
                _ => Err(error),
            });
            return match covered {
                // It went between two looks, or between the last look and the mount: nothing can be put over it.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !create => Ok(false),
                other => other.map(|()| true),
            };
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let point = place(Path::new(NEW), inside, Leaf::Folder, create)?;
    let flags = MountFlags::RDONLY | MountFlags::NOEXEC;
    tmpfs(&magic(&point), 4_096, 2, 0o555, flags).map(|()| true)
}
