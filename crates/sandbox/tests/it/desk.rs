//! The caller's own folder in a workspace.

use std::fs;
use std::os::unix::fs::symlink;

use eparch_sandbox::{Bind, CageSpec, Desk, OpenError, Program};

use crate::Test;
use crate::cage::{open, probing};
use crate::probes::{finish, refused, worked};

pub(crate) const TESTS: &[Test] = &[
    ("nothing_of_a_project_is_in_the_desk", project),
    ("the_desk_is_the_cages_own_where_the_host_is_written", written),
    ("what_is_written_on_the_host_can_be_collected_and_what_is_read_cannot", collected),
];

fn spec(name: &str) -> CageSpec {
    let desk = Desk { at: ".own".into(), given: vec!["given".into()], files: vec!["check".into()] };
    CageSpec { desk: Some(desk), ..probing(name) }
}

fn project() {
    // A folder that somebody filled, a link, a file: none of it is seen, or written.
    for kind in ["folder", "link", "file"] {
        let project = tempfile::tempdir().unwrap();
        let own = project.path().join(".own");
        match kind {
            "folder" => {
                fs::create_dir_all(own.join("given")).unwrap();
                fs::write(own.join("given/task"), "planted").unwrap();
                fs::write(own.join("planted"), "planted").unwrap();
            }
            "link" => symlink("/etc", &own).unwrap(),
            _ => fs::write(&own, "planted").unwrap(),
        }
        let cage = open(&CageSpec { project: Some(project.path().into()), ..spec("desk") });
        let space = cage.workspace().clone();
        space.make_folder(".own/made").unwrap();
        space.write_file(".own/given/deep/task", b"given", 0o444).unwrap();
        space.write_file(".own/check", b"given", 0o555).unwrap();
        let script = "set -e; ls -A .own; cat .own/given/deep/task; echo out > .own/made/out; echo x > other";
        let (ended, out, err) = finish(&cage, &Program::new(["sh", "-c", script]));
        assert!(ended.success(), "{kind}: {}", String::from_utf8_lossy(&err));
        assert_eq!(String::from_utf8(out).unwrap(), "check\ngiven\nmade\ngiven");
        for path in ["/workspace/.own/given/deep/task", "/workspace/.own/given/new", "/workspace/.own/check"]
        {
            refused(&cage, &["create", path]);
        }
        refused(&cage, &["chmod", "/workspace/.own/given/deep/task"]);
        refused(&cage, &["chmod", "/workspace/.own/check"]);
        let moved = "rmdir .own/given || mv .own/given .own/x || mv .own gone || rm -r .own || \
                     rm .own/check || mv .own/check .own/x || mv other .own/check || echo x > .own/check";
        assert!(!finish(&cage, &Program::new(["sh", "-c", moved])).0.success());
        // By its own descriptor, so also when the cage and its mounts are gone.
        drop(cage);
        assert_eq!(space.read_file(".own/given/deep/task", 9).unwrap(), b"given");
        let names: Vec<_> = space.list("", 100).unwrap().files.into_iter().map(|entry| entry.path).collect();
        assert!(
            names.contains(&"other".into()) && !names.iter().any(|name| name.ends_with("planted")),
            "{names:?}"
        );
        assert_eq!(fs::symlink_metadata(&own).unwrap().is_symlink(), kind == "link");
    }
}

fn written() {
    let host = tempfile::tempdir().unwrap();
    fs::create_dir(host.path().join(".own")).unwrap();
    fs::write(host.path().join(".own/stale"), "stale").unwrap();
    let both = |name| CageSpec { write: vec![Bind::new(host.path(), "/workspace")], ..spec(name) };
    let cages = [open(&both("one")), open(&both("two"))];
    for (number, cage) in cages.iter().enumerate() {
        cage.workspace().write_file(".own/given/task", number.to_string().as_bytes(), 0o444).unwrap();
        cage.workspace().write_file(".own/out", b"", 0o644).unwrap();
    }
    for (number, cage) in cages.iter().enumerate() {
        let script = "cat .own/given/task; cat .own/given/task >> .own/out; ls -A .own; echo x > file";
        let (_, out, _) = finish(cage, &Program::new(["sh", "-c", script]));
        assert_eq!(String::from_utf8(out).unwrap(), format!("{number}check\ngiven\nout\n"));
        assert_eq!(cage.workspace().read_file(".own/out", 9).unwrap(), number.to_string().as_bytes());
    }
    // The work is on the host; what was said to it is not.
    assert!(host.path().join("file").is_file());
    assert_eq!(fs::read_dir(host.path().join(".own")).unwrap().count(), 1);
    // Where it would have to go through a link of the host's, there is none.
    fs::remove_dir_all(host.path().join(".own")).unwrap();
    symlink("/etc", host.path().join(".own")).unwrap();
    let refusal = eparch_sandbox::Cage::open(&both("link"), &eparch_sandbox::Launcher::this_program());
    assert!(matches!(refusal, Err(OpenError::BadPath { .. })), "{refusal:?}");
}

fn collected() {
    let host = tempfile::tempdir().unwrap();
    for folder in ["out", "in"] {
        fs::create_dir(host.path().join(folder)).unwrap();
        fs::write(host.path().join(folder).join("data"), folder).unwrap();
    }
    let mut spec = probing("collected");
    spec.project = Some(host.path().into());
    spec.read.push(Bind::new(host.path().join("in"), "/workspace/in"));
    spec.write.push(Bind::new(host.path().join("out"), "/workspace/out"));
    spec.mask.push(host.path().join("out/home"));
    fs::create_dir(host.path().join("out/home")).unwrap();
    fs::write(host.path().join("out/home/key"), "secret").unwrap();
    let cage = open(&spec);
    worked(&cage, &["create", "/workspace/out/plan.json"]);
    assert_eq!(cage.workspace().read_file("out/plan.json", 9).unwrap(), b"x");
    assert!(cage.workspace().read_file("in/data", 9).is_err());
    assert!(cage.workspace().read_file("out/home/key", 9).is_err());
    symlink("/etc/passwd", host.path().join("out/link")).unwrap();
    assert!(cage.workspace().open_file("out/link").is_err());
}
