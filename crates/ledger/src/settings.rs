//! Where a ledger lives.

use std::path::{Path, PathBuf};

use eparch_domain::{Span, limits};
use serde::{Deserialize, Serialize};

/// Where a ledger lives. Plain data: printing it shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The journal's file.
    pub path: PathBuf,
    /// The folder of `ledger.key` and `ledger.pub`. A new journal gets a new key when there is none.
    pub keys_dir: PathBuf,
    /// Where checkpoints are kept outside the database.
    pub anchors_dir: PathBuf,
    /// More such folders, better on other machines; each belongs to one home. They are not made: one that is not there
    /// gets its checkpoints once it is.
    #[serde(default)]
    pub witness_dirs: Vec<PathBuf>,
    /// How long a write may take before it counts as failed: [`limits::LEDGER_WRITE_DEADLINE`], and longer only for whoever
    /// tries something else on a machine that may be slow.
    #[serde(default = "usual")]
    pub write_within: Span,
}

fn usual() -> Span {
    limits::LEDGER_WRITE_DEADLINE
}

impl Settings {
    /// The usual places inside a home.
    pub fn in_home(home: &Path) -> Settings {
        Settings {
            path: home.join(limits::DEFAULT_LEDGER_PATH),
            keys_dir: home.join("keys"),
            anchors_dir: home.join("anchors"),
            witness_dirs: Vec::new(),
            write_within: usual(),
        }
    }

    /// Every folder that checkpoints are written to.
    pub fn anchors(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.anchors_dir).chain(&self.witness_dirs).map(PathBuf::as_path)
    }
}
