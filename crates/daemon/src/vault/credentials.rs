//! Tokens of the vault for runs and their agents. A run's own is sealed as soon as it is issued and opened when another one is
//! to come from it; nobody else ever has it. What it is called is durable in the ledger before it is used.

mod failure;
mod sealed;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eparch_domain::{AgentId, LeaseId, RunId, Span, Tier, in_full, limits};
use eparch_governor::{Answer, Credential, Event, Lease};
use eparch_vault::{Accessor, ChildGrant, RunGrant, Token, TokenStatus, Vault, VaultError};
use tokio::sync::Semaphore;

use self::failure::may_have_issued;
pub(crate) use self::failure::{CredentialFailure, NotEnded, code_of};
use self::sealed::split;
use super::{HomeVault, VaultFailure};
use crate::driver::Handle;

/// Runs whose tokens are issued at once; another one waits.
const AT_ONCE: usize = 32;

/// What issuing needs to know.
#[derive(Debug)]
pub(super) struct Issuing {
    /// One agent of a run at a time: the first brings the run's own token.
    runs: [tokio::sync::Mutex<()>; AT_ONCE],
    /// What was issued in this process, until what others left has been looked for.
    fresh: Mutex<Option<BTreeSet<Accessor>>>,
    /// Held while a token is issued, until it is written down or ended: whoever looks for what others left waits for what it
    /// may have seen half done.
    under_way: tokio::sync::RwLock<()>,
    /// Runs of which the vault may have issued something that nobody here knows.
    doubted: Mutex<BTreeSet<RunId>>,
    /// Told when there is one more.
    doubt: tokio::sync::Notify,
    /// What is to be ended and was not, and why.
    owed: Mutex<BTreeMap<Accessor, Owed>>,
    turns: Turns,
}

/// Who may ask the vault now. Ending and renewing wait for others of their own kind alone.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) end: Semaphore,
    pub(crate) renew: Semaphore,
}

impl Default for Turns {
    fn default() -> Turns {
        let some = || Semaphore::new(limits::CREDENTIALS_AT_ONCE);
        Turns { end: some(), renew: some() }
    }
}

impl Default for Issuing {
    fn default() -> Issuing {
        Issuing {
            runs: Default::default(),
            fresh: Mutex::new(Some(BTreeSet::new())),
            under_way: tokio::sync::RwLock::default(),
            doubted: Mutex::default(),
            doubt: tokio::sync::Notify::new(),
            owed: Mutex::default(),
            turns: Turns::default(),
        }
    }
}

/// Why a token that is to be ended has not been.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    /// The stable code of the reason.
    pub(crate) code: &'static str,
    /// The reason.
    pub(crate) why: String,
    /// How often it was asked for.
    pub(crate) asked: u32,
}

/// Locks what no panic can leave half done.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An agent's token of the vault.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// What it is called.
    pub(crate) accessor: Accessor,
    /// The token.
    pub(crate) token: Token,
}

/// How a run's lease stands when a token is issued for it.
struct Standing {
    held: Lease,
    tier: Tier,
    credential: Option<String>,
}

impl HomeVault {
    /// Whether an agent is to have a token of the vault: where a server is the home's vault, each, so that nobody works whom it
    /// does not know; where it is the sealed file, those that read secrets, so that nobody else waits for the disk.
    pub(crate) fn is_for(&self, names_secrets: bool) -> bool {
        names_secrets || self.address().is_some()
    }

    /// Obtains a token of the vault for an agent: one that comes from its run's, which is issued first where there is none.
    pub(crate) async fn credential_for(
        &self,
        driver: &Handle,
        run: RunId,
        agent: AgentId,
        tier: Tier,
    ) -> Result<Held, CredentialFailure> {
        let _alone = self.issuing.runs[place_of(run)].lock().await;
        let _under_way = self.issuing.under_way.read().await;
        let issued = self.issue_for(driver, run, agent, tier).await;
        if let Err(CredentialFailure::Vault(VaultFailure::Asked(error))) = &issued
            && may_have_issued(error)
        {
            self.doubt(run);
        }
        issued
    }

