//! What a run is given, made to fit what its pipeline declares.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{harmless, limits};
use serde::Serialize;
use serde_json::Value;

use crate::diagnostic::codes;
use crate::model::{InputSpec, InputType, Pipeline};
use crate::nearest::nearest;
use crate::scalar::whole;

/// One thing that is wrong with what a run was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct InputProblem {
    /// Its stable code.
    pub code: &'static str,
    /// The input it is about.
    pub name: String,
    /// What is wrong.
    pub message: String,
    /// What to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Pipeline {
    /// The inputs of a run that is given texts, as a command line gives them: `--input count=3`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, one problem per input: not declared, missing, of the wrong type, not one of the choices,
    /// larger than `limits::VALUE_BYTES` (R059).
    pub fn bind(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Value>, Vec<InputProblem>> {
        let typed = given.iter().map(|(name, text)| {
            let value = match self.inputs.get(name).map(|spec| spec.kind) {
                Some(InputType::Integer | InputType::Number | InputType::Boolean) => {
                    serde_json::from_str(text.trim()).unwrap_or_else(|_| Value::from(text.as_str()))
                }
                _ => Value::from(text.as_str()),
            };
            (name.clone(), value)
        });
        self.bind_json(&typed.collect())
    }

    /// The inputs of a run that is given values, as a request gives them.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::bind`].
    pub fn bind_json(
        &self,
        given: &BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Value>, Vec<InputProblem>> {
        let mut problems = Vec::new();
        let mut bound = BTreeMap::new();
        // Whoever sends thousands is told about the first ones.
        for name in given.keys().filter(|name| !self.inputs.contains_key(*name)).take(limits::PIPELINE_INPUTS)
        {
            problems.push(undeclared(name, &self.inputs));
        }
        for (name, spec) in &self.inputs {
            match given.get(name) {
                Some(value) => match fitted(name, value, spec) {
                    Ok(value) => {
                        bound.insert(name.clone(), value);
                    }
                    Err(problem) => problems.push(problem),
                },
                None => match &spec.default {
                    Some(default) => {
                        bound.insert(name.clone(), default.clone());
                    }
                    None => problems.push(missing(name, spec)),
                },
            }
        }
        if problems.is_empty() { Ok(bound) } else { Err(problems) }
    }
}

impl InputType {
    /// What such a value is, for messages.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            InputType::String => "text",
            InputType::Integer => "a whole number",
            InputType::Number => "a number",
            InputType::Boolean => "true or false",
        }
    }
}

fn undeclared(name: &str, declared: &BTreeMap<String, InputSpec>) -> InputProblem {
    let names: BTreeSet<&str> = declared.keys().map(String::as_str).collect();
    let hint = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "the pipeline has no inputs".to_owned(),
        None => format!("there are {}", names.into_iter().take(8).collect::<Vec<_>>().join(", ")),
    };
    let name: String = harmless(name).chars().take(64).collect();
    let message = format!("the pipeline has no input `{name}`");
    InputProblem { code: codes::INPUT_UNDECLARED, name, message, hint: Some(hint) }
}

fn missing(name: &str, spec: &InputSpec) -> InputProblem {
    let message = format!("the input `{name}` is needed and has no default");
    let example = match (spec.kind, choices(spec)) {
        (_, Some(choices)) => format!("it is one of {choices}"),
        (kind, None) => format!("it is {}", kind.noun()),
    };
    InputProblem { code: codes::INPUT_MISSING, name: name.to_owned(), message, hint: Some(example) }
}

fn choices(spec: &InputSpec) -> Option<String> {
    let written = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    (!spec.choices.is_empty()).then(|| spec.choices.iter().map(written).collect::<Vec<_>>().join(", "))
}

fn fitted(name: &str, value: &Value, spec: &InputSpec) -> Result<Value, InputProblem> {
    spec.fit(value).map_err(|misfit| {
        let (code, message, hint) = match misfit {
            Misfit::Type => (codes::INPUT_TYPE, format!("must be {}", spec.kind.noun()), None),
            Misfit::Long => {
                (codes::INPUT_TYPE, format!("is larger than {} bytes", limits::VALUE_BYTES), None)
            }
            Misfit::Choice(near) => {
                let message = format!("must be one of {}", choices(spec).unwrap_or_default());
                (codes::INPUT_CHOICE, message, near.map(|near| format!("did you mean `{near}`?")))
            }
        };
        InputProblem { code, name: name.to_owned(), message: format!("the input `{name}` {message}"), hint }
    })
}

/// Why a value is not one of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It has another type.
    Type,
    /// It is larger than `limits::VALUE_BYTES`.
    Long,
    /// It is none of the choices; this one is near.
    Choice(Option<String>),
}

impl InputType {
    /// The value as one of this type; `None` when it is of another.
    pub(crate) fn fit(self, value: &Value) -> Option<Value> {
        match self {
            InputType::String => value.is_string().then(|| value.clone()),
            InputType::Integer => value.as_number().and_then(whole).map(Value::from),
            InputType::Number => value.is_number().then(|| value.clone()),
            InputType::Boolean => value.is_boolean().then(|| value.clone()),
        }
    }
}

impl InputSpec {
    /// The value as the input takes it, given by a run as by the file itself.
    pub(crate) fn fit(&self, value: &Value) -> Result<Value, Misfit> {
        let value = self.kind.fit(value).ok_or(Misfit::Type)?;
        if value.as_str().is_some_and(|text| text.len() > limits::VALUE_BYTES) {
            return Err(Misfit::Long);
        }
        if !self.choices.is_empty() && !self.choices.iter().any(|choice| same(choice, &value)) {
            let words = self.choices.iter().filter_map(Value::as_str);
            let near = value.as_str().and_then(|word| nearest(word, words)).map(str::to_owned);
            return Err(Misfit::Choice(near));
        }
        Ok(value)
    }
}

/// Numbers are the same when they are equal: `1` is `1.0`.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}
