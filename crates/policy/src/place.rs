//! Where something stands in a file.

/// The line and column of a byte, both from 1; columns count characters. A byte past the end is the end, and one inside a
/// character is that character.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let begin = before.rfind('\n').map_or(0, |found| found + 1);
    (before.matches('\n').count() + 1, before[begin..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_and_in_characters() {
        assert_eq!(line_and_column("", 0), (1, 1));
        assert_eq!(line_and_column("a\nüb", 4), (2, 2));
        assert_eq!(line_and_column("a\nüb", 3), (2, 1));
        assert_eq!(line_and_column("a\n", 99), (2, 1));
    }
}
