//! Bytes in JSON, exactly: a string where they are UTF-8, `{"base64": "…"}` where they are not, or where most of the
//! string would be escapes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serializer};

/// A string takes at most so many times the bytes it stands for; base64 never takes more.
pub(crate) const LONGER: usize = 2;

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) if escaped(bytes) <= LONGER * bytes.len() => out.serialize_str(text),
        _ => {
            let mut map = out.serialize_map(Some(1))?;
            map.serialize_entry("base64", &BASE64.encode(bytes))?;
            map.end()
        }
    }
}

/// How long a text is once it is escaped.
fn escaped(text: &[u8]) -> usize {
    let escape = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.iter().map(escape).sum()
}

/// Reads nothing but those two shapes; anything else ends it where it begins, however much of it there is.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
    input.deserialize_any(Shapes)
}

struct Shapes;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    Base64,
}

impl<'de> Visitor<'de> for Shapes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or {\"base64\": …}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.as_bytes().to_vec())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Vec<u8>, E> {
        Ok(text.into_bytes())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<u8>, A::Error> {
        let Some((Key::Base64, text)) = map.next_entry::<Key, String>()? else {
            return Err(A::Error::missing_field("base64"));
        };
        match map.next_key::<Key>()? {
            None => BASE64.decode(text).map_err(A::Error::custom),
            Some(Key::Base64) => Err(A::Error::duplicate_field("base64")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, Deserialize)]
    struct Wire(#[serde(with = "super")] Vec<u8>);

    fn hard() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), Just(0), Just(b'"'), Just(0x1f), Just(b'\n'), Just(b'a')];
        prop::collection::vec(byte, 0..300)
    }

    proptest! {
        #[test]
        fn r121_bytes_take_no_more_than_a_line_has_room_for_and_come_back(bytes in hard(), text in "\\PC*") {
            for bytes in [bytes, text.into_bytes()] {
                let written = serde_json::to_string(&Wire(bytes.clone())).unwrap();
                prop_assert!(written.len() <= LONGER * bytes.len() + 32, "{}", written);
                prop_assert_eq!(serde_json::from_str::<Wire>(&written).unwrap(), Wire(bytes));
            }
        }
    }
}
