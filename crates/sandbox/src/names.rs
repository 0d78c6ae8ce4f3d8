//! Further names of what lies in a workspace: links, which a program may take away or exchange.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, readlinkat};

use crate::spec::{Alias, WORKSPACE};
use crate::workspace::resolve;

/// The parts of a name, and of all links in it, that are looked at; a longer way is a trap, or a circle.
const STEPS: usize = 256;

/// Names relative to the workspace, each with the place it was given for.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<(PathBuf, PathBuf)>);

impl Names {
    pub(crate) fn of(aliases: &[Alias]) -> Names {
        let within = |path: &Path| path.strip_prefix(WORKSPACE).ok().map(Path::to_owned);
        let mut names: Vec<_> =
            aliases.iter().filter_map(|alias| within(&alias.at).zip(within(&alias.to))).collect();
        // Of two that lead to a path, the nearer one says where it is.
        names.sort_by_key(|(at, _)| std::cmp::Reverse(at.components().count()));
        Names(names)
    }

    /// The place of a path that begins with one of the names, as long as the name leads there for programs as well. What
    /// they put in its stead is what they mean by it.
    pub(crate) fn place(&self, root: impl AsFd, path: &Path) -> Option<PathBuf> {
        let (at, to) = self.0.iter().find(|(at, _)| path.starts_with(at))?;
        let rest = path.strip_prefix(at).ok()?;
        (follow(root, at)? == *to).then(|| to.join(rest))
    }
}

/// Where a name leads a program now, link by link, as long as it stays in the workspace.
fn follow(root: impl AsFd, name: &Path) -> Option<PathBuf> {
    let mut at = PathBuf::new();
    let mut left: Vec<PathBuf> = parts(name);
    for _ in 0..STEPS {
        let Some(part) = left.pop() else { return Some(at) };
        if part == Path::new("..") {
            // Above the workspace nothing is known.
            if !at.pop() {
                return None;
            }
            continue;
        }
        let here = if at.as_os_str().is_empty() { Path::new(".") } else { &at };
        let folder = resolve(&root, here, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        match folder.and_then(|folder| readlinkat(&folder, &part, Vec::new())) {
            Ok(target) => {
                let mut target = Path::new(OsStr::from_bytes(target.to_bytes()));
                if target.is_absolute() {
                    target = target.strip_prefix(WORKSPACE).ok()?;
                    at.clear();
                }
                left.extend(parts(target));
            }
            // No link, or nothing at all.
            Err(_) => at.push(part),
        }
    }
    None
}

/// The parts of a path that say something, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let said = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    said.rev().map(|part| part.as_os_str().into()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_name_is_known_as_long_as_it_leads_where_it_did() {
        let folder = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(folder.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let at = |name: &str| folder.path().join(name);
        let alias = |at: &str, to: &str| Alias {
            at: Path::new(WORKSPACE).join(at),
            to: Path::new(WORKSPACE).join(to),
        };
        let names = Names::of(&[alias("out", "build/x"), alias("deep/out", "build/x")]);
        let place = |path: &str| names.place(&root, Path::new(path));
        fs::create_dir_all(at("build/x")).unwrap();
        fs::create_dir_all(at("deep/er")).unwrap();
        symlink("x", at("build/now")).unwrap();
        let link = |target: &str, name: &str| {
            let _ = fs::remove_file(at(name));
            symlink(target, at(name)).unwrap();
        };
        // As a project has it, as the cage makes it, and through further links.
        for target in ["build/x", "./build//x", "/workspace/build/x", "deep/../build/now", "build/now/../x"] {
            link(target, "out");
            assert_eq!(place("out/r"), Some("build/x/r".into()), "{target}");
        }
        link("er/../../out", "deep/out");
        assert_eq!(place("deep/out/r"), Some("build/x/r".into()));
        assert_eq!(place("other/r"), None);
        for target in ["build", "/workspace", "/srv/build/x", "../workspace/build/x", "out", "/"] {
            link(target, "out");
            assert_eq!(place("out/r"), None, "{target}");
        }
        fs::remove_file(at("out")).unwrap();
        assert_eq!(place("out/r"), None, "gone");
        fs::create_dir(at("out")).unwrap();
        assert_eq!(place("out/r"), None, "a folder of its own");
        // Also where only what lies on the way was exchanged.
        fs::remove_dir(at("out")).unwrap();
        link("build/now", "out");
        link("../deep", "build/now");
        assert_eq!(place("out/r"), None);
    }
}
