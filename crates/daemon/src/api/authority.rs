//! Taking authority away: from an agent, or from a run and all its agents. What bore it can do nothing more once this has
//! answered: the decision is durable by then, and whatever asks for something after it finds it (G2).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use eparch_domain::{AgentId, Name, RunId};
use eparch_governor::{Bearer, Credential, Event, Governor};
use eparch_ledger::views::RunDetail;
use eparch_vault::{PIPELINE_AGENT, tier_policy};
use serde::Deserialize;

use super::extract::{Body, Path, Query, body};
use super::problem::Problem;
use super::runs::find;
use super::secrets::refuse_secret;
use super::wire::{AgentTokenShown, Decided, LeaseShown, Revoke, RevokeRun, Revoked, TokenOwed, TokenShown};
use super::{App, Caller, shown};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/agents/{id}/revoke", post(agent))
        .route("/api/pipeline/revoke", post(run))
        .route("/api/pipeline/token", get(token))
        .route("/api/clock/trust", post(trust_clock))
}

#[derive(Deserialize)]
struct OfRun {
    pipeline_id: RunId,
}

/// What a run's lease is called and how long it lasts, and its agents' tokens of it; no secret (R140).
async fn token(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(OfRun { pipeline_id: run }): Query<OfRun>,
) -> Result<Json<TokenShown>, Problem> {
    caller.who("see what runs bear", |_| true)?;
    let now = app.tools.clock.now();
    let of_lease = move |governor: &Governor| {
        let held = governor.lease(run)?.clone();
        let vault = governor.credential(run, None).map(str::to_owned);
        let of_agent = |agent: AgentId| {
            let (token, tier) = (governor.token(agent)?, governor.agent_tier(agent)?);
            Some(AgentTokenShown {
                agent_id: agent,
                round: token.round,
                ttl: token.left(now),
                expires_at: token.expires.wall,
                renewals: token.renewals,
                policies: vec![tier_policy(tier)],
                vault_accessor: governor.credential(run, Some(agent)).map(str::to_owned),
            })
        };
        let agents: Vec<AgentTokenShown> = governor.token_holders(run).filter_map(of_agent).collect();
        Some(LeaseShown {
            accessor: held.lease,
            ttl: held.left(now),
            expires_at: held.expires.wall,
            renewals: held.renewals,
            policies: vec![PIPELINE_AGENT.to_owned()],
            vault_accessor: vault,
            agents,
        })
    };
    let looked = app.driver.look(move |governor| {
        (of_lease(governor), governor.to_end_of(run).cloned().collect::<Vec<Credential>>())
    });
    let (lease, to_end) = looked.await.map_err(Problem::from)?;
    let owed = to_end.into_iter().map(|credential| {
        let why = app.tools.vault.owed(&credential.accessor);
        let (asked, code) = why.as_ref().map_or((0, None), |why| (why.asked, Some(why.code.to_owned())));
        TokenOwed {
            vault_accessor: credential.accessor,
            agent_id: credential.agent,
            asked,
            code,
            detail: why.map(|why| why.why),
        }
    });
    let owed: Vec<TokenOwed> = owed.collect();
    if lease.is_none() && owed.is_empty() {
        // One that has none is told from one that nobody knows.
        find(&app, run).await?;
    }
    Ok(Json(TokenShown { pipeline_id: run, lease, owed }))
}

/// Somebody says that the wall clock is right, although it is behind what was recorded. Nobody can say then which tokens of
/// the sealed file are over, so all are.
async fn trust_clock(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
) -> Result<Json<serde_json::Value>, Problem> {
    let done = app.decide_event(Event::ClockVouched { by: caller.name }).await?;
    app.tools.vault.accept_clock().await.map_err(|failure| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "EP0912", &eparch_domain::in_full(&failure))
            .detail("leases and agents go by the clock now; the vault does not yet")
    })?;
    Ok(Json(serde_json::json!({ "decided": done.seq })))
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
