//! Secrets behind a token that is good once.

use eparch_domain::{Span, Tier, limits};
use eparch_vault::{Ending, Reader, Secret, SecretPath, Token, VaultError};

use super::promises;
use crate::home::{Home, MINUTE, SECOND, agent, fields, place};

async fn unwrapped(home: &Home, wrapping: &Token) -> Result<String, VaultError> {
    let read = home.vault.unwrap(wrapping).await?;
    Ok(read.fields["password"].expose().to_owned())
}

promises! {
    async fn what_is_to_be_wrapped_is_read_wrapped(home) {
        for (tier, folder) in [(Tier::T2, "shared"), (Tier::T2, "staging"), (Tier::T3, "production"), (Tier::T0, "inventory")] {
            let (agent, path) = (home.an_agent(tier).await, home.secret(folder).await);
            let wrapping = home.vault.wrap(&agent.token, &path, MINUTE).await.unwrap();
            let read = home.vault.unwrap(&wrapping).await.unwrap();
            assert_eq!((read.version, read.fields["password"].expose()), (1, "correct horse"));
        }
    }

    async fn what_is_wrapped_is_unwrapped_once(home) {
        let (agent, path) = (home.an_agent(Tier::T2).await, home.secret("shared").await);
        let wrapping = home.vault.wrap(&agent.token, &path, MINUTE).await.unwrap();
        assert!(unwrapped(home, &wrapping).await.is_ok());
        for _ in 0..2 {
            let again = unwrapped(home, &wrapping).await;
            assert!(matches!(again, Err(VaultError::Ended { how: Ending::Used })), "{again:?}");
        }
    }

    async fn of_two_who_unwrap_at_once_one_does(home) {
        let (agent, path) = (home.an_agent(Tier::T2).await, home.secret("shared").await);
        let wrapping = home.vault.wrap(&agent.token, &path, MINUTE).await.unwrap();
        let (a, b, c) =
            tokio::join!(unwrapped(home, &wrapping), unwrapped(home, &wrapping), unwrapped(home, &wrapping));
        assert_eq!([a, b, c].iter().filter(|done| done.is_ok()).count(), 1);
    }

    async fn what_nobody_unwrapped_in_time_is_gone(home) {
        let (agent, path) = (home.an_agent(Tier::T2).await, home.secret("shared").await);
        let taken = home.vault.wrap(&agent.token, &path, MINUTE).await.unwrap();
        let wrapping = home.vault.wrap(&agent.token, &path, SECOND).await.unwrap();
        // Asking whether it is gone would take it, so a token with the same end, issued later, is asked for.
        let run = home.issue(crate::home::run(), Tier::T0, SECOND).await;
        home.expire(&run, SECOND).await;
        let late = unwrapped(home, &wrapping).await;
        assert!(matches!(late, Err(VaultError::Ended { .. })), "{late:?}");
        assert!(unwrapped(home, &taken).await.is_ok());
    }

    async fn a_wrapping_has_bounds(home) {
        let (agent, path) = (home.an_agent(Tier::T0).await, home.secret("inventory").await);
        for ttl in [Span::ZERO, Span::from_millis(999), Span::from_millis(limits::VAULT_WRAP_TTL.millis() + 1)] {
            let wrapped = home.vault.wrap(&agent.token, &path, ttl).await;
            assert!(matches!(wrapped, Err(VaultError::BadTtl { .. })), "{ttl}: {wrapped:?}");
        }
        assert!(home.vault.wrap(&agent.token, &path, limits::VAULT_WRAP_TTL).await.is_ok());
    }

    async fn g4_what_may_not_be_read_is_not_wrapped(home) {
        let agent = home.an_agent(Tier::T2).await;
        for folder in ["production", "api-keys", "elsewhere"] {
            let wrapped = home.vault.wrap(&agent.token, &home.secret(folder).await, MINUTE).await;
            assert!(matches!(wrapped, Err(VaultError::Denied { .. })), "{folder}: {wrapped:?}");
        }
    }

    async fn r129_what_is_anothers_is_not_wrapped(home) {
        let child = home.an_agent(Tier::T4).await;
        let path = SecretPath::of_agent(agent());
        home.vault.write(&path, fields(&[("password", "theirs")]), None).await.unwrap();
        let wrapped = home.vault.wrap(&child.token, &path, MINUTE).await;
        assert!(matches!(wrapped, Err(VaultError::Denied { .. })), "{wrapped:?}");
    }

    async fn g2_a_revoked_token_wraps_nothing(home) {
        let (agent, path) = (home.an_agent(Tier::T2).await, home.secret("shared").await);
        home.vault.revoke(&agent.status.accessor).await.unwrap();
        let wrapped = home.vault.wrap(&agent.token, &path, MINUTE).await;
        assert!(matches!(wrapped, Err(VaultError::Ended { .. })), "{wrapped:?}");
    }

    async fn what_is_not_there_is_not_wrapped(home) {
        let agent = home.an_agent(Tier::T2).await;
        let wrapped = home.vault.wrap(&agent.token, &place("shared"), MINUTE).await;
        assert!(matches!(wrapped, Err(VaultError::NotFound { .. })), "{wrapped:?}");
    }

    async fn what_was_wrapped_stays_as_it_was(home) {
        let (agent, path) = (home.an_agent(Tier::T2).await, home.secret("shared").await);
        let wrapping = home.vault.wrap(&agent.token, &path, MINUTE).await.unwrap();
        home.vault.write(&path, fields(&[("password", "newer")]), None).await.unwrap();
        assert_eq!(unwrapped(home, &wrapping).await.unwrap(), "correct horse");
    }

    async fn what_was_wrapped_waits_although_its_reader_is_over(home) {
        let (agent, path) = (home.an_agent(Tier::T2).await, home.secret("shared").await);
        let wrapping = home.vault.wrap(&agent.token, &path, MINUTE).await.unwrap();
        home.vault.revoke(&agent.status.accessor).await.unwrap();
        assert_eq!(unwrapped(home, &wrapping).await.unwrap(), "correct horse");
    }

    async fn two_wrappings_of_one_secret_are_two(home) {
        let (agent, path) = (home.an_agent(Tier::T2).await, home.secret("shared").await);
        let one = home.vault.wrap(&agent.token, &path, MINUTE).await.unwrap();
        let other = home.vault.wrap(&agent.token, &path, MINUTE).await.unwrap();
        assert_ne!(one, other);
        assert!(unwrapped(home, &one).await.is_ok() && unwrapped(home, &other).await.is_ok());
    }

    async fn a_token_that_wraps_nothing_unwraps_nothing(home) {
        let agent = home.an_agent(Tier::T2).await;
        let path = home.secret("inventory").await;
        let nothing = unwrapped(home, &agent.token).await;
        assert!(matches!(nothing, Err(VaultError::Ended { how: Ending::Used })), "{nothing:?}");
        assert!(home.vault.read(Reader::Token(&agent.token), &path, None).await.is_ok(), "and is good as before");
        for text in ["", "x", "a\r\nb: c"] {
            let nothing = unwrapped(home, &Token::new(Secret::from(text))).await;
            assert!(matches!(nothing, Err(VaultError::Ended { how: Ending::Used })), "{text:?}: {nothing:?}");
        }
    }

    async fn a_wrapping_token_reads_nothing_else(home) {
        let (agent, path) = (home.an_agent(Tier::T2).await, home.secret("inventory").await);
        let wrapping = home.vault.wrap(&agent.token, &path, MINUTE).await.unwrap();
        let read = home.vault.read(Reader::Token(&wrapping), &path, None).await;
        assert!(matches!(read, Err(VaultError::Denied { .. } | VaultError::Ended { .. })), "{read:?}");
        let child = home.child(&wrapping, crate::home::agent(), Tier::T0, SECOND).await;
        assert!(child.is_err());
    }
}
