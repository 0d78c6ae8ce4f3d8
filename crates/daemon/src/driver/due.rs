//! Effects that wait for their result.

use std::collections::BTreeSet;

use eparch_governor::Event;
use eparch_ledger::EffectRef;

use super::Input;

/// The effects of an epoch that nobody has reported on; nothing is known of them before it has begun.
#[derive(Debug, Default)]
pub(super) struct Due(Option<BTreeSet<EffectRef>>);

/// How to take back one step of what a turn did to [`Due`].
#[derive(Debug)]
pub(super) enum Undo {
    Began(Option<BTreeSet<EffectRef>>),
    Settled(EffectRef),
    Asked(EffectRef),
}

impl Due {
    /// What an input acknowledges of what is due. The boot that begins an epoch acknowledges everything before it; a report
    /// that comes later than the end of its epoch speaks of what is settled, and its acknowledgement is no more.
    pub(super) fn acknowledge(&mut self, input: &Input, steps: &mut Vec<Undo>) -> Vec<EffectRef> {
        if matches!(input.event, Event::Booted { .. }) {
            steps.push(Undo::Began(self.0.replace(BTreeSet::new())));
            return input.acknowledges.clone();
        }
        let Some(due) = &mut self.0 else { return input.acknowledges.clone() };
        let settled: Vec<_> =
            input.acknowledges.iter().copied().filter(|effect| due.remove(effect)).collect();
        steps.extend(settled.iter().copied().map(Undo::Settled));
        settled
    }

    /// Effects that an entry asks for.
    pub(super) fn ask(&mut self, seq: u64, effects: u16, steps: &mut Vec<Undo>) {
        let Some(due) = &mut self.0 else { return };
        for idx in 0..effects {
            let effect = EffectRef { seq, idx };
            due.insert(effect);
            steps.push(Undo::Asked(effect));
        }
    }

    /// Takes the steps of a turn back: nothing of it happened.
    pub(super) fn undo(&mut self, steps: Vec<Undo>) {
        for step in steps.into_iter().rev() {
            match (step, &mut self.0) {
                (Undo::Began(before), due) => *due = before,
                (Undo::Settled(effect), Some(due)) => drop(due.insert(effect)),
                (Undo::Asked(effect), Some(due)) => drop(due.remove(&effect)),
                (Undo::Settled(_) | Undo::Asked(_), None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_turn_did_can_be_taken_back() {
        let effect = |seq, idx| EffectRef { seq, idx };
        let report = |acknowledges: Vec<EffectRef>| Input { acknowledges, ..Event::ClockTurned.into() };
        let boot =
            || Event::Booted { epoch: 1, version: String::new(), agents_at_once: 1, clock_moved: None };
        let (mut due, mut steps) = (Due::default(), Vec::new());
        // Before the epoch has begun, whoever reports is believed.
        assert_eq!(due.acknowledge(&report(vec![effect(9, 9)]), &mut steps), [effect(9, 9)]);
        due.acknowledge(&boot().into(), &mut steps);
        due.ask(1, 2, &mut steps);
        let before = due.0.clone();
        let mut steps = Vec::new();
        assert_eq!(due.acknowledge(&report(vec![effect(1, 0), effect(0, 0)]), &mut steps), [effect(1, 0)]);
        assert_eq!(due.acknowledge(&report(vec![effect(1, 0)]), &mut steps), []);
        due.ask(2, 1, &mut steps);
        due.acknowledge(&boot().into(), &mut steps);
        due.ask(3, 1, &mut steps);
        due.undo(steps);
        assert_eq!(due.0, before);
    }
}
