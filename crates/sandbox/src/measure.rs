//! What holds a cage together, said one by one: what is in force, what is missing, and how to get it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that confines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasureName {
    /// Authority over the cage without authority over the host. Only where the caller is not root.
    UserNamespace,
    /// Mounts of its own.
    MountNamespace,
    /// Sees and signals only its own processes, which end with the first of them.
    PidNamespace,
    /// No shared memory or message queues of others.
    IpcNamespace,
    /// No network but a loopback of its own.
    NetworkNamespace,
    /// A host name of its own.
    Uts,
    /// Only named paths exist.
    MinimalRoot,
    /// The masked paths cannot be seen. Only where something is masked.
    HomeMasked,
    /// The project is seen at the workspace and never written. Only where a project was named.
    Overlay,
    /// What is written inside is bounded, in bytes and files.
    DiskLimit,
    /// So many processes and no more.
    ProcessLimit,
    /// So much memory and no more; where no group counts it, so much of its own for each process.
    MemoryLimit,
    /// None of root's powers, now or after any program.
    CapabilitiesDropped,
    /// A set-user-id program gains nothing.
    NoNewPrivileges,
    /// The kernel's own list of paths, beneath the mounts.
    Landlock,
    /// No system calls that programs do not need and attackers do.
    Seccomp,
    /// Sockets of others in folders that are seen are out of reach, whenever they were bound.
    UnixSockets,
}

impl MeasureName {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            MeasureName::UserNamespace => "user-namespace",
            MeasureName::MountNamespace => "mount-namespace",
            MeasureName::PidNamespace => "pid-namespace",
            MeasureName::IpcNamespace => "ipc-namespace",
            MeasureName::NetworkNamespace => "network-namespace",
            MeasureName::Uts => "uts",
            MeasureName::MinimalRoot => "minimal-root",
            MeasureName::HomeMasked => "home-masked",
            MeasureName::Overlay => "overlay",
            MeasureName::DiskLimit => "disk-limit",
            MeasureName::ProcessLimit => "process-limit",
            MeasureName::MemoryLimit => "memory-limit",
            MeasureName::CapabilitiesDropped => "capabilities-dropped",
            MeasureName::NoNewPrivileges => "no-new-privileges",
            MeasureName::Landlock => "landlock",
            MeasureName::Seccomp => "seccomp",
            MeasureName::UnixSockets => "unix-sockets",
        }
    }

    /// True when `best-effort` may go on without it.
    pub const fn may_be_missing(self) -> bool {
        matches!(
            self,
            MeasureName::ProcessLimit
                | MeasureName::MemoryLimit
                | MeasureName::Landlock
                | MeasureName::Seccomp
                | MeasureName::UnixSockets
                | MeasureName::Overlay
        )
    }

    /// What an administrator does to get it.
    const fn how_to_get(self) -> &'static str {
        match self {
            MeasureName::UserNamespace => {
                "allow user namespaces: sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1 \
                 where it exists, and kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile with \
                 `userns,` on Ubuntu; or run as root"
            }
            MeasureName::MountNamespace
            | MeasureName::PidNamespace
            | MeasureName::IpcNamespace
            | MeasureName::NetworkNamespace
            | MeasureName::Uts => {
                "allow namespaces: a kernel with CONFIG_NAMESPACES, and in a container CAP_SYS_ADMIN with a seccomp \
                 profile that allows unshare and mount"
            }
            MeasureName::MinimalRoot | MeasureName::HomeMasked | MeasureName::DiskLimit => {
                "allow mounts in a namespace: no AppArmor or SELinux rule against mount and pivot_root, and in a \
                 container an unmasked /proc (podman: --security-opt unmask=ALL)"
            }
            MeasureName::Overlay => {
                "a kernel with CONFIG_OVERLAY_FS, 5.11 or later when not root (modprobe overlay)"
            }
            MeasureName::ProcessLimit => {
                "mount a cgroup hierarchy with the pids controller that this user may write (systemd: \
                 Delegate=pids and DelegateSubgroup= in the unit), or run as an ordinary user on Linux 5.14 or later"
            }
            MeasureName::MemoryLimit => {
                "mount a cgroup hierarchy with the memory controller that this user may write (systemd: \
                 Delegate=memory and DelegateSubgroup= in the unit), or Linux 4.7 or later for a limit of each process, \
                 which counts no shared memory"
            }
            MeasureName::CapabilitiesDropped | MeasureName::NoNewPrivileges => "Linux 4.3 or later",
            MeasureName::Landlock => {
                "Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK, and `landlock` in the lsm= boot parameter"
            }
            MeasureName::Seccomp => "a kernel with CONFIG_SECCOMP_FILTER, on x86_64 or aarch64",
            MeasureName::UnixSockets => {
                "name no folder of the host to be written, and none on a file system that cannot lie beneath an overlay; \
                 or `sandbox: required`, where programs that write the host's folders have no Unix sockets; \
                 or a kernel with Landlock ABI 9"
            }
        }
    }
}

impl fmt::Display for MeasureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a measure holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Status {
    /// It was tried and it holds.
    InForce {
        /// Which of several ways, and how much: `cgroup-v1`, `abi 7`. Empty where there is only one way.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        by: String,
    },
    /// It was tried and it does not.
    Missing {
        /// What the kernel said.
        why: String,
        /// What an administrator can do.
        how_to_get: String,
    },
}

/// How `unix-sockets` is in force where programs write the host's folders: at a price that whoever runs them should know.
/// They are told it by the word it begins with, which stands in records.
pub(crate) const NO_UNIX_SOCKETS: &str =
    "seccomp: no Unix sockets of its own, since it writes the host's folders";

/// One measure and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Which.
    pub name: MeasureName,
    /// Whether.
    #[serde(flatten)]
    pub status: Status,
}

impl Measure {
    /// True when it holds.
    pub fn in_force(&self) -> bool {
        matches!(self.status, Status::InForce { .. })
    }

    pub(crate) fn held(name: MeasureName, by: impl Into<String>) -> Measure {
        Measure { name, status: Status::InForce { by: by.into() } }
    }

    pub(crate) fn missing(name: MeasureName, why: impl fmt::Display) -> Measure {
        let status = Status::Missing { why: why.to_string(), how_to_get: name.how_to_get().into() };
        Measure { name, status }
    }

    /// True when a cage of this strictness cannot do without it and has to.
    pub(crate) fn refuses(&self, sandbox: crate::Sandbox) -> bool {
        !self.in_force() && (sandbox == crate::Sandbox::Required || !self.name.may_be_missing())
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.status {
            Status::InForce { by } if by.is_empty() => write!(f, "{}: in force", self.name),
            Status::InForce { by } => write!(f, "{}: in force ({by})", self.name),
            Status::Missing { why, how_to_get } => {
                write!(f, "{}: missing ({why}); to get it: {how_to_get}", self.name)
            }
        }
    }
}
