//! Keeps secrets out of lines that people and files will keep (1.3-j): known shapes, not guesses.

use std::borrow::Cow;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// How a secret of a known shape begins, which characters go on, and how many there must at least be.
struct Shape {
    prefix: &'static str,
    body: fn(u8) -> bool,
    least: usize,
}

fn token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn upper_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn jwt_byte(byte: u8) -> bool {
    token_byte(byte) || byte == b'.'
}

const SHAPES: &[Shape] = &[
    Shape { prefix: "AKIA", body: upper_byte, least: 16 },
    Shape { prefix: "ASIA", body: upper_byte, least: 16 },
    Shape { prefix: "sk_live_", body: token_byte, least: 8 },
    Shape { prefix: "sk_test_", body: token_byte, least: 8 },
    Shape { prefix: "sk-ant-", body: token_byte, least: 16 },
    Shape { prefix: "sk-or-", body: token_byte, least: 16 },
    Shape { prefix: "sk-proj-", body: token_byte, least: 16 },
    Shape { prefix: "xoxb-", body: token_byte, least: 8 },
    Shape { prefix: "xoxp-", body: token_byte, least: 8 },
    Shape { prefix: "xapp-", body: token_byte, least: 8 },
    Shape { prefix: "ghp_", body: token_byte, least: 20 },
    Shape { prefix: "gho_", body: token_byte, least: 20 },
    Shape { prefix: "ghs_", body: token_byte, least: 20 },
    Shape { prefix: "github_pat_", body: token_byte, least: 20 },
    Shape { prefix: "glpat-", body: token_byte, least: 16 },
    Shape { prefix: "hvs.", body: token_byte, least: 16 },
    Shape { prefix: "eyJ", body: jwt_byte, least: 24 },
    Shape { prefix: "ept_", body: token_byte, least: 20 },
    Shape { prefix: "epk_", body: token_byte, least: 20 },
];

/// Replaces every secret of a known shape, and every occurrence of the `known` secrets themselves, by [`REDACTED`].
/// Borrows when there was nothing to hide. Linear in the text for a fixed list of shapes and secrets.
pub fn redact<'a>(text: &'a str, known: &[&str]) -> Cow<'a, str> {
    let mut out: Cow<'a, str> = Cow::Borrowed(text);
    for secret in known.iter().filter(|secret| secret.len() >= 8) {
        if out.contains(secret) {
            out = Cow::Owned(out.replace(secret, REDACTED));
        }
    }
    for shape in SHAPES {
        if out.contains(shape.prefix) {
            out = Cow::Owned(redact_shape(&out, shape));
        }
    }
    if out.contains("PRIVATE KEY-----") {
        out = Cow::Owned(redact_private_key(&out));
    }
    out
}

fn redact_shape(text: &str, shape: &Shape) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(shape.prefix) {
        let begins_word = at == 0 || !rest.as_bytes()[at - 1].is_ascii_alphanumeric();
        let body = &rest[at + shape.prefix.len()..];
        let length = body.bytes().take_while(|byte| (shape.body)(*byte)).count();
        out.push_str(&rest[..at]);
        if begins_word && length >= shape.least {
            out.push_str(REDACTED);
        } else {
            out.push_str(&rest[at..at + shape.prefix.len() + length]);
        }
        rest = &body[length..];
    }
    out.push_str(rest);
    out
}

/// A private key in one line loses everything after its header; in many lines, [`PrivateKeyLines`] follows it.
fn redact_private_key(text: &str) -> String {
    match text.find("-----BEGIN ").filter(|at| text[*at..].contains("PRIVATE KEY-----")) {
        Some(at) => format!("{}{REDACTED}", &text[..at]),
        None => text.to_owned(),
    }
}

/// Follows a private key over several lines of a stream.
#[derive(Debug, Default, Clone)]
pub struct PrivateKeyLines {
    inside: bool,
}

impl PrivateKeyLines {
    /// Redacts the next line of a stream, remembering whether it stands inside a private key.
    pub fn line<'a>(&mut self, line: &'a str, known: &[&str]) -> Cow<'a, str> {
        let begins = line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
        let ends = line.contains("-----END ") && line.contains("PRIVATE KEY-----");
        if self.inside {
            self.inside = !ends;
            return Cow::Borrowed(REDACTED);
        }
        self.inside = begins && !ends;
        redact(line, known)
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
    fn known_shapes_are_hidden_and_their_surroundings_kept() {
        let long = "A1B2C3D4E5F6G7H8J9K0";
        for shape in SHAPES {
            let secret = sample(shape.prefix, &long.repeat(2));
            let line = format!("key={secret}, next");
            assert_eq!(redact(&line, &[]), format!("key={REDACTED}, next"), "{}", shape.prefix);
        }
    }

    #[test]
    fn plain_text_is_borrowed_and_near_misses_stay() {
        for plain in
            ["nothing here", "task-ant-hill", "AKIA is a prefix", "eyJ", "desk_live_it_up_now_please"]
        {
            assert!(matches!(redact(plain, &[]), Cow::Borrowed(_)) || redact(plain, &[]) == plain, "{plain}");
        }
    }

    #[test]
    fn the_agents_own_token_is_hidden_wherever_it_occurs() {
        assert_eq!(
            redact("a hunter2hunter2 b hunter2hunter2", &["hunter2hunter2"]),
            "a [redacted] b [redacted]"
        );
    }

    #[test]
    fn private_keys_are_hidden_over_lines() {
        let mut lines = PrivateKeyLines::default();
        let begin = sample("-----BEGIN RSA ", "PRIVATE KEY-----");
        let end = sample("-----END RSA ", "PRIVATE KEY-----");
        assert_eq!(lines.line(&begin, &[]), REDACTED);
        assert_eq!(lines.line("MIIEow", &[]), REDACTED);
        assert_eq!(lines.line(&end, &[]), REDACTED);
        assert_eq!(lines.line("after", &[]), "after");
    }

    proptest! {
        #[test]
        fn redacting_twice_changes_nothing_more(text in "\\PC{0,200}|[A-Za-z0-9_.= -]{0,200}") {
            let once = redact(&text, &[]).into_owned();
            let twice = redact(&once, &[]).into_owned();
            prop_assert_eq!(once, twice);
        }
    }
}
