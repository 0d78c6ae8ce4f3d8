//! A kernel that lacks something, played by a filter the launcher is started under.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};

use eparch_sandbox::{Cage, CageSpec, Launcher, MeasureName, OpenError, Program, Sandbox, Status, probe};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::Test;
use crate::cage::{probing, root, spec};
use crate::names::Mounted;
use crate::probes::{finish, only_outside, refused, worked};

pub(crate) const TESTS: &[Test] = &[
    ("r005_each_measure_missing_alone_refuses_by_its_name", each_alone),
    ("r005_a_namespace_that_was_only_promised_refuses", promised),
    ("r005_best_effort_goes_on_and_says_what_is_missing", best_effort),
    ("without_landlock_the_launcher_cannot_be_written_through_a_script", starter),
    ("without_overlay_a_project_is_read_only", no_overlay),
    ("a_lost_launcher_is_quoted", lost),
];

const SCRIPT_WORD: &str = "__script";
pub(crate) const WITHOUT_WORD: &str = "__without";

/// Denies the calls numbered in the first argument with the error in the second, then is the launcher.
pub(crate) fn without(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let numbers = args.next().unwrap().into_string().unwrap();
    let rules: BTreeMap<i64, Vec<_>> =
        numbers.split(',').map(|number| (number.parse().unwrap(), vec![])).collect();
    let denied = SeccompAction::Errno(args.next().unwrap().into_string().unwrap().parse().unwrap());
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, denied, std::env::consts::ARCH.try_into().unwrap());
    apply_filter(&BpfProgram::try_from(filter.unwrap()).unwrap()).unwrap();
    let word = args.next().unwrap();
    if word == SCRIPT_WORD {
        return script_that_is_its_starter();
    }
    assert_eq!(word, eparch_sandbox::LAUNCHER_WORD);
    eparch_sandbox::launcher_main(args)
}

/// A launcher on a kernel without these system calls.
fn launcher(folder: &Path, calls: &[libc::c_long]) -> Launcher {
    answering(folder, calls, libc::ENOSYS)
}

/// A launcher on a kernel that answers these system calls so, and does nothing.
fn answering(folder: &Path, calls: &[libc::c_long], errno: libc::c_int) -> Launcher {
    let numbers = calls.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let binary = std::env::current_exe().unwrap();
    let path = folder.join(format!("answering-{errno}-to-{numbers}"));
    executable(
        &path,
        &format!("#!/bin/sh\nexec '{}' {WITHOUT_WORD} {numbers} {errno} \"$@\"\n", binary.display()),
    );
    Launcher::at(path)
}

/// Written by another process: had this one the file open, a child forked by another test at that moment would have it
/// too, and the kernel would not execute it.
fn executable(path: &Path, text: &str) {
    let write = "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"";
    let status = Command::new("sh").args(["-c", write, "sh", text]).arg(path).status().unwrap();
    assert!(status.success());
}

fn each_alone() {
    let folder = tempfile::tempdir().unwrap();
    let by_user = |user, for_root| if root() { for_root } else { user };
    let table = [
        (libc::SYS_unshare, by_user(MeasureName::UserNamespace, MeasureName::MountNamespace)),
        (libc::SYS_mount, MeasureName::MinimalRoot),
        (libc::SYS_pivot_root, MeasureName::MinimalRoot),
        (libc::SYS_umount2, MeasureName::MinimalRoot),
        (libc::SYS_sethostname, MeasureName::Uts),
        (libc::SYS_listen, MeasureName::NetworkNamespace),
        (libc::SYS_capset, by_user(MeasureName::UserNamespace, MeasureName::CapabilitiesDropped)),
        (libc::SYS_landlock_create_ruleset, MeasureName::Landlock),
        (libc::SYS_landlock_restrict_self, MeasureName::Landlock),
        (libc::SYS_seccomp, MeasureName::Seccomp),
    ];
    for (call, expected) in table {
        let refusal = Cage::open(&spec("alone"), &launcher(folder.path(), &[call]));
        let Err(OpenError::Missing(measures)) = refusal else { panic!("{expected}: {refusal:?}") };
        assert_eq!(measures[0].name, expected, "{measures:?}");
        for measure in &measures {
            assert!(
                matches!(&measure.status, Status::Missing { why, how_to_get } if !why.is_empty() && !how_to_get.is_empty())
            );
        }
        let told = probe(&launcher(folder.path(), &[call]));
        assert!(told.iter().any(|measure| measure.name == expected && !measure.in_force()), "{told:?}");
    }
}

