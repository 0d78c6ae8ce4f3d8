//! The JSON Schema and the reader agree on every document (R051).

use eparch_pipeline::schema_json;
use serde_json::{Map, Value, json};

use crate::common::checked;
use crate::dice::Dice;

/// Makes the value of one field.
type Make<'m> = &'m dyn Fn(&mut Dice) -> Value;

/// Values of every kind, good for some field and bad for others.
fn odd(dice: &mut Dice) -> Value {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(3.0),
        json!(2.5),
        json!(21),
        json!(1001),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("a"),
        json!("T2"),
        json!("T5"),
        json!("0s"),
        json!("00m"),
        json!("010m"),
        json!("10m"),
        json!("1.5h"),
        json!("999999d"),
        json!("A b"),
        json!("a@b"),
        json!("x:1"),
        json!("[::]:99999"),
        json!("-x:1"),
        json!("a_b-c.d"),
        json!("é"),
        json!("9"),
        json!("a/b"),
        json!("fail"),
        json!("skip"),
        json!([]),
        json!(["a"]),
        json!([1, "b"]),
        json!([[]]),
        json!({}),
        json!({"name": "x"}),
        json!({"tokens": 1}),
        json!("*"),
        json!("process"),
        json!("a\nb"),
        json!("y".repeat(65)),
        json!("${{ inputs.x }}"),
        json!("10m\n"),
    ];
    dice.pick(&values)
}

fn scalar(dice: &mut Dice, good: &[Value]) -> Value {
    if dice.roll(24) == 0 { odd(dice) } else { dice.pick(good) }
}

