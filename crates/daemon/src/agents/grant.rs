//! A path that a stage names: where it is on the host, and whether it may be shown.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

/// Paths that no agent is given to read, whatever its pipeline says (1.3-a).
const FORBIDDEN: [&str; 5] = ["/opt/vault", "/etc/shadow", "/etc/gshadow", "/root/.ssh", "/proc"];

/// What is hidden from every agent, also in a folder above it that may be seen: this home, those that are used when none
/// is named, keys to other machines, and what is forbidden.
pub(crate) fn hidden(home: &Path, env: impl Fn(&str) -> Option<std::ffi::OsString>) -> Vec<PathBuf> {
    let folder = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = folder("HOME");
    let usual = own.as_ref().map(|own| own.join(".local/state"));
    let mut hidden = vec![home.to_owned()];
    // These need not be there: an agent that made them would leave something for others to trust. The usual one is another
    // command's whose environment names no other.
    hidden.extend(folder("XDG_STATE_HOME").into_iter().chain(usual).map(|state| state.join("eparch")));
    hidden.extend(own.map(|own| own.join(".ssh")));
    hidden.extend(FORBIDDEN.iter().map(PathBuf::from).filter(|path| path.exists()));
    // One that cannot be named to the sandbox cannot be shown by it either.
    hidden.retain(|path| {
        path.to_str().is_some() && !path.components().any(|part| part == Component::ParentDir)
    });
    hidden
}

/// A path of the host that is shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Without links.
    pub(crate) host: PathBuf,
    /// Below the project, for a relative path.
    pub(crate) inside: Option<PathBuf>,
}

/// A path's real place on the host. A relative one stays in the project, whatever links it goes through: who wrote the
/// project decides where those lead.
pub(crate) fn place(root: &Path, path: &str) -> Result<Place, String> {
    let root = root.canonicalize().map_err(|problem| format!("the project's folder: {problem}"))?;
    let host = root.join(path).canonicalize().map_err(|problem| format!("{path}: {problem}"))?;
    allowed(path, &host)?;
    let below = host.strip_prefix(&root).ok().map(Path::to_owned);
    if Path::new(path).is_absolute() {
        return Ok(Place { host, inside: None });
    }
    match below {
        Some(inside) => Ok(Place { host, inside: Some(inside) }),
        None => {
            Err(format!("{path} leads out of the project, to {}; write the absolute path", host.display()))
        }
    }
}

/// Whether a value that came from an earlier stage names something in the project. It is an agent's word, and no agent
/// decides what of the host another one sees.
pub(crate) fn of_project(root: &Path, path: &str) -> Result<(), String> {
    let root = root.canonicalize().map_err(|problem| format!("the project's folder: {problem}"))?;
    let host = existing(&root.join(path));
    match host.starts_with(&root) {
        true => Ok(()),
        false => Err(format!("{path} comes from an earlier stage and is not in the project")),
    }
}

/// Whether a place is one that no agent may see, or lies in one.
pub(crate) fn is_hidden(host: &Path, hidden: &[PathBuf]) -> bool {
    let within = |folder: &Path| host.starts_with(folder) || existing(host).starts_with(existing(folder));
    FORBIDDEN.iter().map(Path::new).chain(hidden.iter().map(PathBuf::as_path)).any(within)
}

fn allowed(path: &str, host: &Path) -> Result<(), String> {
    match FORBIDDEN.iter().find(|forbidden| host.starts_with(forbidden)) {
        Some(forbidden) => Err(format!("{path} is {forbidden}, which no agent may see")),
        None => Ok(()),
    }
}

/// As much of a path as exists, without links, and the rest of it.
fn existing(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let Ok(found) = above.canonicalize() {
            let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
            return found.join(rest).components().collect();
        }
    }
    path.to_owned()
}

/// Whether a path that is not there names a file, as people name files: with an extension. With a slash at its end it is a
/// folder.
pub(crate) fn names_a_file(path: &str) -> bool {
    !path.ends_with('/') && Path::new(path).extension().is_some()
}

/// Checks a path to write. Where nothing is there yet, the folder that has to be made: it is part of the grant, since the
/// author named it. Nothing is made in a place that may not be seen.
pub(crate) fn to_make(root: &Path, path: &str, hidden: &[PathBuf]) -> Result<Option<PathBuf>, String> {
    let real = root.canonicalize().map_err(|problem| format!("the project's folder: {problem}"))?;
    let wanted = real.join(path);
    if wanted.exists() {
        return place(root, path).map(|_| None);
    }
    // A link whose end is missing exists no more than its end, and is not what the author named.
    if wanted.components().any(|part| part == Component::ParentDir) || wanted.is_symlink() {
        return Err(format!("cannot make {path}: it leads through a link"));
    }
    let host = existing(&wanted);
    allowed(path, &host)?;
    if Path::new(path).is_relative() && !host.starts_with(&real) {
        return Err(format!(
            "{path} leads out of the project, to {}; write the absolute path",
            host.display()
        ));
    }
    if let Some(hidden) = hidden.iter().find(|hidden| host.starts_with(existing(hidden))) {
        return Err(format!("{path} is in {}, which no agent may see", hidden.display()));
    }
    if names_a_file(path) {
        return Err(format!(
            "{path} is not there, and only folders are made: name the folder it is to be in, make the file before, or \
             write {path}/ to have a folder of this name"
        ));
    }
    Ok(Some(host))
}

