//! Writing to standard output and standard error, which may be a pipe that nobody reads any more.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _, stderr, stdout};

/// Writes to standard output. When its reader has gone (`eparch ledger show | head`), they have what they wanted.
pub(crate) fn out(text: Arguments<'_>) {
    if let Err(problem) = stdout().lock().write_fmt(text)
        && problem.kind() == ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
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
