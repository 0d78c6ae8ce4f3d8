//! Every version has an entry in the changelog: the packages' and the core definitions' (R040).

use std::process::Command;

use crate::metadata;
use crate::process;
use crate::rust_text::{Token, tokens};
use crate::steps::{self, Problem, StepResult};
use crate::tree::Tree;

const CHANGELOG: &str = "CHANGELOG.md";
const CORE: &str = "crates/domain/src/core_version.rs";

/// `cargo xtask versions`.
pub(crate) fn run(tree: &Tree) -> StepResult {
    let changelog = tree.read(CHANGELOG)?;
    let core = core(&tokens(&tree.read(CORE)?))?;
    let mut lines = core_faults(&core, &changelog);
    let mut versions: Vec<String> =
        metadata::members(tree)?.into_iter().map(|member| member.version).collect();
    versions.sort();
    versions.dedup();
    for version in &versions {
        if !has_heading(&changelog, &format!("[{version}]")) {
            lines.push(format!("{CHANGELOG}: no entry `## [{version}]` for the packages' version"));
        }
    }
    lines.extend(earlier_history_changed(tree, &core)?);
    steps::findings(lines, format!("core definitions {}, packages {}", core.current, versions.join(", ")))
}

/// The history of the core definitions.
#[derive(Debug, PartialEq, Eq)]
struct Core {
    current: String,
    /// Version, date and what changed, oldest first.
    history: Vec<[String; 3]>,
}

/// Reads `CORE_VERSION` and `CORE_HISTORY` from the source, so that a check needs no build.
fn core(code: &[Token]) -> Result<Core, Problem> {
    let texts_of = |name: &str| -> Vec<String> {
        let begin =
            code.windows(2).position(|pair| pair[0].is("const") && pair[1].is(name)).unwrap_or(code.len());
        let table = code[begin..].iter().take_while(|token| !token.marks(';'));
        table.filter_map(|token| token.text().map(str::to_owned)).collect()
    };
    let [current] = <[String; 1]>::try_from(texts_of("CORE_VERSION"))
        .map_err(|_| Problem::new(format!("{CORE}: CORE_VERSION is not one string")))?;
    let (history, rest) = {
        let texts = texts_of("CORE_HISTORY");
        let lines = texts.chunks_exact(3);
        (
            lines.clone().map(|line| [0, 1, 2].map(|at| line[at].clone())).collect::<Vec<_>>(),
            lines.remainder().len(),
        )
    };
    if history.is_empty() || rest != 0 {
        return Err(Problem::new(format!("{CORE}: CORE_HISTORY is not a list of version, date and text")));
    }
    Ok(Core { current, history })
}

fn core_faults(core: &Core, changelog: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if core.history.last().is_some_and(|[version, ..]| *version != core.current) {
        lines.push(format!("{CORE}: the history does not end with the current version {}", core.current));
    }
    for [version, date, _] in &core.history {
        let heading = format!("Core definitions {version} - {date}");
        if !has_heading(changelog, &heading) {
            lines.push(format!("{CHANGELOG}: no entry `## {heading}`"));
        }
    }
    lines
}

/// The history may only grow: what the last commit says of earlier versions still stands.
fn earlier_history_changed(tree: &Tree, now: &Core) -> Result<Vec<String>, Problem> {
    let mut git = Command::new("git");
    let left = process::run(git.args(["show", &format!("HEAD:{CORE}")]).current_dir(tree.root()))?;
    if !left.status.success() {
        return Ok(Vec::new());
    }
    let before = core(&tokens(&left.stdout))?;
    let kept = now.history.starts_with(&before.history);
    let line =
        format!("{CORE}: an earlier line of the history was changed; add a line for a new version instead");
    Ok(if kept { Vec::new() } else { vec![line] })
}

fn has_heading(changelog: &str, begin: &str) -> bool {
    changelog.lines().filter_map(|line| line.strip_prefix("## ")).any(|heading| heading.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "pub const CORE_VERSION: &str = \"1.1\";\n\
        pub const CORE_HISTORY: &[(&str, &str, &str)] =\n\
        &[(\"1.0\", \"2026-11-21\", \"first\"), (\"1.1\", \"2026-12-01\", \"more\")];";

    #[test]
    fn r040_a_version_without_a_changelog_entry_is_found() {
        let core = core(&tokens(SOURCE)).unwrap();
        assert_eq!(core.current, "1.1");
        let faults = core_faults(&core, "## Core definitions 1.0 - 2026-11-21\n");
        assert_eq!(faults, ["CHANGELOG.md: no entry `## Core definitions 1.1 - 2026-12-01`"]);
        let both = "## Core definitions 1.1 - 2026-12-01\n## Core definitions 1.0 - 2026-11-21\n";
        assert_eq!(core_faults(&core, both), [""; 0]);
    }

    #[test]
    fn r040_a_bump_without_a_line_in_the_history_is_found() {
        let core = core(&tokens(&SOURCE.replace("= \"1.1\"", "= \"1.2\""))).unwrap();
        let changelog = "## Core definitions 1.1 - 2026-12-01\n## Core definitions 1.0 - 2026-11-21\n";
        assert_eq!(core_faults(&core, changelog).len(), 1);
    }
}
