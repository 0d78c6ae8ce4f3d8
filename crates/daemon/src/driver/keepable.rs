//! What the ledger can keep of a decision.

use eparch_governor::{Effect, Record, RecordError};
use eparch_ledger::BODY_MAX;

/// A reader of JSON goes so deep, and no deeper.
const JSON_DEPTH: usize = 127;

/// How many effects of a decision wait for a result: the ledger counts so many of one entry, and no more.
pub(super) fn effects_due(effects: &[Effect]) -> Result<u16, String> {
    let due = effects.iter().filter(|effect| effect.has_result()).count();
    u16::try_from(due).map_err(|_| format!("it asks for {due} things, and an entry for {} at most", u16::MAX))
}

/// Whether a record could be kept: the ledger takes entries up to a length, and what it has must be readable.
pub(super) fn keepable(body: &[u8]) -> Result<(), String> {
    if body.len() > BODY_MAX {
        return Err(format!(
            "it has {} bytes, and an entry of the ledger has at most {BODY_MAX}",
            body.len()
        ));
    }
    read_back(body).map_err(|problem| problem.to_string())
}

/// Whether a record could be read back. What was written of it is valid, so only its depth can be too much for a reader: the
/// reader itself is asked when that comes near. It cannot in a record with few lists and objects, which most are.
fn read_back(body: &[u8]) -> Result<(), RecordError> {
    let opened = body.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if opened < JSON_DEPTH || depth(body) < JSON_DEPTH / 2 {
        Ok(())
    } else {
        Record::from_bytes(body).map(drop)
    }
}

/// How many lists and objects stand inside one another at most.
fn depth(json: &[u8]) -> usize {
    let (mut now, mut most) = (0usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' if !in_text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use eparch_domain::RunId;

    use super::*;

    #[test]
    fn more_effects_than_an_entry_counts_are_an_error_and_no_panic() {
        let end = Effect::EndCredential { run: RunId::from_bits(1), accessor: String::new(), at: None };
        let most = usize::from(u16::MAX);
        assert_eq!(effects_due(&vec![end.clone(); most]), Ok(u16::MAX));
        assert!(effects_due(&vec![end; most + 1]).is_err());
    }

    #[test]
    fn depth_counts_what_stands_inside_one_another_and_not_what_is_text() {
        assert_eq!(depth(b"1"), 0);
        assert_eq!(depth(br#"{"a": [1, [2], [3]], "b": {}}"#), 3);
        assert_eq!(depth(br#"["[[[[", "\"[[", "\\", [1]]"#), 2);
    }
}
