//! Secrets that are known by how they begin, and passwords that are given away by the name beside them.

/// How a secret begins, which characters go on, how many there are at least, and what to call it.
struct Shape {
    prefix: &'static str,
    body: fn(char) -> bool,
    least: usize,
    kind: &'static str,
}

fn token(found: char) -> bool {
    found.is_ascii_alphanumeric() || matches!(found, '_' | '-')
}

fn upper(found: char) -> bool {
    found.is_ascii_uppercase() || found.is_ascii_digit()
}

fn dotted(found: char) -> bool {
    token(found) || found == '.'
}

const fn shape(prefix: &'static str, body: fn(char) -> bool, least: usize, kind: &'static str) -> Shape {
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
    shape("github_pat_", token, 20, "a code host's token"),
    shape("glpat-", token, 16, "a code host's token"),
    shape("npm_", token, 30, "a package registry's token"),
    shape("hvs.", token, 16, "a vault token"),
    shape("AIza", token, 30, "a cloud key"),
    shape("ya29.", dotted, 20, "an OAuth token"),
    shape("1//0", token, 30, "an OAuth token"),
    shape("ept_", token, 20, "a token of Eparch"),
    shape("epk_", token, 20, "a key of Eparch"),
    shape("AGE-SECRET-KEY-1", upper, 20, "a private key"),
];

/// The kinds of secret that a line seems to hold.
pub(super) fn found_in(line: &str) -> Vec<&'static str> {
    let known = SHAPES.iter().filter(|shape| has_shape(line, shape)).map(|shape| shape.kind);
    let others = [
        (has_web_token(line), "a JSON web token"),
        (has_private_key(line), "a private key"),
        (has_url_password(line), "a password in a URL"),
        (has_password_literal(line), "a password literal"),
    ];
    known.chain(others.into_iter().filter(|(found, _)| *found).map(|(_, kind)| kind)).collect()
}

fn has_shape(line: &str, shape: &Shape) -> bool {
    line.match_indices(shape.prefix).any(|(at, prefix)| {
        let begins_word =
            !line[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_');
        let rest = &line[at + prefix.len()..];
        let body = &rest[..rest.find(|found| !(shape.body)(found)).unwrap_or(rest.len())];
        begins_word && body.len() >= shape.least && !is_filler(body)
    })
}

/// Three parts of base64url with dots between; the first decodes to `{"`.
fn has_web_token(line: &str) -> bool {
    line.match_indices("eyJ").any(|(at, _)| {
        let text = &line[at..];
        let end = text.find(|found| !dotted(found)).unwrap_or(text.len());
        let parts: Vec<&str> = text[..end].split('.').collect();
        parts.len() == 3 && parts.iter().all(|part| part.len() >= 10)
    })
}

fn has_private_key(line: &str) -> bool {
    line.match_indices("-----BEGIN ").any(|(at, begin)| {
        let name = &line[at + begin.len()..];
        let end =
            name.find(|found: char| !(found.is_ascii_uppercase() || found == ' ')).unwrap_or(name.len());
        name[..end].ends_with("PRIVATE KEY") && name[end..].starts_with("-----")
    })
}

/// `scheme://user:password@host`, unless the password is plainly a placeholder.
fn has_url_password(line: &str) -> bool {
    line.match_indices("://").any(|(at, slashes)| {
        let rest = &line[at + slashes.len()..];
        let end =
            rest.find(|found: char| found.is_whitespace() || matches!(found, '/' | '"' | '\'' | '`' | ')'));
        let authority = &rest[..end.unwrap_or(rest.len())];
        authority
            .rsplit_once('@')
            .and_then(|(user, _)| user.split_once(':'))
            .is_some_and(|(_, password)| password.len() >= 3 && !is_placeholder(password, "password"))
    })
}

/// The ends of names whose values are secrets.
const TELLING_NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret_key",
    "api_key",
    "apikey",
    "access_key",
    "auth_token",
    "client_secret",
];

