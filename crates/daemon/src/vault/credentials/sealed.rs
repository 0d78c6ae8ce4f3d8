//! A run's own token where it lies between two agents: sealed with the home's key, in a file of its own.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use eparch_domain::{RunId, keys};
use eparch_vault::{Accessor, SealKey, SealKeyError, Secret, Settings, Token};

use super::failure::SealFailure;
use crate::vault::HomeVault;

/// The folder of sealed tokens in a home.
const FOLDER: &str = "vault-tokens";

impl HomeVault {
    /// Where a run's token lies, sealed: what it is called, and after a line break what only the key of the home opens (X16).
    pub(super) fn sealed_token(&self, run: RunId) -> PathBuf {
        self.folder().join(FOLDER).join(keys::pipeline_vault_token(&run.name()))
    }

    /// Seals a run's token, away from the runtime: it is on the disk when this returns. As many at once as tokens are issued.
    pub(super) async fn seal(
        &self,
        run: RunId,
        accessor: &Accessor,
        token: &Token,
    ) -> Result<(), SealFailure> {
        let (path, place) = (self.sealed_token(run), keys::pipeline_vault_token(&run.name()));
        let (settings, key_file) = (self.settings.clone(), self.key_file.clone());
        let (accessor, secret) = (accessor.clone(), Secret::from(token.expose()));
        let file = path.clone();
        let sealing = tokio::task::spawn_blocking(move || {
            let sealed = seal_key(&settings, &key_file)?.seal(&place, &secret)?;
            let bytes = [accessor.as_str().as_bytes(), b"\n", &sealed].concat();
            write_whole(&path, &bytes).map_err(|source| SealFailure::Io { path, source })
        });
        sealing.await.unwrap_or_else(|lost| {
            Err(SealFailure::Io { path: file, source: io::Error::other(lost.to_string()) })
        })
    }

    /// A run's token, if what is sealed is the one that is called so. One that cannot be opened is as good as none: another
    /// one is issued, and it is ended.
    pub(super) async fn unsealed(&self, run: RunId, accessor: String) -> Option<Token> {
        let (path, place) = (self.sealed_token(run), keys::pipeline_vault_token(&run.name()));
        let (settings, key_file) = (self.settings.clone(), self.key_file.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let bytes = fs::read(path).ok()?;
            let (of, sealed) = split(&bytes)?;
            (of == accessor).then(|| seal_key(&settings, &key_file).ok()?.unseal(&place, sealed).ok())?
        });
        opening.await.ok()?.map(Token::new)
    }
}

/// The key that a home's tokens are sealed with; made where there is none.
fn seal_key(settings: &Settings, file: &Path) -> Result<SealKey, SealKeyError> {
    if let Some(key) = settings.seal_key()? {
        return Ok(key);
    }
    match SealKey::load(file) {
        Err(SealKeyError::Missing { .. }) => match SealKey::create(file) {
            Err(SealKeyError::Exists { .. }) => SealKey::load(file),
            made => made,
        },
        found => found,
    }
}

/// What a token is called, and what is sealed of it.
pub(super) fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

/// Writes a file that only its owner reads, wholly or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    crate::home::make_folder(folder).map_err(io::Error::other)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_token_says_what_it_is_called_and_nothing_else() {
        assert_eq!(split(b"epa_1\nsealed\n\xff"), Some(("epa_1", &b"sealed\n\xff"[..])));
        for bad in [&b""[..], b"epa_1", b"\xff\nsealed"] {
            assert_eq!(split(bad), None);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens/one");
        write_whole(&path, b"first").unwrap();
        write_whole(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path().join("tokens")).unwrap().count(), 1, "no draft is left");
    }
}
