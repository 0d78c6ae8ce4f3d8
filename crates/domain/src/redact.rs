//! Keeps secrets out of lines that people and files will keep (1.3-j).

use std::borrow::Cow;

use crate::secret;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Replaces every secret of a known shape, and every occurrence of the `known` secrets themselves, by [`REDACTED`].
/// Borrows when there was nothing to hide. Linear in the text for a fixed list of shapes and secrets.
pub fn redact<'a>(text: &'a str, known: &[&str]) -> Cow<'a, str> {
    let mut out: Cow<'a, str> = Cow::Borrowed(text);
    for secret in known.iter().filter(|secret| secret.len() >= 8) {
        if out.contains(secret) {
            out = Cow::Owned(out.replace(secret, REDACTED));
        }
    }
    if out.contains("-----BEGIN ") && secret::private_key(&out).is_some() {
        out = Cow::Owned(without_private_keys(&out));
    }
    let found = secret::find(&out);
    if found.is_empty() {
        return out;
    }
    let mut clean = String::with_capacity(out.len());
    let mut at = 0;
    for secret in found {
        clean.push_str(&out[at..secret.range.start]);
        clean.push_str(REDACTED);
        at = secret.range.end;
    }
    clean.push_str(&out[at..]);
    Cow::Owned(clean)
}

/// Whether a number is a secret of a known shape, as a payment card's is. What stands behind its point does not count: a
/// fraction has any digits.
pub fn is_secret_number(number: &serde_json::Number) -> bool {
    let text = number.to_string();
    let whole = text.split('.').next().unwrap_or_default();
    redact(whole, &[]) != whole
}

/// Each line of a text, followed as a stream's lines are.
fn without_private_keys(text: &str) -> String {
    let mut lines = PrivateKeyLines::default();
    text.split('\n').map(|line| lines.without_key(line)).collect::<Vec<_>>().join("\n")
}

/// Follows a private key over several lines of a stream.
///
/// Whoever prints the first line of a key and goes on with something else hides nothing by it: only what looks like the
/// rest of a key is taken out, and no more of it than a key has.
#[derive(Debug, Default, Clone)]
pub struct PrivateKeyLines {
    inside: Option<Key>,
}

/// A key of which the header was seen.
#[derive(Debug, Default, Clone)]
struct Key {
    /// Lines taken out so far.
    lines: usize,
    /// The length of its body's last line; each but the last is as long as the first.
    last: Option<usize>,
    /// Its body has ended.
    is_whole: bool,
}

/// The lines of a private key of 32,768 bits, more than anybody has.
const MOST_KEY_LINES: usize = 400;
/// The headers a key's body may have before it.
const KEY_HEADERS: [&str; 4] = ["Proc-Type:", "DEK-Info:", "Version:", "Comment:"];

impl PrivateKeyLines {
    /// Redacts the next line of a stream, remembering whether it stands inside a private key.
    pub fn line<'a>(&mut self, line: &'a str, known: &[&str]) -> Cow<'a, str> {
        match self.without_key(line) {
            Cow::Borrowed(line) => redact(line, known),
            Cow::Owned(clean) => Cow::Owned(redact(&clean, known).into_owned()),
        }
    }

    /// The line without what belongs to a private key.
    fn without_key<'a>(&mut self, line: &'a str) -> Cow<'a, str> {
        if let Some(key) = &mut self.inside {
            if line.contains("-----END ") && line.contains("PRIVATE KEY") {
                self.inside = None;
                return Cow::Borrowed(REDACTED);
            }
            if key.goes_on(line) {
                return Cow::Borrowed(REDACTED);
            }
            self.inside = None;
        }
        let Some(at) = secret::private_key(line) else { return Cow::Borrowed(line) };
        // A whole key in one line, its breaks written as `\n`, goes with the line.
        self.inside = (!line[at..].contains("-----END ")).then(Key::default);
        Cow::Owned(format!("{}{REDACTED}", &line[..at]))
    }
}

