//! Leaving the cage by the network, by other processes, and by the kernel.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use eparch_sandbox::{Cage, MeasureName, Status};

use crate::Test;
use crate::cage::{open, probing, root};
use crate::probes::{Found, SIGSYS, inside, only_outside, outside, refused, worked};

pub(crate) const TESTS: &[Test] = &[
    ("r293_no_address_of_the_host_can_be_reached", network),
    ("r293_no_unix_socket_of_others_can_be_reached", unix_sockets),
    ("other_processes_are_neither_seen_nor_signalled", processes),
    ("the_keeper_cannot_be_looked_into_or_signalled", keeper),
    ("the_kernel_cannot_be_configured", proc_sys),
    ("proc_tells_of_the_cage_and_not_of_the_machine", proc_tells),
    ("no_mounts_and_no_namespaces_can_be_made", mounts),
    ("no_dangerous_system_call_works", system_calls),
    ("what_is_only_for_leaving_ends_whoever_calls_it_and_is_told", breaches),
    ("raw_packet_and_vsock_sockets_cannot_be_made", sockets),
    ("no_right_is_left_in_any_set", rights),
];

/// Answers a connection as an attacker would like it. Servers go on for as long as this process does: one that had
/// left after the control would make every test of the cage succeed.
fn serve(mut stream: impl Read + Write) {
    let mut bytes = [0; 4];
    if stream.read_exact(&mut bytes).is_ok() {
        let _ = stream.write_all(&bytes);
    }
}

/// The host's own address on another interface than loopback, if it has one. Connecting a UDP socket sends nothing.
fn other_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}

fn network() {
    let cage = open(&probing("network"));
    let addresses: Vec<IpAddr> = [IpAddr::from([127, 0, 0, 1])].into_iter().chain(other_address()).collect();
    if addresses.len() == 1 {
        println!("this host has no address but loopback");
    }
    for address in addresses {
        let tcp = TcpListener::bind((address, 0)).unwrap();
        let tcp_at = tcp.local_addr().unwrap().to_string();
        let udp = UdpSocket::bind((address, 0)).unwrap();
        let udp_at = udp.local_addr().unwrap().to_string();
        std::thread::spawn(move || tcp.incoming().flatten().for_each(serve));
        std::thread::spawn(move || {
            while let Ok((_, from)) = udp.recv_from(&mut [0; 4]) {
                let _ = udp.send_to(b"pong", from);
            }
        });
        only_outside(&cage, &["tcp", &tcp_at]);
        only_outside(&cage, &["udp", &udp_at]);
        // The doors are still open; it is the cage that has none.
        assert_eq!((outside(&["tcp", &tcp_at]), outside(&["udp", &udp_at])), (Found::Worked, Found::Worked));
    }
}

fn unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let named = UnixListener::bind(&path).unwrap();
    let name = format!("eparch-probe-{}", std::process::id());
    let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for listener in [named, hidden] {
        std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    }
    let cage = open(&probing("unix-sockets"));
    only_outside(&cage, &["unix", path.to_str().unwrap()]);
    only_outside(&cage, &["abstract", &name]);
    let path = path.to_str().unwrap();
    assert_eq!((outside(&["unix", path]), outside(&["abstract", &name])), (Found::Worked, Found::Worked));
}

/// A process of this user outside, with a marker in its command line.
fn victim(marker: &str) -> Child {
    Command::new("sh").args(["-c", "read wait", marker]).stdin(Stdio::piped()).spawn().unwrap()
}

fn processes() {
    let marker = format!("victim-{}", std::process::id());
    let mut victim = victim(&marker);
    let cage = open(&probing("processes"));
    only_outside(&cage, &["see", &marker]);
    only_outside(&cage, &["signal", &victim.id().to_string()]);
    // It does see its own: the keeper.
    worked(&cage, &["see", "keeper"]);
    victim.kill().unwrap();
    victim.wait().unwrap();
}

fn keeper() {
    let cage = open(&probing("keeper"));
    let own = |file: &str| format!("/proc/{}/{file}", std::process::id());
    for file in ["environ", "maps", "fd/0", "exe", "cwd", "root"] {
        // The control: this process's own, which its own children may read.
        let probe = if matches!(file, "environ" | "maps") { "read" } else { "read-link" };
        assert_eq!(outside(&[probe, &own(file)]), Found::Worked, "{file}");
        refused(&cage, &[probe, &format!("/proc/1/{file}")]);
    }
    refused(&cage, &["open-to-write", "/proc/1/mem"]);
    // With Landlock's scope a signal is refused, without it the kernel ignores it: process 1 has no handler.
    if landlock(&cage) >= 6 {
        refused(&cage, &["signal", "1"]);
    }
    let stop = eparch_sandbox::Program::new(["sh", "-c", "kill -TERM 1; kill -KILL 1; kill -STOP 1; exit 5"]);
    let (ended, ..) = crate::probes::finish(&cage, &stop);
    assert_eq!(ended.exit, eparch_sandbox::Exit::Code(5));
}

