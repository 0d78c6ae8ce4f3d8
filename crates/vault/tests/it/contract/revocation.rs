//! Revoking: when it has returned, nothing more is allowed.

use eparch_domain::Tier;
use eparch_vault::{Accessor, Reader, VaultError};

use super::promises;
use crate::home::{HOUR, MINUTE, SECOND, agent, run};

promises! {
    async fn g2_a_revoked_token_reads_nothing_more(home) {
        let path = home.secret("inventory").await;
        let agent = home.an_agent(Tier::T1).await;
        assert!(home.vault.read(Reader::Token(&agent.token), &path, None).await.is_ok());
        home.vault.revoke(&agent.status.accessor).await.unwrap();
        let read = home.vault.read(Reader::Token(&agent.token), &path, None).await;
        assert!(matches!(read, Err(VaultError::Ended { .. })), "{read:?}");
    }

    async fn g2_revoking_a_run_revokes_its_agents(home) {
        let path = home.secret("inventory").await;
        let run = home.a_run(Tier::T1).await;
        let mut children = Vec::new();
        for _ in 0..3 {
            children.push(home.child(&run.token, agent(), Tier::T1, MINUTE).await.unwrap());
        }
        home.vault.revoke(&run.status.accessor).await.unwrap();
        for child in children {
            let read = home.vault.read(Reader::Token(&child.token), &path, None).await;
            assert!(matches!(read, Err(VaultError::Ended { .. })), "{read:?}");
            let found = home.vault.lookup(&child.status.accessor).await;
            assert!(matches!(found, Err(VaultError::Ended { .. })), "{found:?}");
            let renewed = home.vault.renew(&child.status.accessor, SECOND).await;
            assert!(matches!(renewed, Err(VaultError::Ended { .. })), "{renewed:?}");
        }
    }

    async fn r081_revoking_an_agent_leaves_its_run_and_the_others(home) {
        let path = home.secret("inventory").await;
        let run = home.a_run(Tier::T1).await;
        let one = home.child(&run.token, agent(), Tier::T1, MINUTE).await.unwrap();
        let other = home.child(&run.token, agent(), Tier::T1, MINUTE).await.unwrap();
        home.vault.revoke(&one.status.accessor).await.unwrap();
        assert!(home.vault.lookup(&run.status.accessor).await.is_ok());
        assert!(home.vault.read(Reader::Token(&other.token), &path, None).await.is_ok());
        assert!(home.child(&run.token, agent(), Tier::T1, MINUTE).await.is_ok());
    }

    async fn g2_revoking_one_run_leaves_the_others(home) {
        let path = home.secret("inventory").await;
        let (one, other) = (home.a_run(Tier::T1).await, home.a_run(Tier::T1).await);
        let child = home.child(&other.token, agent(), Tier::T1, MINUTE).await.unwrap();
        home.vault.revoke(&one.status.accessor).await.unwrap();
        assert!(home.vault.read(Reader::Token(&child.token), &path, None).await.is_ok());
    }

    async fn revoking_one_token_of_a_run_leaves_its_other(home) {
        let run = run();
        let (one, other) = (home.issue(run, Tier::T1, HOUR).await, home.issue(run, Tier::T1, HOUR).await);
        home.vault.revoke(&one.status.accessor).await.unwrap();
        assert!(home.vault.lookup(&other.status.accessor).await.is_ok());
    }

    async fn g7_revoking_twice_is_no_mistake(home) {
        let run = home.a_run(Tier::T1).await;
        for _ in 0..3 {
            home.vault.revoke(&run.status.accessor).await.unwrap();
        }
    }

    async fn revoking_what_never_was_is_no_mistake(home) {
        home.vault.revoke(&Accessor::new("never").unwrap()).await.unwrap();
    }

    async fn revoking_what_has_expired_is_no_mistake(home) {
        let run = home.issue(run(), Tier::T1, SECOND).await;
        home.expire(&run, SECOND).await;
        home.vault.revoke(&run.status.accessor).await.unwrap();
        let found = home.vault.lookup(&run.status.accessor).await;
        assert!(matches!(found, Err(VaultError::Ended { .. })), "{found:?}");
    }

    async fn g2_many_who_read_while_it_is_revoked_read_nothing_afterwards(home) {
        let path = home.secret("inventory").await;
        let agent = home.an_agent(Tier::T1).await;
        let returned = std::sync::atomic::AtomicBool::new(false);
        let read = async || {
            loop {
                let was_over = returned.load(std::sync::atomic::Ordering::SeqCst);
                match home.vault.read(Reader::Token(&agent.token), &path, None).await {
                    Ok(_) => assert!(!was_over, "a read that began after the revoke had returned was allowed"),
                    Err(VaultError::Ended { .. }) => return,
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        let revoke = async {
            home.vault.revoke(&agent.status.accessor).await.unwrap();
            returned.store(true, std::sync::atomic::Ordering::SeqCst);
        };
        tokio::join!(read(), read(), read(), read(), revoke);
    }
}
