//! Runs: start, list, show, stop, retry, logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use eparch_domain::{Name, RunId, RunStatus, Span, StageStatus, in_full};
use eparch_governor::{Answer, Event, Fact, Kept, Lineage, Record, RunRequest};
use eparch_ledger::views::{RunDetail, RunFilter, RunSummary, StageView};
use eparch_pipeline::{Known, Pipeline, Work};
use serde::Deserialize;
use serde_json::Value;

use super::extract::{Body, Path, Query, body};
use super::problem::Problem;
use super::secrets::{refuse_secret, refuse_secrets_in, refuse_secrets_of};
use super::wire::{Decided, RetryRun, StartRun, Started, StopRun};
use super::{App, Caller, not_found, shown};
use crate::driver::{Done, Input};
use crate::home::random_bits;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/runs", get(list).post(start))
        .route("/api/runs/{id}", get(show))
        .route("/api/runs/{id}/stop", post(stop))
        .route("/api/runs/{id}/retry", post(retry))
}

async fn start(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    asked: Body<StartRun>,
) -> Result<Response, Problem> {
    let asked = body(asked)?;
    let (asked, pipeline) = compile(&app, asked).await?;
    let inputs = pipeline.bind(&asked.inputs).map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Problem::new(StatusCode::BAD_REQUEST, "EP0220", "the inputs do not fit").detail(&all.join("\n"))
    })?;
    let names = pipeline.env_names();
    let env: BTreeMap<String, String> =
        asked.env.into_iter().filter(|(key, _)| names.contains(key)).collect();
    let key = asked.idempotency_key.as_deref().unwrap_or_default();
    // However long the disk it lies on takes, others go on.
    let root = asked.root;
    let root = app.aside(move || real(&root)).await?;
    no_secrets(&inputs, &env, [("the project's folder", &root), ("the idempotency key", key)])?;
    let request = RunRequest {
        run: RunId::from_bits(random_bits()),
        pipeline: pipeline.digest(),
        inputs,
        env,
        requester: caller.name,
        grant: asked.tier,
        root,
        idempotency_key: asked.idempotency_key,
        lineage: None,
    };
    let name = pipeline.name.clone();
    let done = submit(&app, request, pipeline).await?;
    started(&app, done, name).await
}

/// The project's folder as the kernel calls it: a place in it has one name from the root of the machine then. One that is not there
/// is said to be missing by whoever wants to use it.
fn real(root: &str) -> String {
    let found = std::path::Path::new(root).canonicalize().ok();
    found.and_then(|found| found.into_os_string().into_string().ok()).unwrap_or_else(|| root.to_owned())
}

/// What a run is asked for with is written into the ledger, where no secret may be (G8).
fn no_secrets(
    inputs: &BTreeMap<String, Value>,
    env: &BTreeMap<String, String>,
    asked: [(&str, &str); 2],
) -> Result<(), Problem> {
    for (name, value) in inputs {
        refuse_secrets_in(&format!("the input {name}"), value)?;
    }
    for (name, value) in env {
        refuse_secret(&format!("the variable {name}"), value)?;
    }
    asked.into_iter().try_for_each(|(what, text)| refuse_secret(what, text))
}

/// Checks the pipeline here as well: whoever sent it may be another version, or nobody's friend.
async fn compile(app: &Arc<App>, asked: StartRun) -> Result<(StartRun, Arc<Pipeline>), Problem> {
    if asked.timeout.is_some_and(Span::is_zero) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "EP0523", "timeout: a timeout is more than 0"));
    }
    let known = Known {
        approvers: Some(app.driver.look(crate::known_approvers).await?),
        env: Some(app.tools.readable_env.clone()),
    };
    // As long as a large file may take, the other callers go on.
    let task = app.aside(move || {
        let catalogue = eparch_pipeline::Catalogue::built_in();
        let checked = eparch_pipeline::check(&asked.file, &asked.pipeline, &catalogue, &known);
        let clean = checked.pipeline.as_ref().map_or(Ok(()), refuse_secrets_of);
        (asked, checked, clean)
    });
    let (asked, checked, clean) = task.await?;
    clean?;
    match checked.pipeline.clone() {
        Some(mut pipeline) => {
            // A shorter time is a narrower request; a longer one than its author allowed is not to be had.
            if let Some(timeout) = asked.timeout {
                pipeline.timeout = pipeline.timeout.min(timeout);
            }
            Ok((asked, Arc::new(pipeline)))
        }
        None => Err(Problem::new(StatusCode::BAD_REQUEST, "EP0221", "the pipeline is not valid")
            .detail(&checked.to_text())
            .hint("`eparch pipeline validate FILE` shows every problem")),
    }
}

async fn submit(app: &Arc<App>, request: RunRequest, pipeline: Arc<Pipeline>) -> Result<Done, Problem> {
    let event = Event::RunRequested(Box::new(request));
    app.decide(Input { definition: Some(pipeline), ..event.into() }).await
}

/// Answers from the decision: a run that has begun is not told to have failed because a read model is not well.
async fn started(app: &Arc<App>, done: Done, name: Name) -> Result<Response, Problem> {
    if let Answer::Already { run } = done.record.decision.answer {
        let detail = find(app, run).await?;
        let summary = detail.summary;
        let again = Started {
            pipeline_id: run,
            name: summary.name,
            status: summary.status,
            tier: summary.tier,
            plan_id: summary.plan_id,
            seq: 0,
        };
        return Ok((StatusCode::OK, Json(again)).into_response());
    }
    let spawned = done.record.decision.facts.iter().find_map(|fact| match fact {
        Fact::RunSpawned(spawned) => Some(spawned),
        _ => None,
    });
    let spawned = spawned.ok_or_else(|| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0222", "the run was not started")
    })?;
    let fresh = Started {
        pipeline_id: spawned.run,
        name,
        status: RunStatus::Running,
        tier: spawned.grant,
        plan_id: spawned.plan,
        seq: done.seq,
    };
    Ok((StatusCode::CREATED, Json(fresh)).into_response())
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    live: bool,
    #[serde(default)]
    limit: Option<u32>,
    #[serde(default)]
    before: Option<RunId>,
}

