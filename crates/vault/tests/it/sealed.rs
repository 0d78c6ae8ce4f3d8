//! What is special to the embedded home: its file and its key.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eparch_domain::{ManualClock, Span, Tier};
use eparch_vault::{
    ChildGrant, Embedded, KeyFrom, OpenError, Reader, RunGrant, SealKey, SealKeyError, SecretPath,
    StoreError, Vault, VaultError,
};

use crate::home::{HOUR, MINUTE, agent, clock, fields, run};

const KEY: &str = "vault.key";
const STORE: &str = "vault.sealed";

/// A folder with a key and an empty store, and time in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

impl Place {
    pub(crate) fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap(), clock: clock() };
        SealKey::create(&place.key()).unwrap();
        Embedded::create(place.dir.path(), place.key_file(), place.clock.clone()).unwrap();
        place
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn key(&self) -> PathBuf {
        self.path().join(KEY)
    }

    fn store(&self) -> PathBuf {
        self.path().join(STORE)
    }

    fn key_file(&self) -> KeyFrom {
        KeyFrom::File(self.key())
    }

    fn try_open(&self) -> Result<Embedded, OpenError> {
        Embedded::open(self.path(), self.key_file(), self.clock.clone())
    }

    pub(crate) fn open(&self) -> Embedded {
        self.try_open().unwrap()
    }
}

pub(crate) fn path() -> SecretPath {
    SecretPath::new("inventory/hosts").unwrap()
}

pub(crate) async fn write(vault: &Embedded, text: &str) -> u32 {
    vault.write(&path(), fields(&[("password", text)]), None).await.unwrap()
}

pub(crate) async fn text(vault: &Embedded) -> String {
    vault.read(Reader::Daemon, &path(), None).await.unwrap().fields["password"].expose().to_owned()
}

pub(crate) fn grant(ttl: Span) -> RunGrant {
    RunGrant { run: run(), tier: Tier::T2, ttl }
}

#[tokio::test]
async fn g7_everything_acknowledged_is_there_after_reopening() {
    let place = Place::new();
    let vault = place.open();
    write(&vault, "one").await;
    let (kept, revoked) =
        (vault.issue_run(grant(HOUR)).await.unwrap(), vault.issue_run(grant(HOUR)).await.unwrap());
    let child = ChildGrant { agent: agent(), tier: Tier::T0, ttl: MINUTE };
    let child = vault.issue_child(&kept.token, child).await.unwrap();
    vault.revoke(&revoked.status.accessor).await.unwrap();
    drop(vault);
    let vault = place.open();
    assert_eq!(text(&vault).await, "one");
    assert_eq!(vault.lookup(&kept.status.accessor).await.unwrap(), kept.status);
    assert!(vault.read(Reader::Token(&child.token), &path(), None).await.is_ok());
    let over = vault.lookup(&revoked.status.accessor).await;
    assert!(matches!(over, Err(VaultError::Ended { how: eparch_vault::Ending::Revoked })), "{over:?}");
    // A child still dies with its parent.
    vault.revoke(&kept.status.accessor).await.unwrap();
    assert!(vault.read(Reader::Token(&child.token), &path(), None).await.is_err());
}

#[test]
fn one_process_has_the_store_at_a_time() {
    let place = Place::new();
    let held = place.open();
    assert!(matches!(place.try_open(), Err(OpenError::Store(StoreError::InUse { .. }))));
    drop(held);
    assert!(place.try_open().is_ok());
}

#[test]
fn a_store_is_made_once() {
    let place = Place::new();
    let before = fs::read(place.store()).unwrap();
    let again = Embedded::create(place.path(), place.key_file(), place.clock.clone());
    assert!(matches!(again, Err(OpenError::Store(StoreError::Exists { .. }))));
    assert_eq!(fs::read(place.store()).unwrap(), before);
    fs::remove_file(place.store()).unwrap();
    assert!(matches!(place.try_open(), Err(OpenError::Store(StoreError::Missing { .. }))));
}

