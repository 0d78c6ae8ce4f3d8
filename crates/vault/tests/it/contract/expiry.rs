//! Tokens that end by themselves.

use eparch_domain::{Span, Tier};
use eparch_vault::{Reader, VaultError};

use super::promises;
use crate::home::{HOUR, MINUTE, SECOND, agent, run};

const TWO: Span = Span::from_secs(2);

promises! {
    async fn r134_an_expired_token_reads_nothing_more(home) {
        let path = home.secret("inventory").await;
        let parent = home.a_run(Tier::T1).await;
        let child = home.child(&parent.token, agent(), Tier::T1, TWO).await.unwrap();
        assert!(home.vault.read(Reader::Token(&child.token), &path, None).await.is_ok());
        home.expire(&child, TWO).await;
        let read = home.vault.read(Reader::Token(&child.token), &path, None).await;
        assert!(matches!(read, Err(VaultError::Ended { .. })), "{read:?}");
        assert!(home.vault.lookup(&parent.status.accessor).await.is_ok(), "its parent lives");
    }

    async fn r134_an_expired_token_is_not_renewed(home) {
        let run = home.issue(run(), Tier::T1, SECOND).await;
        home.expire(&run, SECOND).await;
        let renewed = home.vault.renew(&run.status.accessor, HOUR).await;
        assert!(matches!(renewed, Err(VaultError::Ended { .. })), "{renewed:?}");
    }

    async fn r138_an_expired_run_has_no_more_children(home) {
        let run = home.issue(run(), Tier::T1, SECOND).await;
        home.expire(&run, SECOND).await;
        let child = home.child(&run.token, agent(), Tier::T1, SECOND).await;
        assert!(matches!(child, Err(VaultError::Ended { .. })), "{child:?}");
    }

    async fn r138_the_children_of_an_expired_run_are_over(home) {
        let path = home.secret("inventory").await;
        let three = Span::from_secs(3);
        let run = home.issue(run(), Tier::T1, three).await;
        let child = home.child(&run.token, agent(), Tier::T1, TWO).await.unwrap();
        home.expire(&run, three).await;
        let read = home.vault.read(Reader::Token(&child.token), &path, None).await;
        assert!(matches!(read, Err(VaultError::Ended { .. })), "{read:?}");
        let found = home.vault.lookup(&child.status.accessor).await;
        assert!(matches!(found, Err(VaultError::Ended { .. })), "{found:?}");
    }

    async fn r138_a_child_of_a_parent_whose_end_was_brought_forward_ends_with_it(home) {
        let path = home.secret("inventory").await;
        let run = home.a_run(Tier::T1).await;
        let child = home.child(&run.token, agent(), Tier::T1, MINUTE).await.unwrap();
        home.vault.renew(&run.status.accessor, SECOND).await.unwrap();
        home.expire(&run, SECOND).await;
        let read = async || home.vault.read(Reader::Token(&child.token), &path, None).await;
        // A server ends the children when it takes the parent away, a moment later.
        home.pass(Span::from_millis(1), "the child is over", async || read().await.is_err()).await;
        assert!(matches!(read().await, Err(VaultError::Ended { .. })));
    }

    async fn r134_a_token_that_has_time_left_is_alive(home) {
        let (short, long) = (home.issue(run(), Tier::T1, SECOND).await, home.issue(run(), Tier::T1, MINUTE).await);
        home.expire(&short, SECOND).await;
        assert!(home.vault.lookup(&long.status.accessor).await.is_ok());
    }
}
