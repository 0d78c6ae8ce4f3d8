//! Unix sockets in folders with long names: an address holds 107 bytes, a path may have 4,095.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

/// A name for a socket that always fits: through a descriptor of its folder when its own path is too long.
#[derive(Debug)]
pub(crate) struct ShortPath {
    path: PathBuf,
    /// Keeps the descriptor the path goes through.
    _folder: Option<OwnedFd>,
}

/// What an address of a Unix socket holds, less its closing zero.
const ADDRESS_BYTES: usize = 107;

impl ShortPath {
    pub(crate) fn of(socket: &Path) -> io::Result<ShortPath> {
        if socket.as_os_str().len() <= ADDRESS_BYTES {
            return Ok(ShortPath { path: socket.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let folder = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(ShortPath { path, _folder: Some(folder) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_in_a_folder_with_a_long_name_can_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("x".repeat(120));
        std::fs::create_dir(&folder).unwrap();
        let socket = folder.join("control.sock");
        let listener =
            std::os::unix::net::UnixListener::bind(ShortPath::of(&socket).unwrap().path()).unwrap();
        std::os::unix::net::UnixStream::connect(ShortPath::of(&socket).unwrap().path()).unwrap();
        assert!(socket.exists());
        drop(listener);
    }
}