#[test]
fn g4_a_store_of_another_key_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let before = fs::read(place.store()).unwrap();
    fs::remove_file(place.key()).unwrap();
    assert!(matches!(place.try_open(), Err(OpenError::Key(SealKeyError::Missing { .. }))));
    SealKey::create(&place.key()).unwrap();
    let told = place.try_open().unwrap_err();
    assert!(matches!(told, OpenError::Store(StoreError::ForeignKey { .. })), "{told:?}");
    // Nor with one that waits to take its place and is no better.
    SealKey::create(&place.path().join("vault.key.new")).unwrap();
    assert!(matches!(place.try_open(), Err(OpenError::Store(StoreError::ForeignKey { .. }))));
    assert_eq!(fs::read(place.store()).unwrap(), before);
}

#[tokio::test]
async fn g4_a_damaged_store_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let vault = place.open();
    write(&vault, "one").await;
    drop(vault);
    let whole = fs::read(place.store()).unwrap();
    let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), b"{}".to_vec(), whole[..whole.len() / 2].to_vec()];
    damaged.push([whole.as_slice(), b"x"].concat());
    damaged.push(vec![0; 20 << 20]);
    for at in (0..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        damaged.push(changed);
    }
    for bytes in damaged {
        fs::write(place.store(), &bytes).unwrap();
        let told = place.try_open().unwrap_err();
        let refused =
            matches!(told, OpenError::Store(StoreError::Damaged { .. } | StoreError::ForeignKey { .. }));
        assert!(refused, "{told:?}");
        assert_eq!(fs::read(place.store()).unwrap(), bytes);
    }
    fs::write(place.store(), &whole).unwrap();
    assert_eq!(text(&place.open()).await, "one");
}

#[tokio::test]
async fn a_rotated_key_opens_the_store_and_the_old_one_does_not() {
    let place = Place::new();
    let vault = place.open();
    write(&vault, "one").await;
    let run = vault.issue_run(grant(HOUR)).await.unwrap();
    let old = SealKey::load(&place.key()).unwrap();
    vault.rotate(SealKey::draw().unwrap()).await.unwrap();
    write(&vault, "two").await;
    assert_eq!(vault.lookup(&run.status.accessor).await.unwrap().run, run.status.run);
    drop(vault);
    let left: Vec<String> = fs::read_dir(place.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("key"))
        .collect();
    assert_eq!(left, [KEY], "no other key is left behind");
    assert_eq!(text(&place.open()).await, "two");
    let told = Embedded::open(place.path(), KeyFrom::Elsewhere(old), place.clock.clone()).unwrap_err();
    assert!(matches!(told, OpenError::Store(StoreError::ForeignKey { .. })));
}

#[tokio::test]
async fn a_key_that_is_kept_elsewhere_is_rotated_by_whoever_keeps_it() {
    let place = Place::new();
    let old = SealKey::load(&place.key()).unwrap();
    fs::remove_file(place.key()).unwrap();
    let open =
        |key: &SealKey| Embedded::open(place.path(), KeyFrom::Elsewhere(key.clone()), place.clock.clone());
    let next = SealKey::draw().unwrap();
    open(&old).unwrap().rotate(next.clone()).await.unwrap();
    assert!(open(&old).is_err());
    assert!(open(&next).is_ok());
    assert!(!place.key().exists());
}

