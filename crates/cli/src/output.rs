//! Writing to standard output and standard error, which may be a pipe that nobody reads any more, or a full disk.

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write as _, stderr, stdout};
use std::sync::OnceLock;

/// What went wrong with standard output, the first time. Nothing is written to it afterwards.
static LOST: OnceLock<Error> = OnceLock::new();

/// Writes to standard output. When its reader has gone (`eparch ledger show | head`), the command goes on without it: what
/// it was asked is still to be answered by its exit code.
pub(crate) fn out(text: Arguments<'_>) {
    if LOST.get().is_none()
        && let Err(problem) = stdout().lock().write_fmt(text)
    {
        let _ = LOST.set(problem);
    }
}

/// Whether standard output takes anything; what goes on for ever for its reader's sake ends when it does not.
pub(crate) fn is_read() -> bool {
    LOST.get().is_none()
}

/// Writes what is buffered, and gives the reason when an answer was lost that somebody still waits for.
pub(crate) fn settle() -> Option<&'static Error> {
    if LOST.get().is_none()
        && let Err(problem) = stdout().lock().flush()
    {
        let _ = LOST.set(problem);
    }
    LOST.get().filter(|problem| problem.kind() != ErrorKind::BrokenPipe)
}

/// Writes to standard error. Nobody is left to tell when that does not work.
pub(crate) fn err(text: Arguments<'_>) {
    let _ = stderr().lock().write_fmt(text);
}

/// [`out`], formatted, with the line's end.
macro_rules! outln {
    () => { $crate::output::out(format_args!("\n")) };
    ($($what:tt)*) => { $crate::output::out(format_args!("{}\n", format_args!($($what)*))) };
}

/// [`err`], formatted, with the line's end.
macro_rules! errln {
    () => { $crate::output::err(format_args!("\n")) };
    ($($what:tt)*) => { $crate::output::err(format_args!("{}\n", format_args!($($what)*))) };
}

pub(crate) use {errln, outln};
