//! The holder's health, and the two things about the ledger that only its holder can do.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::emergencies::{glass_shown, is_open, stopped_shown};
use super::problem::Problem;
use super::wire::{
    BreakGlassShown, Component, Confinement, Enforced, Ready, ReadyDetails, StoppedShown, WatchedShown,
};
use super::{App, Caller, shown_key, who_bears};
use crate::driver::ENGINE;
use eparch_domain::{Digest, Name, in_full, limits};
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

async fn ready(State(app): State<Arc<App>>, headers: HeaderMap) -> (StatusCode, Json<Ready>) {
    let key = shown_key(&headers);
    // Whoever asks here asks again and again, and needs no key: a stopped tenant is not tried again for it.
    let look = move |governor: &Governor| Seen {
        live_runs: governor.live_runs(),
        policies: governor.policies_in_force(),
        stopped: stopped_shown(governor),
        break_glass: governor.break_glasses().filter(|found| is_open(found)).map(glass_shown).collect(),
        by_operator: key.is_some_and(|key| who_bears(governor, &key).is_some()),
    };
    let seen = app.driver.glance(look).await;
    let health = app.tools.ledger.health();
    let ledger_failure = health
        .failure
        .as_ref()
        .map(|failure| in_full(failure))
        .or_else(|| seen.as_ref().err().map(ToString::to_string));
    let by_operator = match (&seen, key) {
        (Ok(seen), _) => seen.by_operator,
        (Err(_), Some(key)) => lies_here(&app, key).await,
        (Err(_), None) => false,
    };
    let Seen { live_runs, policies, stopped, break_glass, .. } = seen.unwrap_or_default();
    let anchors_behind: Vec<String> = health.anchors.iter().filter_map(behind).collect();
    let ready = Ready {
        ok: ledger_failure.is_none(),
        pid: std::process::id(),
        version: ENGINE.to_owned(),
        epoch: health.epoch,
        seq: *app.tools.head.borrow(),
        components: components(&app, ledger_failure.as_deref(), policies.is_some()),
        live_runs,
        all_stopped: stopped.is_some(),
        break_glass_open: break_glass.len(),
        witnesses_behind: anchors_behind.len(),
        url: app.url.clone(),
        enforced: enforced(policies.as_deref(), app.dependencies.confinement(), app.tools.watched.shown()),
        details: Some(ReadyDetails {
            ledger_failure,
            anchors_behind,
            notices: notices(&app, &health),
            settings: Some(app.tools.settings),
            stopped,
            break_glass,
        }),
    };
    let status = if ready.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(if by_operator { ready } else { ready.for_anybody() }))
}

/// What a look at the governor shows whoever asks how the holder is.
#[derive(Default)]
struct Seen {
    live_runs: usize,
    policies: Option<Arc<PolicySet>>,
    stopped: Option<StoppedShown>,
    break_glass: Vec<BreakGlassShown>,
    /// Whether an operator's key was shown.
    by_operator: bool,
}

/// Whether an operator's key that lies in the home was shown. While the ledger is away nobody can say whose it is; but whoever
/// has it is to hear what is wrong, and could be told nothing that does not lie beside it.
pub(super) async fn lies_here(app: &App, key: Digest) -> bool {
    let home = app.tools.home.clone();
    let looked = tokio::task::spawn_blocking(move || home.holds_operator_key(&key));
    // A disk that hangs must not keep anybody from hearing that the holder is not well.
    let looked = tokio::time::timeout(limits::HEALTH_EVERY.as_duration(), looked).await;
    matches!(looked, Ok(Ok(true)))
}

/// What decisions need, each for itself. The vault is among them once somebody looks after it.
fn components(app: &App, ledger_failure: Option<&str>, has_policies: bool) -> Vec<Component> {
    let component = |name: &str, healthy: bool, detail: &str| {
        let (name, detail) = (name.to_owned(), detail.to_owned());
        Component { name, healthy, detail, breaker: None, owed: 0 }
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
    let shadowed: Vec<String> = rules().filter(|rule| rule.shadow).map(|rule| rule.id.to_string()).collect();
    Enforced {
        policies: policies.map(PolicySet::digest),
        deciding: rules().filter(|rule| !rule.shadow).count(),
        watching: shadowed.len(),
        shadowed: Some(shadowed),
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
    match app.aside(move || tools.ledger.checkpoint_now(&tools.tenant)).await? {
        Ok(anchored) => Ok(Json(json!({
            "size": anchored.size, "note": anchored.note, "missing": anchored.missing,
        }))),
        Err(problem) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "EP0512", &in_full(&problem)).retryable())
        }
    }
}

async fn rebuild(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.who("rebuild the read models", may_keep)?;
    let tenant = app.tools.tenant.clone();
    match app.with_models(move |models| models.views.rebuild(&models.reader, &tenant)).await? {
        Ok(seq) => Ok(Json(json!({ "seq": seq }))),
        Err(problem) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0530", &in_full(&problem))),
    }
}
