//! The embedded store, stopped or failed at each of its system calls: what was acknowledged is there, and what was cut off is
//! there wholly or not at all.
//!
//! A copy of this test program plays the same few changes under `strace`, which kills it at the n-th call of a kind on the
//! store's files, or makes that call fail. What it prints is what it acknowledged.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use eparch_domain::{RunId, Span, Tier};
use eparch_vault::{Accessor, Embedded, KeyFrom, Reader, RunGrant, SealKey, SecretPath, Vault, VaultError};

use crate::home::{clock, fields};

/// The folder that the copy works in.
const FOLDER: &str = "EPARCH_VAULT_CRASH";

/// The changes, in their order.
const CHANGES: [&str; 6] = ["write 1", "issue", "write 2", "rotate", "revoke", "write 3"];

/// The kinds of calls that change a file or a folder, as strace names them.
const CALLS: [&str; 6] = ["openat", "write", "fsync", "?rename,?renameat,?renameat2", "unlink", "ftruncate"];

fn key(folder: &Path) -> PathBuf {
    folder.join("vault.key")
}

fn open(folder: &Path) -> Embedded {
    Embedded::open(folder, KeyFrom::File(key(folder)), clock()).unwrap()
}

fn path() -> SecretPath {
    SecretPath::new("inventory/hosts").unwrap()
}

/// A folder with a key, an empty store and a token that is to be revoked.
async fn prepared() -> (tempfile::TempDir, Accessor) {
    let dir = tempfile::tempdir().unwrap();
    SealKey::create(&key(dir.path())).unwrap();
    let vault = Embedded::create(dir.path(), KeyFrom::File(key(dir.path())), clock()).unwrap();
    let grant = RunGrant { run: RunId::from_bits(7), tier: Tier::T0, ttl: Span::from_hours(2) };
    let accessor = vault.issue_run(grant).await.unwrap().status.accessor;
    (dir, accessor)
}

/// Plays the changes, and says of each whether it was acknowledged.
async fn play(folder: &Path, mut say: impl FnMut(&str, bool)) {
    let vault = open(folder);
    let victim = vault.find(Some(RunId::from_bits(7))).await.unwrap().pop().unwrap().accessor;
    for change in CHANGES {
        let done = match change.split_once(' ') {
            Some((_, text)) => vault.write(&path(), fields(&[("password", text)]), None).await.is_ok(),
            None if change == "issue" => {
                let grant = RunGrant { run: RunId::from_bits(8), tier: Tier::T0, ttl: Span::from_hours(2) };
                vault.issue_run(grant).await.is_ok()
            }
            None if change == "rotate" => vault.rotate(SealKey::draw().unwrap()).await.is_ok(),
            None => vault.revoke(&victim).await.is_ok(),
        };
        say(change, done);
    }
}

/// Without a folder to work in, this is the changes without any fault. With one, it is the copy that strace holds.
#[test]
fn the_changes_are_acknowledged_when_nothing_fails() {
    // One thread makes all calls: strace counts those of each thread by themselves.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    if let Some(folder) = std::env::var_os(FOLDER) {
        let mut out = std::io::stderr();
        runtime.block_on(play(Path::new(&folder), |change, done| {
            let _ = writeln!(out, "{} {change}", if done { "acknowledged" } else { "failed" });
        }));
        return;
    }
    runtime.block_on(async {
        let (dir, victim) = prepared().await;
        let mut done = Vec::new();
        play(dir.path(), |change, is_done| done.push((change.to_owned(), is_done))).await;
        assert_eq!(done, CHANGES.map(|change| (change.to_owned(), true)));
        check(dir.path(), &victim, &done, None).await;
    });
}

/// Plays the changes under strace. What it acknowledged and what it failed, in order, and whether it came to its end.
fn play_under(folder: &Path, call: &str, fault: &str) -> (Vec<(String, bool)>, bool) {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(folder.join("strace"));
    for name in ["vault.sealed", "vault.sealed.draft", "vault.key", "vault.key.new", "vault.key.new.draft"] {
        strace.arg("-P").arg(folder.join(name));
    }
    strace.arg("-P").arg(folder).arg("-e").arg(format!("trace={call}"));
    strace.arg("-e").arg(format!("inject={call}:{fault}"));
    strace.arg(std::env::current_exe().unwrap());
    strace.args(["--exact", "crash::the_changes_are_acknowledged_when_nothing_fails", "--nocapture"]);
    strace.env(FOLDER, folder).stdin(Stdio::null());
    let output = strace.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let said = told.lines().filter_map(|line| {
        let (word, change) = line.split_once(' ')?;
        let done = match word {
            "acknowledged" => true,
            "failed" => false,
            _ => return None,
        };
        Some((change.to_owned(), done))
    });
    (said.collect(), output.status.success())
}

