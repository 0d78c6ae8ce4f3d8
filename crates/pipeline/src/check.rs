//! Everything that can be known about a pipeline before it runs, all problems at once.

mod actions;
mod agents;
mod config;
mod gates;
mod inputs;
mod locks;
mod names;
mod order;
mod shell;
mod stages;
mod types;

/// Readers of single values, which templates need too.
pub(crate) mod values {
    pub(crate) use super::config::{tier, words};
}

use std::collections::BTreeSet;

use eparch_domain::{Name, Profile, limits};

use crate::diagnostic::{Diagnostic, Level, Problems, codes};
use crate::language::PIPELINE;
use crate::model::{Budget, Pipeline};
use crate::shape::{self, Shape};
use crate::source::Source;
use crate::syntax::{self, Node};
use crate::template::Catalogue;

/// What the place where the pipeline will run knows; `None` leaves a check out.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Names of operators, groups and roles: who can be an approver.
    pub approvers: Option<BTreeSet<String>>,
    /// Names of environment variables that expressions may read (interface.md 2).
    pub env: Option<BTreeSet<String>>,
}

/// A file that was checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Its name, for messages.
    pub file: String,
    /// Its text, for showing lines of it.
    pub text: String,
    /// The pipeline; `None` when there is an error.
    pub pipeline: Option<Pipeline>,
    /// What is wrong with it, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Checked {
    /// How many diagnostics are errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|found| found.is_error()).count()
    }
}

/// Reads and checks a pipeline file.
pub fn check(file: &str, text: &str, catalogue: &Catalogue, known: &Known) -> Checked {
    let mut problems = Problems::default();
    let pipeline = pipeline(text, catalogue, known, &mut problems);
    let failed = problems.has_errors();
    Checked {
        file: file.to_owned(),
        text: text.to_owned(),
        pipeline: pipeline.filter(|_| !failed),
        diagnostics: problems.finish(&Source::new(text)),
    }
}

/// As [`check`], of a file's bytes: a file that is not UTF-8 is a problem like any other.
pub fn check_bytes(file: &str, bytes: &[u8], catalogue: &Catalogue, known: &Known) -> Checked {
    match std::str::from_utf8(bytes) {
        Ok(text) => check(file, text, catalogue, known),
        Err(error) => {
            let sound = error.valid_up_to();
            let text = String::from_utf8_lossy(&bytes[..sound]).into_owned();
            let message = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                "the file is UTF-16; save it as UTF-8".to_owned()
            } else {
                format!("byte {sound} is not UTF-8")
            };
            let mut problems = Problems::default();
            problems.error(codes::NOT_TEXT, sound..sound, message);
            let diagnostics = problems.finish(&Source::new(&text));
            Checked { file: file.to_owned(), text, pipeline: None, diagnostics }
        }
    }
}

fn pipeline(text: &str, catalogue: &Catalogue, known: &Known, problems: &mut Problems) -> Option<Pipeline> {
    let root = syntax::read(text, problems)?;
    shape::check(&root, &Shape::Object(&PIPELINE), "the file", problems);
    if problems.is_crowded() {
        return None;
    }
    let expressions = text.matches("${{").count();
    if expressions > limits::PIPELINE_EXPRESSIONS {
        let message = format!(
            "the file has {expressions} expressions; at most {} are read",
            limits::PIPELINE_EXPRESSIONS
        );
        problems.error(codes::TOO_MANY, 0..0, message);
        return None;
    }
    let inputs = inputs::inputs(root.get("inputs"), problems);
    let timeout = config::span(root.get("timeout"), problems);
    let stages = stages::stages(text, &root, &inputs, timeout, catalogue, known, problems)?;
    Some(Pipeline {
        name: root.get("name").and_then(Node::text).and_then(|name| Name::new(name).ok())?,
        version: root.get("version").and_then(Node::text).unwrap_or("1.0").to_owned(),
        description: root.get("description").and_then(Node::text).unwrap_or("").trim().to_owned(),
        timeout: timeout.unwrap_or(limits::PIPELINE_TIMEOUT),
        profile: config::word(root.get("profile")).unwrap_or(Profile::Startup),
        inputs,
        budget: root.get("budget").map_or(Budget::default(), config::budget),
        stages,
    })
}

