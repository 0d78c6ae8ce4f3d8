//! Trying it all, to say what this machine can do.

use std::path::PathBuf;

use eparch_domain::Name;

use crate::cage::{Cage, OpenError};
use crate::launcher::Launcher;
use crate::measure::{Measure, MeasureName};
use crate::spec::{CageSpec, Program, Sandbox};

/// Tries everything for real: opens a small cage and runs `/bin/true` in it. What is missing is listed with how to get
/// it; `eparch doctor` prints this (R005, R292).
pub fn probe(launcher: &Launcher) -> Vec<Measure> {
    let spec = CageSpec {
        sandbox: Sandbox::BestEffort,
        project: Some("/usr/share".into()).filter(|path: &PathBuf| path.is_dir()),
        mask: vec!["/usr/share/eparch-probe".into()],
        ..CageSpec::new(Name::new("probe").expect("a plain word is a name"))
    };
    let failed = |why: String| vec![Measure::missing(MeasureName::MinimalRoot, why)];
    let cage = match Cage::open(&spec, launcher) {
        Ok(cage) => cage,
        Err(OpenError::Missing(measures)) => return measures,
        Err(error) => return failed(error.to_string()),
    };
    let ended = cage
        .start(&Program::new(["true"]))
        .map_err(|error| error.to_string())
        .and_then(|mut running| running.wait().map_err(|error| error.to_string()));
    match ended {
        Ok(ended) if ended.success() => cage.measures().to_vec(),
        Ok(ended) => failed(format!("`true` ended with {:?}", ended.exit)),
        Err(error) => failed(error),
    }
}
