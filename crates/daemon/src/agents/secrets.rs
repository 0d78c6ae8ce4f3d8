//! A secret for an agent (R142): policy answers first, as to everything it asks for; then the vault is asked with the agent's
//! own token; what came of it is durable before the agent has it. The value is in the answer, and from then on taken out of
//! everything the agent says (G8).

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use eparch_domain::{Action, Digest};
use eparch_governor::{ActionAsked, Event};
use eparch_vault::{SecretPath, SecretVersion, VaultError};
use percent_encoding::percent_decode_str;

use super::actions::ruled;
use super::bodies;
use super::door::{Door, unanswered};
use crate::api::problem::Problem;
use crate::api::wire::{OpenFields, SecretShown};
use crate::home::random_bits;
use crate::vault::VaultFailure;
use crate::vault::credentials::{CredentialFailure, Held, code_of};

/// Reads a secret, once for each call.
pub(super) async fn read(door: &Arc<Door>, path: &str) -> Result<Response, Problem> {
    let bad = |why: &str| Problem::new(StatusCode::BAD_REQUEST, "EP0606", why);
    // Whoever writes a `/` of it as `%2F` means the same.
    let path = percent_decode_str(path).decode_utf8().map_err(|_| bad("the path is not text"))?;
    let path = SecretPath::new(&path).map_err(|problem| bad(&problem.to_string()))?;
    if door.log.is_secret(path.as_str()) {
        return Err(bad("the path holds a secret, and everything that is asked is written down"));
    }
    // What is begun is carried to its end, whoever has hung up: it is written down what came of it.
    let door = Arc::clone(door);
    let aside = door.aside.clone();
    let task = aside.spawn(async move { answer(&door, &path).await });
    task.await.unwrap_or_else(|_| Err(unanswered()))
}

async fn answer(door: &Door, path: &SecretPath) -> Result<Response, Problem> {
    let (agent, params) = (door.spec.agent, Digest::of(b""));
    let asked = ActionAsked {
        agent,
        tenant: door.tenant.clone(),
        project: door.project.clone(),
        action: Action::ReadSecret,
        target: path.to_string(),
        params,
        given: None,
        key: format!("secret-{:032x}", random_bits()),
    };
    let key = asked.key.clone();
    let done = door.decide(Event::ActionAsked(Box::new(asked))).await?;
    let ruled = ruled(&done, agent, &key).ok_or_else(unanswered)?;
    let Some(given) = ruled.permit else {
        let verdict = &ruled.verdict;
        let title = format!("the agent may not read {path} ({})", verdict.reason);
        let mut problem = Problem::new(StatusCode::FORBIDDEN, "EP0662", &title);
        problem.retryable = verdict.retryable;
        return Err(match &verdict.unlock {
            Some(unlock) => problem.hint(unlock),
            None => problem.hint("name the secret in the stage's `secrets`, at a tier that reads there"),
        });
    };
    let permit = given.permit;
    door.decide(Event::PermitUsed { agent, permit, params }).await?;
    let found = match door.credential().await {
        Ok(held) => door.vault.read_as(&held, path).await.map_err(|failure| refused(&failure)),
        Err(failure) => Err(without(&failure)),
    };
    let (ok, detail) = match &found {
        Ok(found) => (true, format!("version {}", found.version)),
        Err(problem) => (false, problem.code.clone()),
    };
    if let Ok(found) = &found {
        // Before it can say it to anybody.
        door.log.keep_out(found.fields.values().map(eparch_vault::Secret::expose));
    }
    let recorded = door.decide(Event::ActionEnded { agent, permit, ok, detail }).await;
    let SecretVersion { version, fields } = found?;
    recorded?;
    let shown = SecretShown { path: path.to_string(), version, fields: OpenFields(fields) };
    let mut answer = bodies::answer(&shown);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

impl Door {
    /// The agent's token of the vault, if it is still the one that stands for it; another one in its place otherwise.
    async fn credential(&self) -> Result<Held, CredentialFailure> {
        let (run, agent) = (self.spec.run, self.spec.agent);
        let mut held = self.held.lock().await;
        let known =
            self.driver.look(move |governor| governor.credential(run, Some(agent)).map(str::to_owned));
        let known = known.await?;
        if let Some(found) = held.as_ref().filter(|found| known.as_deref() == Some(found.accessor.as_str())) {
            return Ok(found.clone());
        }
        let fresh = self.vault.credential_for(&self.driver, run, agent, self.spec.tier).await?;
        *held = Some(fresh.clone());
        Ok(fresh)
    }
}

/// What an agent is told when the vault does not give it a secret that policies let it have.
fn refused(failure: &VaultFailure) -> Problem {
    match failure {
        VaultFailure::Asked(VaultError::NotFound { .. }) => {
            Problem::new(StatusCode::NOT_FOUND, "EP0663", "there is no such secret")
                .hint("`eparch secrets list` shows a person what there is")
        }
        VaultFailure::Asked(VaultError::Denied { .. }) => {
            let title = "the vault's policy of the agent's tier does not let it read there";
            Problem::new(StatusCode::FORBIDDEN, "EP0664", title)
                .hint("docs/vault.md says what each tier reads")
        }
        VaultFailure::Asked(error) => {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, code_of(error), &failure.to_string());
            if error.is_retryable() { problem.retryable() } else { problem }
        }
        _ => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "EP0912", &failure.to_string()),
    }
}

fn without(failure: &CredentialFailure) -> Problem {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, failure.code(), &failure.reason());
    if failure.is_retryable() { problem.retryable() } else { problem }
}
