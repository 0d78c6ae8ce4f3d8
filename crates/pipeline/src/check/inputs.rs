//! Declared inputs: types, choices and defaults that fit.

use std::collections::BTreeMap;

use eparch_domain::limits;
use eparch_domain::name::NAME_MAX;
use serde_json::Value;

use crate::diagnostic::{Problems, codes};
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
        match value(choice, kind) {
            Some(value) => choices.push(value),
            None if choice.scalar().is_some_and(|scalar| !scalar.is_null()) => {
                let message = format!("`{}` is not {}", shown(choice.text().unwrap_or("")), kind.noun());
                problems.error(codes::BAD_CHOICE, choice.range.clone(), message);
            }
            None => {}
        }
    }
    let default = node.get("default").and_then(|default| {
        let written = shown(default.text()?);
        let Some(value) = value(default, kind) else {
            let message =
                format!("the default of `{}` is `{written}`, which is not {}", shown(name), kind.noun());
            problems.error(codes::BAD_DEFAULT, default.range.clone(), message);
            return None;
        };
        if !choices.is_empty() && !choices.contains(&value) {
            let message =
                format!("the default of `{}` is `{written}`, which is not one of its choices", shown(name));
            let words: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
            problems.error(codes::BAD_DEFAULT, default.range.clone(), message).did_you_mean(&written, words);
        }
        Some(value)
    });
    let description = node.get("description").and_then(Node::text).unwrap_or("").trim().to_owned();
    InputSpec { kind, choices, default, description }
}

/// The value of a scalar as an input's type has it. Text is taken as it is written.
fn value(node: &Node, kind: InputType) -> Option<Value> {
    let scalar = node.scalar()?;
    match kind {
        InputType::String => scalar.as_text().map(Value::from),
        InputType::Integer => scalar.as_integer().map(Value::from),
        InputType::Number => Some(scalar.value()).filter(|value| value.is_number()).cloned(),
        InputType::Boolean => Some(scalar.value()).filter(|value| value.is_boolean()).cloned(),
    }
}
