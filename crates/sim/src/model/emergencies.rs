//! What people do because something is very wrong: they stop everything, or two of them let pass what policies deny.

use std::collections::BTreeSet;

use eparch_domain::{
    Action, AgentId, BreakGlassId, Moment, Name, RunId, RunStatus, Span, ViolationType, limits,
};
use eparch_governor::{
    Bearer, BreakGlassAnswer, BreakGlassRequest, Cause, Decision, Fact, GateDecision, GlassScope,
    GlassStands, Governor, Key, OperatorRole,
};
use eparch_pipeline::StageIx;

use super::Model;
use super::leases::Ends;
use crate::glass::one_thing;

/// What two people let pass, or one asks another to.
#[derive(Debug, Clone)]
pub(super) struct Glass {
    /// In which turn it was asked for.
    turn: u64,
    asked: BreakGlassRequest,
    subject: eparch_domain::Digest,
    strict: bool,
    approved_by: Option<(Name, bool)>,
    pub(super) ends: Ends,
    /// The run it is for, once there is one.
    run: Option<RunId>,
    used: BTreeSet<(Action, String)>,
}

impl Glass {
    pub(super) fn until(&self) -> eparch_domain::LedgerTime {
        self.ends.in_ledger_time()
    }
}

fn is_able(role: OperatorRole, able: &[OperatorRole]) -> bool {
    able.contains(&role)
}

impl Model {
    fn role(&self, name: &Name) -> Option<OperatorRole> {
        self.people.get(name).map(|person| person.operator.role)
    }

