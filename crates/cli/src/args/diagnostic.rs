//! The words about what looks at runs that fail.

use std::path::PathBuf;

use clap::Subcommand;

/// `eparch diagnostic`.
#[derive(Debug, Subcommand)]
pub(crate) enum Diagnostic {
    /// Print the pipeline that looks at runs whose agents make too many errors, once it is checked
    Show,
    /// Write a diagnosis from what was handed over; what the pipeline that ships does
    Report {
        /// What was handed over [default: handoff.json in $EPARCH_INPUTS]
        #[arg(long, value_name = "FILE")]
        handoff: Option<PathBuf>,
        /// Where diagnosis.md and diagnosis.json go [default: $EPARCH_ARTIFACTS]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}
