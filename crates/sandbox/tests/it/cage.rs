//! A cage as its holder uses it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use eparch_domain::{Name, Span};
use eparch_sandbox::{
    Cage, CageSpec, Cause, Exit, Launcher, MeasureName, OpenError, Program, Sandbox, StartError, Status,
    probe,
};

use crate::Test;
use crate::probes::finish;

pub(crate) const TESTS: &[Test] = &[
    ("r005_every_measure_is_in_force_and_named", every_measure),
    ("r005_a_missing_measure_refuses_and_says_how_to_get_it", missing_refuses),
    ("r292_the_preflight_really_tries", preflight),
    ("r293_a_program_runs_and_its_output_is_its_own", runs),
    ("a_program_gets_exactly_its_environment", environment),
    ("a_program_that_does_not_exist_is_told_before_anything_runs", no_program),
    ("one_program_at_a_time_and_several_one_after_the_other", one_at_a_time),
    ("the_listener_inside_reaches_its_holder", listener),
    ("an_open_descriptor_of_the_holder_does_not_reach_a_program", descriptors),
    ("a_program_sees_itself_as_its_caller", identity),
    ("common_tools_work", tools),
    ("processor_time_is_seen_while_a_program_runs", progress),
    ("opening_a_cage_is_quick", quick),
];

pub(crate) fn spec(name: &str) -> CageSpec {
    CageSpec::new(Name::new(name).unwrap())
}

/// A spec that shows this binary, for the probes.
pub(crate) fn probing(name: &str) -> CageSpec {
    let mut spec = spec(name);
    spec.expose.push(std::env::current_exe().unwrap());
    spec
}

