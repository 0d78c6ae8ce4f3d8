//! How many files this process may have open: connections, logs and cages take some each.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows as many as the system does. What is usual, 1,024, was chosen for programs that wait with `select`; agents are
/// given their own limit.
pub(crate) fn allow_many() {
    let now = getrlimit(Resource::Nofile);
    // What cannot be raised stays: everything that opens something says so when it cannot.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
}
