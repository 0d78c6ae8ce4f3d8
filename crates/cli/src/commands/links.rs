//! Links by whose names parts of eparch are called (R361): `argv[0]` is the subcommand.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::output::outln;

/// Names that are subcommands, and whether this build has them.
const NAMES: [(&str, bool); 6] = [
    ("pipeline", true),
    ("checkpoint", false),
    ("status", false),
    ("memory", false),
    ("bugs", false),
    ("validate-phases", false),
];

/// The words of the command line, with the subcommand that the program was called as.
pub(crate) fn subcommand(
    called: Option<&OsStr>,
    words: impl Iterator<Item = OsString>,
) -> Result<Vec<OsString>, Failure> {
    let name = called.and_then(|called| Path::new(called).file_name()).unwrap_or_default();
    let mut all = vec![OsString::from("eparch")];
    match NAMES.iter().find(|(known, _)| name == *known) {
        Some((known, true)) => all.push((*known).into()),
        Some((known, false)) => return Err(not_built(known)),
        None => {}
    }
    all.extend(words);
    Ok(all)
}

fn not_built(name: &str) -> Failure {
    Failure::new("EP0708", format!("`{name}` is not in this build"))
        .hint("`eparch --help` lists what is")
        .exit(exit::USAGE)
}

/// Makes the links in a folder.
pub(crate) fn make(context: &Context, dir: &Path) -> Result<u8, Failure> {
    let cannot = |what: &Path, problem: std::io::Error| {
        Failure::new("EP0712", format!("cannot make {}: {problem}", what.display()))
            .hint("name a folder that you may write")
    };
    let program = std::env::current_exe().map_err(|problem| cannot(dir, problem))?;
    fs::create_dir_all(dir).map_err(|problem| cannot(dir, problem))?;
    let mut made = Vec::new();
    for (name, _) in NAMES.iter().filter(|(_, built)| *built) {
        let link = dir.join(name);
        // An older link of ours is replaced; a file of somebody else's is not.
        if fs::read_link(&link).is_ok_and(|target| target.file_name() == program.file_name()) {
            fs::remove_file(&link).map_err(|problem| cannot(&link, problem))?;
        }
        symlink(&program, &link).map_err(|problem| cannot(&link, problem))?;
        made.push(link);
    }
    if context.is_json() {
        print_json(&json!({ "links": made }))?;
    } else {
        made.iter().for_each(|link| outln!("{}", link.display()));
    }
    Ok(exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r361_the_name_it_is_called_by_is_the_subcommand() {
        let words = |called: &str| subcommand(Some(OsStr::new(called)), [OsString::from("list")].into_iter());
        assert_eq!(words("/usr/bin/pipeline").unwrap(), ["eparch", "pipeline", "list"]);
        assert_eq!(words("./eparch").unwrap(), ["eparch", "list"]);
        assert_eq!(words("memory").unwrap_err().code(), "EP0708");
    }
}
