//! The JSON Schema of pipeline files, for editors, made from the same description that the reader checks against.

use eparch_domain::InOrder;
use serde_json::{Map, Value, json};

use crate::language::PIPELINE;
use crate::shape::{Field, Object, Shape, Variants};

/// The JSON Schema (draft 2020-12) of a pipeline file. It agrees with the reader on every document, as far as a schema
/// can see: not on what stages require, nor on what an expression says.
pub fn schema_json() -> String {
    let mut definitions = Map::new();
    let mut root = object(&PIPELINE, &[], &mut definitions);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Eparch pipeline",
    });
    let mut schema = head.as_object().expect("it is written as an object").clone();
    schema.append(root.as_object_mut().expect("an object's schema is an object"));
    schema.insert("$defs".into(), Value::Object(definitions));
    let schema = Value::Object(schema);
    let mut text = serde_json::to_string_pretty(&InOrder(&schema)).expect("a schema is plain JSON");
    text.push('\n');
    text
}

fn shape(shape: &Shape, definitions: &mut Map<String, Value>) -> Value {
    match shape {
        Shape::Text | Shape::Scalar => json!({"type": ["string", "number", "boolean"]}),
        Shape::Form(form) => json!({"type": "string", "pattern": form.pattern}),
        Shape::Written(form) => json!({"type": ["string", "number"], "pattern": form.pattern}),
        Shape::Word(words) => json!({"type": "string", "enum": words}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Integer(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Shape::Amount => json!({"type": "number", "minimum": 0}),
        Shape::Tier => json!({"enum": [0, 1, 2, 3, 4, "T0", "T1", "T2", "T3", "T4"]}),
        Shape::List(of, 0) => json!({"type": "array", "items": self::shape(of, definitions)}),
        Shape::List(of, least) => {
            json!({"type": "array", "minItems": least, "items": self::shape(of, definitions)})
        }
        Shape::Map(form, of) => json!({
            "type": "object",
            "propertyNames": {"pattern": form.pattern},
            "additionalProperties": self::shape(of, definitions),
        }),
        Shape::Object(known) => {
            define(known.name, definitions, |definitions| object(known, &[], definitions))
        }
        Shape::Variants(known) => define(known.name, definitions, |definitions| variants(known, definitions)),
    }
}

/// Puts a definition down once and refers to it; a stage holds stages.
fn define(
    name: &str,
    definitions: &mut Map<String, Value>,
    make: impl FnOnce(&mut Map<String, Value>) -> Value,
) -> Value {
    let key = name.trim_start_matches("an ").trim_start_matches("a ").replace("'s", "").replace(' ', "-");
    if !definitions.contains_key(&key) {
        definitions.insert(key.clone(), Value::Null);
        let made = make(definitions);
        definitions.insert(key.clone(), made);
    }
    json!({"$ref": format!("#/$defs/{key}")})
}

fn object(known: &Object, also: &[(&str, Value)], definitions: &mut Map<String, Value>) -> Value {
    let mut properties: Map<String, Value> =
        also.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    for field in known.fields {
        properties.insert(field.name.to_owned(), property(field, definitions));
    }
    let required: Vec<&str> =
        known.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut made = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        made["required"] = json!(required);
    }
    made
}

fn property(field: &Field, definitions: &mut Map<String, Value>) -> Value {
    let mut made = shape(&field.shape, definitions);
    made["description"] = json!(field.about);
    made
}

fn variants(known: &Variants, definitions: &mut Map<String, Value>) -> Value {
    let words: Vec<&str> = known.variants.iter().map(|(word, _)| *word).collect();
    let cases: Vec<Value> = known
        .variants
        .iter()
        .map(|(word, variant)| {
            json!({
                "if": {"properties": {known.tag: {"const": word}}, "required": [known.tag]},
                "then": object(variant, &[(known.tag, json!({"const": word}))], definitions),
            })
        })
        .collect();
    json!({
        "type": "object",
        "required": [known.tag],
        "properties": {known.tag: {"type": "string", "enum": words, "description": known.about}},
        "allOf": cases,
    })
}