    async fn issue_for(
        &self,
        driver: &Handle,
        run: RunId,
        agent: AgentId,
        tier: Tier,
    ) -> Result<Held, CredentialFailure> {
        let standing = driver.look(move |governor| {
            let held = governor.lease(run)?;
            let credential = governor.credential(run, None).map(str::to_owned);
            let tier = governor.granted(run)?;
            Some(Standing { held: held.clone(), tier, credential })
        });
        let standing = standing.await?.ok_or(CredentialFailure::LeaseOver)?;
        let vault = self.vault().await?;
        let kept = match standing.credential.clone() {
            Some(accessor) => self.unsealed(run, accessor).await,
            None => None,
        };
        if let Some(parent) = kept {
            match self.child(driver, &*vault, &parent, &standing, (run, agent, tier)).await {
                // It is over in the vault alone: another one takes its place.
                Err(CredentialFailure::Vault(VaultFailure::Asked(VaultError::Ended { .. }))) => {}
                done => return done,
            }
        }
        let parent = self.parent(driver, &*vault, &standing, run).await?;
        self.child(driver, &*vault, &parent, &standing, (run, agent, tier)).await
    }

    async fn parent(
        &self,
        driver: &Handle,
        vault: &dyn Vault,
        standing: &Standing,
        run: RunId,
    ) -> Result<Token, CredentialFailure> {
        let ttl = whole_seconds(standing.held.left(self.clock.now()));
        let issued = vault.issue_run(RunGrant { run, tier: standing.tier, ttl }).await?;
        let accessor = &issued.status.accessor;
        self.note(accessor);
        let sealed = self.seal(run, accessor, &issued.token).await;
        let at = Some(self.place());
        let credential = Credential { accessor: accessor.to_string(), run, agent: None, at };
        // Also when it could not be sealed: then it is known to be ended.
        let told = self.tell(driver, standing.held.lease, credential).await;
        if let Err(problem) = sealed.map_err(CredentialFailure::from).and(told) {
            self.undo(vault, run, accessor).await;
            return Err(problem);
        }
        Ok(issued.token)
    }

    async fn child(
        &self,
        driver: &Handle,
        vault: &dyn Vault,
        parent: &Token,
        standing: &Standing,
        (run, agent, tier): (RunId, AgentId, Tier),
    ) -> Result<Held, CredentialFailure> {
        let ttl = limits::CHILD_TTL.min(whole_seconds(standing.held.left(self.clock.now())));
        let issued = match vault.issue_child(parent, ChildGrant { agent, tier, ttl }).await {
            // Its parent has less left there than here.
            Err(VaultError::OutlivesParent { left, .. }) if left >= limits::VAULT_TTL_MIN => {
                let ttl = whole_seconds(left);
                vault.issue_child(parent, ChildGrant { agent, tier, ttl }).await?
            }
            done => done?,
        };
        let accessor = issued.status.accessor;
        self.note(&accessor);
        let at = Some(self.place());
        let credential = Credential { accessor: accessor.to_string(), run, agent: Some(agent), at };
        if let Err(problem) = self.tell(driver, standing.held.lease, credential).await {
            self.undo(vault, run, &accessor).await;
            return Err(problem);
        }
        Ok(Held { accessor, token: issued.token })
    }

    /// Has it written down that a token was issued. One for what is over is not used.
    async fn tell(
        &self,
        driver: &Handle,
        lease: LeaseId,
        credential: Credential,
    ) -> Result<(), CredentialFailure> {
        let done = driver.ask(Event::CredentialIssued { lease, credential }.into()).await?;
        match done.record.decision.answer {
            Answer::Refused(_) => Err(CredentialFailure::LeaseOver),
            _ => Ok(()),
        }
    }

