//! A file into its policies, so that one that cannot be read hides no other's faults and every problem has its place.

use std::ops::Range;

/// Where each policy of a file stands, from its first annotation or word to its semicolon. What follows the last
/// semicolon, if it is not only space and remarks, is one more, for the parser to refuse.
pub(crate) fn policies(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut begin: Option<usize> = None;
    for (at, byte) in (Bare { bytes: text.as_bytes(), at: 0 }) {
        let from = *begin.get_or_insert(at);
        if byte == b';' {
            begin = None;
            found.push(from..at + 1);
        }
    }
    found.extend(begin.map(|from| from..text.trim_end().len().max(from)));
    found
}

/// The first bracket that more than `most` others enclose.
pub(crate) fn nests_too_deeply(text: &str, most: usize) -> Option<usize> {
    let mut depth: usize = 0;
    for (at, byte) in (Bare { bytes: text.as_bytes(), at: 0 }) {
        match byte {
            b'(' | b'[' | b'{' if depth == most => return Some(at),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// The bytes of a text that are neither space nor remark nor inside quotes, with their places; a quoted text is its first
/// quote.
struct Bare<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Iterator for Bare<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<(usize, u8)> {
        loop {
            let at = self.at;
            match *self.bytes.get(at)? {
                b'/' if self.bytes.get(at + 1) == Some(&b'/') => {
                    let rest = &self.bytes[at..];
                    self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                }
                b'"' => {
                    self.at = end_of_text(self.bytes, at);
                    return Some((at, b'"'));
                }
                byte => {
                    self.at += 1;
                    if !byte.is_ascii_whitespace() {
                        return Some((at, byte));
                    }
                }
            }
        }
    }
}

/// The byte after a quoted text that begins at `at`; the end when it is not closed.
fn end_of_text(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(text: &str) -> Vec<&str> {
        policies(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn semicolons_in_texts_and_remarks_end_nothing() {
        let text = "// a;\n@id(\"a;\\\"b\")\npermit (a) // ;\n; forbid (b);\n// end;\n";
        assert_eq!(pieces(text), ["@id(\"a;\\\"b\")\npermit (a) // ;\n;", "forbid (b);"]);
        assert_eq!(pieces(" \n// nothing"), Vec::<&str>::new());
        assert_eq!(pieces("permit (a"), ["permit (a"]);
        assert_eq!(pieces("\"open; x"), ["\"open; x"]);
        assert_eq!(pieces(";;"), [";", ";"]);
    }

    #[test]
    fn brackets_are_counted_where_they_are_brackets() {
        assert_eq!(nests_too_deeply("([{}])", 3), None);
        assert_eq!(nests_too_deeply("([{}])", 2), Some(2));
        assert_eq!(nests_too_deeply("(\"[[[\" // {{{\n)", 1), None);
        assert_eq!(nests_too_deeply("))))(", 1), None);
    }

    proptest! {
        #[test]
        fn pieces_are_texts_in_order_whatever_comes(text in "[a-z;/\"\\\\ \nü]{0,60}") {
            let mut last = 0;
            for range in policies(&text) {
                prop_assert!(range.start >= last && text.get(range.clone()).is_some(), "{range:?}");
                last = range.end;
            }
        }
    }
}
