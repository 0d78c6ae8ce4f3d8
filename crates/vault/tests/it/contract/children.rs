//! Agents' tokens: never wider, never longer than that of their run.

use eparch_domain::{Span, Tier, limits};
use eparch_vault::{Secret, Token, VaultError};

use super::promises;
use crate::home::{HOUR, MINUTE, SECOND, agent};

promises! {
    async fn r138_a_child_has_the_policy_of_its_tier_alone(home) {
        let run = home.a_run(Tier::T4).await;
        let expected = ["t0-observer", "t1-operator", "t2-builder", "t3-steward", "t4-architect"];
        for (tier, policy) in Tier::ALL.into_iter().zip(expected) {
            let child = home.child(&run.token, agent(), tier, MINUTE).await.unwrap();
            assert_eq!(child.status.policies, [policy]);
        }
    }

    async fn r138_a_child_names_its_run_and_its_agent(home) {
        let (run, agent) = (home.a_run(Tier::T2).await, agent());
        let child = home.child(&run.token, agent, Tier::T1, MINUTE).await.unwrap().status;
        assert_eq!((child.run, child.agent, child.tier), (run.status.run, Some(agent), Tier::T1));
        assert!(child.ttl <= MINUTE && child.renewals == 0);
    }

    async fn g5_a_child_wider_than_its_run_is_refused(home) {
        for (granted, asked) in [(Tier::T0, Tier::T1), (Tier::T1, Tier::T4), (Tier::T3, Tier::T4)] {
            let run = home.a_run(granted).await;
            let child = home.child(&run.token, agent(), asked, MINUTE).await;
            let Err(VaultError::Wider { asked: told, most }) = child else { panic!("{child:?}") };
            assert_eq!((told, most), (asked, granted));
        }
    }

    async fn g5_a_child_as_wide_as_its_run_is_issued(home) {
        for tier in Tier::ALL {
            let run = home.a_run(tier).await;
            assert!(home.child(&run.token, agent(), tier, MINUTE).await.is_ok(), "{tier}");
        }
    }

    async fn r138_a_child_that_outlives_its_run_is_refused(home) {
        let run = home.a_run(Tier::T1).await;
        let child = home.child(&run.token, agent(), Tier::T1, Span::from_secs(3_601)).await;
        let Err(VaultError::OutlivesParent { left, .. }) = child else { panic!("{child:?}") };
        assert!(left <= HOUR && left > Span::from_mins(59), "{left}");
    }

    async fn r138_a_child_may_live_as_long_as_its_run(home) {
        let run = home.a_run(Tier::T1).await;
        let left = home.vault.lookup(&run.status.accessor).await.unwrap().ttl;
        let asked = Span::from_millis(left.millis() - 5_000);
        assert!(home.child(&run.token, agent(), Tier::T1, asked).await.is_ok());
    }

    async fn r138_a_child_has_bounds_of_its_own(home) {
        let run = home.a_run(Tier::T1).await;
        for ttl in [Span::ZERO, Span::from_millis(limits::LEASE_TTL.millis() + 1)] {
            let child = home.child(&run.token, agent(), Tier::T1, ttl).await;
            assert!(matches!(child, Err(VaultError::BadTtl { .. })), "{ttl}: {child:?}");
        }
        assert!(home.child(&run.token, agent(), Tier::T1, SECOND).await.is_ok());
    }

    async fn g5_a_child_has_no_children(home) {
        let child = home.an_agent(Tier::T4).await;
        let grandchild = home.child(&child.token, agent(), Tier::T0, SECOND).await;
        assert!(matches!(grandchild, Err(VaultError::Denied { .. })), "{grandchild:?}");
    }

    async fn r138_two_children_of_one_agent_have_tokens_of_their_own(home) {
        let (run, agent) = (home.a_run(Tier::T1).await, agent());
        let one = home.child(&run.token, agent, Tier::T1, MINUTE).await.unwrap();
        let other = home.child(&run.token, agent, Tier::T1, MINUTE).await.unwrap();
        assert!(one.token != other.token && one.status.accessor != other.status.accessor);
    }

    async fn g4_what_never_was_a_token_has_no_children(home) {
        for text in ["", "s.KcgWgKypf3QIWsASCuRyjzSC", "root", "a b", "a\r\nX-Vault-Token: root", "ä\u{0}"] {
            let token = Token::new(Secret::from(text));
            let child = home.child(&token, agent(), Tier::T0, SECOND).await;
            assert!(matches!(child, Err(VaultError::Ended { .. })), "{text:?}: {child:?}");
        }
    }

    async fn r138_a_revoked_run_has_no_more_children(home) {
        let run = home.a_run(Tier::T1).await;
        home.vault.revoke(&run.status.accessor).await.unwrap();
        let child = home.child(&run.token, agent(), Tier::T1, SECOND).await;
        assert!(matches!(child, Err(VaultError::Ended { .. })), "{child:?}");
    }
}
