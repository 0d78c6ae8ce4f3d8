//! Bytes as hexadecimal digits: keys and signatures, as people carry them about.

/// Bytes as hexadecimal digits, two for each, in lower case.
///
/// ```
/// assert_eq!(eparch_domain::hex(&[0, 0xab]), "00ab");
/// ```
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hexadecimal digits; `None` unless there are exactly enough.
///
/// ```
/// assert_eq!(eparch_domain::unhex("00ab"), Some([0, 0xab]));
/// assert_eq!(eparch_domain::unhex::<2>("00a"), None);
/// ```
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    // A sign is no digit, although numbers may begin with one.
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0u8; N];
    for (at, slot) in bytes.iter_mut().enumerate() {
        *slot = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_they_are_read() {
        let bytes = [0u8, 1, 0xab, 0xff];
        assert_eq!(hex(&bytes), "0001abff");
        assert_eq!(unhex::<4>("0001abff"), Some(bytes));
        assert_eq!(unhex::<4>("0001abf"), None);
        assert_eq!(unhex::<2>("+1+1"), None);
        assert_eq!(unhex::<1>("ä"), None);
    }
}
