//! Values on the way into an expression and out of it.

use std::collections::{BTreeMap, HashMap}; // the evaluator takes no other map; the guard puts its keys in order
use std::sync::Arc;

use cel::objects::{Key, Map};
use serde_json::{Number, Value};

use super::EvalError;

/// A JSON value as the language sees it: whole numbers are `int` (`uint` past 64 signed bits), others `double`.
pub(super) fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(truth) => cel::Value::Bool(*truth),
        Value::Number(number) => {
            let whole =
                number.as_i64().map(cel::Value::Int).or_else(|| number.as_u64().map(cel::Value::UInt));
            whole.unwrap_or_else(|| cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)))
        }
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(to_cel).collect::<Vec<_>>().into(),
        Value::Object(entries) => map(entries.iter().map(|(name, value)| (name, to_cel(value)))),
    }
}

/// A map with text keys.
pub(super) fn map<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, cel::Value)>) -> cel::Value {
    let entries =
        entries.into_iter().map(|(name, value)| (Key::String(Arc::new(name.as_ref().to_owned())), value));
    cel::Value::Map(Map { map: Arc::new(entries.collect::<HashMap<_, _>>()) })
}

/// A value of the language as JSON, at most `cap` bytes of it.
pub(super) fn to_json(value: &cel::Value, cap: usize) -> Result<Value, EvalError> {
    let mut left = cap;
    convert(value, &mut left)
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), EvalError> {
    *left = left.checked_sub(bytes).ok_or(EvalError::TooLarge)?;
    Ok(())
}

fn convert(value: &cel::Value, left: &mut usize) -> Result<Value, EvalError> {
    spend(left, 1)?;
    match value {
        cel::Value::Null => Ok(Value::Null),
        cel::Value::Bool(truth) => Ok(Value::Bool(*truth)),
        cel::Value::Int(number) => Ok(Value::from(*number)),
        cel::Value::UInt(number) => Ok(Value::from(*number)),
        cel::Value::Float(number) => Number::from_f64(*number)
            .map(Value::Number)
            .ok_or_else(|| EvalError::NoJson("a number that is not finite".into())),
        cel::Value::String(text) => {
            spend(left, text.len())?;
            Ok(Value::String(text.as_str().to_owned()))
        }
        cel::Value::List(items) => {
            items.iter().map(|item| convert(item, left)).collect::<Result<_, _>>().map(Value::Array)
        }
        cel::Value::Map(entries) => {
            // The evaluator's maps have no order of their own; ours do, so that two evaluations agree to the byte.
            let mut sorted = BTreeMap::new();
            for (key, value) in entries.map.iter() {
                let key = match key {
                    Key::String(text) => text.as_str().to_owned(),
                    Key::Int(number) => number.to_string(),
                    Key::Uint(number) => number.to_string(),
                    Key::Bool(truth) => truth.to_string(),
                };
                spend(left, key.len())?;
                sorted.insert(key, value);
            }
            let converted = sorted.into_iter().map(|(key, value)| Ok((key, convert(value, left)?)));
            converted.collect::<Result<_, EvalError>>().map(Value::Object)
        }
        other => Err(EvalError::NoJson(format!("a {}", other.type_of()))),
    }
}

/// What kind of value it is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
