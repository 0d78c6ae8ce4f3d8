//! The system calls an agent does without.
//!
//! A deny list: agents run compilers, browsers, databases and language runtimes, and an allow list that holds all of
//! them allows nearly everything anyway. What is denied is what attacks on the kernel are made of and programs can do
//! without. The kernel's newer calls than this list knows are answered "not there", so that a new kernel does not open
//! a door by itself.
//!
//! Most of it is answered with an error, since programs try things and go on. What nobody tries who has not left already, or wants
//! to, ends whoever calls it: that is how the keeper sees it.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};

/// The highest call this list was written against: `file_setattr`, Linux 6.17. All architectures count alike from 424.
const LAST_KNOWN: u32 = 469;

/// Not in every libc's list for aarch64.
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: libc::c_long = 320;
#[cfg(not(target_arch = "x86_64"))]
const KEXEC_FILE_LOAD: libc::c_long = 294;

/// Ends whoever calls it: other mounts and roots, files that are in no folder of the cage's, and the kernel's own code. Not among it
/// is what programs ask for and go on without: namespaces of their own, and the way back from them (browsers, package managers),
/// tracing (sanitizers look for leaks with it), what only tells, and what is asked for to find out whether it is there.
const BREACHES: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_reboot,
];

/// Denied whatever their arguments.
const NEVER: &[libc::c_long] = &[
    // Mounts and roots.
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    457, // statmount
    458, // listmount
    467, // open_tree_attr
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // Namespaces. Nix asks to go back to the one it is in, and goes on without.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes' insides.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // Keys: the keyring of the caller's session is not in any namespace.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Large and often broken doors to the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    // The machine.
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Files by number instead of by name.
    libc::SYS_name_to_handle_at,
    // Only on x86.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

/// Each flag of `clone` that makes a namespace. `CLONE_NEWTIME` is not among them: `clone` reads it as a signal.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Sockets by which a program may talk. Of netlink only the part that lists interfaces: without it `getifaddrs` fails and
/// Node.js throws; it tells of the cage's own network and changes nothing without a capability.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// The kinds of socket beside stream, datagram and sequenced packets: RAW, RDM, DCCP, PACKET.
const ODD_SOCKETS: [libc::c_int; 4] = [libc::SOCK_RAW, libc::SOCK_RDM, 6, 10];
/// What follows is a flag (`SOCK_CLOEXEC` …), not the kind.
const SOCKET_KIND: u64 = 0xf;
/// Put a character into somebody's terminal.
const TERMINAL_TRICKS: [u64; 2] = [0x5412, 0x541c];

/// Protocols by which programs talk over IPv4 and IPv6: the usual one of a kind, TCP, UDP, pings, and TCP over several
/// paths. Each other one makes the kernel load a module.
const PROTOCOLS: [libc::c_int; 6] = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP, 1, 58, 262];
/// Set-user-id and set-group-id. In a folder that is written on the host they would be somebody's rights.
const SET_ID: [u64; 2] = [0o4000, 0o2000];
/// `O_CREAT` and `O_TMPFILE` without `O_DIRECTORY`: only with one of them does opening look at a mode.
const CREATING: [u64; 2] = [0o100, 0o20_000_000];
/// `fchmodat2`, which not every libc knows.
const FCHMODAT2: libc::c_long = 452;
/// Where the mode is, of calls that always have one. `mkdir` is not among them: the kernel takes neither bit from it, and
/// copies of a folder that has one name it.
const MODES: &[(libc::c_long, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (FCHMODAT2, 2),
    (libc::SYS_mknodat, 2),
];
/// Where flags and mode are, of calls that open.
const OPENS: &[(libc::c_long, u8, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1, 2),
    (libc::SYS_openat, 2, 3),
];

/// What of the host a cage shows decides what else is denied.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    /// Foreign Unix sockets are in sight and nothing else keeps a program from them.
    pub(super) no_unix_sockets: bool,
    /// Files made inside stay on the host.
    pub(super) no_set_id: bool,
}

/// How many filters a process has for what is denied here. One that has more put some upon itself.
pub(super) const FILTERS: usize = 4;

/// Denies, from here on and in every program after.
pub(super) fn deny(needs: Needs) -> Result<(), seccompiler::Error> {
    for program in programs(needs)? {
        apply_filter(&program)?;
    }
    Ok(())
}

