//! Secrets, for operators. What somebody wants is durable before the vault is asked, and what came of it before anybody is
//! answered: what the ledger cannot hold is not done, or not handed over (G1). Values are in the answer to whoever may have
//! them, and in no entry, message or log (G8).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use eparch_domain::{Name, in_full};
use eparch_governor::{Event, OperatorRole, SecretAccess, SecretOutcome};
use eparch_vault::{Health, PIPELINE_AGENT, SecretPath, StoreError, VaultError, least_tier, tier_policy};
use serde::Deserialize;

use super::extract::{Path, Query};
use super::problem::Problem;
use super::secrets::refuse_secret;
use super::wire::{OpenFields, PutSecret, SecretNames, SecretShown, SecretWritten, VaultStatus};
use super::{App, Caller};
use crate::vault::VaultFailure;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/secrets", get(list))
        .route("/api/secrets-status", get(status))
        .route("/api/secrets/{*path}", get(read).put(write))
}

/// Who may see which secrets there are: names say much, but give nothing.
fn may_see_names(role: OperatorRole) -> bool {
    matches!(role, OperatorRole::Admin | OperatorRole::Operator | OperatorRole::Auditor)
}

#[derive(Deserialize)]
struct Below {
    prefix: Option<String>,
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(asked): Query<Below>,
) -> Result<Json<SecretNames>, Problem> {
    caller.who("list secrets", may_see_names)?;
    let prefix = asked.prefix.as_deref().map(|prefix| prefix.trim_end_matches('/'));
    let below = prefix.filter(|prefix| !prefix.is_empty()).map(secret_path).transpose()?;
    let names = app.tools.vault.list(below.as_ref()).await.map_err(|failure| told(&failure, None))?;
    Ok(Json(SecretNames { prefix: below.map(String::from), names }))
}

async fn status(State(app): State<Arc<App>>, _: Caller) -> Json<VaultStatus> {
    let vault = &app.tools.vault;
    let (health, behind) = match vault.health().await {
        Ok(Some(health)) => (Ok(Some(health)), vault.clock_behind().await.ok().flatten()),
        none_or_failed => (none_or_failed, None),
    };
    let (kind, place, enforced_by) = match vault.address() {
        Some(address) => ("server", address.to_owned(), "server"),
        None => ("embedded", vault.folder().display().to_string(), "eparch"),
    };
    let tiers = eparch_domain::Tier::ALL.into_iter().map(tier_policy);
    Json(VaultStatus {
        kind: kind.to_owned(),
        place,
        made: !matches!(health, Ok(None)),
        usable: behind.is_none() && matches!(&health, Ok(found) if found.is_none_or(Health::is_usable)),
        sealed: health.as_ref().ok().copied().flatten().map(|health| health.sealed),
        clock_behind: behind,
        problem: health.err().map(|failure| told(&failure, None)),
        policies: tiers.chain([PIPELINE_AGENT.to_owned()]).collect(),
        enforced_by: enforced_by.to_owned(),
    })
}

#[derive(Deserialize)]
struct Which {
    version: Option<u32>,
}

async fn read(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(path): Path<String>,
    Query(Which { version }): Query<Which>,
) -> Result<Response, Problem> {
    let path = secret_path(&path)?;
    let wish = Wish { app: app.clone(), by: caller.name, path, access: SecretAccess::Read { version } };
    app.finished(async move {
        let asked = wish.ask().await?;
        let found = wish.app.tools.vault.read(&wish.path, version).await;
        let found = wish.settle(asked, found, |found| SecretOutcome::Read { version: found.version }).await?;
        let fields = OpenFields(found.fields);
        let shown = SecretShown { path: wish.path.into(), version: found.version, fields };
        Ok(([(header::CACHE_CONTROL, "no-store")], Json(shown)).into_response())
    })
    .await
}

async fn write(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(path): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<SecretWritten>, Problem> {
    let path = secret_path(&path)?;
    let PutSecret { fields, cas } = put_secret(body)?;
    let wish =
        Wish { app: app.clone(), by: caller.name, path, access: SecretAccess::Write { expected: cas } };
    app.finished(async move {
        let asked = wish.ask().await?;
        let written = wish.app.tools.vault.write(&wish.path, fields.0, cas).await;
        let outcome = |version: &u32| SecretOutcome::Written { version: *version };
        let version = wish.settle(asked, written, outcome).await?;
        Ok(Json(SecretWritten { path: wish.path.into(), version }))
    })
    .await
}

/// What somebody wants of a secret.
struct Wish {
    app: Arc<App>,
    by: Name,
    path: SecretPath,
    access: SecretAccess,
}

impl Wish {
    /// Has it decided whether they may; the entry that says so.
    async fn ask(&self) -> Result<u64, Problem> {
        let (by, path, access) = (self.by.clone(), self.path.to_string(), self.access);
        let asked = Event::SecretAsked { by, path, tier: least_tier(&self.path), access };
        Ok(self.app.decide_event(asked).await?.seq)
    }

    /// Writes down what came of it, and only then gives it away.
    async fn settle<T>(
        &self,
        asked: u64,
        answer: Result<T, VaultFailure>,
        outcome: impl Fn(&T) -> SecretOutcome,
    ) -> Result<T, Problem> {
        let answer = answer.map_err(|failure| told(&failure, Some(self.access)));
        let outcome = match &answer {
            Ok(found) => outcome(found),
            Err(problem) => SecretOutcome::Failed { code: problem.code.clone() },
        };
        let served = Event::SecretServed {
            asked,
            by: self.by.clone(),
            path: self.path.to_string(),
            outcome: outcome.clone(),
        };
        match (self.app.decide_event(served).await, outcome) {
            (Ok(_), _) => answer,
            (Err(lost), SecretOutcome::Written { version }) => Err(unrecorded(&self.path, version, &lost)),
            // Why the vault did not do it says more than that this could not be written down, too.
            (Err(lost), _) => Err(answer.err().unwrap_or(lost)),
        }
    }
}

/// A secret was written, and the entry that would say so was not.
fn unrecorded(path: &SecretPath, version: u32, lost: &Problem) -> Problem {
    let title = format!("version {version} of {path} was written, and the ledger does not say so");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "EP0909", &title).detail(&lost.title).hint(
        "the ledger has the wish and not what came of it; see `eparch doctor`, then `eparch secrets get`",
    )
}

