//! What the system lets the holder's own process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows as many open files as the system does: connections, logs and cages take some each. What is usual, 1,024, was
/// chosen for programs that wait with `select`; agents are given their own limit.
pub(crate) fn allow_many_files() {
    let now = getrlimit(Resource::Nofile);
    // What cannot be raised stays: everything that opens something says so when it cannot.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
}

/// Keeps keys and secrets out of core dumps. One byte, since for a handler that dumps are piped to the kernel ignores every
/// limit but this one, and a file of less than a page is not written either.
pub(crate) fn leave_no_core() {
    let most = getrlimit(Resource::Core).maximum.map_or(1, |most| most.min(1));
    // Lowering is always allowed.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(most), maximum: Some(most) });
}