fn promised() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = Cage::open(&spec("promised"), &answering(folder.path(), &[libc::SYS_unshare], 0));
    let Err(OpenError::Missing(measures)) = refusal else { panic!("{refusal:?}") };
    assert!(measures[0].to_string().contains("did nothing"), "{measures:?}");
}

fn best_effort() {
    let folder = tempfile::tempdir().unwrap();
    let spec = CageSpec { sandbox: Sandbox::BestEffort, ..probing("best-effort") };
    let calls = [libc::SYS_landlock_create_ruleset, libc::SYS_seccomp];
    let cage = Cage::open(&spec, &launcher(folder.path(), &calls)).unwrap();
    let missing: Vec<_> =
        cage.measures().iter().filter(|measure| !measure.in_force()).map(|measure| measure.name).collect();
    assert_eq!(missing, [MeasureName::Landlock, MeasureName::Seccomp]);
    assert!(finish(&cage, &Program::new(["true"])).0.success());
    // What is left still holds.
    for place in ["/usr/probe", "/etc/probe", "/probe", "/proc/probe"] {
        refused(&cage, &["create", place]);
    }
    for file in ["/proc/sys/kernel/core_pattern", "/proc/self/oom_score_adj", "/usr/bin/env"] {
        refused(&cage, &["open-to-write", file]);
    }
    refused(&cage, &["chmod", "/dev/null"]);
    refused(&cage, &["mount", "/tmp"]);
    worked(&cage, &["create", "/workspace/x"]);
    // Neither other processes nor other sockets are reached, and no pipe.
    let outside_folder = tempfile::tempdir().unwrap();
    let at = |name: &str| outside_folder.path().join(name).to_str().unwrap().to_owned();
    let listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let hidden = format!("eparch-best-effort-{}", std::process::id());
    let address = <SocketAddr as SocketAddrExt>::from_abstract_name(&hidden).unwrap();
    let other = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    for listener in [listener, other] {
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|mut stream| {
                let mut bytes = [0; 4];
                let _ = std::io::Read::read_exact(&mut stream, &mut bytes);
                let _ = std::io::Write::write_all(&mut stream, &bytes);
            })
        });
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
    let _reader = fs::OpenOptions::new().read(true).write(true).open(at("pipe")).unwrap();
    let mut victim = Command::new("sleep").arg("1000").spawn().unwrap();
    let shown = CageSpec {
        expose: [spec.expose.clone(), vec![outside_folder.path().into()]].concat(),
        ..spec.clone()
    };
    let cage = Cage::open(&shown, &launcher(folder.path(), &calls)).unwrap();
    only_outside(&cage, &["signal", &victim.id().to_string()]);
    only_outside(&cage, &["abstract", &hidden]);
    only_outside(&cage, &["connect", &at("socket")]);
    only_outside(&cage, &["pipe", &at("pipe")]);
    victim.kill().unwrap();
    victim.wait().unwrap();
    // And what is no matter of effort refuses as before.
    let refusal = Cage::open(&spec, &launcher(folder.path(), &[libc::SYS_pivot_root]));
    assert!(matches!(refusal, Err(OpenError::Missing(_))), "{refusal:?}");
}

/// A holder on a kernel without Landlock: its launcher is this program, whose file must not be had through a script.
fn starter() {
    let landlock = libc::SYS_landlock_create_ruleset.to_string();
    let out = Command::new(std::env::current_exe().unwrap())
        .args([WITHOUT_WORD, &landlock, &libc::ENOSYS.to_string(), SCRIPT_WORD])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said} {}", String::from_utf8_lossy(&out.stderr));
    // The control: it did become this program, in a copy that nobody can write.
    assert!(said.contains("/memfd:") && !said.contains("written"), "{said}");
}