impl Key {
    /// True when the line looks like the next one of the key.
    fn goes_on(&mut self, line: &str) -> bool {
        self.lines += 1;
        // As a file, a change of one, a quoted text or a list shows it.
        let body = line.trim_matches([' ', '\t', '\r', '"', '\'', '+', '-', '>', '|', ',', ';', '\\']);
        let body = body.strip_suffix("\\n").unwrap_or(body);
        if self.is_whole || self.lines > MOST_KEY_LINES {
            return false;
        }
        if self.last.is_none()
            && (body.is_empty() || KEY_HEADERS.iter().any(|header| body.starts_with(header)))
        {
            return true;
        }
        let is_body = !body.is_empty()
            && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        // The last line may be shorter than the others, or a checksum.
        let length = body.len();
        self.is_whole = self.last.is_some_and(|last| length < last);
        self.last = Some(length);
        is_body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Secrets are put together here so that the tree holds none (R029, R141).
    fn sample(prefix: &str, body: &str) -> String {
        format!("{prefix}{body}")
    }

    #[test]
    fn every_kind_is_hidden_and_its_surroundings_kept() {
        let long = "A1B2C3D4E5F6G7H8J9K0".repeat(2);
        for prefix in ["AKIA", "ghu_", "npm_", "ya29.", "1//0", "AIza", "eyJ", "ept_"] {
            let line = format!("key={}, next", sample(prefix, &long));
            assert_eq!(redact(&line, &[]), format!("key={REDACTED}, next"), "{prefix}");
        }
        for number in [["4111 1111 ", "1111 1111"], ["529.982", ".247-25"], ["11.222.333", "/0001-81"]] {
            assert_eq!(redact(&format!("no. {}!", number.concat()), &[]), format!("no. {REDACTED}!"));
        }
    }

    #[test]
    fn g8_a_card_is_known_as_a_number_and_a_fraction_is_none() {
        // A published test number, put together so that the tree holds none.
        let card = ["4111", "111111111111"].concat();
        let is_secret = |text: &str| is_secret_number(&text.parse().expect("a number"));
        for text in [card.clone(), format!("-{card}"), format!("{card}.0"), format!("{card}.5")] {
            assert!(is_secret(&text), "{text}");
        }
        for text in ["7".to_owned(), "253402200000000".to_owned(), format!("0.{card}"), format!("{card}e5")] {
            assert!(!is_secret(&text), "{text}");
        }
    }

    #[test]
    fn plain_text_is_borrowed_and_near_misses_stay() {
        for plain in
            ["nothing here", "task-ant-hill", "AKIA is a prefix", "eyJ", "desk_live_it_up_now_please"]
        {
            assert!(matches!(redact(plain, &[]), Cow::Borrowed(_)), "{plain}");
        }
    }

    #[test]
    fn the_agents_own_token_is_hidden_wherever_it_occurs() {
        assert_eq!(
            redact("a hunter2hunter2 b hunter2hunter2", &["hunter2hunter2"]),
            "a [redacted] b [redacted]"
        );
    }

    /// The lines that stay readable of a stream that begins with the header of a key.
    fn readable(lines: &[&str]) -> Vec<String> {
        let begin = sample("-----BEGIN RSA ", "PRIVATE KEY-----");
        let mut keys = PrivateKeyLines::default();
        assert_eq!(keys.line(&begin, &[]), REDACTED);
        let shown = lines.iter().map(|line| keys.line(line, &[]).into_owned());
        shown.filter(|line| line != REDACTED).collect()
    }

    #[test]
    fn private_keys_are_hidden_over_lines() {
        let body = "MIIEow1B".repeat(8);
        let end = sample("-----END RSA ", "PRIVATE KEY-----");
        assert_eq!(readable(&[&body, &body, "MIIEow==", &end, "after"]), ["after"]);
        let headers = ["Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC,00", "", &body, &body, &end, "after"];
        assert_eq!(readable(&headers), ["after"]);
        let quoted = format!("  \"{body}\\n\" +");
        assert_eq!(readable(&[&quoted, &format!("+{body}"), &end, "after"]), ["after"]);
    }

    #[test]
    fn the_header_of_a_key_silences_nobody() {
        assert_eq!(readable(&["now I do bad things", "and more"]), ["now I do bad things", "and more"]);
        let body = "MIIEow1B".repeat(8);
        assert_eq!(readable(&[&body, "word", "another", "word"]), ["another", "word"]);
        assert_eq!(readable(&[&body, "not a key"]), ["not a key"]);
        // Not even with lines that look like one.
        let endless = vec![&*body; 1_000];
        assert_eq!(readable(&endless).len(), 1_000 - MOST_KEY_LINES);
        // Nor does a blank line go on for ever.
        assert_eq!(readable(&["", "", "two words"]), ["two words"]);
    }

    #[test]
    fn a_key_inside_a_value_takes_only_itself() {
        let body = "MIIEow1B".repeat(8);
        let (begin, end) =
            (sample("-----BEGIN ", "PRIVATE KEY-----"), sample("-----END ", "PRIVATE KEY-----"));
        let value = format!("before\nkey: {begin}\n{body}\n{end}\nafter");
        assert_eq!(redact(&value, &[]), "before\nkey: [redacted]\n[redacted]\n[redacted]\nafter");
        assert_eq!(redact(&format!("a {begin}\\n{body}\\n{end}"), &[]), "a [redacted]");
    }

    proptest! {
        #[test]
        fn redacting_twice_changes_nothing_more(text in "\\PC{0,200}|[A-Za-z0-9_.= -]{0,200}|(AKIA|ghp_|4111|1//0|[A-Z0-9]{16}|[ -]){0,20}") {
            let once = redact(&text, &[]).into_owned();
            let twice = redact(&once, &[]).into_owned();
            prop_assert_eq!(once, twice);
        }
    }
}