fn programs(needs: Needs) -> Result<[BpfProgram; FILTERS], seccompiler::BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let errno = |errno: libc::c_int| SeccompAction::Errno(errno.unsigned_abs());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        NEVER.iter().map(|number| (*number, Vec::new())).collect();
    rules.insert(
        libc::SYS_clone,
        NEW_NAMESPACES
            .iter()
            .map(|flag| rule([(0, masked(*flag), word(*flag))]))
            .collect::<Result<_, _>>()?,
    );
    let netlink = word(libc::AF_NETLINK);
    let no_family = rule(FAMILIES.map(|family| (0, SeccompCmpOp::Ne, word(family))))?;
    let no_route = rule([(0, SeccompCmpOp::Eq, netlink), (2, SeccompCmpOp::Ne, word(libc::NETLINK_ROUTE))])?;
    let mut socket = vec![no_family, no_route];
    for kind in ODD_SOCKETS {
        let odd = SeccompCmpOp::MaskedEq(SOCKET_KIND);
        socket.push(rule([(0, SeccompCmpOp::Ne, netlink), (1, odd, word(kind))])?);
    }
    for family in [libc::AF_INET, libc::AF_INET6] {
        let others = PROTOCOLS.map(|protocol| (2, SeccompCmpOp::Ne, word(protocol)));
        socket.push(rule([(0, SeccompCmpOp::Eq, word(family))].into_iter().chain(others))?);
    }
    let mut pairs = vec![rule([(0, SeccompCmpOp::Ne, word(libc::AF_UNIX))])?];
    if needs.no_unix_sockets {
        socket.push(rule([(0, SeccompCmpOp::Eq, word(libc::AF_UNIX))])?);
        // A pair of these is connected already; one of datagrams may be sent anywhere, and RAW is another word for them.
        let connected = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET];
        for kind in 0..=SOCKET_KIND {
            if !connected.iter().any(|fine| word(*fine) == kind) {
                pairs.push(rule([(1, SeccompCmpOp::MaskedEq(SOCKET_KIND), kind)])?);
            }
        }
    }
    rules.insert(libc::SYS_socket, socket);
    rules.insert(libc::SYS_socketpair, pairs);
    // The keeper is process 1, and of this user: it must not be brought to an end by a limit. (The fourth argument only
    // tells.)
    let new_limit = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    let keeper = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 1)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![keeper, new_limit.clone()])?]);
    // A lease keeps others from opening a file until it is given back.
    rules.insert(libc::SYS_fcntl, vec![rule([(1, SeccompCmpOp::Eq, word(libc::F_SETLEASE))])?]);
    if needs.no_set_id {
        for (call, mode) in MODES {
            rules.insert(*call, SET_ID.iter().map(|bit| has(&[(*mode, *bit)])).collect::<Result<_, _>>()?);
        }
        for (call, flags, mode) in OPENS {
            let each = SET_ID.iter().flat_map(|bit| CREATING.iter().map(move |flag| (*flag, *bit)));
            let each = each.map(|(flag, bit)| has(&[(*flags, flag), (*mode, bit)]));
            rules.insert(*call, each.collect::<Result<_, _>>()?);
        }
    }
    let tricks = TERMINAL_TRICKS.map(|trick| rule([(1, SeccompCmpOp::Eq, trick)]));
    rules.insert(libc::SYS_ioctl, tricks.into_iter().collect::<Result<_, _>>()?);
    // 0 is Linux as it is, all ones only asks.
    let personality = [0, u64::from(u32::MAX)].map(|fine| (0, SeccompCmpOp::Ne, fine));
    rules.insert(libc::SYS_personality, vec![rule(personality)?]);
    let denied = SeccompFilter::new(rules, SeccompAction::Allow, errno(libc::EPERM), arch)?;

    // `clone3` keeps its flags in memory, where a filter cannot look; "not there" makes every libc use `clone`.
    // So does `openat2` with its mode, and every program has `openat` to go back to.
    // The kernel counts the queues of `io_setup` for the whole machine; databases do without where it is not there.
    let mut absent = BTreeMap::from([(libc::SYS_clone3, Vec::new()), (libc::SYS_io_setup, Vec::new())]);
    if needs.no_set_id {
        absent.insert(libc::SYS_openat2, Vec::new());
    }
    let absent = SeccompFilter::new(absent, SeccompAction::Allow, errno(libc::ENOSYS), arch)?;
    let mut absent: BpfProgram = foreign_is_absent(absent.try_into()?);
    absent.splice(0..0, newer_are_absent());

    // To make no cores is what programs with secrets ask for, and some end when they cannot. The limit that is set
    // already is the one that does, and a lower one would not: they are told yes, and it stays.
    let core = |resource| rule([(resource, SeccompCmpOp::Eq, u64::from(libc::RLIMIT_CORE))]);
    let mut agreed = BTreeMap::from([(libc::SYS_setrlimit, vec![core(0)?])]);
    let core =
        SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(libc::RLIMIT_CORE))?;
    agreed.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![core, new_limit])?]);
    let agreed = SeccompFilter::new(agreed, SeccompAction::Allow, errno(0), arch)?;
    // Of all answers the kernel gives the hardest.
    let breaches = BREACHES.iter().map(|number| (*number, Vec::new())).collect();
    let breaches = SeccompFilter::new(breaches, SeccompAction::Allow, SeccompAction::KillProcess, arch)?;
    let [denied, agreed, breaches] = [denied, agreed, breaches].map(BpfProgram::try_from);
    Ok([foreign_is_absent(denied?), absent, foreign_is_absent(agreed?), foreign_is_absent(breaches?)])
}

