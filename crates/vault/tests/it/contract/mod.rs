//! What every home promises, one function each. The embedded vault keeps each in a test of its own; a server keeps those of
//! a family one after the other, and every one that is broken is named.

mod children;
mod expiry;
mod find;
mod kv;
mod lookup;
mod policies;
mod renewal;
mod revocation;
mod runs;
mod wrapping;

use std::sync::Arc;

use crate::home::{Home, Promise};

/// Writes down promises under the name of their file: a table for servers, and a test each for the embedded vault.
macro_rules! promises {
    ( $( $(#[$meta:meta])* async fn $name:ident($home:ident) $body:block )+ ) => {
        $( $(#[$meta])* async fn $name($home: &crate::home::Home) $body )+

        pub(crate) const ALL: &[(&str, crate::home::Promise)] =
            &[ $( (stringify!($name), |home| Box::pin($name(home))) ),+ ];

        mod embedded {
            $( $(#[$meta])* #[tokio::test]
            async fn $name() {
                super::$name(&crate::home::Home::embedded()).await;
            } )+
        }
    };
}
use promises;

/// Every family, by name.
pub(crate) const FAMILIES: &[(&str, &[(&str, Promise)])] = &[
    ("runs", runs::ALL),
    ("children", children::ALL),
    ("lookup", lookup::ALL),
    ("renewal", renewal::ALL),
    ("revocation", revocation::ALL),
    ("expiry", expiry::ALL),
    ("find", find::ALL),
    ("kv", kv::ALL),
    ("policies", policies::ALL),
    ("wrapping", wrapping::ALL),
];

/// Plays all promises of a family against one home, in a `LocalSet`, and names each that is broken.
pub(crate) async fn hold(home: Arc<Home>, family: &str) {
    let (_, promises) = FAMILIES.iter().find(|(name, _)| *name == family).unwrap();
    let mut broken = Vec::new();
    for (name, promise) in *promises {
        let home = Arc::clone(&home);
        // A task of its own, so that one that panics does not keep the next from being tried.
        if let Err(error) = tokio::task::spawn_local(async move { promise(&home).await }).await {
            broken.push(format!("{family}::{name}: {error}"));
        }
    }
    assert!(broken.is_empty(), "{} of {} are broken:\n{}", broken.len(), promises.len(), broken.join("\n"));
}

#[test]
fn r125_there_are_enough_promises() {
    let count: usize = FAMILIES.iter().map(|(_, promises)| promises.len()).sum();
    assert!(count >= 90, "{count}");
}
