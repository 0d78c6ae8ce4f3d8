//! Every kind of id that Eparch makes itself, in one list.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::name::Name;

/// Crockford's base 32 in lower case: no `i l o u`, so an id survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 128 bits need 26 characters of 5 bits.
const LENGTH: usize = 26;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {article} id: expected {prefix}_ and 26 characters, found {found:?}")]
pub struct BadId {
    article: &'static str,
    prefix: &'static str,
    found: String,
}

/// What a byte stands for in [`ALPHABET`]; [`NONE`] for one that is not in it. Every record and every path of a call is full of ids.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0u8;
    while (value as usize) < ALPHABET.len() {
        values[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    values
};

const NONE: u8 = u8::MAX;

/// Writes a prefix, an underscore and the bits into exactly as many bytes.
fn write_bits(prefix: &str, bits: u128, text: &mut [u8]) {
    let (head, body) = text.split_at_mut(prefix.len() + 1);
    head[..prefix.len()].copy_from_slice(prefix.as_bytes());
    head[prefix.len()] = b'_';
    let mut left = bits;
    for slot in body.iter_mut().rev() {
        *slot = ALPHABET[usize::try_from(left & 31).expect("five bits fit")];
        left >>= 5;
    }
}

fn read_bits(prefix: &str, text: &str) -> Option<u128> {
    let body = text.strip_prefix(prefix)?.strip_prefix('_')?.as_bytes();
    // The first character carries only three bits; more would not come back the same.
    if body.len() != LENGTH || VALUES[usize::from(body[0])] > 7 {
        return None;
    }
    let mut bits: u128 = 0;
    for byte in body {
        let value = VALUES[usize::from(*byte)];
        if value == NONE {
            return None;
        }
        bits = (bits << 5) | u128::from(value);
    }
    Some(bits)
}

macro_rules! ids {
    ( $( $(#[$meta:meta])* $name:ident = $prefix:literal, $article:literal; )+ ) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What every such id begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// An id from 128 bits, random or derived; the caller brings the dice.
            pub const fn from_bits(bits: u128) -> Self {
                $name(bits)
            }

            /// An id derived from a digest: the same cause gives the same id, on every replay.
            pub fn derived(from: &Digest) -> Self {
                let mut bits = [0u8; 16];
                bits.copy_from_slice(&from.as_bytes()[..16]);
                $name(u128::from_be_bytes(bits))
            }

            /// The 128 bits.
            pub const fn bits(self) -> u128 {
                self.0
            }

            /// The id as a [`Name`], for store keys and paths.
            pub fn name(self) -> Name {
                Name::new(&self.to_string()).expect("an id is a name")
            }

            /// Hands the id to `to` as it is written; that takes no memory.
            fn written<T>(self, to: impl FnOnce(&str) -> T) -> T {
                let mut text = [0; $prefix.len() + 1 + LENGTH];
                write_bits($prefix, self.0, &mut text);
                to(std::str::from_utf8(&text).expect("prefixes and the alphabet are ASCII"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.written(|text| f.write_str(text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                read_bits($prefix, text).map($name).ok_or_else(|| BadId {
                    article: $article,
                    prefix: $prefix,
                    found: text.chars().take(64).collect(),
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                self.written(|text| out.serialize_str(text))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": concat!("^", $prefix, "_[0-9a-hjkmnp-tv-z]{26}$") })
            }
        }
    )+

    #[cfg(test)]
    const PREFIXES: &[&str] = &[ $( $prefix ),+ ];
    };
}

ids! {
    /// One execution of a pipeline; `pipeline_id` on the wire.
    RunId = "run", "a run";
    /// One agent: one attempt at one stage of one run.
    AgentId = "agt", "an agent";
    /// One gate, waiting in one run.
    GateId = "gat", "a gate";
    /// One lease of authority.
    LeaseId = "lse", "a lease";
    /// One permit: leave to do one thing, once.
    PermitId = "prm", "a permit";
    /// What an agent has earned from run to run: the beginning of the digest of its template, command and model.
    StandingId = "std", "a standing";
    /// One alert, raised by one violation.
    AlertId = "alr", "an alert";
    /// One request of two people to let pass, for a while, what policy denies.
    BreakGlassId = "brk", "a break-glass grant";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_differ() {
        let mut sorted = PREFIXES.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), PREFIXES.len());
    }

    #[test]
    fn one_kind_is_not_another() {
        let run = RunId::from_bits(7).to_string();
        assert!(run.parse::<AgentId>().is_err());
        assert_eq!(run, "run_00000000000000000000000007");
    }

    proptest! {
        #[test]
        fn r035_ids_round_trip(bits: u128) {
            let id = RunId::from_bits(bits);
            prop_assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
            prop_assert_eq!(id.name().to_string(), id.to_string());
        }

        #[test]
        fn r035_nothing_else_parses(text in "run_[0-9a-z:*]{20,30}|\\PC{0,40}") {
            if let Ok(id) = text.parse::<RunId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