impl Diagnostic {
    /// True when it is a warning.
    pub fn is_warning(&self) -> bool {
        self.severity == Level::Warning
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::MOST_DIAGNOSTICS;
    use crate::syntax::PLACES;

    /// The diagnostics of a file, and how many places its checks walked to.
    fn counted(text: &str) -> (Vec<Diagnostic>, usize) {
        PLACES.set(0);
        let checked = check("pipeline.yaml", text, &Catalogue::default(), &Known::default());
        (checked.diagnostics, PLACES.get())
    }

    fn stage(inputs: &str, config: &str) -> String {
        format!("name: a\ninputs: {{{inputs}}}\nstages:\n- {{name: b, type: agent, config: {{{config}}}}}\n")
    }

    /// As many warnings as a file can hold.
    #[test]
    fn r041_warnings_are_looked_for_as_long_as_they_are_told() {
        let holes = format!("${{{{ {} }}}}", vec!["inputs.e == 'z'"; 200].join(" && ")).repeat(270);
        let constants =
            stage("e: {default: x, enum: [x, y]}", &format!("command: [c], objective: \"{holes}\""));
        let holes = "${{ inputs.x }}".repeat(4_000);
        let splices = stage("x: {default: y}", &format!("command: [sh, -c, \"{holes}\"]"));
        for (text, code) in [(constants, codes::CONSTANT), (splices, codes::SHELL_SPLICE)] {
            let (diagnostics, places) = counted(&text);
            assert!(diagnostics.iter().all(|one| one.code == code), "{:?}", diagnostics.first());
            assert_eq!((diagnostics.len(), places), (MOST_DIAGNOSTICS, MOST_DIAGNOSTICS));
        }
    }

    /// A warning must not be able to hide an error.
    #[test]
    fn r041_errors_are_told_before_warnings() {
        let (known, unknown) = ("${{ inputs.x }}".repeat(300), "${{ inputs.y }}".repeat(300));
        let text = stage("x: {default: y}", &format!("command: [sh, -c, \"{known}{unknown}\"]"));
        let (diagnostics, places) = counted(&text);
        assert_eq!(diagnostics.len(), MOST_DIAGNOSTICS);
        assert!(diagnostics.iter().all(Diagnostic::is_error));
        assert!(places <= 2 * MOST_DIAGNOSTICS, "{places}");
    }

    /// The longest name an input could have, in a file that misspells it again and again.
    #[test]
    fn r041_an_endless_name_stands_in_no_message() {
        let name = "q".repeat(900_000);
        let uses: String = (0..60).map(|at| format!("${{{{ inputs.q{at}{} }}}}", "z".repeat(60))).collect();
        let text = stage(&format!("{name}: {{default: y}}"), &format!("command: [c, \"{uses}\"]"));
        let (diagnostics, _) = counted(&text);
        assert_eq!(diagnostics.len(), 61);
        assert_eq!(diagnostics[0].code, codes::BAD_FORMAT);
        let length = |one: &Diagnostic| one.message.len() + one.hint.as_ref().map_or(0, String::len);
        let longest = diagnostics.iter().map(length).max();
        assert!(longest < Some(300), "{longest:?}");
    }

    /// Each of them may do the work of one condition; together they may not do more.
    #[test]
    fn constant_conditions_share_their_fuel() {
        let list = format!("[{}]", vec!["1"; 150].join(","));
        let condition = format!("{list}.all(x, {list}.all(y, x == y))");
        let stages: String = (0..20)
            .map(|at| format!("- {{name: c{at}, type: condition, if: '{condition}', then: []}}\n"))
            .collect();
        let (diagnostics, _) = counted(&format!("name: a\nstages:\n{stages}"));
        let constant = diagnostics.iter().filter(|one| one.code == codes::CONSTANT).count();
        assert!((1..20).contains(&constant), "{constant} of 20 were worked out");
    }
}
