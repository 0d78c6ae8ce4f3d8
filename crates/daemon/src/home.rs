//! The home: one folder with everything Eparch keeps, and the keys in it.

mod private;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use eparch_domain::{Digest, Name, limits};
use eparch_ledger::folder::{self, sync_dir};

pub use private::Shared;

/// What the extension of a key begins with that is not in force yet.
const DRAFT_KEY: &str = "draft-";

/// Tells the drafts of one holder apart.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// The folder's name where it lies inside a project.
pub const LOCAL_HOME: &str = ".eparch";

/// One folder with everything Eparch keeps. Nobody but its owner may look into it, and no agent ever sees it.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// Why a home could not be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// There is none.
    #[error("there is no home at {}", .0.display())]
    Missing(PathBuf),
    /// There is a ledger, and no keys.
    #[error("the home at {} has a ledger, and its keys are gone", .0.display())]
    KeysLost(PathBuf),
    /// There is one already.
    #[error("there is a home at {} already", .0.display())]
    Exists(PathBuf),
    /// It is not its user's alone.
    #[error("{} {shared}", path.display())]
    Shared {
        /// What of it.
        path: PathBuf,
        /// Why not.
        shared: Shared,
    },
    /// A file or folder of it cannot be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The operator has no key here.
    #[error("this home holds no key of operator {0}")]
    NoKey(Name),
}

impl HomeError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            HomeError::Missing(_) => "EP0501",
            HomeError::Exists(_) => "EP0502",
            HomeError::Io { .. } => "EP0503",
            HomeError::NoKey(_) => "EP0504",
            HomeError::KeysLost(_) => "EP0505",
            HomeError::Shared { .. } => "EP0506",
        }
    }

    /// What can be done about it.
    pub fn hint(&self) -> &'static str {
        match self {
            HomeError::Missing(_) => "`eparch init` makes one; `eparch run` does it by itself",
            HomeError::KeysLost(_) => {
                "bring the folder keys/ back from a copy; nothing else fits this ledger"
            }
            HomeError::Exists(_) => "use it as it is, or name another folder with --home",
            HomeError::Shared { shared: Shared::Owner(_), .. } => {
                "act as its owner, or use a home of your own with --home DIR"
            }
            HomeError::Shared { shared: Shared::Mode(_), .. } => {
                "if you made this home: chmod -R go-rwx DIR; if it came with a checkout or an archive, delete it: whoever \
                 made it knows its keys"
            }
            HomeError::Io { .. } => "check that the folder belongs to you and that the disk is not full",
            HomeError::NoKey(_) => {
                "act as somebody whose key is here with --as NAME, or sign with --key FILE"
            }
        }
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.to_owned();
    move |source| HomeError::Io { what, path, source }
}

