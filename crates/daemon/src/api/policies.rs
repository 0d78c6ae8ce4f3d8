//! Policies: which are in force, and putting the home's own in force anew.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use eparch_governor::{Event, Fact, Governor, PoliciesAnswer, Refusal};
use eparch_policy::PolicySet;

use super::approvals::prove;
use super::extract::{Body, body};
use super::problem::Problem;
use super::secrets::refuse_secret;
use super::wire::{Answer, InForce, OfferedPolicies, PoliciesWait, PutInForce};
use super::{App, Caller};
use crate::driver::Input;
use crate::policies::{NoPolicies, PolicyFiles};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/policies", get(in_force).post(load))
        .route("/api/policies/waiting", get(show_waiting))
        .route("/api/policies/answer", post(answer))
}

/// Those that wait for another person.
fn waiting(governor: &Governor) -> Option<PoliciesWait> {
    let (proposed, approved_by) = governor.policies_waiting()?;
    Some(PoliciesWait {
        digest: proposed.policies,
        offered_by: proposed.by.clone(),
        at: proposed.at.wall,
        until: proposed.until.wall,
        approvals: proposed.approvals,
        approved_by: approved_by.into_iter().cloned().collect(),
    })
}

async fn in_force(State(app): State<Arc<App>>, _: Caller) -> Result<Json<InForce>, Problem> {
    shown(&app).await
}

async fn shown(app: &App) -> Result<Json<InForce>, Problem> {
    let look = |governor: &Governor| (governor.policies_in_force(), waiting(governor));
    let (found, waiting) = app.driver.look(look).await?;
    let policies = found.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "EP0813", "no policies are in force, so nothing is allowed")
            .hint("`eparch policy load` puts those of the home in force")
    })?;
    let rules = policies.rules().map(|rule| serde_json::to_value(rule).unwrap_or_default()).collect();
    Ok(Json(InForce { digest: policies.digest(), policies: rules, waiting }))
}

/// The texts of those that wait, and of those that are in force: what is approved is a digest of the first.
async fn show_waiting(State(app): State<Arc<App>>, _: Caller) -> Result<Json<OfferedPolicies>, Problem> {
    let look = |governor: &Governor| {
        let in_force = governor.policies_in_force();
        (waiting(governor), governor.policies_offered(), in_force)
    };
    let (Some(waiting), Some(offered), in_force) = app.driver.look(look).await? else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "EP0814", "no policies wait for another person")
            .hint("`eparch policy load` offers those of the home"));
    };
    let text = |set: &PolicySet| String::from_utf8_lossy(set.to_bytes()).into_owned();
    let in_force = in_force.map(|set| text(&set));
    Ok(Json(OfferedPolicies { waiting, document: text(&offered), in_force }))
}

/// Reads the home's policies again. With a fault in them those in force stay (G4), and while somebody else could look at them, until
/// they have (G5).
async fn load(State(app): State<Arc<App>>, Caller(caller): Caller) -> Result<Json<PutInForce>, Problem> {
    let caller = Caller(caller).who("put policies in force", |role| role.may_administer())?;
    let root = app.tools.home.root().to_owned();
    let read = app.aside(move || -> Result<(String, PolicySet), NoPolicies> {
        let files = PolicyFiles::of_home(&root)?;
        Ok((files.place.clone(), files.load()?))
    });
    let failed = |problem: &dyn std::fmt::Display| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "EP0811", &problem.to_string())
            .hint("`eparch policy check` shows them one by one; those in force stay")
    };
    let (place, policies) = read.await?.map_err(|problem| failed(&problem))?;
    let (digest, count) = (policies.digest(), policies.rules().len());
    let event = Event::PoliciesOffered { by: Some(caller.name), policies: digest };
    let done = app.decide(Input { policies: Some(Arc::new(policies)), ..event.into() }).await?;
    let alone = done.record.decision.facts.iter().find_map(|fact| match fact {
        Fact::PoliciesInForce { alone, .. } => Some(*alone),
        _ => None,
    });
    let waiting = app.driver.look(waiting).await?.filter(|waits| waits.digest == digest);
    let (changed, alone) = (alone.is_some(), alone == Some(true));
    Ok(Json(PutInForce { decided: done.seq, digest, place, policies: count, changed, waiting, alone }))
}

/// Somebody else approves those that wait, or denies them.
async fn answer(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    asked: Body<Answer>,
) -> Result<Json<InForce>, Problem> {
    let Answer { decision, rationale, subject: policies, signed } = body(asked)?;
    refuse_secret("the rationale", &rationale)?;
    let (by, signed) = match &signed {
        None => (caller.name, None),
        Some(signed) => {
            // What is signed is for what waits, and not proven where nothing does.
            let waits = app.driver.look(waiting).await?;
            let PoliciesWait { offered_by, at, .. } =
                waits.ok_or_else(|| Problem::from(&Refusal::NoPoliciesWait { policies }))?;
            let statement =
                crate::policies_statement(&offered_by, at, &policies, decision, &signed.by, &rationale);
            (signed.by.clone(), Some(prove(&app, &statement, signed).await?))
        }
    };
    let answer = PoliciesAnswer { by, signed, decision, policies, rationale };
    app.decide_event(Event::PoliciesAnswered(Box::new(answer))).await?;
    shown(&app).await
}