#[tokio::test]
async fn a_rotation_that_a_crash_cut_short_is_finished_or_undone() {
    let place = Place::new();
    let vault = place.open();
    write(&vault, "one").await;
    let draft = place.path().join("vault.key.new");
    let (key, store) = (fs::read(place.key()).unwrap(), fs::read(place.store()).unwrap());
    vault.rotate(SealKey::draw().unwrap()).await.unwrap();
    drop(vault);
    let (next_key, next_store) = (fs::read(place.key()).unwrap(), fs::read(place.store()).unwrap());
    let leave = |key: &[u8], store: &[u8], waiting: Option<&[u8]>| {
        fs::write(place.key(), key).unwrap();
        fs::write(place.store(), store).unwrap();
        if let Some(waiting) = waiting {
            fs::copy(place.key(), &draft).unwrap(); // for its permissions
            fs::write(&draft, waiting).unwrap();
        }
    };
    // After the draft; then after the store; then after the key.
    leave(&key, &store, Some(&next_key));
    assert_eq!(text(&place.open()).await, "one");
    assert!(!draft.exists() && fs::read(place.key()).unwrap() == key, "it never happened");
    leave(&key, &next_store, Some(&next_key));
    assert_eq!(text(&place.open()).await, "one");
    assert!(!draft.exists() && fs::read(place.key()).unwrap() == next_key, "it is finished");
    // Half a draft, before anything was sealed with it.
    leave(&key, &store, Some(&next_key[..20]));
    assert_eq!(text(&place.open()).await, "one");
    assert!(!draft.exists());
    leave(&next_key, &next_store, None);
    assert_eq!(text(&place.open()).await, "one");
}

/// Between the store and its key's file: the draft is the only copy of the key then, and nothing may be written over it.
#[tokio::test]
async fn g7_a_key_that_could_not_be_put_in_its_place_is_not_lost() {
    let place = Place::new();
    let vault = place.open();
    write(&vault, "one").await;
    // A folder that is not empty, where the key's file should be: no file takes its place.
    fs::remove_file(place.key()).unwrap();
    fs::create_dir_all(place.key().join("x")).unwrap();
    assert!(vault.rotate(SealKey::draw().unwrap()).await.is_err());
    let draft = fs::read(place.path().join("vault.key.new")).unwrap();
    for _ in 0..2 {
        assert!(vault.rotate(SealKey::draw().unwrap()).await.is_err());
        let asked = vault.issue_run(grant(HOUR)).await.unwrap_err();
        assert!(
            matches!(asked, VaultError::Store(StoreError::Io { .. })) && asked.is_retryable(),
            "{asked:?}"
        );
        assert!(SealKey::create(&place.key()).is_err());
        assert_eq!(fs::read(place.path().join("vault.key.new")).unwrap(), draft);
    }
    fs::remove_dir_all(place.key()).unwrap();
    assert_eq!(text(&vault).await, "one");
    assert_eq!(fs::read(place.key()).unwrap(), draft);
    vault.rotate(SealKey::draw().unwrap()).await.unwrap();
    drop(vault);
    assert_eq!(text(&place.open()).await, "one");
}

/// Somebody makes a home anew over one whose rotation a crash cut short.
#[tokio::test]
async fn g7_making_a_key_where_one_waits_to_take_its_place_keeps_both() {
    let place = Place::new();
    let vault = place.open();
    write(&vault, "one").await;
    let key = fs::read(place.key()).unwrap();
    vault.rotate(SealKey::draw().unwrap()).await.unwrap();
    drop(vault);
    let waiting = place.path().join("vault.key.new");
    fs::rename(place.key(), &waiting).unwrap();
    fs::copy(&waiting, place.key()).unwrap(); // for its permissions
    fs::write(place.key(), key).unwrap();
    assert!(matches!(SealKey::create(&place.key()), Err(SealKeyError::Exists { .. })));
    assert_eq!(text(&place.open()).await, "one");
}

