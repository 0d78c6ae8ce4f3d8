//! Standing: the tier an agent has earned. It belongs to the agent's template, command and model, and outlives every run. It
//! caps what runs may do that no person vouches for (X35).

use std::sync::Arc;

use eparch_domain::{
    AgentId, AlertId, Digest, LedgerTime, Moment, Name, RunId, Severity, StandingId, Tier, ViolationType,
    limits,
};
use eparch_pipeline::{StageIx, Work};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::attempt_end::AttemptEnd;
use crate::evidence::{Conduct, Evidence, tier_below};
use crate::fact::Fact;
use crate::governor::{Governor, Turn};
use crate::promotion::{self, Promotion};
use crate::state::{Run, Vote};

/// Why a standing was lowered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Lowered {
    /// An agent of it did wrong (R087).
    Violation {
        /// Which.
        agent: AgentId,
        /// What.
        violation: ViolationType,
    },
    /// Somebody said so.
    Person {
        /// Who.
        by: Name,
        /// Why.
        reason: String,
    },
}

impl Lowered {
    /// Whether what was earned has to be shown again from the beginning (1.8: CRITICAL, re-certification).
    pub fn starts_anew(&self) -> bool {
        matches!(self, Lowered::Violation { violation, .. } if violation.severity() == Severity::Critical)
    }
}

/// What is known of one kind of agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The tier it has earned.
    pub tier: Tier,
    /// What its agents did so far.
    pub evidence: Evidence,
    /// When it was last heard of.
    pub heard: LedgerTime,
    /// The promotion that waits for answers.
    #[serde(default)]
    pub(crate) waits: Option<Promotion>,
}

impl Standing {
    /// Whether forgetting it changes nothing that matters: nothing was earned that it would lose, nothing was done wrong
    /// that it would be rid of.
    fn is_forgettable(&self, now: LedgerTime) -> bool {
        let counts = |at: LedgerTime| now.since(at) < limits::VIOLATIONS_COUNT_T4;
        self.tier == Tier::T0 && self.waits.is_none() && !self.evidence.last_violation.is_some_and(counts)
    }
}

/// Every standing that is remembered. One that is not stands at T0, and nothing is known of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Standings {
    known: OrdMap<StandingId, Arc<Standing>>,
}

impl Standings {
    pub(crate) fn get(&self, standing: StandingId) -> Option<&Standing> {
        self.known.get(&standing).map(Arc::as_ref)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (StandingId, &Standing)> {
        self.known.iter().map(|(id, standing)| (*id, standing.as_ref()))
    }

    pub(crate) fn tier(&self, standing: StandingId) -> Tier {
        self.get(standing).map(|known| known.tier).unwrap_or_default()
    }

    /// The standing, to be changed; `None` when it is new and there is no room for it. Then it stays where every new one
    /// begins, which gives nobody anything: evicting one that matters would take from it, or wash it clean.
    pub(crate) fn heard(&mut self, standing: StandingId, now: LedgerTime) -> Option<&mut Standing> {
        if !self.known.contains_key(&standing) {
            if self.known.len() >= limits::STANDINGS {
                let forgettable = self.known.iter().filter(|(_, known)| known.is_forgettable(now));
                let oldest = *forgettable.min_by_key(|(id, known)| (known.heard, **id))?.0;
                self.known.remove(&oldest);
            }
            self.known.insert(standing, Arc::default());
        }
        let known = Arc::make_mut(self.known.get_mut(&standing)?);
        known.heard = now;
        Some(known)
    }

    /// Somebody may act no longer: what they said to promotions that wait counts no more.
    pub(crate) fn forget_votes(&mut self, name: &Name) {
        let voted =
            |known: &Standing| known.waits.as_ref().is_some_and(|waits| waits.votes.contains_key(name));
        let these: Vec<_> = self.iter().filter(|(_, known)| voted(known)).map(|(id, _)| id).collect();
        for id in these {
            let known = self.known.get_mut(&id).map(Arc::make_mut);
            if let Some(waits) = known.and_then(|known| known.waits.as_mut()) {
                waits.votes.remove(name);
            }
        }
    }
}

impl Governor {
    /// What is known of a standing; `None` when it stands where every new one begins.
    pub fn standing(&self, standing: StandingId) -> Option<&Standing> {
        self.state.standings.get(standing)
    }

    /// Every standing that is remembered.
    pub fn standings(&self) -> impl Iterator<Item = (StandingId, &Standing)> {
        self.state.standings.iter()
    }

    /// Under which standing an agent works.
    pub(crate) fn standing_of(&self, agent: AgentId) -> Option<StandingId> {
        let (run, ix) = *self.agents.get(&agent)?;
        self.run(run)?.graph().standings[ix.at()]
    }

