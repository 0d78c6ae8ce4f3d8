//! Answers of the driver to many who wait on one thread. Each answer would wake that thread by a call to the system; here the
//! first of several does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::Done;
use super::handle::SubmitError;

/// What somebody is answered.
type Answer = Result<Done, SubmitError>;

/// See the module. When nobody delivers any more what is in it goes, and whoever waits is told that the driver is gone.
#[derive(Default)]
pub(crate) struct Letterbox {
    letters: Mutex<Letters>,
    came: Notify,
}

#[derive(Default)]
struct Letters {
    waiting: Vec<(oneshot::Sender<Answer>, Answer)>,
    /// Nobody delivers any more.
    closed: bool,
}

impl Letterbox {
    /// An answer, to be delivered on the other thread.
    pub(super) fn post(&self, to: oneshot::Sender<Answer>, answer: Answer) {
        let mut letters = self.letters();
        if letters.closed {
            return;
        }
        letters.waiting.push((to, answer));
        let is_first = letters.waiting.len() == 1;
        drop(letters);
        if is_first {
            self.came.notify_one();
        }
    }

    /// Delivers what comes, for ever: on the thread of those who wait.
    pub(crate) fn deliver(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        // Closed however this ends, also before it has begun.
        let open = Open(self);
        async move {
            loop {
                // Whatever comes from here on is the first again.
                let letters = std::mem::take(&mut open.0.letters().waiting);
                if letters.is_empty() {
                    open.0.came.notified().await;
                }
                for (to, answer) in letters {
                    // Whoever does not wait any more has no use for it.
                    let _ = to.send(answer);
                }
            }
        }
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        // Nothing here can panic while it holds it.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A letterbox while somebody delivers.
struct Open(Arc<Letterbox>);

impl Drop for Open {
    fn drop(&mut self) {
        let left = {
            let mut letters = self.0.letters();
            letters.closed = true;
            std::mem::take(&mut letters.waiting)
        };
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(answer: &Answer) -> bool {
        matches!(answer, Err(SubmitError::Gone))
    }

    fn post(letterbox: &Letterbox, count: usize) -> Vec<oneshot::Receiver<Answer>> {
        let post = |_| {
            let (to, from) = oneshot::channel();
            letterbox.post(to, Err(SubmitError::Gone));
            from
        };
        (0..count).map(post).collect()
    }

    #[tokio::test]
    async fn whatever_is_posted_is_delivered_before_and_while_somebody_does() {
        let letterbox = Arc::new(Letterbox::default());
        let before = post(&letterbox, 3);
        let delivering = tokio::spawn(letterbox.clone().deliver());
        for waiting in before {
            assert!(gone(&waiting.await.unwrap()));
        }
        drop(post(&letterbox, 1));
        // From another thread, at whatever moment of the delivering.
        let (posted, mut all) = tokio::sync::mpsc::unbounded_channel();
        let posting = std::thread::spawn({
            let letterbox = letterbox.clone();
            move || {
                for count in 0..2_000 {
                    post(&letterbox, count % 3).into_iter().for_each(|one| posted.send(one).unwrap());
                }
            }
        });
        let mut delivered = 0;
        while let Some(waiting) = all.recv().await {
            assert!(gone(&waiting.await.unwrap()));
            delivered += 1;
        }
        posting.join().unwrap();
        assert_eq!(delivered, (0..2_000).map(|count| count % 3).sum::<usize>());
        delivering.abort();
        assert!(delivering.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn whoever_waits_when_nobody_delivers_any_more_is_told() {
        let letterbox = Arc::new(Letterbox::default());
        let before = post(&letterbox, 2);
        drop(letterbox.clone().deliver());
        for waiting in before.into_iter().chain(post(&letterbox, 2)) {
            assert!(waiting.await.is_err());
        }
    }
}
