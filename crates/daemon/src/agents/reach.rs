//! The second cage: what a command that is performed under a permit sees. It is its agent's, and what the permit is for; what
//! no agent may see stays covered, whatever a permit says (1.3-a).

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use eparch_domain::{AgentId, Name, PermitId};
use eparch_governor::{Performance, Reach};
use eparch_sandbox::{Bind, CageSpec};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, fstat, openat2, statat, unlinkat};
use rustix::io::Errno;

use crate::agents::grant;
use crate::agents::spec;

/// Why there is no such cage.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OutOfReach {
    /// A stable code.
    pub(crate) code: &'static str,
    /// Why, in words.
    pub(crate) reason: String,
}

fn not_there(reason: String) -> OutOfReach {
    OutOfReach { code: "EP0633", reason }
}

fn forbidden(reason: String) -> OutOfReach {
    OutOfReach { code: "EP0634", reason }
}

/// A cage that was worked out.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) cage: CageSpec,
    /// What was made for it.
    pub(crate) made: Option<Made>,
}

/// An empty file that was made, since a cage shows what is there.
#[derive(Debug)]
pub(crate) struct Made {
    folder: OwnedFd,
    name: OsString,
    file: OwnedFd,
}

impl Made {
    /// Takes it away again, for a command that never ran. Somebody may have found it meanwhile: what they put into it, beside it or
    /// in its place is theirs, and stays.
    pub(crate) fn unmake(&self) {
        let Ok(own) = fstat(&self.file) else { return };
        let there = statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        let same = there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino));
        if same && own.st_size == 0 && own.st_nlink == 1 {
            // Where it cannot be, an empty file stays.
            let _ = unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// What the cage of a performance is called, by whatever holder. It begins as the names of its agent's own groups do, so that
/// whoever looks for what is left of an agent finds it as well.
pub(crate) fn cage_name(agent: AgentId, permit: PermitId) -> Name {
    Name::new(&format!("{agent}-{permit}")).expect("two ids are a name")
}

/// Works out what a performance sees, and makes the file that it is to write, where there is none. `shown` is what its agent was
/// shown when it was made ready: the same places, wherever their names lead by now. What the agent writes of the host it may have
/// exchanged for links meanwhile, and where one of those places is a link the cage is refused.
pub(crate) fn cage(shown: &CageSpec, performance: &Performance) -> Result<Reached, OutOfReach> {
    let mut cage = shown.clone();
    cage.name = cage_name(performance.agent, performance.permit);
    // Nothing is handed to it or taken from it but its words and its output. A desk would have to stand somewhere in the project,
    // and where that is written as a whole it would leave an empty folder behind.
    cage.desk = None;
    let root = Path::new(&performance.root);
    let real =
        root.canonicalize().map_err(|problem| not_there(format!("the project's folder: {problem}")))?;
    cage.mask.extend(performance.shut.covered.iter().map(|path| real.join(path)));
    let (path, writes) = match &performance.reach {
        Reach::Read { path } => (path.as_str(), false),
        Reach::Write { path } => (path.as_str(), true),
        Reach::Project => ("", true),
    };
    let (host, made) = itself(&real, path, &cage.mask, writes)?;
    if performance.shut.file_only {
        only_a_file(&host, path)?;
    }
    let inside = match host.strip_prefix(&real) {
        Ok(below) if !Path::new(path).is_absolute() => spec::in_workspace(below),
        _ => host.clone(),
    };
    // One place is shown once. What the permit says is more than what was there before, or the same; and what is written as a
    // whole is not read-only in parts.
    let covered = |bind: &Bind| bind.inside.starts_with(&inside) && bind.host.starts_with(&host);
    cage.read.retain(|bind| bind.inside != inside && !(writes && covered(bind)));
    if cage.write.iter().any(|bind| bind.inside == inside) {
        return Ok(Reached { cage, made });
    }
    let is_project = host == real && !Path::new(path).is_absolute();
    let bind = Bind::new(host.clone(), inside);
    // A folder may take the file's place before it is shown.
    let bind = if performance.shut.file_only { bind.only_a_file() } else { bind };
    match (writes, is_project) {
        (true, _) => cage.write.push(bind),
        (false, true) => cage.project = Some(host),
        (false, false) => cage.read.push(bind),
    }
    Ok(Reached { cage, made })
}

/// The file or folder that a permit names. Policy was asked about this name: no link in it is followed, since that would be
/// another place. One that is to be written and is not there is made, as an empty file in a folder that is there.
fn itself(
    root: &Path,
    path: &str,
    hidden: &[PathBuf],
    writes: bool,
) -> Result<(PathBuf, Option<Made>), OutOfReach> {
    let wanted: PathBuf = root.join(path).components().collect();
    if grant::is_hidden(&wanted, hidden) {
        return Err(forbidden(format!("no agent may see {path}, whatever it is permitted")));
    }
    let look = |at: &Path| at.canonicalize();
    match look(&wanted) {
        Ok(found) if found != wanted => {
            if grant::is_hidden(&found, hidden) {
                return Err(forbidden(format!("{path} leads to where no agent may look")));
            }
            Err(not_there(format!("{path} leads to {}: name that place", found.display())))
        }
        Ok(found) if found.is_file() || found.is_dir() => Ok((found, None)),
        Ok(_) => Err(not_there(format!("{path} is neither a file nor a folder"))),
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound && writes => {
            let made = make_file(&wanted);
            let made = made.map_err(|reason| not_there(format!("{path} cannot be made: {reason}")))?;
            Ok((wanted, Some(made)))
        }
        Err(problem) => Err(not_there(format!("{path}: {problem}"))),
    }
}

/// Refuses a folder, where policy judges what lies in it by names. The governor cannot tell a file from a folder.
fn only_a_file(host: &Path, path: &str) -> Result<(), OutOfReach> {
    if host.is_file() {
        return Ok(());
    }
    let reason = format!("{path} is a folder, and policy judges what lies in it by each file's name");
    Err(OutOfReach { code: "EP0624", reason })
}

/// Makes an empty file, in a folder that is there and through no link.
fn make_file(path: &Path) -> Result<Made, String> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err("it has no name".to_owned());
    };
    let plain = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat2(CWD, folder, flags, Mode::empty(), plain).map_err(|errno| match errno {
        Errno::LOOP => "its folder leads through a link".to_owned(),
        Errno::NOENT | Errno::NOTDIR => "its folder is not there".to_owned(),
        errno => errno.to_string(),
    })?;
    let beneath = plain | ResolveFlags::BENEATH;
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat2(&folder, name, create, Mode::from_raw_mode(0o644), beneath)
        .map_err(|errno| std::io::Error::from(errno).to_string())?;
    Ok(Made { folder, name: name.to_owned(), file })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_permit_is_for_the_place_it_names_and_for_none_that_this_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let (root, elsewhere) = (real.join("project"), real.join("elsewhere"));
        let hidden = [elsewhere.join("keys"), PathBuf::from("/etc/shadow")];
        for made in [root.join("docs"), elsewhere.join("keys")] {
            fs::create_dir_all(made).unwrap();
        }
        fs::write(elsewhere.join("x"), "x").unwrap();
        symlink(&elsewhere, root.join("out")).unwrap();
        symlink(elsewhere.join("x"), root.join("docs/x")).unwrap();
        symlink(elsewhere.join("new"), root.join("docs/dangling")).unwrap();
        let code = |path: &str, writes| itself(&root, path, &hidden, writes).unwrap_err().code;
        for writes in [true, false] {
            for path in ["out", "out/x", "docs/x", "docs/dangling", "nowhere/x", "/dev/null"] {
                assert_eq!(code(path, writes), "EP0633", "{path}");
            }
            for path in ["/etc/shadow", "out/keys", elsewhere.join("keys/id").to_str().unwrap()] {
                assert_eq!(code(path, writes), "EP0634", "{path}");
            }
            assert_eq!(itself(&root, "", &hidden, writes).unwrap().0, root);
            assert_eq!(itself(&root, "docs", &hidden, writes).unwrap().0, root.join("docs"));
        }
        assert_eq!(code("docs/new", false), "EP0633", "nothing is made to be read");
        let (made, _) = itself(&root, "docs/new", &hidden, true).unwrap();
        assert!(made.is_file() && fs::read(made).unwrap().is_empty());
        assert!(!elsewhere.join("new").exists());
    }

    #[test]
    fn what_was_made_for_a_command_that_never_ran_goes_unless_it_is_somebodys_by_now() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let at = root.join("new");
        let made = || itself(&root, "new", &[], true).unwrap().1.unwrap();
        made().unmake();
        assert!(!at.exists());
        let begun: [fn(&Path, &Path); 3] = [
            |at, _| fs::write(at, "theirs").unwrap(),
            |at, _| {
                fs::remove_file(at).unwrap();
                fs::write(at, "").unwrap();
            },
            |at, root| fs::hard_link(at, root.join("other")).unwrap(),
        ];
        for (number, somebody) in begun.iter().enumerate() {
            let made = made();
            somebody(&at, &root);
            made.unmake();
            assert!(at.exists(), "{number}");
            fs::remove_file(&at).unwrap();
        }
        // What was there before was not made.
        fs::write(&at, "").unwrap();
        assert!(itself(&root, "new", &[], true).unwrap().1.is_none());
    }

    #[test]
    fn g4_where_policy_judges_by_names_a_folder_is_refused_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        fs::write(&file, "x").unwrap();
        assert_eq!(only_a_file(&file, "certs/a.pem"), Ok(()));
        let refused = only_a_file(folder.path(), "certs").unwrap_err();
        assert_eq!(refused.code, "EP0624");
        assert!(refused.reason.starts_with("certs is a folder"), "{refused:?}");
    }

    #[test]
    fn r011_the_cage_of_a_performance_is_found_by_its_agents_name_too() {
        let (agent, permit) = (AgentId::from_bits(u128::MAX), PermitId::from_bits(u128::MAX));
        let (own, agents) = (cage_name(agent, permit), spec::cage_name(agent));
        assert!(own.as_str().starts_with(&format!("{agents}-")), "{own}");
    }
}