    /// The tier an agent works at: its stage's, within the run's grant, which a person vouches for. Where nobody does,
    /// within what it has earned as well (X35). It is asked for whenever it matters: a standing may be lowered meanwhile.
    pub(crate) fn tier_at(&self, live: &Run, ix: StageIx) -> Tier {
        let Work::Agent(work) = &live.graph().pipeline.stage(ix).work else { return Tier::T0 };
        let granted = work.tier.min(live.spawned.grant);
        match (&live.spawned.parent, live.graph().standings[ix.at()]) {
            (None, _) => granted,
            (Some(_), None) => Tier::T0,
            (Some(_), Some(standing)) => granted.min(self.state.standings.tier(standing)),
        }
    }
}

/// What follows from a violation beside what becomes of the agent: an alert (R079), and a lower standing (R087).
pub(crate) fn after_violation(turn: &mut Turn<'_>, agent: AgentId, violation: ViolationType) {
    let severity = violation.severity();
    let (Some((run, _, attempt)), Some(standing)) =
        (turn.governor.attempt(agent), turn.governor.standing_of(agent))
    else {
        return;
    };
    if severity < Severity::High {
        return;
    }
    let alert = alert_id(agent, attempt.conduct.violations);
    turn.record(Fact::AlertRaised { alert, run, agent, violation, severity });
    let from = turn.governor.state.standings.tier(standing);
    let because = Lowered::Violation { agent, violation };
    let to = if because.starts_anew() { Tier::T0 } else { tier_below(from) };
    if to < from || because.starts_anew() {
        promotion::lower(turn, standing, from, to, because);
    }
}

/// The alert of an agent's n-th violation: whoever hears of it twice knows that it is the same.
fn alert_id(agent: AgentId, violations: u32) -> AlertId {
    let parts: [&[u8]; 3] = [b"alert", &agent.bits().to_be_bytes(), &violations.to_be_bytes()];
    AlertId::derived(&Digest::of_parts(&parts))
}

/// An agent violated something.
pub(crate) fn note_violation(governor: &mut Governor, agent: AgentId, now: Moment) {
    let Some(standing) = governor.standing_of(agent) else { return };
    if let Some(known) = governor.state.standings.heard(standing, now.ledger) {
        known.evidence.violate(now.ledger);
    }
}

/// An attempt of a stage ended. One that was ended by others says nothing of it, and is not remembered.
pub(crate) fn note_end(
    governor: &mut Governor,
    (run, ix): (RunId, StageIx),
    end: &AttemptEnd,
    conduct: &Conduct,
    now: Moment,
) {
    let standing = governor.run(run).and_then(|live| live.graph().standings[ix.at()]);
    let Some(standing) = standing.filter(|_| end.is_its_own()) else { return };
    if let Some(known) = governor.state.standings.heard(standing, now.ledger) {
        known.evidence.take(end, conduct);
    }
}

/// A promotion waits for answers.
pub(crate) fn open(governor: &mut Governor, opened: &crate::promotion::PromotionOpened, now: Moment) {
    let keys_before = governor.state.keys_given;
    if let Some(known) = governor.state.standings.heard(opened.standing, now.ledger) {
        let (opened, votes) = (opened.clone(), std::collections::BTreeMap::new());
        known.waits = Some(Promotion { opened, keys_before, votes });
    }
}

/// Somebody answered.
pub(crate) fn vote(governor: &mut Governor, standing: StandingId, by: &Name, vote: Vote, now: Moment) {
    let known = governor.state.standings.heard(standing, now.ledger);
    if let Some(waits) = known.and_then(|known| known.waits.as_mut()) {
        waits.votes.insert(by.clone(), vote);
    }
}

/// No promotion waits any more; with a tier, that is what the standing has now.
pub(crate) fn close(governor: &mut Governor, standing: StandingId, to: Option<Tier>, now: Moment) {
    if let Some(known) = governor.state.standings.heard(standing, now.ledger) {
        known.waits = None;
        known.tier = to.unwrap_or(known.tier);
    }
}

/// A standing is lower than it was.
pub(crate) fn lower(governor: &mut Governor, standing: StandingId, to: Tier, because: &Lowered, now: Moment) {
    if let Some(known) = governor.state.standings.heard(standing, now.ledger) {
        known.tier = to;
        if because.starts_anew() {
            known.evidence.start_anew();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(bits: usize) -> StandingId {
        StandingId::from_bits(bits as u128)
    }

    fn at(millis: usize) -> LedgerTime {
        LedgerTime::from_millis(millis as u64)
    }

    #[test]
    fn the_one_not_heard_of_for_longest_makes_room_and_none_that_matters() {
        let mut standings = Standings::default();
        for n in 0..limits::STANDINGS {
            standings.heard(id(n), at(n)).unwrap();
        }
        standings.heard(id(0), at(limits::STANDINGS)).unwrap().tier = Tier::T1;
        standings.heard(id(1), at(limits::STANDINGS)).unwrap().evidence.violate(at(limits::STANDINGS));
        standings.heard(id(2), at(limits::STANDINGS)).unwrap();
        let later = limits::STANDINGS + 1;
        standings.heard(id(later), at(later)).unwrap();
        assert_eq!(standings.known.len(), limits::STANDINGS);
        assert!(standings.get(id(3)).is_none(), "the oldest went");
        assert!([0, 1, 2, later].iter().all(|n| standings.get(id(*n)).is_some()));
    }

    #[test]
    fn a_violation_is_remembered_for_as_long_as_it_counts() {
        let mut standing = Standing::default();
        assert!(standing.is_forgettable(at(0)));
        standing.evidence.violate(at(1_000));
        let counts = limits::VIOLATIONS_COUNT_T4;
        assert!(!standing.is_forgettable(at(1_000)));
        assert!(!standing.is_forgettable(at(999).after(counts)));
        assert!(standing.is_forgettable(at(1_000).after(counts)));
    }

    #[test]
    fn where_all_that_are_known_matter_a_new_one_is_not_kept() {
        let mut standings = Standings::default();
        for n in 0..limits::STANDINGS {
            standings.heard(id(n), at(n)).unwrap().tier = Tier::T1;
        }
        assert!(standings.heard(id(limits::STANDINGS), at(0)).is_none());
        assert_eq!(standings.tier(id(limits::STANDINGS)), Tier::T0);
    }
}
