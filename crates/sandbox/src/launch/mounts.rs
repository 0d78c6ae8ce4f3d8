//! Mounting, in the few ways the root needs.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstat, fstatvfs, mkdirat, openat, openat2,
    statvfs,
};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
};

use crate::mountinfo;

/// What is done to a mount that comes from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Seen, not written.
    ReadOnly,
    /// Written as the caller could.
    ReadWrite,
    /// A device: used, but not renamed, chmodded or removed.
    Device,
}

/// Whether a mount point is a folder or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    Folder,
    File,
}

/// A new file system in memory.
pub(super) fn tmpfs(target: &Path, bytes: u64, inodes: u64, mode: u32, flags: MountFlags) -> io::Result<()> {
    let options = CString::new(format!("size={bytes},nr_inodes={inodes},mode={mode:o}"))?;
    mount("tmpfs", target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV | flags, options.as_c_str())?;
    Ok(())
}

/// A file or folder of the host, found once. What is mounted is this, and nothing that took its name later.
#[derive(Debug)]
pub(super) struct Source {
    fd: OwnedFd,
    pub(super) leaf: Leaf,
    kind: FileType,
    /// The folder that holds it, for a file.
    above: Option<OwnedFd>,
    name: PathBuf,
}

/// Finds what of the host beneath `root` is shown. The path was resolved when it was checked; a link in it now is
/// somebody's trick.
pub(super) fn find(root: &Path, path: &Path) -> io::Result<Source> {
    let (fd, above) = walk(root, path, None)?;
    let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
    let leaf = match kind {
        FileType::Symlink => return Err(Errno::LOOP.into()),
        FileType::Directory => Leaf::Folder,
        _ => Leaf::File,
    };
    let above = above.filter(|_| leaf == Leaf::File);
    Ok(Source { fd, leaf, kind, above, name: path.file_name().unwrap_or_default().into() })
}

/// Makes `source` appear, read-only, on `point` through an overlay that has nothing above it: its files are read, and
/// every other thing about them is the overlay's own. A connection to a socket in it, a pipe opened, a lock or a lease
/// taken reaches nobody outside.
///
/// # Errors
/// Where overlays cannot be stacked higher, on file systems that cannot be beneath one, and for what the kernel keeps
/// together with the mounts beneath it.
pub(super) fn show_apart(source: &Source, point: &OwnedFd, user_namespace: bool) -> io::Result<()> {
    let overlay = |lower: &OwnedFd, target: &Path| -> io::Result<()> {
        // The host's own wish that nothing be executed there does not pass through an overlay by itself.
        let noexec = fstatvfs(lower)?.f_flag.contains(StatVfsMountFlags::NOEXEC);
        let mut flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
        flags.set(MountFlags::NOEXEC, noexec);
        // The usual attributes need rights on the host.
        let own = if user_namespace { ",userxattr" } else { "" };
        // By descriptor: the options give `,` and `:` of a path a meaning, and a name may have changed hands.
        let options = format!("lowerdir={}:{EMPTY}{own}", magic(lower).display());
        Ok(mount("overlay", target, "overlay", flags, CString::new(options)?.as_c_str())?)
    };
    let Some(above) = &source.above else { return overlay(&source.fd, &magic(point)) };
    if source.kind == FileType::Socket {
        // Named by itself it is meant to be reached.
        return Err(io::ErrorKind::Unsupported.into());
    }
    overlay(above, Path::new(ASIDE))?;
    let shown = walk(Path::new(ASIDE), &source.name, None).and_then(|(file, _)| {
        mount_bind(magic(&file), magic(point))?;
        Ok(())
    });
    unmount(ASIDE, UnmountFlags::DETACH)?;
    shown
}

/// The lower of the two layers of an overlay that is only read.
pub(super) const EMPTY: &str = "/empty";
/// Where a folder stands for the moment in which one file of it is shown.
pub(super) const ASIDE: &str = "/aside";

