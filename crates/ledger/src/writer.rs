//! The one thread that writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eparch_domain::{Name, Timestamp, limits};
use rusqlite::{Connection, ErrorCode};

use crate::batch::{Batch, BatchError, Signed, Tenant};
use crate::boot::{self, Ours};
use crate::condition::Condition;
use crate::connection::{self, Log};
use crate::entry::{Append, Appended};
use crate::keeper::Keeper;
use crate::key::LedgerKey;
use crate::open::{OpenError, hold_to_anchors, refuse_unsigned, signed_tenants};
use crate::queue::{Queue, Taken};
use crate::write_error::WriteError;

/// How a request is answered: once, from the writer's thread.
pub(crate) type Answer<T> = Box<dyn FnOnce(Result<T, WriteError>) + Send>;

/// A request to the writer. It is carried out only if begun before its deadline: its caller has given up on it after that.
pub(crate) struct Job {
    pub(crate) deadline: Instant,
    pub(crate) ask: Ask,
}

/// What is asked of the writer.
pub(crate) enum Ask {
    Append { request: Append, answer: Answer<Appended> },
    Sign { tenant: Name, answer: Answer<Signed> },
    Reopen { at: Timestamp, answer: Answer<u64> },
}

impl Job {
    /// How much of a batch it fills, in entries. A reopening wants to be alone.
    pub(crate) fn weight(&self) -> usize {
        match &self.ask {
            Ask::Append { request, .. } => request.entries.len(),
            Ask::Sign { .. } => 1,
            Ask::Reopen { .. } => limits::COMMIT_BATCH,
        }
    }
}

impl Ask {
    pub(crate) fn refuse(self, error: WriteError) {
        match self {
            Ask::Append { answer, .. } => answer(Err(error)),
            Ask::Sign { answer, .. } => answer(Err(error)),
            Ask::Reopen { answer, .. } => answer(Err(error)),
        }
    }
}

pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
    pub(crate) key: Arc<LedgerKey>,
    pub(crate) queue: Arc<Queue<Job>>,
    pub(crate) keepers: Arc<Vec<Keeper>>,
    /// Our boots.
    pub(crate) boots: Ours,
    /// `None` after a failure of the disk: a database that failed to sync is not asked again as if nothing had been.
    pub(crate) connection: Option<Connection>,
    pub(crate) log: Log,
    /// What the ledger shows of how it is doing.
    pub(crate) condition: Arc<Condition>,
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
            jobs.into_iter().for_each(|job| job.ask.refuse(WriteError::Closed));
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
            self.move_log();
        }
    }

    /// Between two commits: whoever was in the last one has been answered. In a commit, as SQLite does it, they would wait as well.
    fn move_log(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match self.log.move_if_long(&connection) {
            Ok(()) => self.connection = Some(connection),
            // Asked again, a disk that failed to sync says that all is well.
            Err(source) => drop(self.fail(connection, source)),
        }
    }

    fn work(&mut self, jobs: Vec<Job>) {
        let mut writes = Vec::new();
        let mut now = Instant::now();
        for Job { deadline, ask } in jobs {
            if deadline <= now {
                ask.refuse(WriteError::Late);
                continue;
            }
            match ask {
                Ask::Reopen { at, answer } => {
                    self.write(std::mem::take(&mut writes));
                    answer(self.reopen(at));
                    now = Instant::now();
                }
                ask => writes.push(ask),
            }
        }
        self.write(writes);
    }

    /// Carries out requests and the checkpoints that are due in one transaction, then answers.
    fn write(&mut self, jobs: Vec<Ask>) {
        let now = Instant::now();
        self.recent.retain(|_, recent| recent.unsigned || recent.due > now);
        if jobs.is_empty() && self.recent.values().all(|recent| recent.due > now) {
            return;
        }
        let Some(connection) = self.connection.take() else {
            self.recent.clear();
            let error = self.condition.failure().unwrap_or(WriteError::Closed);
            jobs.into_iter().for_each(|job| job.refuse(error.clone()));
            return;
        };
        match self.transact(&connection, &jobs, now) {
            Ok(done) => {
                self.connection = Some(connection);
                self.settle(jobs, done, now);
            }
            Err(BatchError::Fenced { ours, found }) => {
                self.recent.clear();
                boot::abandon(connection);
                let error = self.stop(WriteError::Fenced { ours, found });
                jobs.into_iter().for_each(|job| job.refuse(error.clone()));
            }
            Err(BatchError::Sql(source)) => {
                let error = self.fail(connection, source);
                jobs.into_iter().for_each(|job| job.refuse(error.clone()));
            }
        }
    }

    fn transact(&self, connection: &Connection, jobs: &[Ask], now: Instant) -> Result<Done, BatchError> {
        let mut batch = Batch::begin(connection, &self.tenants, &self.key, self.boots.newest.0)?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        let (mut signed, mut unsigned) = (Vec::new(), Vec::new());
        for job in jobs {
            outcomes.push(match job {
                Ask::Append { request, .. } => match batch.alone(|batch| batch.append(request))? {
                    Ok(appended) => Outcome::Appended(appended),
                    Err(error) => Outcome::Refused(error),
                },
                Ask::Sign { tenant, .. } => {
                    match batch.alone(|batch| batch.sign(tenant, self.boots.newest))? {
                        Ok(made) => {
                            signed.push((tenant.clone(), made.tenant));
                            Outcome::Signed(made)
                        }
                        Err(error) => Outcome::Refused(error),
                    }
                }
                Ask::Reopen { .. } => Outcome::Refused(WriteError::Closed),
            });
        }
        // A tenant that was not written to lately gets a checkpoint with its first entries.
        let fresh = written(jobs, &outcomes).filter(|tenant| !self.recent.contains_key(*tenant));
        let late = self.recent.iter().filter(|(_, recent)| recent.due <= now).map(|(tenant, _)| tenant);
        let due: BTreeSet<&Name> = fresh.chain(late).collect();
        for tenant in due {
            match batch.alone(|batch| batch.sign(tenant, self.boots.newest))? {
                Ok(made) => signed.push((tenant.clone(), made.tenant)),
                Err(error) => unsigned.push((tenant.clone(), error)),
            }
        }
        Ok(Done { tenants: batch.commit()?, outcomes, signed, unsigned })
    }

    /// After the commit: what was written is the state now, and everybody is told.
    fn settle(&mut self, jobs: Vec<Ask>, done: Done, now: Instant) {
        self.tenants.extend(done.tenants);
        self.recent.retain(|_, recent| recent.due > now);
        for (name, tenant) in &done.signed {
            let due = now + limits::CHECKPOINT_EVERY.as_duration();
            self.recent.insert(name.clone(), Recent { due, unsigned: self.has_unsigned(name) });
            self.keepers.iter().for_each(|keeper| keeper.wake(*tenant, name));
            self.condition.signed(name);
        }
        for (name, error) in done.unsigned {
            // Nobody asked, so nobody is answered; what is wrong shows in the ledger's health until it has passed.
            let due = now + limits::CHECKPOINT_EVERY.as_duration();
            self.recent.insert(name.clone(), Recent { due, unsigned: self.has_unsigned(&name) });
            self.condition.cannot_sign(name, error);
        }
        for name in written(&jobs, &done.outcomes) {
            let unsigned = self.has_unsigned(name);
            self.recent.entry(name.clone()).and_modify(|recent| recent.unsigned = unsigned);
        }
        for (job, outcome) in jobs.into_iter().zip(done.outcomes) {
            match (job, outcome) {
                (Ask::Append { answer, .. }, Outcome::Appended(made)) => answer(Ok(made)),
                (Ask::Sign { answer, .. }, Outcome::Signed(made)) => answer(Ok(made)),
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
        self.condition.fail(Some(why.clone()));
        why
    }

    /// Lets go of the connection and of all that is known, and begins a new epoch with what the file says; provided the
    /// file still has what was vouched for, and nobody else has begun one.
    fn reopen(&mut self, at: Timestamp) -> Result<u64, WriteError> {
        if let Some(fenced @ WriteError::Fenced { .. }) = self.condition.failure() {
            return Err(fenced);
        }
        self.tenants.clear();
        self.recent.clear();
        if let Some(connection) = self.connection.take() {
            boot::abandon(connection);
        }
        match self.open_again(at) {
            Ok(connection) => {
                self.connection = Some(connection);
                self.log = Log::default();
                self.condition.begin(self.boots.newest.0);
                Ok(self.boots.newest.0)
            }
            Err(error) => Err(self.stop(error)),
        }
    }

    fn open_again(&mut self, at: Timestamp) -> Result<Connection, WriteError> {
        let failed = |error| WriteError::Reopen(Arc::new(error));
        let path = self.path.clone();
        let sql = |source| failed(OpenError::Sql { path: path.clone(), source });
        let mut connection = connection::open_writer(&self.path).map_err(sql)?;
        refuse_unsigned(&connection).map_err(failed)?;
        let signed = signed_tenants(&connection).map_err(failed)?;
        for keeper in self.keepers.iter() {
            let notices = hold_to_anchors(&connection, keeper.dir(), self.key.verifier(), &signed);
            let notices = notices.map_err(failed)?;
            notices.into_iter().for_each(|what| self.condition.notice(what));
        }
        let ours = &mut self.boots;
        let recorded =
            boot::record(&mut connection, at, &self.version, |newest, next| ours.agree(newest, next));
        match recorded.map_err(sql)? {
            Ok((boots, repaired)) => {
                self.boots = Ours::new(boots);
                self.condition.repaired(boots.0, &repaired);
                Ok(connection)
            }
            Err(newest) => Err(WriteError::Fenced { ours: self.boots.newest.0, found: newest.0 }),
        }
    }
}

/// The tenants that entries were added to.
fn written<'a>(jobs: &'a [Ask], outcomes: &'a [Outcome]) -> impl Iterator<Item = &'a Name> {
    jobs.iter().zip(outcomes).filter_map(|(job, outcome)| match (job, outcome) {
        (Ask::Append { request, .. }, Outcome::Appended(_)) => Some(&request.tenant),
        _ => None,
    })
}

struct Done {
    tenants: HashMap<Name, Tenant>,
    outcomes: Vec<Outcome>,
    signed: Vec<(Name, i64)>,
    /// Tenants whose checkpoint was due and could not be signed.
    unsigned: Vec<(Name, WriteError)>,
}

enum Outcome {
    Appended(Appended),
    Signed(Signed),
    Refused(WriteError),
}
