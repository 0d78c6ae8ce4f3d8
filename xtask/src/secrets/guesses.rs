//! Passwords that are given away by what stands beside them. Only the tree is scanned for these: they are guesses.

/// The kinds of secret that a line seems to hold.
pub(super) fn found_in(line: &str) -> Vec<&'static str> {
    let guesses =
        [(has_url_password(line), "a password in a URL"), (has_password_literal(line), "a password literal")];
    guesses.into_iter().filter(|(found, _)| *found).map(|(_, kind)| kind).collect()
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
    fn r029_passwords_in_urls_are_found() {
        let line = joined(&["redis://:hunter", "22@127.0.0.1"]);
        assert_eq!(found_in(&line), ["a password in a URL"]);
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
