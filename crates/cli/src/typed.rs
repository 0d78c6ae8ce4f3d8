//! A secret typed at a terminal, which does not show it.

use std::io::{self, stdin};

use eparch_daemon::wire::Secret;
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr};

use crate::output::err;

/// Ctrl-C, as a terminal that raises no signal hands it on.
const INTERRUPT: u8 = 3;

/// What a line of a terminal holds at most (`MAX_CANON` of Linux, its end included).
const LINE: usize = 4_096;

/// Whether somebody sits at standard input.
pub(crate) fn is_typed() -> bool {
    isatty(stdin())
}

/// Asks for a secret; nothing when whoever types gave up with Ctrl-C or at an empty line.
pub(crate) fn secret(question: &str) -> io::Result<Option<Secret>> {
    let quiet = Quiet::begin()?;
    err(format_args!("{question}"));
    let line = line();
    drop(quiet);
    let mut line = line?;
    if line.last() == Some(&INTERRUPT) {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    let text =
        String::from_utf8(line).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))?;
    Ok(Some(Secret::new(text)).filter(|secret| !secret.is_empty()))
}

/// A terminal that shows nothing of what is typed. What was typed before is forgotten.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Quiet> {
        let before = tcgetattr(stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        quiet.local_modes.insert(LocalModes::ICANON | LocalModes::ECHONL);
        // No signal may end the program here and leave the terminal mute: Ctrl-C ends the line instead.
        quiet.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing any more.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// One line, straight from the terminal: a buffer would keep a copy.
fn line() -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(LINE);
    let mut byte = [0];
    while line.len() < LINE {
        match rustix::io::read(stdin(), &mut byte) {
            Ok(0) => break,
            Ok(_) => line.push(byte[0]),
            Err(Errno::INTR) => continue,
            Err(problem) => return Err(problem.into()),
        }
        if matches!(line.last(), Some(&(b'\n' | INTERRUPT))) {
            break;
        }
    }
    Ok(line)
}
