//! JSON with the keys of its objects in order.
//!
//! A map of `serde_json` keeps the order in which it was filled as soon as any crate of a build asks for that
//! (`preserve_order`, as Cedar does), and sorts its keys otherwise. What has a digest must not depend on either: the same
//! facts have the same bytes (G10), in every build, and in a ledger that was written when keys were sorted by themselves.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Writes what it holds with the keys of every object sorted by their bytes, at every depth; lists keep their order.
/// Whatever a digest is taken of, and whatever is published as a file, is written so.
#[derive(Debug, Clone, Copy)]
pub struct InOrder<'v, T: ?Sized>(pub &'v T);

/// [`InOrder`] for a field: `#[serde(serialize_with = "eparch_domain::in_order")]`.
///
/// # Errors
///
/// None of its own; those of the writer.
pub fn in_order<T, S>(value: &T, out: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    for<'v> InOrder<'v, T>: Serialize,
{
    InOrder(value).serialize(out)
}

impl Serialize for InOrder<'_, Value> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
                fields.sort_unstable_by_key(|(key, _)| *key);
                out.collect_map(fields.into_iter().map(|(key, value)| (key, InOrder(value))))
            }
            Value::Array(items) => out.collect_seq(items.iter().map(InOrder)),
            plain => plain.serialize(out),
        }
    }
}

impl Serialize for InOrder<'_, Option<Value>> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().map(InOrder).serialize(out)
    }
}

impl Serialize for InOrder<'_, BTreeMap<String, Value>> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.0.iter().map(|(key, value)| (key, InOrder(value))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::Digest;

    fn written(value: &Value) -> String {
        serde_json::to_string(&InOrder(value)).unwrap()
    }

    /// Any value whose objects have their keys in any order.
    fn values() -> impl Strategy<Value = Value> {
        let plain = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            "[a-c\u{e9}]{0,3}".prop_map(Value::from)
        ];
        plain.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[a-d\u{e9}\u{10000}\u{ff00}]{0,2}", inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// The same value, every object filled the other way round.
    fn turned(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                fields.iter().rev().map(|(key, value)| (key.clone(), turned(value))).collect()
            }
            Value::Array(items) => items.iter().map(turned).collect(),
            plain => plain.clone(),
        }
    }

    #[test]
    fn g10_the_digest_is_the_same_whatever_the_order_of_keys() {
        let one: Value = serde_json::from_str(r#"{"b":[{"y":1,"x":2}],"a":{"d":null,"c":"t"}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"a":{"c":"t","d":null},"b":[{"x":2,"y":1}]}"#).unwrap();
        // Without `preserve_order` there would be nothing to see.
        assert_ne!(one.to_string(), other.to_string());
        assert_eq!(written(&one), other.to_string());
        assert_eq!(Digest::of(written(&one).as_bytes()), Digest::of(written(&other).as_bytes()));
        let lists = (json!([1, 2]), json!([2, 1]));
        assert_ne!(written(&lists.0), written(&lists.1));
    }

    #[test]
    fn a_field_is_written_in_order() {
        #[derive(Serialize)]
        struct Fields {
            #[serde(serialize_with = "in_order")]
            z: BTreeMap<String, Value>,
            #[serde(serialize_with = "in_order")]
            y: Option<Value>,
            #[serde(serialize_with = "in_order")]
            x: Value,
        }
        let value = || json!({ "b": 1, "a": 2 });
        let fields = Fields { z: [("k".to_owned(), value())].into(), y: Some(value()), x: value() };
        let text = serde_json::to_string(&fields).unwrap();
        assert_eq!(text, r#"{"z":{"k":{"a":2,"b":1}},"y":{"a":2,"b":1},"x":{"a":2,"b":1}}"#);
        let nothing = Fields { z: BTreeMap::new(), y: None, x: Value::Null };
        assert_eq!(serde_json::to_string(&nothing).unwrap(), r#"{"z":{},"y":null,"x":null}"#);
    }

    proptest! {
        #[test]
        fn g10_what_is_written_is_the_value_and_a_map_that_sorts_writes_the_same(value in values()) {
            let text = written(&value);
            prop_assert_eq!(&text, &written(&turned(&value)));
            prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);
            let mut sorted = value;
            sorted.sort_all_objects();
            prop_assert_eq!(text, sorted.to_string());
        }
    }
}
