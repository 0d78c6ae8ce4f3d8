//! Checkpoints in the C2SP formats `tlog-checkpoint` and `signed-note`: text that people can read and other tools verify.
//!
//! ```text
//! eparch/6f1d2c3b4a596877/acme
//! 1204
//! 3q2+7w…=
//! documents 3 w6uP8T…=
//! boots 2 Og2mV1…=
//!
//! — eparch/6f1d2c3b4a596877 q83vEj…=
//! ```
//!
//! The first three lines are the origin, the number of entries and the tree's root. Two extension lines bind what is
//! recorded beside the entries: how many documents and boots there are, and the hash chain over them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::tree::Hash;

/// The signature type of Ed25519 in a signed note.
const ED25519: u8 = 1;

/// Everything a checkpoint says about one tenant's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: `eparch/HOME/TENANT`.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root of the Merkle tree over them.
    pub root: Hash,
    /// How many documents the tenant has, and the hash chain over them.
    pub documents: (u64, Hash),
    /// The epoch of the newest boot of the home, and the hash chain over all of them.
    pub boots: (u64, Hash),
}

/// Why a text is not a checkpoint that can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNote {
    /// Not the shape of a signed checkpoint.
    #[error("not a signed checkpoint: {0}")]
    Shape(&'static str),
    /// No signature by a known key.
    #[error("the checkpoint carries no signature by a known key")]
    UnknownKey,
    /// A signature that claims to be by a known key and is not.
    #[error("the checkpoint's signature does not verify")]
    BadSignature,
}

impl Checkpoint {
    fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\ndocuments {} {}\nboots {} {}\n",
            self.origin,
            self.size,
            BASE64.encode(self.root),
            self.documents.0,
            BASE64.encode(self.documents.1),
            self.boots.0,
            BASE64.encode(self.boots.1)
        )
    }

    fn parse(text: &str) -> Result<Checkpoint, BadNote> {
        let mut lines = text.lines();
        let mut line = |what| lines.next().ok_or(BadNote::Shape(what));
        let origin = line("no origin")?.to_owned();
        let size = line("no size")?.parse().map_err(|_| BadNote::Shape("the size is not a number"))?;
        let root = hash(line("no root")?)?;
        let documents = counted(line("no documents line")?, "documents ")?;
        let boots = counted(line("no boots line")?, "boots ")?;
        let checkpoint = Checkpoint { origin, size, root, documents, boots };
        // One meaning, one spelling: nothing that reads the same may look different.
        if checkpoint.text() == text { Ok(checkpoint) } else { Err(BadNote::Shape("not in canonical form")) }
    }

    /// Signs the checkpoint as a note.
    pub(crate) fn sign(&self, key: &SigningKey, verifier: &VerifierKey) -> String {
        let text = self.text();
        let mut line = verifier.id().to_vec();
        line.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n\u{2014} {} {}\n", verifier.name, BASE64.encode(line))
    }

    /// Reads a note and checks its signature; `keys` are those to believe.
    pub fn verify(note: &str, keys: &[VerifierKey]) -> Result<Checkpoint, BadNote> {
        // The signatures follow the last empty line; the text may not contain one.
        let cut = note.rfind("\n\n").ok_or(BadNote::Shape("no empty line before the signatures"))?;
        let (text, signatures) = (&note[..=cut], &note[cut + 2..]);
        if signatures.is_empty() || !signatures.ends_with('\n') {
            return Err(BadNote::Shape("no signature line"));
        }
        let mut believed = false;
        for line in signatures.lines() {
            let (name, encoded) = line
                .strip_prefix("\u{2014} ")
                .and_then(|rest| rest.split_once(' '))
                .ok_or(BadNote::Shape("a signature line that is none"))?;
            let bytes =
                BASE64.decode(encoded).map_err(|_| BadNote::Shape("a signature that is not base64"))?;
            for key in keys.iter().filter(|key| key.name == name && bytes.starts_with(&key.id())) {
                let signature = Signature::from_slice(&bytes[4..]).map_err(|_| BadNote::BadSignature)?;
                key.key.verify_strict(text.as_bytes(), &signature).map_err(|_| BadNote::BadSignature)?;
                believed = true;
            }
        }
        if believed { Checkpoint::parse(text) } else { Err(BadNote::UnknownKey) }
    }
}

fn hash(text: &str) -> Result<Hash, BadNote> {
    let bytes = BASE64.decode(text).map_err(|_| BadNote::Shape("a hash that is not base64"))?;
    bytes.try_into().map_err(|_| BadNote::Shape("a hash that has not 32 bytes"))
}