    /// Ends a token that is not used. Where that fails, too, it is looked for.
    async fn undo(&self, vault: &dyn Vault, run: RunId, accessor: &Accessor) {
        if vault.revoke(accessor).await.is_err() {
            self.doubt(run);
        }
    }

    /// Notes that the vault may have issued something for a run that nobody here knows.
    fn doubt(&self, run: RunId) {
        lock(&self.issuing.doubted).insert(run);
        self.issuing.doubt.notify_one();
    }

    /// A run of which the vault may have something that nobody here knows; waits for one.
    pub(crate) async fn doubted(&self) -> RunId {
        loop {
            let found = lock(&self.issuing.doubted).first().copied();
            match found {
                Some(run) => return run,
                None => self.issuing.doubt.notified().await,
            }
        }
    }

    /// Tells `driver` of every token that the vault has of a run, while none is issued for it: what no entry knows is ended.
    pub(crate) async fn look_for_what_got_lost(
        &self,
        driver: &Handle,
        run: RunId,
    ) -> Result<(), CredentialFailure> {
        let _alone = self.issuing.runs[place_of(run)].lock().await;
        let found = self.vault().await?.find(Some(run)).await?;
        let found = found.into_iter().map(|status| credential_of(status, self.place()));
        tell_found(driver, found.collect()).await?;
        lock(&self.issuing.doubted).remove(&run);
        Ok(())
    }

    /// Who may ask the vault now.
    pub(crate) fn turns(&self) -> &Turns {
        &self.issuing.turns
    }

    /// Notes that a token was asked to be ended, and was not; whether that is said for the first time.
    pub(crate) fn owe(&self, accessor: &Accessor, failure: &NotEnded) -> bool {
        let (code, why) = (failure.code(), in_full(failure));
        let mut owed = lock(&self.issuing.owed);
        let entry =
            owed.entry(accessor.clone()).or_insert_with(|| Owed { code, why: String::new(), asked: 0 });
        let is_first = entry.code != code || entry.asked == 0;
        *entry = Owed { code, why, asked: entry.asked.saturating_add(1) };
        is_first
    }

    /// A token is not owed any more: it has ended, or the epoch that was to end it has.
    pub(crate) fn settle(&self, accessor: &Accessor) {
        lock(&self.issuing.owed).remove(accessor);
    }

    /// Why a token that is to be ended was not, when it was asked for in vain.
    pub(crate) fn owed(&self, accessor: &str) -> Option<Owed> {
        lock(&self.issuing.owed)
            .iter()
            .find(|(owed, _)| owed.as_str() == accessor)
            .map(|(_, why)| why.clone())
    }

    /// How many tokens were asked in vain to be ended, and why one of them was not.
    pub(crate) fn all_owed(&self) -> Option<(usize, Owed)> {
        let owed = lock(&self.issuing.owed);
        owed.values().next().map(|first| (owed.len(), first.clone()))
    }

    /// Makes a token go on; a child as long as its parent, at most.
    pub(crate) async fn renew(&self, accessor: &Accessor, ttl: Span) -> Result<TokenStatus, VaultFailure> {
        let vault = self.vault().await?;
        let ttl = whole_seconds(ttl);
        match vault.renew(accessor, ttl).await {
            Err(VaultError::OutlivesParent { left, .. }) if left >= limits::VAULT_TTL_MIN => {
                Ok(vault.renew(accessor, whole_seconds(left)).await?)
            }
            done => Ok(done?),
        }
    }

