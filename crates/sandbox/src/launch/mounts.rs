//! Mounting, in the few ways the root needs.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstat, mkdirat, openat, openat2, statvfs,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};

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

/// Makes `source`, with everything mounted beneath it, appear on the mount point `point`, which lies at `at`.
pub(super) fn bind(source: &Path, point: &OwnedFd, at: &Path, access: Access) -> io::Result<()> {
    let target = magic(point);
    if fs::metadata(source)?.is_dir() {
        mount_bind_recursive(source, &target)?;
        // A remount reaches one mount, so each one beneath is visited.
        for mount in mountinfo::read()?.iter().filter(|mount| mount.path.starts_with(at)) {
            match restrict(&mount.path, access) {
                // Covered by another mount, or gone in a folder that cannot be searched: nobody inside reaches it
                // either.
                Err(error) if mount.path != at && unreachable(&error) => {}
                other => other?,
            }
        }
        Ok(())
    } else {
        mount_bind(source, &target)?;
        restrict(at, access)
    }
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
    let mut at = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut parts = inside.components().filter(|part| *part != Component::RootDir).peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        let folder = parts.peek().is_some() || leaf == Leaf::Folder;
        at = match step(&at, Path::new(name)) {
            Err(Errno::NOENT) if create => {
                if folder {
                    mkdirat(&at, name, Mode::from_raw_mode(0o755))?;
                } else {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                    openat(&at, name, flags, Mode::from_raw_mode(0o644))?;
                }
                step(&at, Path::new(name))?
            }
            other => other?,
        };
        let kind = FileType::from_raw_mode(fstat(&at)?.st_mode);
        match (folder, kind) {
            (_, FileType::Symlink) => return Err(Errno::LOOP.into()),
            (true, FileType::Directory) => {}
            (true, _) => return Err(io::ErrorKind::NotADirectory.into()),
            (false, FileType::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            (false, _) => {}
        }
    }
    Ok(at)
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
