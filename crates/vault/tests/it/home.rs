//! What a promise needs of a home: the vault itself, time that passes, and names that nobody else uses.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eparch_domain::{AgentId, ManualClock, Moment, RunId, Span, Tier, Timestamp};
use eparch_vault::{
    ChildGrant, Embedded, Fields, Guarded, Issued, KeyFrom, RunGrant, SealKey, Secret, SecretPath, Token,
    Vault, VaultError,
};

use crate::bao::Bao;

/// One home with whatever keeps it alive.
pub(crate) struct Home {
    pub(crate) vault: Arc<dyn Vault>,
    /// Moved by hand, unless time is the server's.
    clock: Option<Arc<ManualClock>>,
    _keep: Box<dyn Any + Send + Sync>,
}

/// 2023-11-14: any time at all.
pub(crate) const BEGINNING: i64 = 1_700_000_000_000;

pub(crate) fn clock() -> Arc<ManualClock> {
    let wall = Timestamp::from_millis(BEGINNING);
    Arc::new(ManualClock::at(Moment { wall, ..Moment::default() }))
}

/// Names that differ from those of every other promise on the same server.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::SeqCst)
}

pub(crate) fn run() -> RunId {
    RunId::from_bits(u128::from(next()))
}

pub(crate) fn agent() -> AgentId {
    AgentId::from_bits(u128::from(next()))
}

/// A path below a folder, of its own.
pub(crate) fn place(folder: &str) -> SecretPath {
    SecretPath::new(&format!("{folder}/place-{}", next())).unwrap()
}

pub(crate) fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), Secret::from(*text))).collect()
}

pub(crate) const HOUR: Span = Span::from_hours(1);
pub(crate) const MINUTE: Span = Span::from_mins(1);
pub(crate) const SECOND: Span = Span::from_secs(1);

/// How long a condition is waited for that has to come about.
const PATIENCE: Duration = Duration::from_secs(20);

impl Home {
    /// A server as a home that keeps promises, behind the breaker that the daemon puts before it.
    pub(crate) fn on(server: Bao) -> Home {
        let behind_breaker = Guarded::new(server.hashicorp(), clock());
        Home::new(Arc::new(behind_breaker), None, server)
    }

    pub(crate) fn new(
        vault: Arc<dyn Vault>,
        clock: Option<Arc<ManualClock>>,
        keep: impl Any + Send + Sync,
    ) -> Home {
        Home { vault, clock, _keep: Box::new(keep) }
    }

    /// An embedded vault of its own.
    pub(crate) fn embedded() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock();
        let key = KeyFrom::Elsewhere(SealKey::draw().unwrap());
        let vault = Embedded::create(dir.path(), key, clock.clone()).unwrap();
        Home::new(Arc::new(vault), Some(clock), dir)
    }

    pub(crate) async fn issue(&self, run: RunId, tier: Tier, ttl: Span) -> Issued {
        self.vault.issue_run(RunGrant { run, tier, ttl }).await.unwrap()
    }

    /// A run's token, for an hour.
    pub(crate) async fn a_run(&self, tier: Tier) -> Issued {
        self.issue(run(), tier, HOUR).await
    }

    pub(crate) async fn child(
        &self,
        parent: &Token,
        agent: AgentId,
        tier: Tier,
        ttl: Span,
    ) -> Result<Issued, VaultError> {
        self.vault.issue_child(parent, ChildGrant { agent, tier, ttl }).await
    }

    /// An agent's token of a tier, under a run of its own that was granted as much.
    pub(crate) async fn an_agent(&self, tier: Tier) -> Issued {
        let parent = self.a_run(tier).await;
        self.child(&parent.token, agent(), tier, MINUTE).await.unwrap()
    }

    /// Puts a secret somewhere in a folder.
    pub(crate) async fn secret(&self, folder: &str) -> SecretPath {
        let path = place(folder);
        self.vault.write(&path, fields(&[("password", "correct horse")]), None).await.unwrap();
        path
    }

    /// Lets time pass until something is so: by hand where the clock is ours, else by waiting for the server's.
    pub(crate) async fn pass(&self, span: Span, what: &str, is_so: impl AsyncFn() -> bool) {
        if let Some(clock) = &self.clock {
            clock.advance(span);
            assert!(is_so().await, "{what}, after {span}");
            return;
        }
        let begun = Instant::now();
        while !is_so().await {
            assert!(begun.elapsed() < PATIENCE + span.as_duration(), "{what}, after {:?}", begun.elapsed());
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Lets a token's time pass.
    pub(crate) async fn expire(&self, token: &Issued, ttl: Span) {
        let over =
            async || matches!(self.vault.lookup(&token.status.accessor).await, Err(VaultError::Ended { .. }));
        self.pass(ttl, "the token is over", over).await;
    }
}

/// A promise, as it is played against a home.
pub(crate) type Promise = for<'h> fn(&'h Home) -> Pin<Box<dyn Future<Output = ()> + 'h>>;