    /// Why somebody may not do what only these roles may.
    fn forbidden(&self, by: &Name, able: &[OperatorRole]) -> BTreeSet<&'static str> {
        match self.role(by) {
            None => ["EP0204"].into(),
            Some(role) if !is_able(role, able) => ["EP0205"].into(),
            Some(_) => BTreeSet::new(),
        }
    }

    pub(super) fn all_stopped(&mut self, by: &Name) -> BTreeSet<&'static str> {
        let able = [OperatorRole::Operator, OperatorRole::Approver, OperatorRole::Admin];
        let refusals = self.forbidden(by, &able);
        if refusals.is_empty() && !self.stopped {
            self.stopped = true;
            self.glasses_over.extend(std::mem::take(&mut self.glasses).into_keys());
            let agents: Vec<(RunId, StageIx)> = self.agents().map(|(run, ix, _)| (run, ix)).collect();
            for (run, ix) in agents {
                self.revoke_agent_at(run, ix);
            }
            let runs: Vec<RunId> = self.runs.keys().copied().collect();
            for run in runs {
                self.end_run(run, RunStatus::Stopped);
            }
        }
        refusals
    }

    pub(super) fn all_lifted(&mut self, by: &Name) -> BTreeSet<&'static str> {
        let refusals = self.forbidden(by, &[OperatorRole::Admin]);
        self.stopped &= !refusals.is_empty();
        refusals
    }

    pub(super) fn glass_asked(
        &mut self,
        asked: &BreakGlassRequest,
        decision: &Decision,
    ) -> BTreeSet<&'static str> {
        let mut refusals = self.forbidden(&asked.by, &[OperatorRole::Operator, OperatorRole::Admin]);
        refusals.extend(self.stopped.then_some("EP0650"));
        refusals.extend((self.glasses.len() >= limits::BREAK_GLASS_AT_ONCE).then_some("EP0657"));
        refusals.extend(asked.reason.trim().is_empty().then_some("EP0308"));
        let is_work = |action: Action| {
            matches!(
                action,
                Action::ReadFile | Action::WriteFile | Action::AnsibleRun | Action::ExecuteCommand
            )
        };
        let named =
            asked.allows.iter().all(|allowed| is_work(allowed.action) && !allowed.target.contains('*'));
        let brief = asked.time > Span::ZERO && asked.time <= Span::from_mins(60);
        refusals.extend((!named || !brief || asked.allows.is_empty()).then_some("EP0654"));
        let run = match &asked.scope {
            GlassScope::NextRun { of } => {
                refusals.extend((!self.people.contains_key(of)).then_some("EP0204"));
                None
            }
            GlassScope::Agent { agent } => {
                let run = self.agents().find(|(_, _, known)| known.id == *agent).map(|(run, ..)| run);
                refusals.extend(run.is_none().then_some("EP0214"));
                run
            }
            GlassScope::Run { run } | GlassScope::Stage { run, .. } => Some(*run),
        };
        let live = run.and_then(|run| self.runs.get(&run)).filter(|live| live.ending.is_none());
        refusals.extend((run.is_some() && live.is_none()).then_some("EP0202"));
        if let (Some(live), GlassScope::Stage { stage, .. }) = (live, &asked.scope) {
            refusals
                .extend((!live.pipeline.stages.iter().any(|known| known.name == *stage)).then_some("EP0209"));
        }
        let strict = live.is_some_and(|live| Model::strictness(&live.pipeline));
        // What it is called, and the digest of it, only the decision can tell.
        let told = decision.facts.iter().find_map(|fact| match fact {
            Fact::BreakGlassAsked(told) => Some((told.grant, told.subject)),
            _ => None,
        });
        if let (true, Some((grant, subject))) = (refusals.is_empty(), told) {
            let ends = self.in_minutes(15);
            let (turn, asked, used) = (self.turn, asked.clone(), BTreeSet::new());
            self.glasses
                .insert(grant, Glass { turn, asked, subject, strict, approved_by: None, ends, run, used });
        }
        refusals
    }

    pub(super) fn glass_answered(&mut self, answer: &BreakGlassAnswer) -> BTreeSet<&'static str> {
        let mut refusals = BTreeSet::new();
        let waits = self.glasses.get(&answer.grant);
        let Some(glass) =
            waits.filter(|glass| glass.approved_by.is_none() && !self.is_over(glass.ends)).cloned()
        else {
            let known = waits.is_some() || self.glasses_over.contains(&answer.grant);
            return [if known { "EP0653" } else { "EP0652" }].into();
        };
        let Some(person) = self.people.get(&answer.by) else { return ["EP0204"].into() };
        let approves = answer.decision == GateDecision::Approve;
        let own = answer.by == glass.asked.by;
        let whose = match &glass.asked.scope {
            GlassScope::NextRun { of } => Some((of, glass.turn)),
            _ => glass.run.and_then(|run| self.runs.get(&run)).map(|live| (&live.requester, live.asked)),
        };
        let askers: Vec<(&Name, u64)> = [(&glass.asked.by, glass.turn)].into_iter().chain(whose).collect();
        let theirs = whose.is_some_and(|(whose, _)| *whose == answer.by);
        let ever = askers.iter().any(|(asker, turn)| self.strings.may_be(&answer.by, asker, *turn));
        let since = self.strings.may_have_become(&answer.by, &glass.asked.by, glass.turn);
        let own_key = match &person.operator.key {
            Key::Home { .. } => None,
            Key::Remote { public_key } => Some(public_key),
        };
        let signed_with = answer.signed.as_ref().map(|signed| &signed.public_key);
        let vouches = matches!(person.operator.role, OperatorRole::Approver | OperatorRole::Admin);
        let reasons = [
            (approves && (own || theirs), "EP0655"),
            (!own && !vouches, "EP0205"),
            (approves && self.stopped, "EP0650"),
            (answer.subject != glass.subject, "EP0656"),
            (answer.rationale.trim().is_empty(), "EP0308"),
            (signed_with != own_key, "EP0312"),
            (!own && glass.strict && own_key.is_none(), "EP0309"),
            (approves && self.rules_shut_people_out(), "EP0216"),
            (approves && ever || !approves && glass.strict && !own && since, "EP0311"),
        ];
        refusals.extend(reasons.iter().filter(|(holds, _)| *holds).map(|(_, code)| *code));
        if !refusals.is_empty() {
            return refusals;
        }
        if !approves {
            self.glass_over(answer.grant);
            return refusals;
        }
        let ends = self.in_millis(glass.asked.time.millis());
        if let Some(found) = self.glasses.get_mut(&answer.grant) {
            found.approved_by = Some((answer.by.clone(), own_key.is_some()));
            found.ends = ends;
        }
        refusals
    }

    pub(super) fn glass_ended(&mut self, grant: BreakGlassId, by: &Name) -> BTreeSet<&'static str> {
        let able = [OperatorRole::Operator, OperatorRole::Approver, OperatorRole::Admin];
        let mut refusals = self.forbidden(by, &able);
        if !self.glasses.contains_key(&grant) {
            refusals.insert(if self.glasses_over.contains(&grant) { "EP0653" } else { "EP0652" });
        }
        if refusals.is_empty() {
            self.glass_over(grant);
        }
        refusals
    }

    pub(super) fn glass_over(&mut self, grant: BreakGlassId) {
        if self.glasses.remove(&grant).is_some() {
            self.glasses_over.insert(grant);
        }
    }

    fn glasses_over_where(&mut self, which: impl Fn(&Glass) -> bool) {
        let over = self.glasses.iter().filter(|(_, glass)| which(glass));
        let over: Vec<BreakGlassId> = over.map(|(grant, _)| *grant).collect();
        over.into_iter().for_each(|grant| self.glass_over(grant));
    }

    pub(super) fn glasses_of_person_end(&mut self, name: &Name) {
        self.glasses_over_where(|glass| {
            let next = matches!(&glass.asked.scope, GlassScope::NextRun { of } if of == name);
            glass.asked.by == *name || next || glass.approved_by.as_ref().is_some_and(|(by, _)| by == name)
        });
    }

    /// The run that somebody asked for is their next one.
    pub(super) fn glass_for_next(&mut self, run: RunId) {
        let (requester, strict) =
            (self.runs[&run].requester.clone(), Model::strictness(&self.runs[&run].pipeline));
        for glass in self.glasses.values_mut() {
            let next = matches!(&glass.asked.scope, GlassScope::NextRun { of } if *of == requester);
            let apart = glass.approved_by.as_ref().is_some_and(|(_, elsewhere)| *elsewhere || !strict);
            if next && apart && glass.run.is_none() {
                glass.run = Some(run);
            }
        }
    }

    /// The runs in which authority is taken away from somebody. That it is rightly is held elsewhere.
    pub(super) fn revoked_in(&self, decision: &Decision) -> BTreeSet<RunId> {
        let of = |fact: &Fact| match fact {
            Fact::Revoked { bearer: Bearer::Run { run }, .. } => Some(*run),
            // Who stood still loses what it had, and nobody else anything (R081).
            Fact::Revoked { cause: Cause::Violation { violation: ViolationType::NoProgress }, .. } => None,
            Fact::Revoked { bearer: Bearer::Agent { agent }, .. } => {
                self.agents().find(|(_, _, known)| known.id == *agent).map(|(run, ..)| run)
            }
            _ => None,
        };
        decision.facts.iter().filter_map(of).collect()
    }

    /// After everything else: what is over is over.
    pub(super) fn glasses_end(&mut self, revoked: &BTreeSet<RunId>) {
        let goes_on: BTreeSet<RunId> =
            self.runs.iter().filter(|(_, live)| live.ending.is_none()).map(|(run, _)| *run).collect();
        let working: BTreeSet<AgentId> = self
            .agents()
            .filter(|(_, _, agent)| !agent.is_being_ended())
            .map(|(_, _, agent)| agent.id)
            .collect();
        let past: BTreeSet<BreakGlassId> = self
            .glasses
            .iter()
            .filter(|(_, glass)| self.is_over(glass.ends))
            .map(|(grant, _)| *grant)
            .collect();
        past.into_iter().for_each(|grant| self.glass_over(grant));
        self.glasses_over_where(|glass| {
            let gone = matches!(&glass.asked.scope, GlassScope::Agent { agent } if !working.contains(agent));
            gone || glass.run.is_some_and(|run| revoked.contains(&run) || !goes_on.contains(&run))
        });
    }

    /// The grant under which an agent may do this now.
    pub(super) fn glass_over_it(&self, id: AgentId, action: Action, target: &str) -> Option<BreakGlassId> {
        let (run, ix) = self.agents().find(|(_, _, agent)| agent.id == id).map(|(run, ix, _)| (run, ix))?;
        let stage = &self.runs[&run].pipeline.stage(ix).name;
        let found = self.glasses.iter().find(|(_, glass)| {
            let whom = match &glass.asked.scope {
                GlassScope::Agent { agent } => *agent == id,
                GlassScope::Stage { stage: named, .. } => glass.run == Some(run) && named == stage,
                GlassScope::Run { .. } | GlassScope::NextRun { .. } => glass.run == Some(run),
            };
            let named = glass.asked.allows.iter().any(|allowed| {
                (allowed.action, &*one_thing(allowed.action, &allowed.target)) == (action, target)
            });
            whom && named && glass.approved_by.is_some() && !self.is_over(glass.ends)
        });
        found.map(|(grant, _)| *grant)
    }

    pub(super) fn glass_left(&self, grant: BreakGlassId) -> Option<Span> {
        self.glasses.get(&grant).map(|glass| self.time_until(glass.ends))
    }

    /// Notes a use; whether it is the first of this.
    pub(super) fn glass_is_used(&mut self, grant: BreakGlassId, action: Action, target: &str) -> bool {
        self.glasses.get_mut(&grant).is_some_and(|glass| glass.used.insert((action, target.to_owned())))
    }

    /// Holds stops and grants against what the governor remembers.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub(crate) fn compare_emergencies(&self, governor: &Governor) -> Result<(), String> {
        if governor.stopped().is_some() != self.stopped {
            return Err(format!("everything is {:?}, expected {}", governor.stopped(), self.stopped));
        }
        type Row = (BreakGlassId, Option<Name>, Option<RunId>, Option<Moment>);
        let row = |found: &eparch_governor::BreakGlass| -> Option<Row> {
            let (by, run) = match &found.stands {
                GlassStands::Waiting => (None, None),
                GlassStands::Open { by, run, .. } => (Some(by.clone()), *run),
                GlassStands::Over { .. } => return None,
            };
            Some((found.asked.grant, by, run, found.ends()))
        };
        let found: Vec<Row> = governor.break_glasses().filter_map(row).collect();
        let expected: Vec<Row> = self
            .glasses
            .iter()
            .map(|(grant, glass)| {
                let by = glass.approved_by.as_ref().map(|(by, _)| by.clone());
                let run = glass.run.filter(|_| by.is_some());
                (*grant, by, run, Some(glass.ends.moment()))
            })
            .collect();
        if found != expected {
            return Err(format!("{found:?} are let pass, expected {expected:?}"));
        }
        Ok(())
    }
}
