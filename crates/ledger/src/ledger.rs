//! The ledger as its one writer sees it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eparch_domain::{Digest, Name, Timestamp, limits};
use rusqlite::Connection;

use crate::boot;
use crate::condition::Condition;
use crate::connection::{self, Log};
use crate::entry::{Append, Appended, Document, EffectRef, Snapshot};
use crate::folder;
use crate::hold::{Hold, NotHeld};
use crate::keeper::{AnchorHealth, Keeper};
use crate::key::{KeyError, LedgerKey};
use crate::note::VerifierKey;
use crate::open::{OpenError, hold_to_anchors, io_error, refuse_unsigned, signed_tenants, with_suffix};
use crate::queue::{Queue, Unsent};
use crate::read::{ReadError, Reader};
use crate::schema::JOURNAL;
use crate::settings::Settings;
use crate::snapshots::{self, State};
use crate::witness::Witness;
use crate::write_error::WriteError;
use crate::writer::{Ask, Job, Writer};

/// Requests that may wait for the writer; a sender past this waits. Two full batches keep the writer busy.
const QUEUE: usize = 2 * limits::COMMIT_BATCH;

/// How long a state may take to be saved before whoever waits for it gives up.
const SAVE_WITHIN: Duration = Duration::from_secs(10);

/// How the ledger is doing.
#[derive(Debug, Clone)]
pub struct Health {
    /// The number of this boot; what an earlier one had not finished is void.
    pub epoch: u64,
    /// Why nothing can be written until [`Ledger::reopen`]; `None` when all is well.
    pub failure: Option<WriteError>,
    /// Tenants whose history grows while no checkpoint can be signed for it, and why not.
    pub unsigned: BTreeMap<Name, WriteError>,
    /// Each anchor folder.
    pub anchors: Vec<AnchorHealth>,
    /// What was met since the opening that is worth knowing and stops nothing: work in progress that was damaged and made
    /// anew, snapshots that were passed over or could not be saved, anchor files that hold nothing to rely on.
    pub notices: Vec<String>,
}

/// A checkpoint and where it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// How many entries it covers.
    pub size: u64,
    /// The signed note.
    pub note: String,
    /// Folders that do not have it yet: see [`Health::anchors`].
    pub missing: Vec<PathBuf>,
}

