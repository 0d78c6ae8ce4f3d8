//! JSON with secrets in it, in memory that is wiped when it goes and that never grew: growing leaves copies behind.

use std::io::{self, Write};

use serde::Serialize;
use zeroize::Zeroizing;

/// Writes plain data as JSON; nothing when it has more than `most` bytes.
pub(crate) fn json(content: &impl Serialize, most: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, content).expect("texts, numbers and maps of them can be written");
    if length.0 > most {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, content).expect("it was written once already");
    Some(bytes)
}

/// Counts what would be written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g8_what_is_written_never_grew_and_is_bounded() {
        let text = "ä\"\n".repeat(1_000);
        let written = json(&text, usize::MAX).unwrap();
        assert_eq!(*written, serde_json::to_vec(&text).unwrap());
        assert_eq!(written.capacity(), written.len());
        assert!(json(&text, written.len()).is_some());
        assert!(json(&text, written.len() - 1).is_none());
    }
}
