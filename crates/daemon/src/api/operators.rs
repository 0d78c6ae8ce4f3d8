//! Operators: who may act.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use eparch_domain::{Digest, Name, in_full, limits, unhex};
use eparch_governor::{Event, Key, Operator};
use tokio::sync::Mutex;

use super::extract::{Body, Path, body};
use super::problem::Problem;
use super::secrets::refuse_secret;
use super::wire::{AddOperator, OperatorView};
use super::{App, Caller};
use crate::driver::{Handle, SubmitError};
use crate::home::DraftKey;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/operators", get(list).post(add))
        .route("/api/operators/{name}", delete(remove))
        .route("/api/operators/{name}/rotate", post(rotate))
}

pub(crate) fn view(operator: &Operator) -> OperatorView {
    let (key, fingerprint) = match &operator.key {
        Key::Home { hash } => ("home", hash.hex()[..16].to_owned()),
        Key::Remote { public_key } => ("remote", Digest::of(public_key.as_bytes()).hex()[..16].to_owned()),
    };
    OperatorView {
        name: operator.name.clone(),
        role: operator.role,
        groups: operator.groups.clone(),
        max_tier: operator.max_tier,
        key: key.to_owned(),
        fingerprint,
    }
}

async fn list(State(app): State<Arc<App>>, _: Caller) -> Result<Json<Vec<OperatorView>>, Problem> {
    let all = app.driver.look(|governor| governor.operators().map(view).collect());
    Ok(Json(all.await?))
}

async fn add(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    asked: Body<AddOperator>,
) -> Result<(StatusCode, Json<OperatorView>), Problem> {
    let asked = body(asked)?;
    for name in std::iter::once(&asked.name).chain(&asked.groups) {
        refuse_secret("the name", name.as_str())?;
    }
    let AddOperator { name, role, groups, max_tier, public_key } = asked;
    let of = name.clone();
    let made = move |key: Key| Operator {
        name: name.clone(),
        role,
        groups,
        max_tier: max_tier.unwrap_or(limits::GRANT_UNASKED),
        key,
    };
    let by = Some(caller.name.clone());
    let Some(public_key) = public_key else {
        let event = move |key| Event::OperatorAdded { by, operator: made(key) };
        app.finished(change_key(app.clone(), of.clone(), event)).await?;
        return find(&app, of).await.map(|shown| (StatusCode::CREATED, shown));
    };
    let valid =
        unhex::<32>(&public_key).is_some_and(|bytes| ed25519_dalek::VerifyingKey::from_bytes(&bytes).is_ok());
    if !valid {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "EP0410",
            "the public key is not an Ed25519 key of 64 hexadecimal digits",
        ));
    }
    let operator = made(Key::Remote { public_key });
    let shown = view(&operator);
    let changing = app.clone();
    app.finished(async move {
        let _alone = changing.operator_keys.lock().await;
        changing.decide_event(Event::OperatorAdded { by, operator }).await
    })
    .await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Has something about an operator decided whose new key is a draft so far: it replaces the old one once that is durable, and
/// is forgotten when it is refused. What a crash leaves in between is settled when the home is held again. Nobody else changes
/// a key meanwhile; to be [`App::finished`], whoever hangs up.
async fn change_key(app: Arc<App>, name: Name, event: impl FnOnce(Key) -> Event) -> Result<(), Problem> {
    let _alone = app.operator_keys.lock().await;
    let (home, of) = (app.tools.home.clone(), name.clone());
    let draft = app.aside(move || home.draft_operator_key(&of)).await?.map_err(home_problem)?;
    match app.decide_event(event(Key::Home { hash: draft.hash() })).await {
        Ok(_) => app.aside(move || draft.keep()).await?.map_err(home_problem),
        // A refusal is final.
        Err(problem) if problem.status < 500 => {
            app.aside(move || draft.forget()).await?;
            Err(problem)
        }
        // Whether anything else happened is known only to the ledger: the draft waits for it.
        Err(problem) => {
            tokio::spawn(settle(app.driver.clone(), app.operator_keys.clone(), name, draft));
            Err(problem)
        }
    }
}

/// Puts a draft in force, or forgets it, once the governor says again which key it knows.
pub(crate) async fn settle(driver: Handle, keys: Arc<Mutex<()>>, name: Name, draft: DraftKey) {
    let (_alone, known) = loop {
        // Not held between: while the ledger fails others are told so, and do not wait for it here.
        let alone = keys.lock().await;
        let asked = name.clone();
        let known = driver.glance(move |governor| {
            let operator = governor.operators().find(|known| known.name == asked);
            operator.map(|known| known.key.clone())
        });
        match known.await {
            Ok(known) => break (alone, known),
            // The next holder settles it when it begins.
            Err(SubmitError::Gone) => return,
            Err(_) => {
                drop(alone);
                tokio::time::sleep(limits::LEDGER_RETRY.as_duration()).await;
            }
        }
    };
    let is_known = matches!(known, Some(Key::Home { hash }) if hash == draft.hash());
    let settled = tokio::task::spawn_blocking(move || {
        if is_known {
            return draft.keep();
        }
        draft.forget();
        Ok(())
    });
    if let Ok(Err(problem)) = settled.await {
        crate::holder::note(&format!("the new key of {name} is not in its place: {problem}"));
    }
}

