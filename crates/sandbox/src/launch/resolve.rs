//! Finding a program inside the cage, as a shell would.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::spec::Program;
use crate::wire::NoStart;

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
    use std::path::Path;

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