    /// Ends a token, and those that come from it. Where there is no vault at all, there is no token; and one that another vault
    /// issued is not taken for one that has ended because this one does not know it.
    pub(crate) async fn revoke(
        &self,
        run: RunId,
        accessor: &Accessor,
        at: Option<&str>,
    ) -> Result<(), NotEnded> {
        if let Some(at) = at.filter(|at| *at != self.place()) {
            return Err(NotEnded::Elsewhere { at: at.to_owned(), here: self.place() });
        }
        if self.is_made().await? {
            self.vault().await?.revoke(accessor).await.map_err(VaultFailure::from)?;
        }
        let (path, accessor) = (self.sealed_token(run), accessor.clone());
        // What is left of it opens nothing.
        let _ = tokio::task::spawn_blocking(move || {
            let bytes = fs::read(&path).unwrap_or_default();
            if split(&bytes).is_some_and(|(of, _)| of == accessor.as_str()) {
                let _ = fs::remove_file(&path);
            }
        })
        .await;
        Ok(())
    }

    /// Tells `driver` of the tokens of this home in the vault that nobody in this process asked for. Looked for once.
    pub(crate) async fn look_for_what_others_left(&self, driver: &Handle) -> Result<(), CredentialFailure> {
        let found = if self.is_made().await? { self.vault().await?.find(None).await? } else { Vec::new() };
        // What was seen may have been issued here, by somebody who has not had its answer yet.
        drop(self.issuing.under_way.write().await);
        let fresh = lock(&self.issuing.fresh).take().unwrap_or_default();
        let left = found.into_iter().filter(|status| !fresh.contains(&status.accessor));
        let left: Vec<_> = left.map(|status| credential_of(status, self.place())).collect();
        if let Some(beyond) = left.len().checked_sub(limits::CREDENTIALS_TO_END).filter(|beyond| *beyond > 0)
        {
            crate::holder::note(&format!(
                "the vault says it has {} tokens that this home left; {beyond} of them are not ended now, and looked for again \
                 when the home is held next",
                left.len()
            ));
        }
        tell_found(driver, left).await
    }

    fn note(&self, accessor: &Accessor) {
        if let Some(fresh) = lock(&self.issuing.fresh).as_mut() {
            fresh.insert(accessor.clone());
        }
    }

    /// Reads a secret with an agent's token: wrapped, and unwrapped once, so that what was read on the way is found out.
    pub(crate) async fn read_as(
        &self,
        held: &Held,
        path: &eparch_vault::SecretPath,
    ) -> Result<eparch_vault::SecretVersion, VaultFailure> {
        let vault: Arc<dyn Vault> = self.vault().await?;
        let wrapped = vault.wrap(&held.token, path, WRAPPED_FOR).await?;
        Ok(vault.unwrap(&wrapped).await?)
    }
}

/// Has it written down what was found in the vault.
async fn tell_found(driver: &Handle, found: Vec<Credential>) -> Result<(), CredentialFailure> {
    let found = &found[..found.len().min(limits::CREDENTIALS_TO_END)];
    for found in found.chunks(limits::CREDENTIALS_FOUND) {
        driver.ask(Event::CredentialsFound { found: found.to_vec() }.into()).await?;
    }
    Ok(())
}

fn credential_of(status: TokenStatus, at: String) -> Credential {
    let TokenStatus { accessor, run, agent, .. } = status;
    Credential { accessor: accessor.to_string(), run, agent, at: Some(at) }
}

fn place_of(run: RunId) -> usize {
    usize::try_from(run.bits() % AT_ONCE as u128).unwrap_or_default()
}

/// How long a secret on its way to an agent may stay wrapped: it is unwrapped with the next request, which takes
/// `limits::VAULT_TIMEOUT` at most.
const WRAPPED_FOR: Span = Span::from_secs(10);

/// Servers count in whole seconds; never more than was asked for, and never nothing.
fn whole_seconds(span: Span) -> Span {
    Span::from_secs(span.millis() / 1_000).max(limits::VAULT_TTL_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_whole_seconds_and_at_least_one() {
        for (millis, secs) in [(0, 1), (999, 1), (1_000, 1), (1_999, 1), (1_800_000, 1_800)] {
            assert_eq!(whole_seconds(Span::from_millis(millis)), Span::from_secs(secs), "{millis}");
        }
    }
}
