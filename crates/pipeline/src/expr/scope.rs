//! What an expression can see.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::StageStatus;
use serde_json::Value;

use super::value::{map, to_cel};

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
    /// One of the four names, holding only the entries `wanted`, or all when it is `None`: a run with a thousand stages
    /// is not copied for an expression that reads one of them.
    pub(super) fn variable(&self, root: &str, wanted: Option<&BTreeSet<&str>>) -> cel::Value {
        let wanted = |name: &str| wanted.is_none_or(|wanted| wanted.contains(name));
        match root {
            "inputs" => map(self
                .inputs
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, value)| (name, to_cel(value)))),
            "run" => map(self
                .run
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, value)| (name, to_cel(value)))),
            "env" => map(self
                .env
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, value)| (name, value.as_str().into()))),
            _ => map(self
                .stages
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, stage)| (name, stage.to_cel()))),
        }
    }
}

impl StageScope {
    fn to_cel(&self) -> cel::Value {
        let artifacts: Vec<cel::Value> = self.artifacts.iter().map(|path| path.as_str().into()).collect();
        map([
            ("status", cel::Value::from(self.status.as_str())),
            ("outputs", map(self.outputs.iter().map(|(name, value)| (name, to_cel(value))))),
            ("artifacts", cel::Value::from(artifacts)),
        ])
    }
}
