//! Texts with expressions in them.

use eparch_pipeline::Text;
use eparch_pipeline::expr::EvalError;
use serde_json::json;

use crate::expr::scope;

#[test]
fn r050_texts_are_filled_in() {
    for (source, expected) in [
        ("plain", "plain"),
        ("", ""),
        ("to ${{ inputs.environment }}!", "to production!"),
        ("${{inputs.count}}-${{ inputs.share }}-${{ inputs.ready }}", "3-0.5-true"),
        ("a ${{ stages.plan.outputs.items }}", "a [1,2,3]"),
        ("cost: $${{ x }} and $5", "cost: ${{ x }} and $5"),
        ("${{ '}}' }}", "}}"),
        ("${{ {'a': {'b': 1}} }} ", "{\"a\":{\"b\":1}} "),
        ("${{ null }}", "null"),
        ("$$ $ {{ }}", "$$ $ {{ }}"),
    ] {
        assert_eq!(Text::parse(source).unwrap().render(&scope()).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn r050_an_expression_alone_yields_its_value() {
    assert_eq!(
        Text::parse("${{ stages.plan.outputs.items }}").unwrap().value(&scope()),
        Ok(json!([1, 2, 3]))
    );
    assert_eq!(Text::parse("n: ${{ inputs.count }}").unwrap().value(&scope()), Ok(json!("n: 3")));
    assert_eq!(Text::parse("3").unwrap().value(&scope()), Ok(json!("3")));
}

#[test]
fn r050_problems_are_placed_in_the_text() {
    for (source, offset) in
        [("a ${{ inputs.x", 2), ("ab ${{  input.x }}", 8), ("${{ }}", 4), ("${{ 'a }} b", 4)]
    {
        assert_eq!(Text::parse(source).expect_err(source).offset, offset, "{source}");
    }
    let nul = Text::parse("a${{ '\\x00' }}").unwrap();
    assert_eq!(nul.render(&scope()), Err(EvalError::Nul));
}

#[test]
fn r050_literals_are_known() {
    assert_eq!(Text::parse("a $${{ b").unwrap().as_literal(), Some("a ${{ b"));
    assert!(!Text::parse("${{ 1 }}").unwrap().is_literal());
    assert_eq!(Text::parse("${{ 1 }} ${{ inputs.a }}").unwrap().expressions().count(), 2);
}
