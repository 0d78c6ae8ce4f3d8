//! The one thread that writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eparch_domain::{Name, Timestamp, limits};
use rusqlite::{Connection, ErrorCode};

use crate::batch::{Batch, Signed, Tenant};
use crate::boot;
use crate::connection;
use crate::entry::{Append, Appended, Snapshot};
use crate::keeper::Keeper;
use crate::key::LedgerKey;
use crate::open::{OpenError, hold_to_anchors};
use crate::queue::{Queue, Taken};
use crate::tree::Hash;
use crate::write_error::WriteError;

/// How a request is answered: once, from the writer's thread.
pub(crate) type Answer<T> = Box<dyn FnOnce(Result<T, WriteError>) + Send>;

/// A request to the writer.
pub(crate) enum Job {
    /// Carried out only if begun before the deadline: its caller has given up on it after that.
    Append {
        request: Append,
        deadline: Option<Instant>,
        answer: Answer<Appended>,
    },
    Save {
        tenant: Name,
        snapshot: Snapshot,
        answer: Answer<()>,
    },
    Sign {
        tenant: Name,
        answer: Answer<Signed>,
    },
    Reopen {
        at: Timestamp,
        answer: Answer<u64>,
    },
}

impl Job {
    /// How much of a batch it fills, in entries. A reopening wants to be alone.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Job::Append { request, .. } => request.entries.len(),
            Job::Save { .. } | Job::Sign { .. } => 1,
            Job::Reopen { .. } => limits::COMMIT_BATCH,
        }
    }

    fn refuse(self, error: WriteError) {
        match self {
            Job::Append { answer, .. } => answer(Err(error)),
            Job::Save { answer, .. } => answer(Err(error)),
            Job::Sign { answer, .. } => answer(Err(error)),
            Job::Reopen { answer, .. } => answer(Err(error)),
        }
    }
}

pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
    pub(crate) key: Arc<LedgerKey>,
    pub(crate) queue: Arc<Queue<Job>>,
    pub(crate) keepers: Arc<Vec<Keeper>>,
    /// The newest boot's epoch and the chain over all boots.
    pub(crate) boots: (u64, Hash),
    /// `None` after a failure of the disk: a database that failed to sync is not asked again as if nothing had been.
    pub(crate) connection: Option<Connection>,
    /// Why there is no connection.
    pub(crate) failure: Arc<Mutex<Option<WriteError>>>,
    pub(crate) tenants: HashMap<Name, Tenant>,
    /// Tenants that were written to lately.
    pub(crate) recent: BTreeMap<Name, Recent>,
}

/// When a tenant that was written to lately gets its next checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recent {
    due: Instant,
    /// It has entries that no checkpoint covers.
    unsigned: bool,
}

/// Closes the queue when the thread ends, however it ends, so that nobody waits for an answer that cannot come.
struct CloseQueue(Arc<Queue<Job>>);

impl Drop for CloseQueue {
    fn drop(&mut self) {
        self.0.close();
        while let Taken::Jobs(jobs) = self.0.take(Some(Duration::ZERO), usize::MAX, |_| 0) {
            jobs.into_iter().for_each(|job| job.refuse(WriteError::Closed));
        }
    }
}

impl Writer {
    /// Works until the queue is closed and empty; hands back the connection, which is to be closed last.
    pub(crate) fn run(mut self) -> Option<Connection> {
        let queue = Arc::clone(&self.queue);
        let _close = CloseQueue(Arc::clone(&queue));
        loop {
            let due = self.recent.values().filter(|recent| recent.unsigned).map(|recent| recent.due).min();
            let patience = due.map(|due| due.saturating_duration_since(Instant::now()));
            match queue.take(patience, limits::COMMIT_BATCH, Job::weight) {
                Taken::Jobs(jobs) => self.work(jobs),
                Taken::Idle => self.work(Vec::new()),
                Taken::Closed => {
                    let now = Instant::now();
                    self.recent.values_mut().for_each(|recent| recent.due = now);
                    self.work(Vec::new());
                    return self.connection;
                }
            }
        }
    }

    fn work(&mut self, jobs: Vec<Job>) {
        let mut writes = Vec::new();
        for job in jobs {
            match job {
                Job::Reopen { at, answer } => {
                    self.write(std::mem::take(&mut writes));
                    answer(self.reopen(at));
                }
                job => writes.push(job),
            }
        }
        self.write(writes);
    }

    /// Carries out requests and the checkpoints that are due in one transaction, then answers.
    fn write(&mut self, jobs: Vec<Job>) {
        let now = Instant::now();
        self.recent.retain(|_, recent| recent.unsigned || recent.due > now);
        if jobs.is_empty() && self.recent.values().all(|recent| recent.due > now) {
            return;
        }
        let Some(connection) = self.connection.take() else {
            self.recent.clear();
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let error = failure.unwrap_or(WriteError::Closed);
            jobs.into_iter().for_each(|job| job.refuse(error.clone()));
            return;
        };
        match self.transact(&connection, &jobs, now) {
            Ok(done) => {
                self.connection = Some(connection);
                self.settle(jobs, done, now);
            }
            Err(source) => {
                let error = self.fail(connection, source);
                jobs.into_iter().for_each(|job| job.refuse(error.clone()));
            }
        }
    }