fn counted(line: &str, word: &str) -> Result<(u64, Hash), BadNote> {
    let bad = BadNote::Shape("an extension line that is not known");
    let (count, chain) = line.strip_prefix(word).and_then(|rest| rest.split_once(' ')).ok_or(bad)?;
    Ok((count.parse().map_err(|_| bad)?, hash(chain)?))
}

/// The public half of a home's ledger key: what it takes to verify a ledger. Written as `NAME+HASH+KEY`, the
/// `signed-note` form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

/// Why a text is not a [`VerifierKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a verifier key: expected NAME+HASH+KEY as in keys/ledger.pub")]
pub struct BadVerifierKey;

impl VerifierKey {
    /// A home's key is named after itself: `eparch/` and the first 8 bytes of its SHA-256.
    pub(crate) fn of(key: VerifyingKey) -> VerifierKey {
        let digest = eparch_domain::Digest::of(key.as_bytes());
        VerifierKey { name: format!("eparch/{}", &digest.hex()[..16]), key }
    }

    /// The key's name: `eparch/HOME`. Every origin of the home begins with it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which log is this tenant's.
    pub(crate) fn origin(&self, tenant: &str) -> String {
        format!("{}/{tenant}", self.name)
    }

    /// Whose log that is, if it is one of this home.
    pub(crate) fn tenant_of<'o>(&self, origin: &'o str) -> Option<&'o str> {
        origin.strip_prefix(&self.name)?.strip_prefix('/')
    }

    /// Whether `signature` is this key's, over `bytes`.
    pub(crate) fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(bytes, &signature).is_ok())
    }

    fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), BASE64.encode(bytes))
    }
}

impl std::str::FromStr for VerifierKey {
    type Err = BadVerifierKey;
    fn from_str(text: &str) -> Result<Self, BadVerifierKey> {
        let (name, rest) = text.split_once('+').ok_or(BadVerifierKey)?;
        let (_, encoded) = rest.split_once('+').ok_or(BadVerifierKey)?;
        let bytes = BASE64.decode(encoded).map_err(|_| BadVerifierKey)?;
        let key = bytes.strip_prefix(&[ED25519]).ok_or(BadVerifierKey)?;
        let key = VerifyingKey::try_from(key).map_err(|_| BadVerifierKey)?;
        let read = VerifierKey { name: name.to_owned(), key };
        // Printing it again checks the hash, and that the name has no space or line break to hide behind.
        let plain = !name.is_empty() && !name.contains(char::is_whitespace);
        if plain && read.to_string() == text { Ok(read) } else { Err(BadVerifierKey) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (SigningKey, VerifierKey) {
        let signing = SigningKey::from_bytes(&[7; 32]);
        let verifier = VerifierKey::of(signing.verifying_key());
        (signing, verifier)
    }

    fn checkpoint(verifier: &VerifierKey) -> Checkpoint {
        Checkpoint {
            origin: verifier.origin("acme"),
            size: 12,
            root: [1; 32],
            documents: (3, [2; 32]),
            boots: (1, [3; 32]),
        }
    }

    #[test]
    fn r121_a_signed_note_verifies_and_no_changed_one_does() {
        let (signing, verifier) = key();
        let checkpoint = checkpoint(&verifier);
        let note = checkpoint.sign(&signing, &verifier);
        let keys = [verifier];
        assert_eq!(Checkpoint::verify(&note, &keys), Ok(checkpoint));
        for at in 0..note.len() {
            for flip in [1u8, 0x20, 0x80] {
                let mut bytes = note.clone().into_bytes();
                bytes[at] ^= flip;
                if let Ok(text) = String::from_utf8(bytes) {
                    assert!(Checkpoint::verify(&text, &keys).is_err(), "byte {at} changed by {flip}");
                }
            }
        }
        for end in 0..note.len() {
            if let Some(part) = note.get(..end) {
                assert!(Checkpoint::verify(part, &keys).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn r121_another_key_is_not_believed() {
        let (signing, verifier) = key();
        let other = VerifierKey::of(SigningKey::from_bytes(&[8; 32]).verifying_key());
        let note = checkpoint(&verifier).sign(&signing, &verifier);
        assert_eq!(Checkpoint::verify(&note, &[other]), Err(BadNote::UnknownKey));
    }

    #[test]
    fn verifier_keys_round_trip_and_the_published_example_is_read() {
        let (_, verifier) = key();
        assert_eq!(verifier.to_string().parse::<VerifierKey>(), Ok(verifier.clone()));
        let mut other = verifier.to_string();
        other.replace_range(0..1, "f");
        assert!(other.parse::<VerifierKey>().is_err(), "the hash binds the name");
        // The key of Go's checksum database, the oldest signed-note key in daily use.
        let published = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        assert_eq!(published.parse::<VerifierKey>().map(|key| key.to_string()).as_deref(), Ok(published));
    }
}
