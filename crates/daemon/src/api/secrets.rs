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

/// [`refuse_secret`] for every text of a definition, which is kept whole; what is in a stage is named by it.
pub(crate) fn refuse_secrets_of(pipeline: &Pipeline) -> Result<(), Problem> {
    let mut rest = serde_json::to_value(pipeline).expect("a definition is plain data");
    let stages = rest.get_mut("stages").map(Value::take);
    for stage in stages.iter().filter_map(Value::as_array).flatten() {
        let name = stage.get("name").and_then(Value::as_str).unwrap_or_default();
        refuse_secrets_in(&format!("the stage {name}"), stage)?;
    }
    refuse_secrets_in("the pipeline", &rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn g8_a_secret_in_a_definition_is_named_by_its_stage() {
        let secret = ["ghp", "_", "0123456789abcdefghijABCDEFGHIJ012345"].concat();
        let found = |description: &str, argument: &str| {
            let text = format!(
                "name: p\ndescription: {description}\nstages:\n  - name: only\n    type: agent\n    config: \
                 {{command: [echo, {argument}]}}\n"
            );
            let catalogue = eparch_pipeline::Catalogue::built_in();
            let checked =
                eparch_pipeline::check("p.yaml", &text, &catalogue, &eparch_pipeline::Known::default());
            refuse_secrets_of(&checked.pipeline.unwrap()).err().map(|problem| problem.title)
        };
        assert_eq!(found("plain", "plain"), None);
        assert!(found("plain", &secret).unwrap().starts_with("the stage only holds"));
        assert!(found(&secret, "plain").unwrap().starts_with("the pipeline holds"));
    }

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
