//! Why a vault did not do what it was asked. None of it repeats what a server said or what was handed in: either may be a
//! secret.

use std::io;

use eparch_domain::{Span, Tier};

use crate::embedded::StoreError;

/// How a token came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Its time was over, or that of the token it came from.
    Expired,
    /// It was revoked, or the token it came from.
    Revoked,
    /// A wrapping token that was used, or was never one.
    Used,
    /// It never was, or it is over and nobody can say how: servers forget.
    Unknown,
}

/// Why a vault did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A server that was restarted and waits for its keys.
    #[error("the vault is sealed")]
    Sealed,
    /// No policy of whoever asked allows it.
    #[error("not allowed to {doing}")]
    Denied {
        /// What was asked.
        doing: &'static str,
    },
    /// There is no such secret, version or token.
    #[error("there is no such {what}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// The token is good for nothing any more.
    #[error("the token {}", match how {
        Ending::Expired => "has expired",
        Ending::Revoked => "was revoked",
        Ending::Used => "was used already, or never was one for this",
        Ending::Unknown => "is over, or never was one",
    })]
    Ended {
        /// How it ended.
        how: Ending,
    },
    /// A child token may do what its parent's run was granted, or less.
    #[error("a token of {asked} was asked for, and the run was granted {most} at most")]
    Wider {
        /// The tier that was asked for.
        asked: Tier,
        /// The highest the run was granted.
        most: Tier,
    },
    /// A child token ends with its parent at the latest.
    #[error("a token for {asked} was asked for, and the one it comes from ends in {left}")]
    OutlivesParent {
        /// What was asked for.
        asked: Span,
        /// What the parent has left.
        left: Span,
    },
    /// A time to live that no token has.
    #[error("a token cannot live {asked}; it lives between {least} and {most}")]
    BadTtl {
        /// What was asked for.
        asked: Span,
        /// The least there is.
        least: Span,
        /// The most there is.
        most: Span,
    },
    /// Somebody else wrote meanwhile.
    #[error("the secret is not at version {expected} any more")]
    Changed {
        /// The version that was expected; 0 stands for none at all.
        expected: u32,
    },
    /// More than there may be.
    #[error("{what}: at most {most} are allowed")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        most: usize,
    },
    /// The name of a field is not one.
    #[error("a field of a secret is called by 1 to 64 letters, digits, '.', '_' and '-'")]
    BadField,
    /// The role or the secret id is wrong, used up or expired.
    #[error("the server refuses to log in with this role_id and secret_id")]
    LoginRefused,
    /// Nobody answers at the address.
    #[error("cannot reach {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Whoever answers is not who they should be.
    #[error("the certificate of {address} is not to be trusted: {why}")]
    Untrusted {
        /// Where.
        address: String,
        /// What is wrong with the certificate.
        why: String,
    },
    /// No answer in time; whether it was done is not known.
    #[error("no answer within {after} while trying to {doing}")]
    TimedOut {
        /// What was asked.
        doing: &'static str,
        /// How long was waited.
        after: Span,
    },
    /// The connection broke before the answer came; whether it was done is not known.
    #[error("the connection broke while trying to {doing}")]
    CutOff {
        /// What was asked.
        doing: &'static str,
    },
    /// It failed so often in a row that it is left alone for a while.
    #[error("the vault failed too often in a row, and is left alone {}", match left.millis() {
        0 => "until one call has shown that it answers again".to_owned(),
        _ => format!("for another {left}"),
    })]
    LeftAlone {
        /// For how long still; nothing while one call is trying it.
        left: Span,
    },
    /// An answer that is none.
    #[error("cannot make sense of the answer to {doing}: {why}")]
    Malformed {
        /// What was asked.
        doing: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An answer that says no, for no reason known here.
    #[error("the server answered {status} when asked to {doing}")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// The wall clock is before what was recorded last, so nobody can say which tokens are over.
    #[error(
        "the clock is {by} behind what the vault recorded last; until it is right, or somebody who knows says so, no authority is given"
    )]
    ClockBehind {
        /// How far.
        by: Span,
    },
    /// The sealed store cannot be read or written.
    #[error("the sealed store fails")]
    Store(#[from] StoreError),
}

impl VaultError {
    /// Whether the same may work when it is tried again later, without anybody doing anything else.
    pub fn is_retryable(&self) -> bool {
        match self {
            VaultError::Sealed
            | VaultError::Unreachable { .. }
            | VaultError::TimedOut { .. }
            | VaultError::CutOff { .. }
            | VaultError::LeftAlone { .. } => true,
            // 429 asks for patience; 5xx is the server's own trouble.
            VaultError::Refused { status, .. } => *status == 429 || *status >= 500,
            VaultError::Store(error) => error.is_retryable(),
            VaultError::Denied { .. }
            | VaultError::NotFound { .. }
            | VaultError::Ended { .. }
            | VaultError::Wider { .. }
            | VaultError::OutlivesParent { .. }
            | VaultError::BadTtl { .. }
            | VaultError::Changed { .. }
            | VaultError::TooMuch { .. }
            | VaultError::BadField
            | VaultError::LoginRefused
            | VaultError::Untrusted { .. }
            | VaultError::Malformed { .. }
            | VaultError::ClockBehind { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_told_from_what_does_not() {
        let retryable = [
            VaultError::Sealed,
            VaultError::TimedOut { doing: "x", after: Span::from_secs(1) },
            VaultError::CutOff { doing: "x" },
            VaultError::Refused { doing: "x", status: 429 },
            VaultError::Refused { doing: "x", status: 502 },
            VaultError::Unreachable { address: "a".into(), source: io::Error::other("x") },
        ];
        assert!(retryable.iter().all(VaultError::is_retryable));
        let lasting = [
            VaultError::Denied { doing: "x" },
            VaultError::Ended { how: Ending::Expired },
            VaultError::LoginRefused,
            VaultError::Refused { doing: "x", status: 405 },
            VaultError::Malformed { doing: "x", why: "y" },
        ];
        assert!(!lasting.iter().any(VaultError::is_retryable));
    }
}
