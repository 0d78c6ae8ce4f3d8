//! What a run is given.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::common::checked;

fn pipeline() -> eparch_pipeline::Pipeline {
    checked(include_str!("../fixtures/everything.yaml")).pipeline.unwrap()
}

fn texts(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn r059_inputs_are_typed_and_defaults_fill_in() {
    let given = texts(&[("ticket", "T-1"), ("count", "7"), ("share", "1e-1"), ("dry", "false")]);
    let bound = pipeline().bind(&given).unwrap();
    let expected = json!({"environment": "staging", "count": 7, "share": 0.1, "dry": false, "ticket": "T-1"});
    assert_eq!(serde_json::to_value(bound).unwrap(), expected);
    // A text that looks like a number stays text where text is asked for.
    assert_eq!(pipeline().bind(&texts(&[("ticket", "12")])).unwrap()["ticket"], json!("12"));
}

#[test]
fn r059_every_problem_is_told() {
    let given = [
        ("enviroment", "x"),
        ("count", "seven"),
        ("environment", "prodution"),
        ("share", "NaN"),
        ("dry", "yes"),
    ];
    let problems = pipeline().bind(&texts(&given)).unwrap_err();
    let told: Vec<(&str, &str)> =
        problems.iter().map(|problem| (problem.code, problem.name.as_str())).collect();
    assert_eq!(
        told,
        [
            ("EP0190", "enviroment"),
            ("EP0192", "count"),
            ("EP0192", "dry"),
            ("EP0193", "environment"),
            ("EP0192", "share"),
            ("EP0191", "ticket"),
        ]
    );
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `environment`?"));
    assert_eq!(problems[3].hint.as_deref(), Some("did you mean `production`?"));
}

/// What a file gives an input itself is held to what a run may give it.
#[test]
fn r059_a_default_fits_as_a_runs_value_does() {
    let text = |input: &str| {
        format!(
            "name: a\ninputs: {{n: {input}}}\nstages:\n- {{name: b, type: agent, config: {{command: [c, \"${{{{ inputs.n }}}}\"]}}}}\n"
        )
    };
    let long = "x".repeat(eparch_domain::limits::VALUE_BYTES + 1);
    for (input, fits) in [
        ("{type: number, enum: [1, 2], default: 1.0}", true),
        ("{type: integer, enum: [1.0, 2], default: 2.0}", true),
        ("{type: number, enum: [1, 2], default: 1.5}", false),
        ("{type: integer, default: 1.5}", false),
        ("{type: boolean, default: \"true\"}", false),
        ("{enum: [a, b], default: c}", false),
        (&format!("{{default: {}}}", &long[1..]), true),
        (&format!("{{default: {long}}}"), false),
    ] {
        let checked = checked(&text(input));
        let codes: Vec<&str> = checked.diagnostics.iter().map(|one| one.code).collect();
        assert_eq!(codes, if fits { &[][..] } else { &["EP0170"] }, "{}", &input[..input.len().min(60)]);
        let Some(pipeline) = checked.pipeline else { continue };
        // What is taken is what the same text of a run becomes.
        let default = pipeline.inputs["n"].default.clone().unwrap();
        let written = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        assert_eq!(pipeline.bind(&texts(&[("n", &written)])).unwrap()["n"], default);
    }
}

#[test]
fn r059_values_of_a_request_are_held_to_the_same() {
    let given =
        |value: Value| BTreeMap::from([("ticket".to_owned(), json!("t")), ("count".to_owned(), value)]);
    assert_eq!(pipeline().bind_json(&given(json!(3.0))).unwrap()["count"], json!(3));
    for bad in [json!(3.5), json!("3"), json!(null), json!([3]), json!(u64::MAX)] {
        assert!(pipeline().bind_json(&given(bad.clone())).is_err(), "{bad}");
    }
    let long = BTreeMap::from([("ticket".to_owned(), json!("x".repeat(70_000)))]);
    assert_eq!(pipeline().bind_json(&long).unwrap_err()[0].code, "EP0192");
}