/// The open ledger: the only writer of its journal. It can be shared between threads. Dropping it writes what waits,
/// signs the tail and lets go of the lock.
pub struct Ledger {
    settings: Settings,
    key: Arc<LedgerKey>,
    queue: Arc<Queue<Job>>,
    keepers: Arc<Vec<Keeper>>,
    condition: Arc<Condition>,
    reader: Mutex<Reader>,
    /// A state is being saved.
    saving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Where the writer's connection comes out at its end.
    ended: Mutex<Receiver<Option<Connection>>>,
    /// That connection. It goes after the readers': the last to leave folds the log into the file, which a reader cannot.
    last: Mutex<Option<Connection>>,
    hold: Option<Hold>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// An append under way.
#[derive(Debug)]
pub struct Pending {
    answer: Receiver<Result<Appended, WriteError>>,
}

impl Pending {
    /// Waits for the outcome until `deadline`.
    ///
    /// # Errors
    ///
    /// [`WriteError::Late`] when there is none by then; else why nothing was added.
    pub fn wait(self, deadline: Instant) -> Result<Appended, WriteError> {
        wait(&self.answer, deadline)
    }
}

fn wait<T>(answer: &Receiver<Result<T, WriteError>>, deadline: Instant) -> Result<T, WriteError> {
    answer.recv_timeout(deadline.saturating_duration_since(Instant::now())).map_err(|none| match none {
        RecvTimeoutError::Timeout => WriteError::Late,
        RecvTimeoutError::Disconnected => WriteError::Closed,
    })?
}

/// A state is being saved, until this is dropped: whatever becomes of it, the next one can be.
struct Saving(Arc<AtomicBool>);

impl Drop for Saving {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Ledger {
    /// Opens the ledger for writing and begins a new epoch: takes the lock, makes or loads the key, brings the schema up
    /// to date, refuses a history that was never signed for, and holds the journal to the newest checkpoint in every anchor
    /// folder that can be read. `at` and `version` are recorded with the boot.
    pub fn open(settings: &Settings, at: Timestamp, version: &str) -> Result<Ledger, OpenError> {
        let path = &settings.path;
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            folder::make(dir, folder::SHARED, folder::sync_dir).map_err(io_error("make the folder", dir))?;
        }
        let lock = with_suffix(path, ".lock");
        let hold = Hold::take(&lock).map_err(|not| match not {
            NotHeld::By(pid) => OpenError::Held { path: path.clone(), pid },
            NotHeld::Io(source) => io_error("lock", &lock)(source),
        })?;
        let fresh = match fs::metadata(path) {
            Ok(file) => file.len() == 0,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            // A journal that cannot be seen now may be an old one, whose key must not be drawn anew.
            Err(error) => return Err(io_error("look at", path)(error)),
        };
        let key = match LedgerKey::load(&settings.keys_dir) {
            // An old journal without its key is somebody's mistake; a new key would hide it.
            Err(KeyError::Missing { .. }) if fresh => LedgerKey::create(&settings.keys_dir)?,
            other => other?,
        };
        key.publish(&settings.keys_dir)?;
        let key = Arc::new(key);
        let sql = |source| OpenError::Sql { path: path.clone(), source };
        let mut connection = connection::open_writer(path).map_err(sql)?;
        JOURNAL.migrate(&mut connection)?;
        let mut notices = Vec::new();
        refuse_unsigned(&connection)?;
        let signed = signed_tenants(&connection)?;
        for dir in settings.anchors() {
            notices.extend(hold_to_anchors(&connection, dir, key.verifier(), &signed)?);
        }
        let recorded = boot::record(&mut connection, at, version, |_, _| true).map_err(sql)?;
        let (boots, repaired) = recorded.expect("any boot before this one is agreed with");
        let condition = Arc::new(Condition::new(boots.0));
        notices.into_iter().for_each(|what| condition.notice(what));
        condition.repaired(boots.0, &repaired);
        let reader = Reader::open(path)?;

        let mut keepers = Vec::new();
        for dir in settings.anchors() {
            let is_witness = dir != settings.anchors_dir;
            let witness = is_witness.then(|| Witness::of(dir, &settings.anchors_dir));
            let keeper = Keeper::start(dir, witness, path, key.verifier())
                .map_err(io_error("keep anchors in", dir))?;
            keepers.push(keeper);
        }
        for keeper in &keepers {
            signed.iter().for_each(|(id, name)| keeper.wake(*id, name));
        }
        let keepers = Arc::new(keepers);
        let queue = Arc::new(Queue::new(QUEUE));
        let (leave, ended) = sync_channel(1);
        let writer = Writer {
            path: path.clone(),
            version: version.to_owned(),
            key: Arc::clone(&key),
            queue: Arc::clone(&queue),
            keepers: Arc::clone(&keepers),
            boots: boot::Ours::new(boots),
            connection: Some(connection),
            log: Log::default(),
            condition: Arc::clone(&condition),
            tenants: std::collections::HashMap::new(),
            recent: std::collections::BTreeMap::new(),
        };
        let thread = std::thread::Builder::new().name("ledger-writer".to_owned());
        let work = move || {
            // Nobody waits any more when the writer took too long to end; then the process ends with the connection open.
            let _ = leave.send(writer.run());
        };
        let thread = thread.spawn(work).map_err(io_error("start the writer of", path))?;
        Ok(Ledger {
            settings: settings.clone(),
            key,
            queue,
            keepers,
            condition,
            reader: Mutex::new(reader),
            saving: Arc::default(),
            thread: Some(thread),
            ended: Mutex::new(ended),
            last: Mutex::new(None),
            hold: Some(hold),
        })
    }

