//! The daemon's own token on a server: had by AppRole, renewed while it is used, had anew when it is over.

use eparch_domain::Span;
use hyper::Method;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant};

use super::client::{Call, Client, Reply};
use super::wire::{self, Authorized};
use crate::error::VaultError;
use crate::secret::{Secret, Token};

pub(super) struct Session {
    role_id: String,
    secret_id: Secret,
    held: Mutex<Option<Held>>,
}

#[derive(Clone)]
struct Held {
    token: Token,
    /// Half of its life is over.
    renew_at: Instant,
    ends: Instant,
}

const LOGIN: &str = "log in";

impl Session {
    pub(super) fn new(role_id: String, secret_id: Secret) -> Session {
        Session { role_id, secret_id, held: Mutex::new(None) }
    }

    /// Asks with the daemon's authority.
    pub(super) async fn call(&self, client: &Client, call: Call<'static>) -> Result<Reply, VaultError> {
        let token = self.token(client).await?;
        let reply = client.call(Call { token: Some(&token), ..call.clone() }).await?;
        // What is not allowed and a token that is over look alike. A secret id may be good for one login only, so no new
        // token is asked for while the old one is good.
        if reply.status != 403 || self.renew(client, &token).await? {
            return Ok(reply);
        }
        self.forget(&token).await;
        let token = self.token(client).await?;
        client.call(Call { token: Some(&token), ..call }).await
    }

    /// Renews the token when it is due and there is one.
    pub(super) async fn keep(&self, client: &Client) -> Result<(), VaultError> {
        let is_due = self.held.lock().await.as_ref().is_some_and(|held| Instant::now() >= held.renew_at);
        if is_due { self.token(client).await.map(drop) } else { Ok(()) }
    }

    /// The daemon's token. Whoever waits for somebody else's login waits no longer than for their own.
    async fn token(&self, client: &Client) -> Result<Token, VaultError> {
        client.in_time(LOGIN, self.current(client)).await
    }

    async fn current(&self, client: &Client) -> Result<Token, VaultError> {
        // Held over the login: whoever comes meanwhile waits for the one that is on its way.
        let mut held = self.held.lock().await;
        let now = Instant::now();
        if let Some(found) = held.as_mut().filter(|found| now < found.ends) {
            if now < found.renew_at {
                return Ok(found.token.clone());
            }
            match renew_self(client, &found.token).await {
                Ok(Some(secs)) => {
                    *found = Held::new(found.token.clone(), secs);
                    return Ok(found.token.clone());
                }
                Ok(None) => {}
                // It is good for a while yet: a server that is away now may be back by then.
                Err(_) => return Ok(found.token.clone()),
            }
        }
        let fresh = self.login(client).await?;
        let token = fresh.token.clone();
        *held = Some(fresh);
        Ok(token)
    }

    /// Whether a token that was refused is good all the same.
    async fn renew(&self, client: &Client, token: &Token) -> Result<bool, VaultError> {
        let Some(secs) = renew_self(client, token).await? else { return Ok(false) };
        let mut held = self.held.lock().await;
        if let Some(found) = held.as_mut().filter(|found| found.token == *token) {
            *found = Held::new(token.clone(), secs);
        }
        Ok(true)
    }

    /// Drops a token that is over, unless somebody else has replaced it already.
    async fn forget(&self, token: &Token) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|found| found.token == *token) {
            *held = None;
        }
    }

    async fn login(&self, client: &Client) -> Result<Held, VaultError> {
        #[derive(serde::Serialize)]
        struct Login<'a> {
            role_id: &'a str,
            secret_id: &'a str,
        }
        let body = wire::body(&Login { role_id: &self.role_id, secret_id: self.secret_id.expose() });
        let path = "auth/approle/login".to_owned();
        let call =
            Call { doing: LOGIN, method: Method::POST, path, token: None, wrap_secs: None, body: Some(body) };
        let reply = client.call(call).await?;
        match reply.status {
            200 => {
                let found: Authorized = wire::parse(LOGIN, &reply.body)?;
                Ok(Held::new(Token::new(found.auth.client_token), found.auth.lease_duration))
            }
            // Vault says 400, others 403 or, where AppRole is not enabled, 404.
            400 | 403 | 404 => Err(VaultError::LoginRefused),
            _ => Err(super::refused(LOGIN, &reply)),
        }
    }
}

impl Held {
    fn new(token: Token, secs: u64) -> Held {
        // Zero stands for a token without an end; a day is long enough to ask again.
        let secs = if secs == 0 { 86_400 } else { secs.min(Span::MAX.millis() / 1_000) };
        let now = Instant::now();
        Held {
            token,
            renew_at: now + Duration::from_millis(secs * 500),
            ends: now + Duration::from_secs(secs),
        }
    }
}

/// Renews a token by itself: how many seconds it has, or nothing when it is over.
async fn renew_self(client: &Client, token: &Token) -> Result<Option<u64>, VaultError> {
    let doing = "renew Eparch's own token";
    let call = Call {
        doing,
        method: Method::POST,
        path: "auth/token/renew-self".to_owned(),
        token: Some(token),
        wrap_secs: None,
        body: Some(wire::body(&json!({}))),
    };
    let reply = client.call(call).await?;
    match reply.status {
        200 => wire::parse::<Authorized>(doing, &reply.body).map(|found| Some(found.auth.lease_duration)),
        // Past the longest life a server gives it, renewing is an error of the asker.
        400 | 403 => Ok(None),
        _ => Err(super::refused(doing, &reply)),
    }
}
