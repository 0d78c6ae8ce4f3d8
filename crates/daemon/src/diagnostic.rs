//! The pipeline that looks at what went wrong: a home's own, or the one that ships (R089).

pub mod handoff;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use eparch_domain::{Tier, limits};
use eparch_pipeline::{Catalogue, Checked, Known, Pipeline, Runtime, Work};
use serde_json::Value;

use crate::api::secrets::refuse_secrets_of;

/// The one that ships.
pub const SHIPPED: &str = include_str!("../../../diagnostic/diagnostic.yaml");

/// What a home's own is called.
const FILE: &str = "diagnostic.yaml";

/// What it may be told (`eparch-governor`, `diagnostic.rs`).
const TOLD: [&str; 5] = ["run", "agent", "stage", "attempt", "reason"];

/// The pipeline that looks at what went wrong, as it lies somewhere.
#[derive(Debug)]
pub struct DiagnosticFile {
    /// Where, for messages.
    pub place: String,
    /// Its text.
    pub text: String,
}

/// Why a home has no such pipeline, and so is not held.
#[derive(Debug, thiserror::Error)]
pub enum NoDiagnostic {
    /// It cannot be read.
    #[error("cannot read the diagnostic pipeline {}", place.display())]
    Unreadable {
        /// Which.
        place: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is no pipeline that could look at anything.
    #[error("the diagnostic pipeline cannot be used: {problem}")]
    Faulty {
        /// Where, and what is wrong with it.
        problem: String,
    },
}

impl NoDiagnostic {
    /// The stable code of all of them.
    pub const CODE: &str = "EP0680";

    /// What can be done about it.
    pub const HINT: &str = "`eparch pipeline validate FILE` shows every problem; docs/errors/EP0680.md says what else is asked of it";
}

impl DiagnosticFile {
    /// The one that the settings name, else the home's own, else the one that ships.
    ///
    /// # Errors
    ///
    /// One that is named or there, and cannot be read.
    pub fn of_home(home: &Path, named: Option<&Path>) -> Result<DiagnosticFile, NoDiagnostic> {
        let place = named.map_or_else(|| home.join(FILE), Path::to_owned);
        match read(&place) {
            Ok(text) => Ok(DiagnosticFile { place: place.display().to_string(), text }),
            Err(missing) if named.is_none() && missing.kind() == io::ErrorKind::NotFound => {
                Ok(DiagnosticFile { place: "the one that ships".to_owned(), text: SHIPPED.to_owned() })
            }
            Err(source) => Err(NoDiagnostic::Unreadable { place, source }),
        }
    }

    /// The pipeline, checked like any other, and that it may begin with nobody behind it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, with its place in the file.
    pub fn load(&self) -> Result<Pipeline, NoDiagnostic> {
        let known = Known { approvers: None, env: Some(BTreeSet::new()) };
        let checked = eparch_pipeline::check(&self.place, &self.text, &Catalogue::built_in(), &known);
        let Some(pipeline) = checked.pipeline.as_ref() else {
            return Err(NoDiagnostic::Faulty { problem: first_of(&checked) });
        };
        // It is kept for good with the ledger, as every definition is (G8).
        if let Err(problem) = refuse_secrets_of(pipeline) {
            return Err(NoDiagnostic::Faulty { problem: format!("{}: {}", self.place, problem.title) });
        }
        match unfit(pipeline) {
            None => Ok(pipeline.clone()),
            Some((name, why)) => {
                let line = line_of(&self.text, &name);
                Err(NoDiagnostic::Faulty { problem: format!("{}:{line}: {why}", self.place) })
            }
        }
    }
}

/// The first of what is wrong with a pipeline, in one line and without its text: a holder's log is not where it belongs.
fn first_of(checked: &Checked) -> String {
    let mut errors = checked.diagnostics.iter().filter(|found| found.is_error());
    let Some(first) = errors.next() else { return format!("{} is no pipeline", checked.file) };
    let more = match errors.count() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{}:{}: {} ({}){more}", checked.file, first.span.line, first.message, first.code)
}

/// What keeps a pipeline from beginning by itself: the stage or input that does, and how.
fn unfit(pipeline: &Pipeline) -> Option<(String, String)> {
    let of_stage = pipeline.stages.iter().find_map(|stage| {
        let why = match &stage.work {
            Work::Agent(work) if work.tier > Tier::T0 => {
                format!("works at {}; nobody grants what begins by itself more than T0", work.tier)
            }
            Work::Agent(work) if work.runtime != Runtime::Process => "is no process".to_owned(),
            Work::Agent(work) if !work.secrets.is_empty() => {
                "names secrets, which T0 is not given".to_owned()
            }
            Work::Gate(_) => "is a gate; nobody waits for what begins by itself".to_owned(),
            _ => return None,
        };
        Some((stage.name.to_string(), format!("the stage {} {why}", stage.name)))
    });
    let of_inputs = || {
        let told: BTreeMap<String, Value> = TOLD
            .into_iter()
            .filter(|name| pipeline.inputs.contains_key(*name))
            .map(|name| (name.to_owned(), if name == "attempt" { 1.into() } else { "text".into() }))
            .collect();
        let problem = pipeline.bind_json(&told).err()?.into_iter().next()?;
        let why = format!(
            "{}; it is told {} as texts, and attempt as an integer",
            problem.message, "run, agent, stage and reason"
        );
        Some((problem.name, why))
    };
    of_stage.or_else(of_inputs)
}

/// The line in which something is named, from 1; the first where it cannot be told.
fn line_of(text: &str, name: &str) -> usize {
    let names = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ").trim_start_matches('{');
        let after = line.strip_prefix("name:").map(|rest| rest.trim_start().trim_start_matches(['"', '\'']));
        after.is_some_and(|rest| rest.starts_with(name)) || line.starts_with(&format!("{name}:"))
    };
    text.lines().position(names).map_or(1, |at| at + 1)
}

