//! What people do when something is very wrong: stop everything, and let pass for a while what policy denies.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use eparch_domain::{BreakGlassId, OperatorRole};
use eparch_governor::{
    BreakGlass, BreakGlassAnswer, BreakGlassRequest, Event, Fact, GlassScope, GlassStands, Governor,
};

use super::approvals::prove;
use super::extract::{Body, Path, body};
use super::problem::Problem;
use super::secrets::refuse_secret;
use super::wire::{Answer, AskBreakGlass, BreakGlassShown, Revoke, StopAll, StopAllShown, StoppedShown};
use super::{App, Caller, not_found};
use crate::driver::Done;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/stop-all", post(stop))
        .route("/api/stop-all/lift", post(lift))
        .route("/api/break-glass", get(list).post(ask))
        .route("/api/break-glass/{id}", get(show))
        .route("/api/break-glass/{id}/answer", post(answer))
        .route("/api/break-glass/{id}/end", post(end))
}

pub(super) fn stopped_shown(governor: &Governor) -> Option<StoppedShown> {
    let stopped = governor.stopped()?;
    Some(StoppedShown { by: stopped.by.clone(), at: stopped.at, reason: stopped.reason.clone() })
}

/// Whether something is let pass under it now.
pub(super) fn is_open(found: &BreakGlass) -> bool {
    matches!(found.stands, GlassStands::Open { .. })
}

pub(super) fn glass_shown(found: &BreakGlass) -> BreakGlassShown {
    let asked = &found.asked;
    BreakGlassShown {
        grant: asked.grant,
        scope: asked.scope.clone(),
        allows: asked.allows.clone(),
        requested_by: asked.by.clone(),
        reason: asked.reason.clone(),
        at: asked.at.wall,
        time: asked.time,
        needs: asked.separation,
        stands: found.stands.clone(),
        ends_at: found.ends().map(|ends| ends.wall),
        used: found.used.clone(),
        subject: asked.subject,
    }
}

async fn after(app: &App, done: &Done) -> Result<Json<StopAllShown>, Problem> {
    let changes = |fact: &Fact| matches!(fact, Fact::AllStopped { .. } | Fact::AllLifted { .. });
    let changed = done.record.decision.facts.iter().any(changes);
    let look = |governor: &Governor| (stopped_shown(governor), governor.live_agents().count());
    let (stopped, ending) = app.driver.look(look).await?;
    Ok(Json(StopAllShown { stopped, decided: done.seq, changed, ending }))
}

/// The reason that is recorded.
fn given(asked: Body<StopAll>) -> Result<String, Problem> {
    let StopAll { reason } = body(asked)?;
    refuse_secret("the reason", &reason)?;
    Ok(reason)
}

/// Stops everything. It is decided when this answers, and nothing is allowed any more; processes are dead some moments later.
/// Where the ledger cannot be written, its failure has cut every agent, and the driver decides on this first of all when it can.
async fn stop(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    asked: Body<StopAll>,
) -> Result<Json<StopAllShown>, Problem> {
    let reason = given(asked)?;
    // Looked at here as well: one that does not count must not take the place of one that does while the ledger is away.
    let caller = Caller(caller).who("stop everything", OperatorRole::may_answer)?;
    match app.decide_event(Event::StopAllRequested { by: caller.name, reason }).await {
        Ok(done) => after(&app, &done).await,
        Err(problem) if problem.code == "EP0510" || problem.code == "EP0513" => {
            let title = "the ledger cannot be written: every agent was cut, and that everything is stopped is not \
                         recorded yet";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "EP0658", title)
                .detail(&problem.title)
                .hint("this holder records it as soon as the ledger can be written; ask again to be sure")
                .retryable())
        }
        Err(problem) => Err(problem),
    }
}

async fn lift(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    asked: Body<StopAll>,
) -> Result<Json<StopAllShown>, Problem> {
    let reason = given(asked)?;
    let done = app.decide_event(Event::StopAllLifted { by: caller.name, reason }).await?;
    after(&app, &done).await
}

async fn list(State(app): State<Arc<App>>, _: Caller) -> Result<Json<Vec<BreakGlassShown>>, Problem> {
    let all = app.driver.look(|governor| governor.break_glasses().map(glass_shown).collect());
    Ok(Json(all.await?))
}

async fn show(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(id): Path<BreakGlassId>,
) -> Result<Json<BreakGlassShown>, Problem> {
    find(&app, id).await
}

async fn find(app: &App, id: BreakGlassId) -> Result<Json<BreakGlassShown>, Problem> {
    let look = move |governor: &Governor| {
        governor.break_glasses().find(|found| found.asked.grant == id).map(glass_shown)
    };
    let found = app.driver.look(look).await?;
    let unknown = || {
        not_found(&format!("break-glass {id}"))
            .hint("`eparch break-glass list` shows those that are known; `eparch ledger show` has those that are long over")
    };
    found.map(Json).ok_or_else(unknown)
}

async fn ask(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    asked: Body<AskBreakGlass>,
) -> Result<(StatusCode, Json<BreakGlassShown>), Problem> {
    let AskBreakGlass { scope, allows, time, reason } = body(asked)?;
    refuse_secret("the reason", &reason)?;
    for allowed in &allows {
        refuse_secret("the target", &allowed.target)?;
    }
    match &scope {
        GlassScope::Stage { stage, .. } => refuse_secret("the stage", stage.as_str())?,
        GlassScope::NextRun { of } => refuse_secret("the name", of.as_str())?,
        GlassScope::Run { .. } | GlassScope::Agent { .. } => {}
    }
    let request = BreakGlassRequest { by: caller.name, scope, allows, time, reason };
    let done = app.decide_event(Event::BreakGlassRequested(Box::new(request))).await?;
    let grant = done.record.decision.facts.iter().find_map(|fact| match fact {
        Fact::BreakGlassAsked(asked) => Some(asked.grant),
        _ => None,
    });
    let grant = grant.ok_or_else(|| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0531", "what was asked for was not recorded")
    })?;
    Ok((StatusCode::CREATED, find(&app, grant).await?))
}

async fn answer(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(grant): Path<BreakGlassId>,
    asked: Body<Answer>,
) -> Result<Json<BreakGlassShown>, Problem> {
    let asked = body(asked)?;
    refuse_secret("the rationale", &asked.rationale)?;
    let (by, signed) = match &asked.signed {
        None => (caller.name, None),
        Some(signed) => {
            let (decision, subject) = (asked.decision, &asked.subject);
            let statement =
                crate::break_glass_statement(grant, subject, decision, &signed.by, &asked.rationale);
            (signed.by.clone(), Some(prove(&app, &statement, signed).await?))
        }
    };
    let Answer { decision, subject, rationale, .. } = asked;
    let answer = BreakGlassAnswer { grant, by, signed, decision, subject, rationale };
    app.decide_event(Event::BreakGlassAnswered(Box::new(answer))).await?;
    find(&app, grant).await
}

async fn end(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(grant): Path<BreakGlassId>,
    asked: Body<Revoke>,
) -> Result<Json<BreakGlassShown>, Problem> {
    let Revoke { reason } = body(asked)?;
    refuse_secret("the reason", &reason)?;
    app.decide_event(Event::BreakGlassEndRequested { grant, by: caller.name, reason }).await?;
    find(&app, grant).await
}
