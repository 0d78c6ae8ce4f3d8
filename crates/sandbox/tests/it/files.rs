//! What of the host's files is seen, and that none of them is changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use eparch_sandbox::{Bind, Cage, CageSpec, Launcher, OpenError, Program, WorkspaceError};

use crate::Test;
use crate::cage::{open, probing, root};
use crate::names::Mounted;
use crate::probes::{Found, finish, inside, only_outside, outside, refused, worked};

pub(crate) const TESTS: &[Test] = &[
    ("r293_nothing_outside_the_workspace_can_be_changed", unchanged),
    ("secrets_of_the_host_are_not_there", secrets),
    ("the_workspace_of_another_cage_cannot_be_read", sibling),
    ("r293_a_project_is_seen_and_its_files_are_never_written", project),
    ("a_masked_home_is_hidden_wherever_it_would_appear", masked),
    ("a_write_path_is_written_and_a_read_path_is_not", binds),
    ("g4_what_was_to_be_a_file_is_not_shown_as_a_folder", file_only),
    ("a_link_in_a_project_does_not_lead_a_mount_elsewhere", links),
    ("a_path_with_odd_characters_can_be_a_project", odd_names),
    ("what_is_mounted_beneath_a_read_path_is_read_only_too", submounts),
    ("artifacts_are_collected_after_death_and_links_are_not_followed", artifacts),
];

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Whoever named it may have found a file there; what counts is what is shown.
fn file_only() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap();
    let (file, other) = (real.join("file"), real.join("folder"));
    fs::write(&file, "host").unwrap();
    fs::create_dir(&other).unwrap();
    for writes in [true, false] {
        let shown = |host: &Path| {
            let mut spec = probing("file-only");
            let binds = if writes { &mut spec.write } else { &mut spec.read };
            binds.push(Bind::new(host, "/shown").only_a_file());
            Cage::open(&spec, &Launcher::this_program())
        };
        assert!(matches!(shown(&other), Err(OpenError::BadPath { .. })), "{writes}");
        let cage = shown(&file).unwrap();
        worked(&cage, &["read", "/shown"]);
    }
}

fn sh(script: &str) -> Program {
    Program::new(["sh", "-c", script])
}

fn unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "host").unwrap();
    let file = file.to_str().unwrap();
    let mut spec = probing("unchanged");
    spec.expose.push(folder.path().into());
    let cage = open(&spec);
    worked(&cage, &["read", file]);
    for change in ["open-to-write", "chmod", "chown", "utime", "setxattr"] {
        only_outside(&cage, &[change, file]);
    }
    let new = folder.path().join("new");
    refused(&cage, &["create", new.to_str().unwrap()]);
    refused(&cage, &["remove", file]);
    for place in
        ["/usr/probe", "/etc/probe", "/probe", "/run/probe", "/dev/probe", "/proc/probe", "/home/probe"]
    {
        refused(&cage, &["create", place]);
    }
    for change in ["chmod", "chown", "utime"] {
        refused(&cage, &[change, "/usr/bin/env"]);
        refused(&cage, &[change, "/etc/passwd"]);
        refused(&cage, &[change, "/dev/null"]);
        refused(&cage, &[change, "/"]);
    }
    for own in ["/workspace/x", "/tmp/x", "/dev/shm/x", "/home/agent/x"] {
        worked(&cage, &["create", own]);
        worked(&cage, &["chmod", own]);
        worked(&cage, &["utime", own]);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "host");
    assert!(!new.exists());
}

fn secrets() {
    let cage = open(&probing("secrets"));
    if root() {
        only_outside(&cage, &["read", "/etc/shadow"]);
        only_outside(&cage, &["list", "/root"]);
    }
    only_outside(&cage, &["list", "/var/lib"]);
    let host = tempfile::NamedTempFile::new().unwrap();
    only_outside(&cage, &["read", host.path().to_str().unwrap()]);
    for path in [
        "/etc/shadow",
        "/etc/ssh",
        "/etc/sudoers",
        "/etc/ssl/private",
        "/root",
        "/boot",
        "/sys/kernel",
        "/dev/kmsg",
    ] {
        // The control, where there is such a thing and this user may see it.
        let there = outside(&["list", path]) == Found::Worked || outside(&["read", path]) == Found::Worked;
        if !there {
            println!("{path} is not seen outside either");
        }
        assert!(matches!(inside(&cage, &["list", path]), Found::Refused(_)), "{path}");
        assert!(matches!(inside(&cage, &["read", path]), Found::Refused(_)), "{path}");
    }
    let own =
        std::process::Command::new("sh").args(["-c", "cd /proc/$PPID/root && cd /proc/$PPID/cwd"]).status();
    assert!(own.unwrap().success());
    let (ended, out, _) = finish(&cage, &sh("cd /proc/1/root || cd /proc/1/cwd || exit 9"));
    assert_eq!(ended.exit, eparch_sandbox::Exit::Code(9), "{}", text(out));
}