/// A file's text; one byte past the limit is enough for the parser to refuse it.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limits::PIPELINE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes)
        .map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Pipeline, String> {
        let file = DiagnosticFile { place: "own.yaml".to_owned(), text: text.to_owned() };
        file.load().map_err(|problem| problem.to_string())
    }

    #[test]
    fn r089_the_one_that_ships_works_at_t0_and_takes_what_it_is_told() {
        let pipeline = load(SHIPPED).unwrap();
        assert_eq!(unfit(&pipeline), None);
        assert!(TOLD.iter().all(|name| pipeline.inputs.contains_key(*name)));
    }

    #[test]
    fn g8_one_that_holds_a_secret_is_refused_since_it_would_be_kept_for_good() {
        let secret = ["ghp", "_", "0123456789abcdefghijABCDEFGHIJ012345"].concat();
        let text = format!(
            "name: own\nstages:\n  - name: look\n    type: agent\n    config: {{command: [look], env: {{KEY: {secret}}}}}\n"
        );
        let told = load(&text).unwrap_err();
        assert!(told.contains("the stage look") && !told.contains(&secret), "{told}");
    }

    #[test]
    fn x35_one_that_wants_more_than_anybody_granted_is_refused_with_its_place() {
        let with = |inputs: &str, stage: &str| {
            load(&format!("name: own\ninputs: {{{inputs}}}\nstages:\n  - name: look\n{stage}"))
        };
        let agent =
            |config: &str| format!("    type: agent\n    config: {{command: [sh, look.sh]{config}}}\n");
        assert!(with("", &agent("")).is_ok());
        assert!(with("run: {type: string}, attempt: {type: integer}", &agent("")).is_ok());
        let told = with("", &agent(", tier: 1")).unwrap_err();
        assert!(told.contains("own.yaml:4: the stage look works at T1"), "{told}");
        let told = with("colour: {type: string}", &agent("")).unwrap_err();
        assert!(told.contains("own.yaml:") && told.contains("colour"), "{told}");
        let told = with("attempt: {type: boolean}", &agent("")).unwrap_err();
        assert!(told.contains("attempt"), "{told}");
        let gate = "    type: gate\n    config: {gate_type: approval, approvers: [ada]}\n";
        let told = with("", gate).unwrap_err();
        assert!(told.contains("own.yaml:4: the stage look is a gate"), "{told}");
        let told = load("name: [\n").unwrap_err();
        assert!(told.contains("own.yaml:2: ") && told.contains("EP0101") && !told.contains('\n'), "{told}");
        let two = "name: own\nstages:\n  - {name: a, type: nothing}\n  - {name: b, type: nothing}\n";
        let told = load(two).unwrap_err();
        assert!(
            told.contains("own.yaml:3: ") && told.ends_with(", and 1 more") && !told.contains('\n'),
            "{told}"
        );
    }
}
