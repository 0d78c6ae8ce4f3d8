//! Finding a program inside the cage, as a shell would.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::spec::{PATH, Program};
use crate::wire::NoStart;

/// A program as it is looked up and started: one that shall find only what was given does not look into the `writable`
/// folders.
pub(super) fn settled(mut program: Program, writable: &[PathBuf]) -> Program {
    if program.only_given
        && let Some(path) = program.env.get_mut("PATH")
    {
        *path = only_given(path, writable);
    }
    program
}

/// The folders of a `PATH` in which nothing can be written, each by its place: a link to it may be exchanged later.
fn only_given(path: &str, writable: &[PathBuf]) -> String {
    let is_written = |folder: &Path| writable.iter().any(|root| folder.starts_with(root));
    let place = |folder: &str| {
        let folder = Some(Path::new(folder)).filter(|folder| folder.is_absolute() && !is_written(folder))?;
        let place = fs::canonicalize(folder).ok().filter(|place| !is_written(place))?;
        // A folder with a colon in it cannot stand in a `PATH`.
        place.into_os_string().into_string().ok().filter(|place| !place.contains(':'))
    };
    let given: Vec<String> = path.split(':').filter_map(place).collect();
    if given.is_empty() { PATH.to_owned() } else { given.join(":") }
}

/// Which file a program is, before anything of it runs.
pub(super) fn resolve(program: &Program) -> Result<PathBuf, NoStart> {
    let name = program.argv.first().filter(|name| !name.is_empty());
    let not_found = || NoStart::NotFound { program: name.cloned().unwrap_or_default() };
    let name = name.ok_or_else(not_found)?;
    match fs::metadata(&program.cwd) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(NoStart::NoFolder { path: program.cwd.clone(), why: "it is not a folder".into() });
        }
        Err(error) => return Err(NoStart::NoFolder { path: program.cwd.clone(), why: error.to_string() }),
    }
    if name.contains('/') {
        return executable(program.cwd.join(name)).unwrap_or_else(|| Err(not_found()));
    }
    let mut refused = None;
    for folder in program.env.get("PATH").map(String::as_str).unwrap_or_default().split(':') {
        match executable(program.cwd.join(folder).join(name)) {
            Some(Ok(path)) => return Ok(path),
            Some(Err(refusal)) => refused = refused.or(Some(refusal)),
            None => {}
        }
    }
    Err(refused.unwrap_or_else(not_found))
}

fn executable(path: PathBuf) -> Option<Result<PathBuf, NoStart>> {
    let found = fs::metadata(&path).ok()?;
    let refuse = |why: &str| Some(Err(NoStart::NotExecutable { path: path.clone(), why: why.into() }));
    if !found.is_file() {
        return refuse("it is not a regular file");
    }
    if found.permissions().mode() & 0o111 == 0 {
        return refuse("it is not executable");
    }
    Some(Ok(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_only_what_was_given_is_found_no_writable_folder_is_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        for name in ["given/bin", "written/bin", "with:colon"] {
            fs::create_dir_all(real.join(name)).unwrap();
        }
        // By a name that is in no such folder, and by one in such a folder that leads out of it.
        for (target, name) in [("written", "alias"), ("given/bin", "tools"), ("../given", "written/out")] {
            std::os::unix::fs::symlink(target, real.join(name)).unwrap();
        }
        let at = |name: &str| format!("{}/{name}", real.display());
        let kept = |folders: &[String]| only_given(&folders.join(":"), &[real.join("written")]);
        let named =
            ["written/bin", "alias/bin", "given/../written", "written/out/bin", "not/there", "tools"].map(at);
        assert_eq!(kept(&named), at("given/bin"));
        assert_eq!(kept(&["".into(), "bin".into(), at("/given"), ".".into()]), at("given"));
        for nothing in [[at("written")], [String::new()], [at("with:colon")]] {
            assert_eq!(kept(&nothing), PATH, "{nothing:?}");
        }
        let mut program = Program::new(["sh"]);
        program.env.insert("PATH".into(), at("written/bin"));
        assert_eq!(settled(program.clone(), &[real.join("written")]), program);
        program.only_given = true;
        assert_eq!(settled(program, &[real.join("written")]).env["PATH"], PATH);
    }

    #[test]
    fn programs_are_found_as_a_shell_would() {
        let mut program = Program::new(["sh"]);
        program.cwd = "/".into();
        assert!(resolve(&program).unwrap().ends_with("sh"));
        program.argv = vec!["./bin/../bin/sh".into()];
        assert!(resolve(&program).is_ok());
        program.argv = vec!["no-such-program".into()];
        assert_eq!(resolve(&program), Err(NoStart::NotFound { program: "no-such-program".into() }));
        program.argv = vec!["/etc/passwd".into()];
        assert!(matches!(resolve(&program), Err(NoStart::NotExecutable { .. })));
        program.cwd = "/no-such-folder".into();
        assert!(
            matches!(resolve(&program), Err(NoStart::NoFolder { path, .. }) if path == Path::new("/no-such-folder"))
        );
    }
}
