//! A vault behind a breaker: one that does not answer is left alone for a while, and whoever asks meanwhile is told at once
//! instead of waiting for it (R268).

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eparch_domain::breaker::{Admitted, FOR_BACKENDS};
use eparch_domain::{Breaker, BreakerState, Clock, RunId, Span};

use crate::error::VaultError;
use crate::path::SecretPath;
use crate::secret::{Fields, Token};
use crate::vault::{
    Accessor, Answer, ChildGrant, Health, Issued, Reader, RunGrant, SecretVersion, TokenStatus, Vault,
};

/// A vault that is left alone when it fails too often. Asking how it [is](Vault::health) always reaches it, and counts for
/// nothing: somebody has to look whether it is back.
pub struct Guarded<V> {
    vault: V,
    clock: Arc<dyn Clock>,
    breaker: Mutex<Breaker>,
}

impl<V: fmt::Debug> fmt::Debug for Guarded<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("vault", &self.vault).finish_non_exhaustive()
    }
}

impl<V: Vault> Guarded<V> {
    /// Puts a breaker before a vault; it begins closed.
    pub fn new(vault: V, clock: Arc<dyn Clock>) -> Guarded<V> {
        Guarded { vault, clock, breaker: Mutex::new(Breaker::new(FOR_BACKENDS)) }
    }

    /// How the breaker stands.
    pub fn breaker(&self) -> BreakerState {
        self.state().state(self.clock.now().ledger)
    }

    fn state(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn guard<T>(&self, call: impl Future<Output = Result<T, VaultError>>) -> Result<T, VaultError> {
        let pass = self.state().admit(self.clock.now().ledger);
        let pass = pass.map_err(|alone| VaultError::LeftAlone { left: alone.left })?;
        let mut under_way = UnderWay { guarded: self, pass: Some(pass) };
        let answer = call.await;
        under_way.ended(answer.as_ref().err().is_some_and(is_trouble));
        answer
    }
}

/// Whether an error says that nobody is there, or that they are not well. A refusal is an answer, also that of a vault which
/// waits for its keys: it comes at once.
fn is_trouble(error: &VaultError) -> bool {
    match error {
        VaultError::Unreachable { .. } | VaultError::TimedOut { .. } | VaultError::CutOff { .. } => true,
        VaultError::Refused { status, .. } => *status >= 500,
        _ => false,
    }
}

/// One call; whoever made it may stop waiting at any time.
struct UnderWay<'g, V: Vault> {
    guarded: &'g Guarded<V>,
    pass: Option<Admitted>,
}

impl<V: Vault> UnderWay<'_, V> {
    fn ended(&mut self, in_trouble: bool) {
        let Some(pass) = self.pass.take() else { return };
        let now = self.guarded.clock.now().ledger;
        let mut breaker = self.guarded.state();
        if in_trouble { breaker.failed(&pass, now) } else { breaker.succeeded(&pass) }
    }
}

impl<V: Vault> Drop for UnderWay<'_, V> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.guarded.state().given_up(&pass, self.guarded.clock.now().ledger);
        }
    }
}

impl<V: Vault> Vault for Guarded<V> {
    fn health(&self) -> Answer<'_, Health> {
        self.vault.health()
    }

    fn issue_run(&self, grant: RunGrant) -> Answer<'_, Issued> {
        Box::pin(self.guard(self.vault.issue_run(grant)))
    }

    fn issue_child<'a>(&'a self, parent: &'a Token, grant: ChildGrant) -> Answer<'a, Issued> {
        Box::pin(self.guard(self.vault.issue_child(parent, grant)))
    }

    fn lookup<'a>(&'a self, accessor: &'a Accessor) -> Answer<'a, TokenStatus> {
        Box::pin(self.guard(self.vault.lookup(accessor)))
    }

    fn renew<'a>(&'a self, accessor: &'a Accessor, ttl: Span) -> Answer<'a, TokenStatus> {
        Box::pin(self.guard(self.vault.renew(accessor, ttl)))
    }

    fn revoke<'a>(&'a self, accessor: &'a Accessor) -> Answer<'a, ()> {
        Box::pin(self.guard(self.vault.revoke(accessor)))
    }

    fn find(&self, run: Option<RunId>) -> Answer<'_, Vec<TokenStatus>> {
        Box::pin(self.guard(self.vault.find(run)))
    }

    fn read<'a>(
        &'a self,
        reader: Reader<'a>,
        path: &'a SecretPath,
        version: Option<u32>,
    ) -> Answer<'a, SecretVersion> {
        Box::pin(self.guard(self.vault.read(reader, path, version)))
    }

    fn write<'a>(&'a self, path: &'a SecretPath, fields: Fields, expected: Option<u32>) -> Answer<'a, u32> {
        Box::pin(self.guard(self.vault.write(path, fields, expected)))
    }

    fn delete<'a>(&'a self, path: &'a SecretPath) -> Answer<'a, ()> {
        Box::pin(self.guard(self.vault.delete(path)))
    }

    fn list<'a>(&'a self, below: Option<&'a SecretPath>) -> Answer<'a, Vec<String>> {
        Box::pin(self.guard(self.vault.list(below)))
    }

    fn wrap<'a>(&'a self, reader: &'a Token, path: &'a SecretPath, ttl: Span) -> Answer<'a, Token> {
        Box::pin(self.guard(self.vault.wrap(reader, path, ttl)))
    }

    fn unwrap<'a>(&'a self, wrapping: &'a Token) -> Answer<'a, SecretVersion> {
        Box::pin(self.guard(self.vault.unwrap(wrapping)))
    }
}
