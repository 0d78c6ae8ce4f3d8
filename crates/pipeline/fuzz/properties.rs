//! What holds for any bytes: never a panic, never a value past its bounds, and the same each time. The fuzz targets and the
//! tests of the crate both play it.
#![allow(dead_code, reason = "each target plays one of them")]

use std::collections::BTreeMap;

use eparch_domain::{StageStatus, Tier, is_harmful, limits};
use eparch_pipeline::{
    Catalogue, EvalError, Expr, Fuel, Known, Pipeline, Plan, Scope, StageScope, Text, check_bytes,
};
use serde_json::Value;

/// A file is a diagnostic or a pipeline, and what is told about it steers nobody's screen.
pub(crate) fn check(bytes: &[u8]) {
    let checked = check_bytes("fuzz.yaml", bytes, &Catalogue::default(), &Known::default());
    let told = checked.to_text();
    assert!(!told.contains(|letter| letter != '\n' && is_harmful(letter)), "{told:?}");
    checked.to_json();
    let Some(pipeline) = checked.pipeline else { return };
    let again = Pipeline::from_bytes(&pipeline.to_bytes()).expect("a definition can be read back");
    assert_eq!(again.digest(), pipeline.digest());
    if let Ok(inputs) = pipeline.bind(&BTreeMap::new()) {
        let plan = Plan::of(&pipeline, &inputs, &Default::default(), Tier::T4).to_string();
        assert!(!plan.contains(|letter| letter != '\n' && is_harmful(letter)), "{plan:?}");
    }
}

/// An expression, and behind a NUL the value of `inputs.x` and of an output.
pub(crate) fn expr(bytes: &[u8]) {
    let Some((source, scope)) = parts(bytes) else { return };
    let Ok(expr) = Expr::parse(&source) else { return };
    assert_eq!(Expr::parse(expr.source()).as_ref(), Ok(&expr));
    let play = || {
        let mut fuel = Fuel::default();
        (expr.eval_with(&scope, &mut fuel), fuel.left(), fuel.is_spent())
    };
    let (outcome, left, is_spent) = play();
    assert_eq!(play(), (outcome.clone(), left, is_spent), "{source}");
    assert_eq!(outcome == Err(EvalError::TooMuchWork), is_spent, "{source}");
    match outcome {
        Ok(value) => assert!(size(&value) <= limits::VALUE_BYTES, "{source}"),
        Err(error) => assert!(error.to_string().len() <= 2 * limits::EXPRESSION_BYTES, "{source}: {error}"),
    }
}

/// A text, and behind a NUL the value of `inputs.x` and of an output.
pub(crate) fn text(bytes: &[u8]) {
    let Some((source, scope)) = parts(bytes) else { return };
    let Ok(text) = Text::parse(&source) else { return };
    let play = || {
        let mut fuel = Fuel::default();
        (text.render_with(&scope, &mut fuel), fuel.left())
    };
    let (outcome, left) = play();
    assert_eq!(play(), (outcome.clone(), left), "{source}");
    assert!(!text.is_literal() || left == Fuel::default().left(), "{source}");
    if let Ok(rendered) = &outcome {
        assert!(rendered.len() <= limits::VALUE_BYTES && !rendered.contains('\0'), "{source}");
        assert!(text.as_literal().is_none_or(|literal| literal == rendered), "{source}");
    }
}

/// Words before the first NUL; a value of JSON behind it.
fn parts(bytes: &[u8]) -> Option<(String, Scope)> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let source = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let value: Value =
        bytes.get(end + 1..).and_then(|rest| serde_json::from_slice(rest).ok()).unwrap_or(Value::Null);
    let plan = StageScope {
        status: StageStatus::Completed,
        outputs: BTreeMap::from([("x".to_owned(), value.clone()), ("risk".to_owned(), "high".into())]),
        artifacts: vec!["out/plan.json".to_owned()],
    };
    let scope = Scope {
        inputs: BTreeMap::from([("x".to_owned(), value), ("n".to_owned(), 3.into())]),
        stages: BTreeMap::from([("plan".to_owned(), plan)]),
        run: BTreeMap::from([("id".to_owned(), "run_1".into())]),
        env: BTreeMap::from([("HOME".to_owned(), "/home/a".to_owned())]),
    };
    Some((source, scope))
}

/// The bytes of a value's texts, and one for each value.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(entries) => entries.iter().map(|(name, value)| name.len() + size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
