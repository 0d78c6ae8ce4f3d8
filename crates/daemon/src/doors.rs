//! The threads that agents' doors are on. Each door stays on one of them, and each thread has its doors to itself: of threads that
//! share, the system may keep the one waiting that was woken for all while it has a core to spare.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::driver::Letterbox;

/// So many threads: what an agent asks takes most of its time elsewhere.
const THREADS: usize = 2;

/// So many things at once, on each, that would keep it from answering: logs that are written, vaults that are opened.
const ASIDE_AT_ONCE: usize = 16;

/// See the module. The doors end with it.
pub(crate) struct Doors {
    threads: Vec<Thread>,
    /// How many doors were opened.
    opened: AtomicUsize,
}

/// One of the threads.
pub(crate) struct Thread {
    pub(crate) runtime: Handle,
    /// What the driver answers to those on it.
    pub(crate) letterbox: Arc<Letterbox>,
    /// It ends when nobody could end it.
    _end: oneshot::Sender<()>,
}

impl Doors {
    pub(crate) fn new() -> io::Result<Doors> {
        let threads = (0..THREADS).map(|_| Thread::start()).collect::<io::Result<_>>()?;
        Ok(Doors { threads, opened: AtomicUsize::new(0) })
    }

    /// Where the next door is opened.
    pub(crate) fn next(&self) -> &Thread {
        let opened = self.opened.fetch_add(1, Ordering::Relaxed);
        &self.threads[opened % self.threads.len()]
    }
}

impl Thread {
    fn start() -> io::Result<Thread> {
        let runtime =
            Builder::new_current_thread().max_blocking_threads(ASIDE_AT_ONCE).enable_all().build()?;
        let (end, ended) = oneshot::channel();
        let (handle, letterbox) = (runtime.handle().clone(), Arc::new(Letterbox::default()));
        runtime.spawn(letterbox.clone().deliver());
        std::thread::Builder::new().name("agents".to_owned()).spawn(move || {
            // Nobody says so.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Thread { runtime: handle, letterbox, _end: end })
    }
}
