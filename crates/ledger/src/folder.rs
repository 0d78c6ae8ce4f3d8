//! Folders and the names in them, made durable: what is synced in a folder that has no name is lost all the same.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// For its owner only.
pub const PRIVATE: u32 = 0o700;

/// For all that the process's own mask allows.
pub const SHARED: u32 = 0o777;

/// Makes a folder and those around it, where they are missing, and makes their names durable. Its own name is made so even
/// where it is there already: an attempt before may have made it, and failed then.
pub fn make(dir: &Path, mode: u32, sync: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let named = |folder: &&Path| !folder.as_os_str().is_empty();
    let missing: Vec<&Path> = dir.ancestors().filter(named).take_while(|folder| !folder.exists()).collect();
    DirBuilder::new().recursive(true).mode(mode).create(dir)?;
    let innermost = missing.is_empty().then_some(dir);
    for made in missing.into_iter().chain(innermost) {
        sync(made.parent().filter(named).unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Makes a new name in a folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g1_the_names_of_all_folders_that_were_made_are_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        let synced = std::cell::RefCell::new(Vec::new());
        let sync = |folder: &Path| {
            synced.borrow_mut().push(folder.to_owned());
            sync_dir(folder)
        };
        let (far, away) = (dir.path().join("far"), dir.path().join("far/away"));
        make(&away, SHARED, sync).unwrap();
        assert_eq!(*synced.borrow(), [far.clone(), dir.path().to_owned()]);
        make(&away, SHARED, |_| Err(io::Error::other("no space"))).unwrap_err();
        synced.borrow_mut().clear();
        make(&away, SHARED, sync).unwrap();
        assert_eq!(*synced.borrow(), [far], "an attempt before has made it, and may have failed then");
    }
}
