//! What a server answers, as far as it is read. Servers differ in what else they say, so nothing else is asked for.

use std::collections::BTreeMap;

use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::secret::{Fields, Secret};
use crate::wiped;

/// Reads an answer.
pub(super) fn parse<'b, T: Deserialize<'b>>(doing: &'static str, body: &'b [u8]) -> Result<T, VaultError> {
    // The reader's own words would repeat what it stumbled over.
    serde_json::from_slice(body)
        .map_err(|_| VaultError::Malformed { doing, why: "it is not the JSON of a vault" })
}

/// A body of a request. What stands in it was bounded before.
pub(super) fn body(content: &impl Serialize) -> Zeroizing<Vec<u8>> {
    wiped::json(content, usize::MAX).expect("nothing is longer")
}

#[derive(Deserialize)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

#[derive(Deserialize)]
pub(super) struct Authorized {
    pub(super) auth: Auth,
}

/// A token that was issued, or renewed.
#[derive(Deserialize)]
pub(super) struct Auth {
    pub(super) client_token: Secret,
    pub(super) accessor: String,
    pub(super) policies: Vec<String>,
    /// Seconds.
    pub(super) lease_duration: u64,
}

/// A token that is looked at.
#[derive(Deserialize)]
pub(super) struct TokenData {
    pub(super) accessor: String,
    pub(super) policies: Vec<String>,
    /// Seconds.
    pub(super) ttl: u64,
    #[serde(default)]
    pub(super) meta: Option<BTreeMap<String, String>>,
    /// There once it was renewed.
    #[serde(default)]
    pub(super) last_renewal_time: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct Keys {
    pub(super) keys: Vec<String>,
}

/// A version of a secret that was read.
#[derive(Deserialize)]
pub(super) struct Kv {
    #[serde(deserialize_with = "fields")]
    pub(super) data: Fields,
    pub(super) metadata: KvMetadata,
}

#[derive(Deserialize)]
pub(super) struct KvMetadata {
    pub(super) version: u32,
}

#[derive(Deserialize)]
pub(super) struct Wrapped {
    pub(super) wrap_info: WrapInfo,
}

#[derive(Deserialize)]
pub(super) struct WrapInfo {
    pub(super) token: Secret,
}

/// What a server says of itself. Vault says more, OpenBao less.
#[derive(Deserialize)]
pub(super) struct SysHealth {
    pub(super) initialized: bool,
    pub(super) sealed: bool,
    pub(super) standby: bool,
}

/// Why not, in the server's words: they are looked at, and shown to nobody.
pub(super) fn says(body: &[u8], words: &str) -> bool {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    serde_json::from_slice::<Errors>(body)
        .is_ok_and(|said| said.errors.iter().any(|text| text.contains(words)))
}

/// Secrets that others wrote may hold more than texts: what is no text is taken as its JSON.
fn fields<'de, D: Deserializer<'de>>(input: D) -> Result<Fields, D::Error> {
    let found = BTreeMap::<String, serde_json::Value>::deserialize(input)?;
    let text = |value| match value {
        serde_json::Value::String(text) => Secret::new(text),
        other => Secret::new(other.to_string()),
    };
    Ok(found.into_iter().map(|(name, value)| (name, text(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r126_health_needs_three_fields_and_no_more() {
        let bao = br#"{"initialized":true,"sealed":false,"standby":false,"version":"2.7.2"}"#;
        let health: SysHealth = parse("x", bao).unwrap();
        assert!(health.initialized && !health.sealed && !health.standby);
        assert!(parse::<SysHealth>("x", br#"{"initialized":true,"sealed":false}"#).is_err());
    }

    #[test]
    fn what_is_no_text_is_taken_as_its_json() {
        let answer = br#"{"data":{"data":{"a":"x","b":5,"c":{"d":[true]}},"metadata":{"version":2}}}"#;
        let read: Data<Kv> = parse("x", answer).unwrap();
        let texts: Vec<&str> = read.data.data.values().map(Secret::expose).collect();
        assert_eq!((texts, read.data.metadata.version), (vec!["x", "5", "{\"d\":[true]}"], 2));
    }

    #[test]
    fn g8_an_answer_that_makes_no_sense_is_not_repeated() {
        let answer = br#"{"data":{"accessor":"hunter2","policies":"hunter2"}}"#;
        let Err(error) = parse::<Data<TokenData>>("x", answer) else { panic!("it makes no sense") };
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_readers_panic(body in proptest::collection::vec(any::<u8>(), 0..200), json in "[\\[\\]{}\":,a-z0-9 ]{0,80}") {
            for bytes in [body.as_slice(), json.as_bytes()] {
                let _ = parse::<Data<Kv>>("x", bytes);
                let _ = parse::<Data<TokenData>>("x", bytes);
                let _ = parse::<Authorized>("x", bytes);
                let _ = parse::<SysHealth>("x", bytes);
                says(bytes, "sealed");
            }
        }
    }
}