fn fields(dice: &mut Dice, known: &[(&str, Make<'_>)]) -> Value {
    let mut made = Map::new();
    for (name, value) in known {
        if dice.roll(3) == 0 {
            made.insert((*name).to_owned(), value(dice));
        }
    }
    if dice.roll(40) == 0 {
        let name = dice.pick(&["", "nmae", "config", "x-y", "tier", "EPARCH_X", "1"]);
        made.insert(name.to_owned(), odd(dice));
    }
    Value::Object(made)
}

fn words(dice: &mut Dice, good: &[Value]) -> Value {
    let count = dice.roll(4);
    let mut list: Vec<Value> = (0..count).map(|_| scalar(dice, good)).collect();
    if dice.roll(12) > 0 && list.is_empty() {
        list.push(dice.pick(good));
    }
    Value::Array(list)
}

fn config(dice: &mut Dice) -> Value {
    let span = |dice: &mut Dice| {
        scalar(dice, &[json!("10m"), json!("2h"), json!("1d"), json!("250ms"), json!("007s")])
    };
    let texts = |dice: &mut Dice| {
        words(dice, &[json!("a"), json!(1), json!(true), json!("${{ inputs.x }}"), json!("b c")])
    };
    let count = |dice: &mut Dice| scalar(dice, &[json!(0), json!(1), json!(2.0), json!(20)]);
    let env = |dice: &mut Dice| {
        fields(dice, &[("A", &|_| json!("b")), ("_x9", &|_| json!(1)), ("a-b", &|_| json!(1))])
    };
    let backoff = |dice: &mut Dice| scalar(dice, &[json!("0s"), json!("5s")]);
    let dollars = |dice: &mut Dice| scalar(dice, &[json!(0.5), json!(2)]);
    let verify = |dice: &mut Dice| {
        let (one, two) = (words(dice, &[json!("test")]), words(dice, &[json!("x")]));
        if dice.roll(9) == 0 { one } else { json!([one, two]) }
    };
    let known: &[(&str, Make<'_>)] = &[
        ("tier", &|dice| scalar(dice, &[json!(0), json!(4), json!("T1"), json!(2.0)])),
        ("timeout", &span),
        ("attempt_timeout", &span),
        ("start_timeout", &span),
        ("idle_timeout", &span),
        ("objective", &|dice| scalar(dice, &[json!("do it"), json!(5)])),
        ("command", &texts),
        ("env", &env),
        ("paths", &|dice| fields(dice, &[("read", &texts), ("write", &texts)])),
        ("actions", &texts),
        ("tools", &|dice| words(dice, &[json!("read_file"), json!("terraform_*"), json!("a/b:c")])),
        ("model", &|dice| scalar(dice, &[json!("a/b-c"), json!("m:1@x")])),
        ("retries", &|dice| fields(dice, &[("max", &count), ("backoff", &backoff)])),
        ("runtime", &|dice| scalar(dice, &[json!("process"), json!("council")])),
        ("on_interrupt", &|dice| scalar(dice, &[json!("ask")])),
        ("egress", &|dice| words(dice, &[json!("a.b:443"), json!("[::1]:1"), json!("a-b:80")])),
        ("secrets", &|dice| words(dice, &[json!("a/b"), json!("_c")])),
        ("locks", &texts),
        ("verify", &verify),
        ("continue_on_error", &|dice| scalar(dice, &[json!(true), json!(false)])),
        ("budget", &|dice| fields(dice, &[("tokens", &count), ("dollars", &dollars)])),
        ("artifacts", &texts),
        ("sandbox", &|dice| scalar(dice, &[json!("required"), json!("best-effort")])),
    ];
    fields(dice, known)
}

fn gate_config(dice: &mut Dice) -> Value {
    let known: &[(&str, Make<'_>)] = &[
        ("gate_type", &|dice| scalar(dice, &[json!("approval"), json!("consensus")])),
        ("approvers", &|dice| words(dice, &[json!("team-lead"), json!("x")])),
        ("quorum", &|dice| scalar(dice, &[json!(1), json!(1000), json!(3.0)])),
        ("timeout", &|dice| scalar(dice, &[json!("30m")])),
        ("on_timeout", &|dice| scalar(dice, &[json!("skip")])),
        ("of", &|dice| scalar(dice, &[json!("a")])),
    ];
    fields(dice, known)
}

fn branch(dice: &mut Dice, depth: usize) -> Value {
    let mut branch = Map::new();
    branch.insert("name".into(), scalar(dice, &[json!("b1"), json!("b2")]));
    branch.insert("stages".into(), stages(dice, depth + 1));
    Value::Object(branch)
}

fn stage(dice: &mut Dice, depth: usize) -> Value {
    let mut made = Map::new();
    if dice.roll(40) > 0 {
        made.insert("name".into(), scalar(dice, &[json!("a"), json!("B.c-d"), json!("x_1")]));
    }
    let kinds: &[&str] =
        if depth > 2 { &["agent", "gate"] } else { &["agent", "agent", "gate", "parallel", "condition"] };
    let kind = dice.pick(kinds);
    if dice.roll(40) > 0 {
        made.insert("type".into(), if dice.roll(30) == 0 { odd(dice) } else { json!(kind) });
    }
    if dice.roll(4) == 0 {
        made.insert("requires".into(), words(dice, &[json!("a"), json!("b")]));
    }
    match kind {
        "agent" => {
            if dice.roll(3) == 0 {
                made.insert("template".into(), scalar(dice, &[json!("default"), json!("a.b@1.2")]));
            }
            if dice.roll(3) > 0 {
                made.insert("config".into(), config(dice));
            }
        }
        "gate" => {
            if dice.roll(12) > 0 {
                made.insert("config".into(), gate_config(dice));
            }
        }
        "parallel" => {
            if dice.roll(16) > 0 {
                let count = 1 + dice.roll(2) - usize::from(dice.roll(12) == 0);
                made.insert(
                    "branches".into(),
                    Value::Array((0..count).map(|_| branch(dice, depth)).collect()),
                );
            }
            if dice.roll(2) == 0 {
                let known: &[(&str, Make<'_>)] = &[
                    ("max_concurrency", &|dice| scalar(dice, &[json!(1), json!(4)])),
                    ("on_failure", &|dice| scalar(dice, &[json!("wait_all")])),
                ];
                made.insert("config".into(), fields(dice, known));
            }
        }
        _ => {
            made.insert("if".into(), scalar(dice, &[json!("true"), json!(true), json!("inputs.x == 'a'")]));
            if dice.roll(16) > 0 {
                made.insert("then".into(), stages(dice, depth + 1));
            }
            if dice.roll(2) == 0 {
                made.insert("else".into(), stages(dice, depth + 1));
            }
        }
    }
    if dice.roll(40) == 0 {
        let name = dice.pick(&["commnad", "then", "branches", "if", "config", "on"]);
        made.insert(name.into(), odd(dice));
    }
    Value::Object(made)
}

fn stages(dice: &mut Dice, depth: usize) -> Value {
    if dice.roll(60) == 0 {
        return odd(dice);
    }
    let count = if dice.roll(20) == 0 { 0 } else { 1 + dice.roll(2) };
    Value::Array((0..count).map(|_| stage(dice, depth)).collect())
}

fn input(dice: &mut Dice) -> Value {
    let known: &[(&str, Make<'_>)] = &[
        ("type", &|dice| scalar(dice, &[json!("string"), json!("integer")])),
        ("enum", &|dice| words(dice, &[json!("a"), json!(1)])),
        ("default", &|dice| scalar(dice, &[json!("a"), json!(1), json!(true)])),
        ("description", &|dice| scalar(dice, &[json!("d")])),
    ];
    fields(dice, known)
}

fn document(dice: &mut Dice) -> Value {
    let inputs = |dice: &mut Dice| {
        let strange = dice.roll(12) == 0;
        let last = if strange { "9a" } else { "y-z" };
        fields(dice, &[("x", &input), (last, &|_| json!({}))])
    };
    let known: &[(&str, Make<'_>)] = &[
        ("version", &|dice| scalar(dice, &[json!("1.0"), json!(2)])),
        ("description", &|dice| scalar(dice, &[json!("x")])),
        ("timeout", &|dice| scalar(dice, &[json!("30m")])),
        ("profile", &|dice| scalar(dice, &[json!("startup"), json!("healthcare")])),
        ("inputs", &inputs),
        ("budget", &|dice| fields(dice, &[("tokens", &|dice| scalar(dice, &[json!(1)]))])),
    ];
    let mut made = fields(dice, known);
    let root = made.as_object_mut().unwrap();
    if dice.roll(40) > 0 {
        root.insert("name".into(), scalar(dice, &[json!("a-1"), json!("pipe")]));
    }
    if dice.roll(40) > 0 {
        root.insert("stages".into(), stages(dice, 0));
    }
    made
}

#[test]
fn r051_schema_and_reader_agree_on_12_000_documents() {
    let schema: Value = serde_json::from_str(&schema_json()).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let (mut sound, mut broken) = (0, 0);
    for seed in 1..=12_000 {
        let document = document(&mut Dice::new(seed));
        // JSON is YAML, and says exactly what each value is.
        let text = serde_json::to_string_pretty(&document).unwrap();
        let checked = checked(&text);
        let reader = checked.diagnostics.iter().filter(|one| one.is_structural()).collect::<Vec<_>>();
        let unreadable =
            checked.diagnostics.iter().any(|one| matches!(one.code, "EP0101" | "EP0102" | "EP0103"));
        assert!(!unreadable, "{text}\n{}", checked.to_text());
        let schema_says = validator.is_valid(&document);
        assert_eq!(
            schema_says,
            reader.is_empty(),
            "document {seed}\n{text}\nreader: {reader:#?}\nschema: {:?}",
            validator.iter_errors(&document).map(|error| error.to_string()).collect::<Vec<_>>()
        );
        if schema_says { sound += 1 } else { broken += 1 }
    }
    assert!(sound > 1_000 && broken > 1_000, "{sound} sound, {broken} broken");
}

#[test]
fn r051_the_published_schema_is_the_generated_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/pipeline.schema.json");
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    let made = schema_json();
    let differs = published.lines().zip(made.lines()).find(|(is, should)| is != should);
    assert!(published == made, "`cargo xtask schema --write`; the first line that differs: {differs:?}");
}