async fn rotate(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(name): Path<Name>,
) -> Result<Json<OperatorView>, Problem> {
    refuse_secret("the name", name.as_str())?;
    let asked = name.clone();
    let known = app
        .driver
        .look(move |governor| governor.operators().find(|known| known.name == asked).cloned())
        .await?;
    if let Some(Key::Remote { .. }) = known.map(|operator| operator.key) {
        let title = format!("the key of {name} is kept elsewhere");
        return Err(Problem::new(StatusCode::CONFLICT, "EP0411", &title)
            .hint("remove the operator and add them again with the new public key"));
    }
    let (by, of) = (caller.name.clone(), name.clone());
    let event = move |key| Event::OperatorRotated { by, name: of, key };
    app.finished(change_key(app.clone(), name.clone(), event)).await?;
    find(&app, name).await
}

async fn find(app: &App, name: Name) -> Result<Json<OperatorView>, Problem> {
    let asked = name.clone();
    let found = app
        .driver
        .look(move |governor| governor.operators().find(|known| known.name == asked).map(view))
        .await?;
    found.map(Json).ok_or_else(|| super::not_found(&format!("operator {name}")))
}

async fn remove(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(name): Path<Name>,
) -> Result<Json<serde_json::Value>, Problem> {
    // What is refused is recorded with all that was asked for, whether anybody has that name or not.
    refuse_secret("the name", name.as_str())?;
    let changing = app.clone();
    app.finished(async move {
        let _alone = changing.operator_keys.lock().await;
        changing.decide_event(Event::OperatorRemoved { by: caller.name, name: name.clone() }).await?;
        let (home, of) = (changing.tools.home.clone(), name.clone());
        changing.aside(move || home.drop_operator_key(&of)).await?.map_err(home_problem)?;
        Ok(Json(serde_json::json!({ "removed": name })))
    })
    .await
}

fn home_problem(problem: crate::home::HomeError) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, problem.code(), &in_full(&problem)).hint(problem.hint())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::Poll;

    use eparch_domain::{OperatorRole, Tier};

    use super::*;
    use crate::stand::Stand;

    /// Goes on with a request until something of it is written down, and no further.
    async fn decided<T>(app: &App, mut asking: Pin<&mut impl Future<Output = T>>) {
        let mut head = app.tools.head.subscribe();
        let mut moves = std::pin::pin!(head.changed());
        poll_fn(|cx| {
            if moves.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            assert!(asking.as_mut().poll(cx).is_pending(), "it was answered before it was written down");
            Poll::Pending
        })
        .await;
    }

    fn ada() -> Operator {
        Operator {
            name: name("ada"),
            role: OperatorRole::Admin,
            groups: Vec::new(),
            max_tier: Tier::T4,
            key: Key::Home { hash: Digest::of(b"nobody looks at it here") },
        }
    }

    fn name(name: &str) -> Name {
        name.parse().unwrap()
    }

    fn rotation(app: &Arc<App>, of: &str) -> impl Future<Output = Result<Json<OperatorView>, Problem>> {
        rotate(State(app.clone()), Caller(ada()), Path(name(of)))
    }

    async fn addition(app: &Arc<App>, of: &str, role: &str) {
        let asked: AddOperator =
            serde_json::from_value(serde_json::json!({ "name": of, "role": role })).unwrap();
        let _ = add(State(app.clone()), Caller(ada()), Ok(Json(asked))).await.unwrap();
    }

    /// The key in the home's file opens the home, and no other file is left, once nobody changes keys any more.
    async fn opens(app: &Arc<App>, of: &str) {
        drop(app.operator_keys.lock().await);
        let asked = name(of);
        let known = app
            .driver
            .look(move |governor| governor.operators().find(|known| known.name == asked).cloned())
            .await
            .unwrap();
        let key = app.tools.home.operator_key(&name(of)).unwrap();
        let hash = Digest::of(key.as_bytes());
        assert!(
            known.unwrap().key.is(&Key::Home { hash }),
            "the file of {of} has another key than the ledger"
        );
        let folder = std::fs::read_dir(app.tools.home.keys().join("operators")).unwrap();
        let drafts =
            folder.filter(|file| file.as_ref().unwrap().path().extension().is_none_or(|kind| kind != "key"));
        assert_eq!(drafts.count(), 0, "a draft is left");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn g5_a_key_that_was_decided_on_is_in_force_although_whoever_asked_hung_up() {
        let folder = tempfile::tempdir().unwrap();
        let stand = Stand::new(folder.path()).await;
        let app = stand.app();
        {
            let mut asking = std::pin::pin!(rotation(app, "ada"));
            decided(app, asking.as_mut()).await;
        }
        opens(app, "ada").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn g5_of_two_rotations_at_once_the_key_of_the_later_one_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let stand = Stand::new(folder.path()).await;
        let app = stand.app();
        let mut first = std::pin::pin!(rotation(app, "ada"));
        decided(app, first.as_mut()).await;
        let _ = rotation(app, "ada").await.unwrap();
        let _ = first.await.unwrap();
        opens(app, "ada").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn g5_somebody_who_is_removed_and_added_again_keeps_the_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let stand = Stand::new(folder.path()).await;
        let app = stand.app();
        addition(app, "bob", "viewer").await;
        let mut removal = std::pin::pin!(remove(State(app.clone()), Caller(ada()), Path(name("bob"))));
        decided(app, removal.as_mut()).await;
        addition(app, "bob", "viewer").await;
        let _ = removal.await.unwrap();
        opens(app, "bob").await;
    }
}
