//! Expressions: what is read, what is refused and where, what they yield.

use std::collections::BTreeMap;

use eparch_domain::StageStatus;
use eparch_pipeline::expr::{EvalError, Expr, Scope, StageScope};
use serde_json::{Value, json};

pub(crate) fn scope() -> Scope {
    let plan = StageScope {
        status: StageStatus::Completed,
        outputs: BTreeMap::from([
            ("risk".to_owned(), json!("high")),
            ("items".to_owned(), json!([1, 2, 3])),
            ("by_name".to_owned(), json!({"zeta": 1, "alpha": 2, "mid": 3})),
            ("big".to_owned(), json!(u64::MAX)),
        ]),
        artifacts: vec!["out/plan.json".to_owned()],
    };
    Scope {
        inputs: BTreeMap::from([
            ("environment".to_owned(), json!("production")),
            ("count".to_owned(), json!(3)),
            ("share".to_owned(), json!(0.5)),
            ("ready".to_owned(), json!(true)),
        ]),
        stages: BTreeMap::from([("plan".to_owned(), plan.clone()), ("with-dash".to_owned(), plan)]),
        run: BTreeMap::from([("id".to_owned(), json!("run_1"))]),
        env: BTreeMap::from([("HOME".to_owned(), "/home/a".to_owned())]),
    }
}

fn eval(source: &str) -> Result<Value, EvalError> {
    Expr::parse(source).unwrap_or_else(|error| panic!("{source}: {error} at {}", error.offset)).eval(&scope())
}

#[test]
fn r050_expressions_yield_what_the_language_says() {
    for (source, expected) in [
        ("stages.plan.outputs.risk == 'high' && inputs.environment == \"production\"", json!(true)),
        ("stages[\"with-dash\"].status", json!("COMPLETED")),
        ("stages.plan.artifacts[0]", json!("out/plan.json")),
        ("inputs.count * 2 + 1", json!(7)),
        ("inputs.share", json!(0.5)),
        ("inputs.count > 2 ? 'many' : 'few'", json!("many")),
        ("stages.plan.outputs.items.all(x, x > 0)", json!(true)),
        ("stages.plan.outputs.items.filter(x, x > 1).map(x, x * 10)", json!([20, 30])),
        (
            "stages.plan.outputs.items.map(x, stages.plan.outputs.items.map(y, x * y))",
            json!([[1, 2, 3], [2, 4, 6], [3, 6, 9]]),
        ),
        ("has(stages.plan.outputs.missing)", json!(false)),
        ("has(stages.plan.outputs.risk)", json!(true)),
        ("size(inputs.environment)", json!(10)),
        ("inputs.environment.startsWith('prod')", json!(true)),
        ("'risk' in stages.plan.outputs", json!(true)),
        ("stages.plan.outputs.big", json!(u64::MAX)),
        ("9223372036854775807", json!(i64::MAX)),
        ("{'b': 1, 'a': [true, null]}", json!({"a": [true, null], "b": 1})),
        ("string(inputs.count) + '/' + env.HOME", json!("3//home/a")),
        ("inputs['count']", json!(3)),
        ("run.id", json!("run_1")),
        ("type(inputs.count) == int", json!(true)),
        ("[1, 2].exists(x, x == 2) && ![].exists(x, true)", json!(true)),
        ("// a remark\n 1 + 1", json!(2)),
    ] {
        assert_eq!(eval(source), Ok(expected), "{source}");
    }
}

#[test]
fn r050_the_same_scope_always_yields_the_same_order() {
    for _ in 0..50 {
        assert_eq!(eval("stages.plan.outputs.by_name.map(k, k)"), Ok(json!(["alpha", "mid", "zeta"])));
    }
}

#[test]
fn r050_what_is_not_there_is_named() {
    for (source, name) in [
        ("stages.plan.outputs.owner == 'me'", "stages.plan.outputs.owner"),
        ("stages.review.status", "stages.review"),
        ("inputs.other", "inputs.other"),
        ("env.PATH", "env.PATH"),
    ] {
        assert_eq!(eval(source), Err(EvalError::Missing(name.into())), "{source}");
    }
    for source in
        ["1 / 0", "1 + 'a'", "9223372036854775807 + 1", "[1][3]", "-inputs.environment", "inputs.count.foo"]
    {
        assert!(
            matches!(eval(source), Err(EvalError::Failed(_) | EvalError::Missing(_))),
            "{source}: {:?}",
            eval(source)
        );
    }
    assert!(matches!(eval("b'abc'"), Err(EvalError::NoJson(_))));
    assert_eq!(
        Expr::parse("inputs.count").unwrap().eval_bool(&scope()),
        Err(EvalError::NotBoolean("a number"))
    );
}

