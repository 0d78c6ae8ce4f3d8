//! A kernel that lacks something, played by a filter the launcher is started under.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use eparch_sandbox::{Cage, CageSpec, Launcher, MeasureName, OpenError, Program, Sandbox, Status, probe};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::Test;
use crate::cage::{probing, root, spec};
use crate::probes::{finish, refused, worked};

pub(crate) const TESTS: &[Test] = &[
    ("r005_each_measure_missing_alone_refuses_by_its_name", each_alone),
    ("r005_a_namespace_that_was_only_promised_refuses", promised),
    ("r005_best_effort_goes_on_and_says_what_is_missing", best_effort),
    ("without_overlay_a_project_is_read_only", no_overlay),
    ("a_lost_launcher_is_quoted", lost),
];

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
    assert_eq!(args.next().unwrap(), eparch_sandbox::LAUNCHER_WORD);
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
    // And what is no matter of effort refuses as before.
    let refusal = Cage::open(&spec, &launcher(folder.path(), &[libc::SYS_pivot_root]));
    assert!(matches!(refusal, Err(OpenError::Missing(_))), "{refusal:?}");
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
    stack(format!("{}:{}", at("one").display(), at("c").display()), "two");
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
    let workspace = cage.workspace().clone();
    drop(cage);
    assert_eq!(workspace.list("", 10).unwrap().len(), 1);
    for target in ["two", "one"] {
        rustix::mount::unmount(at(target), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
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
