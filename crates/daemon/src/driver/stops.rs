//! Stops of everything that the ledger would not take. Whoever lived was cut when it failed; what was asked is decided on
//! together with the next boot, before anything can begin that it is to stop.

use eparch_domain::Name;
use eparch_governor::Event;

use super::{Done, Input};

/// People whose stops are kept. One of them that counts stops everything: more are kept only so that whoever asks after
/// another does not take the place of the one whose word counts.
const PEOPLE: usize = 64;

/// What waits to be written, in the order in which it was asked for: one for each who asked.
#[derive(Debug, Default)]
pub(super) struct Stops(Vec<Input>);

impl Stops {
    /// Keeps a stop until [`Stops::forget`]; anything else is passed over. Asking twice is asking once.
    pub(super) fn keep(&mut self, input: &Input) {
        if let Some(by) = stopped_by(&input.event)
            && self.0.len() < PEOPLE
            && !self.0.iter().any(|kept| stopped_by(&kept.event) == Some(by))
        {
            self.0.push(input.clone());
        }
    }

    /// It is written, or can never be.
    pub(super) fn forget(&mut self, input: &Input) {
        if let Some(by) = stopped_by(&input.event) {
            self.0.retain(|kept| stopped_by(&kept.event) != Some(by));
        }
    }

    /// What waits.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Input> + '_ {
        self.0.iter().cloned()
    }
}

/// Who stops everything with this.
fn stopped_by(event: &Event) -> Option<&Name> {
    if let Event::StopAllRequested { by, .. } = event { Some(by) } else { None }
}

/// What the boot that followed a failed commit made of a stop that was in it.
pub(super) fn made_up_for<'d>(input: &Input, begun: &'d [Done]) -> Option<&'d Done> {
    let by = stopped_by(&input.event)?;
    begun.iter().find(|done| stopped_by(&done.record.event) == Some(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(by: &str, reason: &str) -> Input {
        Event::StopAllRequested { by: Name::new(by).unwrap(), reason: reason.to_owned() }.into()
    }

    #[test]
    fn each_who_asked_is_kept_once_and_in_their_order() {
        let mut stops = Stops::default();
        for input in [stop("bob", "b"), Event::ClockTurned.into(), stop("ada", "a"), stop("bob", "again")] {
            stops.keep(&input);
        }
        let events = |stops: &Stops| stops.waiting().map(|input| input.event).collect::<Vec<_>>();
        assert_eq!(events(&stops), [stop("bob", "b").event, stop("ada", "a").event]);
        stops.forget(&stop("bob", "again"));
        assert_eq!(events(&stops), [stop("ada", "a").event]);
    }

    #[test]
    fn however_many_ask_the_first_ones_stand() {
        let mut stops = Stops::default();
        (0..PEOPLE + 9).for_each(|n| stops.keep(&stop(&format!("p{n}"), "")));
        assert_eq!(stops.waiting().count(), PEOPLE);
        assert_eq!(stops.waiting().next().unwrap().event, stop("p0", "").event);
    }
}