    fn transact(&self, connection: &Connection, jobs: &[Job], now: Instant) -> Result<Done, rusqlite::Error> {
        let mut batch = Batch::begin(connection, &self.tenants)?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        let mut signed = Vec::new();
        for job in jobs {
            outcomes.push(match job {
                Job::Append { deadline: Some(deadline), .. } if *deadline <= now => {
                    Outcome::Refused(WriteError::Late)
                }
                Job::Append { request, .. } => match batch.alone(|batch| batch.append(request))? {
                    Ok(appended) => Outcome::Appended(appended),
                    Err(error) => Outcome::Refused(error),
                },
                Job::Save { tenant, snapshot, .. } => {
                    match batch.alone(|batch| batch.save(tenant, snapshot))? {
                        Ok(()) => Outcome::Saved,
                        Err(error) => Outcome::Refused(error),
                    }
                }
                Job::Sign { tenant, .. } => {
                    match batch.alone(|batch| batch.sign(tenant, &self.key, self.boots))? {
                        Ok(made) => {
                            signed.push((tenant.clone(), made.tenant));
                            Outcome::Signed(made)
                        }
                        Err(error) => Outcome::Refused(error),
                    }
                }
                Job::Reopen { .. } => Outcome::Refused(WriteError::Closed),
            });
        }
        // A tenant that was not written to lately gets a checkpoint with its first entries.
        let fresh = written(jobs, &outcomes).filter(|tenant| !self.recent.contains_key(*tenant));
        let late = self.recent.iter().filter(|(_, recent)| recent.due <= now).map(|(tenant, _)| tenant);
        let due: BTreeSet<&Name> = fresh.chain(late).collect();
        for tenant in due {
            // A tenant that cannot be signed for is damaged, which its next append will be told.
            if let Ok(made) = batch.alone(|batch| batch.sign(tenant, &self.key, self.boots))? {
                signed.push((tenant.clone(), made.tenant));
            }
        }
        Ok(Done { tenants: batch.commit()?, outcomes, signed })
    }

    /// After the commit: what was written is the state now, and everybody is told.
    fn settle(&mut self, jobs: Vec<Job>, done: Done, now: Instant) {
        self.tenants.extend(done.tenants);
        self.recent.retain(|_, recent| recent.due > now);
        for (name, tenant) in &done.signed {
            let due = now + limits::CHECKPOINT_EVERY.as_duration();
            self.recent.insert(name.clone(), Recent { due, unsigned: self.has_unsigned(name) });
            self.keepers.iter().for_each(|keeper| keeper.wake(*tenant, name.as_str()));
        }
        for name in written(&jobs, &done.outcomes) {
            let unsigned = self.has_unsigned(name);
            self.recent.entry(name.clone()).and_modify(|recent| recent.unsigned = unsigned);
        }
        for (job, outcome) in jobs.into_iter().zip(done.outcomes) {
            match (job, outcome) {
                (Job::Append { answer, .. }, Outcome::Appended(made)) => answer(Ok(made)),
                (Job::Save { answer, .. }, Outcome::Saved) => answer(Ok(())),
                (Job::Sign { answer, .. }, Outcome::Signed(made)) => answer(Ok(made)),
                (job, Outcome::Refused(error)) => job.refuse(error),
                (job, _) => job.refuse(WriteError::Closed),
            }
        }
    }

    /// True when a tenant has entries that no checkpoint covers.
    fn has_unsigned(&self, name: &Name) -> bool {
        self.tenants.get(name).is_some_and(|tenant| tenant.frontier.size() > tenant.signed)
    }

    /// After a failed transaction: nothing in memory has changed. Whether the database has is open, unless it was only
    /// busy; so it is let go of, without the transfer of the log that closing would bring.
    fn fail(&mut self, connection: Connection, source: rusqlite::Error) -> WriteError {
        if source.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && connection.is_autocommit() {
            self.connection = Some(connection);
            let later = Instant::now() + limits::CHECKPOINT_EVERY.as_duration();
            self.recent.values_mut().for_each(|recent| recent.due = recent.due.max(later));
            return WriteError::Busy;
        }
        self.recent.clear();
        boot::abandon(connection);
        self.stop(WriteError::Storage(Arc::new(source)))
    }

    /// From now on every request is answered with `why`.
    fn stop(&self, why: WriteError) -> WriteError {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        why
    }

    /// Lets go of the connection and of all that is known, and begins a new epoch with what the file says; provided the
    /// file still has what was vouched for.
    fn reopen(&mut self, at: Timestamp) -> Result<u64, WriteError> {
        self.tenants.clear();
        self.recent.clear();
        if let Some(connection) = self.connection.take() {
            boot::abandon(connection);
        }
        match self.open_again(at) {
            Ok((connection, boots)) => {
                self.connection = Some(connection);
                self.boots = boots;
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Ok(boots.0)
            }
            Err(error) => Err(self.stop(WriteError::Reopen(Arc::new(error)))),
        }
    }

    fn open_again(&self, at: Timestamp) -> Result<(Connection, (u64, Hash)), OpenError> {
        let sql = |source| OpenError::Sql { path: self.path.clone(), source };
        let connection = connection::open_writer(&self.path).map_err(sql)?;
        for keeper in self.keepers.iter() {
            hold_to_anchors(&connection, keeper.dir(), self.key.verifier())?;
        }
        let boots = boot::record(&connection, at, &self.version).map_err(sql)?;
        Ok((connection, boots))
    }
}

/// The tenants that entries were added to.
fn written<'a>(jobs: &'a [Job], outcomes: &'a [Outcome]) -> impl Iterator<Item = &'a Name> {
    jobs.iter().zip(outcomes).filter_map(|(job, outcome)| match (job, outcome) {
        (Job::Append { request, .. }, Outcome::Appended(_)) => Some(&request.tenant),
        _ => None,
    })
}

struct Done {
    tenants: HashMap<Name, Tenant>,
    outcomes: Vec<Outcome>,
    signed: Vec<(Name, i64)>,
}

enum Outcome {
    Appended(Appended),
    Saved,
    Signed(Signed),
    Refused(WriteError),
}
