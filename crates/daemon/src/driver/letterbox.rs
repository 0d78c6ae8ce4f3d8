//! Answers of the driver to many who wait on one thread. Each answer would wake that thread by a call to the system; here the
//! first of several does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::Done;
use super::handle::SubmitError;

/// What somebody is answered.
type Answer = Result<Done, SubmitError>;

/// See the module. What is in it when nobody delivers any more goes with it, and whoever waits is told that the driver is gone.
#[derive(Default)]
pub(crate) struct Letterbox {
    letters: Mutex<Vec<(oneshot::Sender<Answer>, Answer)>>,
    came: Notify,
}

impl Letterbox {
    /// An answer, to be delivered on the other thread.
    pub(super) fn post(&self, to: oneshot::Sender<Answer>, answer: Answer) {
        let mut letters = self.letters();
        letters.push((to, answer));
        let is_first = letters.len() == 1;
        drop(letters);
        if is_first {
            self.came.notify_one();
        }
    }

    /// Delivers what comes, for ever: on the thread of those who wait.
    pub(crate) async fn deliver(self: Arc<Self>) {
        loop {
            // Whatever comes from here on is the first again.
            let letters = std::mem::take(&mut *self.letters());
            if letters.is_empty() {
                self.came.notified().await;
            }
            for (to, answer) in letters {
                // Whoever does not wait any more has no use for it.
                let _ = to.send(answer);
            }
        }
    }

    fn letters(&self) -> MutexGuard<'_, Vec<(oneshot::Sender<Answer>, Answer)>> {
        // Nothing here can panic while it holds it.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(answer: &Answer) -> bool {
        matches!(answer, Err(SubmitError::Gone))
    }

    #[tokio::test]
    async fn whatever_is_posted_is_delivered_before_and_after_somebody_does() {
        let letterbox = Arc::new(Letterbox::default());
        let post = |count: usize| {
            let post = |_| {
                let (to, from) = oneshot::channel();
                letterbox.post(to, Err(SubmitError::Gone));
                from
            };
            (0..count).map(post).collect::<Vec<_>>()
        };
        let before = post(3);
        let delivering = tokio::spawn(letterbox.clone().deliver());
        for waiting in before {
            assert!(gone(&waiting.await.unwrap()));
        }
        for count in [1, 5, 2] {
            let (forgotten, waiting) = (post(1), post(count));
            drop(forgotten);
            for waiting in waiting {
                assert!(gone(&waiting.await.unwrap()));
            }
        }
        delivering.abort();
        assert!(delivering.await.unwrap_err().is_cancelled());
        let waiting = post(1).remove(0);
        drop(letterbox);
        assert!(waiting.await.is_err(), "nobody delivers it");
    }
}
