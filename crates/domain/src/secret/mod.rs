//! What secrets look like (1.3-j): one table, for redaction and for the scan of the tree. Known shapes, not guesses.
//!
//! The workshop reads these files as they are, so that it opens when the crate does not compile: they name nothing else
//! of it.

mod numbers;
mod shapes;

/// A piece of a text that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it stands, in bytes.
    pub(crate) range: std::ops::Range<usize>,
    /// What to call it: `an AWS key id`.
    pub(crate) kind: &'static str,
}

/// Every secret of a known shape in a text, in their order; none overlaps another. Linear in the text.
pub(crate) fn find(text: &str) -> Vec<Found> {
    let mut all = shapes::find(text);
    all.extend(numbers::find(text));
    all.sort_by_key(|found| (found.range.start, std::cmp::Reverse(found.range.end)));
    let mut end = 0;
    all.retain(|found| {
        let is_apart = found.range.start >= end;
        end = end.max(found.range.end);
        is_apart
    });
    all
}

/// A line that begins a private key: where its header stands.
pub(crate) fn private_key(line: &str) -> Option<usize> {
    let headers = line.match_indices("-----BEGIN ");
    headers.map(|(at, begin)| (at, &line[at + begin.len()..])).find_map(|(at, rest)| {
        let name = rest.find(|c: char| !(c.is_ascii_uppercase() || c == ' ')).unwrap_or(rest.len());
        let is_key = rest[..name].ends_with("PRIVATE KEY") || rest[..name].ends_with("PRIVATE KEY BLOCK");
        (is_key && rest[name..].starts_with("-----")).then_some(at)
    })
}
