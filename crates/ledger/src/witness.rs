//! Which folders have had checkpoints: a disk that is away leaves an empty folder where it was mounted, and what would be
//! kept there then is no witness's.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::anchor;
use crate::folder::sync_dir;

/// The file beside the home's own checkpoints that says which folders elsewhere have had some, a line for each.
const FILE: &str = "witnesses";

/// A witness folder, as the home remembers it.
#[derive(Debug)]
pub(crate) struct Witness {
    dir: PathBuf,
    /// The file that remembers.
    file: PathBuf,
    /// It is in there.
    known: bool,
}

impl Witness {
    /// The witness folder `dir` of a home that keeps its own checkpoints in `anchors`.
    pub(crate) fn of(dir: &Path, anchors: &Path) -> Witness {
        Witness { dir: dir.to_owned(), file: anchors.join(FILE), known: false }
    }

    /// Refuses a folder that has had checkpoints and has none of anybody now.
    pub(crate) fn see_that_it_is_there(&self) -> io::Result<()> {
        if self.is_remembered()? && anchor::tenants(&self.dir)?.is_empty() {
            let file = self.file.display();
            return Err(io::Error::other(format!(
                "its folder has had checkpoints and is empty: is its disk away? To begin anew there, take its line out of {file}"
            )));
        }
        Ok(())
    }

    /// Remembers that the folder has checkpoints.
    pub(crate) fn remember(&mut self) -> io::Result<()> {
        if !self.known && !self.is_remembered()? {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.file)?;
            writeln!(file, "{}", self.line())?;
            file.sync_data()?;
            sync_dir(self.file.parent().unwrap_or(Path::new(".")))?;
        }
        self.known = true;
        Ok(())
    }

    fn is_remembered(&self) -> io::Result<bool> {
        match fs::read_to_string(&self.file) {
            Ok(text) => Ok(text.lines().any(|line| line == self.line())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Quoted, so that it is one line whatever the folder is called.
    fn line(&self) -> String {
        format!("{:?}", self.dir)
    }
}