impl Home {
    /// Where the home is: what was asked for, else `./.eparch` when there is one, else the user's own (interface.md 1).
    pub fn locate(asked: Option<PathBuf>, env: impl Fn(&str) -> Option<String>) -> PathBuf {
        if let Some(asked) = asked {
            return asked;
        }
        let local = PathBuf::from(LOCAL_HOME);
        if local.is_dir() {
            return local;
        }
        let state = env("XDG_STATE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let state = state.or_else(|| env("HOME").map(|home| Path::new(&home).join(".local/state")));
        state.map_or(local, |state| state.join("eparch"))
    }

    /// The home at `root`, if it is the user's alone.
    pub fn open(root: &Path) -> Result<Home, HomeError> {
        let home = Home::at_rest(root)?;
        if !home.keys().is_dir() {
            return Err(HomeError::KeysLost(root.to_owned()));
        }
        private::check(home.root())?;
        Ok(home)
    }

    /// The home at `root` for whoever reads what was written down and does nothing else: its keys may have been lost, or
    /// kept out of a copy.
    pub fn at_rest(root: &Path) -> Result<Home, HomeError> {
        if !root.join("keys").is_dir() && !has_history(root) {
            return Err(HomeError::Missing(root.to_owned()));
        }
        let root = root.canonicalize().map_err(io_error("find", root))?;
        Ok(Home { root })
    }

    /// Makes the folders and keys of a new home, one process at a time: several first runs may begin at once. Its first
    /// operator becomes known when it is first held.
    pub fn create(root: &Path, owner: &Name) -> Result<Home, HomeError> {
        Home::create_durably(root, owner, sync_dir)
    }

    /// The same; `sync` makes the names in a folder durable.
    fn create_durably(
        root: &Path,
        owner: &Name,
        sync: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<Home, HomeError> {
        // The names of the folders are as new as what will be in them, and as easily lost.
        folder::make(root, folder::PRIVATE, &sync).map_err(io_error("make", root))?;
        // Held until the folder is closed at the end.
        let held = fs::File::open(root).map_err(io_error("make", root))?;
        held.lock().map_err(io_error("make", root))?;
        if root.join("keys").exists() {
            return Err(HomeError::Exists(root.to_owned()));
        }
        // New keys would stand where those of the ledger must go.
        if has_history(root) {
            return Err(HomeError::KeysLost(root.to_owned()));
        }
        // One that was there may be open to others; from now on it holds keys.
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(io_error("close", root))?;
        let home = Home { root: root.canonicalize().map_err(io_error("find", root))? };
        for folder in [home.logs(), home.artifacts(), home.anchors(), home.runs()] {
            make_folder(&folder)?;
        }
        // The keys come last: a folder with keys is a home.
        make_folder(&home.root.join("keys.new/operators"))?;
        let keys = home.root.join("keys.new");
        write_secret(&keys.join("home.key"), &hex(&random_bytes()))?;
        write_secret(&keys.join("operators").join(format!("{owner}.key")), &new_operator_key())?;
        write_secret(&keys.join("owner"), owner.as_str())?;
        sync(&keys).map_err(io_error("write", &keys))?;
        fs::rename(&keys, home.keys())
            .and_then(|()| sync(&home.root))
            .map_err(io_error("make", &home.keys()))?;
        Ok(home)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.root.join(limits::DEFAULT_LEDGER_PATH)
    }

    /// The process that has the ledger's lock, if one has, by its id as far as it is known. One that also answers at the
    /// socket is better asked there.
    pub fn locked_by(&self) -> Option<Option<u32>> {
        let mut path = self.journal().into_os_string();
        path.push(".lock");
        let file = fs::File::open(path).ok()?;
        match file.try_lock_shared() {
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The id is a courtesy; being held is the answer with or without it.
                let _ = file.take(32).read_to_string(&mut text);
                Some(text.trim().parse().ok())
            }
            // Let go of again at once: whoever begins to hold the home now takes another look.
            Ok(()) | Err(fs::TryLockError::Error(_)) => None,
        }
    }

    /// The read models.
    pub fn views(&self) -> PathBuf {
        self.root.join("views.db")
    }

    /// Where the holder listens.
    pub fn socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// The keys.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The sealed vault, where no server is the home's.
    pub fn sealed_vault(&self) -> PathBuf {
        self.root.join(eparch_vault::Embedded::FILE)
    }

    /// The key of the sealed vault, where the environment says none.
    pub fn vault_key(&self) -> PathBuf {
        self.keys().join("vault.key")
    }

    /// Signed checkpoints, outside the database.
    pub fn anchors(&self) -> PathBuf {
        self.root.join("anchors")
    }

    /// Artifacts by content.
    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// Captured lines, by run.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Artifacts by run, stage and name, for people.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The operator who made the home.
    pub fn owner(&self) -> Result<Name, HomeError> {
        let path = self.keys().join("owner");
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        let bad =
            |problem: eparch_domain::BadName| io::Error::new(io::ErrorKind::InvalidData, problem.to_string());
        Name::new(text.trim()).map_err(bad).map_err(io_error("read", &path))
    }

    /// An operator's bearer key, when this home holds it.
    pub fn operator_key(&self, name: &Name) -> Result<String, HomeError> {
        let path = self.operator_key_path(name);
        match fs::read_to_string(&path) {
            Ok(key) => Ok(key.trim().to_owned()),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Err(HomeError::NoKey(name.clone())),
            Err(source) => Err(io_error("read", &path)(source)),
        }
    }

    /// Whether one of the operators' bearer keys that lie here has this hash. Whose it is and what they may do is for the
    /// ledger to say.
    pub(crate) fn holds_operator_key(&self, hash: &Digest) -> bool {
        let Ok(folder) = fs::read_dir(self.keys().join("operators")) else { return false };
        let is_it = |entry: fs::DirEntry| {
            let path = entry.path();
            // A draft is nobody's yet.
            path.extension().is_some_and(|kind| kind == "key")
                && fs::read_to_string(&path).is_ok_and(|key| Digest::of(key.trim().as_bytes()) == *hash)
        };
        folder.filter_map(Result::ok).any(is_it)
    }

    /// Makes a new bearer key for an operator, beside the one they have. It counts once it is kept.
    pub fn draft_operator_key(&self, name: &Name) -> Result<DraftKey, HomeError> {
        let key = new_operator_key();
        let hash = Digest::of(key.as_bytes());
        let to = self.operator_key_path(name);
        // Whoever holds the home is alone, and those of an earlier holder are settled before anybody asks for another.
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = to.with_extension(format!("{DRAFT_KEY}{number}"));
        write_new_secret(&draft, &key).map_err(io_error("write", &draft))?;
        Ok(DraftKey { draft, to, hash })
    }

    /// Settles what a crash left between a decision about an operator's key and the file: a draft that is the key the
    /// ledger knows (`known`) replaces the file, any other is forgotten.
    pub fn settle_operator_keys(&self, known: impl Fn(&Name) -> Option<Digest>) -> Result<(), HomeError> {
        let folder = self.keys().join("operators");
        for entry in fs::read_dir(&folder).map_err(io_error("read", &folder))? {
            let draft = entry.map_err(io_error("read", &folder))?.path();
            let kind = draft.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
            let name = draft.file_stem().and_then(|stem| Name::new(stem.to_str()?).ok());
            let Some(name) = name.filter(|_| kind.starts_with(DRAFT_KEY)) else { continue };
            let key = fs::read_to_string(&draft).map_err(io_error("read", &draft))?;
            let hash = Digest::of(key.trim().as_bytes());
            let found = DraftKey { draft, to: self.operator_key_path(&name), hash };
            if known(&name) == Some(hash) { found.keep()? } else { found.forget() }
        }
        Ok(())
    }

    /// Forgets an operator's bearer key.
    pub fn drop_operator_key(&self, name: &Name) -> Result<(), HomeError> {
        let path = self.operator_key_path(name);
        match fs::remove_file(&path) {
            Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &path)(problem))
            }
            _ => Ok(()),
        }
    }

    fn operator_key_path(&self, name: &Name) -> PathBuf {
        self.keys().join("operators").join(format!("{name}.key"))
    }

    /// The secret that agents' tokens are derived from.
    pub fn secret(&self) -> Result<Vec<u8>, HomeError> {
        let path = self.keys().join("home.key");
        fs::read(&path).map_err(io_error("read", &path))
    }
}