/// A path, unless it is none or is itself what should lie there.
fn secret_path(text: &str) -> Result<SecretPath, Problem> {
    let path = SecretPath::new(text).map_err(|bad| unusable(&bad.to_string()))?;
    refuse_secret("the path of the secret", text)?;
    Ok(path)
}

/// What is to be written. Nothing of a body is repeated: it holds the secret.
fn put_secret(body: Result<Bytes, BytesRejection>) -> Result<PutSecret, Problem> {
    let bad = |why: &str| Problem::new(StatusCode::BAD_REQUEST, "EP0523", why);
    let body = body.map_err(|bad_body| bad(&bad_body.body_text()))?;
    serde_json::from_slice(&body).map_err(|problem| {
        let place = format!("line {}, column {}", problem.line(), problem.column());
        bad(&format!("the body is not {{\"fields\": {{NAME: TEXT}}, \"cas\": VERSION}} ({place})"))
    })
}

fn unusable(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "EP0905", why)
        .hint("`eparch secrets put --help` says what a path and a field may be")
}

/// What a caller is told of a vault that did not do what it was asked (`None`: only how it is).
fn told(failure: &VaultFailure, access: Option<SecretAccess>) -> Problem {
    let title = in_full(failure);
    let away =
        |code: &str, hint: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, &title).hint(hint);
    let error = match failure {
        VaultFailure::Asked(error) => error,
        VaultFailure::Store(_) | VaultFailure::Connect(_) | VaultFailure::Lost => {
            return away("EP0901", "`eparch secrets status` and `eparch doctor` look at it again");
        }
    };
    match error {
        VaultError::NotFound { .. } => Problem::new(StatusCode::NOT_FOUND, "EP0903", &title)
            .hint("`eparch secrets list` shows what there is"),
        VaultError::Changed { .. } => Problem::new(StatusCode::CONFLICT, "EP0904", &title)
            .hint("look at the newest version with `eparch secrets get PATH`, then write with --cas of that"),
        VaultError::TooMuch { .. } | VaultError::BadField => unusable(&title),
        // Full, or the disk's own trouble: the file is as it was.
        VaultError::Store(StoreError::Full) => unusable(&title),
        VaultError::Store(_) | VaultError::ClockBehind { .. } => {
            away("EP0901", "`eparch secrets status` and `eparch doctor` look at it again")
        }
        VaultError::TimedOut { .. } | VaultError::CutOff { .. }
            if matches!(access, Some(SecretAccess::Write { .. })) =>
        {
            away("EP0902", "it may have been written: look at the newest version before you write again")
        }
        other if other.is_retryable() => {
            away("EP0902", "see that the server runs, is unsealed and can be reached").retryable()
        }
        _ => away("EP0906", "docs/vault.md says what the server must know of Eparch"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g8_a_body_that_cannot_be_read_is_not_repeated() {
        let bodies = [
            "{\"fields\": \"hunter2\"}",
            "{\"fields\": {\"a\": [\"hunter2\"]}}",
            "{\"fields\": {\"a\": \"b\"}, \"cas\": \"hunter2\"}",
            "{\"fields\": {\"a\": \"b\"}, \"hunter2\": 1}",
            "hunter2",
            "{\"fields\": {\"a\": \"hunter2\"}",
        ];
        for body in bodies {
            let problem = put_secret(Ok(Bytes::from_static(body.as_bytes()))).unwrap_err();
            let told = serde_json::to_string(&problem).unwrap();
            assert!(
                told.contains("EP0523") && told.contains("line 1") && !told.contains("hunter2"),
                "{told}"
            );
        }
        let whole = Bytes::from_static(b"{\"fields\": {\"a\": \"hunter2\"}, \"cas\": 0}");
        let read = put_secret(Ok(whole)).unwrap();
        assert_eq!((read.fields.0["a"].expose(), read.cas), ("hunter2", Some(0)));
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn g8_what_looks_like_a_secret_is_no_path() {
        assert!(secret_path("inventory/hosts").is_ok());
        let key = format!("ghp_{}", "0123456789abcdefghijABCDEFGHIJ012345");
        assert_eq!(secret_path(&key).unwrap_err().code, "EP0224");
        assert_eq!(secret_path("a/../b").unwrap_err().code, "EP0905");
    }

    #[test]
    fn a_write_that_nobody_knows_of_is_not_called_worth_trying_again() {
        let late = || VaultFailure::Asked(VaultError::CutOff { doing: "write the secret" });
        let write = told(&late(), Some(SecretAccess::Write { expected: None }));
        assert!(!write.retryable && write.hint.starts_with("it may have been written"), "{write}");
        let read = told(&late(), Some(SecretAccess::Read { version: None }));
        assert_eq!((read.retryable, read.code.as_str(), read.status), (true, "EP0902", 503));
    }
}
