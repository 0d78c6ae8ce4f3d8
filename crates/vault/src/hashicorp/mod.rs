//! A server that speaks the HashiCorp Vault API: Vault, OpenBao. Runs' tokens are service tokens of that server, issued
//! through token roles; agents' tokens are their children, so that the server itself ends them with the run's.

mod client;
mod open;
mod secrets;
mod session;
mod set_up;
mod tokens;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use eparch_domain::{Name, RunId, Span, Tier};
use hyper::Method;
use serde_json::Value;
use zeroize::Zeroizing;

pub use open::ConnectError;

use crate::error::{Ending, VaultError};
use crate::path::SecretPath;
use crate::secret::{Fields, Token};
use crate::vault::{
    Accessor, Answer, ChildGrant, Health, Issued, Reader, RunGrant, SecretVersion, TokenStatus, Vault,
};
use client::{Call, Client, Reply};
use session::Session;
use wire::SysHealth;

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
