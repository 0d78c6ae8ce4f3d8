//! Renewing and ending tokens of the vault: as often as it takes, with more and more time between, until it is done or the
//! epoch is over. The next one decides anew.

use std::time::Duration;

use eparch_domain::{RunId, Span, limits};
use eparch_governor::{CredentialOutcome, Event};
use eparch_ledger::EffectRef;
use eparch_vault::{Accessor, VaultError};

use super::Job;
use crate::driver::Input;
use crate::vault::VaultFailure;
use crate::vault::credentials::code_of;

impl Job {
    /// Makes a token go on. What could not be renewed by when it was to have been renewed for is over.
    pub(super) fn renew_credential(&self, at: Option<EffectRef>, accessor: String, ttl: Span) {
        let job = self.clone();
        let asked = self.tools.clock.now().ledger;
        self.tools.runtime.spawn(async move {
            let Ok(known) = Accessor::new(&accessor) else { return };
            for failures in 0u32.. {
                let outcome = match job.tools.vault.renew(&known, ttl).await {
                    Ok(status) => CredentialOutcome::Renewed { ttl: status.ttl },
                    Err(VaultFailure::Asked(error @ VaultError::Ended { .. })) => {
                        CredentialOutcome::Over { code: code_of(&error).to_owned() }
                    }
                    Err(_) if job.tools.clock.now().ledger.since(asked) < ttl => {
                        if !job.wait(failures).await {
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

    /// Ends a token in the vault. Here its authority is over already; there it is asked for until it is.
    pub(super) fn end_credential(&self, at: Option<EffectRef>, run: RunId, accessor: String) {
        let job = self.clone();
        self.tools.runtime.spawn(async move {
            let Ok(known) = Accessor::new(&accessor) else { return };
            for failures in 0u32.. {
                match job.tools.vault.revoke(run, &known).await {
                    Ok(()) => return job.tell_of(at, accessor, CredentialOutcome::Ended).await,
                    Err(problem) => {
                        if failures == 0 {
                            crate::holder::note(&format!(
                                "the vault has not ended {accessor} yet, and is asked again: {}",
                                eparch_domain::in_full(&problem)
                            ));
                        }
                        if !job.wait(failures).await {
                            return;
                        }
                    }
                }
            }
        });
    }

    /// Waits before the next attempt; false when the epoch is over, and nobody waits for it any more.
    async fn wait(&self, failures: u32) -> bool {
        let millis = limits::VAULT_RETRY.millis().saturating_mul(1 << failures.min(16));
        tokio::time::sleep(Duration::from_millis(millis.min(limits::VAULT_RETRY_MAX.millis()))).await;
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

/// Looks for tokens that a crash left in the vault, until it could look, and has them ended.
pub(crate) async fn end_what_was_left(vault: &crate::vault::HomeVault, driver: &crate::driver::Handle) {
    for failures in 0u32.. {
        match vault.left_by_others().await {
            Ok(found) => {
                for found in found.chunks(limits::CREDENTIALS_FOUND) {
                    let found = found.to_vec();
                    // What is not written down is looked for at the next boot.
                    let _ = driver.ask(Event::CredentialsFound { found }.into()).await;
                }
                return;
            }
            Err(_) => {
                let millis = limits::VAULT_RETRY.millis().saturating_mul(1 << failures.min(16));
                tokio::time::sleep(Duration::from_millis(millis.min(limits::VAULT_RETRY_MAX.millis()))).await;
            }
        }
    }
}
