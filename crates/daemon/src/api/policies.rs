//! Policies: which are in force, and putting the home's own in force anew.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use eparch_governor::Event;
use eparch_policy::PolicySet;

use super::problem::Problem;
use super::wire::{InForce, PutInForce};
use super::{App, Caller};
use crate::driver::Input;
use crate::policies::{NoPolicies, PolicyFiles};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/policies", get(in_force).post(load))
}

async fn in_force(State(app): State<Arc<App>>, _: Caller) -> Result<Json<InForce>, Problem> {
    let found = app.driver.look(|governor| governor.policies_in_force()).await?;
    let policies = found.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "EP0813", "no policies are in force, so nothing is allowed")
            .hint("`eparch policy load` puts those of the home in force")
    })?;
    let rules = policies.rules().map(|rule| serde_json::to_value(rule).unwrap_or_default()).collect();
    Ok(Json(InForce { digest: policies.digest(), policies: rules }))
}

/// Reads the home's policies again. With a fault in them those in force stay (G4).
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
    let changed = done.record.policies().is_some();
    Ok(Json(PutInForce { decided: done.seq, digest, place, policies: count, changed }))
}
