//! The words of `agent` and `token`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use eparch_domain::{AgentId, Digest, RunId, Tier};

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// List the agents that live, with what they work at
    List {
        /// Of so many of the newest live runs
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Instead, what agents have earned from run to run
        #[arg(long, conflicts_with = "limit")]
        earned: bool,
    },
    /// Show what an agent has earned, what the next tier takes, its violations and promotions
    Show {
        /// An agent of any run, or a standing (std_…)
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Ask that an agent be promoted to the next tier, or answer that somebody asked
    Promote(Promote),
    /// Lower what an agent has earned by one tier
    Demote {
        /// An agent of any run, or a standing (std_…)
        #[arg(value_name = "ID")]
        id: String,
        /// Why; recorded
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take an agent's authority away: nothing it asks for from then on is allowed, and its program is ended
    Revoke {
        /// Which agent; `agent list` shows those that live
        #[arg(value_name = "AGENT")]
        agent: AgentId,
        /// Why; recorded, and told to whoever watches
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// A request to promote an agent, or an answer to one.
#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// An agent of any run, or a standing (std_…)
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    pub(crate) rationale: String,
    /// To which tier; tiers are earned one at a time [default: the next one]
    #[arg(long, value_name = "N", conflicts_with_all = ["approve", "deny"])]
    pub(crate) to: Option<Tier>,
    /// Approve what somebody else asked for
    #[arg(long, conflicts_with = "deny")]
    pub(crate) approve: bool,
    /// Deny it; whoever asked may take it back so
    #[arg(long)]
    pub(crate) deny: bool,
    /// What is approved, as `agent show` prints it: a later request is another [default: what is shown here, at a terminal]
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<Digest>,
    /// Sign the answer with this key, which the home never held; from T3 on nothing else counts
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Show what a run bears: what its lease is called, how long it lasts, and its agents' tokens; never a secret
    Status {
        /// Which run
        #[arg(value_name = "RUN")]
        run: RunId,
    },
    /// Say that the clock of this machine is right, although it is behind what was recorded; until somebody does, or it has
    /// caught up, no agent begins
    TrustClock,
    /// Take a run's authority away, and with it that of every agent it has; the run fails
    Revoke {
        /// Which run
        #[arg(value_name = "RUN")]
        run: RunId,
        /// Why; recorded, and told to whoever watches
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}
