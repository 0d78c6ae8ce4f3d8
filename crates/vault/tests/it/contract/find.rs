//! What a crash may have left: tokens that nobody wrote down.

use eparch_domain::Tier;
use eparch_vault::Accessor;

use super::promises;
use crate::home::{HOUR, Home, MINUTE, SECOND, agent, run};

async fn found(home: &Home, run: eparch_domain::RunId) -> Vec<Accessor> {
    home.vault.find(Some(run)).await.unwrap().into_iter().map(|status| status.accessor).collect()
}

promises! {
    async fn g7_all_tokens_of_a_run_are_found_by_its_name(home) {
        let parent = home.a_run(Tier::T1).await;
        let child = home.child(&parent.token, agent(), Tier::T1, MINUTE).await.unwrap();
        home.a_run(Tier::T1).await;
        let mut expected = [parent.status.accessor.clone(), child.status.accessor.clone()];
        expected.sort();
        assert_eq!(found(home, parent.status.run).await, expected);
    }

    async fn g7_what_is_found_is_what_was_issued(home) {
        let parent = home.a_run(Tier::T3).await;
        let [mut status] = home.vault.find(Some(parent.status.run)).await.unwrap().try_into().unwrap();
        status.ttl = parent.status.ttl;
        assert_eq!(status, parent.status);
    }

    async fn a_run_nobody_started_has_no_tokens(home) {
        assert_eq!(found(home, run()).await, []);
    }

    async fn g7_two_tokens_of_one_run_are_both_found(home) {
        let run = run();
        let (one, other) = (home.issue(run, Tier::T1, HOUR).await, home.issue(run, Tier::T1, HOUR).await);
        let mut expected = [one.status.accessor, other.status.accessor];
        expected.sort();
        assert_eq!(found(home, run).await, expected);
    }

    async fn what_was_revoked_is_not_found(home) {
        let parent = home.a_run(Tier::T1).await;
        home.child(&parent.token, agent(), Tier::T1, MINUTE).await.unwrap();
        home.vault.revoke(&parent.status.accessor).await.unwrap();
        assert_eq!(found(home, parent.status.run).await, []);
    }

    async fn what_has_expired_is_not_found(home) {
        let run = home.issue(run(), Tier::T1, SECOND).await;
        home.expire(&run, SECOND).await;
        assert_eq!(found(home, run.status.run).await, []);
    }

    async fn g7_the_tokens_of_all_runs_are_found_together(home) {
        let (one, other) = (home.a_run(Tier::T1).await, home.a_run(Tier::T1).await);
        let all: Vec<Accessor> =
            home.vault.find(None).await.unwrap().into_iter().map(|status| status.accessor).collect();
        assert!(all.contains(&one.status.accessor) && all.contains(&other.status.accessor));
        assert!(all.is_sorted());
    }
}
