//! Tokens on a server: issued through token roles, looked at by accessor, and only those of this home.

use std::sync::PoisonError;

use eparch_domain::{AgentId, RunId, Span, Tier, limits};
use hyper::Method;
use serde_json::json;

use super::client::Reply;
use super::wire::{self, Auth, Authorized, Data, Keys, TokenData};
use super::{Hashicorp, RUN_ROLE, ask_as, child_role, refused, seconds, sorted};
use crate::error::{Ending, VaultError};
use crate::policy::{PIPELINE_AGENT, tier_policy};
use crate::secret::Token;
use crate::vault::{Accessor, ChildGrant, Issued, RunGrant, TokenStatus, check_ttl};

/// What a token's metadata says that Eparch issued.
mod meta {
    pub(super) const HOME: &str = "eparch_home";
    pub(super) const RUN: &str = "eparch_run";
    pub(super) const AGENT: &str = "eparch_agent";
    pub(super) const TIER: &str = "eparch_tier";
    pub(super) const PARENT: &str = "eparch_parent";
}

/// A token of this home, as the server describes it.
pub(super) struct Known {
    pub(super) status: TokenStatus,
    parent: Option<Accessor>,
}

const ISSUING: &str = "issue a token";
const LOOKING: &str = "look up a token";
const RENEWING: &str = "renew a token";
const REVOKING: &str = "revoke a token";
const FINDING: &str = "list tokens";

impl Hashicorp {
    /// What a token is, by its accessor; nothing when it is over, or not one of this home.
    pub(super) async fn known(&self, accessor: &Accessor) -> Result<Option<Known>, VaultError> {
        match self.token_data(accessor).await? {
            Some(data) => self.describe(data),
            None => {
                self.forget(accessor);
                Ok(None)
            }
        }
    }

    async fn token_data(&self, accessor: &Accessor) -> Result<Option<TokenData>, VaultError> {
        let body = json!({ "accessor": accessor.as_str() });
        let reply = self.ask(LOOKING, Method::POST, "auth/token/lookup-accessor", Some(body)).await?;
        match reply.status {
            200 => wire::parse::<Data<TokenData>>(LOOKING, &reply.body).map(|found| Some(found.data)),
            // OpenBao says 400 of an accessor that is over, Vault 403 or 404 since some version.
            400 | 404 => Ok(None),
            403 if wire::says(&reply.body, "invalid accessor") => Ok(None),
            _ => Err(refused(LOOKING, &reply)),
        }
    }

