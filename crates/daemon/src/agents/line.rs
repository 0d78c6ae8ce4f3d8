//! One connection of an agent to its door, and how long a call on it may take.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use eparch_domain::limits;
use tokio::time::{Instant, sleep, sleep_until};

use super::doom::Doom;
use crate::aside::Aside;

/// Why a call is not answered with what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The agent has ended, and had the time for a last answer.
    Ended,
    /// It took longer than `limits::AGENT_REQUEST_TIMEOUT`.
    Late,
}

/// Waits for either. Most calls take far less time, so that one goes on from call to call until it has cut one off: a timer and a place
/// among those who wait for the agent's end would be taken and given back with each.
type Watch = Aside<Pin<Box<dyn Future<Output = Cut> + Send>>>;

/// See the module. On a connection there is one call at a time.
pub(super) struct Line {
    doom: Arc<Doom>,
    /// When the last call began.
    began: Arc<Mutex<Instant>>,
    /// Between two calls, unless the first of them was cut off.
    watch: Mutex<Option<Watch>>,
}

impl Line {
    pub(super) fn new(doom: Arc<Doom>) -> Line {
        Line { doom, began: Arc::new(Mutex::new(Instant::now())), watch: Mutex::default() }
    }

    /// The answer, unless the call is cut before.
    pub(super) async fn unless_cut<T>(&self, answer: impl Future<Output = T>) -> Result<T, Cut> {
        let mut answer = pin!(answer);
        let mut watch = held(&self.watch).take().unwrap_or_else(|| self.watch());
        *held(&self.began) = Instant::now();
        let outcome = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => watch.poll(cx).map(Err),
        });
        let outcome = outcome.await;
        if outcome.is_ok() {
            *held(&self.watch) = Some(watch);
        }
        outcome
    }

    fn watch(&self) -> Watch {
        let (doom, began) = (Arc::clone(&self.doom), Arc::clone(&self.began));
        Aside::new(Box::pin(async move {
            let ended = async {
                doom.comes().await;
                sleep(limits::AGENT_LAST_ANSWER.as_duration()).await;
            };
            tokio::select! {
                biased;
                () = ended => Cut::Ended,
                () = late(&began) => Cut::Late,
            }
        }))
    }
}

/// Waits until the last call began too long ago. It is asked only while that is being answered.
async fn late(began: &Mutex<Instant>) {
    loop {
        let until = *held(began) + limits::AGENT_REQUEST_TIMEOUT.as_duration();
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here can panic while it holds one.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;

    const ALLOWED: Duration = limits::AGENT_REQUEST_TIMEOUT.as_duration();

    /// A call that takes so long, and how long it took to be answered or cut.
    async fn call(line: &Line, takes: Option<Duration>) -> (Result<(), Cut>, Duration) {
        let begun = Instant::now();
        let answer = async {
            match takes {
                Some(takes) => sleep(takes).await,
                None => pending().await,
            }
        };
        (line.unless_cut(answer).await, begun.elapsed())
    }

    /// To a millisecond, which is as exact as a timer is.
    fn about(found: Duration, expected: Duration) -> bool {
        found >= expected && found <= expected + Duration::from_millis(2)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_has_its_whole_time_whatever_was_asked_before() {
        let line = Line::new(Arc::default());
        for before in [Duration::ZERO, ALLOWED / 3, ALLOWED - Duration::from_millis(5)] {
            let (outcome, took) = call(&line, Some(before)).await;
            assert!(outcome.is_ok() && about(took, before), "{outcome:?} {took:?}");
            sleep(ALLOWED / 4).await;
            for _ in 0..2 {
                let (outcome, took) = call(&line, None).await;
                assert!(outcome == Err(Cut::Late) && about(took, ALLOWED), "{outcome:?} {took:?}");
            }
        }
        sleep(ALLOWED * 3).await;
        let (outcome, took) = call(&line, None).await;
        assert!(outcome == Err(Cut::Late) && about(took, ALLOWED), "{outcome:?} {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn g2_an_agent_that_has_ended_has_time_for_a_last_answer() {
        let doom = Arc::new(Doom::default());
        let line = Line::new(Arc::clone(&doom));
        assert!(call(&line, Some(Duration::ZERO)).await.0.is_ok());
        let end = async {
            sleep(ALLOWED / 10).await;
            doom.seal();
        };
        let ((outcome, took), ()) = tokio::join!(call(&line, None), end);
        let last = limits::AGENT_LAST_ANSWER.as_duration();
        assert!(outcome == Err(Cut::Ended) && about(took, ALLOWED / 10 + last), "{outcome:?} {took:?}");
        let (outcome, took) = call(&line, None).await;
        assert!(outcome == Err(Cut::Ended) && about(took, last), "{outcome:?} {took:?}");
    }
}
