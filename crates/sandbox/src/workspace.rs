//! The workspace seen from outside, through a descriptor that cannot be led astray.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat2};
use rustix::io::Errno;

use crate::names::Names;
use crate::spec::Alias;

/// How deep [`Workspace::list`] looks; deeper folders are a trap, not a result.
const LIST_DEPTH: usize = 64;

/// A cage's workspace: its files can be placed before a program runs and collected after everything in the cage is
/// dead, and even after the cage is closed. Its memory is held as long as a clone of this lives.
///
/// Paths are relative to the workspace, and `./` in them says nothing. No symbolic link is ever followed, in any part of a
/// path, and no path leads out; a further name that the cage was asked for is known as long as it leads where it did.
/// Masked paths and what is only read of the host are not there. What is written on the host is, until the cage is closed.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: Arc<OwnedFd>,
    /// The caller's own folder, by its name: reached by itself, whatever a program made of the name.
    desk: Option<(PathBuf, Arc<OwnedFd>)>,
    /// Masked or foreign paths within. The masks vanish with the cage's mounts, so they are kept here as well.
    hidden: Arc<[PathBuf]>,
    /// Further names that the cage has for what is within.
    names: Arc<Names>,
}

/// Why a file of a workspace could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The path is absolute, has `..`, or lies where the cage hides something.
    #[error("`{path}` is not a path in the workspace")]
    Outside {
        /// The path as given.
        path: PathBuf,
    },
    /// A symbolic link is on the way, or at its end.
    #[error("`{path}` goes through a symbolic link, which is not followed")]
    Link {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder, device, pipe or socket.
    #[error("`{path}` is not a regular file")]
    NotAFile {
        /// The path as given.
        path: PathBuf,
    },
    /// More bytes than allowed.
    #[error("`{path}` has more than {max} bytes")]
    TooLarge {
        /// The path as given.
        path: PathBuf,
        /// The bytes allowed.
        max: u64,
    },
    /// More files than allowed.
    #[error("`{path}` holds more than {max} files")]
    TooMany {
        /// The folder as given.
        path: PathBuf,
        /// The files allowed.
        max: usize,
    },
    /// The kernel refused; [`io::ErrorKind::NotFound`] when there is no such file.
    #[error("cannot use `{path}` in the workspace")]
    Io {
        /// The path as given.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl WorkspaceError {
    /// True when there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, WorkspaceError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A regular file found by [`Workspace::list`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What lies beneath a folder of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The regular files, sorted.
    pub files: Vec<Entry>,
    /// Everything else but folders, each with what it is, sorted.
    pub others: Vec<(PathBuf, &'static str)>,
}

impl Workspace {
    pub(crate) fn new(root: OwnedFd, desk: Option<(PathBuf, OwnedFd)>, hidden: Vec<PathBuf>) -> Workspace {
        let desk = desk.map(|(name, folder)| (name, Arc::new(folder)));
        Workspace { root: Arc::new(root), desk, hidden: hidden.into(), names: Arc::default() }
    }

    /// The same with names that the cage has links for. The kernel follows none of those: where they lead is known.
    pub(crate) fn with_names(self, aliases: &[Alias]) -> Workspace {
        Workspace { names: Arc::new(Names::of(aliases)), ..self }
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// When it is not one, or not in the workspace.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File, WorkspaceError> {
        let path = path.as_ref();
        // Without NONBLOCK, opening a named pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open(path, flags, Mode::empty())?;
        match FileType::from_raw_mode(fstat(&file).map_err(|errno| failed(path, errno))?.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            _ => Err(WorkspaceError::NotAFile { path: path.into() }),
        }
    }

    /// Reads a whole regular file of at most `max` bytes.
    ///
    /// # Errors
    /// When it is longer, is not a regular file, or is not in the workspace.
    pub fn read_file(&self, path: impl AsRef<Path>, max: u64) -> Result<Vec<u8>, WorkspaceError> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        let mut bounded = self.open_file(path)?.take(max.saturating_add(1));
        bounded.read_to_end(&mut bytes).map_err(|source| WorkspaceError::Io { path: path.into(), source })?;
        if bytes.len() as u64 > max {
            return Err(WorkspaceError::TooLarge { path: path.into(), max });
        }
        Ok(bytes)
    }

    /// Writes a whole file, with the folders above it. Meant for before a program runs: then nothing can be in the way.
    ///
    /// # Errors
    /// When the disk limit is reached, or the path is not in the workspace.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<(), WorkspaceError> {
        let path = path.as_ref();
        if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
            self.make_folder(above)?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open(path, flags, Mode::RUSR | Mode::WUSR)?;
        // The mode is exact, whatever the umask of this process.
        fchmod(&file, Mode::from_raw_mode(mode & 0o777)).map_err(|errno| failed(path, errno))?;
        File::from(file).write_all(bytes).map_err(|source| WorkspaceError::Io { path: path.into(), source })
    }

    /// Makes a folder, with the folders above it. Fine when it exists.
    ///
    /// # Errors
    /// When something else is in the way, or the path is not in the workspace.
    pub fn make_folder(&self, path: impl AsRef<Path>) -> Result<(), WorkspaceError> {
        let path = path.as_ref();
        let plain = self.check(path)?;
        let (root, rest) = self.within(&plain);
        let folder = OFlags::PATH | OFlags::DIRECTORY;
        let mut at =
            resolve(root, Path::new("."), folder, Mode::empty()).map_err(|errno| failed(path, errno))?;
        for part in rest.components() {
            match mkdirat(&at, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(path, errno)),
            }
            at = resolve(&at, Path::new(part.as_os_str()), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
                .map_err(|errno| failed(path, errno))?;
        }
        Ok(())
    }

    /// What lies beneath a folder (`""` is the workspace). What cannot be opened as a file is named with what it is.
    ///
    /// # Errors
    /// When there are more than `max`, or the folder cannot be read.
    pub fn list(&self, folder: impl AsRef<Path>, max: usize) -> Result<Listing, WorkspaceError> {
        let folder = folder.as_ref();
        let mut found = Listing::default();
        // Folders count as well, or a million empty ones would be walked for nothing.
        let mut left = max.saturating_mul(2).saturating_add(16);
        let mut waiting = vec![folder.to_path_buf()];
        while let Some(at) = waiting.pop() {
            let opened = self.open(&at, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            let entries = Dir::read_from(&opened).map_err(|errno| failed(&at, errno))?;
            for entry in entries {
                let entry = entry.map_err(|errno| failed(&at, errno))?;
                let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
                if name == Path::new(".") || name == Path::new("..") {
                    continue;
                }
                let path = at.join(name);
                if self.is_hidden(&path) {
                    continue;
                }
                left = left
                    .checked_sub(1)
                    .ok_or_else(|| WorkspaceError::TooMany { path: folder.into(), max })?;
                let Ok(stat) = rustix::fs::statat(&opened, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
                else {
                    found.others.push((path, "something that cannot be looked at"));
                    continue;
                };
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory if path.components().count() < LIST_DEPTH => waiting.push(path),
                    FileType::Directory => found.others.push((path, "a folder too deep to look into")),
                    FileType::RegularFile if found.files.len() == max => {
                        return Err(WorkspaceError::TooMany { path: folder.into(), max });
                    }
                    FileType::RegularFile => {
                        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
                        found.files.push(Entry { path, bytes });
                    }
                    FileType::Symlink => found.others.push((path, "a symbolic link")),
                    _ => found.others.push((path, "a pipe, a socket or a device")),
                }
            }
        }
        found.files.sort();
        found.others.sort();
        Ok(found)
    }

    fn open(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, WorkspaceError> {
        let plain = self.check(path)?;
        let (root, rest) = self.within(&plain);
        let rest_or_here = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
        resolve(root, rest_or_here, flags, mode).map_err(|errno| failed(path, errno))
    }

    /// Which folder a path begins in, and what is left of it.
    fn within<'a>(&self, path: &'a Path) -> (&OwnedFd, &'a Path) {
        match &self.desk {
            Some((name, desk)) if path.starts_with(name) => (desk, path.strip_prefix(name).unwrap_or(path)),
            _ => (&self.root, path),
        }
    }

    /// A path without what says nothing in it, when it may be used.
    fn check(&self, path: &Path) -> Result<PathBuf, WorkspaceError> {
        let said = path.components().filter(|part| *part != Component::CurDir);
        let said: PathBuf = said.collect();
        let plain = self.names.place(&self.root, &said).unwrap_or(said);
        if plain.components().all(|part| matches!(part, Component::Normal(_))) && !self.is_hidden(&plain) {
            Ok(plain)
        } else {
            Err(WorkspaceError::Outside { path: path.into() })
        }
    }

    fn is_hidden(&self, path: &Path) -> bool {
        self.hidden.iter().any(|hidden| path.starts_with(hidden))
    }
}

/// Opens what lies beneath a folder, through no link.
pub(crate) fn resolve(
    at: impl std::os::fd::AsFd,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let nowhere_else = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(at, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode, nowhere_else)
}

fn failed(path: &Path, errno: Errno) -> WorkspaceError {
    let path = path.into();
    match errno {
        Errno::LOOP => WorkspaceError::Link { path },
        Errno::XDEV => WorkspaceError::Outside { path },
        // A socket, or a device or pipe without its other end.
        Errno::NXIO | Errno::ISDIR => WorkspaceError::NotAFile { path },
        errno => WorkspaceError::Io { path, source: errno.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn workspace(hidden: &[&str]) -> (tempfile::TempDir, Workspace) {
        let folder = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(folder.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (folder, Workspace::new(root, None, hidden.iter().map(PathBuf::from).collect()))
    }

    #[test]
    fn files_are_written_and_read_back() {
        let (folder, space) = workspace(&[]);
        space.write_file("out/deep/plan.json", b"{}", 0o640).unwrap();
        let mode = folder.path().join("out/deep/plan.json").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(space.read_file("out/deep/plan.json", 2).unwrap(), b"{}");
        assert!(matches!(
            space.read_file("out/deep/plan.json", 1),
            Err(WorkspaceError::TooLarge { max: 1, .. })
        ));
        assert!(space.read_file("out/none", 9).unwrap_err().is_not_found());
        let entry = Entry { path: "out/deep/plan.json".into(), bytes: 2 };
        assert_eq!(space.list("", 10).unwrap().files, [entry]);
        space.make_folder("./made/./deep").unwrap();
        space.write_file("./made/report.md", b"r", 0o600).unwrap();
        assert_eq!(space.read_file("made/./report.md", 9).unwrap(), b"r");
        assert!(matches!(space.list("", 0), Err(WorkspaceError::TooMany { .. })));
    }

    #[test]
    fn nothing_leads_out() {
        let (folder, space) = workspace(&["secret"]);
        symlink("/etc/passwd", folder.path().join("link")).unwrap();
        symlink("/etc", folder.path().join("folder")).unwrap();
        std::fs::create_dir(folder.path().join("secret")).unwrap();
        std::fs::write(folder.path().join("secret/key"), "k").unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), Mode::RUSR).unwrap();
        for path in ["link", "folder/passwd"] {
            assert!(matches!(space.open_file(path), Err(WorkspaceError::Link { .. })), "{path}");
            assert!(space.write_file(path, b"", 0o600).is_err(), "{path}");
        }
        for path in ["../etc/passwd", "/etc/passwd", "secret/key", "secret", "a/../b"] {
            assert!(matches!(space.open_file(path), Err(WorkspaceError::Outside { .. })), "{path}");
        }
        for path in ["pipe", ""] {
            assert!(matches!(space.open_file(path), Err(WorkspaceError::NotAFile { .. })), "{path}");
        }
        let found = space.list("", 10).unwrap();
        assert_eq!(found.files, []);
        let others: Vec<_> =
            found.others.iter().map(|(path, what)| (path.to_str().unwrap(), *what)).collect();
        let (link, pipe) = ("a symbolic link", "a pipe, a socket or a device");
        assert_eq!(others, [("folder", link), ("link", link), ("pipe", pipe)]);
    }
}
