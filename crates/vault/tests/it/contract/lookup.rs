//! What may be known of a token by those who do not have it (R140).

use eparch_domain::Tier;
use eparch_vault::{Accessor, Reader, Secret, Token, VaultError};

use super::promises;
use crate::home::{HOUR, MINUTE, agent};

promises! {
    async fn r140_looking_says_what_issuing_said(home) {
        let run = home.a_run(Tier::T2).await;
        let agent = home.child(&run.token, agent(), Tier::T1, MINUTE).await.unwrap();
        for issued in [run.status, agent.status] {
            let mut found = home.vault.lookup(&issued.accessor).await.unwrap();
            assert!(found.ttl <= issued.ttl);
            found.ttl = issued.ttl;
            assert_eq!(found, issued);
        }
    }

    async fn r140_a_status_has_what_is_left_of_its_life(home) {
        let run = home.a_run(Tier::T2).await;
        let left = home.vault.lookup(&run.status.accessor).await.unwrap().ttl;
        assert!(left <= HOUR && !left.is_zero(), "{left}");
    }

    async fn r140_a_status_never_shows_the_token(home) {
        let run = home.a_run(Tier::T2).await;
        let found = home.vault.lookup(&run.status.accessor).await.unwrap();
        let shown = format!("{found:?} {} {run:?}", serde_json::to_string(&found).unwrap());
        assert!(shown.contains(run.status.accessor.as_str()));
        assert!(!shown.contains(run.token.expose()), "{shown}");
    }

    async fn r140_an_accessor_is_no_token(home) {
        let run = home.a_run(Tier::T2).await;
        let guessed = Token::new(Secret::from(run.status.accessor.as_str()));
        let path = home.secret("inventory").await;
        let read = home.vault.read(Reader::Token(&guessed), &path, None).await;
        assert!(matches!(read, Err(VaultError::Ended { .. })), "{read:?}");
        let child = home.child(&guessed, agent(), Tier::T0, MINUTE).await;
        assert!(matches!(child, Err(VaultError::Ended { .. })), "{child:?}");
    }

    async fn r140_a_token_is_no_accessor(home) {
        let run = home.a_run(Tier::T2).await;
        let Ok(guessed) = Accessor::new(run.token.expose()) else { return };
        let found = home.vault.lookup(&guessed).await;
        assert!(matches!(found, Err(VaultError::Ended { .. })), "{found:?}");
    }

    async fn r140_what_never_was_is_over(home) {
        let accessor = Accessor::new("31emLd4T7Ajhsz0q3SrBXsJS").unwrap();
        let found = home.vault.lookup(&accessor).await;
        assert!(matches!(found, Err(VaultError::Ended { .. })), "{found:?}");
    }

    async fn r140_a_revoked_token_is_over(home) {
        let run = home.a_run(Tier::T2).await;
        home.vault.revoke(&run.status.accessor).await.unwrap();
        let found = home.vault.lookup(&run.status.accessor).await;
        assert!(matches!(found, Err(VaultError::Ended { .. })), "{found:?}");
    }

    async fn looking_does_not_lengthen_a_life(home) {
        let run = home.a_run(Tier::T2).await;
        let first = home.vault.lookup(&run.status.accessor).await.unwrap();
        for _ in 0..5 {
            let later = home.vault.lookup(&run.status.accessor).await.unwrap();
            assert!(later.ttl <= first.ttl && later.renewals == 0);
        }
    }
}
