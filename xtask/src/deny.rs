//! Licences, bans, sources and advisories of everything we depend on, by `cargo deny`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::steps::{Problem, StepResult};
use crate::tree::Tree;

/// The version that is built when none is installed; see docs/decisions/0005-checks-and-their-tools.md.
const VERSION: &str = "0.20.2";

/// Fetching the advisories takes seconds where they can be reached; a network that swallows packets must not hold
/// everything up.
const ADVISORIES_LIMIT: Duration = Duration::from_secs(90);

/// `cargo xtask deny`.
pub(crate) fn run(tree: &Tree) -> StepResult {
    let tool = tool(tree)?;
    let mut offline = Command::new(&tool);
    offline.args(["--all-features", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    let left = process::run(offline.current_dir(tree.root()))?;
    if !left.status.success() {
        return Err(Problem::new(format!("{}{}", left.stdout, left.stderr)));
    }
    let fine = "licences, bans and sources";
    // A fetch of its own tells "cannot be reached" from "was reached and found something".
    let mut fetch = Command::new(&tool);
    let fetched =
        process::ends_within(fetch.args(["fetch", "db"]).current_dir(tree.root()), ADVISORIES_LIMIT)?;
    if !fetched.is_some_and(|status| status.success()) {
        let note = format!("{fine}; advisories not run, because their database cannot be reached");
        return Ok(note);
    }
    let mut advisories = Command::new(&tool);
    advisories.args(["--all-features", "check", "--hide-inclusion-graph", "--disable-fetch", "advisories"]);
    let left = process::run(advisories.current_dir(tree.root()))?;
    if left.status.success() {
        Ok(format!("{fine}, advisories"))
    } else {
        Err(Problem::new(format!("{}{}", left.stdout, left.stderr)))
    }
}

/// `cargo-deny`: the one that is installed, or one built into `target/tools`, where caches keep it.
fn tool(tree: &Tree) -> Result<PathBuf, Problem> {
    if let Some(installed) = process::found("cargo-deny") {
        return Ok(installed);
    }
    let tools = tree.target().join("tools");
    let tool = tools.join(format!("cargo-deny-{VERSION}")).join("bin/cargo-deny");
    if tool.is_file() {
        return Ok(tool);
    }
    let home = tools.join(format!("cargo-deny-{VERSION}"));
    let build = tools.join("build");
    let mut cargo = process::cargo(&["install", "cargo-deny", "--locked", "--debug", "--quiet", "--version"]);
    cargo
        .arg(format!("={VERSION}"))
        .arg("--root")
        .arg(&home)
        .env("CARGO_TARGET_DIR", &build)
        // It runs for a second; what counts is how long it takes to build.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
        .current_dir(tree.root());
    eprintln!("building cargo-deny {VERSION} once, into {}", home.display());
    process::output(&mut cargo)?;
    // The intermediate files are worth hundreds of megabytes and nothing to anybody.
    let removed = std::fs::remove_dir_all(&build);
    removed.map_err(|cause| Problem::while_doing(&format!("removing {}", build.display()), &cause))?;
    Ok(tool)
}
