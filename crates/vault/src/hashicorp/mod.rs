//! A server that speaks the HashiCorp Vault API: Vault, OpenBao. Runs' tokens are service tokens of that server, issued
//! through token roles; agents' tokens are their children, so that the server itself ends them with the run's.

mod client;
mod open;
mod session;
mod set_up;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use eparch_domain::{AgentId, Name, RunId, Span, Tier, limits};
use hyper::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub use open::ConnectError;

use crate::error::{Ending, VaultError};
use crate::path::SecretPath;
use crate::policy::{PIPELINE_AGENT, tier_policy};
use crate::secret::{Fields, Token};
use crate::vault::{
    Accessor, Answer, ChildGrant, Health, Issued, READING, Reader, RunGrant, SecretVersion, TokenStatus,
    Vault, WRAPPING, check_fields, check_own, check_ttl, check_wrap_ttl,
};
use client::{Call, Client, Reply};
use session::Session;
use wire::{Auth, Authorized, Data, Keys, Kv, SysHealth, TokenData, Wrapped};

/// The token role through which runs' tokens are issued.
const RUN_ROLE: &str = "eparch-run";

/// A vault in a server.
pub struct Hashicorp {
    client: Client,
    session: Session,
    /// Which home of Eparch this is. Several may use one server, and none touches what is another's.
    home: Name,
    /// How often tokens were renewed here; a server does not count.
    renewals: Mutex<BTreeMap<Accessor, u32>>,
}

impl fmt::Debug for Hashicorp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashicorp").field("home", &self.home).finish_non_exhaustive()
    }
}

/// What a token's metadata says that Eparch issued.
mod meta {
    pub(super) const HOME: &str = "eparch_home";
    pub(super) const RUN: &str = "eparch_run";
    pub(super) const AGENT: &str = "eparch_agent";
    pub(super) const TIER: &str = "eparch_tier";
    pub(super) const PARENT: &str = "eparch_parent";
}

/// A token of this home, as the server describes it.
struct Known {
    status: TokenStatus,
    parent: Option<Accessor>,
}

const ISSUING: &str = "issue a token";
const LOOKING: &str = "look up a token";
const RENEWING: &str = "renew a token";
const REVOKING: &str = "revoke a token";
const FINDING: &str = "list tokens";
const WRITING: &str = "write the secret";
const DELETING: &str = "delete the secret";
const LISTING: &str = "list secrets";
const UNWRAPPING: &str = "unwrap a secret";

