//! The vault of a home: which of the two it is, opened when it is first needed. One that cannot be opened keeps nobody from
//! anything but secrets, and is tried again whenever somebody asks for one.

pub(crate) mod credentials;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eparch_domain::{BreakerState, Clock, Name, Span};
use eparch_vault::{
    ConnectError, Embedded, Fields, Guarded, Hashicorp, Health, KeyFrom, OpenError, Reader, SealKey,
    SealKeyError, SecretPath, SecretVersion, Settings, StoreError, Vault, VaultError,
};
use tokio::sync::Mutex;

use crate::home::Home;

/// The vault of a home, as its holder has it.
pub(crate) struct HomeVault {
    settings: Settings,
    root: PathBuf,
    sealed: PathBuf,
    key_file: PathBuf,
    /// What this home is called on a server.
    name: Name,
    clock: Arc<dyn Clock>,
    opened: Mutex<Option<Opened>>,
    issuing: credentials::Issuing,
}

/// The one place that knows which of the two it is.
#[derive(Clone)]
enum Opened {
    Embedded(Arc<Embedded>),
    Server(Arc<Guarded<Hashicorp>>),
}

/// Why a vault gives nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultFailure {
    /// The sealed store cannot be opened, or made.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// What the settings name cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It was asked, and did not do it.
    #[error(transparent)]
    Asked(#[from] VaultError),
    /// The thread that was to open it ended in a panic.
    #[error("opening the vault failed inside")]
    Lost,
}

impl From<SealKeyError> for VaultFailure {
    fn from(error: SealKeyError) -> VaultFailure {
        VaultFailure::Store(error.into())
    }
}

impl HomeVault {
    /// The vault that settings name; nothing is opened or asked yet. `digest` is what no other home has, in hexadecimal.
    pub(crate) fn new(home: &Home, settings: &Settings, clock: Arc<dyn Clock>, digest: &str) -> HomeVault {
        let name = format!("eparch-{}", digest.chars().take(16).collect::<String>());
        HomeVault {
            settings: settings.clone(),
            root: home.root().to_owned(),
            sealed: home.sealed_vault(),
            key_file: home.vault_key(),
            name: Name::new(&name).expect("letters, digits and - are a name"),
            clock,
            opened: Mutex::new(None),
            issuing: credentials::Issuing::default(),
        }
    }

    /// The address of the server, when it is one.
    pub(crate) fn address(&self) -> Option<&str> {
        self.settings.address.as_deref()
    }

    /// Which vault it is, in a word that is kept with what it issues: the server's address, or the file.
    pub(crate) fn place(&self) -> String {
        self.address().unwrap_or("the sealed file").to_owned()
    }