    /// What a token is, by the token; nothing when it is over.
    pub(super) async fn of_token(&self, token: &Token) -> Result<Option<TokenData>, VaultError> {
        #[derive(serde::Serialize)]
        struct Lookup<'a> {
            token: &'a str,
        }
        let body = wire::body(&Lookup { token: token.expose() });
        let reply = self.ask_with(LOOKING, Method::POST, "auth/token/lookup", Some(body)).await?;
        match reply.status {
            200 => wire::parse::<Data<TokenData>>(LOOKING, &reply.body).map(|found| Some(found.data)),
            400 | 404 => Ok(None),
            // The daemon's own token is good, or it had been replaced: it is the other one that is not.
            403 if wire::says(&reply.body, "bad token") => Ok(None),
            _ => Err(refused(LOOKING, &reply)),
        }
    }

    /// Reads what a token's metadata says; nothing when another home, or somebody else, issued it.
    pub(super) fn describe(&self, data: TokenData) -> Result<Option<Known>, VaultError> {
        let nonsense = |why| VaultError::Malformed { doing: LOOKING, why };
        let meta = data.meta.unwrap_or_default();
        if meta.get(meta::HOME).map(String::as_str) != Some(self.home.as_str()) {
            return Ok(None);
        }
        let get = |key: &str| meta.get(key).map(String::as_str);
        let run = get(meta::RUN).and_then(|run| run.parse().ok()).ok_or(nonsense("it names no run"))?;
        let agent: Option<AgentId> =
            get(meta::AGENT).map(str::parse).transpose().map_err(|_| nonsense("it names no agent"))?;
        let tier = get(meta::TIER).and_then(|tier| tier.parse().ok()).ok_or(nonsense("it names no tier"))?;
        let accessor = |text: &str| Accessor::new(text).map_err(|_| nonsense("it names no accessor"));
        let parent = get(meta::PARENT).map(accessor).transpose()?;
        let accessor = accessor(&data.accessor)?;
        let renewals = self.counted(&accessor).max(u32::from(data.last_renewal_time.is_some()));
        let ttl = Span::from_secs(data.ttl);
        Ok(Some(Known {
            status: TokenStatus {
                accessor,
                run,
                agent,
                tier,
                policies: sorted(data.policies),
                ttl,
                renewals,
            },
            parent,
        }))
    }

    fn counted(&self, accessor: &Accessor) -> u32 {
        let renewals = self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        renewals.get(accessor).copied().unwrap_or(0)
    }

    /// Counts one more renewal. What does not fit is told as the server tells it: at least once.
    fn count(&self, accessor: &Accessor, before: u32) -> u32 {
        let mut renewals = self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        let count = before.saturating_add(1);
        if renewals.len() < limits::VAULT_TOKENS || renewals.contains_key(accessor) {
            renewals.insert(accessor.clone(), count);
        }
        count
    }

    fn forget(&self, accessor: &Accessor) {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner).remove(accessor);
    }

    /// Tells a token that is over from one that may not: a server answers both alike.
    pub(super) async fn denied(&self, doing: &'static str, token: &Token) -> VaultError {
        match self.of_token(token).await {
            Ok(Some(_)) => VaultError::Denied { doing },
            Ok(None) => VaultError::Ended { how: Ending::Unknown },
            Err(error) => error,
        }
    }

    pub(super) async fn issue_run_token(&self, grant: RunGrant) -> Result<Issued, VaultError> {
        check_ttl(grant.ttl)?;
        let body = json!({
            "policies": [PIPELINE_AGENT],
            "meta": {
                meta::HOME: self.home.as_str(),
                meta::RUN: grant.run.to_string(),
                meta::TIER: grant.tier.to_string(),
            },
            "ttl": seconds(grant.ttl),
            "renewable": true,
            "display_name": "eparch",
        });
        let path = format!("auth/token/create/{RUN_ROLE}");
        let reply = self.ask(ISSUING, Method::POST, &path, Some(body)).await?;
        issued(&reply, grant.run, None, grant.tier)
    }

    pub(super) async fn issue_child_token(
        &self,
        parent: &Token,
        grant: ChildGrant,
    ) -> Result<Issued, VaultError> {
        check_ttl(grant.ttl)?;
        let over = || VaultError::Ended { how: Ending::Unknown };
        let data = self.of_token(parent).await?.ok_or_else(over)?;
        let Known { status, .. } = self.describe(data)?.ok_or_else(over)?;
        if status.agent.is_some() {
            return Err(VaultError::Denied { doing: ISSUING });
        }
        if grant.tier > status.tier {
            return Err(VaultError::Wider { asked: grant.tier, most: status.tier });
        }
        if grant.ttl > status.ttl {
            return Err(VaultError::OutlivesParent { asked: grant.ttl, left: status.ttl });
        }
        let body = json!({
            "policies": [tier_policy(grant.tier)],
            "meta": {
                meta::HOME: self.home.as_str(),
                meta::RUN: status.run.to_string(),
                meta::AGENT: grant.agent.to_string(),
                meta::TIER: grant.tier.to_string(),
                meta::PARENT: status.accessor.as_str(),
            },
            "ttl": seconds(grant.ttl),
            "explicit_max_ttl": seconds(limits::LEASE_TTL),
            "renewable": true,
            "display_name": "eparch",
        });
        // With the parent's own token: that makes it the parent.
        let path = format!("auth/token/create/{}", child_role(grant.tier));
        let call = ask_as(ISSUING, Method::POST, path, parent, Some(wire::body(&body)));
        let reply = self.client.call(call).await?;
        if reply.status == 403 {
            return Err(self.denied(ISSUING, parent).await);
        }
        issued(&reply, status.run, Some(grant.agent), grant.tier)
    }

    pub(super) async fn renew_token(
        &self,
        accessor: &Accessor,
        ttl: Span,
    ) -> Result<TokenStatus, VaultError> {
        check_ttl(ttl)?;
        let over = || VaultError::Ended { how: Ending::Unknown };
        let Known { status, parent } = self.known(accessor).await?.ok_or_else(over)?;
        if let Some(parent) = parent {
            let left = self.known(&parent).await?.ok_or_else(over)?.status.ttl;
            if ttl > left {
                return Err(VaultError::OutlivesParent { asked: ttl, left });
            }
        }
        let body = json!({ "accessor": accessor.as_str(), "increment": seconds(ttl) });
        let reply = self.ask(RENEWING, Method::POST, "auth/token/renew-accessor", Some(body)).await?;
        match reply.status {
            200 => {
                let Authorized { auth } = wire::parse(RENEWING, &reply.body)?;
                let renewals = self.count(accessor, status.renewals);
                Ok(TokenStatus { ttl: Span::from_secs(auth.lease_duration), renewals, ..status })
            }
            400 | 404 => Err(over()),
            _ => Err(refused(RENEWING, &reply)),
        }
    }

    pub(super) async fn revoke_token(&self, accessor: &Accessor) -> Result<(), VaultError> {
        // An accessor may be anybody's: what is not this home's is not its to end.
        let Some(data) = self.token_data(accessor).await? else {
            self.forget(accessor);
            return Ok(());
        };
        if self.describe(data)?.is_none() {
            return Err(VaultError::Denied { doing: REVOKING });
        }
        let body = json!({ "accessor": accessor.as_str() });
        let reply = self.ask(REVOKING, Method::POST, "auth/token/revoke-accessor", Some(body)).await?;
        match reply.status {
            // One that ended meanwhile is over as well.
            200 | 204 | 400 | 404 => {
                self.forget(accessor);
                Ok(())
            }
            _ => Err(refused(REVOKING, &reply)),
        }
    }

    pub(super) async fn find_tokens(&self, run: Option<RunId>) -> Result<Vec<TokenStatus>, VaultError> {
        let reply = self.ask(FINDING, Method::GET, "auth/token/accessors?list=true", None).await?;
        let keys = match reply.status {
            200 => wire::parse::<Data<Keys>>(FINDING, &reply.body)?.data.keys,
            404 => return Ok(Vec::new()),
            _ => return Err(refused(FINDING, &reply)),
        };
        if keys.len() > limits::VAULT_ACCESSORS {
            return Err(VaultError::TooMuch { what: "tokens on the server", most: limits::VAULT_ACCESSORS });
        }
        let mut found = Vec::new();
        for key in keys {
            // One that cannot be an accessor of ours is none.
            let Ok(accessor) = Accessor::new(&key) else { continue };
            let Some(data) = self.token_data(&accessor).await? else { continue };
            // What claims to be ours and makes no sense is passed over: the others are to be found all the same.
            let Ok(Some(Known { status, .. })) = self.describe(data) else { continue };
            if run.is_none_or(|run| status.run == run) {
                found.push(status);
            }
        }
        found.sort_by(|a, b| a.accessor.cmp(&b.accessor));
        Ok(found)
    }
}

fn issued(reply: &Reply, run: RunId, agent: Option<AgentId>, tier: Tier) -> Result<Issued, VaultError> {
    if reply.status != 200 {
        return Err(refused(ISSUING, reply));
    }
    let Authorized { auth: Auth { client_token, accessor, policies, lease_duration } } =
        wire::parse(ISSUING, &reply.body)?;
    let nonsense = |_| VaultError::Malformed { doing: ISSUING, why: "it names no accessor" };
    let accessor = Accessor::new(&accessor).map_err(nonsense)?;
    let ttl = Span::from_secs(lease_duration);
    let status = TokenStatus { accessor, run, agent, tier, policies: sorted(policies), ttl, renewals: 0 };
    Ok(Issued { token: Token::new(client_token), status })
}
