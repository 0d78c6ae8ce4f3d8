//! Everything CI checks besides the tests. All steps run, each prints a line with its time, and one that fails fails
//! the whole.

use std::process::Command;

use crate::steps::{self, StepResult};
use crate::tree::Tree;
use crate::{deny, errors, layers, lint_core, process, requirements, schema, secrets, versions};

/// `cargo xtask check`. Cheap steps come first, so that a slip is seen early.
pub(crate) fn run(tree: &Tree) -> StepResult {
    steps::run_all(vec![
        ("format", Box::new(|| cargo(tree, &["fmt", "--all", "--check"]))),
        ("secrets", Box::new(|| secrets::run(tree))),
        ("lint core", Box::new(|| lint_core::run(tree.root()))),
        ("versions", Box::new(|| versions::run(tree))),
        ("errors", Box::new(|| errors::run(tree, false))),
        ("layers", Box::new(|| layers::run(tree, false))),
        ("requirements", Box::new(|| requirements::run(tree, false))),
        (
            "clippy",
            Box::new(|| {
                cargo(tree, &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
            }),
        ),
        ("docs", Box::new(|| docs(tree))),
        ("schema", Box::new(|| schema::run(tree, false))),
        ("deny", Box::new(|| deny::run(tree))),
    ])
}

fn docs(tree: &Tree) -> StepResult {
    let words = ["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"];
    let mut command = process::cargo(&words);
    ended(command.env("RUSTDOCFLAGS", "-D warnings").current_dir(tree.root()))
}

fn cargo(tree: &Tree, words: &[&str]) -> StepResult {
    ended(process::cargo(words).current_dir(tree.root()))
}

fn ended(command: &mut Command) -> StepResult {
    process::output(command).map(|_| String::new())
}