/// Makes a folder to write to, and not through a link that leads somewhere else by now.
pub(crate) fn make(path: &str, host: &Path) -> Result<(), String> {
    let failed = |problem: io::Error| format!("cannot make {path}: {problem}");
    let mut at = folder(CWD, OsStr::new("/"), ResolveFlags::empty()).map_err(|errno| failed(errno.into()))?;
    for part in host.components() {
        let Component::Normal(name) = part else { continue };
        at = step(&at, name).map_err(|errno| match errno {
            Errno::LOOP | Errno::NOTDIR => format!("cannot make {path}: it leads through a link or a file"),
            errno => failed(errno.into()),
        })?;
    }
    Ok(())
}

fn step(at: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let plain = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match folder(at, name, plain) {
        Err(Errno::NOENT) => match mkdirat(at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => folder(at, name, plain),
            Err(errno) => Err(errno),
        },
        other => other,
    }
}

fn folder(at: impl std::os::fd::AsFd, name: &OsStr, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if resolve.is_empty() {
        return openat(at, name, flags, Mode::empty());
    }
    openat2(at, name, flags | OFlags::NOFOLLOW, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn make_missing(root: &Path, path: &str, hidden: &[PathBuf]) -> Result<(), String> {
        to_make(root, path, hidden)?.map_or(Ok(()), |host| make(path, &host))
    }

    #[test]
    fn a_file_to_write_is_never_made_as_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        for path in ["report.md", "out/report.md", "conf.d"] {
            let refusal = make_missing(&real, path, &[]).unwrap_err();
            assert!(refusal.contains("only folders are made"), "{path}: {refusal}");
        }
        assert_eq!(fs::read_dir(&real).unwrap().count(), 0);
        for path in ["conf.d/", ".github", "out"] {
            make_missing(&real, path, &[]).unwrap();
            assert!(real.join(path).is_dir(), "{path}");
        }
        // What is there is what it is, however it is called.
        fs::write(real.join("report.md"), "x").unwrap();
        for path in ["report.md", "conf.d"] {
            assert_eq!(to_make(&real, path, &[]), Ok(None), "{path}");
        }
    }

    #[test]
    fn a_relative_path_never_leaves_the_project_and_nothing_is_made_outside() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let (root, victim) = (real.join("project"), real.join("victim"));
        for made in [root.join("docs"), root.join("src"), victim.join(".aws")] {
            fs::create_dir_all(made).unwrap();
        }
        symlink("../../victim/.aws", root.join("docs/evil")).unwrap();
        symlink("../victim/.ssh", root.join("gen")).unwrap();
        symlink("src", root.join("within")).unwrap();
        for path in ["docs/evil", "../victim", "src/../../victim"] {
            let refusal = place(&root, path).unwrap_err();
            assert!(refusal.contains("leads out of the project"), "{path}: {refusal}");
        }
        for path in ["gen", "gen/deep", "docs/evil/deep"] {
            let refusal = make_missing(&root, path, &[]).unwrap_err();
            assert!(refusal.contains("lead"), "{path}: {refusal}");
        }
        assert!(!victim.join(".ssh").exists() && fs::read_dir(victim.join(".aws")).unwrap().count() == 0);
        // A link that stays inside is fine, and so is a folder that is made.
        assert_eq!(place(&root, "within").unwrap().inside.unwrap(), Path::new("src"));
        make_missing(&root, "out/deep", &[]).unwrap();
        assert!(root.join("out/deep").is_dir());
        // Written as it is, an absolute path may be anywhere; an agent's word may not.
        assert_eq!(place(&root, victim.to_str().unwrap()).unwrap().inside, None);
        of_project(&root, "out").unwrap();
        of_project(&root, "not/there").unwrap();
        for path in [victim.to_str().unwrap(), "docs/evil", "/"] {
            assert!(of_project(&root, path).unwrap_err().contains("earlier stage"), "{path}");
        }
    }

    #[test]
    fn what_is_hidden_is_neither_named_nor_made() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let env = |name: &str| (name == "HOME").then(|| real.clone().into_os_string());
        let hidden = hidden(&real.join("home"), env);
        for path in ["home", ".ssh", ".local/state/eparch"] {
            assert!(hidden.contains(&real.join(path)), "{hidden:?}");
        }
        for path in [".ssh", ".ssh/deep", ".local/state/eparch/keys", "home/x"] {
            let refusal = make_missing(&real, path, &hidden).unwrap_err();
            assert!(refusal.contains("no agent may see"), "{path}: {refusal}");
        }
        assert!(
            place(Path::new("/"), "etc/shadow").is_err_and(|refusal| refusal.contains("no agent may see"))
        );
        assert_eq!(fs::read_dir(&real).unwrap().count(), 0);
    }
}
