//! The loop: collect, decide, write down, do. [`Core`] is one turn of it without threads or clocks, which is what the
//! simulator drives; [`Driver`] is the thread around it.

mod commits;
mod core;
mod due;
mod handle;
mod inbox;
mod keepable;
mod letterbox;
mod stops;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eparch_domain::{Clock, Name, Span, limits};
use eparch_governor::{Effect, Event};
use eparch_ledger::EffectRef;

use self::commits::{Flight, Landed, Next, Waiting};
pub use self::core::{Core, Decided, Done, ENGINE, Input, RecoverError, SavedState, TurnError, Unreadable};
pub use self::handle::{Handle, SubmitError};
use self::handle::{Message, Retry};
use self::inbox::{Inbox, Taken};
pub(crate) use self::letterbox::Letterbox;
use self::stops::Stops;
use crate::journal::{Journal, JournalError, Left};

/// A snapshot is taken after so many entries at least: recovery reads about that many, and a journal of a million holds a
/// hundred moments that were worth writing.
const SNAPSHOT_EVERY: u64 = 10_000;

/// And after one more for each so many bytes of the last snapshot, about what an entry takes: states are not to be more of what is
/// written than the entries they save reading.
const SNAPSHOT_BYTES_AN_ENTRY: u64 = 1_024;

/// Nobody is woken sooner: ledger time is counted in milliseconds.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// What the driver tells of what it does. Called on the driver's thread: must return at once.
pub trait Shell: Send {
    /// A decision is durable. Its effects are performed by [`Shell::perform`] next.
    fn committed(&mut self, done: &Done);
    /// Something is to be done; `at` is what its result acknowledges.
    fn perform(&mut self, at: Option<EffectRef>, effect: &Effect);
    /// The ledger could not be written. Nothing decided since the last [`Shell::committed`] counts, and whatever is being
    /// performed belongs to an epoch that is over: end it.
    fn stopped(&mut self, why: &JournalError);
    /// State cannot be rebuilt from the ledger either, for a reason that was not told before.
    fn unable(&mut self, why: &str) {
        let _ = why;
    }
}

/// Why a stopped tenant refuses.
fn stopped_by(why: &str) -> SubmitError {
    SubmitError::Ledger(format!("it has failed, and state cannot be rebuilt from it yet: {why}"))
}

/// The thread around a [`Core`].
pub struct Driver<J, S> {
    core: Option<Core<J>>,
    tenant: Name,
    /// The journal of a tenant that could not be rebuilt yet.
    stopped: Option<J>,
    /// Why it could not.
    why: String,
    /// When it is tried again if nobody has asked for something before.
    retry_at: Instant,
    /// How often it has failed since something was last decided.
    failures: u32,
    agents_at_once: u32,
    clock: Arc<dyn Clock>,
    shell: S,
    from: Inbox<Message, Landed>,
    /// What is decided and waits for the journal.
    next: Next,
    /// What the journal writes.
    flight: Option<Flight>,
    /// How often it was given something.
    flights: u64,
    /// Another process has the journal now: nothing can ever be decided here again.
    taken_over: bool,
    /// An epoch of this process is written down.
    has_begun: bool,
    saved_at: u64,
    /// The bytes of the last snapshot this driver took; 0 before.
    saved_bytes: Arc<AtomicU64>,
    /// The snapshot that is being written.
    saving: Option<JoinHandle<()>>,
    /// Stops of everything that are not known to be written.
    stops: Stops,
}

