//! Artifacts, kept by content: written whole and durable before any record names them.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eparch_domain::Digest;
use eparch_ledger::folder::sync_dir;
use sha2::{Digest as _, Sha256};

use crate::home::make_folder;

/// A folder of files named by the SHA-256 of their content. A file without a record is garbage; a record without its
/// file cannot be (engines.md 7.3).
#[derive(Debug, Clone)]
pub struct Artifacts {
    root: PathBuf,
    /// Which folders are known to be durable themselves, by the first byte of what they hold. That a folder is there says
    /// nothing: whoever made it may have died since, or may still be at it.
    durable: Arc<[AtomicBool; 256]>,
}

/// A file that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The digest of its content.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl Artifacts {
    /// The artifacts under `root`.
    pub fn at(root: PathBuf) -> Artifacts {
        Artifacts { root, durable: Arc::new([const { AtomicBool::new(false) }; 256]) }
    }

    /// Removes what a holder that died had begun to keep. Only whoever holds the home may: in it, nobody else keeps anything.
    pub(crate) fn remove_drafts(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes()) {
                // What cannot be removed now is tried again at the next start.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Where the content of `digest` is.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root.join(&hex[..2]).join(&hex[2..])
    }

    /// Keeps what `from` yields, up to `limit` bytes; more is an error of kind `FileTooLarge`. Returns only when content
    /// and name are durable.
    pub fn keep(&self, from: &mut dyn Read, limit: u64) -> io::Result<Kept> {
        make_folder(&self.root).map_err(io::Error::other)?;
        let mut draft = Draft::new(&self.root)?;
        let mut hash = Sha256::new();
        let mut size = 0u64;
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            size += count as u64;
            if size > limit {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes")));
            }
            hash.update(&buffer[..count]);
            draft.file.write_all(&buffer[..count])?;
        }
        let digest = Digest::from_bytes(hash.finalize().into());
        draft.file.sync_all()?;
        let path = self.path(&digest);
        let folder = path.parent().expect("an artifact's path has a folder");
        let durable = &self.durable[usize::from(digest.as_bytes()[0])];
        if !durable.load(Ordering::SeqCst) {
            make_folder(folder).map_err(io::Error::other)?;
            sync_dir(&self.root)?;
            self.root.parent().map_or(Ok(()), sync_dir)?;
            durable.store(true, Ordering::SeqCst);
        }
        fs::rename(&draft.path, &path)?;
        draft.kept = true;
        sync_dir(folder)?;
        Ok(Kept { digest, size })
    }

    /// Keeps some bytes.
    pub fn keep_bytes(&self, bytes: &[u8]) -> io::Result<Kept> {
        self.keep(&mut &*bytes, u64::MAX)
    }

    /// Opens the content of `digest`.
    pub fn open(&self, digest: &Digest) -> io::Result<File> {
        File::open(self.path(digest))
    }
}

/// What a draft's name begins with.
const DRAFT: &str = ".draft-";

/// A file that vanishes unless it is kept.
struct Draft {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Draft {
    fn new(root: &Path) -> io::Result<Draft> {
        let path = root.join(format!("{DRAFT}{:032x}", crate::home::random_bits()));
        // Names for people are links to this very file: nobody changes it by editing what they see.
        let file = File::options().write(true).create_new(true).mode(0o400).open(&path)?;
        Ok(Draft { path, file, kept: false })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // It is garbage either way; the next artifact has another name.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The digest of what a reader yields, a piece at a time.
pub(crate) fn digest_of(from: &mut dyn Read) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            count => hash.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_kept_under_its_digest_and_drafts_vanish() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::at(dir.path().join("a"));
        let kept = artifacts.keep_bytes(b"hello").unwrap();
        assert_eq!(kept, Kept { digest: Digest::of(b"hello"), size: 5 });
        assert_eq!(artifacts.keep_bytes(b"hello").unwrap(), kept);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(artifacts.path(&kept.digest)).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o400);
        let mut text = String::new();
        artifacts.open(&kept.digest).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        let too_large = artifacts.keep(&mut &b"hello"[..], 4).unwrap_err();
        assert_eq!(too_large.kind(), io::ErrorKind::FileTooLarge);
        let drafts = fs::read_dir(dir.path().join("a"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".draft"));
        assert_eq!(drafts.count(), 0);
    }

    #[test]
    fn what_a_dead_holder_had_begun_to_keep_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::at(dir.path().to_owned());
        artifacts.remove_drafts();
        let kept = artifacts.keep_bytes(b"hello").unwrap();
        // As a kill leaves it.
        std::mem::forget(Draft::new(dir.path()).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        artifacts.remove_drafts();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(artifacts.open(&kept.digest).is_ok());
    }
}
