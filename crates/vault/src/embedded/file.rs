//! The store's file: replaced as a whole, and durable when that is said.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use eparch_domain::limits;

use super::seal::{AROUND, BadSeal};

/// Why the sealed store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none.
    #[error("there is no sealed store at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is one already.
    #[error("there is a sealed store at {} already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The disk, or its permissions.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Sealed with another key than the one that was given.
    #[error("{} was sealed with the key {found}, and the one given is {given}", path.display())]
    ForeignKey {
        /// The file.
        path: PathBuf,
        /// What its key is called.
        found: String,
        /// What the given one is called.
        given: String,
    },
    /// Damaged or changed, or another file altogether.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What gives it away.
        why: &'static str,
    },
    /// It would grow past what it may be.
    #[error("the sealed store is full: it has at most {} bytes", limits::VAULT_STORE_BYTES)]
    Full,
    /// The machine's source of randomness failed.
    #[error("cannot draw random bytes")]
    Random(#[source] getrandom::Error),
    /// The runtime that waits for the disk is going down.
    #[error("the program is ending")]
    Ending,
}

impl StoreError {
    /// Whether the same may work later without anybody doing anything else: a disk gets well again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, StoreError::Io { .. } | StoreError::InUse { .. } | StoreError::Random(_))
    }
}

impl StoreError {
    /// What it means for a file that it cannot be unsealed.
    pub(super) fn unsealing(path: &Path) -> impl FnOnce(BadSeal) -> StoreError {
        let path = path.to_owned();
        |bad| match bad {
            BadSeal::ForeignKey { found, given } => StoreError::ForeignKey { path, found, given },
            BadSeal::Damaged { why } => StoreError::Damaged { path, why },
            BadSeal::Random(source) => StoreError::Random(source),
        }
    }
}

/// Reads a file of bounded length.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    let io = |source| StoreError::Io { doing: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        other => other.map_err(io)?,
    };
    let most = limits::VAULT_STORE_BYTES + AROUND;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > most {
        return Err(StoreError::Damaged { path: path.to_owned(), why: "it is longer than any sealed store" });
    }
    Ok(bytes)
}

/// Puts `bytes` in the place of a file (0600): wholly or not at all, and durable when this returns.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = scrap_of(path);
    write_down(&draft, bytes)?;
    fs::rename(&draft, path)?;
    sync_around(path)
}

/// Writes a file (0600) anew. Its name need not be durable yet.
pub(super) fn write_down(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Where a file is written before it takes the other's place; a crash may leave it there.
pub(super) fn scrap_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".draft");
    PathBuf::from(name)
}

/// Makes the name of a file durable.
pub(super) fn sync_around(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