impl Hashicorp {
    /// Asks with the daemon's authority.
    async fn ask(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Reply, VaultError> {
        let body = body.map(|body| wire::body(&body));
        self.ask_with(doing, method, path, body).await
    }

    async fn ask_with(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Reply, VaultError> {
        let call = Call { doing, method, path: path.to_owned(), token: None, wrap_secs: None, body };
        self.session.call(&self.client, call).await
    }

    /// What a token is, by its accessor; nothing when it is over, or not one of this home.
    async fn known(&self, accessor: &Accessor) -> Result<Option<Known>, VaultError> {
        match self.token_data(accessor).await? {
            Some(data) => self.describe(data),
            None => Ok(None),
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
    async fn of_token(&self, token: &Token) -> Result<Option<TokenData>, VaultError> {
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
    fn describe(&self, data: TokenData) -> Result<Option<Known>, VaultError> {
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
    async fn denied(&self, doing: &'static str, token: &Token) -> VaultError {
        match self.of_token(token).await {
            Ok(Some(_)) => VaultError::Denied { doing },
            Ok(None) => VaultError::Ended { how: Ending::Unknown },
            Err(error) => error,
        }
    }

    /// Whether a token's agent may read there, as far as a policy cannot say.
    async fn check_own(
        &self,
        doing: &'static str,
        token: &Token,
        path: &SecretPath,
    ) -> Result<(), VaultError> {
        if !path.is_an_agents() {
            return Ok(());
        }
        let over = VaultError::Ended { how: Ending::Unknown };
        let data = self.of_token(token).await?.ok_or(over)?;
        let agent = self.describe(data)?.and_then(|known| known.status.agent);
        check_own(path, agent).map_err(|_| VaultError::Denied { doing })
    }

    async fn issue_run_token(&self, grant: RunGrant) -> Result<Issued, VaultError> {
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

    async fn issue_child_token(&self, parent: &Token, grant: ChildGrant) -> Result<Issued, VaultError> {
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

    async fn renew_token(&self, accessor: &Accessor, ttl: Span) -> Result<TokenStatus, VaultError> {
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

    async fn revoke_token(&self, accessor: &Accessor) -> Result<(), VaultError> {
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

    async fn find_tokens(&self, run: Option<RunId>) -> Result<Vec<TokenStatus>, VaultError> {
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

    async fn read_secret(
        &self,
        reader: Reader<'_>,
        path: &SecretPath,
        version: Option<u32>,
    ) -> Result<SecretVersion, VaultError> {
        let missing = || {
            let what = if version.is_some() { "version of the secret" } else { "secret" };
            VaultError::NotFound { what }
        };
        let query = version.map_or(String::new(), |version| format!("?version={version}"));
        let at = format!("secret/data/{path}{query}");
        let reply = match reader {
            Reader::Daemon => self.ask(READING, Method::GET, &at, None).await?,
            Reader::Token(token) => {
                self.check_own(READING, token, path).await?;
                let reply = self.client.call(ask_as(READING, Method::GET, at, token, None)).await?;
                if reply.status == 403 {
                    return Err(self.denied(READING, token).await);
                }
                reply
            }
        };
        match reply.status {
            // To servers, version 0 is the newest.
            200 if version == Some(0) => Err(missing()),
            200 => wire::parse::<Data<Kv>>(READING, &reply.body).map(|found| secret(found.data)),
            404 => Err(missing()),
            _ => Err(refused(READING, &reply)),
        }
    }

    async fn write_secret(
        &self,
        path: &SecretPath,
        fields: Fields,
        expected: Option<u32>,
    ) -> Result<u32, VaultError> {
        #[derive(serde::Serialize)]
        struct Write<'a> {
            data: BTreeMap<&'a str, &'a str>,
            options: Options,
        }
        #[derive(serde::Serialize)]
        struct Options {
            #[serde(skip_serializing_if = "Option::is_none")]
            cas: Option<u32>,
        }
        check_fields(&fields)?;
        let data = fields.iter().map(|(name, text)| (name.as_str(), text.expose())).collect();
        let body = wire::body(&Write { data, options: Options { cas: expected } });
        let reply = self.ask_with(WRITING, Method::POST, &format!("secret/data/{path}"), Some(body)).await?;
        match (reply.status, expected) {
            (200, _) => wire::parse::<Data<wire::KvMetadata>>(WRITING, &reply.body)
                .map(|written| written.data.version),
            (400, Some(expected)) if wire::says(&reply.body, "check-and-set") => {
                Err(VaultError::Changed { expected })
            }
            _ => Err(refused(WRITING, &reply)),
        }
    }

    async fn delete_secret(&self, path: &SecretPath) -> Result<(), VaultError> {
        let reply = self.ask(DELETING, Method::DELETE, &format!("secret/metadata/{path}"), None).await?;
        match reply.status {
            200 | 204 | 404 => Ok(()),
            _ => Err(refused(DELETING, &reply)),
        }
    }

    async fn list_secrets(&self, below: Option<&SecretPath>) -> Result<Vec<String>, VaultError> {
        let path = below.map_or("secret/metadata?list=true".to_owned(), |path| {
            format!("secret/metadata/{path}?list=true")
        });
        let reply = self.ask(LISTING, Method::GET, &path, None).await?;
        match (reply.status, below) {
            (200, _) => wire::parse::<Data<Keys>>(LISTING, &reply.body).map(|found| sorted(found.data.keys)),
            (404, None) => Ok(Vec::new()),
            (404, Some(_)) => Err(VaultError::NotFound { what: "folder" }),
            _ => Err(refused(LISTING, &reply)),
        }
    }

    async fn wrap_secret(&self, reader: &Token, path: &SecretPath, ttl: Span) -> Result<Token, VaultError> {
        check_wrap_ttl(ttl)?;
        self.check_own(WRAPPING, reader, path).await?;
        let mut call = ask_as(WRAPPING, Method::GET, format!("secret/data/{path}"), reader, None);
        call.wrap_secs = Some(seconds(ttl));
        let reply = self.client.call(call).await?;
        match reply.status {
            200 => {
                wire::parse::<Wrapped>(WRAPPING, &reply.body).map(|found| Token::new(found.wrap_info.token))
            }
            403 => Err(self.denied(WRAPPING, reader).await),
            404 => Err(VaultError::NotFound { what: "secret" }),
            _ => Err(refused(WRAPPING, &reply)),
        }
    }

    async fn unwrap_secret(&self, wrapping: &Token) -> Result<SecretVersion, VaultError> {
        let used = || VaultError::Ended { how: Ending::Used };
        let path = "sys/wrapping/unwrap".to_owned();
        let call = ask_as(UNWRAPPING, Method::POST, path, wrapping, None);
        let reply = self.client.call(call).await.map_err(|error| match error {
            // What cannot be sent was never a token.
            VaultError::Ended { .. } => used(),
            other => other,
        })?;
        match reply.status {
            200 => wire::parse::<Data<Kv>>(UNWRAPPING, &reply.body).map(|found| secret(found.data)),
            400 | 403 => Err(used()),
            _ => Err(refused(UNWRAPPING, &reply)),
        }
    }

    async fn ask_health(&self) -> Result<Health, VaultError> {
        let doing = "ask how the vault is";
        let path = "sys/health".to_owned();
        let call = Call { doing, method: Method::GET, path, token: None, wrap_secs: None, body: None };
        // The status says the same as the answer, in codes that differ between servers.
        let reply = self.client.call(call).await?;
        let SysHealth { initialized, sealed, standby } = wire::parse(doing, &reply.body)?;
        let health = Health { initialized, sealed, standby };
        if health.is_usable() {
            // Being asked how it is is what keeps an idle daemon's token alive. What goes wrong shows when it is needed.
            let _ = self.session.keep(&self.client).await;
        }
        Ok(health)
    }
}

fn ask_as<'t>(
    doing: &'static str,
    method: Method,
    path: String,
    token: &'t Token,
    body: Option<Zeroizing<Vec<u8>>>,
) -> Call<'t> {
    Call { doing, method, path, token: Some(token), wrap_secs: None, body }
}

/// A status that is no answer to what was asked.
fn refused(doing: &'static str, reply: &Reply) -> VaultError {
    match reply.status {
        503 if wire::says(&reply.body, "is sealed") => VaultError::Sealed,
        403 => VaultError::Denied { doing },
        status => VaultError::Refused { doing, status },
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

fn secret(found: Kv) -> SecretVersion {
    SecretVersion { version: found.metadata.version, fields: found.data }
}

/// The token role through which the tokens of a tier's agents are issued.
fn child_role(tier: Tier) -> String {
    format!("eparch-t{}", tier.number())
}

/// Servers count in whole seconds; what is cut off makes a life shorter, never longer.
fn seconds(span: Span) -> u64 {
    span.millis() / 1_000
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

impl Vault for Hashicorp {
    fn health(&self) -> Answer<'_, Health> {
        Box::pin(self.ask_health())
    }

    fn issue_run(&self, grant: RunGrant) -> Answer<'_, Issued> {
        Box::pin(self.issue_run_token(grant))
    }

    fn issue_child<'a>(&'a self, parent: &'a Token, grant: ChildGrant) -> Answer<'a, Issued> {
        Box::pin(self.issue_child_token(parent, grant))
    }

    fn lookup<'a>(&'a self, accessor: &'a Accessor) -> Answer<'a, TokenStatus> {
        Box::pin(async move {
            let known = self.known(accessor).await?;
            known.map(|known| known.status).ok_or(VaultError::Ended { how: Ending::Unknown })
        })
    }

    fn renew<'a>(&'a self, accessor: &'a Accessor, ttl: Span) -> Answer<'a, TokenStatus> {
        Box::pin(self.renew_token(accessor, ttl))
    }

    fn revoke<'a>(&'a self, accessor: &'a Accessor) -> Answer<'a, ()> {
        Box::pin(self.revoke_token(accessor))
    }

    fn find(&self, run: Option<RunId>) -> Answer<'_, Vec<TokenStatus>> {
        Box::pin(self.find_tokens(run))
    }

    fn read<'a>(
        &'a self,
        reader: Reader<'a>,
        path: &'a SecretPath,
        version: Option<u32>,
    ) -> Answer<'a, SecretVersion> {
        Box::pin(self.read_secret(reader, path, version))
    }

    fn write<'a>(&'a self, path: &'a SecretPath, fields: Fields, expected: Option<u32>) -> Answer<'a, u32> {
        Box::pin(self.write_secret(path, fields, expected))
    }

    fn delete<'a>(&'a self, path: &'a SecretPath) -> Answer<'a, ()> {
        Box::pin(self.delete_secret(path))
    }

    fn list<'a>(&'a self, below: Option<&'a SecretPath>) -> Answer<'a, Vec<String>> {
        Box::pin(self.list_secrets(below))
    }

    fn wrap<'a>(&'a self, reader: &'a Token, path: &'a SecretPath, ttl: Span) -> Answer<'a, Token> {
        Box::pin(self.wrap_secret(reader, path, ttl))
    }

    fn unwrap<'a>(&'a self, wrapping: &'a Token) -> Answer<'a, SecretVersion> {
        Box::pin(self.unwrap_secret(wrapping))
    }
}
