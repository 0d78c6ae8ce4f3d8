//! When a holder that goes away is given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::failure::{Failure, exit};

/// Holders that may go away within [`DEATHS_WITHIN`] before it is given up.
const DEATHS: usize = 3;
const DEATHS_WITHIN: Duration = Duration::from_secs(60);

/// The last deaths of holders while something was followed.
#[derive(Debug, Default)]
pub(crate) struct Deaths(VecDeque<Instant>);

impl Deaths {
    /// Notes one now; an error when it was one too many. `again` is the command that goes on.
    pub(crate) fn note(&mut self, again: &str) -> Result<(), Failure> {
        self.0.push_back(Instant::now());
        self.0.retain(|at| at.elapsed() < DEATHS_WITHIN);
        if self.0.len() < DEATHS {
            return Ok(());
        }
        Err(Failure::new("EP0713", "the holder went away three times within a minute")
            .hint(format!("HOME/logs/holder.log says why; `{again}` goes on"))
            .exit(exit::UNAVAILABLE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_death_within_a_minute_is_one_too_many() {
        let mut deaths = Deaths::default();
        let codes: Vec<Option<String>> =
            (0..3).map(|_| deaths.note("x").err().map(|given_up| given_up.code().to_owned())).collect();
        assert_eq!(codes, [None, None, Some("EP0713".to_owned())]);
    }
}
