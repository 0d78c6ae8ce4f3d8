//! What an expression can see.

use std::collections::BTreeMap;

use cel::ExecutionError;
use eparch_domain::StageStatus;
use serde_json::Value;

use super::fuel::{Tank, weight_of_json};
use super::value::{map, to_cel};
use super::wanted::Wanted;

/// What an expression can see when it is evaluated.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// The run's inputs.
    pub inputs: BTreeMap<String, Value>,
    /// Its stages so far.
    pub stages: BTreeMap<String, StageScope>,
    /// The run itself.
    pub run: BTreeMap<String, Value>,
    /// Environment variables, taken when the run was asked for.
    pub env: BTreeMap<String, String>,
}

/// What an expression can see of one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StageScope {
    /// How it stands.
    pub status: StageStatus,
    /// What it gave out.
    pub outputs: BTreeMap<String, Value>,
    /// The files it left, as paths relative to its workspace.
    pub artifacts: Vec<String>,
}

impl Scope {
    /// The part of one of the four names that is read, paid for: a run with a thousand stages is not copied for an
    /// expression that reads one of them, and neither is all that a stage gave out for one of its outputs.
    pub(super) fn variable(
        &self,
        root: &str,
        wanted: &Wanted,
        tank: &Tank,
    ) -> Result<cel::Value, ExecutionError> {
        match root {
            "inputs" => read(&self.inputs, wanted, |value, wanted| part(value, wanted, tank)),
            "run" => read(&self.run, wanted, |value, wanted| part(value, wanted, tank)),
            "env" => read(&self.env, wanted, |value, _| {
                tank.walk(value.len() as u64)?;
                Ok(value.as_str().into())
            }),
            _ => read(&self.stages, wanted, |stage, wanted| stage.part(wanted, tank)),
        }
    }
}

impl StageScope {
    fn part(&self, wanted: &Wanted, tank: &Tank) -> Result<cel::Value, ExecutionError> {
        let mut fields = Vec::new();
        if wanted.entry("status").is_some() {
            fields.push(("status", cel::Value::from(self.status.as_str())));
        }
        if let Some(wanted) = wanted.entry("outputs") {
            let outputs = read(&self.outputs, wanted, |value, wanted| part(value, wanted, tank))?;
            fields.push(("outputs", outputs));
        }
        if wanted.entry("artifacts").is_some() {
            tank.walk(self.artifacts.iter().map(|path| path.len() as u64).sum())?;
            let artifacts: Vec<cel::Value> = self.artifacts.iter().map(|path| path.as_str().into()).collect();
            fields.push(("artifacts", artifacts.into()));
        }
        Ok(map(fields))
    }
}

/// The entries that are read.
fn read<'e, T: 'e>(
    entries: impl IntoIterator<Item = (&'e String, &'e T)>,
    wanted: &Wanted,
    convert: impl Fn(&T, &Wanted) -> Result<cel::Value, ExecutionError>,
) -> Result<cel::Value, ExecutionError> {
    let read = entries.into_iter().filter_map(|(name, value)| Some((name, value, wanted.entry(name)?)));
    let converted = read.map(|(name, value, wanted)| Ok((name, convert(value, wanted)?)));
    Ok(map(converted.collect::<Result<Vec<_>, ExecutionError>>()?))
}

/// The part of a value that is read.
fn part(value: &Value, wanted: &Wanted, tank: &Tank) -> Result<cel::Value, ExecutionError> {
    match value {
        Value::Object(entries) if !wanted.is_whole() => {
            read(entries, wanted, |value, wanted| part(value, wanted, tank))
        }
        value => {
            tank.walk(weight_of_json(value))?;
            Ok(to_cel(value))
        }
    }
}
