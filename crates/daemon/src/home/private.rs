//! Whether a home is of whoever uses it, and of nobody else. `./.eparch` is taken without being named, and where somebody
//! steps into a folder it may have been put there: by another user of the machine, or by whoever made the repository. Whoever
//! made a home knows its keys, listens at its socket, and says in its settings which vault is logged in to.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{HomeError, io_error};

/// What of a home everything else in it is trusted for, from its root.
const TRUSTED: [&str; 4] = ["", "keys", "keys/home.key", "keys/operators"];

/// Why a home is not its user's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// It is of another user, with this id.
    Owner(u32),
    /// Others may look into it: these permissions.
    Mode(u32),
}

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shared::Owner(user) => write!(f, "belongs to another user ({user})"),
            Shared::Mode(mode) => write!(f, "is open to others (mode {mode:04o})"),
        }
    }
}

/// Nothing, when the home at `root` is the effective user's and closed to everybody else. What a checkout makes is open, as
/// its files are, so one that came with a repository is not taken either.
pub(super) fn check(root: &Path) -> Result<(), HomeError> {
    let me = rustix::process::geteuid().as_raw();
    for part in TRUSTED {
        let path = if part.is_empty() { root.to_owned() } else { root.join(part) };
        // No link leads out of a home: what it led to could be exchanged by whoever owns that.
        let found = fs::symlink_metadata(&path).map_err(io_error("look at", &path))?;
        let mode = found.permissions().mode() & 0o7777;
        let shared = match found.uid() {
            owner if owner != me => Shared::Owner(owner),
            _ if mode & 0o077 != 0 => Shared::Mode(mode),
            _ => continue,
        };
        return Err(HomeError::Shared { path, shared });
    }
    Ok(())
}
