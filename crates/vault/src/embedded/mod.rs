//! The vault of a home that has no server: a sealed file, and the rules of `state.rs`.

#[cfg(test)]
mod bounds;
mod file;
mod key;
mod seal;
mod secrets;
mod state;

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use eparch_domain::{Clock, Moment, RunId, Span, hex, limits};
use zeroize::Zeroizing;

pub use file::StoreError;
pub use key::{SealKey, SealKeyError};
pub use seal::BadSeal;

use crate::error::VaultError;
use crate::path::SecretPath;
use crate::secret::{Fields, Secret, Token};
use crate::vault::{
    Accessor, Answer, ChildGrant, Health, Issued, Reader, RunGrant, SecretVersion, TokenStatus, Vault,
};
use crate::wiped;
use file::{read, replace, scrap_of, sync_around};
use key::draft_of;
use state::{Fresh, State};

const LOCK: &str = "vault.lock";

/// What the store is sealed for.
const PLACE: &str = Embedded::FILE;

/// Where the key of the sealed store comes from.
#[derive(Debug, Clone)]
pub enum KeyFrom {
    /// A file; rotating the key writes the new one there.
    File(PathBuf),
    /// Somebody else keeps it, in a variable of the environment: rotating the key leaves it to them.
    Elsewhere(SealKey),
}

/// Why the embedded vault could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The key is missing, or not to be trusted.
    #[error("the vault has no key")]
    Key(#[from] SealKeyError),
    /// The store cannot be read.
    #[error("the vault cannot be opened")]
    Store(#[from] StoreError),
}

/// The embedded vault. One process has it at a time.
///
/// Every change is one new file in the place of the old one, so that a crash leaves the one or the other. What is answered
/// is durable. When a change fails, what is on the disk is read again before the next one.
pub struct Embedded {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    path: PathBuf,
    key: SealKey,
    /// The key of a rotation that is not settled: either may open the file. Nothing else is done before it is, because the
    /// only copy of the one that counts may be a draft.
    next: Option<SealKey>,
    key_file: Option<PathBuf>,
    state: State,
    /// A change failed, so that the disk may hold either state.
    unsure: bool,
    clock: Arc<dyn Clock>,
    _lock: File,
}

impl Embedded {
    /// What the sealed file is called in its folder.
    pub const FILE: &str = "vault.sealed";

    /// Makes an empty store in a folder that is there, and opens it. One that is there already stays as it is.
    pub fn create(folder: &Path, key: KeyFrom, clock: Arc<dyn Clock>) -> Result<Embedded, OpenError> {
        let lock = lock(folder)?;
        let path = folder.join(Embedded::FILE);
        if path.try_exists().map_err(io("look for", &path))? {
            return Err(StoreError::Exists { path }.into());
        }
        let (key, key_file) = match key {
            KeyFrom::File(file) => (SealKey::load(&file)?, Some(file)),
            KeyFrom::Elsewhere(key) => (key, None),
        };
        let mut state = State::default();
        state.written(clock.now());
        let inner = Inner { path, key, next: None, key_file, state, unsure: false, clock, _lock: lock };
        inner.save(&inner.state, &inner.key)?;
        Ok(Embedded { inner: Arc::new(Mutex::new(inner)) })
    }

    /// Opens the store in a folder. A rotation of the key that a crash interrupted is finished, or undone.
    pub fn open(folder: &Path, key: KeyFrom, clock: Arc<dyn Clock>) -> Result<Embedded, OpenError> {
        let lock = lock(folder)?;
        let path = folder.join(Embedded::FILE);
        let sealed = read(&path)?;
        let (key, key_file, plain) = match key {
            KeyFrom::File(file) => {
                let (key, plain) = open_with_file(&path, &sealed, &file)?;
                (key, Some(file), plain)
            }
            KeyFrom::Elsewhere(key) => {
                let plain = unseal(&sealed, &key, &path)?;
                (key, None, plain)
            }
        };
        let state = parse(&plain, &path)?.reopened(clock.now());
        remove(&scrap_of(&path)).map_err(io("remove what is left beside", &path))?;
        let inner = Inner { path, key, next: None, key_file, state, unsure: false, clock, _lock: lock };
        Ok(Embedded { inner: Arc::new(Mutex::new(inner)) })
    }

    /// Seals the store with another key. Where the key is in a file, that is replaced, too; elsewhere, whoever keeps it
    /// replaces it when this has returned. A crash, or a failure, leaves a store that opens with the one key or the other;
    /// which one it is, is settled before anything else is done.
    pub async fn rotate(&self, next: SealKey) -> Result<(), OpenError> {
        let done = self.blocking(move |inner| Ok(inner.rotate(next)));
        done.await.unwrap_or_else(|_| Err(StoreError::Ending.into()))
    }

    /// Takes the clock as right, when it is behind what was recorded ([`VaultError::ClockBehind`]). Nobody can say then which
    /// tokens are over: all are.
    pub async fn accept_clock(&self) -> Result<(), VaultError> {
        self.change(|state, now| {
            state.accept_clock(now);
            Ok(())
        })
        .await
    }

    /// Records the time as it is. For when the clock was put back while the store is open: whoever opens it next measures
    /// from here, and not from what the clock said before. A clock that is doubted stays so.
    pub async fn note_clock(&self) -> Result<(), VaultError> {
        self.change(|_, _| Ok(())).await
    }

    /// How far the clock is behind what was recorded, when it is.
    pub async fn clock_behind(&self) -> Result<Option<Span>, VaultError> {
        self.look(|state, _| Ok(state.behind())).await
    }

    /// Does something that may wait for the disk where nothing else waits for it.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Inner) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let inner = Arc::clone(&self.inner);
        // Whoever panicked changed nothing: a state takes the other's place only when it is whole.
        let act = move || act(&mut inner.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(act).await.unwrap_or_else(|_| Err(StoreError::Ending.into()))
    }

    async fn look<T: Send + 'static>(
        &self,
        act: impl FnOnce(&State, Moment) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        self.blocking(move |inner| {
            inner.refresh()?;
            let now = inner.clock.now();
            inner.state.observe(now);
            act(&inner.state, now)
        })
        .await
    }

    async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut State, Moment) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        self.blocking(move |inner| inner.change(act)).await
    }

    async fn issue(
        &self,
        act: impl FnOnce(&mut State, &Fresh, Moment) -> Result<TokenStatus, VaultError> + Send + 'static,
    ) -> Result<Issued, VaultError> {
        self.change(move |state, now| {
            let fresh = Fresh { token: draw_token()?, accessor: draw_accessor()? };
            let status = act(state, &fresh, now)?;
            Ok(Issued { token: fresh.token, status })
        })
        .await
    }
}

