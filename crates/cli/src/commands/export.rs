//! `eparch ledger export`: the whole history as a file for strangers.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use eparch_domain::in_full;
use eparch_ledger::folder::sync_dir;
use eparch_ledger::{ExportError, Exported};
use rustix::fs::OFlags;

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
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<Exported, ExportError>,
) -> Result<Exported, Failure> {
    // A device or a pipe takes what comes; nothing in it can be replaced.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let file = OpenOptions::new().write(true).open(path).map_err(|problem| unwritten(&problem))?;
        return write(&mut BufWriter::new(&file)).map_err(not_exported);
    }
    // Where it is a link, what it leads to is replaced.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let draft = Draft::beside(&path).map_err(|problem| unwritten(&problem))?;
    let mut out = BufWriter::new(&draft.file);
    let exported = write(&mut out).map_err(not_exported)?;
    let kept = out.flush();
    drop(out);
    kept.and_then(|()| draft.keep(&path)).map_err(|problem| unwritten(&problem))?;
    Ok(exported)
}

/// A file that is not whole yet; what is left of it goes with it. What an interrupted export left of one is written over.
struct Draft {
    path: PathBuf,
    file: File,
    /// What is replaced.
    old: Option<fs::Metadata>,
    kept: bool,
}

impl Draft {
    fn beside(path: &Path) -> io::Result<Draft> {
        let old = fs::metadata(path).ok();
        let mut name = path.as_os_str().to_owned();
        name.push(".draft");
        let draft = PathBuf::from(name);
        // Nobody reads of it meanwhile who may not read what it replaces.
        let mode = if old.is_some() { 0o600 } else { 0o666 };
        let mut open = OpenOptions::new();
        open.write(true).create(true).mode(mode).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = open.open(&draft)?;
        // Whoever is at it may have put it into its place between these two.
        let theirs = || io::Error::other(format!("another export writes {}", draft.display()));
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(theirs()),
            Err(TryLockError::Error(problem)) => return Err(problem),
            Ok(()) => {}
        }
        let (found, own) = (fs::symlink_metadata(&draft)?, file.metadata()?);
        if (found.dev(), found.ino()) != (own.dev(), own.ino()) {
            return Err(theirs());
        }
        file.set_len(0)?;
        if old.is_some() {
            // One that was left may be for others as well; not every file system knows of modes.
            let _ = file.set_permissions(fs::Permissions::from_mode(mode));
        }
        Ok(Draft { path: draft, file, old, kept: false })
    }

    /// Puts it in its place, for those who could read what was there.
    fn keep(mut self, path: &Path) -> io::Result<()> {
        // A mode says something of an owner and a group: where it cannot have these, it stays its writer's alone.
        if let Some(old) = &self.old
            && fchown(&self.file, Some(old.uid()), Some(old.gid())).is_ok()
        {
            self.file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
        }
        self.file.sync_all()?;
        fs::rename(&self.path, path)?;
        self.kept = true;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        sync_dir(folder.unwrap_or(Path::new(".")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Once it has its place, its name is for the next. Until this returns it is locked.
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
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
