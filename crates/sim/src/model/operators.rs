//! Who may act, and who may say so.

use std::collections::BTreeSet;

use eparch_domain::{Name, StageStatus};
use eparch_governor::{GatePurpose, Key, Operator, OperatorRole};
use eparch_pipeline::{StageIx, Work};

use super::{Model, Person};
use crate::seen::Seen;

/// Whether two keys open the same doors.
fn same(one: &Key, other: &Key) -> bool {
    match (one, other) {
        (Key::Home { hash: one }, Key::Home { hash: other }) => one == other,
        (Key::Remote { public_key: one }, Key::Remote { public_key: other }) => {
            one.to_lowercase() == other.to_lowercase()
        }
        _ => false,
    }
}

impl Model {
    pub(super) fn added(&mut self, by: Option<&Name>, operator: &Operator) -> BTreeSet<&'static str> {
        let mut refusals = BTreeSet::new();
        if self.people.contains_key(&operator.name) {
            refusals.insert("EP0401");
        }
        match by.map(|by| self.people.get(by)) {
            None if self.people.is_empty() => {}
            None | Some(None) => drop(refusals.insert("EP0204")),
            Some(Some(admin)) => {
                refusals.extend((!admin.administers()).then_some("EP0205"));
                refusals.extend((operator.max_tier > admin.operator.max_tier).then_some("EP0403"));
            }
        }
        refusals.extend(self.is_taken(&operator.name, &operator.key).then_some("EP0404"));
        if refusals.is_empty() {
            self.know(operator.clone(), by);
        }
        refusals
    }

    pub(super) fn rotated(&mut self, by: &Name, name: &Name, key: &Key) -> BTreeSet<&'static str> {
        let mut refusals = self.meddles(by, name, by == name);
        if matches!(key, Key::Remote { .. }) && self.is_last_at_the_door(name) {
            refusals.insert("EP0402");
        }
        refusals.extend(self.is_taken(name, key).then_some("EP0404"));
        if let (true, Some(person)) = (refusals.is_empty(), self.people.get(name)) {
            let operator = Operator { key: key.clone(), ..person.operator.clone() };
            if by != name {
                self.looker_goes(name);
            }
            self.know(operator, Some(by));
        }
        refusals
    }

    pub(super) fn removed(&mut self, by: &Name, name: &Name) -> BTreeSet<&'static str> {
        let mut refusals = self.meddles(by, name, false);
        refusals.extend(self.is_last_at_the_door(name).then_some("EP0402"));
        if refusals.is_empty() {
            self.looker_goes(name);
            self.people.remove(name);
            self.unsay(name);
            self.glasses_of_person_end(name);
        }
        refusals
    }

    /// Why somebody may not change what is known of somebody.
    fn meddles(&self, by: &Name, name: &Name, with_themselves: bool) -> BTreeSet<&'static str> {
        let mut refusals = BTreeSet::new();
        let (Some(meddler), Some(person)) = (self.people.get(by), self.people.get(name)) else {
            refusals.insert("EP0204");
            refusals.extend(
                self.people.get(by).is_some_and(|meddler| !meddler.administers()).then_some("EP0205"),
            );
            return refusals;
        };
        refusals.extend((!with_themselves && !meddler.administers()).then_some("EP0205"));
        refusals.extend((person.operator.max_tier > meddler.operator.max_tier).then_some("EP0403"));
        refusals
    }

    fn know(&mut self, operator: Operator, by: Option<&Name>) {
        self.strings.give(&operator.name, by, self.turn);
        let person = Person { operator };
        self.people.insert(person.operator.name.clone(), person);
    }

    fn is_taken(&self, name: &Name, key: &Key) -> bool {
        self.people.iter().any(|(other, person)| other != name && same(&person.operator.key, key))
    }

    /// Whether nobody is left, without them, who could administer this home.
    fn is_last_at_the_door(&self, name: &Name) -> bool {
        let gone = self.people.get(name).is_some_and(Person::administers);
        let at_the_door =
            |person: &Person| person.administers() && matches!(person.operator.key, Key::Home { .. });
        gone && self.people.iter().filter(|(other, _)| *other != name).all(|(_, person)| !at_the_door(person))
    }

    /// A gate of a run is past only when people have approved it in that very run.
    pub(super) fn approvals_are_its_own(&self, seen: &Seen, run: eparch_domain::RunId) -> Result<(), String> {
        let Some(score) = seen.pipelines.get(&run).and_then(|pipeline| self.scores.get(pipeline)) else {
            return Err(format!("{run} is of no pipeline"));
        };
        let is_gate = |ix: &StageIx| matches!(score.pipeline.stage(*ix).work, Work::Gate(_));
        let past = |ix: &StageIx| seen.stage(run, *ix) == StageStatus::Completed;
        for ix in score.pipeline.places().filter(is_gate).filter(past) {
            let approved = seen.gates.values().any(|gate| {
                let opened = &gate.opened;
                gate.approved && (opened.run, opened.stage, opened.purpose) == (run, ix, GatePurpose::Stage)
            });
            if !approved {
                return Err(format!("gate s{} of {run} is past and nobody approved it", ix.0));
            }
        }
        Ok(())
    }
}

impl Person {
    pub(super) fn administers(&self) -> bool {
        self.operator.role == OperatorRole::Admin
    }
}
