//! How many bytes things take when they are written down, without writing them.

use std::collections::BTreeMap;

use eparch_domain::Artifact;
use serde::Serialize;
use serde_json::Value;

/// Counts what is written to it.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a piece of a record takes.
pub(crate) fn length(of: &impl Serialize) -> usize {
    let mut count = Count(0);
    serde_json::to_writer(&mut count, of).expect("what is recorded has no map with keys that are not text");
    count.0
}

/// What an output takes among others: its name, a colon, its value, a comma.
pub(crate) fn output(name: &str, value: &Value) -> usize {
    length(&name) + length(value) + 2
}

/// What a file's entry takes among others, with its comma.
pub(crate) fn artifact(artifact: &Artifact) -> usize {
    length(artifact) + 1
}

/// What everything that a stage has put out takes.
pub(crate) fn left(outputs: &BTreeMap<String, Value>, artifacts: &[Artifact]) -> usize {
    let outputs: usize = outputs.iter().map(|(name, value)| output(name, value)).sum();
    outputs + artifacts.iter().map(artifact).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_is_written() {
        let outputs: BTreeMap<String, Value> = [
            ("text".to_owned(), "\u{1}\"\u{e9}".into()),
            ("list".to_owned(), serde_json::json!([1, 2.5, {"a": null}])),
        ]
        .into();
        let text = serde_json::to_string(&outputs).unwrap();
        assert_eq!(length(&outputs), text.len());
        // Braces for the map, and a comma less than values.
        assert_eq!(left(&outputs, &[]), text.len() - 1);
    }
}
