//! The sealed file: XChaCha20-Poly1305 over the whole state, replaced as a whole.
//!
//! ```text
//! eparch-vault 1 <name of the key>\n     what can be read without the key, and is bound to what cannot
//! 24 bytes nonce, drawn anew each time   192 bits: random ones never meet
//! the sealed state, with 16 bytes that tell whether any of it was changed
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use eparch_domain::limits;
use zeroize::Zeroizing;

use super::key::SealKey;

const MAGIC: &str = "eparch-vault 1 ";
const NONCE: usize = 24;
const TAG: usize = 16;
const HEADER: usize = MAGIC.len() + 16 + 1;

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

/// Seals a state: what is to be written.
pub(super) fn seal(plain: &[u8], key: &SealKey) -> Result<Vec<u8>, StoreError> {
    let header = format!("{MAGIC}{}\n", key.name());
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(StoreError::Random)?;
    // With room for all of it, so that no copy of the state is left where it grew from.
    let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + TAG));
    body.extend_from_slice(plain);
    let cipher = XChaCha20Poly1305::new(key.bytes().into());
    let sealed = cipher.encrypt_in_place(&XNonce::from(nonce), header.as_bytes(), &mut *body);
    sealed.expect("the state is far below the cipher's limit of 256 GiB");
    Ok([header.as_bytes(), &nonce, &body].concat())
}

/// Opens what was sealed. `path` is for messages.
pub(super) fn unseal(bytes: &[u8], key: &SealKey, path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let damaged = |why| StoreError::Damaged { path: path.to_owned(), why };
    if bytes.len() < HEADER + NONCE + TAG {
        return Err(damaged("it is shorter than any sealed store"));
    }
    let (header, rest) = bytes.split_at(HEADER);
    let name = header.strip_prefix(MAGIC.as_bytes()).and_then(|name| name.strip_suffix(b"\n"));
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let Some(found) = name.filter(|name| name.bytes().all(|digit| digit.is_ascii_hexdigit())) else {
        return Err(damaged("it does not begin as a sealed store of this version does"));
    };
    let given = key.name();
    if found != given {
        return Err(StoreError::ForeignKey { path: path.to_owned(), found: found.to_owned(), given });
    }
    let (nonce, body) = rest.split_at(NONCE);
    let nonce = XNonce::from(<[u8; NONCE]>::try_from(nonce).expect("split at its length"));
    let mut body = Zeroizing::new(body.to_vec());
    let cipher = XChaCha20Poly1305::new(key.bytes().into());
    match cipher.decrypt_in_place(&nonce, header, &mut *body) {
        Ok(()) => Ok(body),
        Err(_) => Err(damaged("it is not as it was sealed")),
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
    let most = limits::VAULT_STORE_BYTES + HEADER + NONCE + TAG;
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
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_around(path)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: &str) -> SealKey {
        SealKey::from_variable("test", &digit.repeat(64)).unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_again_and_never_sealed_alike() {
        let (one, other) = (seal(b"state", &key("1")).unwrap(), seal(b"state", &key("1")).unwrap());
        assert_ne!(one, other);
        let path = Path::new("x");
        assert_eq!(unseal(&one, &key("1"), path).unwrap().as_slice(), b"state");
        assert!(matches!(unseal(&one, &key("2"), path), Err(StoreError::ForeignKey { .. })));
        assert!(!one.windows(5).any(|part| part == b"state"));
    }

    #[test]
    fn every_changed_or_missing_byte_is_found() {
        let sealed = seal(b"state", &key("1")).unwrap();
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert!(unseal(&changed, &key("1"), Path::new("x")).is_err(), "bit {bit} of byte {at}");
            }
            assert!(unseal(&sealed[..at], &key("1"), Path::new("x")).is_err(), "cut at {at}");
        }
        let longer = [sealed.as_slice(), b"x"].concat();
        assert!(unseal(&longer, &key("1"), Path::new("x")).is_err());
    }
}