const RETURN: u16 = 0x06;
const RETURN_ERRNO: u32 = 0x0005_0000;
const RETURN_KILL_PROCESS: u32 = 0x8000_0000;

/// Answers ENOSYS to the calls of programs for another kind of processor, such as those of 32 bits, whose numbers mean other things.
/// The library would have them ended, as somebody is who tries to leave.
fn foreign_is_absent(mut program: BpfProgram) -> BpfProgram {
    let ends = |step: &&mut sock_filter| step.code == RETURN && step.k == RETURN_KILL_PROCESS;
    if let Some(step) = program.get_mut(FOREIGN_STEP).filter(ends) {
        step.k = RETURN_ERRNO | libc::ENOSYS.unsigned_abs();
    }
    program
}

/// Which step of a filter is the answer to them, as the library writes it.
const FOREIGN_STEP: usize = 2;

/// Answers ENOSYS to every call above [`LAST_KNOWN`]. The x32 calls of x86_64, which carry bit 30 and would pass by a
/// list of numbers, are among them.
fn newer_are_absent() -> [sock_filter; 3] {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_GREATER: u16 = 0x25;
    const NUMBER_OFFSET: u32 = 0;
    [
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: NUMBER_OFFSET },
        sock_filter { code: JUMP_IF_GREATER, jt: 0, jf: 1, k: LAST_KNOWN },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: RETURN_ERRNO | libc::ENOSYS.unsigned_abs() },
    ]
}

fn rule(
    conditions: impl IntoIterator<Item = (u8, SeccompCmpOp, u64)>,
) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions
        .into_iter()
        .map(|(argument, operator, value)| {
            // Every argument looked at here is an int to the kernel, which ignores the upper half.
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        })
        .collect::<Result<_, _>>()?;
    SeccompRule::new(conditions)
}

