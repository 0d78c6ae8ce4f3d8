//! `schemas/*.json` from the Rust types: compares what is committed with what the types say now.
//!
//! The example `schemas` of this package makes them, since only it may depend on the crates that have the types.

use serde_json::Value;

use crate::process;
use crate::steps::{self, Problem, StepResult};
use crate::tree::Tree;

/// `cargo xtask schema`.
pub(crate) fn run(tree: &Tree, write: bool) -> StepResult {
    let mut cargo = process::cargo(&["run", "--quiet", "--package", "xtask", "--example", "schemas"]);
    let made = parse(&process::output(cargo.current_dir(tree.root()))?)?;
    let mut lines = Vec::new();
    let mut written = Vec::new();
    for (file, text) in &made {
        if std::fs::read_to_string(tree.path(file)).is_ok_and(|committed| committed == *text) {
            continue;
        }
        if write {
            tree.write(file, text)?;
            written.push(file.as_str());
        } else {
            lines.push(format!("{file} differs from the Rust types; `cargo xtask schema --write`"));
        }
    }
    if !written.is_empty() {
        return Ok(format!("wrote {}", written.join(", ")));
    }
    steps::findings(lines, format!("{} schemas are up to date", made.len()))
}

/// One JSON object for each line: `{"file": …, "text": …}`.
fn parse(output: &str) -> Result<Vec<(String, String)>, Problem> {
    output
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line)
                .map_err(|cause| Problem::while_doing("reading what the example `schemas` said", &cause))?;
            match (value["file"].as_str(), value["text"].as_str()) {
                (Some(file), Some(text)) => Ok((file.to_owned(), text.to_owned())),
                _ => Err(Problem::new(format!("the example `schemas` said {line}"))),
            }
        })
        .collect()
}
