//! The words of the command line (interface.md 1).

mod agent_side;
mod authority;
mod diagnostic;
mod emergencies;
mod ledger;
mod locks;
mod policy;
mod runs;
mod secrets;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use eparch_domain::{Digest, Name, Span, Tier};
use eparch_governor::OperatorRole;

pub(crate) use agent_side::{Act, AgentSecret, Message, PutOut};
pub(crate) use authority::{Agent, Promote, Token};
pub(crate) use diagnostic::Diagnostic;
pub(crate) use emergencies::{AnswerGlass, AskGlass, BreakGlass, StopAll};
pub(crate) use ledger::{Ledger, Query};
pub(crate) use locks::Lock;
pub(crate) use policy::{Explain, LoadPolicies, Policy, Scope, WaitingPolicies, Which, Whom};
pub(crate) use runs::{Answer, Approvals, ApprovalsArgs, ListRuns, OneRun, Runs, RunsArgs};
pub(crate) use secrets::{GetSecret, PutSecret, Secrets};

/// Governs AI agents: runs pipelines of them confined, asks people where people decide, and keeps a record that nobody
/// can quietly change.
#[derive(Debug, Parser)]
#[command(name = "eparch", version, disable_help_subcommand = true, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 failed or refused, 2 no consensus, 3 stopped or aborted, 64 usage, \
65 bad input document, 69 something needed is unavailable, 78 bad configuration, 130 interrupted. \
Every error has a code with a page under docs/errors/.";

/// What goes with every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Act as this operator, with their key of this home [default: the home's owner]
    #[arg(long = "as", value_name = "OPERATOR", global = true)]
    pub(crate) as_operator: Option<Name>,
    /// The home [default: ./.eparch when there is one, else $XDG_STATE_HOME/eparch]
    #[arg(long, value_name = "DIR", env = "EPARCH_HOME", hide_env_values = true, global = true)]
    pub(crate) home: Option<PathBuf>,
    /// The settings [default: eparch.toml in the home]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// The tenant; a home of this build has one, `default`
    #[arg(long, value_name = "NAME", global = true, hide = true)]
    pub(crate) tenant: Option<Name>,
    /// The project; a home of this build has one, `default`
    #[arg(long, value_name = "NAME", global = true, hide = true)]
    pub(crate) project: Option<Name>,
    /// How answers are written; json is one document, or one a line where it streams
    #[arg(long, value_enum, default_value_t = Format::Text, global = true, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Less: no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// More: every phase of every agent
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// When to use colour; NO_COLOR turns it off, too
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true, value_name = "WHEN")]
    pub(crate) color: Color,
}

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    // SARIF 2.1.0, of `pipeline validate`; the three below are of `pipeline graph`.
    #[value(hide = true)]
    Sarif,
    #[value(hide = true)]
    Mermaid,
    #[value(hide = true)]
    Dot,
    #[value(hide = true)]
    Svg,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a home: keys, ledger, first operator
    Init(Init),
    /// Validate, plan and run a pipeline, live; the same as `pipeline run`
    Run(Run),
    /// Pipelines: validate, plan, draw, list templates, run
    #[command(subcommand)]
    Pipeline(Pipeline),
    /// Runs: list, show, logs, stop, resume, retry
    Runs(RunsArgs),
    /// Gates that wait for people
    Approvals(ApprovalsArgs),
    /// Agents: those that live and what they have earned; promote, demote, take authority away
    #[command(subcommand)]
    Agent(Agent),
    /// What runs bear: show it, take a run's authority away
    #[command(subcommand)]
    Token(Token),
    /// Locks that stages hold while they work: list them, take one away
    #[command(subcommand)]
    Lock(Lock),
    /// Stop everything: every agent is revoked, every run ends, nothing new begins until an admin lifts it
    StopAll(StopAll),
    /// Let pass for a while, with a second person, what policy denies an agent
    #[command(subcommand)]
    BreakGlass(BreakGlass),
    /// Inside an agent: ask whether something may be done, and say what came of it
    Act(Act),
    /// Inside an agent: say that it lives; whoever has begun is expected to, every 30 s
    Heartbeat,
    /// Inside an agent: put something out for later stages
    Output(PutOut),
    /// Inside an agent: say something to the others of its run
    Message(Message),
    /// Inside an agent: read a secret that its stage names
    #[command(subcommand)]
    Secret(AgentSecret),
    /// People and programs that may act on this home
    #[command(subcommand)]
    Operator(Operator),
    /// The audit trail
    #[command(subcommand)]
    Ledger(Ledger),
    /// Secrets: put, get, list, and how the vault is
    #[command(subcommand)]
    Secrets(Secrets),
    /// Policies: check, explain, test, show
    #[command(subcommand)]
    Policy(Policy),
    /// What looks at runs whose agents make too many errors: show it; write its report
    #[command(subcommand)]
    Diagnostic(Diagnostic),
    /// Hold the home until it is told to end, and serve its API over TCP
    Serve(Serve),
    /// Settings
    #[command(subcommand)]
    Config(Config),
    /// Look whether this machine and this home are fit, and how to make them so
    Doctor,
    /// Print a completion script
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Make links by whose names parts of eparch can be called
    Links {
        /// Where
        dir: PathBuf,
    },
    /// Print versions
    Version {
        /// Of the core definitions, with their history
        #[arg(long)]
        core: bool,
    },
    /// Hold a home until nobody needs it; started by other commands
    #[command(name = "__hold", hide = true)]
    Hold,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The first operator [default: your login name]
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<Name>,
    /// Make it here, in ./.eparch
    #[arg(long)]
    pub(crate) local: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where; an address of this machine only, and port 0 is a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The pipeline
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) request: Request,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

