//! Names that lead elsewhere: links, second mounts, folders that are exchanged while a cage opens.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use eparch_sandbox::{Alias, Bind, Cage, CageSpec, Launcher, OpenError, Program};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::Test;
use crate::cage::{open, probing, root};
use crate::probes::{Found, finish, only_outside, outside, refused, worked};

pub(crate) const TESTS: &[Test] = &[
    ("what_is_shown_is_what_was_checked_however_it_is_exchanged", exchanged),
    ("a_masked_folder_is_masked_by_every_name_it_has", second_names),
    ("a_masked_home_cannot_be_moved_away_through_a_folder_above_it", moved_home),
    ("a_folder_above_a_masked_one_shows_the_rest", above_masked),
    ("the_cages_own_folders_are_not_replaced", own_folders),
    ("a_further_name_takes_nothings_place_and_changes_nothing_of_the_host", aliases),
    ("what_is_mounted_in_a_project_is_seen_in_it", mounted_in_project),
];

/// A mount that goes when the test does, whichever way that is.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    pub(crate) fn tmpfs(at: &Path) -> Mounted {
        let flags = MountFlags::empty();
        rustix::mount::mount("tmpfs", at, "tmpfs", flags, None::<&std::ffi::CStr>).unwrap();
        Mounted(at.into())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Ends what goes on until it is over.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn exchanged() {
    for writable in [false, true] {
        exchanged_for(writable);
    }
}

