//! The small things every line of a scenario is made of: words, `key=value`, times.

use std::collections::BTreeMap;

use eparch_domain::Span;
use serde_json::Value;

/// A line cut into words; double quotes hold a word together and are dropped.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut found, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for letter in line.chars() {
        match letter {
            '"' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
                any = false;
            }
            other => word.push(other),
        }
    }
    if any || !word.is_empty() {
        found.push(word);
    }
    found
}

/// The words of a line after its verb: plain ones in order, and `key=value` pairs.
#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) plain: Vec<String>,
    pairs: BTreeMap<String, String>,
}

impl Args {
    pub(crate) fn of(words: &[String]) -> Args {
        let mut args = Args::default();
        for word in words {
            match word.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    args.pairs.insert(key.to_owned(), value.to_owned());
                }
                _ => args.plain.push(word.clone()),
            }
        }
        args
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// A value, read as what it is to be; the scenario is wrong when it cannot be.
    pub(crate) fn read<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str) -> Option<T> {
        self.get(key).map(|text| text.parse().unwrap_or_else(|error| panic!("{key}={text}: {error:?}")))
    }

    /// A value, as serde spells it.
    pub(crate) fn word<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        let read = |text: &str| serde_json::from_value(Value::from(text));
        self.get(key).map(|text| read(text).unwrap_or_else(|error| panic!("{key}={text}: {error}")))
    }

    /// A list with commas.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let items = self.get(key).unwrap_or_default().split(',').filter(|item| !item.is_empty());
        items.map(str::to_owned).collect()
    }

    /// Everything under `prefix.`, without it.
    pub(crate) fn under(&self, prefix: &str) -> BTreeMap<String, String> {
        let inside = |(key, value): (&String, &String)| {
            let name = key.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((name.to_owned(), value.clone()))
        };
        self.pairs.iter().filter_map(inside).collect()
    }

    pub(crate) fn first(&self) -> &str {
        self.plain.first().expect("the line says whom or what it is about")
    }
}

/// JSON where the text is JSON, the text itself otherwise.
pub(crate) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// A time such as `1m30s`, in milliseconds.
pub(crate) fn millis(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let part: Span = rest[..digits + letters].parse().ok()?;
        total += part.millis();
        rest = &rest[digits + letters..];
    }
    (!text.is_empty()).then_some(total)
}

/// The same, written.
pub(crate) fn clock(millis: u64) -> String {
    let mut text = String::new();
    let mut left = millis;
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= length {
            text.push_str(&format!("{}{unit}", left / length));
            left %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
