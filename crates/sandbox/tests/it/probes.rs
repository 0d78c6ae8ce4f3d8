//! What an attacker would try, run outside as a control and inside as the test. Exit 0: it worked. Exit 10: it was
//! refused, and stdout says how.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use eparch_sandbox::{Cage, Ended, Exit, Program};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, XattrFlags};

pub(crate) const WORD: &str = "__probe";
const REFUSED: i32 = 10;
/// What the kernel ends a process with that called what is only for leaving.
pub(crate) const SIGSYS: i32 = 31;
/// That it did.
const ENDED: &str = "ended by the kernel";

pub(crate) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|arg| arg.into_string().unwrap()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match attempt(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::from(u8::try_from(REFUSED).unwrap())
        }
    }
}

fn attempt(args: &[&str]) -> io::Result<()> {
    match *args {
        ["read", path] => fs::read(path).map(drop),
        ["read-link", path] => fs::read_link(path).map(drop),
        ["list", path] => match fs::read_dir(path)?.next() {
            Some(_) => Ok(()),
            None => Err(io::Error::other("empty")),
        },
        ["create", path] => fs::write(path, "x"),
        ["open-to-write", path] => fs::OpenOptions::new().write(true).open(path).map(drop),
        ["chmod", path] => {
            let mode = fs::metadata(path)?.permissions().mode();
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        }
        ["chown", path] => {
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            Ok(rustix::fs::chown(path, Some(uid), Some(gid))?)
        }
        ["utime", path] => {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())?)
        }
        ["setxattr", path] => Ok(rustix::fs::setxattr(path, "user.probe", b"x", XattrFlags::empty())?),
        ["remove", path] => fs::remove_file(path),
        ["tcp", address] => {
            let address = address.parse().map_err(io::Error::other)?;
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
            echo(&mut stream)
        }
        ["udp", address] => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(address)?;
            socket.send(b"ping")?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            socket.recv(&mut [0; 4]).map(drop)
        }
        ["unix", path] => echo(&mut UnixStream::connect(path)?),
        ["abstract", name] => {
            let address = SocketAddr::from_abstract_name(name)?;
            echo(&mut UnixStream::connect_addr(&address)?)
        }
        ["see", marker] => {
            let here = std::process::id().to_string();
            for entry in fs::read_dir("/proc")? {
                let entry = entry?;
                // `self` is there as well, under a name that is no number.
                if entry.file_name().to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
                    continue;
                }
                let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                if String::from_utf8_lossy(&command).contains(marker) && *entry.file_name() != *here {
                    return Ok(());
                }
            }
            Err(io::Error::other("no such process is seen"))
        }
        ["signal", pid] => {
            let pid = rustix::process::Pid::from_raw(pid.parse().map_err(io::Error::other)?);
            Ok(rustix::process::test_kill_process(pid.unwrap())?)
        }
        ["breed", most] => breed(most.parse().map_err(io::Error::other)?),
        ["fill", path, bytes] => {
            let mut file = fs::File::create(path)?;
            let piece = vec![7u8; 1 << 20];
            for _ in 0..bytes.parse::<u64>().map_err(io::Error::other)? >> 20 {
                file.write_all(&piece)?;
            }
            Ok(())
        }
        ["files", folder, most] => {
            for number in 0..most.parse::<u64>().map_err(io::Error::other)? {
                fs::write(Path::new(folder).join(format!("f{number}")), "")?;
            }
            Ok(())
        }
        ["mount", folder] => {
            let flags = rustix::mount::MountFlags::empty();
            Ok(rustix::mount::mount("tmpfs", folder, "tmpfs", flags, None::<&std::ffi::CStr>)?)
        }
        ["unshare-user"] => Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?),
        ["unshare-mount"] => Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?),
        ["socket", kind] => socket(kind),
        ["status", line] => match fs::read_to_string("/proc/self/status")?.lines().any(|found| found == line)
        {
            true => Ok(()),
            false => Err(io::Error::other("the kernel says otherwise")),
        },
        // A system call by number, with arguments that do no harm: refused means EPERM or ENOSYS.
        ["syscall", number, ref arguments @ ..] => {
            let arguments = arguments.join(",");
            let script = format!(
                "my $b = \"\\0\" x 256; my $r = syscall({number}{}{arguments}); \
                 exit 0 if $r >= 0; print $!; exit(($!+0 == 1 || $!+0 == 38) ? 10 : 0);",
                if arguments.is_empty() { "" } else { "," }
            );
            let out = Command::new("/usr/bin/perl").args(["-e", &script]).output()?;
            match out.status.code() {
                Some(0) => Ok(()),
                None if out.status.signal() == Some(SIGSYS) => Err(io::Error::other(ENDED)),
                Some(REFUSED) => Err(io::Error::other(String::from_utf8_lossy(&out.stdout).into_owned())),
                other => panic!("perl ended with {other:?}: {}", String::from_utf8_lossy(&out.stderr)),
            }
        }
        _ => crate::acts::attempt(args),
    }
}

