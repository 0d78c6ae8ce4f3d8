//! What people write is kept in the ledger, where no secret may be (G8): nothing is ever taken out of it again.

use axum::http::StatusCode;
use eparch_domain::redact::{is_secret_number, redact};
use eparch_pipeline::Pipeline;
use serde_json::Value;

use super::problem::Problem;

/// Refuses a text that holds what looks like a secret; `what` names it without quoting it.
pub(super) fn refuse_secret(what: &str, text: &str) -> Result<(), Problem> {
    if redact(text, &[]) == text { Ok(()) } else { Err(refused(what)) }
}

fn refused(what: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "EP0224", &format!("{what} holds what looks like a secret"))
        .hint("it would be recorded for good; a secret has no place in it")
}

/// [`refuse_secret`] for every text and number inside a value, names included.
pub(super) fn refuse_secrets_in(what: &str, value: &Value) -> Result<(), Problem> {
    match value {
        Value::String(text) => refuse_secret(what, text),
        Value::Array(items) => items.iter().try_for_each(|item| refuse_secrets_in(what, item)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            refuse_secret(what, name)?;
            refuse_secrets_in(what, value)
        }),
        Value::Number(number) if is_secret_number(number) => Err(refused(what)),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn g8_a_card_is_refused_as_text_and_as_a_number() {
        // Put together here, so that the tree holds nothing that looks like one.
        let text = ["4111", "111111111111"].concat();
        let number: u64 = text.parse().unwrap();
        for value in [json!(text), json!(number), json!({ "pay": [number] })] {
            assert!(refuse_secrets_in("the input card", &value).is_err(), "{value}");
        }
        for value in [json!(number + 1), json!(0.1 + 0.2), json!(null), json!([true, 16])] {
            assert!(refuse_secrets_in("the input card", &value).is_ok(), "{value}");
        }
    }
}