pub(crate) fn open(spec: &CageSpec) -> Cage {
    match Cage::open(spec, &Launcher::this_program()) {
        Ok(cage) => cage,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn sh(script: &str) -> Program {
    Program::new(["sh", "-c", script])
}

fn every_measure() {
    let project = tempfile::tempdir().unwrap();
    let mut spec = spec("measures");
    spec.project = Some(project.path().into());
    spec.mask.push(project.path().join("home"));
    let cage = open(&spec);
    let names: Vec<&str> = cage.measures().iter().map(|measure| measure.name.as_str()).collect();
    let mut expected = vec![
        "mount-namespace",
        "pid-namespace",
        "ipc-namespace",
        "network-namespace",
        "uts",
        "minimal-root",
        "home-masked",
        "overlay",
        "disk-limit",
        "process-limit",
        "memory-limit",
        "capabilities-dropped",
        "no-new-privileges",
        "landlock",
        "seccomp",
        "unix-sockets",
    ];
    if !root() {
        expected.insert(0, "user-namespace");
    }
    assert_eq!(names, expected);
    assert!(cage.measures().iter().all(|measure| measure.in_force()), "{:?}", cage.measures());
    let text = serde_json::to_value(cage.measures()).unwrap();
    let limit = text.as_array().unwrap().iter().find(|measure| measure["name"] == "process-limit").unwrap();
    assert_eq!(limit["status"], "in-force");
    println!("process limit by {}", limit["by"]);
}

fn missing_refuses() {
    let empty = tempfile::tempdir().unwrap();
    let mut spec = spec("missing");
    // A folder that is no cgroup. An ordinary user has the limit from the user namespace all the same.
    spec.cgroup_parent = Some(empty.path().into());
    match Cage::open(&spec, &Launcher::this_program()) {
        Err(OpenError::Missing(measures)) if root() => {
            assert_eq!(measures.len(), 1);
            assert_eq!(measures[0].name, MeasureName::ProcessLimit);
            assert!(
                matches!(&measures[0].status, Status::Missing { how_to_get, .. } if how_to_get.contains("pids"))
            );
        }
        Ok(_) if !root() => {}
        other => panic!("{other:?}"),
    }
    spec.sandbox = Sandbox::BestEffort;
    let cage = open(&spec);
    let limit = cage.measures().iter().find(|measure| measure.name == MeasureName::ProcessLimit).unwrap();
    assert_eq!(limit.in_force(), !root());
    assert!(finish(&cage, &sh("exit 0")).0.success());
}

fn preflight() {
    let measures = probe(&Launcher::this_program());
    assert!(measures.len() > 12 && measures.iter().all(|measure| measure.in_force()), "{measures:?}");
    let broken = probe(&Launcher::at("/bin/true"));
    assert!(broken.iter().all(|measure| !measure.in_force()), "{broken:?}");
    let none = probe(&Launcher::at("/no/such/launcher"));
    assert!(none.iter().all(|measure| !measure.in_force()), "{none:?}");
}

fn runs() {
    let cage = open(&spec("runs"));
    let (ended, out, err) = finish(&cage, &sh("echo out; echo err >&2; hostname; pwd; exit 3"));
    assert_eq!((ended.exit, ended.cause, ended.leftovers), (Exit::Code(3), Cause::Itself, 0));
    assert!(!ended.success() && ended.max_rss_bytes > 0);
    assert_eq!(String::from_utf8(out).unwrap(), "out\nruns\n/workspace\n");
    assert_eq!(String::from_utf8(err).unwrap(), "err\n");
    let (ended, ..) = finish(&cage, &sh("kill -9 $$"));
    assert_eq!(ended.exit, Exit::Signal(9));
    assert_eq!(ended.cause, Cause::Itself);
    let (ended, ..) = finish(&cage, &Program::new(["perl", "-e", "my $n = 0; $n += $_ for 1..3000000;"]));
    assert!(ended.success() && !ended.cpu.is_zero(), "{ended:?}");
}

fn environment() {
    let cage = open(&spec("environment"));
    let mut program = Program::new(["env"]);
    program.env = [("ONLY", "this = \"value\"\n second line")].map(|(k, v)| (k.into(), v.into())).into();
    program.env.insert("PATH".into(), "/usr/bin:/bin".into());
    let (_, out, _) = finish(&cage, &program);
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out, "ONLY=this = \"value\"\n second line\nPATH=/usr/bin:/bin\n");
    // The launcher above it has none either.
    let (_, out, _) = finish(&cage, &sh("cat /proc/1/environ; tr '\\0' ' ' < /proc/1/cmdline"));
    assert_eq!(String::from_utf8_lossy(&out), "eparch-confine __confine keeper ");
}

fn no_program() {
    let cage = open(&spec("no-program"));
    cage.workspace().write_file("plain.sh", b"#!/bin/sh\n", 0o644).unwrap();
    cage.workspace().write_file("run.sh", b"#!/bin/sh\nexit 4\n", 0o755).unwrap();
    cage.workspace().write_file("broken", b"#!/no/such/interpreter\n", 0o755).unwrap();
    let start = |word: &str| cage.start(&Program::new([word])).err();
    assert!(matches!(start("no-such-program"), Some(StartError::NotFound { .. })));
    assert!(matches!(start("./none"), Some(StartError::NotFound { .. })));
    assert!(matches!(start("./plain.sh"), Some(StartError::NotExecutable { .. })));
    assert!(matches!(start("/usr"), Some(StartError::NotExecutable { .. })));
    assert!(matches!(start("./broken"), Some(StartError::NotExecutable { .. })));
    let mut elsewhere = Program::new(["true"]);
    elsewhere.cwd = "/no/such/folder".into();
    assert!(matches!(cage.start(&elsewhere), Err(StartError::NoFolder { .. })));
    assert_eq!(cage.resolve(&Program::new(["./run.sh"])).unwrap().to_str(), Some("/workspace/./run.sh"));
    assert!(cage.resolve(&Program::new(["sh"])).unwrap().ends_with("sh"));
    // None of it spoils the cage.
    assert_eq!(finish(&cage, &Program::new(["./run.sh"])).0.exit, Exit::Code(4));
}

fn one_at_a_time() {
    let cage = open(&spec("one-at-a-time"));
    let mut first = cage.start(&sh("echo kept > note; echo up; sleep 1000")).unwrap();
    let mut line = String::new();
    BufReader::new(first.take_stdout().unwrap()).read_line(&mut line).unwrap();
    assert!(matches!(cage.start(&sh("exit 0")), Err(StartError::Busy)));
    assert!(matches!(cage.resolve(&sh("exit 0")), Err(StartError::Busy)));
    cage.stop(Span::from_secs(5));
    let ended = first.wait().unwrap();
    assert_eq!((ended.exit, ended.cause), (Exit::Signal(15), Cause::Stopped));
    assert!(first.wait().is_err());
    // The workspace is the same, the processes are not.
    let (ended, out, _) = finish(&cage, &sh("cat note; ls /proc | grep -c '^[0-9]'"));
    assert!(ended.success());
    let lines = String::from_utf8(out).unwrap();
    assert!(lines.starts_with("kept\n"), "{lines}");
}

fn listener() {
    let cage = open(&spec("listener"));
    let served = cage.listener().try_clone().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, from) = served.accept().unwrap();
        assert!(from.ip().is_loopback());
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let script = format!(
        "use IO::Socket::INET; my $s = IO::Socket::INET->new('127.0.0.1:{}') or die; print $s 'hello';",
        cage.port()
    );
    let (ended, _, err) = finish(&cage, &Program::new(["perl", "-e", &script]));
    assert!(ended.success(), "{}", String::from_utf8_lossy(&err));
    assert_eq!(server.join().unwrap(), "hello");
}

