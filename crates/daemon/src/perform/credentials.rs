//! Renewing and ending tokens of the vault: as often as it takes, with more and more time between, until it is done or the
//! epoch is over. The next one decides anew.

use eparch_domain::{RunId, Span, limits};
use eparch_governor::{CredentialOutcome, Event};
use eparch_ledger::EffectRef;
use eparch_vault::{Accessor, VaultError};

use super::Job;
use crate::driver::Input;
use crate::vault::VaultFailure;
use crate::vault::credentials::{NotEnded, code_of};

/// The stable code of a token that is to be ended in the vault and has not been.
const NOT_ENDED: &str = "EP0918";

impl Job {
    /// Makes a token go on. What could not be renewed by when it was to have been renewed for is over.
    pub(super) fn renew_credential(&self, at: Option<EffectRef>, accessor: String, ttl: Span) {
        let job = self.clone();
        let asked = self.tools.clock.now().ledger;
        self.tools.runtime.spawn(async move {
            let Ok(known) = Accessor::new(&accessor) else { return };
            for failures in 0u32.. {
                let renewed = {
                    let _turn = job.tools.vault.turns().renew.acquire().await;
                    job.tools.vault.renew(&known, ttl).await
                };
                let outcome = match renewed {
                    Ok(status) => CredentialOutcome::Renewed { ttl: status.ttl },
                    Err(VaultFailure::Asked(error @ VaultError::Ended { .. })) => {
                        CredentialOutcome::Over { code: code_of(&error).to_owned() }
                    }
                    Err(problem) if job.tools.clock.now().ledger.since(asked) < ttl => {
                        if failures == 0 {
                            crate::holder::note(&format!(
                                "the vault has not renewed {accessor} yet, and is asked again: {}",
                                eparch_domain::in_full(&problem)
                            ));
                        }
                        if !job.wait(failures, most_between(&problem)).await {
                            return;
                        }
                        continue;
                    }
                    Err(_) => CredentialOutcome::Over { code: "EP0915".to_owned() },
                };
                return job.tell_of(at, accessor, outcome).await;
            }
        });
    }

    /// Ends a token in the vault. Here its authority is over already; there it is asked for until it is, and the home owes it
    /// meanwhile.
    pub(super) fn end_credential(
        &self,
        at: Option<EffectRef>,
        run: RunId,
        accessor: String,
        issued_at: Option<String>,
    ) {
        let job = self.clone();
        let asked = self.tools.clock.now().ledger;
        self.tools.runtime.spawn(async move {
            let Ok(known) = Accessor::new(&accessor) else { return };
            let vault = job.tools.vault.clone();
            for failures in 0u32.. {
                let done = {
                    // However many there are, a vault is asked for a few at a time, and never instead of for a renewal.
                    let _turn = vault.turns().end.acquire().await;
                    vault.revoke(run, &known, issued_at.as_deref()).await
                };
                let done = match done {
                    Err(problem) if is_over(&problem, job.tools.clock.now().ledger.since(asked)) => Ok(()),
                    done => done,
                };
                match done {
                    Ok(()) => {
                        vault.settle(&known);
                        return job.tell_of(at, accessor, CredentialOutcome::Ended).await;
                    }
                    Err(problem) => {
                        let most = match &problem {
                            NotEnded::Elsewhere { .. } => limits::VAULT_OWED_RETRY_MAX,
                            NotEnded::Vault(failure) => most_between(failure),
                        };
                        if vault.owe(&known, &problem) {
                            crate::holder::note(&format!(
                                "{NOT_ENDED}: the vault has not ended {accessor} yet, and is asked again: {}",
                                eparch_domain::in_full(&problem)
                            ));
                        }
                        if !job.wait(failures, most).await {
                            return vault.settle(&known);
                        }
                    }
                }
            }
        });
    }

    /// Waits before the next attempt; false when the epoch is over, and nobody waits for it any more.
    async fn wait(&self, failures: u32, most: Span) -> bool {
        tokio::time::sleep(wait_after(failures, most).as_duration()).await;
        !self.is_over()
    }