fn script_that_is_its_starter() -> ExitCode {
    let spec = CageSpec { sandbox: Sandbox::BestEffort, ..spec("starter") };
    let cage = Cage::open(&spec, &Launcher::this_program()).unwrap();
    let script = format!("#!/proc/self/exe {}\n", crate::probes::WORD);
    cage.workspace().write_file("own-file", script.as_bytes(), 0o755).unwrap();
    let (ended, out, err) = finish(&cage, &Program::new(["./own-file"]));
    println!("{} {}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The kernel stacks overlays two deep; a project on the second cannot be the lower layer of a third.
fn no_overlay() {
    if !root() {
        println!("needs root to mount");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b", "c", "one", "two"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::create_dir(at("a/src")).unwrap();
    fs::write(at("a/src/main"), "host").unwrap();
    fs::write(at("a/file"), "host").unwrap();
    fs::create_dir(at("a/home")).unwrap();
    fs::write(at("a/home/key"), "secret").unwrap();
    std::os::unix::fs::symlink("file", at("a/link")).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    let stack = |lower: String, target: &str| {
        let options = std::ffi::CString::new(format!("lowerdir={lower}")).unwrap();
        rustix::mount::mount("overlay", at(target), "overlay", flags, options.as_c_str()).unwrap();
    };
    stack(format!("{}:{}", at("a").display(), at("b").display()), "one");
    let _one = Mounted(at("one"));
    stack(format!("{}:{}", at("one").display(), at("c").display()), "two");
    let _two = Mounted(at("two"));
    let mut spec = probing("no-overlay");
    spec.project = Some(at("two"));
    spec.mask.push(at("two/home"));
    let refusal = Cage::open(&spec, &Launcher::this_program());
    let Err(OpenError::Missing(measures)) = refusal else { panic!("{refusal:?}") };
    assert_eq!(measures.iter().map(|measure| measure.name).collect::<Vec<_>>(), [MeasureName::Overlay]);
    spec.sandbox = Sandbox::BestEffort;
    let cage = Cage::open(&spec, &Launcher::this_program()).unwrap();
    worked(&cage, &["read", "/workspace/src/main"]);
    worked(&cage, &["read", "/workspace/link"]);
    refused(&cage, &["open-to-write", "/workspace/file"]);
    refused(&cage, &["read", "/workspace/home/key"]);
    worked(&cage, &["create", "/workspace/new"]);
    // It is seen as it is, and said so.
    let sockets = cage.measures().iter().find(|measure| measure.name == MeasureName::UnixSockets).unwrap();
    assert!(!sockets.in_force() || sockets.to_string().contains("abi 9"), "{sockets}");
    let many = at("two/many");
    fs::create_dir(at("a/many")).unwrap();
    for number in 0..4_097 {
        fs::write(at("a/many").join(number.to_string()), "").unwrap();
    }
    let crowded = CageSpec { project: Some(many), mask: Vec::new(), ..spec.clone() };
    let refusal = Cage::open(&crowded, &Launcher::this_program());
    assert!(
        matches!(&refusal, Err(OpenError::BadPath { why, .. }) if why.contains("4096 entries")),
        "{refusal:?}"
    );
    let workspace = cage.workspace().clone();
    drop(cage);
    assert_eq!(workspace.list("", 10).unwrap().files.len(), 1);
    assert_eq!(fs::read_to_string(at("a/file")).unwrap(), "host");
}

fn lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("launcher");
    executable(&path, "#!/bin/sh\necho 'nobody home' >&2\nexit 3\n");
    let refusal = Cage::open(&spec("lost"), &Launcher::at(&path));
    assert!(
        matches!(&refusal, Err(OpenError::Lost { last_words }) if last_words.contains("nobody home")),
        "{refusal:?}"
    );
    let refusal = Cage::open(&spec("lost"), &Launcher::at("/no/such/launcher"));
    assert!(matches!(refusal, Err(OpenError::Launcher(_))), "{refusal:?}");
}
