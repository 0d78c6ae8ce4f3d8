//! What a vault does, whichever home it has.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use eparch_domain::{AgentId, RunId, Span, Tier, limits};
use serde::{Deserialize, Serialize};

use crate::error::VaultError;
use crate::path::SecretPath;
use crate::secret::{Fields, Token};

/// What a vault answers, some time later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, VaultError>> + Send + 'a>>;

/// Credentials that expire. Two homes keep these promises, and one suite of tests holds both to them: [`Embedded`] in a file
/// of this machine, [`Hashicorp`] in a server.
///
/// Everything here is done with the daemon's own authority, except what says *with a token*: that is done with the
/// authority of the token alone, and checked when it is done, not when the token was issued.
///
/// A call that is dropped before it answered may have been done or not.
///
/// [`Embedded`]: crate::Embedded
/// [`Hashicorp`]: crate::Hashicorp
pub trait Vault: Send + Sync + fmt::Debug {
    /// How the home is. An answer at all says that somebody is there; what stands in it, whether authority can be had (R126).
    fn health(&self) -> Answer<'_, Health>;

    /// Issues a run's own token: policy `pipeline-agent` and nothing more (R133, R134, R136).
    fn issue_run(&self, grant: RunGrant) -> Answer<'_, Issued>;

    /// Issues a token for an agent *with a token* of its run. It has the policy of its tier, which is at most the run's, and
    /// ends with the run's at the latest (R138).
    fn issue_child<'a>(&'a self, parent: &'a Token, grant: ChildGrant) -> Answer<'a, Issued>;

    /// How a token is, by its accessor (R140).
    fn lookup<'a>(&'a self, accessor: &'a Accessor) -> Answer<'a, TokenStatus>;

    /// Makes a token end `ttl` from now; a child's end stays before its parent's, and before two hours after it was issued (X15).
    fn renew<'a>(&'a self, accessor: &'a Accessor, ttl: Span) -> Answer<'a, TokenStatus>;

    /// Ends a token and every one that was issued with it. When this has returned, none of them is good for anything (G2).
    /// What is over already stays so: revoking twice is no mistake.
    fn revoke<'a>(&'a self, accessor: &'a Accessor) -> Answer<'a, ()>;

    /// The tokens of one run that are alive, or of all runs this home of Eparch started: what a crash may have left (issue of
    /// a token that nobody wrote down).
    fn find(&self, run: Option<RunId>) -> Answer<'_, Vec<TokenStatus>>;

    /// Reads a secret: the newest version, or that one.
    fn read<'a>(
        &'a self,
        reader: Reader<'a>,
        path: &'a SecretPath,
        version: Option<u32>,
    ) -> Answer<'a, SecretVersion>;

    /// Writes a new version of a secret and says which. With `expected`, only when that is the newest one; 0 says that there is none.
    fn write<'a>(&'a self, path: &'a SecretPath, fields: Fields, expected: Option<u32>) -> Answer<'a, u32>;

    /// Deletes a secret with all its versions. One that is not there stays so.
    fn delete<'a>(&'a self, path: &'a SecretPath) -> Answer<'a, ()>;

    /// What lies directly below a path, or at the top: names of secrets, and of folders with a `/` behind them, in order.
    fn list<'a>(&'a self, below: Option<&'a SecretPath>) -> Answer<'a, Vec<String>>;

    /// Reads a secret *with a token*, and puts what was read behind a token of its own, good for one [`unwrap`](Vault::unwrap)
    /// within `ttl`: what is handed on can be intercepted only by somebody whose theft is noticed.
    fn wrap<'a>(&'a self, reader: &'a Token, path: &'a SecretPath, ttl: Span) -> Answer<'a, Token>;

    /// What was wrapped, once.
    fn unwrap<'a>(&'a self, wrapping: &'a Token) -> Answer<'a, SecretVersion>;
}

/// How a home is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it was ever set up.
    pub initialized: bool,
    /// Whether it waits for its keys: nothing can be read, issued or revoked.
    pub sealed: bool,
    /// Whether another node answers in its stead.
    pub standby: bool,
}

impl Health {
    /// Whether authority can be had.
    pub fn is_usable(self) -> bool {
        self.initialized && !self.sealed
    }
}

/// What a run's token is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunGrant {
    /// Whose it is; two runs never share one.
    pub run: RunId,
    /// The highest tier its agents may have.
    pub tier: Tier,
    /// How long it lives unless renewed: one second to [`limits::LEASE_TTL`].
    pub ttl: Span,
}

/// What an agent's token is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildGrant {
    /// Whose it is.
    pub agent: AgentId,
    /// Which tier's policy it has.
    pub tier: Tier,
    /// How long it lives unless renewed: one second to what its parent has left.
    pub ttl: Span,
}

