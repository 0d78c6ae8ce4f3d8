//! What a request's path, query and body hold, read; what cannot be read is a problem like any other.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{self, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// What stands in the path.
pub(super) struct Path<T>(pub(super) T);

/// What stands in the query.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let found = extract::Path::from_request_parts(parts, state).await;
        found.map(|extract::Path(found)| Path(found)).map_err(|bad| unreadable(&bad.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Problem> {
        let found = extract::Query::from_request_parts(parts, state).await;
        found.map(|extract::Query(found)| Query(found)).map_err(|bad| unreadable(&bad.body_text()))
    }
}

/// A body that must be JSON of a known shape.
pub(super) type Body<T> = Result<Json<T>, JsonRejection>;

pub(super) fn body<T>(body: Body<T>) -> Result<T, Problem> {
    body.map(|Json(body)| body).map_err(|bad| unreadable(&bad.body_text()))
}

fn unreadable(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "EP0523", why)
}
