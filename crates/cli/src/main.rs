#![doc = include_str!("../README.md")]

mod args;
mod commands;
mod context;
mod failure;
mod holder;
mod output;
mod paint;
mod replay;
mod table;
mod typed;
mod watch;
mod when;

use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;
use context::Context;
use failure::Failure;

/// Snapshots are written, and freed, beside the thread that decides: their allocator must not make it wait.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let called = words.next();
    // The launcher goes before everything else: an agent's confinement begins in a process that has done nothing yet.
    if std::env::args_os().nth(1).is_some_and(|word| word == eparch_sandbox::LAUNCHER_WORD) {
        return eparch_sandbox::launcher_main(words.skip(1));
    }
    let words = match commands::links::subcommand(called.as_deref(), words) {
        Ok(words) => words,
        Err(failure) => return failure.report(failure::wants_json(std::env::args_os())),
    };
    let wants_json = failure::wants_json(words.iter().cloned());
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(problem) => return failure::usage(&problem, wants_json),
    };
    let context = Context::new(cli.global);
    let ended = match commands::carry_out(&context, cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(context.is_json()),
    };
    match output::settle() {
        None => ended,
        Some(problem) => Failure::new("EP0712", format!("cannot write the answer: {problem}"))
            .hint("check that what standard output leads to is there and has room")
            .report(false),
    }
}
