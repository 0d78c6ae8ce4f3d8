//! One thread per anchor folder that copies notes from the database into it. A folder that fails or hangs holds up nobody:
//! the journal goes on, the failure is counted and shown, and the notes follow when the folder is back. Nor does one
//! tenant's file that cannot be continued hold up another's.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eparch_domain::Name;
use rusqlite::Connection;

use crate::anchor::{self, Tail};
use crate::connection;
use crate::entry::to_sql;
use crate::note::Checkpoint;
use crate::note::VerifierKey;
use crate::witness::Witness;

/// How long a file that failed is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// Notes copied at once, some 400 kilobytes: a folder may have missed months of them.
const PAGE: i64 = 1_000;

/// How an anchor folder is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorHealth {
    /// The folder.
    pub dir: PathBuf,
    /// Attempts that failed since the ledger was opened.
    pub failures: u64,
    /// What failed, for one of the tenants it failed for; `None` once it has worked again for all.
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
    due: BTreeMap<i64, Due>,
    /// The tenant whose turn it was last.
    last: i64,
    /// How often it was said that a tenant has notes to copy.
    asked: HashMap<i64, u64>,
    /// How far each tenant's file was when it was last looked at: the size in its last note, and how often it had been said
    /// by then that there are some to copy.
    kept: HashMap<i64, (u64, u64)>,
    /// Attempts that failed for each tenant, and what the last one failed of unless a later one did not.
    failed: BTreeMap<i64, (u64, Option<String>)>,
    closing: bool,
    ended: bool,
}

/// A tenant with notes to copy.
#[derive(Debug)]
struct Due {
    name: Name,
    /// How often that was said.
    asked: u64,
    /// No attempt before this.
    rest_until: Option<Instant>,
}

impl State {
    /// The tenant whose turn it is, in rounds; else when to look again.
    fn turn(&mut self, now: Instant) -> Result<(i64, Due), Option<Instant>> {
        let ready = |due: &Due| self.closing || due.rest_until.is_none_or(|until| until <= now);
        let after = self.due.range(self.last.saturating_add(1)..).chain(self.due.range(..=self.last));
        let turn = after.filter(|(_, due)| ready(due)).map(|(tenant, _)| *tenant).next();
        let Some(tenant) = turn else {
            return Err(self.due.values().filter_map(|due| due.rest_until).min());
        };
        self.last = tenant;
        let due = self.due.remove(&tenant).expect("it was found there");
        Ok((tenant, due))
    }

