//! The words of `runs` and `approvals`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use eparch_domain::{Digest, GateId, Name, RunId};

use super::Watch;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RunsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<Runs>,
    #[command(flatten)]
    pub(crate) list: ListRuns,
}

#[derive(Debug, Args, Default)]
pub(crate) struct ListRuns {
    /// Only those that have not ended
    #[arg(long)]
    pub(crate) live: bool,
    /// How many at most
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) limit: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// List runs, the newest first
    List(ListRuns),
    /// Show everything about a run
    Show(OneRun),
    /// Print what a run's agents printed
    Logs {
        #[command(flatten)]
        run: OneRun,
        /// Go on until the run ends
        #[arg(short, long)]
        follow: bool,
        /// Of this stage only
        #[arg(long, value_name = "STAGE")]
        stage: Option<Name>,
    },
    /// Stop a run: its agents are ended, what waits is cancelled
    Stop {
        #[command(flatten)]
        run: OneRun,
        /// Why; recorded, and told to whoever watches
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Watch a run to its end, as `run` does, and end with its exit code
    Resume {
        #[command(flatten)]
        run: OneRun,
        /// Answer gates at this terminal as another operator, whose key this home holds
        #[arg(long, value_name = "NAME")]
        approve_as: Option<Name>,
    },
    /// Make a new run of one that has ended, from a stage on; what completed before is kept
    Retry {
        #[command(flatten)]
        run: OneRun,
        /// The stage to begin with
        #[arg(long, value_name = "STAGE")]
        from: Name,
        #[command(flatten)]
        watch: Watch,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct OneRun {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) id: Option<RunId>,
    /// The newest run
    #[arg(long)]
    pub(crate) last: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ApprovalsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<Approvals>,
    #[command(flatten)]
    pub(crate) list: ListApprovals,
}

#[derive(Debug, Args, Default)]
pub(crate) struct ListApprovals {
    /// Those that have closed, too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    /// List gates that wait
    List(ListApprovals),
    /// Show what a gate asks
    Show {
        /// The gate
        gate: GateId,
    },
    /// Say yes
    Approve(Answer),
    /// Say no
    Deny(Answer),
}

#[derive(Debug, Args)]
pub(crate) struct Answer {
    /// The gate
    pub(crate) gate: GateId,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) rationale: String,
    /// What you looked at; refused when it is not what waits [default: what waits now]
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<Digest>,
    /// Sign as the operator of --as with this key, which the home never held
    #[arg(long, value_name = "FILE", requires = "as_operator")]
    pub(crate) key: Option<PathBuf>,
}
