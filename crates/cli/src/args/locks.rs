//! The words of `lock`.

use clap::Subcommand;
use eparch_domain::Name;

#[derive(Debug, Subcommand)]
pub(crate) enum Lock {
    /// List the locks that somebody has, with their fencing numbers, and who waits for them
    List {
        /// The same as `--format json`
        #[arg(long)]
        json: bool,
    },
    /// Take a lock away: its agent does nothing more from then on, and others have the lock when nothing of it lives
    Release {
        /// Which lock; `lock list` shows those that somebody has
        #[arg(value_name = "NAME")]
        lock: Name,
        /// Why; recorded, and told to whoever watches
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}
