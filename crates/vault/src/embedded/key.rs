//! The key of the sealed store: 32 random bytes, in a file of its own or in the environment.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use eparch_domain::{Digest, hex, unhex};
use zeroize::Zeroizing;

use super::file::{replace, scrap_of, sync_around, write_down};

/// What seals the store. Its `Debug` shows what it is called, never the key.
#[derive(Clone)]
pub struct SealKey(Zeroizing<[u8; 32]>);

/// Why a key could not be had. None of it repeats what was found.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    /// There is no key where one was expected.
    #[error("there is no vault key at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is a key already.
    #[error("there is a vault key at {} already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The file could not be read, or written.
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
    /// Others on the machine may read it.
    #[error("{} can be read by others (mode {mode:04o}); it must be 0600", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error("{place} does not hold a vault key: 64 hexadecimal digits")]
    Malformed {
        /// The file, or the variable.
        place: String,
    },
    /// The machine's source of randomness failed.
    #[error("cannot draw a new vault key")]
    Random(#[source] getrandom::Error),
}

impl SealKey {
    /// Draws a new key.
    pub fn draw() -> Result<SealKey, SealKeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(SealKeyError::Random)?;
        Ok(SealKey(bytes))
    }

    /// Draws a key and writes it to a file (0600) that is not there yet; its folder is.
    pub fn create(path: &Path) -> Result<SealKey, SealKeyError> {
        // Not the draft that a rotation leaves: that may be the only copy of a key.
        let draft = scrap_of(path);
        let key = SealKey::draw()?;
        key.write_to(&draft)?;
        // A hard link refuses to replace an existing key, which a rename would do.
        let io = |doing| move |source| SealKeyError::Io { doing, path: path.to_owned(), source };
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft).map_err(io("remove the draft of"))?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SealKeyError::Exists { path: path.to_owned() });
            }
            other => other.map_err(io("write"))?,
        }
        sync_around(path).map_err(io("sync the folder of"))?;
        Ok(key)
    }

    /// Reads the key in a file, unless others may read it, too.
    pub fn load(path: &Path) -> Result<SealKey, SealKeyError> {
        let io = |source| SealKeyError::Io { doing: "read", path: path.to_owned(), source };
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SealKeyError::Missing { path: path.to_owned() });
            }
            other => other.map_err(io)?,
        };
        // Opening a pipe would wait for somebody to write into it.
        if !metadata.is_file() || metadata.len() > LONGEST {
            return Err(SealKeyError::Malformed { place: path.display().to_string() });
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SealKeyError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(96));
        let file = fs::File::open(path).map_err(io)?;
        let read = file.take(LONGEST).read_to_string(&mut text);
        match read {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => Err(io(error)),
            // What is no text is no key, either.
            _ => SealKey::parse(&text)
                .ok_or_else(|| SealKeyError::Malformed { place: path.display().to_string() }),
        }
    }

    /// Reads a key that stood in a variable of the environment, called `name`.
    pub fn from_variable(name: &str, text: &str) -> Result<SealKey, SealKeyError> {
        SealKey::parse(text).ok_or_else(|| SealKeyError::Malformed { place: name.to_owned() })
    }

    /// Puts the key in the place of whatever is at `path`, wholly or not at all, durable when this returns.
    pub(super) fn write(&self, path: &Path) -> Result<(), SealKeyError> {
        let io = |source| SealKeyError::Io { doing: "write", path: path.to_owned(), source };
        replace(path, self.text().as_bytes()).map_err(io)
    }

    /// Writes the key to a file that nobody reads yet.
    fn write_to(&self, path: &Path) -> Result<(), SealKeyError> {
        let io = |source| SealKeyError::Io { doing: "write", path: path.to_owned(), source };
        write_down(path, self.text().as_bytes()).map_err(io)
    }

    fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", *Zeroizing::new(hex(&*self.0))))
    }

    /// What the key is called: it stands in what was sealed with it, so that a foreign file is told from a damaged one.
    /// A digest of 256 random bits gives none of them away.
    pub(super) fn name(&self) -> String {
        let mut name = Digest::of_parts(&[b"eparch vault key", &*self.0]).hex();
        name.truncate(16);
        name
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn parse(text: &str) -> Option<SealKey> {
        unhex(text.trim_end()).map(|bytes| SealKey(Zeroizing::new(bytes)))
    }
}

/// A key with its line break, as any editor writes it.
const LONGEST: u64 = 66;

/// Where a key stands before it takes the place of another.
pub(super) fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault.key");
        assert!(matches!(SealKey::load(&path), Err(SealKeyError::Missing { .. })));
        let made = SealKey::create(&path).unwrap();
        assert_eq!(SealKey::load(&path).unwrap().bytes(), made.bytes());
        assert!(matches!(SealKey::create(&path), Err(SealKeyError::Exists { .. })));
        assert_eq!(SealKey::load(&path).unwrap().bytes(), made.bytes(), "the first one stays");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault.key");
        SealKey::create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(SealKey::load(&path), Err(SealKeyError::Exposed { mode: found, .. }) if found == mode)
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(SealKey::load(&path).is_ok());
    }

    #[test]
    fn g8_what_is_no_key_is_refused_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault.key");
        let nearly = "abcdef0123456789".repeat(4);
        for text in [
            "",
            "x",
            &nearly[1..],
            &format!("{nearly}0"),
            &format!("{nearly}\n\n0"),
            &nearly.replace('a', "g"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let told = format!("{0:?} {0}", SealKey::load(&path).unwrap_err());
            assert!(told.contains("does not hold a vault key") && !told.contains("bcdef"), "{told}");
        }
        let told = SealKey::from_variable("EPARCH_VAULT_KEY", "wrong").unwrap_err().to_string();
        assert!(told.starts_with("EPARCH_VAULT_KEY does not"), "{told}");
        let key = SealKey::from_variable("EPARCH_VAULT_KEY", &nearly).unwrap();
        assert!(!format!("{key:?}").contains("abcdef0123456789"));
    }
}
