//! The holder's health, and the two things about the ledger that only its holder can do.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::App;
use super::problem::Problem;
use super::wire::Ready;
use crate::agents::prepare::in_full;
use crate::driver::ENGINE;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/api/ledger/checkpoint", post(checkpoint))
        .route("/api/ledger/rebuild-views", post(rebuild))
}

async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Ready>) {
    let live_runs = app.driver.look(|governor| governor.live_runs()).await;
    let health = app.tools.ledger.health();
    let ok = live_runs.is_ok() && health.failure.is_none();
    let ready = Ready {
        ok,
        pid: std::process::id(),
        version: ENGINE.to_owned(),
        epoch: health.epoch,
        seq: *app.tools.head.borrow(),
        live_runs: live_runs.unwrap_or_default(),
        ledger_failure: health.failure.map(|failure| failure.to_string()),
    };
    (if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(ready))
}

async fn checkpoint(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    app.caller(&headers).await?;
    let tools = app.tools.clone();
    let signed = tokio::task::spawn_blocking(move || tools.ledger.checkpoint_now(&tools.tenant)).await;
    match signed {
        Ok(Ok(anchored)) => Ok(Json(json!({ "size": anchored.size, "note": anchored.note }))),
        Ok(Err(problem)) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "EP0512", &in_full(&problem)).retryable())
        }
        Err(problem) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0531", &problem.to_string())),
    }
}

async fn rebuild(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    app.caller(&headers).await?;
    let task = tokio::task::spawn_blocking(move || {
        let mut views = app.views.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        views.rebuild(&app.tools.ledger.read(), &app.tools.tenant)
    });
    match task.await {
        Ok(Ok(seq)) => Ok(Json(json!({ "seq": seq }))),
        Ok(Err(problem)) => {
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0530", &in_full(&problem)))
        }
        Err(problem) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0531", &problem.to_string())),
    }
}