fn sibling() {
    let one = open(&probing("one"));
    let other = open(&probing("other"));
    one.workspace().write_file("secret", b"of one", 0o644).unwrap();
    worked(&one, &["read", "/workspace/secret"]);
    refused(&other, &["read", "/workspace/secret"]);
    let through = format!("/proc/{}/root/workspace/secret", one.tree().pid);
    if root() {
        only_outside(&other, &["read", &through]);
    }
    refused(&other, &["read", &through]);
}

fn project() {
    let project = tempfile::tempdir().unwrap();
    fs::create_dir(project.path().join("src")).unwrap();
    fs::write(project.path().join("src/main"), "host\n").unwrap();
    fs::write(project.path().join("gone"), "host\n").unwrap();
    let mut spec = probing("project");
    spec.project = Some(project.path().into());
    let cage = open(&spec);
    let script = "set -e; cat src/main; echo agent > src/main; rm gone; mkdir out; mv src moved; cat moved/main; \
                  chmod 777 moved/main; touch new";
    let (ended, out, err) = finish(&cage, &sh(script));
    assert!(ended.success(), "{}", text(err));
    assert_eq!(text(out), "host\nagent\n");
    assert_eq!(cage.workspace().read_file("moved/main", 100).unwrap(), b"agent\n");
    assert_eq!(fs::read_to_string(project.path().join("src/main")).unwrap(), "host\n");
    assert_eq!(fs::read_to_string(project.path().join("gone")).unwrap(), "host\n");
    let mode = fs::metadata(project.path().join("src/main")).unwrap().permissions().mode();
    assert_ne!(mode & 0o777, 0o777);
    let mut names: Vec<_> =
        fs::read_dir(project.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["gone", "src"]);
    refused(&cage, &["read", project.path().join("gone").to_str().unwrap()]);
}

fn masked() {
    let project = tempfile::tempdir().unwrap();
    let home = project.path().join(".eparch");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("key"), "secret").unwrap();
    fs::write(project.path().join("token"), "secret").unwrap();
    fs::write(project.path().join("plain"), "seen").unwrap();
    symlink(&home, project.path().join("detour")).unwrap();
    let mut spec = probing("masked");
    spec.project = Some(project.path().into());
    spec.expose.push(project.path().into());
    spec.read.push(Bind::new(&home, "/opt/home"));
    // By a detour, one that is a file, and one that is not there yet.
    spec.mask =
        vec![project.path().join("detour"), project.path().join("token"), project.path().join("later")];
    let cage = open(&spec);
    let control =
        |path: &Path| assert_eq!(crate::probes::outside(&["read", path.to_str().unwrap()]), Found::Worked);
    control(&home.join("key"));
    control(&project.path().join("token"));
    worked(&cage, &["read", "/workspace/plain"]);
    for folder in ["/workspace".as_ref(), project.path()] {
        worked(&cage, &["read", folder.join("plain").to_str().unwrap()]);
        refused(&cage, &["read", folder.join(".eparch/key").to_str().unwrap()]);
        refused(&cage, &["list", folder.join(".eparch").to_str().unwrap()]);
        refused(&cage, &["read", folder.join("detour/key").to_str().unwrap()]);
    }
    refused(&cage, &["read", "/opt/home/key"]);
    refused(&cage, &["create", "/workspace/.eparch/new"]);
    refused(&cage, &["create", "/workspace/later"]);
    let script = "test ! -s token && test ! -s \"$1/token\" && ! mv .eparch aside 2> /dev/null && ! rm -r .eparch 2> /dev/null";
    let mut program = sh(script);
    program.argv.extend(["sh".into(), project.path().to_str().unwrap().into()]);
    assert!(finish(&cage, &program).0.success());
    // The masks go with the cage's mounts; the workspace keeps them.
    let workspace = cage.workspace().clone();
    drop(cage);
    assert_eq!(workspace.read_file("plain", 10).unwrap(), b"seen");
    for path in [".eparch/key", "token", "later"] {
        assert!(matches!(workspace.read_file(path, 10), Err(WorkspaceError::Outside { .. })), "{path}");
    }
    assert!(workspace.list("", 100).unwrap().files.iter().all(|entry| entry.path == Path::new("plain")));
}

