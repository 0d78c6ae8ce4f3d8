//! YAML files of other languages than that of pipelines, read with the same care: one document, no references, no key twice,
//! bounded, every part with its place.

use serde_json::Value;

use crate::diagnostic::{Diagnostic, Place, Problems};
use crate::source::Source;
use crate::syntax::{self, Kind, Node};

/// A part of a document.
#[derive(Debug, Clone)]
pub struct Part {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub content: Content,
}

/// What a part is.
#[derive(Debug, Clone)]
pub enum Content {
    /// Text, a number, true or false, or nothing.
    Scalar(Value),
    /// A list.
    List(Vec<Part>),
    /// Keys, each with its place, and what is under them.
    Map(Vec<(String, Place, Part)>),
}

impl Part {
    /// The same without places.
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Part::to_value).collect()),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|(key, _, part)| (key.clone(), part.to_value())).collect())
            }
        }
    }
}

/// Reads a document of at most as many bytes as a pipeline may have.
///
/// # Errors
///
/// Everything that keeps the text from being one.
pub fn read(text: &str) -> Result<Part, Vec<Diagnostic>> {
    let source = Source::new(text);
    let mut problems = Problems::default();
    let tree = syntax::read(text, &mut problems);
    match tree.filter(|_| !problems.has_errors()) {
        Some(tree) => Ok(part(&tree, &source)),
        None => Err(problems.finish(&source)),
    }
}

fn part(node: &Node, source: &Source<'_>) -> Part {
    let place = source.span(node.range.clone());
    let content = match &node.kind {
        Kind::Scalar(scalar) => Content::Scalar(scalar.value().clone()),
        Kind::List(items) => Content::List(items.iter().map(|item| part(item, source)).collect()),
        Kind::Map(entries) => {
            let entry = |entry: &syntax::Entry| {
                (entry.key.clone(), source.span(entry.key_range.clone()), part(&entry.value, source))
            };
            Content::Map(entries.iter().map(entry).collect())
        }
    };
    Part { place, content }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_place_and_faults_are_told() {
        let read_well = read("a: [1, {b: x}]\n").expect("a document");
        assert_eq!(read_well.to_value(), serde_json::json!({ "a": [1, { "b": "x" }] }));
        let Content::Map(entries) = &read_well.content else { panic!("a map") };
        let Content::List(items) = &entries[0].2.content else { panic!("a list") };
        assert_eq!((items[1].place.line, items[1].place.column), (1, 8));
        let twice = read("a: 1\na: 2\n").expect_err("a key twice");
        assert_eq!((twice[0].code, twice[0].span.line), ("EP0104", 2));
        assert!(read("a: *b").is_err() && read("- a\nb: c").is_err());
    }
}
