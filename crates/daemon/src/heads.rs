//! How long somebody may take for the head of their next call. hyper sets a timer for each and takes it back when the head has
//! come, which is nearly always soon: here it sets a time, and one timer for the connection looks whether it has passed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::time::sleep_until;

/// See the module; for one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heads(Arc<Mutex<Wait>>);

/// For which head is waited, if for any, and how long.
#[derive(Debug, Default)]
struct Wait {
    head: u64,
    until: Option<Instant>,
}

impl Heads {
    /// Waits until the head of a call is late. It is looked for every `every`, which is what a head may take.
    pub(crate) async fn late(self, every: Duration) {
        loop {
            let now = self.now();
            let until = match self.wait().until {
                Some(until) if until <= now => return,
                Some(until) => until,
                // Whatever is waited for next has as long from then on.
                None => now + every,
            };
            sleep_until(until.into()).await;
        }
    }

    fn wait(&self) -> MutexGuard<'_, Wait> {
        // Nothing here can panic while it holds it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timer for Heads {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let mut wait = self.wait();
        let head = wait.head + 1;
        *wait = Wait { head, until: Some(deadline) };
        drop(wait);
        Box::pin(Awaited { heads: self.clone(), head })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn reset(&self, _: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        self.wait().until = Some(new_deadline);
    }
}

/// The head of a call that is waited for. It does not say when that is late: [`Heads::late`] does.
#[derive(Debug)]
struct Awaited {
    heads: Heads,
    head: u64,
}

impl Future for Awaited {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Sleep for Awaited {}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut wait = self.heads.wait();
        // Whoever waits for the next one may have begun to.
        if wait.head == self.head {
            wait.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_secs(10);

    /// After how long the next head is late, or nothing if it is not within so long.
    async fn late_within(heads: &Heads, within: Duration) -> Option<Duration> {
        let begun = tokio::time::Instant::now();
        let late = tokio::time::timeout(within, heads.clone().late(ALLOWED)).await;
        late.ok().map(|()| begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_late_when_its_time_has_passed_and_nothing_else_is() {
        let heads = Heads::default();
        assert_eq!(late_within(&heads, ALLOWED * 5).await, None, "nobody waits for one");
        let mut awaited = heads.sleep(ALLOWED);
        tokio::time::sleep(ALLOWED / 2).await;
        let later = heads.now() + ALLOWED;
        heads.reset(&mut awaited, later);
        let late = late_within(&heads, ALLOWED * 5).await.expect("it is late");
        assert!(late >= ALLOWED && late < ALLOWED * 11 / 10, "{late:?}");
        let next = heads.sleep(ALLOWED);
        drop(awaited);
        assert!(late_within(&heads, ALLOWED * 5).await.is_some(), "another one is waited for");
        drop(next);
        assert_eq!(late_within(&heads, ALLOWED * 5).await, None, "it has come");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_waited_for_later_has_all_of_its_time() {
        let heads = Heads::default();
        let late = tokio::spawn({
            let heads = heads.clone();
            async move { heads.late(ALLOWED).await }
        });
        for _ in 0..5 {
            let awaited = heads.sleep(ALLOWED);
            tokio::time::sleep(ALLOWED * 2 / 3).await;
            drop(awaited);
        }
        assert!(!late.is_finished());
        let awaited = heads.sleep(ALLOWED);
        let begun = tokio::time::Instant::now();
        late.await.unwrap();
        assert!(begun.elapsed() >= ALLOWED && begun.elapsed() < ALLOWED * 11 / 10, "{:?}", begun.elapsed());
        drop(awaited);
    }
}
