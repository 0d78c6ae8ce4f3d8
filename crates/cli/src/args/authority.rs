//! The words of `agent` and `token`.

use clap::Subcommand;
use eparch_domain::{AgentId, RunId};

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// List the agents that live, with what they work at
    List {
        /// Of so many of the newest live runs
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
        limit: u32,
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
