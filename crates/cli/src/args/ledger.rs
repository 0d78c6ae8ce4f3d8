//! The words of `ledger`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use eparch_domain::{AgentId, GateId, Name, RunId, Span};

#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Show entries, or one in full
    Show {
        /// The entry
        seq: Option<u64>,
        /// How many of the newest
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50, conflicts_with = "seq")]
        limit: u64,
    },
    /// Find entries
    Query(Query),
    /// Check that nothing was changed, offline, with nothing but the public key
    Verify {
        /// Decide everything again and compare
        #[arg(long)]
        replay: bool,
        /// A folder outside the home with checkpoints, which must agree; may be given several times
        #[arg(long = "anchors", value_name = "DIR")]
        anchors: Vec<PathBuf>,
        /// The home's public key as it is known elsewhere [default: the one in the home]
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
    /// Sign what stands now
    Checkpoint,
    /// Prove to a stranger that an entry is part of the record
    Prove {
        /// The entry
        seq: u64,
    },
    /// Write the whole history as JSON lines
    Export {
        /// Where to; standard output when left out
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check an export
    ImportVerify {
        /// The export
        file: PathBuf,
        /// The public key of the home it is from [default: this home's]
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
        /// A signed checkpoint kept elsewhere, which finds an export that was cut; the last one in the file counts; may be
        /// given several times
        #[arg(long = "checkpoint", value_name = "FILE")]
        checkpoints: Vec<PathBuf>,
        /// Accept entries behind the last checkpoint, which nothing vouches for; there must be one before them
        #[arg(long)]
        allow_unsigned_tail: bool,
    },
    /// Make the read models anew from the ledger
    RebuildViews,
}

#[derive(Debug, Args, Default)]
pub(crate) struct Query {
    /// Of this run
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<RunId>,
    /// Of this agent
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<AgentId>,
    /// At this gate
    #[arg(long, value_name = "GATE")]
    pub(crate) gate: Option<GateId>,
    /// With an event or a fact of this type, such as run_requested or gate_closed
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// By this operator
    #[arg(long, value_name = "OPERATOR")]
    pub(crate) by: Option<Name>,
    /// Only what was refused, or denied by policy
    #[arg(long)]
    pub(crate) refused: bool,
    /// Not older than this, such as 2h
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<Span>,
    /// How many at most, the newest ones
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
}
