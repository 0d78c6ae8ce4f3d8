//! Texts from outside on somebody's screen: they must not steer it, nor stand where they are not.

use std::borrow::Cow;

/// True for a character that is no text: a control character, which could move the cursor, clear the screen or retitle the
/// window; one that turns the direction of writing, so that words are read in another order than they stand; one that
/// ends a line.
pub fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text on one line, its harmful characters replaced one for one: tabs and line breaks by a space, others by `\u{fffd}`.
///
/// ```
/// use eparch_domain::harmless;
///
/// assert_eq!(harmless("größe\t日本"), "größe 日本");
/// assert_eq!(harmless("safe\u{1b}[2J\u{202e}evil"), "safe\u{fffd}[2J\u{fffd}evil");
/// ```
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let letter = |letter| match letter {
        '\t' | '\n' => ' ',
        letter if is_harmful(letter) => '\u{fffd}',
        letter => letter,
    };
    Cow::Owned(text.chars().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_only_text_is_borrowed() {
        for text in ["", "größe 日本 😀", "a\u{301} zero\u{200d}width"] {
            assert!(matches!(harmless(text), Cow::Borrowed(_)), "{text:?}");
        }
    }

    #[test]
    fn breaks_controls_and_directions_are_replaced() {
        assert_eq!(harmless("a\nb\rc\u{85}d\u{9b}e\u{7f}"), "a b\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}");
        assert_eq!(harmless("\u{2028}\u{2029}\u{202e}\u{2067}\u{200f}\u{61c}"), "\u{fffd}".repeat(6));
    }

    proptest! {
        #[test]
        fn letters_keep_their_number_and_nothing_harmful_stays(text in "\\PC*|[\\x00-\\x20\u{2020}-\u{2070}a-c]{0,40}") {
            let shown = harmless(&text);
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            prop_assert!(!shown.contains(is_harmful));
        }
    }
}