/// What a run is asked for with.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// An input of the pipeline; may be given several times
    #[arg(short, long = "input", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) inputs: Vec<(String, String)>,
    /// The highest tier to grant [default: what you may grant, at most 2]
    #[arg(long, value_name = "N")]
    pub(crate) tier: Option<Tier>,
    /// A shorter timeout for the whole run, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    pub(crate) timeout: Option<Span>,
    /// Where model calls go; this build runs process agents, which need none
    #[arg(long, value_enum, default_value_t = Mode::Local)]
    pub(crate) mode: Mode,
    /// The model, with --mode openrouter
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// The project's folder [default: this one]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
}

/// Where model calls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Local,
    Openrouter,
}

/// How a run is watched.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Answer gates at this terminal as another operator, whose key this home holds
    #[arg(long, value_name = "NAME")]
    pub(crate) approve_as: Option<Name>,
    /// Do not wait: print the run's id
    #[arg(short, long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pipeline {
    /// Show every problem of pipeline files at once; --format text, json or sarif
    Validate {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Show what would run, in which order and with which grants; nothing is run
    Plan {
        /// The pipeline
        file: PathBuf,
        #[command(flatten)]
        request: Request,
        /// Keep the plan, for `pipeline spawn`
        #[arg(long)]
        save: bool,
    },
    /// Draw a pipeline; --format mermaid (the default), dot or svg
    Graph {
        /// The pipeline
        file: PathBuf,
    },
    /// List the templates
    List {
        /// The same as --format json
        #[arg(long)]
        json: bool,
    },
    /// Validate, plan and run a pipeline, live
    Run(Run),
    /// Start a run from a saved plan; print its id
    Spawn {
        /// The plan, as `pipeline plan --save` printed it
        #[arg(long, value_name = "PLAN_ID")]
        plan: Digest,
        /// The highest tier to grant [default: what you may grant, at most 2]
        #[arg(long, value_name = "N")]
        tier: Option<Tier>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Operator {
    /// Make somebody known
    Add {
        /// Their name
        name: Name,
        /// What they may do: viewer, auditor, operator, approver or admin
        #[arg(long, value_name = "ROLE", default_value = "operator")]
        role: OperatorRole,
        /// A group they belong to; may be given several times
        #[arg(long = "group", value_name = "NAME")]
        groups: Vec<Name>,
        /// The highest tier they may grant [default: 2]
        #[arg(long, value_name = "N")]
        max_tier: Option<Tier>,
        /// Their public key of `operator keygen`, when their key is kept elsewhere
        #[arg(long, value_name = "KEY")]
        public_key: Option<String>,
    },
    /// List who may act
    List,
    /// Give somebody a new key; the old one is worth nothing from then on
    Rotate {
        /// Who
        name: Name,
    },
    /// Forget somebody
    Remove {
        /// Who
        name: Name,
    },
    /// Make a key pair on your own machine, for signing answers elsewhere
    Keygen {
        /// Where the secret half goes
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the settings in force
    Show,
    /// Check the settings
    Check,
    /// Print the JSON Schema of the settings
    Schema,
}

fn some_time(text: &str) -> Result<Span, String> {
    let time: Span = text.parse().map_err(|problem: eparch_domain::span::BadSpan| problem.to_string())?;
    if time.is_zero() { Err("a timeout is more than 0".to_owned()) } else { Ok(time) }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn r059_an_input_needs_a_key() {
        assert_eq!(key_value("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(key_value("a=").unwrap(), ("a".to_owned(), String::new()));
        assert!(key_value("=b").is_err() && key_value("ab").is_err());
    }
}
