//! How a program ended.

use eparch_domain::Span;
use serde::{Deserialize, Serialize};

/// A program has ended, and everything it ever started is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What the kernel says of the program itself.
    pub exit: Exit,
    /// Who ended it.
    pub cause: Cause,
    /// Other processes of its tree that were still alive and had to be killed.
    pub leftovers: u32,
    /// Processor time of the whole tree, user and system together.
    pub cpu: Span,
    /// True when the kernel ended processes of it because memory ran out.
    #[serde(default)]
    pub out_of_memory: bool,
    /// Processes of its tree that the kernel ended because they called what is only for leaving the cage, of those whose end
    /// this saw: the program itself, and what its own parent did not wait for.
    #[serde(default)]
    pub breaches: u32,
    /// The largest memory of any one process run in this cage so far, in bytes.
    pub max_rss_bytes: u64,
}

impl Ended {
    /// True when the program ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.cause == Cause::Itself && self.exit == Exit::Code(0)
    }
}

/// What the kernel says of an ended process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// It returned this code, 0–255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Who ended a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It ended by itself, before anybody asked it to.
    Itself,
    /// Its timeout.
    Timeout,
    /// [`Cage::stop`](crate::Cage::stop).
    Stopped,
}