/// A key that was made and is not in force yet.
#[derive(Debug)]
pub struct DraftKey {
    draft: PathBuf,
    to: PathBuf,
    hash: Digest,
}

impl DraftKey {
    /// The key's hash, which is all the ledger gets.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// Puts it in the place of the one before, durably.
    pub fn keep(self) -> Result<(), HomeError> {
        let folder = self.to.parent().unwrap_or(Path::new("."));
        fs::rename(&self.draft, &self.to).and_then(|()| sync_dir(folder)).map_err(io_error("write", &self.to))
    }

    /// Lets go of it.
    pub fn forget(self) {
        // One that stays is settled when the home is held again.
        let _ = fs::remove_file(&self.draft);
    }
}

/// Whether something was ever written down here: a home that is being made has no journal and no checkpoints yet.
fn has_history(root: &Path) -> bool {
    let anchored = fs::read_dir(root.join("anchors")).is_ok_and(|mut notes| notes.next().is_some());
    anchored || root.join(limits::DEFAULT_LEDGER_PATH).exists()
}

/// Makes a folder that only its owner may look into, and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), HomeError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("make", path))
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_secret(path: &Path, text: &str) -> Result<(), HomeError> {
    let draft = path.with_extension("draft");
    let _ = fs::remove_file(&draft);
    let write = || -> io::Result<()> {
        write_new_secret(&draft, text)?;
        fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), sync_dir)
    };
    write().map_err(io_error("write", path))
}

