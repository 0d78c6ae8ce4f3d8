//! The executable that confines, which is this program once more.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};

use crate::launch::LAUNCHER_WORD;
use crate::spec::Sandbox;

/// Which executable confines.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
}

impl Launcher {
    /// This very program, even if its file has been replaced since it started. Its `main` must call
    /// [`launcher_main`](crate::launcher_main).
    pub fn this_program() -> Launcher {
        Launcher { program: THIS_PROGRAM.into() }
    }

    /// Another executable that calls [`launcher_main`](crate::launcher_main).
    pub fn at(program: impl Into<PathBuf>) -> Launcher {
        Launcher { program: program.into() }
    }

    /// As it is, or a copy in memory that nobody can write, for a cage in which a program may come to see the file it was
    /// started from: without Landlock, `#!/proc/self/exe` in a script becomes this program, and leads to its file.
    pub(crate) fn sealed(&self, sandbox: Sandbox) -> Launcher {
        static COPY: OnceLock<Option<OwnedFd>> = OnceLock::new();
        if sandbox == Sandbox::Required || self.program != Path::new(THIS_PROGRAM) {
            return self.clone();
        }
        // Some systems forbid to execute such a copy; there the file's own mode has to do.
        match COPY.get_or_init(|| sealed_copy().ok()) {
            None => self.clone(),
            Some(copy) => Launcher { program: format!("/proc/self/fd/{}", copy.as_raw_fd()).into() },
        }
    }

    pub(crate) fn spawn(&self, socket: OwnedFd) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        // A process group of its own: a Ctrl-C meant for the daemon must not end agents before it could.
        command.arg0("eparch-confine").arg(OsString::from(LAUNCHER_WORD)).env_clear().process_group(0);
        command.stdin(socket).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
    }
}

const THIS_PROGRAM: &str = "/proc/self/exe";

fn sealed_copy() -> io::Result<OwnedFd> {
    let copy = memfd_create("eparch", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut target = File::from(copy.try_clone()?);
    io::copy(&mut File::open(THIS_PROGRAM)?, &mut target)?;
    fchmod(&copy, Mode::from_raw_mode(0o555))?;
    fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(copy)
}
