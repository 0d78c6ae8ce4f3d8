//! The commands, one file each. A command asks, shows the answer and names an exit code.

mod agent_side;
mod approvals;
mod authority;
mod config;
pub(crate) mod diagnostic;
mod doctor;
mod emergencies;
mod export;
mod init;
mod known;
mod ledger;
pub(crate) mod links;
mod locks;
mod operator;
mod performing;
mod pipeline;
mod plans;
pub(crate) mod policy;
mod run;
mod runs;
mod secrets;
mod serve;
mod standing;
mod verify;
mod version;

use clap::CommandFactory as _;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::failure::{Failure, exit};
use crate::holder;

/// Carries a command out; returns the exit code.
pub(crate) fn carry_out(context: &Context, command: Command) -> Result<u8, Failure> {
    context.check_format(pipeline::own_formats(&command))?;
    context.check_tenant()?;
    match command {
        Command::Init(asked) => init::init(context, &asked),
        Command::Run(asked) => block_on(run::run(context, &asked)),
        Command::Pipeline(command) => pipeline::carry_out(context, command),
        Command::Runs(asked) => block_on(runs::carry_out(context, asked)),
        Command::Approvals(asked) => block_on(approvals::carry_out(context, asked)),
        Command::Agent(command) => authority::agent(context, command),
        Command::Token(command) => authority::token(context, command),
        Command::Lock(command) => locks::carry_out(context, command),
        Command::StopAll(asked) => emergencies::stop_all(context, asked),
        Command::BreakGlass(command) => emergencies::break_glass(context, command),
        Command::Act(asked) => block_on(agent_side::act(context, &asked)),
        Command::Heartbeat => block_on(agent_side::heartbeat()),
        Command::Output(asked) => block_on(agent_side::put_out(&asked)),
        Command::Secret(asked) => block_on(agent_side::secret(context, &asked)),
        Command::Message(asked) => block_on(agent_side::message(&asked)),
        Command::Operator(command) => operator::carry_out(context, command),
        Command::Ledger(command) => ledger::carry_out(context, command),
        Command::Secrets(command) => secrets::carry_out(context, command),
        Command::Policy(command) => policy::carry_out(context, command),
        Command::Config(command) => config::carry_out(context, &command),
        Command::Diagnostic(command) => diagnostic::carry_out(context, command),
        Command::Serve(asked) => serve::serve(context, &asked),
        Command::Doctor => block_on(doctor::doctor(context)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "eparch", &mut script);
            crate::output::out(format_args!("{}", String::from_utf8_lossy(&script)));
            Ok(exit::DONE)
        }
        Command::Links { dir } => links::make(context, &dir),
        Command::Version { core } => version::version(context, core),
        Command::Hold => holder::hold_home(context),
    }
}

/// Carries out what waits for a holder.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|problem| Failure::new("EP0711", format!("cannot start the runtime: {problem}")))?;
    runtime.block_on(work)
}
