//! The words of `eparch policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use eparch_domain::{Action, Digest, OperatorRole, Tier};

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Show everything that is wrong with policies
    Check {
        /// A folder of .cedar files, or one file [default: the home's policies, else those that ship]
        dir: Option<PathBuf>,
    },
    /// Put the home's policies in force anew; with a fault in them those in force stay, and until another person has approved them
    Load(LoadPolicies),
    /// Show the policies that wait for another person: who offered them, and what would change
    Waiting(WaitingPolicies),
    /// Say whether something may be done, why, and what would unlock it
    Explain(Explain),
    /// Try the cases of a test file
    Test {
        /// The test file, YAML
        file: PathBuf,
        #[command(flatten)]
        which: Which,
    },
    /// Show what a tier or a role may do
    Show {
        /// T0 to T4, or viewer, auditor, operator, approver, admin [default: list the policies]
        #[arg(value_parser = of_whom)]
        who: Option<Whom>,
        #[command(flatten)]
        which: Which,
    },
}

/// An answer to policies that wait for another person; without one those of the home are read again.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct LoadPolicies {
    /// Approve the policies with this digest, which somebody else offered; `eparch policy check` says that of a folder, too
    #[arg(long, value_name = "DIGEST", requires = "rationale", group = "answer")]
    pub(crate) approve: Option<Digest>,
    /// Deny them; whoever offered them may take them back so
    #[arg(long, value_name = "DIGEST", requires = "rationale", group = "answer")]
    pub(crate) deny: Option<Digest>,
    /// Why; recorded
    #[arg(long, value_name = "TEXT", requires = "answer")]
    pub(crate) rationale: Option<String>,
    /// Sign the answer with this key, which the home never held
    #[arg(long, value_name = "FILE", requires = "answer")]
    pub(crate) key: Option<PathBuf>,
}

/// The policies that wait.
#[derive(Debug, Args)]
pub(crate) struct WaitingPolicies {
    /// Write their files into this new folder, to be asked with `--policies`
    #[arg(long, value_name = "DIR")]
    pub(crate) write: Option<PathBuf>,
}

/// Which policies are asked.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// A folder of .cedar files, or one file [default: the home's policies, else those that ship]
    #[arg(long, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// An agent of this tier asks
    #[arg(long, value_name = "TIER", required_unless_present_any = ["operator", "anonymous"], conflicts_with_all = ["operator", "anonymous"])]
    pub(crate) agent: Option<Tier>,
    /// A person with this role asks
    #[arg(long, value_name = "ROLE")]
    pub(crate) operator: Option<OperatorRole>,
    /// Nobody that is known asks
    #[arg(long, conflicts_with = "operator")]
    pub(crate) anonymous: bool,
    /// What they want to do, such as write_file
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Action,
    /// To what: a name, KIND:NAME where the action fits several kinds, NAME@TIER for an agent
    #[arg(long, value_name = "RESOURCE")]
    pub(crate) resource: String,
    /// Whose it is, seen from who asks
    #[arg(long, value_enum, default_value_t = Scope::Own, value_name = "SCOPE")]
    pub(crate) scope: Scope,
    /// What is known, as JSON: phase, planned, approvals, outside, history … [default: EXECUTE, with a plan]
    #[arg(long, value_name = "JSON")]
    pub(crate) context: Option<String>,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Whose something is, seen from who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// The agent's own run's
    Own,
    /// The agent's project's, and not its run's
    Project,
    /// Shared by all projects of the tenant
    Shared,
    /// Another project's of the same tenant
    OtherProject,
    /// Another tenant's
    OtherTenant,
    /// A part of what governs
    Governance,
}

/// Of whom `show` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    Tier(Tier),
    Role(OperatorRole),
}

/// `operator` is a person's role and T1's name too; a tier is asked for by its number here.
fn of_whom(text: &str) -> Result<Whom, String> {
    match (text.parse(), text.parse()) {
        (Ok(role), _) => Ok(Whom::Role(role)),
        (_, Ok(tier)) => Ok(Whom::Tier(tier)),
        _ => Err(format!(
            "{text:?} is neither a tier (T0 to T4) nor a role (viewer, auditor, operator, approver, admin)"
        )),
    }
}