    /// When what is asked for now counts as failed.
    fn deadline(&self) -> Instant {
        Instant::now() + self.settings.write_within.as_duration()
    }

    /// Adds entries and returns when they are durable.
    ///
    /// # Errors
    ///
    /// [`WriteError::Late`] after [`Settings::write_within`]: the tenant counts as stopped, since the entries may yet be written. See [`WriteError`] for the rest.
    pub fn append(&self, request: Append) -> Result<Appended, WriteError> {
        let deadline = self.deadline();
        self.append_later(request).wait(deadline)
    }

    /// Hands entries to the writer and returns at once, or when a full queue has room.
    pub fn append_later(&self, request: Append) -> Pending {
        let (tell, answer) = sync_channel(1);
        self.append_then(request, move |outcome| {
            // Whoever waited may have given up.
            let _ = tell.send(outcome);
        });
        Pending { answer }
    }

    /// Hands entries to the writer, which calls `answer` when they are durable or refused. `answer` runs on the writer's
    /// thread: it must neither wait nor panic.
    pub fn append_then(
        &self,
        request: Append,
        answer: impl FnOnce(Result<Appended, WriteError>) + Send + 'static,
    ) {
        let deadline = self.deadline();
        let job = Job { deadline, ask: Ask::Append { request, answer: Box::new(answer) } };
        if let Err((job, why)) = self.queue.send(job, deadline) {
            job.ask.refuse(unsent(&why));
        }
    }

    /// Saves a tenant's state after entry `seq`, as `state` writes it out, beside the journal, where nobody who appends waits for it; the
    /// two newest are kept.
    ///
    /// # Errors
    ///
    /// [`WriteError::TooLong`] past [`SNAPSHOT_MAX`](crate::SNAPSHOT_MAX), [`WriteError::State`], and [`WriteError::Late`] when it takes
    /// longer than ten seconds: they are told in [`Health::notices`] as well. While one that took longer is not done,
    /// [`WriteError::Late`] too.
    pub fn save_snapshot(
        &self,
        tenant: &Name,
        seq: u64,
        state: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<(), WriteError> {
        if self.saving.swap(true, Ordering::SeqCst) {
            return Err(WriteError::Late);
        }
        let saving = Saving(Arc::clone(&self.saving));
        let saved = self.save_alone(saving, tenant, seq, Box::new(state));
        if let Err(why) = &saved {
            self.condition.notice(snapshots::not_saved(tenant, why));
        }
        saved
    }

    fn save_alone(&self, saving: Saving, tenant: &Name, seq: u64, state: State) -> Result<(), WriteError> {
        let place = self.read().place_of(tenant, seq)?;
        let (tenant, key, into) = (tenant.clone(), Arc::clone(&self.key), self.read().snapshots().clone());
        let (tell, answer) = sync_channel(1);
        let save = move || {
            let saved = place.save(tenant.as_str(), seq, state, &key, &into);
            drop(saving);
            // Whoever asked may have given up.
            let _ = tell.send(saved);
        };
        // On a thread of its own: a disk that hangs may keep it, and nobody else.
        let thread = std::thread::Builder::new().name("snapshot-file".to_owned());
        thread.spawn(save).map_err(|error| WriteError::State(Arc::new(error)))?;
        wait(&answer, Instant::now() + SAVE_WITHIN)
    }

    /// Signs a tenant's history as it is now, and waits for the anchor folders, at most for
    /// [`limits::LEDGER_WRITE_DEADLINE`]. A folder that fails is named, and gets the note later.
    pub fn checkpoint_now(&self, tenant: &Name) -> Result<Anchored, WriteError> {
        let deadline = self.deadline();
        let name = tenant.clone();
        let signed = self.ask(|answer| Ask::Sign { tenant: name, answer })?;
        let missing = self.keepers.iter().filter(|keeper| !keeper.wait(signed.tenant, signed.size, deadline));
        let missing = missing.map(|keeper| keeper.dir().to_owned()).collect();
        Ok(Anchored { size: signed.size, note: signed.note, missing })
    }

    /// After [`WriteError::Storage`]: lets go of the database and opens it again, as a new epoch, which is returned.
    /// Whether the failed batch was written is now settled; callers rebuild from what they read.
    ///
    /// # Errors
    ///
    /// [`WriteError::Fenced`] when another process has opened the ledger since, now and for ever.
    pub fn reopen(&self, at: Timestamp) -> Result<u64, WriteError> {
        self.ask(|answer| Ask::Reopen { at, answer })
    }

    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(crate::writer::Answer<T>) -> Ask,
    ) -> Result<T, WriteError> {
        let deadline = self.deadline();
        let (tell, answer) = sync_channel(1);
        let ask = ask(Box::new(move |outcome| {
            let _ = tell.send(outcome);
        }));
        self.queue.send(Job { deadline, ask }, deadline).map_err(|(_, why)| unsent(&why))?;
        wait(&answer, deadline)
    }

