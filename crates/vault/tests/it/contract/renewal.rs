//! Renewing: from now on, by accessor, and never past the parent's end.

use eparch_domain::{Span, Tier, limits};
use eparch_vault::{Accessor, Reader, VaultError};

use super::promises;
use crate::home::{HOUR, MINUTE, SECOND, agent, run};

promises! {
    async fn r135_a_renewed_token_lives_longer(home) {
        let run = home.issue(run(), Tier::T1, MINUTE).await;
        let renewed = home.vault.renew(&run.status.accessor, limits::LEASE_TTL).await.unwrap();
        assert!(renewed.ttl > HOUR && renewed.ttl <= limits::LEASE_TTL, "{}", renewed.ttl);
        let found = home.vault.lookup(&run.status.accessor).await.unwrap();
        assert!(found.ttl > HOUR);
        assert_eq!((found.run, found.tier, found.policies), (run.status.run, run.status.tier, run.status.policies));
    }

    async fn r140_renewals_are_counted(home) {
        let run = home.a_run(Tier::T1).await;
        for expected in 1..=3 {
            assert_eq!(home.vault.renew(&run.status.accessor, HOUR).await.unwrap().renewals, expected);
            assert_eq!(home.vault.lookup(&run.status.accessor).await.unwrap().renewals, expected);
        }
    }

    async fn r135_renewing_counts_from_now(home) {
        let run = home.a_run(Tier::T1).await;
        let renewed = home.vault.renew(&run.status.accessor, MINUTE).await.unwrap();
        assert!(renewed.ttl <= MINUTE, "{}", renewed.ttl);
        assert!(home.vault.lookup(&run.status.accessor).await.unwrap().ttl <= MINUTE);
    }

    async fn r134_a_renewed_token_outlives_its_first_end(home) {
        let path = home.secret("inventory").await;
        let parent = home.a_run(Tier::T1).await;
        let two = Span::from_secs(2);
        let renewed = home.child(&parent.token, agent(), Tier::T1, two).await.unwrap();
        let other = home.child(&parent.token, agent(), Tier::T1, two).await.unwrap();
        home.vault.renew(&renewed.status.accessor, MINUTE).await.unwrap();
        home.expire(&other, two).await;
        assert!(home.vault.read(Reader::Token(&renewed.token), &path, None).await.is_ok());
    }

    async fn r134_a_life_that_no_token_has_is_refused(home) {
        let run = home.a_run(Tier::T1).await;
        for ttl in [Span::ZERO, Span::from_millis(999), Span::from_millis(limits::LEASE_TTL.millis() + 1)] {
            let renewed = home.vault.renew(&run.status.accessor, ttl).await;
            assert!(matches!(renewed, Err(VaultError::BadTtl { .. })), "{ttl}: {renewed:?}");
        }
        assert_eq!(home.vault.lookup(&run.status.accessor).await.unwrap().renewals, 0);
    }

    async fn r138_a_child_is_not_renewed_past_its_parents_end(home) {
        let parent = home.issue(run(), Tier::T1, MINUTE).await;
        let child = home.child(&parent.token, agent(), Tier::T1, SECOND.max(Span::from_secs(30))).await.unwrap();
        let renewed = home.vault.renew(&child.status.accessor, Span::from_secs(61)).await;
        assert!(matches!(renewed, Err(VaultError::OutlivesParent { .. })), "{renewed:?}");
        let found = home.vault.lookup(&child.status.accessor).await.unwrap();
        assert!(found.ttl <= Span::from_secs(30) && found.renewals == 0);
    }

    async fn r138_a_child_is_renewed_while_its_parent_lives(home) {
        let parent = home.a_run(Tier::T1).await;
        let child = home.child(&parent.token, agent(), Tier::T1, MINUTE).await.unwrap();
        let renewed = home.vault.renew(&child.status.accessor, limits::CHILD_TTL).await.unwrap();
        assert!(renewed.ttl > MINUTE && renewed.ttl <= limits::CHILD_TTL);
        assert_eq!((renewed.agent, renewed.renewals), (child.status.agent, 1));
    }

    async fn r138_a_child_of_a_renewed_parent_may_live_longer(home) {
        let parent = home.issue(run(), Tier::T1, MINUTE).await;
        let child = home.child(&parent.token, agent(), Tier::T1, Span::from_secs(30)).await.unwrap();
        home.vault.renew(&parent.status.accessor, HOUR).await.unwrap();
        assert!(home.vault.renew(&child.status.accessor, limits::CHILD_TTL).await.is_ok());
    }

    async fn g2_a_revoked_token_is_not_renewed(home) {
        let run = home.a_run(Tier::T1).await;
        home.vault.revoke(&run.status.accessor).await.unwrap();
        let renewed = home.vault.renew(&run.status.accessor, HOUR).await;
        assert!(matches!(renewed, Err(VaultError::Ended { .. })), "{renewed:?}");
    }

    async fn g4_what_never_was_is_not_renewed(home) {
        let accessor = Accessor::new("never").unwrap();
        let renewed = home.vault.renew(&accessor, HOUR).await;
        assert!(matches!(renewed, Err(VaultError::Ended { .. })), "{renewed:?}");
    }
}
