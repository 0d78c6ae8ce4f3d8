//! Errors in words, with everything that led to them.

use std::error::Error;

/// An error with all its causes, in one line.
///
/// ```
/// use std::io::Error;
///
/// let inner = Error::other("the disk is full");
/// assert_eq!(eparch_domain::in_full(&inner), "the disk is full");
/// ```
pub fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Because(&'static str, #[source] Option<Box<Because>>);

    #[test]
    fn every_cause_is_named_in_order() {
        let chain = Because("a", Some(Box::new(Because("b", Some(Box::new(Because("c", None)))))));
        assert_eq!(in_full(&chain), "a: b: c");
    }
}
