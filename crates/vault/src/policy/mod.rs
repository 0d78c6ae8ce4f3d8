//! What a token may do, in the policy language of Vault: the files in `policies/vault`, one for each tier.

mod acl;
mod hcl;

use std::sync::LazyLock;

use eparch_domain::Tier;

use crate::path::SecretPath;

pub use acl::{Capability, Policy, Rule, WrapBounds};
pub use hcl::BadPolicy;

pub(crate) use acl::capabilities;

/// The policy of a run's own token (R136).
pub const PIPELINE_AGENT: &str = "pipeline-agent";

/// The policy of Eparch itself on a server.
pub const DAEMON: &str = "eparch-daemon";

/// Every policy that ships, by name, as it is to be written into a server (R128).
pub const SHIPPED: [(&str, &str); 7] = [
    ("t0-observer", include_str!("../../../../policies/vault/t0-observer.hcl")),
    ("t1-operator", include_str!("../../../../policies/vault/t1-operator.hcl")),
    ("t2-builder", include_str!("../../../../policies/vault/t2-builder.hcl")),
    ("t3-steward", include_str!("../../../../policies/vault/t3-steward.hcl")),
    ("t4-architect", include_str!("../../../../policies/vault/t4-architect.hcl")),
    (PIPELINE_AGENT, include_str!("../../../../policies/vault/pipeline-agent.hcl")),
    (DAEMON, include_str!("../../../../policies/vault/eparch-daemon.hcl")),
];

static READ: LazyLock<Vec<(&str, Policy)>> = LazyLock::new(|| {
    let read = |(name, text): (&'static str, &str)| {
        (name, Policy::parse(text).expect("the policies that ship are read by a test"))
    };
    SHIPPED.into_iter().map(read).collect()
});

/// The name of a tier's policy: `t1-operator`.
pub fn tier_policy(tier: Tier) -> String {
    format!("t{}-{}", tier.number(), tier.name())
}

/// The lowest tier whose agents may read at a path, as the policies that ship say it. What is an agent's own, or for nobody
/// but Eparch itself, is the highest tier's: no lower one may read all of what lies there.
pub fn least_tier(path: &SecretPath) -> Tier {
    let at = format!("secret/data/{path}");
    let reads = |tier: &Tier| {
        let policy = shipped(&tier_policy(*tier)).expect("every tier has a policy that ships");
        policy.capabilities(&at).contains(&Capability::Read)
    };
    let open = Some(path).filter(|path| !path.is_an_agents());
    open.and_then(|_| Tier::ALL.into_iter().find(reads)).unwrap_or(Tier::T4)
}

/// A policy that ships, by name.
pub(crate) fn shipped(name: &str) -> Option<&'static Policy> {
    READ.iter().find(|(known, _)| *known == name).map(|(_, policy)| policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(policy: &str, capability: Capability, path: &str) -> bool {
        let policy = shipped(policy).unwrap();
        capabilities(&[policy], path).is_some_and(|found| found.capabilities.contains(&capability))
    }

    #[test]
    fn r128_every_tier_has_a_policy_that_can_be_read() {
        for tier in Tier::ALL {
            assert!(shipped(&tier_policy(tier)).is_some(), "{tier}");
        }
        assert_eq!(READ.len(), 7);
        let names: Vec<String> = Tier::ALL.into_iter().map(tier_policy).collect();
        assert_eq!(names, ["t0-observer", "t1-operator", "t2-builder", "t3-steward", "t4-architect"]);
    }

    #[test]
    fn r130_what_each_tier_may_read() {
        // 1.8: T0 and T1 no secrets but the inventory and their own, T2 staging and shared ones, T3 and T4 production.
        let readable = [
            ("inventory/hosts", 0),
            ("agents/agt_00000000000000000000000001", 0),
            ("shared/registry", 2),
            ("staging/database", 2),
            ("production/database", 3),
        ];
        for tier in Tier::ALL {
            let policy = tier_policy(tier);
            for (path, from) in readable {
                let path = format!("secret/data/{path}");
                assert_eq!(may(&policy, Capability::Read, &path), tier.number() >= from, "{tier} {path}");
            }
            for path in ["api-keys/openrouter", "services/dragonfly", "other", "inventory"] {
                let path = format!("secret/data/{path}");
                assert!(!may(&policy, Capability::Read, &path), "{tier} {path}");
            }
        }
    }

    #[test]
    fn r130_the_least_tier_that_reads_a_place_is_the_one_of_its_policies() {
        let least = |path: &str| least_tier(&SecretPath::new(path).unwrap());
        assert_eq!(least("inventory/hosts"), Tier::T0);
        assert_eq!((least("shared/registry"), least("staging/database")), (Tier::T2, Tier::T2));
        assert_eq!(least("production/database"), Tier::T3);
        // Whose agent it is, nobody knows here; the rest is Eparch's own.
        for path in ["agents/agt_00000000000000000000000001", "api-keys/openrouter", "other", "inventory"] {
            assert_eq!(least(path), Tier::T4, "{path}");
        }
    }

    #[test]
    fn r136_nothing_but_reading_and_children_is_granted_to_what_agents_have() {
        let writing = [Capability::Create, Capability::Update, Capability::Patch, Capability::Delete];
        for (name, policy) in READ.iter().filter(|(name, _)| *name != DAEMON) {
            for rule in policy.rules() {
                let makes_children =
                    *name == PIPELINE_AGENT && rule.path.starts_with("auth/token/create/eparch-t");
                assert!(!rule.capabilities.contains(&Capability::Sudo), "{name} {}", rule.path);
                let writes = writing.iter().any(|capability| rule.capabilities.contains(capability));
                assert_eq!(writes, makes_children, "{name} {}", rule.path);
            }
        }
        assert!(!may(PIPELINE_AGENT, Capability::Read, "secret/data/inventory/hosts"));
    }

    #[test]
    fn what_tiers_above_the_first_two_read_is_wrapped() {
        for (path, tier) in [("shared/x", Tier::T2), ("staging/x", Tier::T2), ("production/x", Tier::T4)] {
            let policy = shipped(&tier_policy(tier)).unwrap();
            let found = capabilities(&[policy], &format!("secret/data/{path}")).unwrap();
            assert!(found.wrap.is_some_and(|wrap| wrap.least.is_some()), "{path}");
        }
        let observer = shipped("t0-observer").unwrap();
        assert_eq!(capabilities(&[observer], "secret/data/inventory/hosts").unwrap().wrap, None);
    }
}
