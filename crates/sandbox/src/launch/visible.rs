//! What every cage sees of the host. Everything else is named by the caller.

/// Programs and their libraries. Not `/opt` (whole applications with their data) nor `/var`.
pub(super) const SYSTEM: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];
/// What programs read from `/etc`, none of it secret. A `*` at the end stands for any ending.
pub(super) const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "gitconfig",
    "group",
    "host.conf",
    "inputrc",
    "java*",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "perl",
    "pki/ca-trust/extracted",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "protocols",
    "python*",
    "rpc",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "xattr.conf",
];
/// Devices that give or take bytes and drive nothing.
pub(super) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// Parts of `/proc` that tell of the machine or drive it. The whole of it is read-only besides.
pub(super) const PROC_HIDDEN: &[&str] = &[
    "acpi",
    "asound",
    "bus",
    "cmdline",
    "config.gz",
    "dma",
    "fs",
    "interrupts",
    "iomem",
    "ioports",
    "irq",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "locks",
    "mtrr",
    "pagetypeinfo",
    "sched_debug",
    "scsi",
    "slabinfo",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
    "vmcore",
];
/// Top-level entries of a project that are bound one by one where overlay is missing.
pub(super) const ENTRIES_WITHOUT_OVERLAY: usize = 4_096;
/// Largest file of `/etc` that is copied; what is longer is no setting of anything.
pub(super) const COPIED_BYTES: u64 = 1 << 20;
/// File systems that the kernel fills by itself.
pub(super) const KERNEL_FILE_SYSTEMS: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];
/// The host has 4,096 terminals in all, unless somebody raised it.
pub(super) const TERMINALS: &std::ffi::CStr = c"newinstance,ptmxmode=0666,mode=620,max=64";
/// How much of the folders that are seen as they are is looked through for sockets.
pub(super) const WALKED_ENTRIES: usize = 65_536;
