//! Further probes: what is done to things that are shared with the host.

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

use rustix::fs::{FlockOperation, MemfdFlags, Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit};

pub(crate) fn attempt(args: &[&str]) -> io::Result<()> {
    match *args {
        // Connecting is enough: a server of the host's would have accepted.
        ["connect", path] => UnixStream::connect(path).map(drop),
        ["send", path] => UnixDatagram::unbound()?.send_to(b"x", path).map(drop),
        // A pair that is connected to itself, and is sent elsewhere.
        ["send-by-pair", kind, path] => {
            let kind = if kind == "raw" { SocketType::RAW } else { SocketType::DGRAM };
            let (one, _other) =
                rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None)?;
            let address = SocketAddrUnix::new(path)?;
            Ok(rustix::net::sendto(&one, b"x", SendFlags::empty(), &address).map(drop)?)
        }
        ["pair", "stream"] => {
            let kind = SocketType::STREAM;
            let (one, other) =
                rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None)?;
            rustix::net::send(&one, b"x", SendFlags::empty())?;
            Ok(rustix::net::recv(&other, &mut [0u8; 1], RecvFlags::empty()).map(drop)?)
        }
        // As somebody who waits for no reader.
        ["pipe", path] => {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK;
            let pipe = rustix::fs::open(path, flags, Mode::empty())?;
            Ok(rustix::io::write(&pipe, b"evil").map(drop)?)
        }
        ["lock", path] => {
            let file = fs::File::open(path)?;
            Ok(rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?)
        }
        // F_SETLEASE, F_RDLCK: nobody else may open it to write.
        ["lease", path] => {
            let script = "open(F, '<', $ARGV[0]) or exit 20; exit(fcntl(F, 1024, 0) ? 0 : 10)";
            match Command::new("perl").args(["-e", script, path]).status()?.code() {
                Some(0) => Ok(()),
                Some(10) => Err(io::Error::other("no lease")),
                other => panic!("perl ended with {other:?}"),
            }
        }
        ["set-id", how, path] => set_id(how, path),
        ["watch", most] => {
            let most: usize = most.parse().map_err(io::Error::other)?;
            let watches =
                (0..most).map(|_| rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::empty()));
            Ok(watches.collect::<Result<Vec<_>, _>>().map(drop)?)
        }
        ["limit", pid] => {
            let pid = rustix::process::Pid::from_raw(pid.parse().map_err(io::Error::other)?);
            let held = rustix::process::getrlimit(Resource::Stack);
            Ok(rustix::process::prlimit(pid, Resource::Stack, held).map(drop)?)
        }
        ["memory-file", bytes] => {
            // Each smaller than any limit on files.
            let piece = vec![7u8; 1 << 20];
            let mut held = Vec::new();
            for _ in 0..bytes.parse::<u64>().map_err(io::Error::other)? >> 20 {
                let mut file = fs::File::from(rustix::fs::memfd_create("probe", MemfdFlags::empty())?);
                file.write_all(&piece)?;
                held.push(file);
            }
            Ok(())
        }
        ["memory", bytes] => {
            let mut held = Vec::new();
            let bytes: usize = bytes.parse().map_err(io::Error::other)?;
            held.try_reserve_exact(bytes).map_err(io::Error::other)?;
            held.resize(bytes, 7u8);
            std::hint::black_box(&held);
            Ok(())
        }
        // As the interpreter of a script: what is this program's own file?
        [path] if path.ends_with("own-file") => {
            println!("{}", fs::read_link("/proc/self/exe")?.display());
            // A copy in memory may be opened, but not written.
            let written = fs::OpenOptions::new().write(true).open("/proc/self/exe");
            if written.is_ok_and(|mut file| file.write_all(b"x").is_ok()) {
                println!("written");
            }
            Ok(())
        }
        // The answer counts, and then what is in force.
        ["no-cores"] => {
            rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
            match rustix::process::getrlimit(Resource::Core).maximum {
                Some(0) => Ok(()),
                other => Err(io::Error::other(format!("it is {other:?}"))),
            }
        }
        _ => panic!("there is no probe {args:?}"),
    }
}

/// Makes a file whose program would run as its owner, in each way there is; gone when it worked.
fn set_id(how: &str, path: &str) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o4755);
    let flags = OFlags::CREATE | OFlags::WRONLY;
    match how {
        "open" => drop(rustix::fs::open(path, flags, mode)?),
        "node" => rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::RegularFile, mode, 0)?,
        "chmod" => {
            fs::write(path, "")?;
            rustix::fs::chmod(path, mode)?;
        }
        "fchmod" => rustix::fs::fchmod(fs::File::create(path)?, mode)?,
        _ => panic!("there is no way {how}"),
    }
    let set = rustix::fs::stat(path)?.st_mode & 0o6000 != 0;
    fs::remove_file(path)?;
    if set { Ok(()) } else { Err(io::Error::other("the bit was not kept")) }
}
