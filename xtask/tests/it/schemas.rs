//! The published schemas, as a stranger would use them.

use eparch_domain::{
    AgentId, AgentOutput, Artifact, ClarifiedPlan, Digest, ErrorBudget, Name, Phase, PipelineContext, RunId,
    Span, StageResult, StageStatus, Tier, Timestamp,
};
use jsonschema::Validator;
use serde_json::{Value, json};

fn outcome_schema() -> Validator {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/outcome.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

fn examples() -> Vec<Value> {
    let digest = Digest::of(b"a plan");
    let name = Name::new("plan").unwrap();
    let grade = Phase::Execute.grade().unwrap();
    let artifact = Artifact { path: "out/plan.json".to_owned(), digest, size: 6, grade };
    let result = StageResult {
        stage: name.clone(),
        status: StageStatus::Completed,
        attempts: 1,
        reason: String::new(),
        outputs: [("risk".to_owned(), json!("low"))].into(),
        artifacts: vec![artifact.clone()],
        took: Span::from_secs(5),
    };
    let output = AgentOutput {
        agent: AgentId::from_bits(1),
        phase: Phase::Execute,
        grade,
        values: [("risk".to_owned(), json!({ "level": 1 }))].into(),
        artifacts: vec![artifact],
        at: Timestamp::from_millis(1_700_000_000_123),
    };
    let plan = ClarifiedPlan {
        replaces: digest,
        plan: Digest::of(b"another"),
        crossing: 1,
        reason: "errors".to_owned(),
    };
    let mut budget = ErrorBudget::default();
    budget.count_error("EP0232");
    let context = PipelineContext {
        run: RunId::from_bits(7),
        grant: Tier::T1,
        inputs: [("environment".to_owned(), json!("staging"))].into(),
        results: [(name, result.clone())].into(),
    };
    [json!(output), json!(plan), json!(budget), json!(result), json!(context)].into()
}

/// Each record as Rust writes it is what its published schema says.
#[test]
fn r020_r023_r024_an_example_of_each_record_validates() {
    let schema = outcome_schema();
    for example in examples() {
        let problems: Vec<String> = schema.iter_errors(&example).map(|problem| problem.to_string()).collect();
        assert!(problems.is_empty(), "{example}: {problems:?}");
    }
}

#[test]
fn r020_r023_r024_a_record_with_a_strange_or_missing_field_does_not_validate() {
    let schema = outcome_schema();
    for example in examples() {
        let mut strange = example.clone();
        strange["strange"] = json!(1);
        assert!(!schema.is_valid(&strange), "{strange}");
        for field in example.as_object().unwrap().keys() {
            let mut short = example.clone();
            short.as_object_mut().unwrap().remove(field);
            assert!(!schema.is_valid(&short), "{short}");
        }
    }
}
