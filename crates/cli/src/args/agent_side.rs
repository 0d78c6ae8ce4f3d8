//! The words an agent says of itself: what a script needs instead of an SDK.

use clap::{Args, Subcommand};
use eparch_domain::{Action, Digest, PermitId, Span};

/// `eparch act`: what is asked, or what came of it.
#[derive(Debug, Args)]
pub(crate) struct Act {
    /// What to do: read_file, write_file, execute_command, call_tool, read_secret …
    #[arg(value_name = "ACTION", required_unless_present_any = ["done", "permit"], conflicts_with_all = ["done", "permit"])]
    pub(crate) action: Option<Action>,
    /// To what: a path, a host, a tool, a secret
    #[arg(long, value_name = "TARGET", required_unless_present_any = ["done", "permit"], conflicts_with_all = ["done", "permit"])]
    pub(crate) target: Option<String>,
    /// What it is done with, as JSON; only its digest is kept
    #[arg(long, value_name = "JSON", conflicts_with = "params_digest")]
    pub(crate) params: Option<String>,
    /// The digest of what it is done with
    #[arg(long, value_name = "DIGEST")]
    pub(crate) params_digest: Option<Digest>,
    /// Asking again with the same key is the same request [default: a new one each time]
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Have the command performed under a permit that was given before, for these very words
    #[arg(long, value_name = "PERMIT", requires = "command", conflicts_with = "done")]
    pub(crate) permit: Option<PermitId>,
    /// When people are asked: wait until they have answered, or for so long (30s, 10m)
    #[arg(long, value_name = "DURATION", num_args = 0..=1, conflicts_with = "done")]
    pub(crate) wait: Option<Option<Span>>,
    /// Say what came of what a permit was for; the permit is spent with it
    #[arg(long, value_name = "PERMIT")]
    pub(crate) done: Option<PermitId>,
    /// With --done: it did not do what it should
    #[arg(long, requires = "done")]
    pub(crate) failed: bool,
    /// With --done: what came of it, in words
    #[arg(long, value_name = "TEXT", requires = "done", default_value = "")]
    pub(crate) detail: String,
    /// A program and its words, to be performed under the permit, outside this sandbox: it sees what this stage sees and what
    /// the permit is for, and no network. Ends as it does; with 123 when people have to be asked first, 124 when it took too
    /// long, 125 when it was not performed, 126 when it is denied, 127 when there is no such program
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["done", "params", "params_digest"])]
    pub(crate) command: Vec<String>,
}

/// `eparch output`: one output of the stage.
#[derive(Debug, Args)]
pub(crate) struct PutOut {
    /// NAME=VALUE; a value that is JSON is that value, anything else is text
    #[arg(value_name = "NAME=VALUE")]
    pub(crate) output: String,
}

/// `eparch secret`: what the stage names in `secrets`.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentSecret {
    /// Read a secret that the stage names in `secrets`; who read which version is written down
    Get {
        /// Where it lies, as in inventory/hosts
        #[arg(value_name = "PATH")]
        path: String,
        /// Print this field alone, as it is
        #[arg(short = 'f', long, value_name = "NAME")]
        field: Option<String>,
    },
}

/// `eparch message`: to another agent of the run, or to everybody.
#[derive(Debug, Args)]
pub(crate) struct Message {
    /// To whom; without it to everybody in the run
    #[arg(long, value_name = "NAME")]
    pub(crate) to: Option<String>,
    /// What to say
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,
}
