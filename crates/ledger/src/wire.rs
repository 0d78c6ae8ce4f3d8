//! Bytes in JSON, exactly: a string where they are UTF-8, `{"base64": "…"}` where they are not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Shape<'a> {
    Text(std::borrow::Cow<'a, str>),
    Base64 { base64: String },
}

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
    let shape = match std::str::from_utf8(bytes) {
        Ok(text) => Shape::Text(text.into()),
        Err(_) => Shape::Base64 { base64: BASE64.encode(bytes) },
    };
    shape.serialize(out)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
    match Shape::deserialize(input)? {
        Shape::Text(text) => Ok(text.into_owned().into_bytes()),
        Shape::Base64 { base64 } => BASE64.decode(base64).map_err(D::Error::custom),
    }
}
