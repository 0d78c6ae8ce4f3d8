//! One writer per home: an exclusive lock on a file beside the journal, which the kernel lets go of when we die.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The lock, held while it lives.
#[derive(Debug)]
pub(crate) struct Hold {
    file: File,
}

/// Why the lock was not had.
#[derive(Debug)]
pub(crate) enum NotHeld {
    /// Somebody else has it; their process id, if they wrote it down.
    By(Option<u32>),
    Io(io::Error),
}

impl Hold {
    /// Takes the lock at `path` or says who has it. The file stays: removing it would let two hold two files. Where others
    /// remove it all the same, the boots in the journal are what keeps two from writing.
    pub(crate) fn take(path: &Path) -> Result<Hold, NotHeld> {
        loop {
            let hold = Hold::take_one(path)?;
            // When the file was removed between being opened and being locked, nobody else will meet this lock.
            if hold.is_at(path).map_err(NotHeld::Io)? {
                return Ok(hold);
            }
        }
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let held = self.file.metadata()?;
        match fs::metadata(path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take_one(path: &Path) -> Result<Hold, NotHeld> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(NotHeld::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The name is a courtesy; being held is the answer with or without it.
                let _ = file.take(32).read_to_string(&mut text);
                return Err(NotHeld::By(text.trim().parse().ok()));
            }
            Err(TryLockError::Error(error)) => return Err(NotHeld::Io(error)),
        }
        file.set_len(0).map_err(NotHeld::Io)?;
        file.rewind().map_err(NotHeld::Io)?;
        writeln!(file, "{}", std::process::id()).map_err(NotHeld::Io)?;
        Ok(Hold { file })
    }
}