fn descriptors() {
    let mut leaked = tempfile::tempfile().unwrap();
    leaked.write_all(b"secret").unwrap();
    rustix::io::fcntl_setfd(leaked.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let control = std::process::Command::new("sh").args(["-c", "ls /proc/self/fd | wc -l"]).output().unwrap();
    let cage = open(&spec("descriptors"));
    let (_, out, _) = finish(&cage, &sh("ls /proc/self/fd | wc -l"));
    let count = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().parse::<u32>().unwrap();
    assert!(count(control.stdout) > 4, "the control sees the leaked descriptor");
    // stdin, stdout, stderr, and the folder being listed.
    assert_eq!(count(out), 4);
}

fn identity() {
    let cage = open(&spec("identity"));
    let (_, out, _) = finish(&cage, &sh("id -u; id -g; touch made; stat -c %u made"));
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    assert_eq!(String::from_utf8(out).unwrap(), format!("{uid}\n{gid}\n{uid}\n"));
}

fn tools() {
    let cage = open(&spec("tools"));
    let script = "set -e
        mktemp > /dev/null; mktemp -d -p /var/tmp > /dev/null; touch /dev/shm/x ~/y
        echo text > /dev/null; echo text > /dev/stderr; head -c 4 /dev/urandom > random
        date > /dev/null; getent passwd root > /dev/null; getent hosts localhost > /dev/null
        ln -s random link; mkfifo pipe; mkdir -p a/b; mv a c; rm -r c
        printf '#!/bin/sh\\necho made\\n' > tool; chmod +x tool; ./tool
        (sleep 0.01 & wait); ls -l /proc/self > /dev/null; cat /proc/cpuinfo > /dev/null";
    let (ended, out, err) = finish(&cage, &sh(script));
    assert!(ended.success(), "{}", String::from_utf8_lossy(&err));
    assert_eq!(out, b"made\n");
}

fn progress() {
    fn shared<T: Send + Sync>(_: &T) {}
    let cage = open(&spec("progress"));
    shared(&cage);
    let idle = cage.cpu().unwrap();
    let mut running = cage.start(&sh("(while :; do :; done) & wait")).unwrap();
    let end = Instant::now() + std::time::Duration::from_secs(20);
    while cage.cpu().unwrap().millis() < idle.millis() + 100 {
        assert!(Instant::now() < end, "a busy program shows no processor time");
    }
    running.stop(Span::ZERO);
    let ended = running.wait().unwrap();
    assert!(ended.cpu.millis() >= 90, "{ended:?}");
    assert!(cage.cpu().unwrap().millis() >= idle.millis() + 90);
}

/// Prints what a cage costs. The bound is loose on purpose: it holds on a loaded machine.
fn quick() {
    let mut opened = Vec::new();
    let mut ran = Vec::new();
    let mut gone = Vec::new();
    for _ in 0..20 {
        let begin = Instant::now();
        let cage = open(&spec("quick"));
        opened.push(begin.elapsed());
        let begin = Instant::now();
        assert!(finish(&cage, &Program::new(["true"])).0.success());
        ran.push(begin.elapsed());
        let begin = Instant::now();
        cage.close(Span::from_secs(5)).unwrap();
        gone.push(begin.elapsed());
    }
    for (what, times) in [("open", &mut opened), ("run true", &mut ran), ("close", &mut gone)] {
        times.sort();
        println!("{what}: median {:?}, worst {:?}", times[10], times[19]);
    }
    assert!(opened[10].as_millis() < 1_000);
}
