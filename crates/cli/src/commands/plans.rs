//! Plans kept for later (R061): `HOME/plans/DIGEST.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use eparch_daemon::Home;
use eparch_domain::Digest;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// A plan as it is kept: everything a run is asked for with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedPlan {
    /// The digest of definition, inputs and environment.
    pub(crate) plan_id: Digest,
    /// What the pipeline's file is called.
    pub(crate) file: String,
    /// The pipeline.
    pub(crate) pipeline: String,
    /// The inputs, as they were given.
    pub(crate) inputs: BTreeMap<String, String>,
    /// What it reads of the environment, as it was then.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// The project's folder.
    pub(crate) root: String,
}

fn path(home: &Home, plan: &Digest) -> PathBuf {
    home.root().join("plans").join(format!("{}.json", plan.hex()))
}

impl SavedPlan {
    /// Keeps it, whole or not at all.
    pub(crate) fn save(&self, home: &Home) -> Result<(), Failure> {
        let path = path(home, &self.plan_id);
        let write = || -> io::Result<()> {
            fs::create_dir_all(path.parent().expect("a plan lies in a folder"))?;
            // The home is its owner's alone, so nobody else can be there first.
            let draft = path.with_extension(format!("draft-{}", std::process::id()));
            fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
            fs::rename(&draft, &path)
        };
        write().map_err(|problem| {
            Failure::new("EP0712", format!("cannot write {}: {problem}", path.display()))
                .hint("check that the disk is not full")
        })
    }

    /// The plan of that name.
    pub(crate) fn load(home: &Home, plan: &Digest) -> Result<SavedPlan, Failure> {
        let missing = || {
            Failure::new("EP0716", format!("this home has no plan {plan}"))
                .hint("`eparch pipeline plan FILE --save` keeps one and prints its id")
        };
        let bytes = fs::read(path(home, plan)).map_err(|_| missing())?;
        let saved: SavedPlan =
            serde_json::from_slice(&bytes).map_err(|problem| changed(plan, &problem.to_string()))?;
        if saved.plan_id == *plan { Ok(saved) } else { Err(changed(plan, "it is another one")) }
    }
}

/// A plan that is not any more what its name says.
pub(crate) fn changed(plan: &Digest, why: &str) -> Failure {
    Failure::new("EP0717", format!("the kept plan {plan} is not what was planned: {why}"))
        .hint("plan it again with `eparch pipeline plan FILE --save`")
}
