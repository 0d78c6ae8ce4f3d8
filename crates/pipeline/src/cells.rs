//! How many cells of a terminal's line a text takes, so that a mark stands under what it means.

/// Letters of two cells: Hangul, Chinese and Japanese writing, full-width forms, pictures.
const WIDE: [(char, char); 11] = [
    ('\u{1100}', '\u{115f}'),
    ('\u{2e80}', '\u{303e}'),
    ('\u{3041}', '\u{a4cf}'),
    ('\u{ac00}', '\u{d7a3}'),
    ('\u{f900}', '\u{faff}'),
    ('\u{fe30}', '\u{fe6f}'),
    ('\u{ff00}', '\u{ff60}'),
    ('\u{ffe0}', '\u{ffe6}'),
    ('\u{1f300}', '\u{1f64f}'),
    ('\u{1f680}', '\u{1f9ff}'),
    ('\u{20000}', '\u{3fffd}'),
];

/// Letters that stand on the one before them, or are not seen at all.
const NONE: [(char, char); 12] = [
    ('\u{300}', '\u{36f}'),
    ('\u{483}', '\u{489}'),
    ('\u{591}', '\u{5bd}'),
    ('\u{610}', '\u{61a}'),
    ('\u{64b}', '\u{65f}'),
    ('\u{1ab0}', '\u{1aff}'),
    ('\u{1dc0}', '\u{1dff}'),
    ('\u{200b}', '\u{200d}'),
    ('\u{20d0}', '\u{20ff}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{fe20}', '\u{fe2f}'),
    ('\u{feff}', '\u{feff}'),
];

/// The cells of a text without control characters.
pub(crate) fn cells(text: &str) -> usize {
    let within = |letter: char, ranges: &[(char, char)]| {
        ranges.iter().any(|(first, last)| (*first..=*last).contains(&letter))
    };
    text.chars()
        .map(|letter| match letter {
            letter if letter.is_ascii() => 1,
            letter if within(letter, &NONE) => 0,
            letter if within(letter, &WIDE) => 2,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_and_combining_letters_are_counted_as_they_are_shown() {
        for (text, width) in [
            ("", 0),
            ("abc", 3),
            ("größe", 5),
            ("日本語", 6),
            ("😀", 2),
            ("한글", 4),
            ("e\u{301}", 1),
            ("ａ", 2),
        ] {
            assert_eq!(cells(text), width, "{text}");
        }
    }
}