async fn list(
    State(app): State<Arc<App>>,
    _: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<RunSummary>>, Problem> {
    let filter = RunFilter {
        live_only: query.live,
        limit: query.limit.unwrap_or(50).min(1_000),
        before: query.before,
    };
    app.read(move |views, tenant| views.runs(tenant, &filter)).await.map(Json)
}

async fn show(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(id): Path<RunId>,
) -> Result<Json<RunDetail>, Problem> {
    find(&app, id).await.map(Json)
}

pub(super) async fn find(app: &Arc<App>, id: RunId) -> Result<RunDetail, Problem> {
    let found = app.read(move |views, tenant| views.run(tenant, id)).await?;
    found
        .ok_or_else(|| not_found(&format!("run {id}")).hint("`eparch runs list` shows the runs of this home"))
}

async fn stop(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(id): Path<RunId>,
    asked: Body<StopRun>,
) -> Result<Json<Decided<RunDetail>>, Problem> {
    let reason = body(asked)?.reason;
    refuse_secret("the reason", &reason)?;
    let reason = if reason.is_empty() { format!("stopped by {}", caller.name) } else { reason };
    let done = app.decide_event(Event::StopRequested { run: id, by: caller.name, reason }).await?;
    Ok(shown(&done, find(&app, id).await))
}

async fn retry(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(id): Path<RunId>,
    asked: Body<RetryRun>,
) -> Result<Response, Problem> {
    let RetryRun { from, idempotency_key } = body(asked)?;
    refuse_secret("the idempotency key", idempotency_key.as_deref().unwrap_or_default())?;
    let earlier = find(&app, id).await?;
    if !earlier.summary.status.is_terminal() {
        return Err(Problem::new(StatusCode::CONFLICT, "EP0223", &format!("{id} has not ended"))
            .hint("`eparch runs stop ID` ends it; `eparch runs resume ID` watches it"));
    }
    let digest = earlier.definition;
    let tools = app.tools.clone();
    let document = app.aside(move || tools.ledger.document(&tools.tenant, &digest)).await?;
    let document = document.map_err(|problem| unreadable(&in_full(&problem)))?;
    let document = document.ok_or_else(|| not_found(&format!("definition {digest} in the ledger")))?;
    let pipeline = Pipeline::from_bytes(&document.bytes);
    let pipeline = pipeline.map_err(|problem| unreadable(&format!("the definition {digest}: {problem}")))?;
    let pipeline = Arc::new(pipeline);
    if pipeline.find(from.as_str()).is_none() {
        let names: Vec<&str> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
        return Err(Problem::new(StatusCode::BAD_REQUEST, "EP0209", &format!("there is no stage {from}"))
            .hint(&format!("the stages are {}", names.join(", "))));
    }
    let lineage = lineage(id, from, &pipeline, earlier.stages);
    let request = RunRequest {
        run: RunId::from_bits(random_bits()),
        pipeline: digest,
        inputs: earlier.inputs,
        env: env_of(&app, id).await?,
        requester: caller.name,
        grant: Some(earlier.summary.tier),
        root: earlier.root,
        idempotency_key,
        lineage: Some(lineage),
    };
    let name = pipeline.name.clone();
    let done = submit(&app, request, pipeline).await?;
    started(&app, done, name).await
}

/// What an earlier run made of its stages. What of it is kept is the governor's to say.
fn lineage(run: RunId, from: Name, pipeline: &Pipeline, stages: Vec<StageView>) -> Lineage {
    let (mut kept, mut forgiven) = (BTreeMap::new(), BTreeMap::new());
    for stage in stages {
        let work = pipeline.find(stage.name.as_str()).map(|ix| &pipeline.stage(ix).work);
        let forgives = matches!(work, Some(Work::Agent(work)) if work.continue_on_error);
        match stage.status {
            StageStatus::Completed => {
                kept.insert(stage.name, Kept { outputs: stage.outputs, artifacts: stage.artifacts });
            }
            status @ (StageStatus::Failed | StageStatus::TimedOut) if forgives => {
                forgiven.insert(stage.name, status);
            }
            _ => {}
        }
    }
    Lineage { run, from, kept, forgiven }
}

/// What the expressions of an earlier run saw of the environment: a run that repeats it sees the same.
async fn env_of(app: &Arc<App>, run: RunId) -> Result<BTreeMap<String, String>, Problem> {
    let began = app.read(move |views, tenant| views.beginning_of(tenant, run)).await?;
    let missing = || not_found(&format!("entry in the ledger that {run} began with"));
    let (tools, began) = (app.tools.clone(), began.ok_or_else(missing)?);
    let entry = app.aside(move || tools.ledger.read().entry(&tools.tenant, began)).await?;
    let entry = entry.map_err(|problem| unreadable(&in_full(&problem)))?.ok_or_else(missing)?;
    let record = Record::from_bytes(&entry.body);
    let facts = record.map_err(|problem| unreadable(&in_full(&problem)))?.decision.facts;
    let env = facts.into_iter().find_map(|fact| match fact {
        Fact::RunSpawned(spawned) if spawned.run == run => Some(spawned.env),
        _ => None,
    });
    env.ok_or_else(missing)
}

/// What is there and cannot be read is not missing.
fn unreadable(why: &str) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0719", &format!("the ledger cannot be read: {why}"))
        .hint("`eparch ledger verify` says what is wrong, and where")
}
