//! What people write is kept in the ledger, where no secret may be (G8): nothing is ever taken out of it again.

use axum::http::StatusCode;
use eparch_domain::redact::redact;
use eparch_pipeline::Pipeline;
use serde_json::Value;

use super::problem::Problem;

/// Refuses a text that holds what looks like a secret; `what` names it without quoting it.
pub(super) fn refuse_secret(what: &str, text: &str) -> Result<(), Problem> {
    if redact(text, &[]) == text {
        return Ok(());
    }
    Err(Problem::new(StatusCode::BAD_REQUEST, "EP0224", &format!("{what} holds what looks like a secret"))
        .hint("it would be recorded for good; a secret has no place in it"))
}

/// [`refuse_secret`] for every text inside a value, names included.
pub(super) fn refuse_secrets_in(what: &str, value: &Value) -> Result<(), Problem> {
    match value {
        Value::String(text) => refuse_secret(what, text),
        Value::Array(items) => items.iter().try_for_each(|item| refuse_secrets_in(what, item)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            refuse_secret(what, name)?;
            refuse_secrets_in(what, value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// [`refuse_secret`] for every text of a definition, which is kept whole.
pub(super) fn refuse_secrets_of(pipeline: &Pipeline) -> Result<(), Problem> {
    let plain = |value: serde_json::Result<Value>| value.expect("a definition is plain data");
    for stage in &pipeline.stages {
        let what = format!("the stage {}", stage.name);
        refuse_secrets_in(&what, &plain(serde_json::to_value(stage)))?;
    }
    refuse_secrets_in("the pipeline", &plain(serde_json::to_value(pipeline)))
}
