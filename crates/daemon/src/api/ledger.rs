//! The holder's health, and the two things about the ledger that only its holder can do.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::emergencies::{glass_shown, is_open, stopped_shown};
use super::problem::Problem;
use super::wire::{Component, Confinement, Enforced, Ready, WatchedShown};
use super::{App, Caller};
use crate::driver::ENGINE;
use eparch_domain::{Name, in_full};
use eparch_governor::{Governor, OperatorRole};
use eparch_ledger::{AnchorHealth, Health, WriteError};
use eparch_policy::PolicySet;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/api/ledger/checkpoint", post(checkpoint))
        .route("/api/ledger/rebuild-views", post(rebuild))
}

async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Ready>) {
    // Whoever asks here asks again and again, and needs no key: a stopped tenant is not tried again for it.
    let look = |governor: &Governor| {
        let glasses: Vec<_> =
            governor.break_glasses().filter(|found| is_open(found)).map(glass_shown).collect();
        (governor.live_runs(), governor.policies_in_force(), stopped_shown(governor), glasses)
    };
    let seen = app.driver.glance(look).await;
    let health = app.tools.ledger.health();
    let ledger_failure = health
        .failure
        .as_ref()
        .map(|failure| in_full(failure))
        .or_else(|| seen.as_ref().err().map(ToString::to_string));
    let (live_runs, policies, stopped, break_glass) = seen.unwrap_or_default();
    let ready = Ready {
        ok: ledger_failure.is_none(),
        pid: std::process::id(),
        version: ENGINE.to_owned(),
        epoch: health.epoch,
        seq: *app.tools.head.borrow(),
        components: components(&app, ledger_failure.as_deref(), policies.is_some()),
        ledger_failure,
        live_runs,
        anchors_behind: health.anchors.iter().filter_map(behind).collect(),
        notices: notices(&app, &health),
        settings: Some(app.tools.settings),
        url: app.url.clone(),
        enforced: enforced(policies.as_deref(), app.dependencies.confinement(), app.tools.watched.shown()),
        stopped,
        break_glass,
    };
    (if ready.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(ready))
}

/// What decisions need, each for itself. The vault is among them once somebody looks after it.
fn components(app: &App, ledger_failure: Option<&str>, has_policies: bool) -> Vec<Component> {
    let component = |name: &str, healthy: bool, detail: &str| {
        let (name, detail) = (name.to_owned(), detail.to_owned());
        Component { name, healthy, detail, breaker: None }
    };
    let ledger = ledger_failure.unwrap_or("every decision is durable before it is told");
    // A stopped tenant knows nothing of its policies; that is the ledger's trouble, not theirs.
    let policies = match (has_policies, ledger_failure) {
        (true, _) => "in force",
        (false, None) => "none are in force: nothing is allowed",
        (false, Some(_)) => "not known while the ledger fails: nothing is allowed",
    };
    let mut found = vec![
        component("ledger", ledger_failure.is_none(), ledger),
        component("policy", has_policies, policies),
    ];
    found.extend(app.dependencies.vault());
    found
}

fn enforced(
    policies: Option<&PolicySet>,
    confinement: Option<Vec<Confinement>>,
    watched: Vec<WatchedShown>,
) -> Enforced {
    let rules = || policies.into_iter().flat_map(PolicySet::rules);
    Enforced {
        policies: policies.map(PolicySet::digest),
        deciding: rules().filter(|rule| !rule.shadow).count(),
        shadowed: rules().filter(|rule| rule.shadow).map(|rule| rule.id.to_string()).collect(),
        watched,
        confinement,
    }
}

/// What is worth knowing and stops nothing, in sentences.
fn notices(app: &App, health: &Health) -> Vec<String> {
    let unsigned =
        |(tenant, why): (&Name, &WriteError)| format!("no checkpoint can be signed for {tenant}: {why}");
    let mut found: Vec<String> = health.unsigned.iter().map(unsigned).collect();
    found.extend(health.notices.iter().chain(&app.tools.notices).cloned());
    found
}

/// An anchor folder that does not have what it should, in a sentence.
fn behind(anchor: &AnchorHealth) -> Option<String> {
    let problem = anchor.last_error.as_ref()?;
    Some(format!("{}: {problem}", anchor.dir.display()))
}

/// Who may do something to the ledger that changes no history: everybody but who only looks.
fn may_keep(role: OperatorRole) -> bool {
    role != OperatorRole::Viewer
}

async fn checkpoint(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.who("sign checkpoints", may_keep)?;
    let tools = app.tools.clone();
    let signed = tokio::task::spawn_blocking(move || tools.ledger.checkpoint_now(&tools.tenant)).await;
    match signed {
        Ok(Ok(anchored)) => Ok(Json(json!({
            "size": anchored.size, "note": anchored.note, "missing": anchored.missing,
        }))),
        Ok(Err(problem)) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "EP0512", &in_full(&problem)).retryable())
        }
        Err(problem) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0531", &problem.to_string())),
    }
}

async fn rebuild(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.who("rebuild the read models", may_keep)?;
    let task = tokio::task::spawn_blocking(move || {
        let models = &mut *app.models();
        models.views.rebuild(&models.reader, &app.tools.tenant)
    });
    match task.await {
        Ok(Ok(seq)) => Ok(Json(json!({ "seq": seq }))),
        Ok(Err(problem)) => {
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0530", &in_full(&problem)))
        }
        Err(problem) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0531", &problem.to_string())),
    }
}