/// `password = "…"`, with whatever type or punctuation stands between the name and the quote.
fn has_password_literal(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    TELLING_NAMES.iter().any(|name| {
        lower.match_indices(name).any(|(at, name)| {
            let rest = &line[at + name.len()..];
            // The name itself may be quoted, as in JSON.
            let rest = rest.strip_prefix(['"', '\'']).unwrap_or(rest);
            let Some(quote) = rest.find(['"', '\'']) else { return false };
            let (between, quoted) = rest.split_at(quote);
            let mark = &quoted[..1];
            let Some((value, _)) = quoted[1..].split_once(mark) else { return false };
            is_assignment(between) && value.len() >= 6 && !is_placeholder(value, name)
        })
    })
}

fn is_assignment(between: &str) -> bool {
    let only = |found: char| found.is_ascii_alphanumeric() || "_ :=<>&'(".contains(found);
    between.chars().all(only) && (between.contains('=') || between.trim_end().ends_with(':'))
}

/// A value that says by itself that it is none.
fn is_placeholder(value: &str, name: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let speaks = |found: char| found.is_whitespace() || "{}<>$*%/:[]()".contains(found);
    value.contains(speaks)
        || lower.contains(name)
        || ["changeme", "example", "placeholder", "redacted", "secret", "password"].iter().any(|word| lower.contains(word))
        // The name of an environment variable.
        || value.chars().all(|found| found.is_ascii_uppercase() || found == '_')
        || is_filler(value)
}

/// One character over and over: it stands for a secret and is none.
fn is_filler(value: &str) -> bool {
    value.chars().all(|found| value.starts_with(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Secrets are put together here so that the tree holds none.
    fn joined(parts: &[&str]) -> String {
        parts.concat()
    }

    #[test]
    fn r029_every_shape_is_found_in_a_line() {
        for shape in SHAPES {
            let secret = joined(&[shape.prefix, &"A1B2".repeat(10)]);
            assert_eq!(found_in(&format!("key: {secret},")), [shape.kind], "{}", shape.prefix);
            assert_eq!(found_in(&format!("x{secret}")), [""; 0], "{} inside a word", shape.prefix);
            let filler = joined(&[shape.prefix, &"X".repeat(40)]);
            assert_eq!(found_in(&filler), [""; 0], "{}", shape.prefix);
        }
    }

    #[test]
    fn r029_keys_tokens_and_urls_are_found() {
        let table = [
            (joined(&["-----BEGIN RSA ", "PRIVATE KEY-----"]), "a private key"),
            (joined(&["-----BEGIN ", "PRIVATE KEY-----"]), "a private key"),
            (joined(&["eyJ", "hbGciOiJIUzI1.eyJzdWIiOiIx.c2lnbmF0dXJl"]), "a JSON web token"),
            (joined(&["redis://:hunter", "22@127.0.0.1"]), "a password in a URL"),
        ];
        for (line, kind) in table {
            assert_eq!(found_in(&line), [kind], "{line}");
        }
    }

    #[test]
    fn r029_password_literals_are_found_and_placeholders_are_not() {
        let value = joined(&["governance", "1999"]);
        for line in [
            format!("const DEFAULT_REDIS_PASSWORD: &str = \"{value}\";"),
            format!("\"password\": \"{value}\""),
            format!("password='{value}'"),
            format!("let api_key = String::from(\"{value}\");"),
            format!("DEFAULT_PASSWORD: Option<&str> = Some(\"{value}\");"),
        ] {
            assert_eq!(found_in(&line), ["a password literal"], "{line}");
        }
        for line in [
            "const DEFAULT_REDIS_PASSWORD: Option<&str> = None;",
            "password = \"<your password>\"",
            "api_key = \"OPENROUTER_API_KEY\"",
            "password: \"${{ secrets.db }}\"",
            "redis://:$PASSWORD@host, postgres://user:password@host/db, https://example.org/a:b@c",
            "a password is 'never' written down",
            "`password` names a field; \"elsewhere\" is another word",
        ] {
            assert_eq!(found_in(line), [""; 0], "{line}");
        }
    }
}
