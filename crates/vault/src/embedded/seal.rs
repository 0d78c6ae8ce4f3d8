//! Sealing: XChaCha20-Poly1305 under a key, for one place.
//!
//! ```text
//! eparch-vault 1 <name of the key>\n     what can be read without the key, and is bound to what cannot
//! 24 bytes nonce, drawn anew each time   192 bits: random ones never meet
//! what is sealed, with 16 bytes that tell whether any of it was changed
//! ```
//!
//! The place is bound to it as well and not written: what is moved elsewhere is not opened there.

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::key::SealKey;
use crate::secret::Secret;

const MAGIC: &str = "eparch-vault 1 ";
const NONCE: usize = 24;
const TAG: usize = 16;
const HEADER: usize = MAGIC.len() + 16 + 1;

/// What sealing adds, in bytes.
pub(super) const AROUND: usize = HEADER + NONCE + TAG;

/// Why something sealed is not opened.
#[derive(Debug, thiserror::Error)]
pub enum BadSeal {
    /// Sealed with another key than the one that was given.
    #[error("it was sealed with the key {found}, and the one given is {given}")]
    ForeignKey {
        /// What its key is called.
        found: String,
        /// What the given one is called.
        given: String,
    },
    /// Damaged, changed or moved, or something else altogether.
    #[error("it is damaged: {why}")]
    Damaged {
        /// What gives it away.
        why: &'static str,
    },
    /// The machine's source of randomness failed.
    #[error("cannot draw random bytes")]
    Random(#[source] getrandom::Error),
}

impl SealKey {
    /// Seals a secret for one place, the key under which a shared store keeps it (R137): elsewhere it is not opened.
    pub fn seal(&self, place: &str, secret: &Secret) -> Result<Vec<u8>, BadSeal> {
        seal(secret.expose().as_bytes(), self, place)
    }

    /// Opens a secret that was sealed for this place.
    pub fn unseal(&self, place: &str, sealed: &[u8]) -> Result<Secret, BadSeal> {
        let plain = unseal(sealed, self, place)?;
        let text = std::str::from_utf8(&plain).map_err(|_| BadSeal::Damaged { why: "it holds no text" })?;
        Ok(Secret::from(text))
    }
}

/// Seals bytes: what is to be written.
pub(super) fn seal(plain: &[u8], key: &SealKey, place: &str) -> Result<Vec<u8>, BadSeal> {
    let header = format!("{MAGIC}{}\n", key.name());
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(BadSeal::Random)?;
    // With room for all of it, so that no copy is left where it grew from.
    let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + TAG));
    body.extend_from_slice(plain);
    let cipher = XChaCha20Poly1305::new(key.bytes().into());
    let bound = [header.as_bytes(), place.as_bytes()].concat();
    let sealed = cipher.encrypt_in_place(&XNonce::from(nonce), &bound, &mut *body);
    sealed.expect("what is sealed is far below the cipher's limit of 256 GiB");
    Ok([header.as_bytes(), &nonce, &body].concat())
}

/// Opens what was sealed.
pub(super) fn unseal(bytes: &[u8], key: &SealKey, place: &str) -> Result<Zeroizing<Vec<u8>>, BadSeal> {
    let damaged = |why| BadSeal::Damaged { why };
    if bytes.len() < AROUND {
        return Err(damaged("it is shorter than anything sealed"));
    }
    let (header, rest) = bytes.split_at(HEADER);
    let name = header.strip_prefix(MAGIC.as_bytes()).and_then(|name| name.strip_suffix(b"\n"));
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let Some(found) = name.filter(|name| name.bytes().all(|digit| digit.is_ascii_hexdigit())) else {
        return Err(damaged("it does not begin as what this version seals"));
    };
    let given = key.name();
    if found != given {
        return Err(BadSeal::ForeignKey { found: found.to_owned(), given });
    }
    let (nonce, body) = rest.split_at(NONCE);
    let nonce = XNonce::from(<[u8; NONCE]>::try_from(nonce).expect("split at its length"));
    let mut body = Zeroizing::new(body.to_vec());
    let cipher = XChaCha20Poly1305::new(key.bytes().into());
    let bound = [header, place.as_bytes()].concat();
    match cipher.decrypt_in_place(&nonce, &bound, &mut *body) {
        Ok(()) => Ok(body),
        Err(_) => Err(damaged("it is not as it was sealed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: &str) -> SealKey {
        SealKey::from_variable("test", &digit.repeat(64)).unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_again_and_never_sealed_alike() {
        let (one, other) = (seal(b"state", &key("1"), "").unwrap(), seal(b"state", &key("1"), "").unwrap());
        assert_ne!(one, other);
        assert_eq!(unseal(&one, &key("1"), "").unwrap().as_slice(), b"state");
        assert!(matches!(unseal(&one, &key("2"), ""), Err(BadSeal::ForeignKey { .. })));
        assert!(!one.windows(5).any(|part| part == b"state"));
    }

    #[test]
    fn every_changed_or_missing_byte_is_found() {
        let sealed = seal(b"state", &key("1"), "").unwrap();
        assert_eq!(sealed.len(), b"state".len() + AROUND);
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert!(unseal(&changed, &key("1"), "").is_err(), "bit {bit} of byte {at}");
            }
            assert!(unseal(&sealed[..at], &key("1"), "").is_err(), "cut at {at}");
        }
        let longer = [sealed.as_slice(), b"x"].concat();
        assert!(unseal(&longer, &key("1"), "").is_err());
    }

    #[test]
    fn r137_a_token_that_is_sealed_for_one_place_is_not_opened_in_another() {
        use eparch_domain::{RunId, keys};
        let place = |bits| keys::pipeline_vault_token(&RunId::from_bits(bits).name());
        let token = Secret::from("s.KcgWgKypf3QIWsASCuRyjzSC");
        let sealed = key("1").seal(&place(1), &token).unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains(token.expose()));
        assert_eq!(key("1").unseal(&place(1), &sealed).unwrap(), token);
        let moved = key("1").unseal(&place(2), &sealed);
        assert!(matches!(moved, Err(BadSeal::Damaged { .. })), "{moved:?}");
        assert!(matches!(key("2").unseal(&place(1), &sealed), Err(BadSeal::ForeignKey { .. })));
    }
}
