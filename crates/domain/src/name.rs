//! Names people and programs give: operators, tenants, projects, stages, external agents.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name, in bytes. 64 fits every store key, file name and label that carries one.
pub const NAME_MAX: usize = 64;

/// A name that is safe as a part of a store key, a path and a label: 1–64 of `A–Z a–z 0–9 . _ -`, beginning with a
/// letter or digit (R035). `:`, `*`, `/`, spaces and line breaks cannot occur, and neither can `.` or `..`. Copies share their text:
/// what is decided and written names the same few again and again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing was given.
    #[error("a name cannot be empty")]
    Empty,
    /// Longer than [`NAME_MAX`].
    #[error("a name has at most {NAME_MAX} characters")]
    TooLong,
    /// A character outside the allowed set, or a first character that is not a letter or digit.
    #[error(
        "{found:?} cannot stand at position {at} of a name; allowed are letters, digits, '.', '_' and '-', beginning with a letter or digit"
    )]
    Character {
        /// The character.
        found: char,
        /// Where it stands, in bytes from 0.
        at: usize,
    },
}

impl Name {
    /// Checks `text` and takes it as a name.
    pub fn new(text: &str) -> Result<Name, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        for (at, found) in text.char_indices() {
            if at >= NAME_MAX {
                return Err(BadName::TooLong);
            }
            let fits = found.is_ascii_alphanumeric() || (at > 0 && matches!(found, '.' | '_' | '-'));
            if !fits {
                return Err(BadName::Character { found, at });
            }
        }
        Ok(Name(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Name::new(text)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
        Name::new(&text).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r035_separators_wildcards_and_breaks_are_refused() {
        for bad in ["", "a:b", "a*", "a\nb", "..", ".", "-a", "a b", "a/b", "ä", "a\0", &"a".repeat(65)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        for good in ["agent-001", "proj-001", "A", "v1.2_x", &"a".repeat(64)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
    }

    proptest! {
        #[test]
        fn r035_whatever_is_accepted_has_no_separator(text in "\\PC{0,80}|[a-z:*\\n]{1,8}") {
            if let Ok(name) = Name::new(&text) {
                let separators = [':', '*', '\n', '/', ' ', '{', '}'];
                prop_assert!(!name.as_str().contains(separators));
                prop_assert!(name.as_str().len() <= NAME_MAX);
            }
        }
    }
}