/// Makes `source`, with everything mounted beneath it, appear at `inside` beneath `root`, whose mount point is `point`.
pub(super) fn bind(
    source: &Source,
    point: &OwnedFd,
    root: &Path,
    inside: &Path,
    access: Access,
) -> io::Result<()> {
    match source.leaf {
        Leaf::Folder => mount_bind_recursive(magic(&source.fd), magic(point))?,
        Leaf::File => mount_bind(magic(&source.fd), magic(point))?,
    }
    // The point is beneath what was mounted now. Found again by its name it must be what was meant: beneath a folder
    // that others write, names change hands.
    let top = place(root, inside, source.leaf, false)?;
    let (meant, there) = (fstat(&source.fd)?, fstat(&top)?);
    if (meant.st_dev, meant.st_ino) != (there.st_dev, there.st_ino) {
        return Err(io::Error::other("it was exchanged while it was shown"));
    }
    restrict(&magic(&top), access)?;
    if source.leaf == Leaf::Folder {
        let (mounts, own) = (mountinfo::read()?, mount_id(&top)?);
        // A remount reaches one mount, so each one beneath is visited: those of this one, not those it covers.
        for mount in mountinfo::beneath(&mounts, own) {
            let Ok(rest) = mount.path.strip_prefix(root) else { continue };
            let leaf = if fs::symlink_metadata(&mount.path).is_ok_and(|found| found.is_dir()) {
                Leaf::Folder
            } else {
                Leaf::File
            };
            match place(root, rest, leaf, false).and_then(|at| restrict(&magic(&at), access)) {
                // Covered by another mount, or gone in a folder that cannot be searched: nobody inside reaches it
                // either.
                Err(error) if unreachable(&error) => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// Makes a folder or file of the cage's own appear on `point`, which lies at `at`.
pub(super) fn bind_own(source: &Path, point: &OwnedFd, at: &Path, access: Access) -> io::Result<()> {
    mount_bind(source, magic(point))?;
    restrict(at, access)
}

/// Puts a folder on itself: a mount point cannot be renamed or removed by anybody in the cage.
pub(super) fn pin(root: &Path, inside: &Path) -> io::Result<()> {
    let point = place(root, inside, Leaf::Folder, false)?;
    Ok(mount_bind_recursive(magic(&point), magic(&point))?)
}

fn mount_id(fd: &OwnedFd) -> io::Result<u64> {
    let info = fs::read_to_string(Path::new("/proc/self/fdinfo").join(fd.as_raw_fd().to_string()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn unreachable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// Tightens a mount, and loosens nothing that was tight before.
pub(super) fn restrict(at: &Path, access: Access) -> io::Result<()> {
    let held = statvfs(at)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::NOSUID;
    if access != Access::ReadWrite || held.contains(StatVfsMountFlags::RDONLY) {
        flags |= MountFlags::RDONLY;
    }
    if access != Access::Device || held.contains(StatVfsMountFlags::NODEV) {
        flags |= MountFlags::NODEV;
    }
    if access == Access::Device || held.contains(StatVfsMountFlags::NOEXEC) {
        flags |= MountFlags::NOEXEC;
    }
    // The kernel keeps the access-time flags when none is named.
    mount_remount(at, flags, "")?;
    Ok(())
}

/// Finds, or where `create` makes, the mount point `inside` beneath `root`. Symbolic links are not followed: the folder
/// may be a project's, and whoever wrote it decides where its links lead.
pub(super) fn place(root: &Path, inside: &Path, leaf: Leaf, create: bool) -> io::Result<OwnedFd> {
    let (at, _) = walk(root, inside, create.then_some(leaf))?;
    match (leaf, FileType::from_raw_mode(fstat(&at)?.st_mode)) {
        (_, FileType::Symlink) => Err(Errno::LOOP.into()),
        (Leaf::Folder, FileType::Directory) => Ok(at),
        (Leaf::Folder, _) => Err(io::ErrorKind::NotADirectory.into()),
        (Leaf::File, FileType::Directory) => Err(io::ErrorKind::IsADirectory.into()),
        (Leaf::File, _) => Ok(at),
    }
}

/// Goes down one name at a time, and makes what is missing when the kind of the last one is told. The last thing and the
/// folder that holds it.
fn walk(root: &Path, inside: &Path, create: Option<Leaf>) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    let mut at = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut above = None;
    let mut parts = inside.components().filter(|part| *part != Component::RootDir).peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        let last = parts.peek().is_none();
        let next = match (step(&at, Path::new(name)), create) {
            (Err(Errno::NOENT), Some(leaf)) => {
                let made = if last && leaf == Leaf::File {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                    openat(&at, name, flags, Mode::from_raw_mode(0o644)).map(drop)
                } else {
                    mkdirat(&at, name, Mode::from_raw_mode(0o755))
                };
                match made {
                    // Another cage on the same folder of the host made it meanwhile. Whatever it is, it is looked at.
                    Ok(()) | Err(Errno::EXIST) => step(&at, Path::new(name))?,
                    Err(errno) => return Err(errno.into()),
                }
            }
            (other, _) => other?,
        };
        if !last {
            match FileType::from_raw_mode(fstat(&next)?.st_mode) {
                FileType::Directory => {}
                FileType::Symlink => return Err(Errno::LOOP.into()),
                _ => return Err(io::ErrorKind::NotADirectory.into()),
            }
        }
        above = Some(std::mem::replace(&mut at, next));
    }
    Ok((at, above))
}

fn step(at: impl AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(at, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
}

/// A descriptor as a path: the one way to mount on exactly what was found.
pub(super) fn magic(fd: &OwnedFd) -> PathBuf {
    Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_mount_point_is_never_found_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        symlink("/etc", root.join("link")).unwrap();
        for (inside, leaf) in
            [("/link", Leaf::Folder), ("/link/ssl", Leaf::Folder), ("/link/passwd", Leaf::File)]
        {
            assert!(place(root, Path::new(inside), leaf, true).is_err(), "{inside}");
        }
        place(root, Path::new("/a/b/c"), Leaf::Folder, true).unwrap();
        place(root, Path::new("/a/b/f"), Leaf::File, true).unwrap();
        assert!(root.join("a/b/c").is_dir() && root.join("a/b/f").is_file());
        assert!(place(root, Path::new("/a/none"), Leaf::Folder, false).is_err());
        assert!(place(root, Path::new("/a/../../x"), Leaf::Folder, true).is_err());
    }
}