#[test]
fn r050_what_is_refused_is_placed() {
    for (source, offset, part) in [
        ("", 0, "empty"),
        ("1 +", 3, "ends too early"),
        ("inputs.a = 1", 9, "write `==`"),
        ("inputs.a and inputs.b", 9, "write `&&`"),
        ("'ä' + input.x", 7, "did you mean `inputs`?"),
        ("sise(inputs.a)", 0, "did you mean `size`?"),
        ("'a'.contain('b')", 4, "did you mean `contains`?"),
        ("inputs.a.matches('b')", 9, "there is no function `matches`"),
        ("stages", 0, "say which stage"),
        ("stages[inputs.x].status", 0, "say which stage"),
        ("size(stages) > 1", 5, "say which stage"),
        ("env[inputs.x]", 0, "say which variable"),
        ("stages.plan.output.risk", 12, "did you mean `outputs`?"),
        ("stages.my-stage.status", 10, "stages[\"NAME-stage\"]"),
        ("production", 0, "text stands in quotes"),
        ("'abc", 0, "not closed"),
        ("'a\\q'", 2, "escape"),
        ("[1][?0]", 3, "no optional selections"),
        ("[1].map(inputs, 1)", 7, "cannot be the name"),
        ("[1].all(x, [1].all(y, [1].all(z, true)))", 29, "macros nest"),
        ("Foo{a: 1}", 3, "no type"),
        ("1 + (2", 6, "ends too early"),
    ] {
        let error = Expr::parse(source).expect_err(source);
        assert!(error.message.contains(part), "{source}: {}", error.message);
        assert_eq!(error.offset, offset, "{source}: {}", error.message);
    }
}

#[test]
fn r050_names_are_known_without_evaluating() {
    let expr = Expr::parse(
        "stages.a.status == 'X' || has(stages[\"b-c\"].outputs.d) || inputs.e || env.F == '' || [1].all(stage, stage > 0)",
    )
    .unwrap();
    assert_eq!(expr.stage_names().iter().collect::<Vec<_>>(), ["a", "b-c"]);
    assert_eq!(expr.input_names().iter().collect::<Vec<_>>(), ["e"]);
    assert_eq!(expr.env_names().iter().collect::<Vec<_>>(), ["F"]);
}

#[test]
fn r050_depth_and_length_are_bounded_before_the_parser() {
    for source in [
        vec!["1"; 2000].join("+"),
        format!("inputs{}", ".b".repeat(2000)),
        format!("{}1{}", "(".repeat(2000), ")".repeat(2000)),
        format!("{}1", "true?1:".repeat(500)),
        format!("{}1", "inputs.a && true ? 1 : ".repeat(150)),
        format!("{}{}", "[".repeat(2000), "]".repeat(2000)),
        format!("'\\q' + '{}", "(".repeat(500)),
        format!("r'\\'{}", "(".repeat(500)),
        "x".repeat(5000),
    ] {
        assert!(Expr::parse(&source).is_err(), "{}", &source[..20]);
    }
    // As deep as allowed, from a thread with the stack that a runtime's workers have.
    let deep = [
        format!("{}1{}", "(".repeat(30), ")".repeat(30)),
        vec!["1"; 90].join("+"),
        vec!["true"; 400].join("&&"),
    ];
    std::thread::spawn(move || {
        for source in deep {
            Expr::parse(&source).unwrap().eval(&Scope::default()).unwrap();
        }
    })
    .join()
    .unwrap();
}

#[test]
fn r050_work_is_bounded() {
    let mut scope = scope();
    scope.inputs.insert("list".into(), json!((0..2000).collect::<Vec<_>>()));
    scope.inputs.insert("text".into(), json!("x".repeat(60_000)));
    for source in [
        "inputs.list.all(x, inputs.list.exists(y, y > 5000) || true)",
        "inputs.list.map(x, inputs.text).size() > 0",
        "[inputs.text].map(x, x + x + x + x + x + x + x + x)[0].size() > 0 && [1,2,3,4,5,6,7,8,9,10].map(x, inputs.text + inputs.text).size() > 0",
    ] {
        assert_eq!(Expr::parse(source).unwrap().eval(&scope), Err(EvalError::TooMuchWork), "{source}");
    }
    assert_eq!(Expr::parse("inputs.text + inputs.text").unwrap().eval(&scope), Err(EvalError::TooLarge));
    assert_eq!(
        Expr::parse("inputs.list.filter(x, x % 2 == 0).size()").unwrap().eval(&scope),
        Ok(json!(1000))
    );
}

#[test]
fn r050_an_expression_is_its_source_in_json() {
    let expr = Expr::parse("inputs.a == 1").unwrap();
    let json = serde_json::to_string(&expr).unwrap();
    assert_eq!(json, "\"inputs.a == 1\"");
    assert_eq!(serde_json::from_str::<Expr>(&json).unwrap(), expr);
    assert!(serde_json::from_str::<Expr>("\"inputs.a = 1\"").is_err());
}
