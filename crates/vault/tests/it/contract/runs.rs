//! A run's own token.

use eparch_domain::{Span, Tier, limits};
use eparch_vault::{Reader, RunGrant, VaultError};

use super::promises;
use crate::home::{HOUR, SECOND, run};

promises! {
    async fn r126_a_vault_that_is_there_is_usable(home) {
        let health = home.vault.health().await.unwrap();
        assert!(health.is_usable() && health.initialized && !health.sealed, "{health:?}");
    }

    async fn r133_two_runs_never_share_a_token(home) {
        let (one, other) = (home.a_run(Tier::T1).await, home.a_run(Tier::T1).await);
        assert_ne!(one.token, other.token);
        assert_ne!(one.status.accessor, other.status.accessor);
    }

    async fn r133_issuing_again_for_a_run_issues_another(home) {
        let run = run();
        let (one, other) = (home.issue(run, Tier::T1, HOUR).await, home.issue(run, Tier::T1, HOUR).await);
        assert_ne!(one.token, other.token);
    }

    async fn r136_a_runs_token_has_the_agents_policy_and_nothing_more(home) {
        assert_eq!(home.a_run(Tier::T4).await.status.policies, ["pipeline-agent"]);
    }

    async fn r136_a_runs_token_reads_no_secret_itself(home) {
        let path = home.secret("inventory").await;
        let run = home.a_run(Tier::T4).await;
        let read = home.vault.read(Reader::Token(&run.token), &path, None).await;
        assert!(matches!(read, Err(VaultError::Denied { .. })), "{read:?}");
    }

    async fn r134_a_token_lives_two_hours_at_most(home) {
        let (run, tier) = (run(), Tier::T0);
        let longest = home.issue(run, tier, limits::LEASE_TTL).await.status.ttl;
        assert!(longest <= limits::LEASE_TTL && longest > Span::from_mins(119), "{longest}");
        let asked = Span::from_millis(limits::LEASE_TTL.millis() + 1);
        let issued = home.vault.issue_run(RunGrant { run, tier, ttl: asked }).await;
        assert!(matches!(issued, Err(VaultError::BadTtl { .. })), "{issued:?}");
    }

    async fn r134_a_token_lives_a_second_at_least(home) {
        let (run, tier) = (run(), Tier::T0);
        assert!(home.issue(run, tier, SECOND).await.status.ttl <= SECOND);
        for ttl in [Span::ZERO, Span::from_millis(999)] {
            let issued = home.vault.issue_run(RunGrant { run, tier, ttl }).await;
            assert!(matches!(issued, Err(VaultError::BadTtl { .. })), "{ttl}: {issued:?}");
        }
    }

    async fn r134_a_token_never_lives_longer_than_was_asked(home) {
        let ttl = Span::from_millis(90_500);
        assert!(home.issue(run(), Tier::T0, ttl).await.status.ttl <= ttl);
    }

    async fn r140_what_is_issued_names_its_run_and_its_tier(home) {
        let run = run();
        for tier in Tier::ALL {
            let status = home.issue(run, tier, HOUR).await.status;
            assert_eq!((status.run, status.agent, status.tier, status.renewals), (run, None, tier, 0));
        }
    }
}
