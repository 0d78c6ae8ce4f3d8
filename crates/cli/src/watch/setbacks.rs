//! How often a stream may break off before somebody is told that it leads nowhere.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use eparch_daemon::Lines;

use crate::failure::{Failure, exit};
use crate::holder::Desk;

/// Setbacks of one kind within [`WITHIN`] after which it is given up.
const TOO_MANY: usize = 3;
const WITHIN: Duration = Duration::from_secs(60);

/// A ledger that cannot be written is given so long before its holder is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// What a holder answers whose ledger cannot be written.
const UNWRITABLE: &str = "EP0510";

/// What has broken off a stream of late.
#[derive(Debug, Default)]
pub(crate) struct Setbacks {
    deaths: VecDeque<Instant>,
    pauses: VecDeque<Instant>,
}

impl Setbacks {
    /// Notes that the holder went away; an error when it did once too often. `again` is the command that goes on.
    pub(crate) fn death(&mut self, again: &str) -> Result<(), Failure> {
        if !one_too_many(&mut self.deaths) {
            return Ok(());
        }
        Err(Failure::new("EP0713", "the holder went away three times within a minute")
            .hint(format!("HOME/logs/holder.log says why; `{again}` goes on"))
            .exit(exit::UNAVAILABLE))
    }

    /// Opens a stream again that broke off.
    pub(crate) async fn reopen(
        &mut self,
        desk: &Desk<'_>,
        path: &str,
        again: &str,
    ) -> Result<Lines, Failure> {
        loop {
            match desk.stream(path).await {
                Err(failure) if failure.code() == UNWRITABLE => {
                    let message = failure.message();
                    self.pause(message.split_once(": ").map_or(message, |(_, why)| why), again)?;
                    tokio::time::sleep(PAUSE).await;
                }
                opened => return opened,
            }
        }
    }

    /// Notes that the ledger could not be written, for the reason `why`; an error when it could not once too often.
    pub(super) fn pause(&mut self, why: &str, again: &str) -> Result<(), Failure> {
        if !one_too_many(&mut self.pauses) {
            return Ok(());
        }
        Err(Failure::new(UNWRITABLE, format!("the ledger cannot be written, so the run stands still: {why}"))
            .hint(format!("`eparch doctor` says more; `{again}` goes on"))
            .exit(exit::UNAVAILABLE))
    }
}

fn one_too_many(setbacks: &mut VecDeque<Instant>) -> bool {
    setbacks.push_back(Instant::now());
    setbacks.retain(|at| at.elapsed() < WITHIN);
    setbacks.len() >= TOO_MANY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_setback_of_one_kind_within_a_minute_is_one_too_many() {
        let mut setbacks = Setbacks::default();
        let code = |result: Result<(), Failure>| result.err().map(|given_up| given_up.code().to_owned());
        let deaths: Vec<_> = (0..2).map(|_| code(setbacks.death("x"))).collect();
        let pauses: Vec<_> = (0..3).map(|_| code(setbacks.pause("full", "x"))).collect();
        assert_eq!(deaths, [None, None]);
        assert_eq!(pauses, [None, None, Some("EP0510".to_owned())]);
        assert_eq!(code(setbacks.death("x")), Some("EP0713".to_owned()));
    }
}
