//! Secrets on a server: KV version 2 below the mount `secret`.

use std::collections::BTreeMap;

use eparch_domain::Span;
use hyper::Method;

use super::wire::{self, Data, Keys, Kv, Wrapped};
use super::{Hashicorp, ask_as, refused, seconds, sorted};
use crate::error::{Ending, VaultError};
use crate::path::SecretPath;
use crate::secret::{Fields, Token};
use crate::vault::{READING, Reader, SecretVersion, WRAPPING, check_fields, check_own, check_wrap_ttl};

const WRITING: &str = "write the secret";
const DELETING: &str = "delete the secret";
const LISTING: &str = "list secrets";
const UNWRAPPING: &str = "unwrap a secret";

impl Hashicorp {
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

    pub(super) async fn read_secret(
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

    pub(super) async fn write_secret(
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

    pub(super) async fn delete_secret(&self, path: &SecretPath) -> Result<(), VaultError> {
        let reply = self.ask(DELETING, Method::DELETE, &format!("secret/metadata/{path}"), None).await?;
        match reply.status {
            200 | 204 | 404 => Ok(()),
            _ => Err(refused(DELETING, &reply)),
        }
    }

    pub(super) async fn list_secrets(&self, below: Option<&SecretPath>) -> Result<Vec<String>, VaultError> {
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

    pub(super) async fn wrap_secret(
        &self,
        reader: &Token,
        path: &SecretPath,
        ttl: Span,
    ) -> Result<Token, VaultError> {
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

    pub(super) async fn unwrap_secret(&self, wrapping: &Token) -> Result<SecretVersion, VaultError> {
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
}

fn secret(found: Kv) -> SecretVersion {
    SecretVersion { version: found.metadata.version, fields: found.data }
}