impl<J: Journal + Clone + Send + 'static, S: Shell> Driver<J, S> {
    /// A driver for a recovered core, with the handle to it.
    pub fn new(
        core: Core<J>,
        agents_at_once: u32,
        clock: Arc<dyn Clock>,
        shell: impl FnOnce(Handle) -> S,
    ) -> (Driver<J, S>, Handle) {
        let (to, from) = Inbox::with_capacity(limits::DRIVER_QUEUE);
        let handle = Handle { to, letterbox: None };
        let shell = shell(handle.clone());
        let (tenant, saved_at) = (core.tenant().clone(), core.saved());
        (
            Driver {
                core: Some(core),
                tenant,
                stopped: None,
                why: String::new(),
                retry_at: Instant::now(),
                failures: 0,
                agents_at_once,
                clock,
                shell,
                from,
                next: Next::default(),
                flight: None,
                flights: 0,
                taken_over: false,
                has_begun: false,
                saved_at,
                saved_bytes: Arc::default(),
                saving: None,
                stops: Stops::default(),
            },
            handle,
        )
    }

    /// Runs until it is told to stop, or every handle is gone, or another process has taken the journal over. Begins the
    /// epoch first, and saves the last state.
    pub fn run(mut self) {
        self.begin_epoch();
        let mut going = true;
        while going && !self.taken_over {
            let mut batch = Vec::new();
            let room = self.room();
            match self.next() {
                Taken::One(message) => going = self.take(message, &mut batch),
                Taken::Back(landed) => self.land(landed),
                Taken::Nothing if self.overdue_at().is_some_and(|at| at <= Instant::now()) => self.give_up(),
                Taken::Nothing if self.stopped.is_some() => self.try_again(),
                Taken::Nothing => batch.push((Event::ClockTurned.into(), None)),
                Taken::Over => going = false,
            }
            // What has come meanwhile is written down together. Looks are counted like decisions, and the time they take as
            // well: there may always be another one, and a long one.
            let until = Instant::now() + limits::COMMIT_GATHER.as_duration();
            for _ in 1..room {
                let now = Instant::now();
                if !going || now >= until {
                    break;
                }
                match self.from.take(Some(now)) {
                    Taken::One(message) => going = self.take(message, &mut batch),
                    Taken::Back(landed) => self.land(landed),
                    Taken::Nothing | Taken::Over => break,
                }
            }
            self.turn(batch);
            self.save_if_due();
        }
        // The word to end may have come before what was handed in earlier and must not wait: of that so many go in a row.
        let mut last = Vec::new();
        while let Some(message) = self.from.take_first() {
            self.take(message, &mut last);
        }
        if !self.taken_over {
            self.turn(last);
        }
        self.settle();
        self.save();
    }

    /// The next message, or nothing when the governor wants to be woken, the journal is late, or a stopped tenant is to be tried
    /// again.
    fn next(&self) -> Taken<Message, Landed> {
        if self.stopped.is_some() {
            return self.from.take(Some(self.retry_at));
        }
        let deadline = self.core.as_ref().and_then(|core| core.governor().next_deadline());
        let wait = deadline.map(|deadline| deadline.at.since(self.clock.now().ledger).as_duration());
        let due = wait.map(|wait| Instant::now() + wait.max(SHORTEST_WAIT));
        self.from.take(due.into_iter().chain(self.overdue_at()).min())
    }

    fn take(&mut self, message: Message, batch: &mut Vec<Waiting>) -> bool {
        match message {
            Message::Decide(input, reply) => batch.push((*input, Some(reply))),
            // A look sees what is durable: what waits in this batch is not decided yet, and for what is it waits.
            Message::Look(look, retry) => {
                self.settle();
                if retry == Retry::Now {
                    self.try_again();
                }
                look(self.core.as_ref().map(Core::governor).ok_or_else(|| stopped_by(&self.why)));
            }
            Message::Stop => return false,
        }
        true
    }

    /// A stopped tenant is tried again whenever somebody wants something of it, and from time to time.
    fn try_again(&mut self) {
        if let Some(journal) = self.stopped.take() {
            // Whoever asked for what it begins with was answered when it failed.
            let _ = self.rebuild(journal);
        }
    }

    /// Begins a new epoch on what the journal says: whether a failed commit happened is known only to it. Returns what was
    /// decided with the boot. When that fails too, the tenant stays stopped, and is tried again.
    fn rebuild(&mut self, journal: J) -> Vec<Done> {
        let epoch = match journal.reopen() {
            Ok(epoch) => epoch,
            Err(problem) => {
                self.taken_over |= problem.left == Left::TakenOver;
                self.stop(journal, &problem);
                return Vec::new();
            }
        };
        match Core::recover(journal.clone(), self.tenant.clone(), epoch) {
            Ok(core) => {
                self.core = Some(core);
                self.begin_epoch()
            }
            Err(problem) => {
                self.stop(journal, &JournalError::of(&problem));
                Vec::new()
            }
        }
    }

    /// Returns what was decided with the boot.
    fn begin_epoch(&mut self) -> Vec<Done> {
        let Some(core) = &self.core else { return Vec::new() };
        let failed = match core.boot(self.agents_at_once) {
            Ok(boot) => {
                let first = std::iter::once(boot).chain(self.stops.waiting());
                match self.commit(first.map(|input| (input, None)).collect()) {
                    Ok(begun) => return begun,
                    Err(failed) => Some((failed.journal, failed.problem)),
                }
            }
            Err(problem) => self.core.take().map(|core| (core.into_journal(), problem)),
        };
        if let Some((journal, problem)) = failed {
            self.stop(journal, &problem);
        }
        Vec::new()
    }

    fn stop(&mut self, journal: J, why: &JournalError) {
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Instant::now() + wait_after(self.failures).as_duration();
        self.stopped = Some(journal);
        let why = why.to_string();
        if self.why != why {
            self.shell.unable(&why);
            self.why = why;
        }
    }

    fn save_if_due(&mut self) {
        let due_at = self.saved_at + snapshot_after(self.saved_bytes.load(Ordering::Relaxed));
        let due = self.core.as_ref().is_some_and(|core| core.seq() >= due_at);
        // One at a time: on a disk that is slower than the journal grows, the next one waits instead of piling up.
        let free = self.saving.as_ref().is_none_or(JoinHandle::is_finished);
        if !due || !free {
            return;
        }
        self.settle();
        if let Some(core) = &self.core {
            self.saved_at = core.seq();
            let (state, seq, journal, tenant) =
                (core.state(), core.seq(), core.journal().clone(), self.tenant.clone());
            let state = state.measured_into(self.saved_bytes.clone());
            // Writing it out is slow and may fail, as may having a thread for it: the journal has everything, whoever looks after the
            // home is told, and the next snapshot tries again.
            let write = move || drop(journal.save_snapshot(&tenant, seq, state));
            self.saving = std::thread::Builder::new().name("snapshot".to_owned()).spawn(write).ok();
        }
    }

    fn save(&mut self) {
        if let Some(saving) = self.saving.take() {
            // A snapshot that could not be written is not missed: the journal has everything.
            let _ = saving.join();
        }
        if let Some(core) = &self.core
            && core.seq() > self.saved_at
        {
            let _ = core.journal().save_snapshot(&self.tenant, core.seq(), core.state());
        }
    }
}

/// After how many entries the next snapshot is taken, when the last one had so many bytes.
fn snapshot_after(saved_bytes: u64) -> u64 {
    SNAPSHOT_EVERY.max(saved_bytes / SNAPSHOT_BYTES_AN_ENTRY)
}

/// How long a tenant that has failed so often is left alone.
fn wait_after(failures: u32) -> Span {
    let doublings = failures.saturating_sub(1).min(16);
    let millis = limits::LEDGER_RETRY.millis().saturating_mul(1 << doublings);
    Span::from_millis(millis.min(limits::LEDGER_RETRY_MAX.millis()))
}
