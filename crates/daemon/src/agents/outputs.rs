//! What a program appended to `EPARCH_OUTPUT`: `name=value` lines, or JSON lines whose members are outputs.

use std::collections::BTreeMap;

use eparch_domain::limits;
use serde_json::Value;

/// Reads outputs. A later line wins over an earlier one of the same name. The second part says what was not taken:
/// bad names, values that are too long or too deep, too many.
pub(crate) fn parse(text: &str) -> (BTreeMap<String, Value>, Vec<String>) {
    let mut outputs = BTreeMap::new();
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let pairs = match read_line(line) {
            Ok(pairs) => pairs,
            Err(problem) => {
                problems.push(format!("output line {}: {problem}", number + 1));
                continue;
            }
        };
        for (name, value) in pairs {
            if let Err(problem) = take(&mut outputs, name, value) {
                problems.push(format!("output line {}: {problem}", number + 1));
            }
        }
        if problems.len() > 100 {
            break;
        }
    }
    (outputs, problems)
}

fn read_line(line: &str) -> Result<Vec<(String, Value)>, String> {
    if line.trim_start().starts_with('{') {
        let object: serde_json::Map<String, Value> =
            serde_json::from_str(line).map_err(|problem| problem.to_string())?;
        return Ok(object.into_iter().collect());
    }
    let (name, value) = line.split_once('=').ok_or("expected name=value or a JSON object")?;
    Ok(vec![(name.trim().to_owned(), Value::from(value))])
}

fn take(outputs: &mut BTreeMap<String, Value>, name: String, value: Value) -> Result<(), String> {
    check(&name, &value)?;
    if outputs.len() >= limits::STAGE_OUTPUTS && !outputs.contains_key(&name) {
        return Err(format!("more than {} outputs", limits::STAGE_OUTPUTS));
    }
    outputs.insert(name, value);
    Ok(())
}

/// Whether an output may have this name and value.
pub(crate) fn check(name: &str, value: &Value) -> Result<(), String> {
    let mut letters = name.bytes();
    let first = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first
        || name.len() > 64
        || !letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    {
        return Err(
            "an output's name is 1 to 64 letters, digits, '_' or '-', beginning with a letter or '_'"
                .to_owned(),
        );
    }
    let length = match value {
        Value::String(text) => text.len(),
        other => other.to_string().len(),
    };
    if length > limits::VALUE_BYTES {
        return Err(format!(
            "the value of {name} has {length} bytes; at most {} are kept",
            limits::VALUE_BYTES
        ));
    }
    if depth(value) > limits::VALUE_DEPTH {
        return Err(format!("the value of {name} nests more than {} levels deep", limits::VALUE_DEPTH));
    }
    Ok(())
}

/// How many lists and objects stand inside one another. What reads JSON bounds it, so this does not go deep either.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_the_last_one_wins() {
        let (outputs, problems) = parse("risk=low\nrisk=high=er\n{\"count\": 3, \"ok\": true}\n\n");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(outputs["risk"], "high=er");
        assert_eq!(outputs["count"], 3);
        assert_eq!(outputs["ok"], true);
    }

    #[test]
    fn nonsense_is_named_and_left_out() {
        let (outputs, problems) = parse("just text\n1x=2\n{broken\nfine=1\n");
        assert_eq!(outputs.len(), 1);
        assert_eq!(problems.len(), 3);
        let (_, problems) = parse(&format!("big={}", "x".repeat(limits::VALUE_BYTES + 1)));
        assert!(problems[0].contains("big"));
    }

    #[test]
    fn g7_a_value_that_nests_too_deeply_is_not_taken() {
        let nested = |levels: usize| format!("{{\"x\": {}{}}}", "[".repeat(levels), "]".repeat(levels));
        let (outputs, problems) = parse(&nested(limits::VALUE_DEPTH));
        assert!(outputs.contains_key("x") && problems.is_empty(), "{problems:?}");
        for levels in [limits::VALUE_DEPTH + 1, 124, 1_000] {
            let (outputs, problems) = parse(&nested(levels));
            assert!(outputs.is_empty() && problems.len() == 1, "{levels}: {problems:?}");
        }
    }
}
