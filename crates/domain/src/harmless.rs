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

/// True for a character that people do not see, or do not see for what it is: every one that [`is_harmful`], one that takes no
/// room or joins others, one that looks like a space and is none, one that means nothing at all. Two texts that differ in
/// nothing else look the same.
pub fn is_unseen(letter: char) -> bool {
    is_harmful(letter)
        || matches!(letter,
            // Of no width: soft hyphens, joiners, marks of the beginning of a file, fillers, selectors of a variant, tags.
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
            // Spaces of all widths but the one that everybody means, and the letter that is an empty pattern of dots.
            | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{2800}'
            // For private use: whoever sees it sees what their own font makes of it.
            | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' | '\u{fdd0}'..='\u{fdef}')
        || matches!(u32::from(letter) & 0xffff, 0xfffe | 0xffff)
}

/// A text as somebody has to see it who decides by it: on one line, and what they would not see written out.
///
/// ```
/// use eparch_domain::written_out;
///
/// assert_eq!(written_out("größe 日本"), "größe 日本");
/// assert_eq!(written_out("prod\u{200b}-1\tx\u{202e}"), r"prod\u{200b}-1\tx\u{202e}");
/// ```
pub fn written_out(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match is_unseen(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    Cow::Owned(shown)
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

    #[test]
    fn what_nobody_sees_is_written_out() {
        for unseen in [
            '\u{200b}',
            '\u{200d}',
            '\u{2060}',
            '\u{feff}',
            '\u{ad}',
            '\u{a0}',
            '\u{3000}',
            '\u{e0041}',
            '\u{fe0f}',
            '\u{1b}',
        ] {
            assert!(is_unseen(unseen), "{unseen:?}");
            let code = format!("a\\u{{{:x}}}b", u32::from(unseen));
            assert_eq!(written_out(&format!("a{unseen}b")), code);
        }
        assert_eq!(written_out("a\nb\r"), "a\\nb\\r");
        for text in ["", "a b", "größe 日本 😀", "a\u{301}"] {
            assert!(matches!(written_out(text), Cow::Borrowed(_)), "{text:?}");
        }
    }

    proptest! {
        /// Two texts that look the same are the same: what is shown has nothing unseen in it, and differs where they do.
        #[test]
        fn what_is_shown_is_seen_and_tells_apart(
            text in "[a-c \u{200b}-\u{200f}\u{202a}-\u{202e}\u{2060}-\u{2069}\u{feff}\u{a0}\u{e0001}]{0,20}",
            other in "[a-c \u{200b}-\u{200f}\u{202a}-\u{202e}\u{2060}-\u{2069}\u{feff}\u{a0}\u{e0001}]{0,20}",
        ) {
            prop_assert!(!written_out(&text).contains(is_unseen));
            prop_assert_eq!(written_out(&text) == written_out(&other), text == other);
        }

        #[test]
        fn nothing_that_anybody_writes_stays_unseen(text in any::<String>()) {
            let shown = written_out(&text);
            prop_assert!(!shown.contains(is_unseen) && !shown.contains(is_harmful));
            prop_assert!(text.contains(is_unseen) || shown == text);
        }

        #[test]
        fn letters_keep_their_number_and_nothing_harmful_stays(text in "\\PC*|[\\x00-\\x20\u{2020}-\u{2070}a-c]{0,40}") {
            let shown = harmless(&text);
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            prop_assert!(!shown.contains(is_harmful));
        }
    }
}
