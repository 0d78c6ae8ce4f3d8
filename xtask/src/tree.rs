//! The repository: where it is, and what is in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;
use crate::steps::Problem;

/// The repository this workshop belongs to.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The repository around the running workshop.
    pub(crate) fn here() -> Result<Tree, Problem> {
        // Set by `cargo run`; the path at build time serves a binary that is started by hand.
        let package =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&package).parent().map(Path::to_path_buf).unwrap_or_default();
        if root.join("crates").is_dir() {
            Ok(Tree { root })
        } else {
            Err(Problem::new(format!("no folder `crates` in {}; is this the repository?", root.display())))
        }
    }

    /// A repository somewhere else.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Tree {
        Tree { root: root.to_path_buf() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Where cargo builds, and the workshop keeps its tools.
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.path("target"), |set| self.root.join(set))
    }

    /// The commit that is measured or tested; `-dirty` when the tree differs from it.
    pub(crate) fn commit(&self) -> Result<String, Problem> {
        let git = |words: &[&str]| process::output(Command::new("git").args(words).current_dir(&self.root));
        let commit = git(&["rev-parse", "--short=10", "HEAD"])?.trim().to_owned();
        let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.trim().is_empty();
        Ok(if changed { format!("{commit}-dirty") } else { commit })
    }

    /// The text of a file of the repository.
    pub(crate) fn read(&self, relative: &str) -> Result<String, Problem> {
        std::fs::read_to_string(self.path(relative))
            .map_err(|cause| Problem::while_doing(&format!("reading {relative}"), &cause))
    }

    pub(crate) fn write(&self, relative: &str, text: &str) -> Result<(), Problem> {
        let path = self.path(relative);
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        folder
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|cause| Problem::while_doing(&format!("writing {relative}"), &cause))
    }

    /// Every file that is tracked, or would be if it were added: relative paths, sorted.
    pub(crate) fn files(&self) -> Result<Vec<String>, Problem> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&self.root);
        let listed = process::output(&mut git)?;
        // A file that was deleted but is still tracked is listed and not there.
        let mut files: Vec<String> = listed
            .split('\0')
            .filter(|path| !path.is_empty() && self.root.join(path).is_file())
            .map(str::to_owned)
            .collect();
        files.sort_unstable();
        files.dedup();
        Ok(files)
    }
}

/// Every file under `folder` whose name ends in `ending`, sorted; nothing when there is no such folder.
pub(crate) fn files_under(folder: &Path, ending: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(cause),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(ending) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What stands between `<!-- NAME -->` and `<!-- /NAME -->`, as the text before, between and after the markers.
pub(crate) fn marked<'t>(text: &'t str, name: &str) -> Option<(&'t str, &'t str, &'t str)> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let from = text.find(&begin)? + begin.len();
    let to = from + text[from..].find(&end)?;
    Some((&text[..from], &text[from..to], &text[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_text_is_found_and_can_be_put_together_again() {
        let page = "a\n<!-- x -->\nold\n<!-- /x -->\nb";
        let (before, old, after) = marked(page, "x").unwrap();
        assert_eq!(old, "old\n");
        assert_eq!(format!("{before}{old}{after}"), page);
        assert_eq!(marked(page, "y"), None);
    }
}