    async fn tell_of(&self, at: Option<EffectRef>, accessor: String, outcome: CredentialOutcome) {
        if !self.is_over() {
            let event = Event::CredentialTold { accessor, outcome };
            // What cannot be written down belongs to an epoch that is over.
            let _ = self.driver.ask(Input { acknowledges: at.into_iter().collect(), ..event.into() }).await;
        }
    }
}

/// Whether a token that was to be ended so long ago, and could not be, has ended by itself: nobody here renews it, and none lives
/// for longer than a lease. One that this vault has may have been renewed at the last moment, and that asked for in vain for as
/// long as it had left.
fn is_over(problem: &NotEnded, ago: Span) -> bool {
    let lives = match problem {
        NotEnded::Elsewhere { .. } => limits::LEASE_TTL,
        NotEnded::Vault(_) => Span::from_millis(2 * limits::LEASE_TTL.millis() + limits::CLOCK_SKEW.millis()),
    };
    ago > lives
}

/// How long to wait after so many failures, at most `most`.
fn wait_after(failures: u32, most: Span) -> Span {
    let millis = limits::VAULT_RETRY.millis().saturating_mul(1 << failures.min(16));
    Span::from_millis(millis.min(most.millis()))
}

/// The longest wait between two attempts. A vault that is away comes back by itself; what it refuses it refuses until
/// somebody does something about it.
fn most_between(failure: &VaultFailure) -> Span {
    match failure {
        VaultFailure::Asked(error) if error.is_retryable() => limits::VAULT_RETRY_MAX,
        _ => limits::VAULT_OWED_RETRY_MAX,
    }
}

/// Looks for tokens that a crash left in the vault, until it could look, and has them ended; from then on for those of which
/// the answer got lost.
pub(crate) async fn end_what_was_left(vault: &crate::vault::HomeVault, driver: &crate::driver::Handle) {
    for failures in 0u32.. {
        if vault.look_for_what_others_left(driver).await.is_ok() {
            break;
        }
        tokio::time::sleep(wait_after(failures, limits::VAULT_RETRY_MAX).as_duration()).await;
    }
    let mut failures = 0;
    loop {
        let run = vault.doubted().await;
        // Not at once: whatever lost the answer may still be the matter.
        tokio::time::sleep(wait_after(failures, limits::VAULT_RETRY_MAX).as_duration()).await;
        failures = match vault.look_for_what_got_lost(driver, run).await {
            Ok(()) => 0,
            Err(_) => failures.saturating_add(1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r138_what_could_not_be_ended_is_not_owed_for_longer_than_it_can_live() {
        let refused = || NotEnded::Vault(VaultFailure::Asked(VaultError::Denied { doing: "revoke a token" }));
        let elsewhere = || NotEnded::Elsewhere { at: String::new(), here: String::new() };
        let ttl = limits::LEASE_TTL.millis();
        let after = |millis| Span::from_millis(millis);
        assert!(!is_over(&elsewhere(), after(ttl)) && is_over(&elsewhere(), after(ttl + 1)));
        let skew = limits::CLOCK_SKEW.millis();
        assert!(
            !is_over(&refused(), after(2 * ttl + skew)) && is_over(&refused(), after(2 * ttl + skew + 1))
        );
    }

    #[test]
    fn what_a_vault_refuses_is_asked_for_ever_more_rarely() {
        let away = VaultFailure::Asked(VaultError::Sealed);
        let refused = VaultFailure::Asked(VaultError::Denied { doing: "revoke a token" });
        let waits = |failure: &VaultFailure| {
            [0, 1, 5, 6, 10, 11, 30]
                .map(|failures| wait_after(failures, most_between(failure)).millis() / 1_000)
        };
        assert_eq!(waits(&away), [1, 2, 32, 60, 60, 60, 60]);
        assert_eq!(waits(&refused), [1, 2, 32, 64, 1_024, 1_800, 1_800]);
    }
}
