//! Gates: what waits, and answering it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use ed25519_dalek::{Signature, VerifyingKey};
use eparch_domain::{GateId, unhex};
use eparch_governor::{Event, GateAnswer, Key, SignedAnswer};
use eparch_ledger::views::ApprovalView;
use serde::Deserialize;

use super::extract::{Body, Path, Query, body};
use super::problem::Problem;
use super::secrets::refuse_secret;
use super::wire::{Answer, Decided, Signed};
use super::{App, Caller, not_found, shown};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/approvals", get(list))
        .route("/api/approvals/{gate}", get(show))
        .route("/api/approvals/{gate}", post(answer))
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    all: bool,
}

async fn list(
    State(app): State<Arc<App>>,
    _: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<ApprovalView>>, Problem> {
    app.read(move |views, tenant| views.approvals(tenant, !query.all)).await.map(Json)
}

async fn show(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(gate): Path<GateId>,
) -> Result<Json<ApprovalView>, Problem> {
    find(&app, gate).await.map(Json)
}

async fn find(app: &Arc<App>, gate: GateId) -> Result<ApprovalView, Problem> {
    let found = app.read(move |views, tenant| views.approval(tenant, gate)).await?;
    found.ok_or_else(|| {
        not_found(&format!("gate {gate}")).hint("`eparch approvals list` shows the gates that wait")
    })
}

async fn answer(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(gate): Path<GateId>,
    asked: Body<Answer>,
) -> Result<Json<Decided<ApprovalView>>, Problem> {
    let asked = body(asked)?;
    refuse_secret("the rationale", &asked.rationale)?;
    let (by, signed) = match &asked.signed {
        None => (caller.name, None),
        Some(signed) => {
            let statement = gate_statement(gate, &asked, signed);
            (signed.by.clone(), Some(prove(&app, &statement, signed).await?))
        }
    };
    let answer = GateAnswer {
        gate,
        by,
        signed,
        decision: asked.decision,
        subject: asked.subject,
        rationale: asked.rationale,
    };
    let done = app.decide_event(Event::GateAnswered(answer)).await?;
    Ok(shown(&done, find(&app, gate).await))
}

/// A signed answer is proven by the key its operator was made known with, whoever carries it here. The governor is told
/// which key that was: it may be another by the time it decides.
pub(super) async fn prove(app: &App, statement: &str, signed: &Signed) -> Result<SignedAnswer, Problem> {
    let bad = |why: &str| {
        Problem::new(StatusCode::UNAUTHORIZED, "EP0310", why)
            .hint("sign with the key of `--public-key` when the operator was added")
    };
    let by = signed.by.clone();
    let key = app.driver.look(move |governor| {
        governor.operators().find(|known| known.name == by).map(|known| known.key.clone())
    });
    let Some(Key::Remote { public_key }) = key.await? else {
        return Err(bad(&format!("{} has no key kept elsewhere", signed.by)));
    };
    let checked = unhex::<32>(&public_key).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
    let signature = unhex::<64>(&signed.signature).map(|bytes| Signature::from_bytes(&bytes));
    let (Some(key), Some(signature)) = (checked, signature) else {
        return Err(bad("the signature cannot be read"));
    };
    // Strict: a signature that another verifier might read otherwise is no signature.
    key.verify_strict(statement.as_bytes(), &signature)
        .map_err(|_| bad("the signature does not fit the answer"))?;
    Ok(SignedAnswer { signature: signed.signature.clone(), public_key })
}

fn gate_statement(gate: GateId, asked: &Answer, signed: &Signed) -> String {
    crate::gate_statement(gate, &asked.subject, asked.decision, &signed.by, &asked.rationale)
}
