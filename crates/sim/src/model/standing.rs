//! What agents earn from run to run, told as a list of what happened. Nobody in these worlds makes plans, so nobody earns a
//! promotion: what is held here is who may ask, what is missing, and what violations cost.

use std::collections::BTreeSet;

use eparch_domain::{LedgerTime, Name, RunId, Severity, StandingId, Tier, ViolationType};
use eparch_governor::{AttemptEnd, OperatorRole};
use eparch_pipeline::{StageIx, Work};

use super::Model;
use super::actions::Word;

/// What happened under one standing, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Kind {
    deeds: Vec<Deed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Well,
    Badly,
    Wrong(LedgerTime),
}

impl Model {
    fn standing_at(&self, run: RunId, ix: StageIx) -> Option<StandingId> {
        match &self.runs.get(&run)?.pipeline.stage(ix).work {
            Work::Agent(work) => Some(work.standing()),
            _ => None,
        }
    }

    fn deed(&mut self, run: RunId, ix: StageIx, deed: Deed) {
        if let Some(standing) = self.standing_at(run, ix) {
            self.kinds.entry(standing).or_default().deeds.push(deed);
        }
    }

    /// An attempt ended. What it did not do by itself counts for nothing.
    pub(super) fn note_end(&mut self, run: RunId, ix: StageIx, end: &AttemptEnd, wrong: u32) {
        match end {
            AttemptEnd::Cancelled { .. } | AttemptEnd::LockLost { .. } | AttemptEnd::Interrupted { .. } => {}
            AttemptEnd::Completed if wrong == 0 => self.deed(run, ix, Deed::Well),
            _ => self.deed(run, ix, Deed::Badly),
        }
    }

    pub(super) fn note_wrong(&mut self, run: RunId, ix: StageIx) {
        let now = self.now;
        self.deed(run, ix, Deed::Wrong(now));
    }

    /// What is HIGH or worse raises an alert (R079); what is CRITICAL has everything to be shown again (R087). Nobody here
    /// has a tier that HIGH could lower.
    pub(super) fn costs(&mut self, run: RunId, ix: StageIx, violation: ViolationType) {
        self.note_wrong(run, ix);
        let severity = violation.severity();
        if severity >= Severity::High {
            self.said.push(Word::Alerted(violation));
        }
        if let (Severity::Critical, Some(standing)) = (severity, self.standing_at(run, ix)) {
            self.said.push(Word::Lowered(standing, Tier::T0));
            let kind = self.kinds.entry(standing).or_default();
            kind.deeds.retain(|deed| matches!(deed, Deed::Wrong(_)));
        }
    }

    pub(super) fn promotion_requested(
        &self,
        standing: StandingId,
        by: &Name,
        to: Option<Tier>,
    ) -> BTreeSet<&'static str> {
        let mut refusals = BTreeSet::new();
        match self.people.get(by).map(|person| &person.operator) {
            None => drop(refusals.insert("EP0204")),
            Some(known) => {
                let may = matches!(known.role, OperatorRole::Operator | OperatorRole::Admin);
                refusals.extend((!may).then_some("EP0205"));
                refusals.extend((known.max_tier < Tier::T1).then_some("EP0403"));
            }
        }
        refusals.extend(to.is_some_and(|to| to != Tier::T1).then_some("EP0642"));
        refusals.extend(self.stopped.then_some("EP0650"));
        // No plan was made by anybody.
        refusals.insert(if self.kinds.contains_key(&standing) { "EP0641" } else { "EP0640" });
        refusals
    }

    /// Nothing waits for an answer, since nobody has earned anything.
    pub(super) fn promotion_answered(&self, standing: StandingId) -> BTreeSet<&'static str> {
        [if self.kinds.contains_key(&standing) { "EP0644" } else { "EP0640" }].into()
    }

    pub(super) fn demoted(&self, standing: StandingId, by: &Name) -> BTreeSet<&'static str> {
        let mut refusals = BTreeSet::new();
        match self.people.get(by).map(|person| person.operator.role) {
            None => drop(refusals.insert("EP0204")),
            Some(OperatorRole::Viewer | OperatorRole::Auditor) => drop(refusals.insert("EP0205")),
            Some(_) => {}
        }
        refusals.insert(if self.kinds.contains_key(&standing) { "EP0646" } else { "EP0640" });
        refusals
    }

    /// Holds what the governor remembers against what happened.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub(crate) fn compare_standings(&self, governor: &eparch_governor::Governor) -> Result<(), String> {
        let known: BTreeSet<StandingId> = governor.standings().map(|(id, _)| id).collect();
        if known != self.kinds.keys().copied().collect() {
            return Err(format!("{known:?} are remembered, expected {:?}", self.kinds.keys()));
        }
        for (id, standing) in governor.standings() {
            let deeds = &self.kinds[&id].deeds;
            let well = deeds.iter().filter(|deed| **deed == Deed::Well).count();
            let runs = deeds.iter().filter(|deed| !matches!(deed, Deed::Wrong(_))).count();
            let in_a_row = deeds.iter().rev().take_while(|deed| **deed == Deed::Well).count();
            let wrong = deeds.iter().rev().find_map(|deed| match deed {
                Deed::Wrong(at) => Some(*at),
                _ => None,
            });
            let of = &standing.evidence;
            let found = [of.runs, of.compliant, of.consecutive].map(|count| count as usize);
            let expected = [runs, well, in_a_row];
            if (standing.tier, found, of.last_violation) != (Tier::T0, expected, wrong) {
                return Err(format!("{id} has {standing:?}, expected {expected:?} and {wrong:?}"));
            }
        }
        Ok(())
    }
}
