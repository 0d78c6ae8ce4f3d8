//! What agents have earned: their standings, promotion and demotion, violations and the alerts they raised.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use eparch_domain::{AgentId, LedgerTime, StandingId};
use eparch_governor::{Event, PromotionAnswer, Standing, needs, next_tier};
use eparch_ledger::views::{PromotionRow, ViolationRow};
use serde::Deserialize;

use super::approvals::prove;
use super::extract::{Body, Path, Query, body};
use super::problem::Problem;
use super::secrets::refuse_secret;
use super::wire::{Answer, AskPromotion, NextTier, Revoke, StandingDetail, StandingView, Waiting};
use super::{App, Caller, not_found};

/// Rows of a list when nobody says how many.
const ROWS: u32 = 50;
/// Rows of a list at most.
const ROWS_MAX: u32 = 1_000;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/agents", get(list))
        .route("/api/agents/{id}", get(show))
        .route("/api/agents/{id}/promote", post(promote))
        .route("/api/agents/{id}/promotion", post(answer))
        .route("/api/agents/{id}/demote", post(demote))
        .route("/api/promotions", get(promotions))
        .route("/api/violations", get(violations))
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    limit: Option<u32>,
}

impl ListQuery {
    fn limit(&self) -> u32 {
        self.limit.unwrap_or(ROWS).min(ROWS_MAX)
    }
}

async fn list(State(app): State<Arc<App>>, _: Caller) -> Result<Json<Vec<StandingView>>, Problem> {
    let now = app.tools.clock.now().ledger;
    let known = app.driver.look(move |governor| {
        governor.standings().map(|(id, standing)| view(id, standing, now)).collect::<Vec<_>>()
    });
    let mut known = known.await?;
    let wall = app.tools.clock.now().wall;
    let metrics = app.read(move |views, tenant| views.metrics(tenant, wall)).await?;
    let mut names: BTreeMap<_, _> =
        metrics.into_iter().map(|of| (of.agent_id, (of.agent_name, of.violations_30d))).collect();
    for standing in &mut known {
        if let Some((name, violations)) = names.remove(&standing.standing) {
            (standing.agent_name, standing.violations_30d) = (name, violations);
        }
    }
    Ok(Json(known))
}

/// A standing as it is shown; what only the read models know is added later.
fn view(id: StandingId, standing: &Standing, now: LedgerTime) -> StandingView {
    let next = next_tier(standing.tier).and_then(|to| {
        let needs = needs(to)?;
        Some(NextTier {
            tier: to,
            compliant_runs: needs.compliant,
            plan_only: needs.plan_only,
            consecutive: needs.consecutive,
            actions: needs.actions.to_vec(),
            escalations: needs.escalations,
            without_violation: needs.quiet,
            approvals: needs.approvals,
            missing: standing.evidence.missing(to, now),
        })
    });
    let evidence = &standing.evidence;
    let waiting = standing.waiting().map(|(opened, approved_by)| Waiting {
        from: opened.from,
        to: opened.to,
        requested_by: opened.by.clone(),
        rationale: opened.rationale.clone(),
        approvals: opened.approvals,
        approved_by: approved_by.into_iter().cloned().collect(),
        separation: opened.separation,
        subject: opened.subject,
    });
    StandingView {
        standing: id,
        agent_name: String::new(),
        tier: standing.tier,
        total_runs: evidence.runs,
        compliant_runs: evidence.compliant,
        plan_only_runs: evidence.plan_only,
        consecutive_compliant: evidence.consecutive,
        actions: evidence.actions.iter().copied().collect(),
        escalations: evidence.escalations,
        violations_30d: 0,
        next,
        promotion: waiting,
    }
}

/// The standing that is meant: by its own id, or by that of an agent that works or worked under it.
async fn meant(app: &Arc<App>, text: &str) -> Result<StandingId, Problem> {
    if let Ok(standing) = text.parse() {
        return Ok(standing);
    }
    let unknown = || {
        not_found(&format!("agent {text}")).hint(
            "`eparch agent list` shows those that live, `eparch agent list --earned` what agents have earned",
        )
    };
    let agent: AgentId = text.parse().map_err(|_| unknown())?;
    let found = app.read(move |views, tenant| views.standing_of(tenant, agent)).await?;
    found.ok_or_else(unknown)
}

async fn show(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(id): Path<String>,
) -> Result<Json<StandingDetail>, Problem> {
    let standing = meant(&app, &id).await?;
    find(&app, standing).await.map(Json)
}

async fn find(app: &Arc<App>, id: StandingId) -> Result<StandingDetail, Problem> {
    let now = app.tools.clock.now();
    let known = app.driver.look(move |governor| {
        // One that is not remembered stands where every new one begins.
        view(id, governor.standing(id).unwrap_or(&Standing::default()), now.ledger)
    });
    let mut standing = known.await?;
    let read = app.read(move |views, tenant| {
        let metrics = views.metrics(tenant, now.wall)?.into_iter().find(|of| of.agent_id == id);
        Ok((metrics, views.violations_of(tenant, id, ROWS)?, views.promotions(tenant, Some(id), ROWS)?))
    });
    let (metrics, violations, promotions) = read.await?;
    if let Some(of) = metrics {
        (standing.agent_name, standing.violations_30d) = (of.agent_name, of.violations_30d);
    }
    Ok(StandingDetail { standing, violations, promotions })
}

async fn promote(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(id): Path<String>,
    asked: Body<AskPromotion>,
) -> Result<Json<StandingDetail>, Problem> {
    let AskPromotion { to, rationale } = body(asked)?;
    refuse_secret("the rationale", &rationale)?;
    let standing = meant(&app, &id).await?;
    let event = Event::PromotionRequested { standing, by: caller.name, to, rationale };
    app.decide_event(event).await?;
    find(&app, standing).await.map(Json)
}

async fn answer(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(id): Path<String>,
    asked: Body<Answer>,
) -> Result<Json<StandingDetail>, Problem> {
    let asked = body(asked)?;
    refuse_secret("the rationale", &asked.rationale)?;
    let standing = meant(&app, &id).await?;
    let (by, signed) = match &asked.signed {
        None => (caller.name, None),
        Some(signed) => {
            let (decision, subject) = (asked.decision, &asked.subject);
            let statement =
                crate::promotion_statement(standing, subject, decision, &signed.by, &asked.rationale);
            (signed.by.clone(), Some(prove(&app, &statement, signed).await?))
        }
    };
    let Answer { decision, subject, rationale, .. } = asked;
    let answer = PromotionAnswer { standing, by, signed, decision, subject, rationale };
    app.decide_event(Event::PromotionAnswered(answer)).await?;
    find(&app, standing).await.map(Json)
}

async fn demote(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(id): Path<String>,
    asked: Body<Revoke>,
) -> Result<Json<StandingDetail>, Problem> {
    let Revoke { reason } = body(asked)?;
    refuse_secret("the reason", &reason)?;
    let standing = meant(&app, &id).await?;
    let reason = if reason.trim().is_empty() { format!("demoted by {}", caller.name) } else { reason };
    app.decide_event(Event::DemotionRequested { standing, by: caller.name, reason }).await?;
    find(&app, standing).await.map(Json)
}

async fn promotions(
    State(app): State<Arc<App>>,
    _: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<PromotionRow>>, Problem> {
    app.read(move |views, tenant| views.promotions(tenant, None, query.limit())).await.map(Json)
}

async fn violations(
    State(app): State<Arc<App>>,
    _: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<ViolationRow>>, Problem> {
    app.read(move |views, tenant| views.violations(tenant, None, query.limit())).await.map(Json)
}