/// Each of these arguments has this bit.
fn has(bits: &[(u8, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
    rule(bits.iter().map(|(argument, bit)| (*argument, SeccompCmpOp::MaskedEq(*bit), *bit)))
}

fn masked(flag: libc::c_int) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(word(flag))
}

fn word(value: libc::c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel answers to a call: the strictest of all filters. `None` is allowed.
    fn answer(needs: Needs, number: libc::c_long, arguments: [u64; 4]) -> Option<u32> {
        let native = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        answer_to(native, needs, number, arguments)
    }

    fn answer_to(arch: u32, needs: Needs, number: libc::c_long, arguments: [u64; 4]) -> Option<u32> {
        let answers = programs(needs).unwrap().map(|program| run(&program, arch, number, arguments));
        let answer = answers.into_iter().find(|answer| *answer != 0x7fff_0000)?;
        Some(if answer == 0x8000_0000 { ENDED } else { answer & 0xffff })
    }

    /// No error has this number: whoever called is ended.
    const ENDED: u32 = u32::MAX;

    /// Runs a filter as the kernel would: the few instructions that occur, over `struct seccomp_data`.
    fn run(program: &[sock_filter], arch: u32, number: libc::c_long, arguments: [u64; 4]) -> u32 {
        let mut data = u32::try_from(number).unwrap().to_le_bytes().to_vec();
        data.extend(arch.to_le_bytes());
        data.extend([0; 8]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        data.extend([0; 16]);
        let (mut at, mut held) = (0, 0);
        loop {
            let step = &program[at];
            let k = step.k as usize;
            let jump = |taken: bool| 1 + usize::from(if taken { step.jt } else { step.jf });
            at += match step.code {
                0x20 => {
                    held = u32::from_le_bytes(data[k..k + 4].try_into().unwrap());
                    1
                }
                0x54 => {
                    held &= step.k;
                    1
                }
                0x05 => 1 + k,
                0x15 => jump(held == step.k),
                0x25 => jump(held > step.k),
                0x35 => jump(held >= step.k),
                0x06 => return step.k,
                other => panic!("instruction {other:#x}"),
            };
        }
    }

    #[test]
    fn what_attacks_need_is_denied_and_what_programs_need_is_not() {
        let (denied, absent) = (Some(libc::EPERM.unsigned_abs()), Some(libc::ENOSYS.unsigned_abs()));
        let (inet, netlink) = (word(libc::AF_INET), word(libc::AF_NETLINK));
        let (stream, raw) =
            (word(libc::SOCK_STREAM | libc::SOCK_CLOEXEC), word(libc::SOCK_RAW | libc::SOCK_CLOEXEC));
        let agreed = Some(0);
        let (core, limit) = (u64::from(libc::RLIMIT_CORE), u64::from(libc::RLIMIT_NOFILE));
        let table = [
            (libc::SYS_read, [0; 3], None),
            (libc::SYS_mount, [0; 3], Some(ENDED)),
            (libc::SYS_finit_module, [0; 3], Some(ENDED)),
            // Programs try these and go on.
            (libc::SYS_unshare, [0; 3], denied),
            (libc::SYS_setns, [0; 3], denied),
            (libc::SYS_ptrace, [0; 3], denied),
            (libc::SYS_bpf, [0; 3], denied),
            (libc::SYS_clone, [word(libc::SIGCHLD), 0, 0], None),
            (libc::SYS_clone, [word(libc::CLONE_NEWUSER | libc::SIGCHLD), 0, 0], denied),
            (libc::SYS_clone, [word(libc::CLONE_NEWNET | libc::CLONE_NEWNS), 0, 0], denied),
            (libc::SYS_clone3, [0; 3], absent),
            (libc::SYS_socket, [inet, stream, 0], None),
            (libc::SYS_socket, [inet, raw, 1], denied),
            // The kernel reads an int: what stands above it must not hide it.
            (libc::SYS_socket, [inet | 1 << 40, raw | 1 << 40, 1], denied),
            (libc::SYS_socket, [netlink, raw, 0], None),
            (libc::SYS_socket, [netlink, raw, 12], denied),
            (libc::SYS_socket, [word(libc::AF_PACKET), stream, 0], denied),
            (libc::SYS_socket, [word(libc::AF_VSOCK), stream, 0], denied),
            (libc::SYS_socketpair, [word(libc::AF_UNIX), stream, 0], None),
            (libc::SYS_socketpair, [word(libc::AF_TIPC), stream, 0], denied),
            (libc::SYS_socket, [inet, stream, 262], None),
            (libc::SYS_socket, [inet, stream, 132], denied),
            (libc::SYS_socket, [word(libc::AF_INET6), word(libc::SOCK_DGRAM), 115], denied),
            (libc::SYS_socket, [word(libc::AF_UNIX), stream, 0], None),
            (libc::SYS_socketpair, [word(libc::AF_UNIX), word(libc::SOCK_DGRAM), 0], None),
            (libc::SYS_fcntl, [0, word(libc::F_SETLK), 0], None),
            (libc::SYS_fcntl, [0, word(libc::F_SETLEASE), 0], denied),
            (libc::SYS_io_setup, [0; 3], absent),
            // Of the keeper, of oneself, and only asked.
            (libc::SYS_prlimit64, [1, limit, 4096], denied),
            (libc::SYS_prlimit64, [1, limit, 0], None),
            (libc::SYS_prlimit64, [0, limit, 4096], None),
            // Of cores none is changed, and nobody is told no.
            (libc::SYS_prlimit64, [0, core, 4096], agreed),
            (libc::SYS_prlimit64, [0, core, 1 << 32], agreed),
            (libc::SYS_prlimit64, [0, core, 0], None),
            (libc::SYS_setrlimit, [core, 4096, 0], agreed),
            (libc::SYS_setrlimit, [limit, 4096, 0], None),
            (libc::SYS_fchmodat, [0, 0, 0o4755], None),
            (libc::SYS_openat2, [0; 3], None),
            (libc::SYS_ioctl, [0, 0x5401, 0], None),
            (libc::SYS_ioctl, [0, 0x5412 | 1 << 32, 0], denied),
            (libc::SYS_personality, [0; 3], None),
            (libc::SYS_personality, [u64::from(u32::MAX), 0, 0], None),
            (libc::SYS_personality, [0x0004_0000, 0, 0], denied),
            (i64::from(LAST_KNOWN), [0; 3], None),
            (i64::from(LAST_KNOWN) + 1, [0; 3], absent),
            // `ptrace` by the x32 door of x86_64.
            (0x4000_0000 + 521, [0; 3], absent),
        ];
        for (number, [one, two, three], expected) in table {
            let arguments = [one, two, three, 0];
            assert_eq!(answer(Needs::default(), number, arguments), expected, "{number} {arguments:x?}");
        }
    }

    #[test]
    fn a_program_for_another_processor_is_answered_and_not_taken_for_one_that_leaves() {
        // i386 and arm; 21 is `mount` there, and 1 is `exit`.
        for (arch, number) in [(0x4000_0003, 21), (0x4000_0003, 1), (0x4000_0028, 21)] {
            let found = answer_to(arch, Needs::default(), number, [0; 4]);
            assert_eq!(found, Some(libc::ENOSYS.unsigned_abs()), "{arch:x} {number}");
        }
    }

    #[test]
    fn where_the_host_is_written_no_rights_are_left_on_it_and_no_socket_is_made() {
        let (denied, absent) = (Some(libc::EPERM.unsigned_abs()), Some(libc::ENOSYS.unsigned_abs()));
        let (unix, close) = (word(libc::AF_UNIX), word(libc::SOCK_CLOEXEC));
        let kind = |kind: libc::c_int| word(kind) | close;
        let (create, temporary) = (word(libc::O_CREAT), word(libc::O_TMPFILE));
        let table = [
            (libc::SYS_fchmod, [0, 0o755, 0, 0], None),
            (libc::SYS_fchmod, [0, 0o4755, 0, 0], denied),
            (libc::SYS_fchmodat, [0, 0, 0o2755, 0], denied),
            (FCHMODAT2, [0, 0, 0o4000, 0], denied),
            (libc::SYS_mkdirat, [0, 0, 0o2755, 0], None),
            (libc::SYS_mknodat, [0, 0, 0o104_755, 0], denied),
            (libc::SYS_openat, [0, 0, create, 0o644], None),
            (libc::SYS_openat, [0, 0, create, 0o4755], denied),
            (libc::SYS_openat, [0, 0, temporary | 2, 0o2755], denied),
            // Without one of those there is no mode; what stands in its place means nothing.
            (libc::SYS_openat, [0, 0, word(libc::O_DIRECTORY), 0o4755], None),
            (libc::SYS_openat2, [0; 4], absent),
            (libc::SYS_socket, [unix, kind(libc::SOCK_STREAM), 0, 0], denied),
            (libc::SYS_socket, [word(libc::AF_INET), kind(libc::SOCK_STREAM), 0, 0], None),
            (libc::SYS_socketpair, [unix, kind(libc::SOCK_STREAM), 0, 0], None),
            (libc::SYS_socketpair, [unix, kind(libc::SOCK_SEQPACKET), 0, 0], None),
            (libc::SYS_socketpair, [unix, kind(libc::SOCK_DGRAM), 0, 0], denied),
            (libc::SYS_socketpair, [unix, kind(libc::SOCK_RAW), 0, 0], denied),
        ];
        let needs = Needs { no_unix_sockets: true, no_set_id: true };
        for (number, arguments, expected) in table {
            assert_eq!(answer(needs, number, arguments), expected, "{number} {arguments:x?}");
        }
    }

    #[test]
    fn the_filters_compile_and_stay_small() {
        let all = Needs { no_unix_sockets: true, no_set_id: true };
        for program in programs(all).unwrap() {
            assert!(program.len() < 1_024, "{} instructions run at every call", program.len());
        }
    }
}
