//! Makes a server ready for Eparch, with somebody's authority who may: policies, token roles, an AppRole. `docs/vault.md`
//! does the same by hand.

use eparch_domain::{Tier, limits};
use hyper::Method;
use serde_json::{Value, json};

use super::{Hashicorp, RUN_ROLE, ask_as, child_role, refused, wire};
use crate::error::VaultError;
use crate::policy::{DAEMON, PIPELINE_AGENT, SHIPPED, tier_policy};
use crate::secret::Token;

/// The AppRole Eparch logs in with.
const APPROLE: &str = "eparch";

impl Hashicorp {
    /// Writes the policies that ship, the token roles and the AppRole `eparch`, and makes the mounts they need where they
    /// are missing. Doing it again changes nothing, or brings policies of an older version up to this one.
    pub async fn set_up(&self, admin: &Token) -> Result<(), VaultError> {
        let kv = json!({ "type": "kv", "options": { "version": "2" } });
        self.mount(admin, "sys/mounts/secret", kv).await?;
        self.mount(admin, "sys/auth/approle", json!({ "type": "approle" })).await?;
        for (name, text) in SHIPPED {
            let path = format!("sys/policies/acl/{name}");
            self.put(admin, "write a policy", path, json!({ "policy": text })).await?;
        }
        let role = "write a token role";
        // No child of Eparch's own token: runs outlive a restart.
        let run = json!({
            "allowed_policies": [PIPELINE_AGENT],
            "orphan": true,
            "renewable": true,
            "token_no_default_policy": true,
        });
        self.put(admin, role, format!("auth/token/roles/{RUN_ROLE}"), run).await?;
        for tier in Tier::ALL {
            let child = json!({
                "allowed_policies": [tier_policy(tier)],
                "orphan": false,
                "renewable": true,
                "token_no_default_policy": true,
                "token_explicit_max_ttl": super::seconds(limits::LEASE_TTL),
            });
            self.put(admin, role, format!("auth/token/roles/{}", child_role(tier)), child).await?;
        }
        let approle = json!({
            "token_policies": [DAEMON],
            "token_no_default_policy": true,
            "token_ttl": "1h",
        });
        self.put(admin, "write the AppRole", format!("auth/approle/role/{APPROLE}"), approle).await
    }

    async fn put(
        &self,
        admin: &Token,
        doing: &'static str,
        path: String,
        body: Value,
    ) -> Result<(), VaultError> {
        let call = ask_as(doing, Method::POST, path, admin, Some(wire::body(&body)));
        let reply = self.client.call(call).await?;
        if matches!(reply.status, 200 | 204) { Ok(()) } else { Err(refused(doing, &reply)) }
    }

    async fn mount(&self, admin: &Token, path: &str, body: Value) -> Result<(), VaultError> {
        let doing = "make a mount";
        let call = ask_as(doing, Method::POST, path.to_owned(), admin, Some(wire::body(&body)));
        let reply = self.client.call(call).await?;
        match reply.status {
            200 | 204 => Ok(()),
            400 if wire::says(&reply.body, "already in use") => Ok(()),
            _ => Err(refused(doing, &reply)),
        }
    }
}
