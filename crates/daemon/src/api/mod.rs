//! The holder's doors: HTTP over `HOME/control.sock`. One file per resource; a handler reads the request, sends an
//! event, renders the answer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Json, Router};
use eparch_domain::{Digest, LedgerTime, Name, in_full, limits};
use eparch_governor::{Answer, Event, Governor, Key, Operator, OperatorRole, Refusal};
use eparch_ledger::Reader;
use eparch_ledger::views::Views;
use tokio::sync::Semaphore;

use crate::driver::{Done, Handle, Input};
use crate::health::Dependencies;
use crate::perform::Tools;
use problem::Problem;
use wire::Decided;

mod approvals;
mod authority;
mod emergencies;
mod events;
mod extract;
mod ledger;
mod locks;
mod logs;
pub(crate) mod operators;
mod policies;
pub(crate) mod problem;
mod runs;
pub(crate) mod secrets;
mod standing;
mod vault;
pub mod wire;

/// What callers may have done at once that blocks. They wait for each other here, and not in the threads that end agents: those
/// are there for whoever takes authority away.
const ASIDE_AT_ONCE: usize = 32;

/// What every handler needs.
pub(crate) struct App {
    /// Before the ledger, which is dropped with the tools: only the last connection to a journal folds its log in.
    /// Whoever waits for them holds no thread.
    models: Arc<tokio::sync::Mutex<ReadModels>>,
    pub(crate) tools: Arc<Tools>,
    pub(crate) driver: Handle,
    /// How what decisions need was seen last.
    pub(crate) dependencies: Dependencies,
    /// Where it is reached over TCP, if it is.
    pub(crate) url: Option<String>,
    /// Requests and streams under way…
    busy: AtomicUsize,
    /// … and when the last one ended, so that an idle holder can leave.
    last_used: Mutex<LedgerTime>,
    /// Places for what blocks.
    asides: Arc<Semaphore>,
    /// Held from the draft of an operator's key until the file says what the ledger says: of two who change keys at once, the
    /// later decision is also the later file.
    operator_keys: Arc<tokio::sync::Mutex<()>>,
}

/// The read models, with a reader of their own: following a long journal holds nobody up who reads the ledger itself.
pub(crate) struct ReadModels {
    pub(crate) views: Views,
    pub(crate) reader: Reader,
}

/// Counts one request while it is under way.
pub(crate) struct Use(Arc<App>);

impl Drop for Use {
    fn drop(&mut self) {
        *self.0.last_used.lock().unwrap_or_else(PoisonError::into_inner) = self.0.tools.clock.now().ledger;
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

impl App {
    pub(crate) fn new(
        tools: Arc<Tools>,
        driver: Handle,
        models: ReadModels,
        url: Option<String>,
    ) -> Arc<App> {
        let last_used = Mutex::new(tools.clock.now().ledger);
        let (models, dependencies) = (Arc::new(tokio::sync::Mutex::new(models)), Dependencies::default());
        let (busy, asides) = (AtomicUsize::new(0), Arc::new(Semaphore::new(ASIDE_AT_ONCE)));
        let operator_keys = Arc::default();
        Arc::new(App { models, tools, driver, dependencies, url, busy, last_used, asides, operator_keys })
    }

    /// Notes that the holder is in use until the answer is dropped.
    pub(crate) fn begin_use(self: &Arc<App>) -> Use {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Use(self.clone())
    }

    /// Whether somebody is being answered.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    /// Whether nobody has used the holder for `limits::HOLDER_IDLE`.
    pub(crate) fn is_idle(&self) -> bool {
        let last = *self.last_used.lock().unwrap_or_else(PoisonError::into_inner);
        !self.is_busy() && self.tools.clock.now().ledger.since(last) >= limits::HOLDER_IDLE
    }

    /// Whose key this is.
    async fn owner_of(&self, headers: &HeaderMap) -> Result<Operator, Problem> {
        let Some(hash) = shown_key(headers) else {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "EP0520", "no operator's key was given")
                .hint("send `Authorization: Bearer KEY`; the key is in HOME/keys/operators/NAME.key"));
        };
        let look = move |governor: &Governor| who_bears(governor, &hash).cloned();
        let found = match self.driver.glance(look).await {
            // A stopped tenant is tried again for whoever has a key of this home, and not for everybody who makes one up.
            Err(_) if ledger::lies_here(self, hash).await => self.driver.look(look).await,
            found => found,
        };
        found?.ok_or_else(|| {
            Problem::new(StatusCode::UNAUTHORIZED, "EP0521", "no operator has this key")
                .hint("`eparch operator list` shows who is known")
        })
    }

    /// Has something decided; a refusal is a problem. What is refused is recorded like everything else, so what nobody may
    /// hand in for its size is not handed on.
    async fn decide(&self, input: Input) -> Result<Done, Problem> {
        if let Some(refusal) = input.event.too_large() {
            return Err(Problem::from(&refusal));
        }
        let done = self.driver.ask(input).await?;
        match &done.record.decision.answer {
            Answer::Refused(refusal) => Err(Problem::from(refusal)),
            Answer::Taken | Answer::Already { .. } | Answer::Ruled(_) => Ok(done),
        }
    }