/// Holds what the store has to what was acknowledged. `cut` is the change that nobody heard of any more.
async fn check(folder: &Path, victim: &Accessor, said: &[(String, bool)], cut: Option<&str>) {
    let vault = open(folder);
    let word = |change: &str| said.iter().find(|(said, _)| said == change).map(|(_, done)| *done);
    // Done, not done, or either: what failed may have reached the disk all the same.
    let expected = |change: &str| match word(change) {
        Some(true) => Some(true),
        None if cut != Some(change) => Some(false),
        _ => None,
    };
    let newest = match vault.read(Reader::Daemon, &path(), None).await {
        Ok(found) => Some(found.fields["password"].expose().to_owned()),
        Err(VaultError::NotFound { .. }) => None,
        Err(other) => panic!("{other:?}"),
    };
    let writes = ["write 1", "write 2", "write 3"];
    let allowed: Vec<Option<String>> = {
        let sure = writes.iter().rposition(|change| expected(change) == Some(true));
        let from = sure.map_or(0, |at| at + 1);
        let possible = writes[from..].iter().filter(|change| expected(change).is_none());
        let sure = sure.map(|at| writes[at]);
        std::iter::once(sure)
            .chain(possible.copied().map(Some))
            .map(|change| change.map(|change| change[6..].to_owned()))
            .collect()
    };
    assert!(allowed.contains(&newest), "{newest:?} of {allowed:?}; said: {said:?}, cut: {cut:?}");
    let issued = !vault.find(Some(RunId::from_bits(8))).await.unwrap().is_empty();
    assert!(
        expected("issue").is_none_or(|expected| expected == issued),
        "issued: {issued}; {said:?}, {cut:?}"
    );
    let revoked = vault.lookup(victim).await.is_err();
    assert!(
        expected("revoke").is_none_or(|expected| expected == revoked),
        "revoked: {revoked}; {said:?}, {cut:?}"
    );
    // And it goes on from there.
    let version = vault.write(&path(), fields(&[("password", "after")]), None).await.unwrap();
    assert!(version >= 1);
    drop(vault);
    assert_eq!(open(folder).read(Reader::Daemon, &path(), None).await.unwrap().version, version);
    let mut left: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    left.retain(|name| name != "strace");
    left.sort();
    assert_eq!(left, ["vault.key", "vault.lock", "vault.sealed"], "no draft is left");
}

/// Whether faults can be injected here; a test that cannot says so.
fn can_inject(test: &str) -> bool {
    let found = Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    if !found && let Some(notes) = std::env::var_os("EPARCH_NOT_RUN") {
        let mut notes = fs::OpenOptions::new().append(true).open(notes).unwrap();
        writeln!(notes, "crash::{test}: there is no strace here").unwrap();
    }
    found
}

/// Tries the n-th call of each kind, until there is none; how many there were.
async fn at_each_call(fault: &str) -> usize {
    let mut points = 0;
    for call in CALLS {
        for nth in 1.. {
            let (dir, victim) = prepared().await;
            let (said, ended) = play_under(dir.path(), call, &format!("{fault}:when={nth}"));
            let log = fs::read_to_string(dir.path().join("strace")).unwrap();
            let hit = log.contains("INJECTED") || log.contains("killed by SIGKILL");
            let cut = if ended { None } else { CHANGES.get(said.len()).copied() };
            let case = format!("{fault} at {call} {nth}: {said:?}\n{log}");
            assert_eq!(ended, said.len() == CHANGES.len(), "{case}");
            eprintln!("{case}");
            check(dir.path(), &victim, &said, cut).await;
            if !hit {
                assert!(ended && said.iter().all(|(_, done)| *done), "{case}");
                break;
            }
            points += 1;
        }
    }
    points
}

#[tokio::test]
async fn g7_a_kill_at_any_call_leaves_each_change_whole_or_absent() {
    if !can_inject("g7_a_kill_at_any_call_leaves_each_change_whole_or_absent") {
        return;
    }
    let points = at_each_call("signal=KILL").await;
    assert!(points >= 30, "{points}");
}

#[tokio::test]
async fn g1_a_call_that_fails_loses_nothing_that_was_acknowledged() {
    if !can_inject("g1_a_call_that_fails_loses_nothing_that_was_acknowledged") {
        return;
    }
    let points = at_each_call("error=EIO").await;
    assert!(points >= 30, "{points}");
}

#[tokio::test]
async fn g1_a_disk_that_stays_full_acknowledges_nothing() {
    if !can_inject("g1_a_disk_that_stays_full_acknowledges_nothing") {
        return;
    }
    // Each change writes and renames once and syncs twice, the rotation more.
    for call in ["write", "fsync", "?rename,?renameat,?renameat2"] {
        let per_change = if call == "fsync" { 2 } else { 1 };
        for whole in 0..3 {
            let (dir, victim) = prepared().await;
            let fault = format!("error=ENOSPC:when={}+", whole * per_change + 1);
            let (said, ended) = play_under(dir.path(), call, &fault);
            let expected: Vec<_> =
                CHANGES.iter().enumerate().map(|(at, change)| ((*change).to_owned(), at < whole)).collect();
            assert!(ended && said == expected, "{call} from {whole} on: {said:?}");
            check(dir.path(), &victim, &said, None).await;
        }
    }
}
