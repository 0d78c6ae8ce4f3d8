//! Prints every generated JSON Schema as a line `{"file": …, "text": …}`; `cargo xtask schema` compares or writes them.

use eparch_domain::{AgentOutput, ClarifiedPlan, ErrorBudget, InOrder, PipelineContext, StageResult};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

fn main() {
    print("schemas/outcome.schema.json", &outcome());
    print("schemas/pipeline.schema.json", &eparch_pipeline::schema_json());
}

fn print(file: &str, text: &str) {
    println!("{}", json!({ "file": file, "text": text }));
}

/// The records that agents and stages leave (R020–R024): a document is one of them.
fn outcome() -> String {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let records = [
        generator.subschema_for::<AgentOutput>(),
        generator.subschema_for::<ClarifiedPlan>(),
        generator.subschema_for::<ErrorBudget>(),
        generator.subschema_for::<StageResult>(),
        generator.subschema_for::<PipelineContext>(),
    ];
    let definitions: Value = generator.take_definitions(true).into();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Outcome records",
        "description": "What an agent or a stage leaves: one of the records under $defs.",
        "oneOf": records,
        "$defs": definitions,
    });
    let text = serde_json::to_string_pretty(&InOrder(&schema)).expect("a JSON value can be written");
    format!("{text}\n")
}