fn echo(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(b"ping")?;
    stream.read_exact(&mut [0; 4])
}

fn socket(kind: &str) -> io::Result<()> {
    use rustix::net::{AddressFamily, Protocol, RawProtocol, SocketType};
    let icmp = RawProtocol::new(1).map(Protocol::from_raw);
    let (family, kind, protocol) = match kind {
        "raw" => (AddressFamily::INET, SocketType::RAW, icmp),
        "packet" => (AddressFamily::PACKET, SocketType::DGRAM, None),
        "netlink-route" => (AddressFamily::NETLINK, SocketType::RAW, None),
        "netlink-uevent" => {
            (AddressFamily::NETLINK, SocketType::RAW, RawProtocol::new(15).map(Protocol::from_raw))
        }
        "sctp" => (AddressFamily::INET, SocketType::STREAM, RawProtocol::new(132).map(Protocol::from_raw)),
        "udplite" => (AddressFamily::INET, SocketType::DGRAM, RawProtocol::new(136).map(Protocol::from_raw)),
        "vsock" => (AddressFamily::from_raw(40), SocketType::STREAM, None),
        "unix" => (AddressFamily::UNIX, SocketType::STREAM, None),
        _ => panic!("there is no socket {kind}"),
    };
    Ok(rustix::net::socket(family, kind, protocol).map(drop)?)
}

/// Starts sleepers until one cannot be, says how many there were, and ends them.
fn breed(most: usize) -> io::Result<()> {
    let mut children = Vec::new();
    let mut end = Ok(());
    while children.len() < most {
        match Command::new("/bin/sleep").arg("1000").stdin(Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                end = Err(error);
                break;
            }
        }
    }
    println!("{}", children.len());
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    end
}

/// What came of a probe.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Worked,
    Refused(String),
}

/// Runs a probe as this process is.
pub(crate) fn outside(args: &[&str]) -> Found {
    let out = Command::new(std::env::current_exe().unwrap()).arg(WORD).args(args).output().unwrap();
    found(out.status.code(), out.stdout, out.stderr, args)
}

/// Runs a probe in a cage that exposes this binary, as [`probing`](super::cage::probing) makes it.
pub(crate) fn inside(cage: &Cage, args: &[&str]) -> Found {
    let binary = std::env::current_exe().unwrap();
    let program = Program::new([binary.to_str().unwrap(), WORD].iter().chain(args).copied());
    let (ended, stdout, stderr) = finish(cage, &program);
    let code = match ended.exit {
        Exit::Code(code) => Some(code),
        Exit::Signal(SIGSYS) => return Found::Refused(ENDED.to_owned()),
        Exit::Signal(_) => None,
    };
    found(code, stdout, stderr, args)
}

/// Runs a program to its end and returns what it wrote.
pub(crate) fn finish(cage: &Cage, program: &Program) -> (Ended, Vec<u8>, Vec<u8>) {
    let mut running = cage.start(program).unwrap();
    let (mut out, mut err) = (running.take_stdout().unwrap(), running.take_stderr().unwrap());
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let mut bytes = Vec::new();
    out.read_to_end(&mut bytes).unwrap();
    (running.wait().unwrap(), bytes, reader.join().unwrap())
}

fn found(code: Option<i32>, stdout: Vec<u8>, stderr: Vec<u8>, args: &[&str]) -> Found {
    match code {
        Some(0) => Found::Worked,
        Some(REFUSED) => Found::Refused(String::from_utf8_lossy(&stdout).trim().to_owned()),
        other => panic!("probe {args:?} ended with {other:?}: {}", String::from_utf8_lossy(&stderr)),
    }
}

/// The probe works outside and is refused inside.
#[track_caller]
pub(crate) fn only_outside(cage: &Cage, args: &[&str]) {
    assert_eq!(outside(args), Found::Worked, "the control of {args:?}");
    refused(cage, args);
}

#[track_caller]
pub(crate) fn refused(cage: &Cage, args: &[&str]) -> String {
    match inside(cage, args) {
        Found::Refused(how) => how,
        Found::Worked => panic!("{args:?} worked in the cage"),
    }
}

#[track_caller]
pub(crate) fn worked(cage: &Cage, args: &[&str]) {
    assert_eq!(inside(cage, args), Found::Worked, "{args:?} in the cage");
}
