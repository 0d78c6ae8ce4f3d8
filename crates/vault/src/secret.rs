//! Texts that nobody may see by accident.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A secret text. Its memory is overwritten when it goes; its `Debug` shows nothing, and it has no `Display`. Only
/// [`expose`](Secret::expose) gives it away, so that whoever reads the code finds every place that does.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text as a secret. What the text was copied from is the caller's to wipe.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }
}

/// Takes as long for two texts of one length, whatever they have in common.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        let (mine, others) = (self.0.as_bytes(), other.0.as_bytes());
        let differing = mine.iter().zip(others).fold(0u8, |differing, (a, b)| differing | (a ^ b));
        mine.len() == others.len() && std::hint::black_box(differing) == 0
    }
}

impl Eq for Secret {}

/// In settings a secret is read, and never written back.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Secret, D::Error> {
        String::deserialize(input).map(Secret::new)
    }
}

/// Writes `(secret)`: what is shown of settings, and what their digest is made of, holds none.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str("(secret)")
    }
}

impl schemars::JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

/// What one version of a secret holds: named texts, `api_key` or `password` (R131, R132). Names are shown, texts are not.
pub type Fields = BTreeMap<String, Secret>;

/// A bearer secret: whoever has it has the authority. It is handed over once, when it is issued; a home keeps its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(Secret);

impl Token {
    /// Takes a text as a token. Any text will do: one that no home issued stands for nothing. Nothing is read into how a
    /// token begins, since servers differ in it.
    pub fn new(text: Secret) -> Token {
        Token(text)
    }

    /// The token itself, for a header or a sealed record.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g8_a_secret_shows_itself_only_when_asked_to() {
        let secret = Secret::from("correct horse");
        assert_eq!(secret.expose(), "correct horse");
        assert_eq!(format!("{secret:?} {:?}", Token::new(secret.clone())), "(secret) Token((secret))");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"(secret)\"");
        let fields: Fields = [("password".to_owned(), secret)].into();
        assert_eq!(format!("{fields:?}"), "{\"password\": (secret)}");
    }

    #[test]
    fn secrets_are_equal_only_when_they_are_the_same() {
        assert_eq!(Secret::from("a"), Secret::from("a"));
        assert_ne!(Secret::from("a"), Secret::from("b"));
        assert_ne!(Secret::from("a"), Secret::from("ab"));
        assert_ne!(Secret::from(""), Secret::from("a"));
    }
}
