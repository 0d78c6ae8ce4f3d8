//! Taking authority away: from an agent, or from a run and all its agents. What bore it can do nothing more once this has
//! answered: the decision is durable by then, and whatever asks for something after it finds it (G2).

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use eparch_domain::{AgentId, Name};
use eparch_governor::{Bearer, Event};
use eparch_ledger::views::RunDetail;

use super::extract::{Body, Path, body};
use super::problem::Problem;
use super::runs::find;
use super::secrets::refuse_secret;
use super::wire::{Decided, Revoke, RevokeRun, Revoked};
use super::{App, Caller, shown};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/agents/{id}/revoke", post(agent)).route("/api/pipeline/revoke", post(run))
}

async fn agent(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(id): Path<AgentId>,
    asked: Body<Revoke>,
) -> Result<Json<Revoked>, Problem> {
    let reason = given(&caller.name, body(asked)?.reason)?;
    let bearer = Bearer::Agent { agent: id };
    let done = app.decide_event(Event::RevokeRequested { bearer, by: caller.name, reason }).await?;
    Ok(Json(Revoked { agent_id: id, decided: done.seq }))
}

async fn run(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    asked: Body<RevokeRun>,
) -> Result<Json<Decided<RunDetail>>, Problem> {
    let RevokeRun { pipeline_id: id, reason } = body(asked)?;
    let reason = given(&caller.name, reason)?;
    let bearer = Bearer::Run { run: id };
    let done = app.decide_event(Event::RevokeRequested { bearer, by: caller.name, reason }).await?;
    Ok(shown(&done, find(&app, id).await))
}

/// The reason that is recorded.
fn given(by: &Name, reason: String) -> Result<String, Problem> {
    refuse_secret("the reason", &reason)?;
    Ok(if reason.trim().is_empty() { format!("revoked by {by}") } else { reason })
}
