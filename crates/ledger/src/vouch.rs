//! What the ledger key says of a saved state: recovery begins with it instead of with the entries before it, so a file
//! that anybody can write must not be able to make one up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::key::LedgerKey;
use crate::note::VerifierKey;
use crate::tree::Hash;

/// A saved state, by what a signature binds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SavedState<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) seq: u64,
    /// Its seal, which covers what is saved.
    pub(crate) seal: Hash,
    /// The root over the entries it sums up.
    pub(crate) root: &'a Hash,
}

impl SavedState<'_> {
    /// What is signed. No checkpoint begins like it.
    fn text(&self, key: &VerifierKey) -> String {
        let origin = key.origin(self.tenant);
        let (seal, root) = (BASE64.encode(self.seal), BASE64.encode(self.root));
        format!("eparch snapshot\n{origin}\n{}\n{seal}\n{root}\n", self.seq)
    }

    pub(crate) fn sign(&self, key: &LedgerKey) -> [u8; 64] {
        key.sign_bytes(self.text(key.verifier()).as_bytes())
    }

    /// Whether `signature` was made for exactly this by one of `keys`.
    pub(crate) fn is_signed(&self, signature: &[u8], keys: &[VerifierKey]) -> bool {
        keys.iter().any(|key| key.has_signed(self.text(key).as_bytes(), signature))
    }
}
