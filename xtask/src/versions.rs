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

/// The history may only grow: every line that any commit ever had still stands. In CI the tree is the last commit itself,
/// so that alone says nothing.
fn earlier_history_changed(tree: &Tree, now: &Core) -> Result<Vec<String>, Problem> {
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.args(words).current_dir(tree.root());
        process::output(&mut git)
    };
    // A clone may lack earlier commits; those that are there are compared, and it is said.
    if git(&["rev-parse", "--is-shallow-repository"])?.trim() == "true" {
        eprintln!(
            "{CORE}: compared with the commits of a shallow clone only; `git fetch --unshallow` brings the others"
        );
    }
    // Before the first commit there is none to ask.
    if git(&["rev-list", "--all", "--max-count=1"])?.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut lines = Vec::new();
    for commit in git(&["rev-list", "HEAD", "--", CORE])?.lines() {
        // A commit may be the one that took the file away.
        let Ok(source) = git(&["show", &format!("{commit}:{CORE}")]) else { continue };
        let before = core(&tokens(&source))?;
        if !now.history.starts_with(&before.history) {
            let short = commit.get(..12).unwrap_or(commit);
            lines.push(format!(
                "{CORE}: a line of the history was changed since {short}; add a line for a new version instead"
            ));
        }
    }
    Ok(lines)
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

    /// A repository whose commits hold these sources, and then the tree as it is now.
    fn repository(commits: &[&str], now: &str) -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::at(folder.path());
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]);
            process::output(git.args(words).current_dir(folder.path())).unwrap();
        };
        git(&["init", "--quiet"]);
        for source in commits {
            tree.write(CORE, source).unwrap();
            git(&["add", "--all"]);
            git(&["commit", "--quiet", "--allow-empty", "--message", "x"]);
        }
        tree.write(CORE, now).unwrap();
        (folder, tree)
    }

    #[test]
    fn r040_an_earlier_line_cannot_be_changed_even_once_it_is_committed() {
        let first = SOURCE.replace(", (\"1.1\", \"2026-12-01\", \"more\")", "");
        let edited = SOURCE.replace("first", "other");
        let count = |commits: &[&str], now: &str| {
            let (_folder, tree) = repository(commits, now);
            let now = core(&tokens(now)).unwrap();
            earlier_history_changed(&tree, &now).unwrap().len()
        };
        assert_eq!(count(&[], SOURCE), 0);
        assert_eq!(count(&[&first], SOURCE), 0);
        assert_eq!(count(&[&first, SOURCE], SOURCE), 0);
        // Not committed yet; committed, as CI meets it; and one commit later.
        assert_eq!(count(&[&first, SOURCE], &edited), 2);
        assert_eq!(count(&[SOURCE, &edited], &edited), 1);
        assert_eq!(count(&[SOURCE, &edited, &edited], &edited), 1);
        // A line that is gone is changed, too.
        assert_eq!(count(&[SOURCE, &first], &first), 1);
    }

    #[test]
    fn r040_a_shallow_clone_is_compared_with_the_commits_it_has() {
        let (folder, _) = repository(&[SOURCE, SOURCE], SOURCE);
        let clone = tempfile::tempdir().unwrap();
        let from = format!("file://{}", folder.path().display());
        let mut git = Command::new("git");
        git.args(["clone", "--quiet", "--depth", "1", &from, "."]).current_dir(clone.path());
        process::output(&mut git).unwrap();
        let found =
            earlier_history_changed(&Tree::at(clone.path()), &core(&tokens(SOURCE)).unwrap()).unwrap();
        assert_eq!(found, [""; 0]);
        let another = SOURCE.replacen("1.0", "9.9", 1);
        let found =
            earlier_history_changed(&Tree::at(clone.path()), &core(&tokens(&another)).unwrap()).unwrap();
        assert_eq!(found.len(), 1, "the commit that is there is compared: {found:?}");
        // No repository at all is a failure, not a pass.
        let bare = tempfile::tempdir().unwrap();
        assert!(earlier_history_changed(&Tree::at(bare.path()), &core(&tokens(SOURCE)).unwrap()).is_err());
    }
}
