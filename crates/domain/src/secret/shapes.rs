//! Secrets that are known by how they begin.

use super::Found;

/// How a secret begins, which characters go on, how many there are at least, and what to call it.
struct Shape {
    prefix: &'static str,
    body: fn(u8) -> bool,
    least: usize,
    kind: &'static str,
}

fn token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn dotted(byte: u8) -> bool {
    token(byte) || byte == b'.'
}

const fn shape(prefix: &'static str, body: fn(u8) -> bool, least: usize, kind: &'static str) -> Shape {
    Shape { prefix, body, least, kind }
}

const SHAPES: &[Shape] = &[
    shape("AKIA", upper, 16, "an AWS key id"),
    shape("ASIA", upper, 16, "an AWS key id"),
    shape("sk_live_", token, 8, "a payment key"),
    shape("sk_test_", token, 8, "a payment key"),
    shape("rk_live_", token, 8, "a payment key"),
    shape("sk-ant-", token, 16, "a model provider's key"),
    shape("sk-or-", token, 16, "a model provider's key"),
    shape("sk-proj-", token, 16, "a model provider's key"),
    shape("xoxb-", token, 8, "a chat token"),
    shape("xoxp-", token, 8, "a chat token"),
    shape("xapp-", token, 8, "a chat token"),
    shape("ghp_", token, 20, "a code host's token"),
    shape("gho_", token, 20, "a code host's token"),
    shape("ghu_", token, 20, "a code host's token"),
    shape("ghs_", token, 20, "a code host's token"),
    shape("ghr_", token, 20, "a code host's token"),
    shape("github_pat_", token, 20, "a code host's token"),
    shape("glpat-", token, 16, "a code host's token"),
    shape("npm_", token, 30, "a package registry's token"),
    shape("hvs.", token, 16, "a vault token"),
    shape("AIza", token, 30, "a cloud key"),
    shape("ya29.", dotted, 20, "an OAuth token"),
    shape("1//0", token, 30, "an OAuth token"),
    shape("eyJ", dotted, 24, "a JSON web token"),
    shape("ept_", token, 20, "a token of Eparch"),
    shape("epk_", token, 20, "a key of Eparch"),
    shape("AGE-SECRET-KEY-1", upper, 20, "a private key"),
];

/// The bytes with which one of them begins: most of a text is none.
const FIRST: [bool; 256] = {
    let mut first = [false; 256];
    let mut shape = 0;
    while shape < SHAPES.len() {
        first[SHAPES[shape].prefix.as_bytes()[0] as usize] = true;
        shape += 1;
    }
    first
};

/// Every secret that begins as one of them. One pass, whatever their number: everything an agent says goes through here.
pub(super) fn find(text: &str) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut found: Vec<Found> = Vec::new();
    let mut last = 0;
    for at in 0..bytes.len() {
        // It begins a word; what stands directly behind another secret does too, once that is taken out.
        let begins = at == last || (at > last && !bytes[at - 1].is_ascii_alphanumeric());
        if !begins || !FIRST[usize::from(bytes[at])] {
            continue;
        }
        if let Some((length, kind)) = SHAPES.iter().find_map(|shape| shape.length_at(&bytes[at..])) {
            last = at + length;
            found.push(Found { range: at..last, kind });
        }
    }
    found
}

impl Shape {
    /// How long a secret of this shape is with which a text begins, and what to call it.
    fn length_at(&self, text: &[u8]) -> Option<(usize, &'static str)> {
        let body = text.strip_prefix(self.prefix.as_bytes())?;
        let length = body.iter().take_while(|byte| (self.body)(**byte)).count();
        // One character over and over stands for a secret and is none.
        let is_filler = body[..length].iter().all(|byte| *byte == body[0]);
        (length >= self.least && !is_filler).then_some((self.prefix.len() + length, self.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r029_every_shape_is_found_in_a_line() {
        // Secrets are put together here so that the tree holds none.
        for shape in SHAPES {
            let secret = [shape.prefix, &"A1B2".repeat(10)].concat();
            let range = 5..5 + secret.len();
            let line = format!("key: {secret}, next");
            assert_eq!(find(&line), [Found { range, kind: shape.kind }], "{}", shape.prefix);
            assert_eq!(find(&format!("x{secret}")), [], "{} inside a word", shape.prefix);
            let filler = [shape.prefix, &"X".repeat(40)].concat();
            assert_eq!(find(&filler), [], "{}", shape.prefix);
        }
    }

    #[test]
    fn one_secret_directly_behind_another_is_found() {
        let pair = ["AKIA", &"A1B2".repeat(5), "ghp_", &"a1b2".repeat(6)].concat();
        let kinds: Vec<&str> = find(&pair).iter().map(|found| found.kind).collect();
        assert_eq!(kinds, ["an AWS key id", "a code host's token"]);
    }
}