    /// The number of this boot.
    pub fn epoch(&self) -> u64 {
        self.condition.epoch()
    }

    /// How the ledger is doing.
    pub fn health(&self) -> Health {
        Health {
            epoch: self.epoch(),
            failure: self.condition.failure(),
            unsigned: self.condition.unsigned(),
            anchors: self.keepers.iter().map(Keeper::health).collect(),
            notices: self.condition.notices(),
        }
    }

    /// What it takes to verify this ledger.
    pub fn verifier(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// Where the ledger lives.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A reader of one's own, for long reads.
    pub fn reader(&self) -> Result<Reader, ReadError> {
        Reader::open(&self.settings.path)
    }

    /// The shared reader, for short reads. It sees every append that has been answered.
    pub fn read(&self) -> MutexGuard<'_, Reader> {
        // A reader has no state that a panic could leave half changed.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seq of a tenant's newest entry; 0 when there is none.
    pub fn head(&self, tenant: &Name) -> Result<u64, ReadError> {
        self.read().head(tenant)
    }

    /// Every effect of a tenant that is written down and has no result yet, oldest first.
    pub fn outbox(&self, tenant: &Name) -> Result<Vec<EffectRef>, ReadError> {
        self.read().outbox(tenant)
    }

    /// A tenant's newest saved state that can be believed; newer ones that cannot are told in [`Health::notices`].
    pub fn snapshot(&self, tenant: &Name) -> Result<Option<Snapshot>, ReadError> {
        let (found, passed_over) = self.read().snapshot(tenant, self.key.verifier())?;
        for seq in passed_over {
            let what = format!("the snapshot of tenant {tenant} after entry {seq} is not what was saved");
            self.condition.notice(format!("{what}; it was passed over"));
        }
        Ok(found)
    }

    /// A document of a tenant.
    pub fn document(&self, tenant: &Name, digest: &Digest) -> Result<Option<Document>, ReadError> {
        self.read().document(tenant, digest)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let deadline = self.deadline();
        self.queue.close();
        let left = deadline.saturating_duration_since(Instant::now());
        match self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => {
                // The disk hangs. The thread ends with the process, and until then nobody else may write.
                std::mem::forget(self.hold.take());
            }
            ended => {
                if let Some(thread) = self.thread.take() {
                    // A panic of the writer was printed when it happened.
                    let _ = thread.join();
                }
                self.last = Mutex::new(ended.ok().flatten());
            }
        }
        let deadline = self.deadline();
        if let Some(keepers) = Arc::get_mut(&mut self.keepers) {
            keepers.drain(..).for_each(|keeper| keeper.close(deadline));
        }
    }
}

fn unsent(why: &Unsent) -> WriteError {
    match why {
        Unsent::Full => WriteError::Late,
        Unsent::Closed => WriteError::Closed,
    }
}

#[cfg(test)]
mod tests;
