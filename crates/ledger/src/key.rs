//! The home's ledger key: an Ed25519 seed in `ledger.key` (0600), its public half in `ledger.pub`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey};

use crate::folder::{self, sync_dir};
use crate::note::{Checkpoint, VerifierKey};

const SECRET: &str = "ledger.key";
const PUBLIC: &str = "ledger.pub";

/// Signs checkpoints. Its `Debug` shows the public half only.
pub struct LedgerKey {
    signing: SigningKey,
    verifier: VerifierKey,
}

/// Why a ledger key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no key where one was expected.
    #[error("there is no ledger key at {path}")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file could not be read, or written.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// Others on the machine may read the secret key.
    #[error("{path} can be read by others (mode {mode:04o}); it must be 0600")]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error("{path} does not hold a ledger key")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The machine's source of randomness failed.
    #[error("cannot draw a new ledger key")]
    Random(#[source] getrandom::Error),
}

impl LedgerKey {
    /// Draws a key and writes both halves into `dir`, which is made (0700) when absent. An existing key is kept: this
    /// fails instead of replacing it.
    pub fn create(dir: &Path) -> Result<LedgerKey, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeyError::Random)?;
        let key = LedgerKey::from_seed(&seed);
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| KeyError::Io { doing, path, source }
        };
        folder::make(dir, folder::PRIVATE, sync_dir).map_err(io("make the folder", dir))?;
        let secret = dir.join(SECRET);
        let fresh = secret.with_extension("new");
        replace(&fresh, 0o600, &format!("{}\n", BASE64.encode(seed))).map_err(io("write", &fresh))?;
        // A hard link refuses to replace an existing key, which a rename would do.
        fs::hard_link(&fresh, &secret).map_err(io("write", &secret))?;
        sync_dir(dir).map_err(io("sync", dir))?;
        key.publish(dir)?;
        Ok(key)
    }

    /// Writes the public half where it is missing or another, and removes the draft of the secret one: a crash may have
    /// come between any two of these. Whoever reads the public half meanwhile finds the whole of it.
    pub(crate) fn publish(&self, dir: &Path) -> Result<(), KeyError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| KeyError::Io { doing, path, source }
        };
        let draft = dir.join(SECRET).with_extension("new");
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("remove", &draft)(error)),
            _ => {}
        }
        let path = dir.join(PUBLIC);
        let line = format!("{}\n", self.verifier);
        if fs::read_to_string(&path).is_ok_and(|text| text == line) {
            return Ok(());
        }
        let fresh = path.with_extension("pub.new");
        replace(&fresh, 0o644, &line).map_err(io("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(io("write", &path))?;
        sync_dir(dir).map_err(io("sync", dir))
    }

    /// Reads the key in `dir`.
    pub fn load(dir: &Path) -> Result<LedgerKey, KeyError> {
        let path = dir.join(SECRET);
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeyError::Missing { path }),
            other => other.map_err(|source| KeyError::Io { doing: "read", path: path.clone(), source })?,
        };
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path, mode });
        }
        let text = read(&path)?;
        let seed = BASE64.decode(text.trim_end()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        seed.map(|seed| LedgerKey::from_seed(&seed)).ok_or(KeyError::Malformed { path })
    }

    /// Reads the public half in `dir`; all that verifying needs.
    pub fn load_verifier(dir: &Path) -> Result<VerifierKey, KeyError> {
        let path = dir.join(PUBLIC);
        let text = match read(&path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(KeyError::Missing { path });
            }
            other => other?,
        };
        text.trim_end().parse().map_err(|_| KeyError::Malformed { path })
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    pub(crate) fn sign(&self, checkpoint: &Checkpoint) -> String {
        checkpoint.sign(&self.signing, &self.verifier)
    }

    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        self.signing.sign(bytes).to_bytes()
    }

    fn from_seed(seed: &[u8; 32]) -> LedgerKey {
        let signing = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::of(signing.verifying_key());
        LedgerKey { signing, verifier }
    }
}

impl std::fmt::Debug for LedgerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LedgerKey").field(&self.verifier.to_string()).finish()
    }
}

fn read(path: &Path) -> Result<String, KeyError> {
    fs::read_to_string(path).map_err(|source| KeyError::Io { doing: "read", path: path.to_owned(), source })
}

fn replace(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r121_a_key_is_made_once_and_read_back() {
        let home = tempfile::tempdir().unwrap();
        let keys = home.path().join("keys");
        assert!(matches!(LedgerKey::load(&keys), Err(KeyError::Missing { .. })));
        let made = LedgerKey::create(&keys).unwrap();
        assert!(LedgerKey::create(&keys).is_err(), "a second key would orphan the first one's signatures");
        assert_eq!(LedgerKey::load(&keys).unwrap().verifier(), made.verifier());
        assert_eq!(&LedgerKey::load_verifier(&keys).unwrap(), made.verifier());
        fs::remove_file(keys.join(PUBLIC)).unwrap();
        LedgerKey::load(&keys).unwrap().publish(&keys).unwrap();
        assert_eq!(&LedgerKey::load_verifier(&keys).unwrap(), made.verifier());
        // A crash after the link leaves the draft, and one before the rename half a public key.
        fs::hard_link(keys.join(SECRET), keys.join("ledger.new")).unwrap();
        fs::write(keys.join(PUBLIC), "eparch/").unwrap();
        LedgerKey::load(&keys).unwrap().publish(&keys).unwrap();
        assert_eq!(&LedgerKey::load_verifier(&keys).unwrap(), made.verifier());
        let mut left: Vec<_> = fs::read_dir(&keys).unwrap().map(|file| file.unwrap().file_name()).collect();
        left.sort_unstable();
        assert_eq!(left, [SECRET, PUBLIC], "the secret lies in one file");
        assert!(!format!("{made:?}").contains(&fs::read_to_string(keys.join(SECRET)).unwrap()[..20]));
    }

    #[test]
    fn r121_a_key_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        LedgerKey::create(home.path()).unwrap();
        let path = home.path().join(SECRET);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(LedgerKey::load(home.path()), Err(KeyError::Exposed { mode: 0o640, .. })));
    }
}
