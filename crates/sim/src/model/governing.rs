//! Policies that somebody offers, until another person has looked at them.

use std::collections::BTreeSet;

use eparch_domain::{Digest, Moment, Name, limits};
use eparch_governor::{GateDecision, Governor, Key, OperatorRole, PoliciesAnswer};

use super::Model;
use super::actions::Word;
use super::leases::Ends;
use crate::policies::Rules;

/// Policies that wait for somebody else. In these worlds one is enough.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    policies: Digest,
    by: Name,
    /// In which turn they were offered.
    turn: u64,
    ends: Ends,
    /// Of somebody no more than so many may pull the strings of both: theirs, and those of whoever offered them.
    hands: usize,
}

impl Model {
    pub(super) fn offered(&mut self, by: Option<&Name>, policies: Digest) -> BTreeSet<&'static str> {
        let mut refusals = BTreeSet::new();
        match by.map(|by| self.people.get(by)) {
            None => {}
            Some(None) => drop(refusals.insert("EP0204")),
            Some(Some(person)) => refusals.extend((!person.administers()).then_some("EP0205")),
        }
        let rules = Rules::of(policies);
        refusals.extend(rules.is_none().then_some("EP0215"));
        if !refusals.is_empty() {
            return refusals;
        }
        let Some(by) = by else {
            if rules != self.rules {
                self.put_in_force(policies);
            }
            return refusals;
        };
        if rules == self.rules {
            self.offer.take_if(|offer| offer.by == *by);
            return refusals;
        }
        let others: Vec<&Name> = self.who_vouches().filter(|name| *name != by).collect();
        let hands = others.iter().map(|name| self.hands_on_both(name, by)).min().unwrap_or_default();
        let anybody_as_far = |gone: &BTreeSet<Name>| {
            let own = self.strings_of(by);
            others.iter().any(|name| {
                self.strings_of(name).intersection(&own).count() <= gone.intersection(&own).count()
            })
        };
        if !self.gone_lookers.iter().all(anybody_as_far) {
            return ["EP0817"].into();
        }
        if self.rules_shut_people_out() {
            return ["EP0216"].into();
        }
        if others.is_empty() {
            self.put_in_force(policies);
        } else if self.offer.as_ref().is_none_or(|offer| offer.policies != policies) {
            let ends = self.in_millis(limits::POLICIES_WAIT.millis());
            self.offer = Some(Offer { policies, by: by.clone(), turn: self.turn, ends, hands });
        }
        refusals
    }

    /// How many may pull the strings of both, they themselves among them.
    fn hands_on_both(&self, one: &Name, other: &Name) -> usize {
        self.strings_of(one).intersection(&self.strings_of(other)).count()
    }

    /// Whoever may pull somebody's strings, they themselves among them.
    fn strings_of(&self, name: &Name) -> BTreeSet<Name> {
        self.strings.pulled_by(name).into_iter().chain([name.clone()]).collect()
    }

    /// Somebody who could look at policies goes, or may be somebody else from now on.
    pub(super) fn looker_goes(&mut self, name: &Name) {
        if self.who_vouches().any(|known| known == name) {
            self.gone_lookers.push(self.strings_of(name));
        }
    }

    fn who_vouches(&self) -> impl Iterator<Item = &Name> {
        let vouches = |role| matches!(role, OperatorRole::Approver | OperatorRole::Admin);
        self.people.iter().filter(move |(_, person)| vouches(person.operator.role)).map(|(name, _)| name)
    }

    fn put_in_force(&mut self, policies: Digest) {
        (self.rules, self.offer) = (Rules::of(policies), None);
        self.said.push(Word::InForce(policies));
        self.questions_are_void();
    }

    pub(super) fn policies_answered(&mut self, answer: &PoliciesAnswer) -> BTreeSet<&'static str> {
        let Some(offer) = self.offer.clone().filter(|offer| !self.is_over(offer.ends)) else {
            return ["EP0814"].into();
        };
        let Some(person) = self.people.get(&answer.by) else { return ["EP0204"].into() };
        let (own, approves) = (answer.by == offer.by, answer.decision == GateDecision::Approve);
        let own_key = match &person.operator.key {
            Key::Home { .. } => None,
            Key::Remote { public_key } => Some(public_key),
        };
        let may_be_them = self.strings.may_have_become(&answer.by, &offer.by, offer.turn)
            || self.hands_on_both(&answer.by, &offer.by) > offer.hands;
        let reasons = [
            (approves && own, "EP0815"),
            (!own && self.who_vouches().all(|name| *name != answer.by), "EP0205"),
            (answer.policies != offer.policies, "EP0816"),
            (answer.rationale.trim().is_empty(), "EP0308"),
            (answer.signed.as_ref().map(|signed| &signed.public_key) != own_key, "EP0312"),
            (approves && may_be_them, "EP0311"),
        ];
        let refusals: BTreeSet<&'static str> =
            reasons.iter().filter(|(holds, _)| *holds).map(|(_, code)| *code).collect();
        match (refusals.is_empty(), approves) {
            (false, _) => {}
            (true, true) => self.put_in_force(offer.policies),
            (true, false) => self.offer = None,
        }
        refusals
    }

    /// What waits ends when ledger time would bring it.
    pub(super) fn offer_ends_sooner(&mut self, now: Moment) {
        if let Some(offer) = &mut self.offer {
            offer.ends.end_sooner(now);
        }
    }

    /// What was offered waits no longer when its time is over, or whoever offered it is gone.
    pub(super) fn offer_ends(&mut self) {
        let ends = |offer: &Offer| self.is_over(offer.ends) || !self.people.contains_key(&offer.by);
        if self.offer.as_ref().is_some_and(ends) {
            self.offer = None;
        }
    }

    /// Holds what waits against what the governor says does.
    ///
    /// # Errors
    ///
    /// The difference.
    pub(crate) fn compare_offer(&self, governor: &Governor) -> Result<(), String> {
        let found = governor.policies_waiting().map(|(proposed, _)| (&proposed.policies, &proposed.by));
        let expected = self.offer.as_ref().map(|offer| (&offer.policies, &offer.by));
        if found == expected { Ok(()) } else { Err(format!("{found:?} waits, expected {expected:?}")) }
    }
}
