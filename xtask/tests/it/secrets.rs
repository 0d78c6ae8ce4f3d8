//! `secrets` on this repository, and on one that holds a password.

use std::path::Path;
use std::process::{Command, Output};

fn scan(repository: &Path) -> Output {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.arg("secrets").env("CARGO_MANIFEST_DIR", repository.join("xtask")).output().unwrap()
}

#[test]
fn r029_the_repository_holds_no_secret() {
    let output = scan(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn r029_a_password_in_a_source_is_found_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("crates/store/src");
    std::fs::create_dir_all(&source).unwrap();
    // Put together here so that this tree holds none.
    let password = ["governance", "1999"].concat();
    std::fs::write(
        source.join("lib.rs"),
        format!("//! A store.\nconst DEFAULT_REDIS_PASSWORD: &str = \"{password}\";\n"),
    )
    .unwrap();
    let mut git = Command::new("git");
    assert!(git.args(["init", "--quiet"]).current_dir(folder.path()).status().unwrap().success());
    let output = scan(folder.path());
    assert_eq!(output.status.code(), Some(1));
    let found = String::from_utf8(output.stderr).unwrap();
    assert!(found.contains("crates/store/src/lib.rs:2: looks like a password literal"), "{found}");
    assert!(!found.contains(&password), "{found}");
}
