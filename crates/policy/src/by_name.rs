//! Policies that judge a thing by the text of its name, as `resource.name like "*.pem"` does. What lies in a folder cannot be asked
//! about by asking about the folder, and no list of names says which of it they mean.

use cedar_policy::Policy;
use serde_json::Value;

/// Whether a policy reads `resource.name`. What cannot be told is taken to.
pub(crate) fn judges_by_name(policy: &Policy) -> bool {
    policy.to_json().map_or(true, |json| reads_name(&json))
}

/// The principal's name says nothing of paths; of everything else that has one, only the resource is left.
fn reads_name(json: &Value) -> bool {
    match json {
        Value::Object(fields) => fields.iter().any(|(key, inner)| {
            let read = key == "."
                && inner.get("attr").and_then(Value::as_str) == Some("name")
                && inner.pointer("/left/Var").and_then(Value::as_str) != Some("principal");
            read || reads_name(inner)
        }),
        Value::Array(items) => items.iter().any(reads_name),
        _ => false,
    }
}