fn write_new_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// 256 bits from the operating system.
pub(crate) fn random_bytes() -> [u8; 32] {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// 128 bits from the operating system, for an id.
pub fn random_bits() -> u128 {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&random_bytes()[..16]);
    u128::from_be_bytes(bytes)
}

fn hex(bytes: &[u8; 32]) -> String {
    Digest::from_bytes(*bytes).hex()
}

/// An operator's bearer key: a prefix that redaction knows, and 256 bits.
fn new_operator_key() -> String {
    format!("epk_{}", hex(&random_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_home_is_private_and_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("home");
        let owner = Name::new("ada").unwrap();
        assert!(matches!(Home::open(&root), Err(HomeError::Missing(_))));
        let home = Home::create(&root, &owner).unwrap();
        assert!(matches!(Home::create(&root, &owner), Err(HomeError::Exists(_))));
        assert_eq!(Home::open(&root).unwrap().owner().unwrap(), owner);
        assert!(home.operator_key(&owner).unwrap().starts_with("epk_"));
        assert!(matches!(home.operator_key(&Name::new("bob").unwrap()), Err(HomeError::NoKey(_))));
        for (path, mode) in [(home.root().to_owned(), 0o700), (home.keys().join("home.key"), 0o600)] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
        }
    }

    #[test]
    fn an_operators_key_that_lies_here_is_known_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let (ada, bob) = (Name::new("ada").unwrap(), Name::new("bob").unwrap());
        let home = Home::create(&dir.path().join("home"), &ada).unwrap();
        let hash = |key: &str| Digest::of(key.as_bytes());
        let key = home.operator_key(&ada).unwrap();
        assert!(home.holds_operator_key(&hash(&key)));
        let draft = home.draft_operator_key(&bob).unwrap();
        for nobodys in [hash(""), hash("ada"), hash(&format!("{key}\n")), draft.hash()] {
            assert!(!home.holds_operator_key(&nobodys));
        }
        draft.keep().unwrap();
        assert!(home.holds_operator_key(&hash(&home.operator_key(&bob).unwrap())));
        home.drop_operator_key(&ada).unwrap();
        assert!(!home.holds_operator_key(&hash(&key)));
    }

    #[test]
    fn a_home_whose_keys_are_gone_is_given_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("home");
        let owner = Name::new("ada").unwrap();
        let home = Home::create(&root, &owner).unwrap();
        // One that was given up while it was being made can be made again.
        fs::remove_dir_all(home.keys()).unwrap();
        let home = Home::create(&root, &owner).unwrap();
        fs::write(home.anchors().join("default.checkpoints"), "").unwrap();
        fs::rename(home.keys(), dir.path().join("away")).unwrap();
        assert!(matches!(Home::open(&root), Err(HomeError::KeysLost(_))));
        assert!(matches!(Home::create(&root, &owner), Err(HomeError::KeysLost(_))));
        assert!(!home.keys().exists());
        assert_eq!(Home::at_rest(&root).unwrap().root(), home.root(), "what it has written down can be read");
        assert!(matches!(Home::at_rest(&dir.path().join("nowhere")), Err(HomeError::Missing(_))));
    }

    #[test]
    fn a_key_is_replaced_only_once_it_is_decided_on() {
        let dir = tempfile::tempdir().unwrap();
        let (ada, bob) = (Name::new("ada").unwrap(), Name::new("bob").unwrap());
        let home = Home::create(&dir.path().join("home"), &ada).unwrap();
        let first = home.operator_key(&ada).unwrap();
        home.draft_operator_key(&ada).unwrap().forget();
        assert_eq!(home.operator_key(&ada).unwrap(), first);
        // Two drafts that a crash left behind: one was decided on, the other was not.
        let decided = home.draft_operator_key(&ada).unwrap().hash();
        home.draft_operator_key(&bob).unwrap();
        home.settle_operator_keys(|name| (*name == ada).then_some(decided)).unwrap();
        assert_eq!(Digest::of(home.operator_key(&ada).unwrap().as_bytes()), decided);
        assert!(matches!(home.operator_key(&bob), Err(HomeError::NoKey(_))));
        assert_eq!(fs::read_dir(home.keys().join("operators")).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn g1_the_name_of_a_new_home_and_those_above_it_are_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state/eparch");
        let synced = std::cell::RefCell::new(Vec::new());
        let sync = |folder: &Path| {
            synced.borrow_mut().push(folder.to_owned());
            sync_dir(folder)
        };
        Home::create_durably(&root, &Name::new("ada").unwrap(), sync).unwrap();
        let above = [dir.path().join("state"), dir.path().to_owned()];
        assert!(synced.borrow().starts_with(&above), "{synced:?}");
        assert_eq!(synced.borrow().last(), Some(&root), "the name of its keys comes last");
    }

    #[test]
    fn a_folder_that_was_open_to_others_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Home::create(dir.path(), &Name::new("ada").unwrap()).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn g8_a_home_that_somebody_else_may_have_made_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("home");
        Home::create(&root, &Name::new("ada").unwrap()).unwrap();
        for part in ["", "keys", "keys/home.key", "keys/operators"] {
            let path = if part.is_empty() { root.clone() } else { root.join(part) };
            let before = fs::metadata(&path).unwrap().permissions();
            // As a checkout leaves it, and one bit of somebody's group.
            for mode in [0o755, before.mode() & 0o7777 | 0o040] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let refused = Home::open(&root).unwrap_err();
                assert_eq!(refused.code(), "EP0506", "{part}");
                assert!(refused.to_string().contains(&format!("{mode:04o}")), "{refused}");
            }
            fs::set_permissions(&path, before).unwrap();
            Home::open(&root).unwrap();
        }
        let moved = dir.path().join("keys");
        fs::rename(root.join("keys"), &moved).unwrap();
        std::os::unix::fs::symlink(&moved, root.join("keys")).unwrap();
        assert_eq!(Home::open(&root).unwrap_err().code(), "EP0506", "a link is not a folder of the home");
        // Whoever only reads what was written needs no key of it.
        Home::at_rest(&root).unwrap();
        // Only root can give a folder away.
        if rustix::process::geteuid().is_root() {
            fs::remove_file(root.join("keys")).unwrap();
            fs::rename(&moved, root.join("keys")).unwrap();
            std::os::unix::fs::chown(&root, Some(4321), None).unwrap();
            let refused = Home::open(&root).unwrap_err();
            assert!(refused.to_string().ends_with("belongs to another user (4321)"), "{refused}");
        }
    }

    #[test]
    fn r030_the_ledger_lies_in_the_home_under_its_default_name() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("home"), &Name::new("ada").unwrap()).unwrap();
        assert_eq!(home.journal(), home.root().join("journal.db"));
        let ledger = eparch_ledger::Settings::in_home(home.root());
        assert_eq!(ledger.path, home.journal());
    }

    #[test]
    fn the_users_own_home_is_found_when_there_is_no_local_one() {
        let env = |key: &str| (key == "XDG_STATE_HOME").then(|| "/s".to_owned());
        assert_eq!(Home::locate(Some("/x".into()), env), Path::new("/x"));
        assert_eq!(Home::locate(None, env), Path::new("/s/eparch"));
        let env = |key: &str| (key == "HOME").then(|| "/h".to_owned());
        assert_eq!(Home::locate(None, env), Path::new("/h/.local/state/eparch"));
    }
}
