//! Expressions: what is read, what is refused and where, what they yield.

use std::collections::BTreeMap;

use eparch_domain::StageStatus;
use eparch_pipeline::Text;
use eparch_pipeline::expr::{EvalError, Expr, Fuel, Scope, StageScope};
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

/// Two outputs as large as a value may be, chosen by an agent, under a condition nobody would think twice about.
#[test]
fn r050_work_grows_with_the_operands() {
    let mut scope = scope();
    let numbers = json!((0..32_000).map(|number| number % 10).collect::<Vec<_>>());
    scope.inputs.insert("x".into(), numbers.clone());
    scope.inputs.insert("y".into(), numbers.clone());
    scope.inputs.insert("pair".into(), json!([numbers, numbers]));
    scope.inputs.insert("text".into(), json!("x".repeat(64_000)));
    scope.inputs.insert("map".into(), json!({"a": 1}));
    for body in [
        "99 in inputs.y",
        "inputs.x != inputs.y",
        "[inputs.x] == [inputs.y] && false",
        "inputs.pair in [inputs.x]",
        "inputs.pair in inputs.map",
        "inputs.pair.exists(i, false)",
        "inputs.pair.all(i, i == [])  && false",
        "inputs.text.contains('y')",
        "inputs.text.size() == 1",
        "size(inputs.text) == 1",
        "inputs.text < inputs.text",
        "'x'.startsWith(inputs.text)",
        "inputs.text + inputs.text == ''",
        "string(inputs.text) == ''",
        "inputs.map[inputs.text] == ''",
        "inputs.x + 1 == []",
        "1 + inputs.x == 1",
    ] {
        let source = format!("inputs.x.exists(i, {body})");
        let mut fuel = Fuel::default();
        let outcome = Expr::parse(&source).unwrap().eval_with(&scope, &mut fuel);
        assert_eq!(outcome, Err(EvalError::TooMuchWork), "{source}");
    }
    // The same once is nothing, and neither is what ends at once whatever the operands are.
    for source in [
        "99 in inputs.y",
        "inputs.x == inputs.y",
        "inputs.pair.exists(i, i == inputs.y)",
        "inputs.x.exists(i, inputs.y == [])",
        "inputs.x.exists(i, inputs.text == 'y')",
        "inputs.x.exists(i, i in inputs.map)",
        "inputs.x.exists(i, inputs.y[i] > 9)",
        "inputs.x.exists(i, inputs.text.startsWith('y'))",
    ] {
        let mut fuel = Fuel::default();
        let outcome = Expr::parse(source).unwrap().eval_with(&scope, &mut fuel);
        assert!(outcome.is_ok_and(|value| value.is_boolean()) && fuel.left() > 0, "{source}: {fuel:?}");
    }
    // What only fails copies nothing into its error.
    for source in ["inputs.x.exists(i, inputs.x * 2 == [])", "inputs.x.exists(i, inputs.y[0.5] == 1)"] {
        let mut fuel = Fuel::default();
        let outcome = Expr::parse(source).unwrap().eval_with(&scope, &mut fuel);
        assert!(matches!(outcome, Err(EvalError::Failed(_))) && fuel.left() > 0, "{source}: {outcome:?}");
    }
}

#[test]
fn r050_fuel_is_shared_and_the_same_each_time() {
    let mut scope = scope();
    scope.inputs.insert("list".into(), json!((0..2_000).collect::<Vec<_>>()));
    let expr = Expr::parse("inputs.list.exists(x, x > 2000)").unwrap();
    let spend = || {
        let mut fuel = Fuel::default();
        let full = fuel.left();
        let mut times = 0;
        while expr.eval_with(&scope, &mut fuel).is_ok() {
            times += 1;
        }
        assert_eq!(expr.eval_with(&scope, &mut fuel), Err(EvalError::TooMuchWork));
        (full, times, fuel.left())
    };
    let (full, times, left) = spend();
    assert!(times > 10 && full / times > 2_000, "{times} times from {full} to {left}");
    assert_eq!(spend(), (full, times, left));
    // The holes of one text share it as well.
    let hole = "${{ inputs.list.exists(x, x > 2000) }}";
    let text = |holes: u64| Text::parse(&hole.repeat(usize::try_from(holes).unwrap())).unwrap();
    assert_eq!(text(times).render(&scope), Ok("false".repeat(usize::try_from(times).unwrap())));
    assert_eq!(text(times + 1).render(&scope), Err(EvalError::TooMuchWork));
}

#[test]
fn r050_types_are_known_inside_maps_and_beside_a_macros_variable() {
    let found = |condition: &str| {
        crate::common::found(&format!(
            "name: a\ninputs: {{t: {{default: x}}}}\nstages:\n- {{name: r, type: condition, if: \"{condition}\", then: []}}\n"
        ))
        .into_iter()
        .filter(|(code, ..)| *code != "EP0129" && *code != "EP0136")
        .map(|(code, ..)| code)
        .collect::<Vec<_>>()
    };
    for misfit in
        ["{'a': 1 + 'b'}.size() > 0", "{1 + 'b': 2}.size() > 0", "[{'a': {'b': -inputs.t}}].size() > 0"]
    {
        assert_eq!(found(misfit), ["EP0134"], "{misfit}");
    }
    // A variable that is called like a type is a value; elsewhere the word is the type still.
    for sound in [
        "[inputs.t].exists(type, type == 'x')",
        "[inputs.t].exists(type, type == 'x') && type(inputs.t) == string",
        "{'a': inputs.t}.all(map, map == 'a')",
    ] {
        assert_eq!(found(sound), [""; 0], "{sound}");
    }
    assert_eq!(found("[1].exists(type, true) && type == 'x'"), ["EP0134"]);
}

#[test]
fn r050_what_is_not_read_costs_nothing() {
    let mut scope = scope();
    let plan = scope.stages.get_mut("plan").unwrap();
    plan.outputs.insert("large".into(), json!((0..32_000).collect::<Vec<_>>()));
    plan.outputs.insert("nested".into(), json!({"small": 1, "large": "x".repeat(60_000)}));
    let work = |source: &str| {
        let mut fuel = Fuel::default();
        let full = fuel.left();
        let outcome = Expr::parse(source).unwrap().eval_with(&scope, &mut fuel);
        assert_eq!(outcome, Ok(json!(true)), "{source}");
        full - fuel.left()
    };
    assert_eq!(work("stages.plan.outputs.risk == 'high' && stages.plan.status == 'COMPLETED'"), 0);
    assert_eq!(work("stages.plan.outputs.nested.small == 1 && has(stages.plan.outputs['nested'].small)"), 0);
    assert!(work("size(stages.plan.outputs.large) > 0") > 1_000);
    assert!(work("size(stages['plan'].outputs) > 2") > 1_000);
}

#[test]
fn r050_an_expression_is_its_source_in_json() {
    let expr = Expr::parse("inputs.a == 1").unwrap();
    let json = serde_json::to_string(&expr).unwrap();
    assert_eq!(json, "\"inputs.a == 1\"");
    assert_eq!(serde_json::from_str::<Expr>(&json).unwrap(), expr);
    assert!(serde_json::from_str::<Expr>("\"inputs.a = 1\"").is_err());
}
