//! One thread per anchor folder that copies notes from the database into it. A folder that fails or hangs holds up nobody:
//! the journal goes on, the failure is counted and shown, and the notes follow when the folder is back.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::anchor::{self, Tail};
use crate::connection;
use crate::entry::to_sql;
use crate::note::Checkpoint;
use crate::note::VerifierKey;

/// How long a folder that failed is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// How an anchor folder is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorHealth {
    /// The folder.
    pub dir: PathBuf,
    /// Attempts that failed since the ledger was opened.
    pub failures: u64,
    /// What the last failure was; `None` once it has worked again.
    pub last_error: Option<String>,
    /// How many tenants have notes that are not in the folder yet.
    pub behind: usize,
}

/// Keeps one folder up to date.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Tenants with notes to copy, by row id.
    due: BTreeMap<i64, String>,
    /// How far each tenant's file is: the size in its last note.
    kept: HashMap<i64, u64>,
    failures: u64,
    last_error: Option<String>,
    /// No attempt before this.
    rest_until: Option<Instant>,
    closing: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        match until {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

impl Keeper {
    /// Starts keeping `dir` for the journal at `journal`.
    pub(crate) fn start(dir: &Path, journal: &Path, key: &VerifierKey) -> std::io::Result<Keeper> {
        let shared =
            Arc::new(Shared { dir: dir.to_owned(), state: Mutex::default(), changed: Condvar::new() });
        let copier = Copier {
            dir: dir.to_owned(),
            journal: journal.to_owned(),
            key: key.clone(),
            connection: None,
            files: HashMap::new(),
        };
        let thread = std::thread::Builder::new().name("ledger-anchor".to_owned());
        let thread = thread.spawn({
            let shared = Arc::clone(&shared);
            move || keep(&shared, copier)
        })?;
        Ok(Keeper { shared, thread: Some(thread) })
    }

    /// Says that a tenant has notes that are not in the folder.
    pub(crate) fn wake(&self, tenant: i64, name: &str) {
        self.shared.lock().due.insert(tenant, name.to_owned());
        self.shared.changed.notify_all();
    }

    /// Waits until the folder has the note of `size`; false when it has not by `deadline`, or failed.
    pub(crate) fn wait(&self, tenant: i64, size: u64, deadline: Instant) -> bool {
        let mut state = self.shared.lock();
        let failures = state.failures;
        loop {
            if state.kept.get(&tenant).is_some_and(|kept| *kept >= size) {
                return true;
            }
            if state.failures > failures || state.ended || Instant::now() >= deadline {
                return false;
            }
            state = self.shared.wait(state, Some(deadline));
        }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.shared.dir
    }

    pub(crate) fn health(&self) -> AnchorHealth {
        let state = self.shared.lock();
        AnchorHealth {
            dir: self.shared.dir.clone(),
            failures: state.failures,
            last_error: state.last_error.clone(),
            behind: state.due.len(),
        }
    }

    /// Copies what is due, once more even after a failure, and ends. A folder that hangs past `deadline` keeps its
    /// thread, which ends with the process.
    pub(crate) fn close(mut self, deadline: Instant) {
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.changed.notify_all();
        while !state.ended && Instant::now() < deadline {
            state = self.shared.wait(state, Some(deadline));
        }
        let ended = state.ended;
        drop(state);
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            // A panic in there was already printed, and the notes are still in the database.
            let _ = thread.join();
        }
    }
}

/// Marks the keeper as ended even when its thread panics, so that nobody waits for it.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

fn keep(shared: &Shared, mut copier: Copier) {
    let _ended = Ended(shared);
    loop {
        let mut state = shared.lock();
        let (tenant, name) = loop {
            let resting = state.rest_until.filter(|until| *until > Instant::now());
            match state.due.first_key_value() {
                Some((tenant, name)) if resting.is_none() || state.closing => break (*tenant, name.clone()),
                None if state.closing => return,
                None => state = shared.wait(state, None),
                Some(_) => state = shared.wait(state, resting),
            }
        };
        state.due.remove(&tenant);
        let closing = state.closing;
        drop(state);
        let copied = copier.copy(tenant, &name);
        let mut state = shared.lock();
        match copied {
            Ok(size) => {
                state.kept.insert(tenant, size);
                state.last_error = None;
                state.rest_until = None;
            }
            Err(error) => {
                state.failures += 1;
                state.last_error = Some(error);
                state.rest_until = Some(Instant::now() + RETRY);
                // While closing, one attempt each is all.
                if !closing {
                    state.due.entry(tenant).or_insert(name);
                }
            }
        }
        drop(state);
        shared.changed.notify_all();
    }
}

struct Copier {
    dir: PathBuf,
    journal: PathBuf,
    key: VerifierKey,
    connection: Option<Connection>,
    /// For each tenant, the size in the file's last note and the file's length.
    files: HashMap<i64, (u64, u64)>,
}

impl Copier {
    /// Copies every note the file lacks; returns the size in its last one.
    fn copy(&mut self, tenant: i64, name: &str) -> Result<u64, String> {
        let copied = self.try_copy(tenant, name);
        if copied.is_err() {
            // What was known about the file may no longer be so.
            self.files.remove(&tenant);
            self.connection = None;
        }
        copied
    }

    fn try_copy(&mut self, tenant: i64, name: &str) -> Result<u64, String> {
        let path = anchor::path(&self.dir, name);
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let database = |error: rusqlite::Error| format!("cannot read checkpoints from the journal: {error}");
        let connection = match self.connection.take() {
            Some(connection) => self.connection.insert(connection),
            None => self.connection.insert(connection::open_reader(&self.journal).map_err(database)?),
        };
        let (size, length) = match self.files.get(&tenant) {
            Some(known) => *known,
            None => {
                let tail = Tail::read(&path).map_err(|error| failed(&error))?;
                (continued(connection, tenant, &tail, &self.key).map_err(|error| failed(&error))?, tail.whole)
            }
        };
        let mut rows = connection
            .prepare_cached("SELECT size, note FROM checkpoint WHERE tenant = ?1 AND size > ?2 ORDER BY size")
            .map_err(database)?;
        let rows = rows
            .query_map([tenant, to_sql(size)], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
            .map_err(database)?;
        let rows: Vec<(i64, String)> = rows.collect::<Result<_, _>>().map_err(database)?;
        let newest = rows.last().map_or(size, |(size, _)| size.unsigned_abs());
        let notes: Vec<String> = rows.into_iter().map(|(_, note)| note).collect();
        let length = if notes.is_empty() {
            length
        } else {
            anchor::append(&path, length, &notes).map_err(|error| failed(&error))?
        };
        self.files.insert(tenant, (newest, length));
        Ok(newest)
    }
}

/// The size in a file's last note, provided the database has the same note.
fn continued(
    connection: &Connection,
    tenant: i64,
    tail: &Tail,
    key: &VerifierKey,
) -> Result<u64, Box<dyn std::error::Error>> {
    let Some(note) = &tail.note else {
        return if tail.whole == 0 { Ok(0) } else { Err("its last note cannot be read".into()) };
    };
    let size = Checkpoint::verify(note, std::slice::from_ref(key))?.size;
    let known: Result<String, _> = connection.query_row(
        "SELECT note FROM checkpoint WHERE tenant = ?1 AND size = ?2",
        [tenant, to_sql(size)],
        |row| row.get(0),
    );
    match known {
        Ok(known) if known == *note => Ok(size),
        Ok(_) | Err(rusqlite::Error::QueryReturnedNoRows) => {
            Err("its last note is not one of the journal's".into())
        }
        Err(error) => Err(error.into()),
    }
}
