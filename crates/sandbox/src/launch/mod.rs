//! The launcher: the program's own executable, started again in three stages.
//!
//! 1. **outer** enters the namespaces and starts
//! 2. **keeper**, process 1 of the new PID namespace, which builds the root, waits for orders, starts, watches, reaps
//!    and kills, and for each program starts
//! 3. **inner**, which gives up every right and becomes the program.
//!
//! Each stage is a fresh, single-threaded process, so everything is done by safe calls between `main` and the next
//! `exec`; nothing happens between a `fork` and an `exec`.

mod covers;
mod inner;
mod keeper;
mod mounts;
mod network;
mod outer;
mod powers;
mod resolve;
mod root;
mod shown;
mod system_calls;
mod visible;

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// The first argument that makes an executable the launcher.
pub const LAUNCHER_WORD: &str = "__confine";

const KEEPER: &str = "keeper";
const INNER: &str = "inner";

/// The launcher's `main`. A program that opens cages calls it first thing, with the arguments after
/// [`LAUNCHER_WORD`], when that is its first argument, and returns what it returns:
///
/// ```no_run
/// # use std::process::ExitCode;
/// fn main() -> ExitCode {
///     let mut args = std::env::args_os().skip(1);
///     if args.next().is_some_and(|first| first == eparch_sandbox::LAUNCHER_WORD) {
///         return eparch_sandbox::launcher_main(args);
///     }
///     // … the program itself
/// #   ExitCode::SUCCESS
/// }
/// ```
pub fn launcher_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    close_inherited();
    let stage = args.into_iter().next();
    let result = match stage.as_ref().and_then(|stage| stage.to_str()) {
        None => outer::run(),
        Some(KEEPER) => keeper::run(),
        Some(INNER) => inner::run(),
        Some(other) => Err(format!("there is no stage `{other}`").into()),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // The daemon's side reads this when a launcher is lost.
            eprintln!("{error}");
            ExitCode::from(70)
        }
    }
}

/// A launcher stage fails in ways nobody handles one by one: the text goes to the daemon's side.
type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

/// Closes what an ancestor left open by mistake, so that no program inside finds it.
fn close_inherited() {
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in open {
        if fd > 2 {
            // The folder's own descriptor is among them and closed already: that error is expected.
            let _ = nix::unistd::close(fd);
        }
    }
}

/// Takes the socket from stdin, and leaves nothing there.
fn take_socket() -> std::io::Result<UnixStream> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let null = fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(UnixStream::from(socket))
}

/// The next stage, with its end of a socket as stdin.
fn stage(word: &str, socket: UnixStream) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("eparch-confine").args([LAUNCHER_WORD, word]).env_clear();
    command.stdin(std::os::fd::OwnedFd::from(socket)).stdout(Stdio::null());
    command
}