    fn failures(&self, tenant: i64) -> u64 {
        self.failed.get(&tenant).map_or(0, |(count, _)| *count)
    }
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
    /// Starts keeping `dir` for the journal at `journal`. The folder is made when absent, unless it is a witness's.
    pub(crate) fn start(
        dir: &Path,
        witness: Option<Witness>,
        journal: &Path,
        key: &VerifierKey,
    ) -> std::io::Result<Keeper> {
        let shared =
            Arc::new(Shared { dir: dir.to_owned(), state: Mutex::default(), changed: Condvar::new() });
        let copier = Copier {
            dir: dir.to_owned(),
            witness,
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
    pub(crate) fn wake(&self, tenant: i64, name: &Name) {
        let mut state = self.shared.lock();
        let asked = state.asked.entry(tenant).or_default();
        *asked += 1;
        let asked = *asked;
        let due = || Due { name: name.clone(), asked, rest_until: None };
        state.due.entry(tenant).or_insert_with(due).asked = asked;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until the folder has the note of `size`, of which it has been said that it is to be copied; false when it has
    /// not by `deadline`, or failed for this tenant. What the folder had before may have been lost since.
    pub(crate) fn wait(&self, tenant: i64, size: u64, deadline: Instant) -> bool {
        let mut state = self.shared.lock();
        let failures = state.failures(tenant);
        let asked = state.asked.get(&tenant).copied().unwrap_or_default();
        loop {
            if state.kept.get(&tenant).is_some_and(|kept| kept.0 >= size && kept.1 >= asked) {
                return true;
            }
            if state.failures(tenant) > failures || state.ended || Instant::now() >= deadline {
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
            failures: state.failed.values().map(|(count, _)| count).sum(),
            last_error: state.failed.values().find_map(|(_, what)| what.clone()),
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
        let (tenant, due) = loop {
            match state.turn(Instant::now()) {
                Ok(turn) => break turn,
                Err(_) if state.closing => return,
                Err(until) => state = shared.wait(state, until),
            }
        };
        let closing = state.closing;
        drop(state);
        let copied = copier.copy(tenant, &due.name);
        let mut state = shared.lock();
        match copied {
            Ok(size) => {
                state.kept.insert(tenant, (size, due.asked));
                if let Some((_, what)) = state.failed.get_mut(&tenant) {
                    *what = None;
                }
            }
            Err(error) => {
                let failures = state.failures(tenant) + 1;
                state.failed.insert(tenant, (failures, Some(error)));
                // While closing, one attempt each is all.
                if !closing {
                    let rest_until = Some(Instant::now() + RETRY);
                    state
                        .due
                        .entry(tenant)
                        .and_modify(|again| again.rest_until = rest_until)
                        .or_insert(Due { rest_until, ..due });
                }
            }
        }
        drop(state);
        shared.changed.notify_all();
    }
}

struct Copier {
    dir: PathBuf,
    witness: Option<Witness>,
    journal: PathBuf,
    key: VerifierKey,
    connection: Option<Connection>,
    /// For each tenant, the size in the file's last note and the file's length.
    files: HashMap<i64, (u64, u64)>,
}

impl Copier {
    /// Copies every note the file lacks; returns the size in its last one.
    fn copy(&mut self, tenant: i64, name: &Name) -> Result<u64, String> {
        let copied = self.try_copy(tenant, name);
        if copied.is_err() {
            // What was known about the file may no longer be so.
            self.files.remove(&tenant);
            self.connection = None;
        }
        copied
    }

    fn try_copy(&mut self, tenant: i64, name: &Name) -> Result<u64, String> {
        let path = anchor::path(&self.dir, name.as_str());
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        // Made here, it would lie on this disk while the one that should be mounted there is away.
        if self.witness.is_some() && !self.dir.is_dir() {
            return Err(format!("the folder {} is not there", self.dir.display()));
        }
        let connection = match self.connection.take() {
            Some(connection) => self.connection.insert(connection),
            None => self.connection.insert(connection::open_reader(&self.journal).map_err(database)?),
        };
        // A file of another length was put there, cut or removed by somebody else, and is looked at anew.
        let is_so = |length: u64| std::fs::metadata(&path).is_ok_and(|file| file.len() == length);
        let mut cut = false;
        let (mut size, mut length) = match self.files.get(&tenant).filter(|known| is_so(known.1)) {
            Some(known) => *known,
            None => {
                let tail = Tail::read(&path).map_err(|error| failed(&error))?;
                if let Some(witness) = self.witness.as_ref().filter(|_| tail.whole == 0) {
                    witness.see_that_it_is_there().map_err(|error| failed(&error))?;
                }
                cut = tail.rest > 0;
                (continued(connection, tenant, &tail, &self.key).map_err(|error| failed(&error))?, tail.whole)
            }
        };
        loop {
            let notes = notes_after(connection, tenant, size)?;
            if notes.is_empty() && !cut {
                break;
            }
            cut = false;
            size = notes.last().map_or(size, |(newest, _)| *newest);
            let notes = notes.into_iter().map(|(size, note)| believed(&self.key, name, size, note));
            let notes: Vec<String> = notes.collect::<Result<_, _>>()?;
            length = anchor::append(&path, length, &notes).map_err(|error| failed(&error))?;
        }
        if let Some(witness) = self.witness.as_mut().filter(|_| length > 0) {
            witness.remember().map_err(|error| failed(&error))?;
        }
        self.files.insert(tenant, (size, length));
        Ok(size)
    }
}

/// A note that leaves the house is one that we signed: others are asked about it later.
fn believed(key: &VerifierKey, name: &Name, size: u64, note: String) -> Result<String, String> {
    match Checkpoint::verify(&note, std::slice::from_ref(key)) {
        Ok(checkpoint) if checkpoint.size == size && checkpoint.origin == key.origin(name.as_str()) => {
            Ok(note)
        }
        Ok(_) => Err(format!("checkpoint {size} in the journal is another's")),
        Err(bad) => Err(format!("checkpoint {size} in the journal: {bad}")),
    }
}

fn database(error: rusqlite::Error) -> String {
    format!("cannot read checkpoints from the journal: {error}")
}

/// The next notes of a tenant, by their sizes.
fn notes_after(connection: &Connection, tenant: i64, size: u64) -> Result<Vec<(u64, String)>, String> {
    let query = "SELECT size, note FROM checkpoint WHERE tenant = ?1 AND size > ?2 ORDER BY size LIMIT ?3";
    let mut rows = connection.prepare_cached(query).map_err(database)?;
    let rows = rows
        .query_map([tenant, to_sql(size), PAGE], |row| {
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, String>(1)?))
        })
        .map_err(database)?;
    rows.collect::<Result<_, _>>().map_err(database)
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
