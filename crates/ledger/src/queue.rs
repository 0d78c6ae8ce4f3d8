//! The way to the writer: a bounded queue that is emptied a batch at a time.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A queue for many senders and one receiver. A full queue makes senders wait, for as long as they say.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct State<T> {
    jobs: VecDeque<T>,
    closed: bool,
}

/// Why something could not be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    Full,
    Closed,
}

/// What the receiver got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    Jobs(Vec<T>),
    /// Nothing came within the time.
    Idle,
    /// Nothing will come any more.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Queue<T> {
        let state = Mutex::new(State { jobs: VecDeque::new(), closed: false });
        Queue { state, changed: Condvar::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing here can panic while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `job`, waiting until `deadline` for room.
    pub(crate) fn send(&self, job: T, deadline: Instant) -> Result<(), (T, Unsent)> {
        let mut state = self.lock();
        while state.jobs.len() >= self.capacity && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err((job, Unsent::Full));
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.closed {
            return Err((job, Unsent::Closed));
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes what waits, at least one job if there is any, until their weights pass `budget`. Without a job it waits
    /// for `patience`, or forever.
    pub(crate) fn take(
        &self,
        patience: Option<Duration>,
        budget: usize,
        weight: impl Fn(&T) -> usize,
    ) -> Taken<T> {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state = match until {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Taken::Idle;
                    }
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let mut taken = Vec::new();
        let mut sum = 0usize;
        while let Some(job) = state.jobs.front() {
            sum = sum.saturating_add(weight(job));
            if sum > budget && !taken.is_empty() {
                break;
            }
            taken.extend(state.jobs.pop_front());
        }
        drop(state);
        self.changed.notify_all();
        Taken::Jobs(taken)
    }

    /// Refuses what is sent from now on; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_batch_is_cut_at_its_budget_but_never_empty() {
        let queue = Queue::new(8);
        for job in [3, 9, 1, 1] {
            queue.send(job, now()).unwrap();
        }
        let take = || queue.take(Some(Duration::ZERO), 4, |job| *job);
        assert_eq!(take(), Taken::Jobs(vec![3]));
        assert_eq!(take(), Taken::Jobs(vec![9]));
        assert_eq!(take(), Taken::Jobs(vec![1, 1]));
        assert_eq!(take(), Taken::Idle);
    }

    #[test]
    fn a_full_queue_and_a_closed_one_refuse() {
        let queue = Queue::new(1);
        queue.send(1, now()).unwrap();
        assert_eq!(queue.send(2, now()), Err((2, Unsent::Full)));
        queue.close();
        assert_eq!(queue.send(2, now()), Err((2, Unsent::Closed)));
        assert_eq!(queue.take(None, 9, |_| 1), Taken::Jobs(vec![1]));
        assert_eq!(queue.take(None, 9, |_| 1), Taken::Closed);
    }
}