    /// Does something that blocks, away from the runtime, when there is a place for it.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let inside = |why: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0531", &why);
        let place = self.asides.clone().acquire_owned().await.map_err(|closed| inside(closed.to_string()))?;
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            // Also when whoever asked has gone meanwhile: the thread is free only now.
            drop(place);
            done
        });
        task.await.map_err(|problem| inside(problem.to_string()))
    }

    /// Carries on to the end when the caller goes away meanwhile: what was done is written down all the same.
    async fn finished<T: Send + 'static>(
        self: &Arc<App>,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let using = self.begin_use();
        let task = tokio::spawn(async move {
            let result = work.await;
            drop(using);
            result
        });
        task.await.unwrap_or_else(|problem| {
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0531", &problem.to_string()))
        })
    }

    async fn decide_event(&self, event: Event) -> Result<Done, Problem> {
        self.decide(event.into()).await
    }

    /// Does something with the read models when nobody else has them.
    async fn with_models<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut ReadModels) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let mut models = self.models.clone().lock_owned().await;
        self.aside(move || work(&mut models)).await
    }

    /// Reads the read models, which have seen everything durable by then.
    async fn read<T: Send + 'static>(
        self: &Arc<App>,
        read: impl FnOnce(&Views, &Name) -> Result<T, eparch_ledger::views::ViewsError> + Send + 'static,
    ) -> Result<T, Problem> {
        let tenant = self.tools.tenant.clone();
        let found = self.with_models(move |models| {
            models.views.follow(&models.reader, &tenant)?;
            read(&models.views, &tenant)
        });
        found.await?.map_err(|problem| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "EP0530", &in_full(&problem))
                .hint("`eparch ledger rebuild-views` makes the read models anew from the ledger")
        })
    }
}

/// The hash of the key that a request shows. Comparing hashes tells nothing of a key by its timing.
fn shown_key(headers: &HeaderMap) -> Option<Digest> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    given.strip_prefix("Bearer ").map(|key| Digest::of(key.as_bytes()))
}

/// The operator whose key has this hash.
fn who_bears<'g>(governor: &'g Governor, hash: &Digest) -> Option<&'g Operator> {
    let bears = |operator: &&Operator| matches!(&operator.key, Key::Home { hash: known } if known == hash);
    governor.operators().find(bears)
}

/// Whether whoever sent a request has shown a key that counts, for the door it came in by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<AtomicBool>);

impl Known {
    pub(crate) fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who calls, as their key proves (interface.md 3: loopback is not an excuse). Found before anything else of a request is
/// looked at: a stranger's body is not read.
pub(crate) struct Caller(pub(crate) Operator);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Caller, Problem> {
        let caller = app.owner_of(&parts.headers).await?;
        if let Some(known) = parts.extensions.get::<Known>() {
            known.0.store(true, Ordering::Relaxed);
        }
        Ok(Caller(caller))
    }
}

impl Caller {
    /// The caller, if their role lets them do this.
    fn who(self, what: &str, may: impl Fn(OperatorRole) -> bool) -> Result<Operator, Problem> {
        if may(self.0.role) {
            return Ok(self.0);
        }
        let (name, role) = (self.0.name, self.0.role.as_str().to_owned());
        Err(Problem::from(&Refusal::RoleForbids { name, role, what: what.to_owned() }))
    }
}

/// Every route of the holder.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .merge(runs::routes())
        .merge(authority::routes())
        .merge(emergencies::routes())
        .merge(standing::routes())
        .merge(locks::routes())
        .merge(logs::routes())
        .merge(approvals::routes())
        .merge(operators::routes())
        .merge(policies::routes())
        .merge(events::routes())
        .merge(ledger::routes())
        .merge(vault::routes())
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "EP0522", "there is no such method on this route")
        })
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "EP0522", "there is no such route") })
        .layer(DefaultBodyLimit::max(limits::PIPELINE_BYTES * 2))
        .layer(axum::middleware::from_fn_with_state(app.clone(), count_use))
        .with_state(app)
}

async fn count_use(
    axum::extract::State(app): axum::extract::State<Arc<App>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let _use = app.begin_use();
    next.run(request).await
}

/// Answers with what a decision made of something. What is durable is not told to have failed because a read model is not
/// well.
fn shown<T>(done: &Done, found: Result<T, Problem>) -> Json<Decided<T>> {
    Json(match found {
        Ok(found) => Decided::Shown(found),
        Err(problem) => Decided::Unseen { decided: done.seq, read_models: problem.title },
    })
}

pub(crate) fn not_found(what: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "EP0524", &format!("there is no {what}"))
}

#[cfg(test)]
mod tests {
    use crate::stand::Stand;

    #[test]
    fn g2_whoever_waits_for_the_read_models_holds_no_thread() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let stand = Stand::new(folder.path()).await;
            let app = stand.app();
            let long = app.models.lock().await;
            let readers: Vec<_> = (0..8)
                .map(|_| {
                    let app = app.clone();
                    tokio::spawn(async move { app.read(|_, _| Ok(())).await })
                })
                .collect();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            app.aside(|| ()).await.unwrap();
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            drop(long);
            for reader in readers {
                reader.await.unwrap().unwrap();
            }
        });
    }
}
