//! The words of `stop-all` and `break-glass`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use eparch_domain::{AgentId, BreakGlassId, Digest, Name, RunId, Span};

/// Stops everything, or lets things begin again.
#[derive(Debug, Args)]
pub(crate) struct StopAll {
    /// Why; recorded, and told to whoever is refused meanwhile
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Let things begin again; an admin may
    #[arg(long)]
    pub(crate) lift: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BreakGlass {
    /// Ask that something be let pass which policy denies; another person has to approve it
    Request(AskGlass),
    /// Approve what somebody else asked for; its time begins
    Approve(AnswerGlass),
    /// Deny it; whoever asked may take it back so
    Deny(AnswerGlass),
    /// End it before its time
    End {
        /// Which
        #[arg(value_name = "ID")]
        id: BreakGlassId,
        /// Why; recorded
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List what is let pass, what waits for a second person, and the last that are over
    List,
    /// Show one of them
    Show {
        /// Which
        #[arg(value_name = "ID")]
        id: BreakGlassId,
    },
}

/// What is to be let pass, for whom and for how long.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["run", "agent", "next_run_of"]))]
pub(crate) struct AskGlass {
    /// For the agents of this run
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<RunId>,
    /// Only for those of one of its stages
    #[arg(long, value_name = "STAGE", requires = "run")]
    pub(crate) stage: Option<Name>,
    /// For this agent
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<AgentId>,
    /// For the agents of the next run that this operator asks for
    #[arg(long, value_name = "OPERATOR")]
    pub(crate) next_run_of: Option<Name>,
    /// An action and its target, such as "execute_command prod-web-1"; may be given several times
    #[arg(long = "allow", value_name = "ACTION TARGET", required = true)]
    pub(crate) allows: Vec<String>,
    /// For how long from when it is approved, an hour at most
    #[arg(long = "for", value_name = "DURATION", default_value = "30m")]
    pub(crate) time: Span,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// An answer to such a request.
#[derive(Debug, Args)]
pub(crate) struct AnswerGlass {
    /// Which
    #[arg(value_name = "ID")]
    pub(crate) id: BreakGlassId,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    pub(crate) rationale: String,
    /// Answer only if this is what waits, as `break-glass show` prints it [default: whatever waits now]
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<Digest>,
    /// Sign the answer with this key, which the home never held
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}
