//! Things of the host that are more than bytes: sockets, pipes, locks. A read-only mount keeps nobody from them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use eparch_sandbox::{Bind, Cage, CageSpec, Launcher, MeasureName, Program, Sandbox, Status};
use rustix::fs::{FlockOperation, Mode};

use crate::Test;
use crate::cage::{open, probing};
use crate::probes::{Found, finish, outside, refused, worked};

pub(crate) const TESTS: &[Test] = &[
    ("r293_no_unix_socket_of_others_can_be_reached_through_what_is_read", read_sockets),
    ("r293_no_unix_socket_of_others_can_be_reached_through_what_is_written", written_sockets),
    ("best_effort_may_have_sockets_and_says_what_that_costs", best_effort_sockets),
    ("a_pipe_of_the_host_is_neither_written_nor_read", pipes),
    ("locks_and_leases_do_not_reach_the_host", locks),
    ("a_file_named_by_itself_is_apart_from_the_host", single_files),
    ("no_program_with_an_owners_rights_is_left_on_the_host", set_ids),
];

/// Sockets in a folder, bound in ways that hide where they are.
struct Sockets {
    folder: tempfile::TempDir,
}

impl Sockets {
    fn new() -> Sockets {
        let folder = tempfile::tempdir().unwrap();
        let sockets = Sockets { folder };
        sockets.bind("plain", "plain");
        // The kernel's table of sockets names them as they were bound.
        sockets.bind("before", "before");
        fs::rename(sockets.at("before"), sockets.at("renamed")).unwrap();
        let held = fs::File::open(sockets.folder.path()).unwrap();
        let detour = PathBuf::from(format!("/proc/self/fd/{}/relative", held.as_raw_fd()));
        serve(UnixListener::bind(detour).unwrap());
        sockets
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bind(&self, name: &str, kind: &str) {
        match kind {
            "datagram" => drop(std::thread::spawn({
                let socket = UnixDatagram::bind(self.at(name)).unwrap();
                move || while socket.recv(&mut [0; 8]).is_ok() {}
            })),
            _ => serve(UnixListener::bind(self.at(name)).unwrap()),
        }
    }

    /// Tries every one of them beneath `there`; what is bound late is bound now.
    fn all_refused(&self, cage: &Cage, there: &Path) {
        for name in ["plain", "renamed", "relative", "late"] {
            let (host, inside) = (self.at(name), there.join(name));
            assert_eq!(outside(&["connect", host.to_str().unwrap()]), Found::Worked, "the control of {name}");
            refused(cage, &["connect", inside.to_str().unwrap()]);
        }
        let (host, there) = (self.at("datagrams"), there.join("datagrams"));
        for probe in [vec!["send"], vec!["send-by-pair", "datagram"], vec!["send-by-pair", "raw"]] {
            let with = |path: &Path| {
                let words = probe.iter().map(|word| (*word).to_owned());
                words.chain([path.to_str().unwrap().to_owned()]).collect::<Vec<_>>()
            };
            let words = with(&host);
            assert_eq!(
                outside(&words.iter().map(String::as_str).collect::<Vec<_>>()),
                Found::Worked,
                "{probe:?}"
            );
            refused(cage, &with(&there).iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

/// Accepts for as long as this process lives: one that had left would make every test of a cage succeed.
fn serve(listener: UnixListener) {
    std::thread::spawn(move || listener.incoming().for_each(drop));
}

fn by(cage: &Cage) -> Option<String> {
    let found = cage.measures().iter().find(|measure| measure.name == MeasureName::UnixSockets).unwrap();
    match &found.status {
        Status::InForce { by } => Some(by.clone()),
        Status::Missing { .. } => None,
    }
}

fn read_sockets() {
    let sockets = Sockets::new();
    let folder = sockets.folder.path();
    let mut spec = probing("read-sockets");
    spec.project = Some(folder.into());
    spec.read.push(Bind::new(folder, "/data/read"));
    spec.expose.push(folder.into());
    let cage = open(&spec);
    assert_eq!(by(&cage).as_deref(), Some("overlay"));
    sockets.bind("late", "late");
    sockets.bind("datagrams", "datagram");
    for there in [Path::new("/workspace"), Path::new("/data/read"), folder] {
        sockets.all_refused(&cage, there);
    }
    // Its own it may have.
    let script = "use IO::Socket::UNIX; my $l = IO::Socket::UNIX->new(Local => 'own', Listen => 1) or die $!; \
                  IO::Socket::UNIX->new(Peer => 'own') or die $!;";
    assert!(finish(&cage, &Program::new(["perl", "-e", script])).0.success());
}

fn written_sockets() {
    let sockets = Sockets::new();
    let mut spec = probing("written-sockets");
    spec.write.push(Bind::new(sockets.folder.path(), "/data/written"));
    let cage = open(&spec);
    let by = by(&cage).unwrap();
    assert!(by.starts_with("seccomp") || by.starts_with("landlock"), "{by}");
    sockets.bind("late", "late");
    sockets.bind("datagrams", "datagram");
    sockets.all_refused(&cage, Path::new("/data/written"));
    worked(&cage, &["pair", "stream"]);
    worked(&cage, &["create", "/data/written/file"]);
}

fn best_effort_sockets() {
    let sockets = Sockets::new();
    let spec = CageSpec { sandbox: Sandbox::BestEffort, ..probing("best-effort-sockets") };
    let mut spec = CageSpec { write: vec![Bind::new(sockets.folder.path(), "/data/written")], ..spec };
    let cage = open(&spec);
    if by(&cage).is_some() {
        println!("this kernel's Landlock looks at sockets");
        return;
    }
    worked(&cage, &["socket", "unix"]);
    // Those that were there are covered, however they were bound.
    for name in ["plain", "renamed", "relative"] {
        only_outside_at(&cage, &sockets.at(name), &Path::new("/data/written").join(name));
    }
    // One that goes while cages open is no reason to refuse, and nothing is made in its place.
    spec.project = Some(sockets.folder.path().into());
    std::thread::scope(|scope| {
        let flicker = scope.spawn(|| {
            for number in 0..200 {
                let path = sockets.at(&format!("flicker-{number}"));
                drop(UnixListener::bind(&path).unwrap());
                fs::remove_file(path).unwrap();
            }
        });
        while !flicker.is_finished() {
            Cage::open(&spec, &Launcher::this_program()).unwrap();
        }
    });
    let left = open(&spec).workspace().list("", 100).unwrap().files;
    assert!(left.iter().all(|entry| !entry.path.to_str().unwrap().contains("flicker")), "{left:?}");
}

fn only_outside_at(cage: &Cage, host: &Path, there: &Path) {
    assert_eq!(outside(&["connect", host.to_str().unwrap()]), Found::Worked);
    refused(cage, &["connect", there.to_str().unwrap()]);
}

fn pipes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::from_raw_mode(0o666)).unwrap();
    // Opened for both, it waits for nobody and stays open.
    let mut reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let mut spec = probing("pipes");
    spec.project = Some(folder.path().into());
    spec.expose.push(folder.path().into());
    for there in ["/workspace/beneath", "/tmp/beneath", "/home/agent/beneath", "/data"] {
        spec.read.push(Bind::new(folder.path(), there));
    }
    let mut apart = spec.clone();
    apart.project = None;
    let said = |reader: &mut fs::File| {
        let mut bytes = [0; 16];
        match reader.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(outside(&["pipe", path.to_str().unwrap()]), Found::Worked);
    assert_eq!(said(&mut reader), 4);
    for spec in [&spec, &apart] {
        let cage = open(spec);
        let places = spec.read.iter().map(|bind| bind.inside.join("pipe")).chain([path.clone()]);
        for there in places {
            refused(&cage, &["pipe", there.to_str().unwrap()]);
        }
        assert_eq!(said(&mut reader), 0);
    }
    // Nor is taken what is meant for somebody else.
    reader.write_all(b"kept").unwrap();
    let cage = open(&spec);
    let steal = Program::new(["sh", "-c", "dd if=/data/pipe iflag=nonblock bs=4 count=1 2>/dev/null"]);
    assert_eq!(finish(&cage, &steal).1, b"");
    assert_eq!(said(&mut reader), 4);
}

fn locks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "host").unwrap();
    let held = fs::File::open(&path).unwrap();
    rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
    let mut spec = probing("locks");
    spec.project = Some(folder.path().into());
    spec.read.push(Bind::new(folder.path(), "/data/read"));
    spec.expose.push(folder.path().into());
    let cage = open(&spec);
    // The host holds the lock, and it is another one.
    let host = path.to_str().unwrap();
    assert!(matches!(outside(&["lock", host]), Found::Refused(_)));
    for there in ["/workspace/file", "/data/read/file", host] {
        worked(&cage, &["lock", there]);
        refused(&cage, &["lease", there]);
    }
    drop(held);
    assert_eq!((outside(&["lock", host]), outside(&["lease", host])), (Found::Worked, Found::Worked));
    // While a program holds what it can, the host writes as before.
    let script =
        "exec 9< /usr/bin/env; flock -x 9; exec 8< /data/read/file; flock -x 8; echo held; read x < go";
    let mut running = cage.start(&Program::new(["sh", "-c", &format!("mkfifo go; {script}")])).unwrap();
    let mut said = [0; 5];
    running.take_stdout().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(outside(&["lock", host]), Found::Worked);
    assert_eq!(outside(&["lock", "/usr/bin/env"]), Found::Worked);
    running.stop(eparch_domain::Span::ZERO);
    running.wait().unwrap();
}

/// The launcher's own binary is one, in every test.
fn single_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "host").unwrap();
    fs::write(folder.path().join("other"), "host").unwrap();
    let held = fs::File::open(&path).unwrap();
    rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
    let mut spec = probing("single-files");
    spec.read.push(Bind::new(&path, "/data/one"));
    let cage = open(&spec);
    assert_eq!(by(&cage).as_deref(), Some("overlay"));
    worked(&cage, &["read", "/data/one"]);
    worked(&cage, &["lock", "/data/one"]);
    refused(&cage, &["open-to-write", "/data/one"]);
    refused(&cage, &["read", "/data/other"]);
    worked(&cage, &["list", "/data"]);
    // A socket that is named is meant to be reached.
    let socket = folder.path().join("socket");
    serve(UnixListener::bind(&socket).unwrap());
    spec.sandbox = Sandbox::BestEffort;
    spec.read.push(Bind::new(&socket, "/data/socket"));
    worked(&open(&spec), &["connect", "/data/socket"]);
}

fn set_ids() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = probing("set-ids");
    spec.write.push(Bind::new(folder.path(), "/data/written"));
    let cage = open(&spec);
    for how in ["open", "node", "chmod", "fchmod"] {
        let host = folder.path().join("control");
        assert_eq!(outside(&["set-id", how, host.to_str().unwrap()]), Found::Worked, "{how}");
        refused(&cage, &["set-id", how, "/data/written/made"]);
        let _ = fs::remove_file(folder.path().join("made"));
    }
    // A shell for everybody.
    let script = "cp /bin/sh /data/written/sh && chmod 4755 /data/written/sh";
    assert!(!finish(&cage, &Program::new(["sh", "-c", script])).0.success());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(folder.path().join("sh")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o6000, 0);
}