/// Canaries in every field that is handed in, numbers among them, are in no file, no error and no `Debug` (F18).
#[tokio::test]
async fn g8_nothing_that_is_handed_in_can_be_read_off_the_disk_or_an_error() {
    let place = Place::new();
    let key = fs::read_to_string(place.key()).unwrap().trim().to_owned();
    let vault = place.open();
    let mut canaries: Vec<String> = Vec::new();
    let mut shown: Vec<String> = vec![format!("{vault:?}")];
    for number in 0..250u32 {
        let word = format!("canary-{number}-{}", number.wrapping_mul(2_654_435_761));
        let digits = (9_000_000_000_000_000u64 + u64::from(number) * 7_919).to_string();
        let path = SecretPath::new(&format!("shared/s{}", number % 40)).unwrap();
        let pairs = [("password", word.as_str()), ("pin", digits.as_str())];
        vault.write(&path, fields(&pairs), None).await.unwrap();
        shown.push(format!("{:?}", vault.read(Reader::Daemon, &path, None).await));
        let wrong = vault.write(&path, fields(&pairs), Some(9_999)).await.unwrap_err();
        let bad = vault.write(&path, fields(&[("bad name", &word)]), None).await.unwrap_err();
        let token = eparch_vault::Token::new(eparch_vault::Secret::from(word.as_str()));
        let unknown = vault.read(Reader::Token(&token), &path, None).await.unwrap_err();
        let unwrapped = vault.unwrap(&token).await.unwrap_err();
        shown
            .push(format!("{wrong} {wrong:?} {bad} {bad:?} {unknown} {unknown:?} {unwrapped} {unwrapped:?}"));
        canaries.extend([word, digits]);
    }
    let run = vault.issue_run(grant(HOUR)).await.unwrap();
    let child = ChildGrant { agent: agent(), tier: Tier::T2, ttl: MINUTE };
    let child = vault.issue_child(&run.token, child).await.unwrap();
    let shared = SecretPath::new("shared/s1").unwrap();
    let wrapping = vault.wrap(&child.token, &shared, MINUTE).await.unwrap();
    shown.push(format!("{run:?} {child:?} {wrapping:?}"));
    shown.push(format!("{:?}", vault.find(None).await.unwrap()));
    canaries.extend([&run.token, &child.token, &wrapping].map(|token| token.expose().to_owned()));
    vault.rotate(SealKey::draw().unwrap()).await.unwrap();
    drop(vault);
    canaries.push(key);
    assert!(canaries.len() > 500);

    let mut searched = 0;
    for file in fs::read_dir(place.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        searched += bytes.len();
        for canary in &canaries {
            // As it is, and as halves: what was cut in two is found as well.
            let halves = canary.split_at(canary.len() / 2);
            for part in [canary.as_str(), halves.0, halves.1].into_iter().filter(|part| part.len() >= 8) {
                let found = bytes.windows(part.len()).any(|window| window == part.as_bytes());
                assert!(!found, "{} holds {part}", path.display());
            }
        }
    }
    assert!(searched > 10_000, "the store was searched");
    for text in &shown {
        for canary in &canaries {
            assert!(!text.contains(canary.as_str()), "{text}");
        }
    }
}

#[test]
fn g8_nobody_else_may_read_what_lies_in_the_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    for file in fs::read_dir(place.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
}

#[tokio::test]
async fn g4_a_store_that_cannot_be_written_issues_nothing_and_goes_on_when_it_can() {
    let place = Place::new();
    let vault = place.open();
    write(&vault, "one").await;
    let run = vault.issue_run(grant(HOUR)).await.unwrap();
    // A folder in the place of the draft: nothing can be written there, not even by root.
    let draft = place.path().join("vault.sealed.draft");
    fs::create_dir(&draft).unwrap();
    let failed = vault.issue_run(grant(HOUR)).await.unwrap_err();
    assert!(
        matches!(failed, VaultError::Store(StoreError::Io { .. })) && failed.is_retryable(),
        "{failed:?}"
    );
    assert!(vault.revoke(&run.status.accessor).await.is_err());
    assert!(vault.rotate(SealKey::draw().unwrap()).await.is_err());
    assert_eq!(text(&vault).await, "one");
    assert!(vault.lookup(&run.status.accessor).await.is_ok(), "what was not done did not happen");
    fs::remove_dir(&draft).unwrap();
    vault.revoke(&run.status.accessor).await.unwrap();
    assert!(vault.lookup(&run.status.accessor).await.is_err());
    drop(vault);
    let vault = place.open();
    assert!(vault.lookup(&run.status.accessor).await.is_err());
    assert_eq!(vault.find(None).await.unwrap(), []);
}