fn binds() {
    let host = tempfile::tempdir().unwrap();
    for folder in ["in", "out"] {
        fs::create_dir(host.path().join(folder)).unwrap();
    }
    fs::write(host.path().join("in/data"), "in").unwrap();
    let mut spec = probing("binds");
    spec.read.push(Bind::new(host.path().join("in"), "/workspace/in"));
    spec.read.push(Bind::new(host.path().join("in/data"), "/workspace/one/file"));
    spec.write.push(Bind::new(host.path().join("out"), "/data/out"));
    let cage = open(&spec);
    let (ended, out, _) =
        finish(&cage, &sh("cat in/data one/file && echo done > /data/out/result && touch own"));
    assert!(ended.success());
    assert_eq!(text(out), "inin");
    assert_eq!(fs::read_to_string(host.path().join("out/result")).unwrap(), "done\n");
    refused(&cage, &["create", "/workspace/in/new"]);
    refused(&cage, &["open-to-write", "/workspace/one/file"]);
    refused(&cage, &["create", "/data/new"]);
    // What is masked but not there could be made through a writable path, so that is refused.
    let mask = host.path().join("out/later");
    let refusal = Cage::open(&CageSpec { mask: vec![mask], ..spec.clone() }, &Launcher::this_program());
    assert!(matches!(refusal, Err(OpenError::BadPath { .. })), "{refusal:?}");
    // A mount point is not made on the host.
    spec.read.push(Bind::new(host.path().join("in"), "/data/out/deep/er"));
    let refusal = Cage::open(&spec, &Launcher::this_program());
    assert!(matches!(refusal, Err(OpenError::BadPath { .. })), "{refusal:?}");
    assert!(!host.path().join("out/deep").exists());
}

fn links() {
    let project = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), project.path().join("src")).unwrap();
    let mut spec = probing("links");
    spec.project = Some(project.path().into());
    spec.read.push(Bind::new("/usr/share", "/workspace/src/deep"));
    let refusal = Cage::open(&spec, &Launcher::this_program());
    assert!(matches!(refusal, Err(OpenError::BadPath { .. })), "{refusal:?}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

fn odd_names() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("a b,c:d\\e\"f,upperdir=x\n");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("file"), "seen").unwrap();
    let mut spec = probing("odd-names");
    spec.project = Some(project.clone());
    spec.expose.push(project.clone());
    let cage = open(&spec);
    worked(&cage, &["read", "/workspace/file"]);
    refused(&cage, &["open-to-write", project.join("file").to_str().unwrap()]);
}

/// Only root can make the mount; for others the kernel keeps such mounts together by itself.
fn submounts() {
    if !root() {
        println!("needs root to mount");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("deep er");
    fs::create_dir(&deep).unwrap();
    let _mounted = Mounted::tmpfs(&deep);
    fs::write(deep.join("file"), "host").unwrap();
    let mut spec = probing("submounts");
    spec.expose.push(folder.path().into());
    let cage = open(&spec);
    let file = deep.join("file");
    worked(&cage, &["read", file.to_str().unwrap()]);
    only_outside(&cage, &["open-to-write", file.to_str().unwrap()]);
}

fn artifacts() {
    let cage = open(&probing("artifacts"));
    let script = "mkdir out; echo '{}' > out/plan.json; ln -s /etc/passwd out/link; ln -s / out/root; mkfifo out/pipe; \
                  ln out/plan.json out/hard; umask 777; echo x > out/closed";
    assert!(finish(&cage, &sh(script)).0.success());
    let workspace = cage.workspace().clone();
    cage.close(eparch_domain::Span::from_secs(5)).unwrap();
    assert_eq!(workspace.read_file("out/plan.json", 100).unwrap(), b"{}\n");
    for link in ["out/link", "out/root/etc/passwd"] {
        assert!(matches!(workspace.open_file(link), Err(WorkspaceError::Link { .. })), "{link}");
    }
    assert!(matches!(workspace.open_file("out/pipe"), Err(WorkspaceError::NotAFile { .. })));
    let names: Vec<_> =
        workspace.list("out", 10).unwrap().files.into_iter().map(|entry| entry.path).collect();
    assert_eq!(names, ["out/closed", "out/hard", "out/plan.json"].map(Into::<std::path::PathBuf>::into));
}