fn proc_sys() {
    let cage = open(&probing("proc-sys"));
    // Opened, never written.
    only_outside(&cage, &["open-to-write", "/proc/self/oom_score_adj"]);
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
    ] {
        if root() && Path::new(path).exists() {
            assert_eq!(outside(&["open-to-write", path]), Found::Worked, "{path}");
        }
        refused(&cage, &["open-to-write", path]);
    }
    for path in ["/proc/kcore", "/proc/keys"] {
        if root() && Path::new(path).exists() && path == "/proc/keys" {
            assert!(!fs::read(path).unwrap().is_empty());
        }
        let empty = eparch_sandbox::Program::new(["sh", "-c", &format!("test ! -s {path}")]);
        assert!(crate::probes::finish(&cage, &empty).0.success(), "{path}");
    }
    only_outside(&cage, &["list", "/sys"]);
}

/// The ABI that is in force.
fn landlock(cage: &Cage) -> u32 {
    let found = cage.measures().iter().find(|measure| measure.name == MeasureName::Landlock).unwrap();
    let Status::InForce { by } = &found.status else { return 0 };
    by.rsplit(' ').next().unwrap().parse().unwrap()
}

fn proc_tells() {
    let cage = open(&probing("proc-tells"));
    let told = |path: &str| {
        let script = format!("cat {path} 2>/dev/null | head -c 1 | wc -c");
        let own = eparch_sandbox::Program::new(["sh", "-c", &script]);
        String::from_utf8(crate::probes::finish(&cage, &own).1).unwrap().trim().to_owned()
    };
    let files = [
        "cmdline",
        "config.gz",
        "interrupts",
        "iomem",
        "ioports",
        "locks",
        "mtrr",
        "pagetypeinfo",
        "slabinfo",
    ];
    let held = fs::File::open("/proc/self/exe").unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockShared).unwrap();
    for file in files {
        let path = format!("/proc/{file}");
        // The control, where there is such a file and this user may read it.
        let control = fs::read(&path).is_ok_and(|bytes| !bytes.is_empty());
        if !control {
            println!("{path} tells nothing outside either");
        }
        assert_eq!(told(&path), "0", "{path}");
    }
    // What programs do ask for.
    for file in ["cpuinfo", "meminfo", "self/status", "loadavg", "stat", "version", "uptime"] {
        assert_eq!(told(&format!("/proc/{file}")), "1", "{file}");
    }
    // Its own group is the root of all it sees.
    let own = eparch_sandbox::Program::new(["cut", "-d:", "-f3", "/proc/self/cgroup"]);
    let groups = String::from_utf8(crate::probes::finish(&cage, &own).1).unwrap();
    assert!(groups.lines().all(|group| group == "/"), "{groups}");
}

