//! The threads that agents' doors are on. Each door stays on one of them, and each thread has its doors to itself: of threads that
//! share, the system may keep the one waiting that was woken for all while it has a core to spare (decision 0034).

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::driver::Letterbox;

/// So many threads: what an agent asks takes most of its time elsewhere.
const THREADS: usize = 2;

/// Where doors are opened; cheap to copy.
#[derive(Clone)]
pub(crate) struct Doors(Arc<[Thread]>);

/// One of the threads.
pub(crate) struct Thread {
    pub(crate) runtime: Handle,
    /// What the driver answers to those on it. Each open door has it.
    pub(crate) letterbox: Arc<Letterbox>,
}

impl Doors {
    /// The thread for the next door: the one with the fewest, for some agents stay much longer than others.
    pub(crate) fn next(&self) -> &Thread {
        let doors = |thread: &&Thread| Arc::strong_count(&thread.letterbox);
        self.0.iter().min_by_key(doors).expect("there are some")
    }
}

/// The threads themselves: all doors end with this.
pub(crate) struct DoorThreads {
    pub(crate) doors: Doors,
    /// Each is told to end by being dropped, and says so in the same way.
    running: Vec<(oneshot::Sender<()>, mpsc::Receiver<()>)>,
    patience: Duration,
}

impl DoorThreads {
    /// `aside` is how much may be done at once, on each, that would keep it from answering. What goes on at the end is waited for as long
    /// as `patience`. Not for async code, for it may fail.
    pub(crate) fn start(aside: usize, patience: Duration) -> io::Result<DoorThreads> {
        let (mut threads, mut running) = (Vec::new(), Vec::new());
        for number in 0..THREADS {
            let name = format!("doors-{number}");
            let runtime = Builder::new_current_thread()
                .thread_name(&name)
                .max_blocking_threads(aside)
                .enable_all()
                .build()?;
            let letterbox = Arc::<Letterbox>::default();
            runtime.spawn(letterbox.clone().deliver());
            threads.push(Thread { runtime: runtime.handle().clone(), letterbox });
            let ((end, to_end), (over, is_over)) = (oneshot::channel(), mpsc::channel());
            running.push((end, is_over));
            std::thread::Builder::new().name(name).spawn(move || {
                // Nobody says so.
                let _ = runtime.block_on(to_end);
                runtime.shutdown_timeout(patience);
                drop::<mpsc::Sender<()>>(over);
            })?;
        }
        Ok(DoorThreads { doors: Doors(threads.into()), running, patience })
    }
}

impl Drop for DoorThreads {
    fn drop(&mut self) {
        let (ends, over): (Vec<_>, Vec<_>) = self.running.drain(..).unzip();
        drop(ends);
        for over in over {
            // Nothing is sent: it is over, or it takes too long. What is done aside has as much time of its own.
            let _ = over.recv_timeout(self.patience * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a future runs.
    async fn thread() -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }

    #[test]
    fn doors_are_spread_and_end_with_their_threads() {
        let threads = DoorThreads::start(1, Duration::from_secs(60)).unwrap();
        let doors = threads.doors.clone();
        let open = |thread: &Thread| {
            let door = thread.letterbox.clone();
            let (opened, is_open) = mpsc::channel();
            let ends = thread.runtime.spawn(async move {
                let _door = door;
                opened.send(self::thread().await.unwrap()).unwrap();
                std::future::pending::<()>().await
            });
            (is_open.recv().unwrap(), ends)
        };
        let four: Vec<_> = (0..4).map(|_| open(doors.next())).collect();
        let on = |name: &str| four.iter().filter(|(on, _)| on == name).count();
        assert_eq!((on("doors-0"), on("doors-1")), (2, 2));
        let (left, door) = &four[0];
        door.abort();
        while !door.is_finished() {
            std::thread::yield_now();
        }
        assert_eq!(&open(doors.next()).0, left, "where there are fewest");
        drop(threads);
        assert!(four.iter().all(|(_, door)| door.is_finished()));
    }
}