/// A token, at the one time it is shown.
#[derive(Debug)]
pub struct Issued {
    /// The token. No home can say it again.
    pub token: Token,
    /// How it is.
    pub status: TokenStatus,
}

/// What may be known of a token by whoever may not use it (R140).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStatus {
    /// What it is called.
    pub accessor: Accessor,
    /// The run it was issued for.
    pub run: RunId,
    /// The agent, unless it is the run's own.
    pub agent: Option<AgentId>,
    /// The tier of the agent, or the highest of the run.
    pub tier: Tier,
    /// Its policies, in order.
    pub policies: Vec<String>,
    /// What is left of its life.
    pub ttl: Span,
    /// How often it was renewed, as far as this home knows: a server only says that it was, which counts as once.
    pub renewals: u32,
}

/// What a token is called by those who do not have it: harmless, and good for asking after it, renewing and revoking it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Accessor(Box<str>);

/// Why a text is not an [`Accessor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an accessor is 1 to 128 letters, digits, '.', '_' and '-'")]
pub struct BadAccessor;

impl Accessor {
    /// Checks `text` and takes it as an accessor.
    pub fn new(text: &str) -> Result<Accessor, BadAccessor> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        // Servers with namespaces append one's name; the longest seen has 31 characters.
        if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Accessor(text.into()))
        } else {
            Err(BadAccessor)
        }
    }

    /// The accessor as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Accessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Accessor {
    type Error = BadAccessor;
    fn try_from(text: String) -> Result<Accessor, BadAccessor> {
        Accessor::new(&text)
    }
}

impl From<Accessor> for String {
    fn from(accessor: Accessor) -> String {
        accessor.0.into()
    }
}

/// With whose authority a secret is read.
#[derive(Debug, Clone, Copy)]
pub enum Reader<'a> {
    /// The daemon itself, for its own needs and for operators.
    Daemon,
    /// Whoever has this token.
    Token(&'a Token),
}

/// One version of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVersion {
    /// Which; the first is 1.
    pub version: u32,
    /// What it holds.
    pub fields: Fields,
}

/// Whether a token may live so long at all.
pub(crate) fn check_ttl(asked: Span) -> Result<(), VaultError> {
    check_between(asked, limits::LEASE_TTL)
}

/// Whether something may be wrapped for so long.
pub(crate) fn check_wrap_ttl(asked: Span) -> Result<(), VaultError> {
    check_between(asked, limits::VAULT_WRAP_TTL)
}

fn check_between(asked: Span, most: Span) -> Result<(), VaultError> {
    let least = limits::VAULT_TTL_MIN;
    if (least..=most).contains(&asked) { Ok(()) } else { Err(VaultError::BadTtl { asked, least, most }) }
}

/// Whether a secret may be kept: its fields have names, and it is not too large.
pub(crate) fn check_fields(fields: &Fields) -> Result<(), VaultError> {
    if fields.len() > limits::VAULT_SECRET_FIELDS {
        return Err(VaultError::TooMuch { what: "fields of a secret", most: limits::VAULT_SECRET_FIELDS });
    }
    if !fields.keys().all(|name| eparch_domain::Name::new(name).is_ok()) {
        return Err(VaultError::BadField);
    }
    let bytes: usize = fields.iter().map(|(name, text)| name.len() + text.expose().len()).sum();
    if bytes > limits::VAULT_SECRET_BYTES {
        return Err(VaultError::TooMuch { what: "bytes of a secret", most: limits::VAULT_SECRET_BYTES });
    }
    Ok(())
}

/// Whether an agent may read there: a place that belongs to one agent is nobody else's, not even the run's (R129). A policy
/// is the same for all of a tier and cannot say so.
pub(crate) fn check_own(path: &SecretPath, agent: Option<AgentId>) -> Result<(), VaultError> {
    if path.is_an_agents() && !agent.is_some_and(|agent| path.is_own_of(agent)) {
        return Err(VaultError::Denied { doing: READING });
    }
    Ok(())
}

pub(crate) const READING: &str = "read the secret";
pub(crate) const WRAPPING: &str = "wrap the secret";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accessors_are_harmless_in_any_place() {
        assert!(Accessor::new("31emLd4T7Ajhsz0q3SrBXsJS").is_ok());
        for bad in ["", "a b", "a/b", "a\n", "ä", &"a".repeat(129)] {
            assert_eq!(Accessor::new(bad), Err(BadAccessor), "{bad:?}");
        }
    }

    #[test]
    fn a_sealed_or_empty_home_gives_no_authority() {
        let well = Health { initialized: true, sealed: false, standby: false };
        assert!(well.is_usable());
        assert!(!Health { sealed: true, ..well }.is_usable());
        assert!(!Health { initialized: false, ..well }.is_usable());
    }
}
