//! Why a vault gave no token, or did not end one, and the stable codes of it.

use std::io;
use std::path::PathBuf;

use eparch_domain::in_full;
use eparch_vault::{BadSeal, SealKeyError, VaultError};

use crate::driver::SubmitError;
use crate::vault::VaultFailure;

/// Why an agent has no token of the vault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialFailure {
    /// The vault did not issue it, or cannot be asked.
    #[error("the vault gives its agent no token")]
    Vault(#[from] VaultFailure),
    /// The run's token cannot be sealed, or what was sealed cannot be kept.
    #[error("the run's token cannot be sealed")]
    Seal(#[from] SealFailure),
    /// What it would be for is over.
    #[error("what it would be for is over")]
    LeaseOver,
    /// The ledger does not say what was issued, so it is not used (G1).
    #[error("what was issued cannot be written down")]
    Ledger(#[from] SubmitError),
}

impl From<VaultError> for CredentialFailure {
    fn from(error: VaultError) -> CredentialFailure {
        CredentialFailure::Vault(error.into())
    }
}

/// Why a token was not ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotEnded {
    /// It is of another vault than the home has now.
    #[error("it was issued by {at}, and the home's vault is {here} now")]
    Elsewhere {
        /// Which issued it.
        at: String,
        /// Which it is now.
        here: String,
    },
    /// The vault did not do it, or cannot be asked.
    #[error(transparent)]
    Vault(#[from] VaultFailure),
}

impl NotEnded {
    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            NotEnded::Elsewhere { .. } => "EP0919",
            NotEnded::Vault(failure) => failure_code(failure),
        }
    }
}

/// Why a run's token could not be sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealFailure {
    /// There is no key, or it is not to be trusted.
    #[error(transparent)]
    Key(#[from] SealKeyError),
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] BadSeal),
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl CredentialFailure {
    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            CredentialFailure::Vault(failure) => failure_code(failure),
            CredentialFailure::Seal(_) => "EP0916",
            CredentialFailure::LeaseOver => "EP0661",
            CredentialFailure::Ledger(_) => "EP0917",
        }
    }

    /// The whole reason; nothing in it repeats what a vault was told or said.
    pub(crate) fn reason(&self) -> String {
        in_full(self)
    }

    /// Whether trying again may help.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            CredentialFailure::Vault(VaultFailure::Asked(error)) => error.is_retryable(),
            CredentialFailure::Ledger(_) => true,
            _ => false,
        }
    }
}

/// The stable code of why a vault did not do something.
fn failure_code(failure: &VaultFailure) -> &'static str {
    match failure {
        VaultFailure::Asked(error) => code_of(error),
        VaultFailure::Store(_) | VaultFailure::Connect(_) | VaultFailure::Lost => "EP0912",
    }
}

/// Whether a vault may have issued a token although it did not say so, or not so that it could be read.
pub(super) fn may_have_issued(error: &VaultError) -> bool {
    use VaultError::{CutOff, Malformed, Refused, Store, TimedOut};
    match error {
        TimedOut { .. } | CutOff { .. } | Malformed { .. } | Store(_) => true,
        Refused { status, .. } => *status >= 500,
        _ => false,
    }
}

/// The stable code of what a vault says when it is asked for a token, or to renew one.
pub(crate) fn code_of(error: &VaultError) -> &'static str {
    match error {
        VaultError::Wider { .. } => "EP0913",
        VaultError::OutlivesParent { .. } => "EP0914",
        VaultError::Ended { .. } => "EP0915",
        VaultError::ClockBehind { .. } | VaultError::Store(_) => "EP0912",
        error if error.is_retryable() => "EP0910",
        _ => "EP0911",
    }
}

#[cfg(test)]
mod tests {
    use eparch_domain::{Span, Tier};

    use super::*;

    #[test]
    fn g5_a_token_that_would_be_wider_or_longer_has_a_reason_of_its_own() {
        let wider = VaultError::Wider { asked: Tier::T3, most: Tier::T2 };
        let longer = VaultError::OutlivesParent { asked: Span::from_mins(30), left: Span::from_mins(4) };
        let sealed = CredentialFailure::from(VaultError::Sealed);
        assert_eq!((code_of(&wider), code_of(&longer), sealed.code()), ("EP0913", "EP0914", "EP0910"));
        assert!(sealed.is_retryable() && !CredentialFailure::from(wider).is_retryable());
        assert_eq!(sealed.reason(), "the vault gives its agent no token: the vault is sealed");
    }
}
