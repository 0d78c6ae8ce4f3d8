//! `lint-core` on this repository, and on a copy of it with five faults.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn lint(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).arg("lint-core").arg(folder).output().unwrap()
}

/// A copy of the core alone: what other crates do is their own test's business.
fn copy_of_the_core(to: &Path) {
    copy_of(Path::new("crates/domain/src"), to);
}

fn copy_of(folder: &Path, to: &Path) {
    std::fs::create_dir_all(to.join(folder)).unwrap();
    for entry in std::fs::read_dir(repository().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_of(&path, to);
        } else {
            std::fs::copy(entry.path(), to.join(path)).unwrap();
        }
    }
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} does not hold {from:?}", file.display());
    std::fs::write(file, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn r001_r031_r039_the_repository_has_no_fault() {
    let output = lint(&repository());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn r001_r031_r039_five_planted_faults_are_found_at_their_places() {
    let copy = tempfile::tempdir().unwrap();
    copy_of_the_core(copy.path());
    assert!(lint(copy.path()).status.success(), "the copy must be clean before faults are planted");

    let planted = copy.path().join("crates/planted/src");
    std::fs::create_dir_all(&planted).unwrap();
    std::fs::write(
        planted.join("lib.rs"),
        "//! Not a definition: enum Grade.\n\
         pub(crate) enum Grade { Good, Bad }\n\
         fn key(id: &str) -> String {\n    format!(\"agent:{id}:state\")\n}\n\
         const FIRST: &str = \"EXECUTE\";\n\
         #[cfg(test)]\nmod tests {\n    const KEY: &str = \"agent:a-1:state\";\n}\n",
    )
    .unwrap();
    let phase = copy.path().join("crates/domain/src/phase.rs");
    edit(&phase, "    Phase::Package,\n", "");
    edit(&phase, "    (Phase::Revoked, None),\n", "");

    let output = lint(copy.path());
    assert_eq!(output.status.code(), Some(1));
    let found = String::from_utf8(output.stderr).unwrap();
    let mut lines = found.lines();
    for expected in [
        ("crates/domain/src/phase.rs:", "`AGENT_PHASES_ORDERED` leaves out PACKAGE"),
        ("crates/domain/src/phase.rs:", "`PHASE_OUTPUT_TYPES` leaves out REVOKED"),
        ("crates/planted/src/lib.rs:2:", "`Grade` is a word of the core"),
        ("crates/planted/src/lib.rs:4:", "the store key \"agent:{id}:state\" is spelled out"),
        ("crates/planted/src/lib.rs:6:", "the phase \"EXECUTE\" is spelled out"),
    ] {
        let line = lines.next().unwrap_or_default();
        assert!(
            line.starts_with(expected.0) && line.contains(expected.1),
            "expected {expected:?} in\n{found}"
        );
    }
    assert_eq!(lines.next(), None, "more than five findings:\n{found}");
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("usage: cargo xtask"));
}