impl Inner {
    fn change<T>(
        &mut self,
        act: impl FnOnce(&mut State, Moment) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        self.refresh()?;
        let now = self.clock.now();
        self.state.observe(now);
        let mut next = self.state.clone();
        let done = act(&mut next, now)?;
        next.written(now);
        if let Err(error) = self.save(&next, &self.key) {
            self.unsure = !matches!(error, StoreError::Full | StoreError::Random(_));
            return Err(error.into());
        }
        self.state = next;
        Ok(done)
    }

    /// Settles which key counts, and reads the store again when the last change failed.
    fn refresh(&mut self) -> Result<(), StoreError> {
        self.settle()?;
        if self.unsure {
            let sealed = read(&self.path)?;
            let read = parse(&unseal(&sealed, &self.key, &self.path)?, &self.path)?;
            self.state = read.in_place_of(&self.state);
            self.unsure = false;
        }
        Ok(())
    }

    /// Finds out which of two keys the store was sealed with, and has it in its file.
    fn settle(&mut self) -> Result<(), StoreError> {
        let Some(next) = &self.next else { return Ok(()) };
        let sealed = read(&self.path)?;
        if unseal(&sealed, &self.key, &self.path).is_err() {
            unseal(&sealed, next, &self.path)?;
            if let Some(file) = &self.key_file {
                install(file).map_err(io("replace", file))?;
            }
            self.key = next.clone();
        }
        self.next = None;
        Ok(())
    }

    fn save(&self, state: &State, key: &SealKey) -> Result<(), StoreError> {
        let sealed = seal::seal(&plain(state)?, key, PLACE).map_err(StoreError::unsealing(&self.path))?;
        replace(&self.path, &sealed).map_err(io("write", &self.path))
    }

    fn rotate(&mut self, next: SealKey) -> Result<(), OpenError> {
        self.refresh()?;
        if let Some(file) = &self.key_file {
            next.write(&draft_of(file))?;
        }
        let saved = self.save(&self.state, &next);
        let name = next.name();
        self.next = Some(next);
        self.settle()?;
        if self.key.name() == name { Ok(()) } else { saved.map_err(OpenError::from) }
    }
}

/// Puts the draft of a key in its place.
fn install(file: &Path) -> io::Result<()> {
    fs::rename(draft_of(file), file)?;
    sync_around(file)
}

/// Opens a store with the key in a file, or with the one that was to replace it when a crash came.
fn open_with_file(
    path: &Path,
    sealed: &[u8],
    file: &Path,
) -> Result<(SealKey, Zeroizing<Vec<u8>>), OpenError> {
    let key = SealKey::load(file)?;
    let draft = draft_of(file);
    match unseal(sealed, &key, path) {
        Ok(plain) => {
            for left in [&scrap_of(&draft), &draft, &scrap_of(file)] {
                let io = |source| SealKeyError::Io { doing: "remove", path: left.clone(), source };
                remove(left).map_err(io)?;
            }
            Ok((key, plain))
        }
        Err(foreign @ StoreError::ForeignKey { .. }) => {
            let next = match SealKey::load(&draft) {
                Ok(next) => next,
                Err(SealKeyError::Missing { .. }) => return Err(foreign.into()),
                Err(error) => return Err(error.into()),
            };
            // Were the draft no better, what the key in its place is called says more.
            let plain = unseal(sealed, &next, path).map_err(|_| foreign)?;
            install(file).map_err(io("replace", file))?;
            Ok((next, plain))
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes what a crash may have left.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn unseal(sealed: &[u8], key: &SealKey, path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    seal::unseal(sealed, key, PLACE).map_err(StoreError::unsealing(path))
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::Io { doing: "lock", path, source }),
    }
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}

fn parse(plain: &[u8], path: &Path) -> Result<State, StoreError> {
    // What was sealed here is what is read; something else would be of another version.
    let unknown =
        |_| StoreError::Damaged { path: path.to_owned(), why: "what it holds is not of this version" };
    serde_json::from_slice(plain).map_err(unknown)
}

/// A state as bytes.
fn plain(state: &State) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    wiped::json(state, limits::VAULT_STORE_BYTES).ok_or(StoreError::Full)
}

