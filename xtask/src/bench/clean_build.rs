//! How long the shipped binary takes to build where nothing was built before.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::process;
use crate::steps::Problem;
use crate::tree::Tree;

/// The build, once everything it needs is at hand: waiting for the network is not building.
pub(super) fn prepare(tree: &Tree) -> Result<Command, Problem> {
    process::output(process::cargo(&["fetch", "--locked"]).current_dir(tree.root()))?;
    let mut build = process::cargo(&["build", "--release", "--locked", "-p", "eparch-cli"]);
    build.current_dir(tree.root());
    // A cache of earlier builds would be measured instead.
    build.env_remove("RUSTC_WRAPPER").env_remove("CARGO_BUILD_RUSTC_WRAPPER");
    Ok(build)
}

/// Runs a build with a target folder of its own, which is removed afterwards, and tells how long it took.
pub(super) fn measure(build: &mut Command) -> Result<Value, Problem> {
    let folder = std::env::temp_dir().join(format!("eparch-clean-build-{}", std::process::id()));
    let built = timed(build, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    Ok(json!({ "what": "clean release build", "seconds": built? }))
}

/// Seconds, to a tenth.
fn timed(build: &mut Command, folder: &Path) -> Result<f64, Problem> {
    std::fs::create_dir(folder)
        .map_err(|cause| Problem::while_doing("making an empty target folder", &cause))?;
    let begun = Instant::now();
    process::output(build.env("CARGO_TARGET_DIR", folder))?;
    Ok((begun.elapsed().as_secs_f64() * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_begins_with_nothing_and_leaves_nothing_behind() {
        let build = |ends: &str| {
            let script = format!(
                "ls -A \"$CARGO_TARGET_DIR\" | grep -q . && exit 9; mkdir \"$CARGO_TARGET_DIR/release\"; {ends}"
            );
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            command
        };
        let line = measure(&mut build("true")).unwrap();
        assert!(line["seconds"].as_f64().is_some(), "{line}");
        assert!(measure(&mut build("exit 1")).is_err());
        // What the first two left would make the third fail.
        assert!(measure(&mut build("true")).is_ok());
    }
}