    /// Where the sealed file lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.root
    }

    /// Whether there is one: the sealed file is made when something is first written.
    async fn is_made(&self) -> Result<bool, VaultFailure> {
        if self.settings.address.is_some() || self.opened.lock().await.is_some() {
            return Ok(true);
        }
        let path = self.sealed.clone();
        let looked = path.try_exists();
        looked.map_err(|source| OpenError::from(StoreError::Io { doing: "look for", path, source }).into())
    }

    async fn open(&self) -> Result<Opened, VaultFailure> {
        let mut opened = self.opened.lock().await;
        if let Some(found) = &*opened {
            return Ok(found.clone());
        }
        let found = if self.settings.address.is_some() {
            let server = Hashicorp::new(&self.settings, self.name.clone())?;
            Opened::Server(Arc::new(Guarded::new(server, self.clock.clone())))
        } else {
            let key = self.settings.seal_key()?;
            let (root, file, clock) = (self.root.clone(), self.key_file.clone(), self.clock.clone());
            let task = tokio::task::spawn_blocking(move || open_or_make(root, file, key, clock));
            Opened::Embedded(Arc::new(task.await.map_err(|_| VaultFailure::Lost)??))
        };
        *opened = Some(found.clone());
        Ok(found)
    }

    /// The vault itself.
    async fn vault(&self) -> Result<Arc<dyn Vault>, VaultFailure> {
        Ok(match self.open().await? {
            Opened::Embedded(vault) => vault,
            Opened::Server(vault) => vault,
        })
    }

    /// How it is (R126); nothing when there is none yet.
    pub(crate) async fn health(&self) -> Result<Option<Health>, VaultFailure> {
        if !self.is_made().await? {
            return Ok(None);
        }
        Ok(Some(self.vault().await?.health().await?))
    }

    /// How the breaker before its server stands; nothing where there is no server, or it was never asked.
    pub(crate) async fn breaker(&self) -> Option<BreakerState> {
        match &*self.opened.lock().await {
            Some(Opened::Server(server)) => Some(server.breaker()),
            Some(Opened::Embedded(_)) | None => None,
        }
    }

    /// How far the clock is behind what the sealed file recorded, when it is: no token gives authority until it is not.
    pub(crate) async fn clock_behind(&self) -> Result<Option<Span>, VaultFailure> {
        match self.open().await? {
            Opened::Embedded(vault) => Ok(vault.clock_behind().await?),
            Opened::Server(_) => Ok(None),
        }
    }

    /// Takes the clock as right, where it is behind what the sealed file recorded.
    pub(crate) async fn accept_clock(&self) -> Result<(), VaultFailure> {
        if !self.is_made().await? {
            return Ok(());
        }
        match self.open().await? {
            Opened::Embedded(vault) => Ok(vault.accept_clock().await?),
            Opened::Server(_) => Ok(()),
        }
    }

    /// The wall clock was put back while the home is held: nothing about it is unknown, and a sealed file that is open takes
    /// note, so that whoever opens it next does not doubt the clock for what it said before. One that is not open yet may.
    pub(crate) async fn clock_was_put_back(&self) {
        let opened = self.opened.lock().await.clone();
        if let Some(Opened::Embedded(vault)) = opened
            && let Err(problem) = vault.note_clock().await
        {
            crate::holder::note(&format!(
                "the sealed vault could not take note of the clock: {}",
                eparch_domain::in_full(&problem)
            ));
        }
    }

    /// Reads a secret for an operator, with the home's own authority.
    pub(crate) async fn read(
        &self,
        path: &SecretPath,
        version: Option<u32>,
    ) -> Result<SecretVersion, VaultFailure> {
        if !self.is_made().await? {
            return Err(VaultError::NotFound { what: "secret" }.into());
        }
        Ok(self.vault().await?.read(Reader::Daemon, path, version).await?)
    }

    /// Writes a new version of a secret for an operator.
    pub(crate) async fn write(
        &self,
        path: &SecretPath,
        fields: Fields,
        expected: Option<u32>,
    ) -> Result<u32, VaultFailure> {
        Ok(self.vault().await?.write(path, fields, expected).await?)
    }

    /// What lies directly below a path.
    pub(crate) async fn list(&self, below: Option<&SecretPath>) -> Result<Vec<String>, VaultFailure> {
        match (self.is_made().await?, below) {
            (true, _) => Ok(self.vault().await?.list(below).await?),
            (false, None) => Ok(Vec::new()),
            (false, Some(_)) => Err(VaultError::NotFound { what: "folder" }.into()),
        }
    }
}

