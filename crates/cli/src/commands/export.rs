//! `eparch ledger export`: the whole history as a file for strangers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use eparch_domain::in_full;
use eparch_ledger::{ExportError, Exported};

use super::ledger::{public_key, reader, tenant, unreadable};
use crate::context::Context;
use crate::failure::{Failure, exit};

/// Writes the history to a file, or to standard output.
pub(crate) fn export(context: &Context, output: Option<&Path>) -> Result<u8, Failure> {
    let home = context.home_at_rest()?;
    let (reader, key) = (reader(&home)?, public_key(&home)?);
    let exported = match output {
        None => match reader.export(&tenant(), &key, &mut BufWriter::new(io::stdout().lock())) {
            // Whoever reads it has had enough, as with any other command.
            Err(ExportError::Write(problem)) if problem.kind() == ErrorKind::BrokenPipe => {
                return Ok(exit::DONE);
            }
            exported => exported.map_err(not_exported)?,
        },
        Some(path) => to_file(path, |out| reader.export(&tenant(), &key, out))?,
    };
    if exported.unsigned > 0 {
        context.say(&format!(
            "No checkpoint is signed yet for the newest {}: `eparch ledger checkpoint` signs them; then export again.",
            exported.unsigned
        ));
    }
    let count = exported.entries;
    context.say(&format!("{count} entries. Whoever has them checks them with:\n  eparch ledger import-verify FILE --public-key ledger.pub"));
    Ok(exit::DONE)
}

/// Writes a draft beside the file and puts it in its place once it is whole: the export that was there may be the only one.
fn to_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<Exported, ExportError>,
) -> Result<Exported, Failure> {
    // A device or a pipe takes what comes; nothing in it can be replaced.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let mut out =
            BufWriter::new(OpenOptions::new().write(true).open(path).map_err(|problem| unwritten(&problem))?);
        return write(&mut out).map_err(not_exported);
    }
    // Where it is a link, what it leads to is replaced.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let draft = Draft::beside(&path);
    let file = OpenOptions::new().write(true).create_new(true).open(&draft.0);
    let mut out = BufWriter::new(file.map_err(|problem| unwritten(&problem))?);
    let exported = write(&mut out).map_err(not_exported)?;
    let kept = out.flush().and_then(|()| out.get_ref().sync_all()).and_then(|()| fs::rename(&draft.0, &path));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    kept.and_then(|()| File::open(folder)?.sync_all()).map_err(|problem| unwritten(&problem))?;
    Ok(exported)
}

/// A file that is not whole yet; what is left of it goes with it.
struct Draft(PathBuf);

impl Draft {
    fn beside(path: &Path) -> Draft {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.draft", std::process::id()));
        Draft(name.into())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once it has its place there is nothing left.
        let _ = fs::remove_file(&self.0);
    }
}

fn not_exported(problem: ExportError) -> Failure {
    match &problem {
        ExportError::Read(problem) => unreadable(problem),
        ExportError::Write(_) => unwritten(&problem),
    }
}

fn unwritten(problem: &dyn std::error::Error) -> Failure {
    Failure::new("EP0712", in_full(problem))
        .hint("check that the folder is there and that the disk is not full")
}
