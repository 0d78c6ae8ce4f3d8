//! What the fuzz targets hold to be true, over a bounded set of inputs.

#[path = "../../fuzz/properties.rs"]
mod played;

use eparch_vault::SHIPPED;
use proptest::prelude::*;

#[test]
fn r128_the_policies_that_ship_hold() {
    for (_, text) in SHIPPED {
        played::policy(text.as_bytes());
        for path in ["secret/data/inventory/x", "auth/token/create/eparch-t0", "", "//"] {
            played::policy(format!("{text}\0{path}").as_bytes());
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_hold(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        played::policy(&bytes);
        played::sealed(&bytes);
    }

    #[test]
    fn what_is_nearly_a_policy_holds(
        at in 0usize..400,
        with in "[\"{}\\[\\]=,#\n*+/ a-z0-9\0é]{0,6}",
        length in 0usize..8,
        which in 0usize..SHIPPED.len(),
    ) {
        let mut text: Vec<char> = SHIPPED[which].1.chars().collect();
        let at = at.min(text.len());
        let end = (at + length).min(text.len());
        text.splice(at..end, with.chars());
        played::policy(text.into_iter().collect::<String>().as_bytes());
    }
}
