//! Operators: who may act.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use eparch_domain::{Digest, Name, Tier};
use eparch_governor::{Event, Key, Operator};

use super::approvals::unhex;
use super::problem::Problem;
use super::wire::{AddOperator, OperatorView};
use super::{App, Body, body};

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

async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Vec<OperatorView>>, Problem> {
    app.caller(&headers).await?;
    let all = app.driver.look(|governor| governor.operators().map(view).collect());
    Ok(Json(all.await?))
}

async fn add(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    asked: Body<AddOperator>,
) -> Result<(StatusCode, Json<OperatorView>), Problem> {
    let caller = app.caller(&headers).await?;
    let asked = body(asked)?;
    let name = asked.name.clone();
    let exists =
        app.driver.look(move |governor| governor.operators().any(|known| known.name == name)).await?;
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
            Key::Remote { public_key }
        }
        // Somebody else's key must not be replaced by asking for a name that is taken.
        None if exists => Key::Home { hash: Digest::of(b"") },
        None => Key::Home { hash: app.tools.home.make_operator_key(&asked.name).map_err(home_problem)? },
    };
    let operator = Operator {
        name: asked.name.clone(),
        role: asked.role,
        groups: asked.groups,
        max_tier: asked.max_tier.unwrap_or(Tier::T2),
        key,
    };
    let shown = view(&operator);
    let result = app.decide_event(Event::OperatorAdded { by: Some(caller.name), operator }).await;
    if result.is_err() && !exists {
        let _ = app.tools.home.drop_operator_key(&asked.name);
    }
    result.map(|_| (StatusCode::CREATED, Json(shown)))
}

async fn rotate(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(name): Path<Name>,
) -> Result<Json<OperatorView>, Problem> {
    let caller = app.caller(&headers).await?;
    let asked = name.clone();
    let known = app
        .driver
        .look(move |governor| governor.operators().find(|known| known.name == asked).cloned())
        .await?;
    match known.as_ref().map(|operator| &operator.key) {
        Some(Key::Remote { .. }) => {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "EP0411",
                &format!("the key of {name} is kept elsewhere"),
            )
            .hint("remove the operator and add them again with the new public key"));
        }
        Some(Key::Home { .. }) if caller.name == name || caller.role.may_administer() => {}
        _ => {}
    }
    let allowed = known.is_some() && (caller.name == name || caller.role.may_administer());
    // The key is replaced only for somebody who may; everybody else gets the governor's refusal.
    let hash = if allowed {
        app.tools.home.make_operator_key(&name).map_err(home_problem)?
    } else {
        Digest::of(b"")
    };
    app.decide_event(Event::OperatorRotated { by: caller.name, name: name.clone(), key: Key::Home { hash } })
        .await?;
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
    headers: HeaderMap,
    Path(name): Path<Name>,
) -> Result<Json<serde_json::Value>, Problem> {
    let caller = app.caller(&headers).await?;
    app.decide_event(Event::OperatorRemoved { by: caller.name, name: name.clone() }).await?;
    app.tools.home.drop_operator_key(&name).map_err(home_problem)?;
    Ok(Json(serde_json::json!({ "removed": name })))
}

fn home_problem(problem: crate::home::HomeError) -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        problem.code(),
        &crate::agents::prepare::in_full(&problem),
    )
    .hint(problem.hint())
}
