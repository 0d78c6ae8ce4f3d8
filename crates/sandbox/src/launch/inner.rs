//! Stage 3: gives up every right, then becomes the program.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};

use super::system_calls::{self, Needs};
use super::{Outcome, powers, take_socket};
use crate::measure::{Measure, MeasureName, NO_UNIX_SOCKETS};
use crate::spec::Sandbox;
use crate::wire::{self, Dress, Dressed, Exec, NoStart};

pub(super) fn run() -> Outcome {
    let socket = take_socket()?;
    let (dress, _) = wire::receive::<Dress>(&socket)?;
    let measures = confine(&dress);
    let refusing: Vec<String> =
        measures.iter().filter(|measure| measure.refuses(dress.sandbox)).map(ToString::to_string).collect();
    match dress.exec {
        None => wire::send(&socket, &Dressed::Rehearsed { measures }, &[])?,
        Some(_) if !refusing.is_empty() => {
            let why = refusing.join("; ");
            wire::send(&socket, &Dressed::Failed(NoStart::Unconfined { why }), &[])?;
        }
        Some(exec) => become_program(&socket, exec)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns only when the program could not be executed. Otherwise the socket closes with the `exec`, and says so.
fn become_program(socket: &UnixStream, exec: Exec) -> Result<(), wire::WireError> {
    let Some((name, arguments)) = exec.argv.split_first() else {
        return wire::send(socket, &Dressed::Failed(NoStart::NotFound { program: String::new() }), &[]);
    };
    // The daemon's own is strict, and what an agent makes is for others to read.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut program = Command::new(&exec.path);
    program.arg0(name).args(arguments).env_clear().envs(&exec.env);
    if let Err(error) = std::env::set_current_dir(&exec.cwd) {
        let failed = NoStart::NoFolder { path: exec.cwd, why: error.to_string() };
        return wire::send(socket, &Dressed::Failed(failed), &[]);
    }
    let error = program.stdin(Stdio::inherit()).exec();
    wire::send(
        socket,
        &Dressed::Failed(NoStart::NotExecutable { path: exec.path, why: error.to_string() }),
        &[],
    )
}

/// Takes every measure a process can only take upon itself, each tried even where another failed.
fn confine(dress: &Dress) -> Vec<Measure> {
    // A session of its own: no controlling terminal, and signals to a group stay in it.
    let alone = rustix::process::setsid().map(drop).map_err(|errno| named("setsid", errno.into()));
    let bounded = alone.and_then(|()| {
        powers::limit(&dress.limits, dress.rlimits, dress.writes_host)
            .map_err(|error| named("setting resource limits", error))
    });
    let dropped = bounded.and_then(|()| powers::drop_all()).and_then(|()| check("CapEff:\t0000000000000000"));
    let no_new = rustix::thread::set_no_new_privs(true).map_err(io::Error::from);
    let landlock = landlock(&dress.writable, &dress.bound);
    let sockets = sockets(dress, landlock.as_ref().map_or(0, |abi| *abi));
    let needs = Needs { no_unix_sockets: sockets == Sockets::None, no_set_id: dress.writes_host };
    let seccomp = system_calls::deny(needs).map_err(io::Error::other).and_then(|()| check("Seccomp:\t2"));
    let sockets = match sockets {
        Sockets::None if seccomp.is_err() => Err(io::Error::other("without seccomp, sockets can be made")),
        Sockets::None => Ok(NO_UNIX_SOCKETS),
        Sockets::Behind(what) => Ok(what),
        Sockets::Open => Err(io::Error::other(format!(
            "what is bound later in {} can be reached",
            dress.bound.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        ))),
    };
    vec![
        measure(MeasureName::CapabilitiesDropped, dropped.map(|()| String::new())),
        measure(MeasureName::NoNewPrivileges, no_new.map(|()| String::new())),
        measure(MeasureName::Landlock, landlock.map(|abi| format!("abi {abi}"))),
        measure(MeasureName::Seccomp, seccomp.map(|()| String::new())),
        measure(MeasureName::UnixSockets, sockets.map(Into::into)),
    ]
}

fn named(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// How sockets of others are kept out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sockets {
    /// A program can have no socket to reach one with.
    None,
    /// There are none, or the kernel looks whose they are.
    Behind(&'static str),
    /// Only those that were there when the cage opened are covered.
    Open,
}

fn sockets(dress: &Dress, abi: i32) -> Sockets {
    if dress.bound.is_empty() {
        return Sockets::Behind("overlay");
    }
    if abi >= RESOLVE_UNIX {
        return Sockets::Behind("landlock abi 9");
    }
    match dress.sandbox {
        Sandbox::Required => Sockets::None,
        Sandbox::BestEffort => Sockets::Open,
    }
}

/// The first ABI of Landlock that looks at connections to Unix sockets.
const RESOLVE_UNIX: i32 = 9;

fn measure(name: MeasureName, result: io::Result<String>) -> Measure {
    match result {
        Ok(by) => Measure::held(name, by),
        Err(error) => Measure::missing(name, error),
    }
}

/// What the kernel says of this process, which is the only proof that counts.
fn check(line: &str) -> io::Result<()> {
    match fs::read_to_string("/proc/self/status")?.lines().any(|found| found == line) {
        true => Ok(()),
        false => Err(io::Error::other(format!("the kernel does not report `{line}`"))),
    }
}

/// Beneath the mounts, once more: read and execute what is visible, everything in the writable folders, devices used
/// but not made. Signals and abstract sockets of outside are out of reach (ABI 6), and so are Unix sockets outside the
/// cage's own folders (ABI 9). The number of the kernel's ABI.
fn landlock(writable: &[PathBuf], bound: &[PathBuf]) -> io::Result<i32> {
    let abi = ABI::V9;
    let everything = AccessFs::from_all(abi);
    // A right given beneath a folder reaches through whatever is mounted there: sockets of the host's are not among it.
    let (mixed, own): (Vec<_>, Vec<_>) = writable
        .iter()
        .partition(|path| bound.iter().any(|bound| bound.starts_with(path) || path.starts_with(bound)));
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(everything)
        .and_then(|rules| rules.scope(Scope::from_all(abi)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(["/"], AccessFs::from_read(abi))))
        .and_then(|rules| {
            let device = AccessFs::from_file(abi) & !AccessFs::Execute;
            rules.add_rules(path_beneath_rules(["/dev"], device))
        })
        .and_then(|rules| rules.add_rules(path_beneath_rules(own, everything)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(mixed, everything & !AccessFs::ResolveUnix)))
        .and_then(|rules| rules.restrict_self())
        .map_err(io::Error::other)?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            Err(io::Error::other("it is disabled at boot"))
        }
        (RulesetStatus::NotEnforced, _) => Err(io::Error::other("the kernel does not have it")),
        (_, LandlockStatus::Available { effective_abi, kernel_abi }) => {
            Ok(kernel_abi.unwrap_or(effective_abi as i32))
        }
        (_, other) => Err(io::Error::other(format!("{other:?}"))),
    }
}
