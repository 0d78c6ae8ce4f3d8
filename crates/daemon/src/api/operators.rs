//! Operators: who may act.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use eparch_domain::{Digest, Name, in_full, limits, unhex};
use eparch_governor::{Event, Key, Operator};

use super::extract::{Body, Path, body};
use super::problem::Problem;
use super::secrets::refuse_secret;
use super::wire::{AddOperator, OperatorView};
use super::{App, Caller};
use crate::driver::{Handle, SubmitError};
use crate::home::DraftKey;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/operators", get(list).post(add))
        .route("/api/operators/{name}", delete(remove))
        .route("/api/operators/{name}/rotate", post(rotate))
}

pub(crate) fn view(operator: &Operator) -> OperatorView {
    let (key, fingerprint) = match &operator.key {
        Key::Home { hash } => ("home", hash.hex()[..16].to_owned()),
        Key::Remote { public_key } => ("remote", Digest::of(public_key.as_bytes()).hex()[..16].to_owned()),
    };
    OperatorView {
        name: operator.name.clone(),
        role: operator.role,
        groups: operator.groups.clone(),
        max_tier: operator.max_tier,
        key: key.to_owned(),
        fingerprint,
    }
}

async fn list(State(app): State<Arc<App>>, _: Caller) -> Result<Json<Vec<OperatorView>>, Problem> {
    let all = app.driver.look(|governor| governor.operators().map(view).collect());
    Ok(Json(all.await?))
}

async fn add(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    asked: Body<AddOperator>,
) -> Result<(StatusCode, Json<OperatorView>), Problem> {
    let asked = body(asked)?;
    for name in std::iter::once(&asked.name).chain(&asked.groups) {
        refuse_secret("the name", name.as_str())?;
    }
    let draft;
    let key = match asked.public_key {
        Some(public_key) => {
            let valid = unhex::<32>(&public_key)
                .is_some_and(|bytes| ed25519_dalek::VerifyingKey::from_bytes(&bytes).is_ok());
            if !valid {
                return Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "EP0410",
                    "the public key is not an Ed25519 key of 64 hexadecimal digits",
                ));
            }
            draft = None;
            Key::Remote { public_key }
        }
        None => {
            let made = app.tools.home.draft_operator_key(&asked.name).map_err(home_problem)?;
            let hash = made.hash();
            draft = Some(made);
            Key::Home { hash }
        }
    };
    let operator = Operator {
        name: asked.name.clone(),
        role: asked.role,
        groups: asked.groups,
        max_tier: asked.max_tier.unwrap_or(limits::GRANT_UNASKED),
        key,
    };
    let shown = view(&operator);
    let event = Event::OperatorAdded { by: Some(caller.name), operator };
    decide_with_key(&app, event, &asked.name, draft).await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Has something about an operator decided whose new key is a draft so far: it replaces the old one once that is durable,
/// and is forgotten when it is refused. What a crash leaves in between is settled when the home is held again.
async fn decide_with_key(
    app: &App,
    event: Event,
    name: &Name,
    draft: Option<DraftKey>,
) -> Result<(), Problem> {
    let decided = app.decide_event(event).await;
    match (decided, draft) {
        (Ok(_), Some(draft)) => draft.keep().map_err(home_problem),
        (Ok(_), None) => Ok(()),
        // A refusal is final.
        (Err(problem), Some(draft)) if problem.status < 500 => {
            draft.forget();
            Err(problem)
        }
        // Whether anything else happened is known only to the ledger: the draft waits for it.
        (Err(problem), Some(draft)) => {
            tokio::spawn(settle(app.driver.clone(), name.clone(), draft));
            Err(problem)
        }
        (Err(problem), None) => Err(problem),
    }
}

/// Puts a draft in force, or forgets it, once the governor says again which key it knows.
pub(crate) async fn settle(driver: Handle, name: Name, draft: DraftKey) {
    let known = loop {
        let asked = name.clone();
        let known = driver.glance(move |governor| {
            let operator = governor.operators().find(|known| known.name == asked);
            operator.map(|known| known.key.clone())
        });
        match known.await {
            Ok(known) => break known,
            // The next holder settles it when it begins.
            Err(SubmitError::Gone) => return,
            Err(_) => tokio::time::sleep(limits::LEDGER_RETRY.as_duration()).await,
        }
    };
    match known {
        Some(Key::Home { hash }) if hash == draft.hash() => {
            if let Err(problem) = draft.keep() {
                crate::holder::note(&format!("the new key of {name} is not in its place: {problem}"));
            }
        }
        _ => draft.forget(),
    }
}

async fn rotate(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(name): Path<Name>,
) -> Result<Json<OperatorView>, Problem> {
    refuse_secret("the name", name.as_str())?;
    let asked = name.clone();
    let known = app
        .driver
        .look(move |governor| governor.operators().find(|known| known.name == asked).cloned())
        .await?;
    if let Some(Key::Remote { .. }) = known.map(|operator| operator.key) {
        let title = format!("the key of {name} is kept elsewhere");
        return Err(Problem::new(StatusCode::CONFLICT, "EP0411", &title)
            .hint("remove the operator and add them again with the new public key"));
    }
    let draft = app.tools.home.draft_operator_key(&name).map_err(home_problem)?;
    let key = Key::Home { hash: draft.hash() };
    let event = Event::OperatorRotated { by: caller.name, name: name.clone(), key };
    decide_with_key(&app, event, &name, Some(draft)).await?;
    find(&app, name).await
}

async fn find(app: &App, name: Name) -> Result<Json<OperatorView>, Problem> {
    let asked = name.clone();
    let found = app
        .driver
        .look(move |governor| governor.operators().find(|known| known.name == asked).map(view))
        .await?;
    found.map(Json).ok_or_else(|| super::not_found(&format!("operator {name}")))
}

async fn remove(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(name): Path<Name>,
) -> Result<Json<serde_json::Value>, Problem> {
    // What is refused is recorded with all that was asked for, whether anybody has that name or not.
    refuse_secret("the name", name.as_str())?;
    app.decide_event(Event::OperatorRemoved { by: caller.name, name: name.clone() }).await?;
    app.tools.home.drop_operator_key(&name).map_err(home_problem)?;
    Ok(Json(serde_json::json!({ "removed": name })))
}

fn home_problem(problem: crate::home::HomeError) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, problem.code(), &in_full(&problem)).hint(problem.hint())
}