/// A link takes the place of a folder that was checked, again and again. What it leads to is in no grant, and only one of
/// both is masked.
fn exchanged_for(writable: bool) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["out", "out/data", "loot", "loot/home"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("loot/home/key"), "secret").unwrap();
    fs::write(at("loot/key"), "secret").unwrap();
    fs::write(at("out/data/plain"), "seen").unwrap();
    symlink("../loot", at("out/link")).unwrap();
    let mut spec = probing("exchanged");
    spec.mask.push(at("loot/home"));
    let grants = if writable { &mut spec.write } else { &mut spec.read };
    grants.push(Bind::new(at("out/data"), "/data"));
    assert_eq!(outside(&["read", at("loot/key").to_str().unwrap()]), Found::Worked);
    let script = "cat /data/* /data/*/*; ls -A /data; touch /data/mark";
    let look = |cage: &Cage| String::from_utf8(finish(cage, &Program::new(["sh", "-c", script])).1).unwrap();
    // As long as nobody exchanges anything, it is shown.
    assert!(look(&open(&spec)).contains("seen"));
    let over = AtomicBool::new(false);
    let (mut shown, mut refusals) = (0, 0);
    std::thread::scope(|scope| {
        // Also when this test fails.
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, at("out/data"), CWD, at("out/link"), RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..30 {
            match Cage::open(&spec, &Launcher::this_program()) {
                Ok(cage) => {
                    let seen = look(&cage);
                    assert!(!seen.contains("secret") && !seen.contains("key"), "{seen}");
                    shown += usize::from(seen.contains("seen"));
                }
                Err(OpenError::BadPath { .. }) => refusals += 1,
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert!(!at("loot/mark").exists());
    assert_eq!(shown + refusals, 30, "shown {shown}, refused {refusals}");
}

fn second_names() {
    if !root() {
        println!("needs root to mount");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["data", "data/home", "again", "whole"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("data/home/key"), "secret").unwrap();
    fs::write(at("data/plain"), "seen").unwrap();
    rustix::mount::mount_bind(at("data"), at("again")).unwrap();
    let _again = Mounted(at("again"));
    let mut spec = probing("second-names");
    spec.mask.push(at("data/home"));
    spec.read.push(Bind::new(at("again"), "/data/again"));
    spec.write.push(Bind::new(at("again"), "/data/written"));
    spec.project = Some(at("again"));
    let cage = open(&spec);
    assert_eq!(outside(&["read", at("again/home/key").to_str().unwrap()]), Found::Worked);
    for there in ["/data/again", "/data/written", "/workspace"] {
        worked(&cage, &["read", &format!("{there}/plain")]);
        refused(&cage, &["read", &format!("{there}/home/key")]);
    }
}

fn moved_home() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("state/deep/home");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("key"), "secret").unwrap();
    let mut spec = probing("moved-home");
    spec.mask.push(home.clone());
    spec.write.push(Bind::new(folder.path(), "/data"));
    let cage = open(&spec);
    for folder in ["state", "state/deep", "state/deep/home"] {
        let script = format!("mv /data/{folder} /data/gone");
        let (ended, _, err) = finish(&cage, &Program::new(["sh", "-c", &script]));
        let err = String::from_utf8(err).unwrap();
        assert!(!ended.success() && err.contains("busy"), "{folder}: {err}");
    }
    refused(&cage, &["read", "/data/state/deep/home/key"]);
    // What lies beside is written as before.
    worked(&cage, &["create", "/data/state/deep/beside"]);
    assert!(folder.path().join("state/deep/beside").is_file() && home.join("key").is_file());
    // The control: without the mask it can be moved.
    spec.mask.clear();
    let cage = open(&spec);
    assert!(finish(&cage, &Program::new(["mv", "/data/state", "/data/gone"])).0.success());
}

fn above_masked() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in [".ssh", "work"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at(".ssh/id"), "secret").unwrap();
    fs::write(at("work/file"), "seen").unwrap();
    let mut spec = probing("above-masked");
    spec.mask = vec![at(".ssh"), at(".not-there"), "/etc/shadow".into()];
    spec.expose.push(folder.path().into());
    spec.project = Some(folder.path().into());
    spec.read.push(Bind::new("/etc", "/etc"));
    let cage = open(&spec);
    for there in [folder.path(), Path::new("/workspace")] {
        worked(&cage, &["read", there.join("work/file").to_str().unwrap()]);
        refused(&cage, &["list", there.join(".ssh").to_str().unwrap()]);
        refused(&cage, &["read", there.join(".ssh/id").to_str().unwrap()]);
    }
    only_outside(&cage, &["read", at(".ssh/id").to_str().unwrap()]);
    // All of /etc may be named, and its secrets are not in it.
    let beyond = ["hostname", "fstab", "shells", "login.defs", "shadow-"];
    if let Some(name) = beyond.iter().find(|name| Path::new("/etc").join(name).is_file()) {
        println!("looks at /etc/{name}");
    }
    let script = "test -e /etc/passwd && ! test -s /etc/shadow";
    assert!(finish(&cage, &Program::new(["sh", "-c", script])).0.success());
    assert!(!root() || !fs::read("/etc/shadow").unwrap().is_empty());
}

fn own_folders() {
    for (host, inside) in [("/tmp", "/tmp"), ("/home", "/home"), ("/usr", "/home/agent")] {
        let spec = CageSpec { read: vec![Bind::new(host, inside)], ..probing("own-folders") };
        let refusal = Cage::open(&spec, &Launcher::this_program());
        assert!(
            matches!(&refusal, Err(OpenError::BadPath { why, .. }) if why.contains("its own")),
            "{inside}: {refusal:?}"
        );
    }
}

fn aliases() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["project", "project/src", "project/real", "out"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("project/src/plain"), "seen").unwrap();
    symlink("real", at("project/link")).unwrap();
    let mut spec = probing("aliases");
    spec.read.push(Bind::new(at("project/src"), "/workspace/src"));
    spec.write.push(Bind::new(at("out"), "/workspace/out"));
    let names =
        ["/workspace/deep/name", "/workspace/deep/name/plain", "/far/name", "/usr/name", "/proc/name"];
    let more =
        ["/workspace/out/name", "/workspace/src", "/workspace/src/name", "/bin", "/workspace/link/name"];
    let alias = |at: &str| Alias { at: at.into(), to: "/workspace/src".into() };
    spec.aliases = names.into_iter().chain(more).map(alias).collect();
    let cage = open(&spec);
    for there in ["src", "deep/name", "../far/name", "link/name"] {
        worked(&cage, &["read", &format!("/workspace/{there}/plain")]);
    }
    worked(&cage, &["read", "/usr/bin/env"]);
    // A link that is seen leads where it leads, and the project behind it stays as it is.
    spec.project = Some(at("project"));
    let cage = open(&spec);
    worked(&cage, &["read", "/workspace/deep/name/plain"]);
    refused(&cage, &["read", "/workspace/link/name/plain"]);
    drop(cage);
    let left: Vec<_> = fs::read_dir(at("project")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    for empty in ["out", "project/real"] {
        assert_eq!(fs::read_dir(at(empty)).unwrap().count(), 0, "{empty}");
    }
    spec.aliases = vec![alias("/a/../b")];
    assert!(matches!(Cage::open(&spec, &Launcher::this_program()), Err(OpenError::BadPath { .. })));
}

fn mounted_in_project() {
    if !root() {
        println!("needs root to mount");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["module", "home", "kernel"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let mounted =
        [Mounted::tmpfs(&folder.path().join("module")), Mounted::tmpfs(&folder.path().join("home"))];
    fs::write(folder.path().join("module/file"), "host").unwrap();
    fs::write(folder.path().join("home/key"), "secret").unwrap();
    let mut spec = probing("mounted-in-project");
    spec.project = Some(folder.path().into());
    spec.mask.push(folder.path().join("home"));
    let cage = open(&spec);
    worked(&cage, &["read", "/workspace/module/file"]);
    refused(&cage, &["open-to-write", "/workspace/module/file"]);
    refused(&cage, &["read", "/workspace/home/key"]);
    worked(&cage, &["create", "/workspace/file"]);
    drop((cage, mounted));
}
