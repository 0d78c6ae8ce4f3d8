//! Capabilities and resource limits of a launcher stage.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
};

use crate::spec::CageLimits;
use crate::wire::Rlimits;

/// The one limit under which nothing is done with a core.
const CORE_BYTES: u64 = 1;

/// Makes all capabilities survive the keeper's `exec`, which would end them for anybody but root.
pub(super) fn keep_over_exec() -> io::Result<()> {
    let held = capabilities(None)?;
    set_capabilities(None, CapabilitySets { inheritable: held.permitted, ..held })?;
    for capability in held.permitted.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// Gives up every capability, in all five sets, for good.
pub(super) fn drop_all() -> io::Result<()> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            // Past the last capability this kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    match clear_ambient_capability_set() {
        Ok(()) => {}
        Err(errno) => return Err(errno.into()),
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

/// Bounds what one process may use. `RLIMIT_AS` is not among it: it breaks programs that reserve address space they never
/// touch. `RLIMIT_DATA` counts only what can be written.
pub(super) fn limit(limits: &CageLimits, each: Rlimits, writes_host: bool) -> io::Result<()> {
    // Above the disk limit, so that a full disk is an error a program can read (ENOSPC) and not a signal. It binds files
    // in memory; one on the host may be as large as its disk lets it, such as a large repository's pack.
    let largest_file = (!writes_host).then(|| limits.workspace_bytes.saturating_add(1 << 20));
    let table = [
        // Not 0: for a handler that a core dump is piped to, which runs outside and as root, the kernel ignores every
        // limit but this one, and a file of less than a page is not written either.
        (Resource::Core, Some(CORE_BYTES)),
        (Resource::Data, each.memory_bytes),
        (Resource::Fsize, largest_file),
        (Resource::Nofile, Some(limits.open_files)),
        (Resource::Nproc, each.processes),
        (Resource::Msgqueue, Some(0)),
        (Resource::Rtprio, Some(0)),
        (Resource::Nice, Some(0)),
    ];
    for (resource, most) in table {
        if let Some(most) = most {
            let ceiling =
                rustix::process::getrlimit(resource).maximum.map_or(most, |ceiling| ceiling.min(most));
            setrlimit(resource, Rlimit { current: Some(ceiling), maximum: Some(ceiling) })?;
        }
    }
    Ok(())
}
