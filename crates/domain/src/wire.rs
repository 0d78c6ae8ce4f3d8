//! One way to give an enum its wire names, so that no word is spelled in two places.

use std::fmt;

/// A word that is not one of the names an enum has on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// What the enum is called in messages, such as `phase`.
    pub kind: &'static str,
    /// What was read, cut to 64 characters so that hostile input cannot flood a message.
    pub found: String,
}

impl UnknownWord {
    pub(crate) fn new(kind: &'static str, found: &str) -> Self {
        UnknownWord { kind, found: found.chars().take(64).collect() }
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} {:?}", self.kind, self.found)
    }
}

impl std::error::Error for UnknownWord {}

/// Declares an enum together with its wire names: `ALL`, `as_str`, `Display`, `FromStr`, serde and JSON Schema.
///
/// Names after `|` are aliases: accepted on input, never written (X11, X20).
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        $name:ident ($kind:literal) {
            $( $(#[$vmeta:meta])* $variant:ident = $wire:literal $(| $alias:literal)* ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[$vmeta])* $variant ),+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [$name] = &[ $( $name::$variant ),+ ];
            /// Every wire name, in declaration order.
            pub const NAMES: &'static [&'static str] = &[ $( $wire ),+ ];

            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $wire ),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::wire::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $( $wire $(| $alias)* => Ok($name::$variant), )+
                    _ => Err($crate::wire::UnknownWord::new($kind, text)),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(self.as_str())
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
                schemars::json_schema!({ "type": "string", "enum": $name::NAMES })
            }
        }
    };
}
pub(crate) use wire_enum;
