//! Whether what decisions and agents need is there, and what is enforced (R267). While a holder serves it looks again and
//! again, so that whoever asks is answered at once; one that only works through a run looks at what costs nothing.

use std::sync::OnceLock;
use std::time::Duration;

use eparch_domain::{BreakerState, in_full, limits};
use eparch_sandbox::{Launcher, Measure, Status};
use eparch_vault::Health;
use tokio::sync::watch;

use crate::api::wire::{Component, Confinement};
use crate::vault::credentials::Owed;
use crate::vault::{HomeVault, VaultFailure};

/// What was seen when dependencies were looked at last.
#[derive(Default)]
pub(crate) struct Dependencies {
    vault: watch::Sender<Option<Component>>,
    confinement: OnceLock<Vec<Confinement>>,
}

impl Dependencies {
    /// How the vault was, when somebody looks.
    pub(crate) fn vault(&self) -> Option<Component> {
        self.vault.borrow().clone()
    }

    /// What confines agents on this machine, once it was tried.
    pub(crate) fn confinement(&self) -> Option<Vec<Confinement>> {
        self.confinement.get().cloned()
    }

    /// Tries every measure of confinement, for real. Blocks.
    pub(crate) fn try_confinement(&self, launcher: &Launcher) {
        let told = |measure: &Measure| {
            let (in_force, detail) = match &measure.status {
                Status::InForce { by } => (true, by.clone()),
                Status::Missing { why, .. } => (false, why.clone()),
            };
            Confinement { measure: measure.name.as_str().to_owned(), in_force, detail }
        };
        self.confinement.get_or_init(|| eparch_sandbox::probe(launcher).iter().map(told).collect());
    }

    /// Looks at the vault for as long as this is awaited.
    pub(crate) async fn look_after(&self, vault: &HomeVault) {
        // Two looks and one answer within 5 s, also from a server that says nothing.
        let patience = limits::HEALTH_EVERY.as_duration();
        loop {
            let seen = tokio::time::timeout(patience, vault.health()).await;
            let mut seen = component(seen.ok(), vault.address().is_some(), vault.breaker().await, patience);
            if let Some((tokens, Owed { code, why, .. })) = vault.all_owed() {
                seen.owed = tokens;
                seen.detail.push_str(&format!(
                    "; tokens that are to be ended and are not yet: {tokens} ({code}: {why})"
                ));
            }
            self.vault.send_replace(Some(seen));
            tokio::time::sleep(patience).await;
        }
    }
}

/// What a look at the vault says; `None` is no answer in time.
fn component(
    seen: Option<Result<Option<Health>, VaultFailure>>,
    is_server: bool,
    breaker: Option<BreakerState>,
    patience: Duration,
) -> Component {
    let (healthy, detail) = match seen {
        None => (false, format!("no answer within {} s", patience.as_secs())),
        Some(Err(failure)) => (false, in_full(&failure)),
        Some(Ok(None)) => (true, "none is made yet; the first secret makes one".to_owned()),
        Some(Ok(Some(health))) if health.sealed => {
            (false, "it is sealed: nothing is read or issued".to_owned())
        }
        Some(Ok(Some(health))) if !health.initialized => (false, "it was never set up".to_owned()),
        Some(Ok(Some(_))) => {
            (true, if is_server { "the server answers" } else { "the sealed file" }.to_owned())
        }
    };
    Component { name: "vault".to_owned(), healthy, detail, breaker, owed: 0 }
}

#[cfg(test)]
mod tests {
    use eparch_vault::VaultError;

    use super::*;

    #[test]
    fn r267_what_gives_no_authority_is_not_called_healthy() {
        let well = Health { initialized: true, sealed: false, standby: false };
        let look = |seen| component(seen, true, None, Duration::from_secs(2)).healthy;
        assert!(look(Some(Ok(Some(well)))) && look(Some(Ok(None))));
        assert!(!look(Some(Ok(Some(Health { sealed: true, ..well })))));
        assert!(!look(Some(Ok(Some(Health { initialized: false, ..well })))));
        assert!(!look(Some(Err(VaultFailure::Asked(VaultError::Sealed)))));
        assert!(!look(None));
    }
}
