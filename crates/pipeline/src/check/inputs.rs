//! Declared inputs: types, choices and defaults that fit.

use std::collections::BTreeMap;

use eparch_domain::limits;
use eparch_domain::name::NAME_MAX;
use serde_json::Value;

use crate::diagnostic::{Problems, codes};
use crate::inputs::Misfit;
use crate::model::{InputSpec, InputType};
use crate::syntax::{Node, shown};

pub(super) fn inputs(node: Option<&Node>, problems: &mut Problems) -> BTreeMap<String, InputSpec> {
    let Some(node) = node else { return BTreeMap::new() };
    let entries = node.entries();
    if let Some(first) = entries.get(limits::PIPELINE_INPUTS) {
        let message = format!("a pipeline has at most {} inputs", limits::PIPELINE_INPUTS);
        problems.error(codes::TOO_MANY, first.key_range.clone(), message);
    }
    // One with a name of any length was told already, and would stand in every message that lists the inputs.
    let named = entries.iter().filter(|entry| entry.key.len() <= NAME_MAX);
    let specs = named.take(limits::PIPELINE_INPUTS);
    specs.map(|entry| (entry.key.clone(), input(&entry.key, &entry.value, problems))).collect()
}

fn input(name: &str, node: &Node, problems: &mut Problems) -> InputSpec {
    let kind = match node.get("type").and_then(Node::text) {
        Some("integer") => InputType::Integer,
        Some("number") => InputType::Number,
        Some("boolean") => InputType::Boolean,
        _ => InputType::String,
    };
    let mut choices = Vec::new();
    for choice in node.get("enum").map_or(&[][..], Node::items) {
        match value(choice, kind).and_then(|value| kind.fit(&value)) {
            Some(value) => choices.push(value),
            None if choice.scalar().is_some_and(|scalar| !scalar.is_null()) => {
                let message = format!("`{}` is not {}", shown(choice.text().unwrap_or("")), kind.noun());
                problems.error(codes::BAD_CHOICE, choice.range.clone(), message);
            }
            None => {}
        }
    }
    let description = node.get("description").and_then(Node::text).unwrap_or("").trim().to_owned();
    let mut spec = InputSpec { kind, choices, default: None, description };
    let written = node.get("default").and_then(|default| Some((default, value(default, kind)?)));
    if let Some((default, value)) = written {
        match spec.fit(&value) {
            Ok(value) => spec.default = Some(value),
            Err(misfit) => unfit(name, default, kind, misfit, problems),
        }
    }
    spec
}

/// Tells why a default does not fit.
fn unfit(name: &str, default: &Node, kind: InputType, misfit: Misfit, problems: &mut Problems) {
    let (name, written) = (shown(name), shown(default.text().unwrap_or("")));
    let message = match &misfit {
        Misfit::Type => format!("the default of `{name}` is `{written}`, which is not {}", kind.noun()),
        Misfit::Long => format!("the default of `{name}` is larger than {} bytes", limits::VALUE_BYTES),
        Misfit::Choice(_) => {
            format!("the default of `{name}` is `{written}`, which is not one of its choices")
        }
    };
    let problem = problems.error(codes::BAD_DEFAULT, default.range.clone(), message);
    if let Misfit::Choice(Some(near)) = misfit {
        problem.hint(format!("did you mean `{near}`?"));
    }
}

/// The value of a scalar; of a text input the text, as it is written.
fn value(node: &Node, kind: InputType) -> Option<Value> {
    let scalar = node.scalar().filter(|scalar| !scalar.is_null())?;
    match kind {
        InputType::String => scalar.as_text().map(Value::from),
        _ => Some(scalar.value().clone()),
    }
}
