//! The sandbox tried from inside. This binary is also the launcher, the probes that run in the cage, and a daemon to be
//! killed, so it has a `main` of its own.
//!
//! Each test runs as whoever runs the suite and, where that is root, once more as an ordinary user.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure message")]

mod acts;
mod as_user;
mod cage;
mod death;
mod desk;
mod escape;
mod files;
mod foreign;
mod missing;
mod names;
mod probes;
mod quota;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test by name.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(word) if word == eparch_sandbox::LAUNCHER_WORD => return eparch_sandbox::launcher_main(args),
        Some(word) if word == probes::WORD => return probes::run(args),
        Some(word) if word == missing::WITHOUT_WORD => return missing::without(args),
        Some(word) if word == death::HOLDER_WORD => return death::hold(),
        _ => {}
    }
    let arguments = Arguments::from_args();
    let tests: Vec<Test> = [
        cage::TESTS,
        desk::TESTS,
        escape::TESTS,
        files::TESTS,
        foreign::TESTS,
        names::TESTS,
        quota::TESTS,
        death::TESTS,
        missing::TESTS,
    ]
    .concat();
    let mut trials = Vec::new();
    for (name, test) in &tests {
        let test = *test;
        trials.push(Trial::test(*name, move || {
            test();
            Ok(())
        }));
    }
    let user = as_user::OrdinaryUser::available();
    match &user {
        Some(user) => trials.extend(tests.iter().map(|(name, _)| user.trial(name))),
        None => eprintln!("not root, or no setpriv: the suite runs only as this user"),
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