/// Opens the sealed file of a home, or makes an empty one where there is none. A key is made only where there is none
/// either, and none ever takes the place of another: what was sealed with it could not be read any more.
fn open_or_make(
    root: PathBuf,
    key_file: PathBuf,
    key: Option<SealKey>,
    clock: Arc<dyn Clock>,
) -> Result<Embedded, OpenError> {
    let is_kept_here = key.is_none();
    let key = key.map_or_else(|| KeyFrom::File(key_file.clone()), KeyFrom::Elsewhere);
    match Embedded::open(&root, key.clone(), clock.clone()) {
        Err(OpenError::Store(StoreError::Missing { .. })) => {}
        opened => return opened,
    }
    if is_kept_here {
        match SealKey::create(&key_file) {
            // A crash came between the key and the file, or somebody brought the key back from a copy.
            Ok(_) | Err(SealKeyError::Exists { .. }) => {}
            Err(problem) => return Err(problem.into()),
        }
    }
    crate::holder::note("there was no sealed vault; an empty one was made");
    Embedded::create(&root, key, clock)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use eparch_domain::{ManualClock, Moment};

    use super::*;

    struct Place {
        _dir: tempfile::TempDir,
        home: Home,
    }

    impl Place {
        fn new() -> Place {
            let dir = tempfile::tempdir().unwrap();
            let home = Home::create(&dir.path().join("home"), &Name::new("ada").unwrap()).unwrap();
            Place { _dir: dir, home }
        }

        fn vault(&self, key: Option<&str>) -> HomeVault {
            let settings = Settings { key: key.map(Into::into), ..Settings::default() };
            let clock = Arc::new(ManualClock::at(Moment::default()));
            HomeVault::new(&self.home, &settings, clock, &"0".repeat(64))
        }
    }

    fn path() -> SecretPath {
        SecretPath::new("inventory/hosts").unwrap()
    }

    fn fields() -> Fields {
        [("password".to_owned(), "hunter2".into())].into()
    }

    #[tokio::test]
    async fn a_home_has_a_sealed_vault_from_when_it_is_first_needed() {
        let place = Place::new();
        let vault = place.vault(None);
        let missing = vault.read(&path(), None).await;
        assert!(matches!(missing, Err(VaultFailure::Asked(VaultError::NotFound { what: "secret" }))));
        assert_eq!(vault.list(None).await.unwrap(), Vec::<String>::new());
        assert!(!place.home.vault_key().exists() && !vault.is_made().await.unwrap());
        assert_eq!(vault.write(&path(), fields(), Some(0)).await.unwrap(), 1);
        for file in [place.home.vault_key(), place.home.sealed_vault()] {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
        let second = place.vault(None).read(&path(), None).await;
        assert!(matches!(second, Err(VaultFailure::Store(OpenError::Store(StoreError::InUse { .. })))));
        drop(vault);
        assert_eq!(place.vault(None).read(&path(), None).await.unwrap().fields, fields());
    }

    #[tokio::test]
    async fn a_vault_whose_key_is_gone_or_another_is_left_as_it_is() {
        let place = Place::new();
        place.vault(None).write(&path(), fields(), None).await.unwrap();
        let sealed = place.home.sealed_vault();
        let (before, key) = (fs::read(&sealed).unwrap(), fs::read(place.home.vault_key()).unwrap());
        fs::remove_file(place.home.vault_key()).unwrap();
        // One is tried again, whatever went wrong before.
        let vault = place.vault(None);
        let gone = vault.read(&path(), None).await;
        assert!(matches!(
            gone,
            Err(VaultFailure::Store(OpenError::Key(SealKeyError::Missing { path }))) if path == place.home.vault_key()
        ));
        let foreign = place.vault(Some(&"ab".repeat(32))).read(&path(), None).await;
        assert!(matches!(foreign, Err(VaultFailure::Store(OpenError::Store(StoreError::ForeignKey { .. })))));
        assert_eq!(fs::read(&sealed).unwrap(), before);
        fs::write(place.home.vault_key(), &key).unwrap();
        fs::set_permissions(place.home.vault_key(), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(vault.read(&path(), None).await.unwrap().version, 1);
    }

    #[tokio::test]
    async fn a_key_of_the_environment_is_written_nowhere() {
        let place = Place::new();
        let key = "ab".repeat(32);
        place.vault(Some(&key)).write(&path(), fields(), None).await.unwrap();
        assert!(!place.home.vault_key().exists());
        assert_eq!(place.vault(Some(&key)).read(&path(), None).await.unwrap().version, 1);
    }
}
