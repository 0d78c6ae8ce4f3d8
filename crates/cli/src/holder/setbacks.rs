//! How often a stream may break off, and how long it may not be opened again, before somebody is told that it leads nowhere.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{Failure, exit};

/// Deaths of a holder within [`WITHIN`] after which it is given up.
const TOO_MANY: usize = 3;
/// And how long its ledger may be one that cannot be written: whoever has the disk has a minute to make room.
const WITHIN: Duration = Duration::from_secs(60);

/// A ledger that cannot be written is given so long before its holder is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// What a holder answers whose ledger cannot be written.
const UNWRITABLE: &str = "EP0510";

/// What has broken off a stream of late.
#[derive(Debug, Default)]
pub(crate) struct Setbacks {
    deaths: VecDeque<Instant>,
    /// When its ledger could not be written, last.
    paused: Option<Instant>,
    /// Whether it is given time before it is asked again.
    too_soon: bool,
}

impl Setbacks {
    /// Notes that the holder went away; an error when it did once too often. `again` is the command that goes on.
    pub(crate) fn death(&mut self, again: &str) -> Result<(), Failure> {
        self.deaths.push_back(Instant::now());
        self.deaths.retain(|at| at.elapsed() < WITHIN);
        if self.deaths.len() < TOO_MANY {
            return Ok(());
        }
        Err(Failure::new("EP0713", "the holder went away three times within a minute")
            .hint(format!("HOME/logs/holder.log says why; `{again}` goes on"))
            .exit(exit::UNAVAILABLE))
    }

    /// Notes that the ledger could not be written. One that fails again and again is given time, also when it is written in
    /// between.
    pub(crate) fn pause(&mut self) {
        let before = self.paused.replace(Instant::now());
        self.too_soon = before.is_some_and(|at| at.elapsed() < WITHIN);
    }

    /// Whether what was refused is worth waiting for: the ledger cannot be written.
    pub(crate) fn may_pass(refused: &Failure) -> bool {
        refused.code() == UNWRITABLE
    }

    /// Opens a stream again that broke off, waiting for a ledger that cannot be written as long as there is hope.
    pub(crate) async fn reopen<T>(
        &mut self,
        again: &str,
        open: impl AsyncFn() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let since = Instant::now();
        if std::mem::take(&mut self.too_soon) {
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            match open().await {
                Err(failure) if Setbacks::may_pass(&failure) => {
                    if since.elapsed() >= WITHIN {
                        return Err(stands_still(&failure, again));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                opened => return opened,
            }
        }
    }
}

/// What a holder said that nothing was done is another thing for who only watches.
fn stands_still(refused: &Failure, again: &str) -> Failure {
    let message = refused.message();
    let why = message.split_once(": ").map_or(message, |(_, why)| why);
    Failure::new(UNWRITABLE, format!("the ledger cannot be written, so the run stands still: {why}"))
        .hint(format!("`eparch doctor` says more; `{again}` goes on"))
        .exit(exit::UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_third_death_within_a_minute_is_one_too_many() {
        let mut setbacks = Setbacks::default();
        let mut death = || setbacks.death("x").err().map(|given_up| given_up.code().to_owned());
        for _ in 0..4 {
            assert_eq!(death(), None);
            tokio::time::advance(WITHIN / 2).await;
        }
        assert_eq!((death(), death()), (None, Some("EP0713".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ledger_that_cannot_be_written_is_waited_for_a_minute_each_time() {
        let mut setbacks = Setbacks::default();
        let refused = || Failure::new(UNWRITABLE, "the ledger cannot be written, so nothing was done: full");
        // However often: each time it was written again.
        for _ in 0..5 {
            let begun = Instant::now();
            let opened = setbacks.reopen("x", async || match begun.elapsed() < WITHIN - PAUSE {
                true => Err(refused()),
                false => Ok(()),
            });
            assert!(opened.await.is_ok());
        }
        let begun = Instant::now();
        let given_up = setbacks.reopen("x", async || Err::<(), _>(refused())).await.unwrap_err();
        assert_eq!(begun.elapsed(), WITHIN);
        assert_eq!(given_up.code(), UNWRITABLE);
        assert_eq!(given_up.message(), "the ledger cannot be written, so the run stands still: full");
        // Anything else is not waited for.
        let begun = Instant::now();
        let failed = setbacks.reopen("x", async || Err::<(), _>(Failure::new("EP0524", "gone"))).await;
        assert_eq!((failed.unwrap_err().code(), begun.elapsed()), ("EP0524", Duration::ZERO));
        // One that fails and is written again, over and over, is not asked in between as fast as it can.
        for waits in [Duration::ZERO, PAUSE, PAUSE] {
            setbacks.pause();
            let begun = Instant::now();
            assert!(setbacks.reopen("x", async || Ok(())).await.is_ok());
            assert_eq!(begun.elapsed(), waits);
        }
    }
}
