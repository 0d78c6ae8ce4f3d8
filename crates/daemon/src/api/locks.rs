//! Locks: who has which, who waits for it, and taking one away.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use eparch_domain::Name;
use eparch_governor::{Event, Fact, LockShown};

use super::extract::{Body, Path, body};
use super::problem::Problem;
use super::secrets::refuse_secret;
use super::wire::{LockReleased, LockView, ReleaseLock};
use super::{App, Caller};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/locks", get(list)).route("/api/locks/{name}/release", post(release))
}

/// Every lock that somebody has, by name.
async fn list(State(app): State<Arc<App>>, _: Caller) -> Result<Json<Vec<LockView>>, Problem> {
    let now = app.tools.clock.now();
    let held = app.driver.look(|governor| governor.locks()).await?;
    let view = |held: LockShown| LockView {
        ttl: held.left(now),
        lock: held.lock,
        fence: held.fence,
        standing: held.standing,
        pipeline_id: held.of.run,
        stage: held.of.stage,
        agent_id: held.agent,
        since: held.since.wall,
        lost: held.lost.map(|lost| lost.to_string()),
        waiting: held.waiting,
    };
    Ok(Json(held.into_iter().map(view).collect()))
}

/// Takes a lock away from whoever has it. When this has answered, that agent does nothing more; others have the lock when
/// nothing of it lives.
async fn release(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(lock): Path<Name>,
    asked: Body<ReleaseLock>,
) -> Result<Json<LockReleased>, Problem> {
    let reason = body(asked)?.reason;
    refuse_secret("the reason", &reason)?;
    refuse_secret("the lock's name", lock.as_str())?;
    let reason = if reason.trim().is_empty() { format!("released by {}", caller.name) } else { reason };
    let event = Event::LockReleaseRequested { lock: lock.clone(), by: caller.name, reason };
    let done = app.decide_event(event).await?;
    let taken_from = done.record.decision.facts.iter().find_map(|fact| match fact {
        Fact::LockLost { lock: lost, agent, .. } if *lost == lock => Some(*agent),
        _ => None,
    });
    Ok(Json(LockReleased { lock, agent_id: taken_from, decided: done.seq }))
}