fn mounts() {
    let folder = tempfile::tempdir().unwrap();
    let cage = open(&probing("mounts"));
    only_outside(&cage, &["unshare-user"]);
    if root() {
        only_outside(&cage, &["unshare-mount"]);
        let at = folder.path().to_str().unwrap();
        assert_eq!(outside(&["mount", at]), Found::Worked);
        rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
    refused(&cage, &["unshare-mount"]);
    refused(&cage, &["mount", "/workspace"]);
    refused(&cage, &["mount", "/tmp"]);
}

/// Number, arguments, whether an ordinary user's control works. Numbers are those of x86_64; arguments are chosen so that
/// nothing happens where the call is allowed.
#[cfg(target_arch = "x86_64")]
const CALLS: &[(&str, &[&str], &str, bool)] = &[
    ("ptrace", &["101", "0", "0", "0", "0"], "traces nobody", true),
    ("process_vm_readv", &["310", "$$", "0", "0", "0", "0", "0"], "reads nothing", true),
    ("keyctl", &["250", "0", "-3", "0"], "asks for the session keyring", true),
    ("add_key", &["248", "$b", "$b", "$b", "0", "0"], "a nameless type", true),
    ("request_key", &["249", "$b", "$b", "0", "0"], "a nameless type", true),
    ("io_uring_setup", &["425", "0", "$b"], "no entries", true),
    ("kcmp", &["312", "$$", "$$", "0", "0", "0"], "compares itself", true),
    ("personality", &["135", "0x0040000"], "no address randomisation", true),
    ("name_to_handle_at", &["303", "-1", "$b", "$b", "$b", "0"], "a bad folder", true),
    ("clone3", &["435", "$b", "0"], "no arguments", true),
    ("file_setattr", &["469", "-1", "$b", "$b", "0", "0"], "a bad folder; known, so allowed", true),
    ("bpf", &["321", "9999", "$b", "0"], "no such command", false),
    ("userfaultfd", &["323", "0"], "opens one", false),
    ("perf_event_open", &["298", "$b", "0", "-1", "-1", "0"], "no size", false),
    ("setns", &["308", "-1", "0"], "a bad descriptor", true),
    ("open_tree", &["428", "-1", "$b", "0x8000"], "a bad folder", true),
    ("fsopen", &["430", "$b", "0"], "a nameless kind", false),
    ("open_by_handle_at", &["304", "-1", "$b", "0"], "a bad folder", false),
    ("kexec_load", &["246", "0", "$b", "0xffff"], "bad flags", false),
    ("quotactl", &["179", "0", "0", "0", "0"], "no device", true),
    ("iopl", &["172", "9"], "no such level", true),
    ("modify_ldt", &["154", "9", "$b", "0"], "no such function", true),
    ("clock_settime", &["227", "99", "$b"], "no such clock", true),
    (
        "clone",
        &["56", "0x10000200", "0", "0", "0", "0"],
        "a user namespace with a flag that contradicts it",
        true,
    ),
    ("ioctl TIOCSTI", &["16", "0", "0x5412", "$b"], "not on a terminal", true),
    ("x32 getpid", &["0x40000027"], "by the other door", true),
];

#[cfg(target_arch = "x86_64")]
fn system_calls() {
    if !Path::new("/usr/bin/perl").exists() {
        println!("no perl, which makes system calls by number");
        return;
    }
    let cage = open(&probing("system-calls"));
    for (name, call, why, for_everybody) in CALLS {
        let probe: Vec<&str> = ["syscall"].iter().chain(*call).copied().collect();
        let control = outside(&probe);
        let mut expect = control == Found::Worked;
        if !expect && (root() || *for_everybody) {
            // Not every kernel is built with every call.
            assert_eq!(
                control,
                Found::Refused("Function not implemented".into()),
                "the control of {name} ({why})"
            );
        }
        if *name == "file_setattr" {
            expect = false;
            assert_eq!(inside(&cage, &probe), control, "{name}");
        }
        if expect || !for_everybody {
            refused(&cage, &probe);
        }
    }
    // What programs need works.
    worked(&cage, &["syscall", "39"]);
}

/// The end of the program itself, and of a process that nobody waits for. What is refused with an error is none of it, and neither
/// is what a program's own filter ended.
fn breaches() {
    let cage = open(&probing("breaches"));
    let binary = std::env::current_exe().unwrap();
    let probe = format!("{} {} mount /tmp", binary.display(), crate::probes::WORD);
    let script = |text: &str| eparch_sandbox::Program::new(["sh", "-c", text]);
    let told = |text: &str| {
        let (ended, ..) = crate::probes::finish(&cage, &script(text));
        (ended.exit, ended.breaches)
    };
    let (ended, fine) = (eparch_sandbox::Exit::Signal(SIGSYS), eparch_sandbox::Exit::Code(0));
    assert_eq!(told(&format!("exec {probe}")), (ended, 1));
    // It ends after whoever began it, and the pipe says when.
    let orphan = format!("mkfifo /tmp/ends; ( {probe} > /tmp/ends & ); cat /tmp/ends; exit 0");
    assert_eq!(told(&orphan), (fine, 1));
    assert_eq!(told("unshare -m true; exit 0"), (fine, 0));
    if !Path::new("/usr/bin/perl").exists() {
        println!("no perl, which makes system calls by number");
        return;
    }
    // A filter of its own that ends whoever asks for its parent (110 on x86_64, 173 elsewhere).
    let own = "my $call = `uname -m` =~ /x86_64/ ? 110 : 173; my $prctl = $call == 110 ? 157 : 167;\
        my $steps = pack('SCCL' x 4, 0x20,0,0,0, 0x15,0,1,$call, 6,0,0,0x80000000, 6,0,0,0x7fff0000);\
        my $filter = pack('Sx6P', 4, $steps);\
        exit 3 if syscall($prctl, 22, 2, $filter, 0, 0) != 0; syscall($call); exit 4;";
    let (found, ..) = crate::probes::finish(&cage, &eparch_sandbox::Program::new(["perl", "-e", own]));
    assert_eq!((found.exit, found.breaches), (ended, 0));
    assert_eq!(told("true"), (fine, 0), "one program's are not another's");
}

/// The numbers differ; what is denied is the same list.
#[cfg(not(target_arch = "x86_64"))]
fn system_calls() {
    let cage = open(&probing("system-calls"));
    for number in ["425", "428", "430", "435"] {
        refused(&cage, &["syscall", number, "-1", "$b", "0"]);
    }
}

fn sockets() {
    let cage = open(&probing("sockets"));
    only_outside(&cage, &["socket", "netlink-uevent"]);
    for kind in ["raw", "packet"] {
        if root() {
            only_outside(&cage, &["socket", kind]);
        }
        refused(&cage, &["socket", kind]);
    }
    refused(&cage, &["socket", "vsock"]);
    for kind in ["sctp", "udplite"] {
        let control = outside(&["socket", kind]);
        if control != Found::Worked {
            println!("this kernel has no {kind}: {control:?}");
        }
        assert!(refused(&cage, &["socket", kind]).contains("not permitted"), "{kind}");
    }
    worked(&cage, &["socket", "unix"]);
    worked(&cage, &["socket", "netlink-route"]);
}

fn rights() {
    let cage = open(&probing("rights"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let none = format!("{set}:\t0000000000000000");
        worked(&cage, &["status", &none]);
        if root() && set == "CapEff" {
            assert!(matches!(outside(&["status", &none]), Found::Refused(_)));
        }
    }
    worked(&cage, &["status", "NoNewPrivs:\t1"]);
    worked(&cage, &["status", "Seccomp:\t2"]);
}
