//! What an agent may read, by its tier and its own name.

use eparch_domain::Tier;
use eparch_vault::{Reader, Secret, SecretPath, Token, VaultError};

use super::promises;
use crate::home::{Home, MINUTE, agent, fields, place};

async fn reads(home: &Home, token: &Token, path: &SecretPath) -> Result<String, VaultError> {
    let read = home.vault.read(Reader::Token(token), path, None).await?;
    Ok(read.fields["password"].expose().to_owned())
}

async fn denied(home: &Home, token: &Token, path: &SecretPath) {
    let read = home.vault.read(Reader::Token(token), path, None).await;
    assert!(matches!(read, Err(VaultError::Denied { .. })), "{path}: {read:?}");
}

promises! {
    async fn r130_the_inventory_is_readable_from_t0(home) {
        let path = home.secret("inventory").await;
        for tier in Tier::ALL {
            let agent = home.an_agent(tier).await;
            assert_eq!(reads(home, &agent.token, &path).await.unwrap(), "correct horse");
        }
    }

    async fn r129_an_agent_reads_its_own_secrets(home) {
        let (run, agent) = (home.a_run(Tier::T0).await, agent());
        let child = home.child(&run.token, agent, Tier::T0, MINUTE).await.unwrap();
        let own = SecretPath::of_agent(agent);
        let below = SecretPath::new(&format!("{own}/ssh/key")).unwrap();
        for path in [own, below] {
            home.vault.write(&path, fields(&[("password", "mine")]), None).await.unwrap();
            assert_eq!(reads(home, &child.token, &path).await.unwrap(), "mine");
        }
    }

    async fn r129_an_agent_reads_no_others_secrets(home) {
        let child = home.an_agent(Tier::T4).await;
        let other = SecretPath::of_agent(agent());
        let beside = SecretPath::new(&format!("{}x", SecretPath::of_agent(child.status.agent.unwrap()))).unwrap();
        for path in [other, beside] {
            home.vault.write(&path, fields(&[("password", "theirs")]), None).await.unwrap();
            denied(home, &child.token, &path).await;
        }
        denied(home, &child.token, &home.secret("agents").await).await;
    }

    async fn r129_the_run_itself_reads_no_agents_secrets(home) {
        let (run, agent) = (home.a_run(Tier::T4).await, agent());
        let path = SecretPath::of_agent(agent);
        home.vault.write(&path, fields(&[("password", "theirs")]), None).await.unwrap();
        denied(home, &run.token, &path).await;
    }

    async fn t0_and_t1_read_no_secrets_beyond_that(home) {
        for tier in [Tier::T0, Tier::T1] {
            let agent = home.an_agent(tier).await;
            for folder in ["shared", "staging", "production", "api-keys", "services", "elsewhere"] {
                denied(home, &agent.token, &home.secret(folder).await).await;
            }
        }
    }

    async fn t2_reads_nothing_of_production(home) {
        let agent = home.an_agent(Tier::T2).await;
        for folder in ["production", "api-keys", "services", "elsewhere"] {
            denied(home, &agent.token, &home.secret(folder).await).await;
        }
    }

    async fn g5_no_tier_reads_the_keys_that_eparch_itself_uses(home) {
        let paths = [home.secret("api-keys").await, home.secret("services").await, home.secret("elsewhere").await];
        for tier in Tier::ALL {
            let agent = home.an_agent(tier).await;
            for path in &paths {
                denied(home, &agent.token, path).await;
            }
        }
    }

    async fn what_is_to_be_wrapped_is_not_read_unwrapped(home) {
        for (tier, folder) in [(Tier::T2, "shared"), (Tier::T2, "staging"), (Tier::T3, "production"), (Tier::T4, "shared")] {
            let agent = home.an_agent(tier).await;
            denied(home, &agent.token, &home.secret(folder).await).await;
        }
    }

    async fn r132_the_daemon_itself_reads_them_all(home) {
        for folder in ["api-keys", "services", "production", "agents", "elsewhere"] {
            let path = home.secret(folder).await;
            let read = home.vault.read(Reader::Daemon, &path, None).await.unwrap();
            assert_eq!(read.fields["password"].expose(), "correct horse");
        }
    }

    async fn g9_whether_a_secret_exists_is_not_told_to_those_who_may_not_read_it(home) {
        let agent = home.an_agent(Tier::T1).await;
        let (there, absent) = (home.secret("production").await, place("production"));
        let told = async |path| home.vault.read(Reader::Token(&agent.token), path, None).await.unwrap_err().to_string();
        assert_eq!(told(&there).await, told(&absent).await);
    }

    async fn r142_a_missing_secret_is_told_to_those_who_may_read_there(home) {
        let agent = home.an_agent(Tier::T1).await;
        let read = home.vault.read(Reader::Token(&agent.token), &place("inventory"), None).await;
        assert!(matches!(read, Err(VaultError::NotFound { .. })), "{read:?}");
    }

    async fn g4_what_never_was_a_token_reads_nothing(home) {
        let path = home.secret("inventory").await;
        for text in ["", "x", "s.KcgWgKypf3QIWsASCuRyjzSC", "a\r\nX-Vault-Token: b", "ä"] {
            let token = Token::new(Secret::from(text));
            let read = home.vault.read(Reader::Token(&token), &path, None).await;
            assert!(matches!(read, Err(VaultError::Ended { .. })), "{text:?}: {read:?}");
        }
    }

    async fn an_agent_reads_an_older_version(home) {
        let path = home.secret("inventory").await;
        home.vault.write(&path, fields(&[("password", "newer")]), None).await.unwrap();
        let agent = home.an_agent(Tier::T0).await;
        let old = home.vault.read(Reader::Token(&agent.token), &path, Some(1)).await.unwrap();
        assert_eq!(old.fields["password"].expose(), "correct horse");
        assert_eq!(reads(home, &agent.token, &path).await.unwrap(), "newer");
    }
}