fn draw_token() -> Result<Token, StoreError> {
    let mut bits = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *bits).map_err(StoreError::Random)?;
    // As the tokens of Eparch begin, so that redaction finds it wherever it should not be.
    Ok(Token::new(Secret::new(format!("ept_{}", *Zeroizing::new(hex(&*bits))))))
}

fn draw_accessor() -> Result<Accessor, StoreError> {
    let mut bits = [0u8; 16];
    getrandom::fill(&mut bits).map_err(StoreError::Random)?;
    Ok(Accessor::new(&format!("epa_{}", hex(&bits))).expect("letters, digits and _"))
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Embedded")
    }
}

impl Vault for Embedded {
    fn health(&self) -> Answer<'_, Health> {
        Box::pin(self.look(|_, _| Ok(Health { initialized: true, sealed: false, standby: false })))
    }

    fn issue_run(&self, grant: RunGrant) -> Answer<'_, Issued> {
        Box::pin(self.issue(move |state, fresh, now| state.issue_run(grant, fresh, now)))
    }

    fn issue_child<'a>(&'a self, parent: &'a Token, grant: ChildGrant) -> Answer<'a, Issued> {
        let parent = parent.clone();
        Box::pin(self.issue(move |state, fresh, now| state.issue_child(&parent, grant, fresh, now)))
    }

    fn lookup<'a>(&'a self, accessor: &'a Accessor) -> Answer<'a, TokenStatus> {
        let accessor = accessor.clone();
        Box::pin(self.look(move |state, now| state.lookup(&accessor, now)))
    }

    fn renew<'a>(&'a self, accessor: &'a Accessor, ttl: Span) -> Answer<'a, TokenStatus> {
        let accessor = accessor.clone();
        Box::pin(self.change(move |state, now| state.renew(&accessor, ttl, now)))
    }

    fn revoke<'a>(&'a self, accessor: &'a Accessor) -> Answer<'a, ()> {
        let accessor = accessor.clone();
        Box::pin(self.change(move |state, _| {
            state.revoke(&accessor);
            Ok(())
        }))
    }

    fn find(&self, run: Option<RunId>) -> Answer<'_, Vec<TokenStatus>> {
        Box::pin(self.look(move |state, now| Ok(state.find(run, now))))
    }

    fn read<'a>(
        &'a self,
        reader: Reader<'a>,
        path: &'a SecretPath,
        version: Option<u32>,
    ) -> Answer<'a, SecretVersion> {
        let path = path.clone();
        let token = match reader {
            Reader::Daemon => None,
            Reader::Token(token) => Some(token.clone()),
        };
        Box::pin(self.look(move |state, _| {
            state.read(token.as_ref().map_or(Reader::Daemon, Reader::Token), &path, version)
        }))
    }

    fn write<'a>(&'a self, path: &'a SecretPath, fields: Fields, expected: Option<u32>) -> Answer<'a, u32> {
        let path = path.clone();
        Box::pin(self.change(move |state, _| state.write(&path, fields, expected)))
    }

    fn delete<'a>(&'a self, path: &'a SecretPath) -> Answer<'a, ()> {
        let path = path.clone();
        Box::pin(self.change(move |state, _| {
            state.delete(&path);
            Ok(())
        }))
    }

    fn list<'a>(&'a self, below: Option<&'a SecretPath>) -> Answer<'a, Vec<String>> {
        let below = below.cloned();
        Box::pin(self.look(move |state, _| state.list(below.as_ref())))
    }

    fn wrap<'a>(&'a self, reader: &'a Token, path: &'a SecretPath, ttl: Span) -> Answer<'a, Token> {
        let (reader, path) = (reader.clone(), path.clone());
        Box::pin(self.change(move |state, now| {
            let wrapping = draw_token()?;
            state.wrap(&reader, &path, ttl, &wrapping, now)?;
            Ok(wrapping)
        }))
    }

    fn unwrap<'a>(&'a self, wrapping: &'a Token) -> Answer<'a, SecretVersion> {
        let wrapping = wrapping.clone();
        Box::pin(self.change(move |state, _| state.unwrap(&wrapping)))
    }
}
