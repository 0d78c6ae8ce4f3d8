//! What the recorded facts say, folded without the governor: the observer that invariants and model are held against.

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{
    Action, AgentId, Digest, GateId, LeaseId, LedgerTime, Moment, Name, PermitId, Phase, RunId, RunStatus,
    StageStatus,
};
use eparch_governor::{AttemptEnd, Bearer, Fact, GateOpened, GateOutcome, Until};
use eparch_pipeline::StageIx;

use crate::ends;
use crate::glass::{SeenGlasses, one_thing};
use crate::locks::SeenLocks;

/// One agent, as the facts show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenAgent {
    /// Its run.
    pub(crate) run: RunId,
    /// Its stage.
    pub(crate) stage: StageIx,
    /// Which attempt.
    pub(crate) attempt: u32,
    /// The phase it is in; `None` before its first.
    pub(crate) phase: Option<Phase>,
    /// What it will do, once that is settled.
    pub(crate) plan: Option<Digest>,
    /// Whether its program was let go.
    pub(crate) released: bool,
    /// How it will have ended, once that is decided.
    pub(crate) decided: Option<AttemptEnd>,
    /// Whether it is being killed.
    pub(crate) killed: bool,
    /// Whether its holder died.
    pub(crate) cut_off: bool,
    /// The names of what it put out.
    pub(crate) outputs: BTreeSet<String>,
    /// Whether its plan was issued again.
    pub(crate) clarified: bool,
    /// Whether its authority was taken away.
    pub(crate) revoked: bool,
    /// Its token, for as long as what it asks for counts.
    pub(crate) token: Option<SeenToken>,
    /// Whether it has not ended.
    pub(crate) alive: bool,
}

impl SeenAgent {
    /// Whether what it asks for counts: it lives, and nothing was decided about its end.
    pub(crate) fn has_authority(&self) -> bool {
        self.alive && !self.revoked && !self.cut_off && self.decided.is_none()
    }
}

/// A run's lease, as the facts show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenLease {
    /// Which.
    pub(crate) lease: LeaseId,
    /// Which of the run's.
    pub(crate) round: u32,
    /// When it is over.
    pub(crate) expires: Moment,
    /// When it is renewed.
    pub(crate) renew_at: LedgerTime,
}

/// An agent's token, as the facts show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenToken {
    /// Of which lease.
    pub(crate) lease: LeaseId,
    /// Which of the agent's.
    pub(crate) round: u32,
    /// When it was issued.
    pub(crate) issued: LedgerTime,
    /// When it is over.
    pub(crate) expires: Moment,
    /// When it is renewed.
    pub(crate) renew_at: LedgerTime,
}

/// One gate, as the facts show it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeenGate {
    /// What was opened.
    pub(crate) opened: GateOpened,
    /// Who answered.
    pub(crate) votes: BTreeSet<Name>,
    /// Whether it has closed.
    pub(crate) closed: bool,
    /// Whether it was approved.
    pub(crate) approved: bool,
    /// Whether somebody who approved it may act no longer.
    pub(crate) unsaid: bool,
}

/// One permit, as the facts show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeenPermit {
    /// Whose.
    pub(crate) agent: AgentId,
    /// The arguments it is for.
    pub(crate) params: Digest,
    /// The gate at which it was approved, if it took that.
    pub(crate) gate: Option<GateId>,
    /// The policies it was given under.
    pub(crate) under: Option<Digest>,
    /// It may be used before this.
    pub(crate) expires: Until,
    /// Whether it was used.
    pub(crate) spent: bool,
    /// Whether it was said what came of it.
    pub(crate) told: bool,
    /// Whether a command is, or was, performed under it.
    pub(crate) begun: bool,
    /// Whether that was let go.
    pub(crate) released: bool,
    /// Whether it is being ended before it is over.
    pub(crate) ending: bool,
    /// Whether that is over.
    pub(crate) over: bool,
}

impl SeenPermit {
    /// Whether a command is performed under it now.
    pub(crate) fn is_performed(&self) -> bool {
        self.begun && !self.over
    }
}

/// Everything the facts say that matters here.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    /// Every run ever.
    pub(crate) runs: BTreeMap<RunId, RunStatus>,
    /// What each of them is of.
    pub(crate) pipelines: BTreeMap<RunId, Digest>,
    /// Those of them that repeat another.
    pub(crate) repeating: BTreeSet<RunId>,
    /// Every stage of every run that has begun to change.
    pub(crate) stages: BTreeMap<(RunId, StageIx), StageStatus>,
    /// Every agent ever.
    pub(crate) agents: BTreeMap<AgentId, SeenAgent>,
    /// Every gate ever.
    pub(crate) gates: BTreeMap<GateId, SeenGate>,
    /// The lease of each run that has one.
    pub(crate) leases: BTreeMap<RunId, SeenLease>,
    /// Who has which lock.
    pub(crate) locks: SeenLocks,
    /// Whether everything is stopped.
    pub(crate) stopped: bool,
    /// What two people let pass, or are asked to.
    pub(crate) glasses: SeenGlasses,
    /// Whether nobody believes the clock.
    pub(crate) doubted: bool,
    /// Every permit ever.
    pub(crate) permits: BTreeMap<PermitId, SeenPermit>,
    /// The gates whose approval has become a permit.
    pub(crate) used_approvals: BTreeSet<GateId>,
    /// What people said no to, and in which run.
    pub(crate) denied: BTreeSet<(RunId, Action, String)>,
    /// The policies in force.
    pub(crate) policies: Option<Digest>,
    /// When the facts that are being taken were found.
    pub(crate) now: Moment,
    /// The runs that are or were looked at, each with the one that looks.
    pub(crate) looked_at: BTreeMap<RunId, RunId>,
    /// The last epoch.
    pub(crate) epoch: u64,
    /// How many agents may work at once.
    pub(crate) agents_at_once: u32,
}

impl Seen {
    /// Takes in one fact.
    pub(crate) fn take(&mut self, fact: &Fact) {
        self.locks.take(fact);
        self.glasses.take(fact);
        match fact {
            Fact::EpochBegan { epoch, agents_at_once } => {
                (self.epoch, self.agents_at_once) = (*epoch, *agents_at_once)
            }
            Fact::RunSpawned(spawned) => {
                self.runs.insert(spawned.run, RunStatus::Spawned);
                self.pipelines.insert(spawned.run, spawned.pipeline);
                if let Some(parent) = &spawned.parent {
                    self.looked_at.insert(parent.run, spawned.run);
                }
                if spawned.repeats.is_some() {
                    self.repeating.insert(spawned.run);
                }
            }
            Fact::RunChanged { run, status, .. } => {
                self.runs.insert(*run, *status);
            }
            Fact::StageChanged { run, stage, status, .. } => {
                self.stages.insert((*run, *stage), *status);
            }
            Fact::StageKept { run, stage, .. } => {
                self.stages.insert((*run, *stage), StageStatus::Completed);
            }
            Fact::AttemptBegan { run, stage, agent, attempt, .. } => {
                let (run, stage, attempt) = (*run, *stage, *attempt);
                let begun = SeenAgent {
                    run,
                    stage,
                    attempt,
                    phase: None,
                    plan: None,
                    released: false,
                    decided: None,
                    killed: false,
                    cut_off: false,
                    outputs: BTreeSet::new(),
                    clarified: false,
                    revoked: false,
                    token: None,
                    alive: true,
                };
                self.agents.insert(*agent, begun);
            }
            Fact::PhaseEntered { agent, phase } => self.with_agent(*agent, |seen| seen.phase = Some(*phase)),
            Fact::PlanSettled { agent, plan, .. } => self.with_agent(*agent, |seen| seen.plan = Some(*plan)),
            Fact::AgentEnding { agent, end, .. } => self.with_agent(*agent, |seen| {
                (seen.decided, seen.killed) = (Some(end.clone()), true);
            }),
            Fact::AttemptSpoiled { agent, end } => {
                self.with_agent(*agent, |seen| seen.decided = Some(end.clone()))
            }
            Fact::AttemptCutOff { agent } => self.with_agent(*agent, |seen| seen.cut_off = true),
            Fact::ProgramReleased { agent, .. } => self.with_agent(*agent, |seen| seen.released = true),
            Fact::OutputSeen { agent, outputs, .. } => {
                self.with_agent(*agent, |seen| seen.outputs.extend(outputs.keys().cloned()))
            }
            Fact::PlanClarified { agent, .. } => self.with_agent(*agent, |seen| seen.clarified = true),
            Fact::Revoked { bearer: Bearer::Agent { agent }, .. } => {
                self.with_agent(*agent, |seen| seen.revoked = true)
            }
            Fact::Revoked { bearer: Bearer::Run { run }, .. } => {
                for seen in self.agents.values_mut().filter(|seen| seen.run == *run) {
                    seen.revoked = true;
                }
            }
            Fact::AttemptEnded { agent, .. } => self.with_agent(*agent, |seen| seen.alive = false),
            Fact::LeaseBegan { run, lease, round, expires, renew_at } => {
                let held = SeenLease { lease: *lease, round: *round, expires: *expires, renew_at: *renew_at };
                self.leases.insert(*run, held);
            }
            Fact::LeaseRenewed { run, expires, renew_at, .. } => {
                if let Some(held) = self.leases.get_mut(run) {
                    (held.expires, held.renew_at) = (*expires, *renew_at);
                }
            }
            Fact::LeaseEnded { run, .. } => drop(self.leases.remove(run)),
            Fact::TokenIssued { agent, lease, round, expires, renew_at, .. } => {
                let issued = self.now.ledger;
                let (lease, round, expires, renew_at) = (*lease, *round, *expires, *renew_at);
                let token = SeenToken { lease, round, issued, expires, renew_at };
                self.with_agent(*agent, |seen| seen.token = Some(token));
            }
            Fact::TokenRenewed { agent, expires, renew_at, .. } => self.with_agent(*agent, |seen| {
                if let Some(token) = &mut seen.token {
                    (token.expires, token.renew_at) = (*expires, *renew_at);
                }
            }),
            Fact::AllStopped { .. } => self.stopped = true,
            Fact::AllLifted { .. } => self.stopped = false,
            Fact::ClockDoubted { .. } => self.doubted = true,
            Fact::ClockTrusted { .. } => self.doubted = false,
            Fact::EndsSooner => {
                let gates = self.gates.values_mut().map(|gate| &mut gate.opened.deadline);
                let permits = self.permits.values_mut().map(|permit| &mut permit.expires);
                gates.chain(permits).for_each(|until| ends::sooner(until, self.now));
                self.glasses.end_sooner(self.now);
            }
            Fact::PoliciesInForce { policies, .. } => self.policies = Some(*policies),
            Fact::ActionDecided(ruled) => {
                if let Some(given) = ruled.permit {
                    let seen = SeenPermit {
                        agent: ruled.agent,
                        params: ruled.params,
                        gate: ruled.gate,
                        under: ruled.policy,
                        expires: given.expires,
                        spent: false,
                        told: false,
                        begun: false,
                        released: false,
                        ending: false,
                        over: false,
                    };
                    self.permits.insert(given.permit, seen);
                    self.used_approvals.extend(ruled.gate);
                }
            }
            Fact::PermitSpent { permit, .. } => self.with_permit(*permit, |seen| seen.spent = true),
            Fact::PerformanceBegan { permit, .. } => self.with_permit(*permit, |seen| seen.begun = true),
            Fact::PerformanceReleased { permit, .. } => {
                self.with_permit(*permit, |seen| seen.released = true)
            }
            Fact::PerformanceEnding { permit, .. } => self.with_permit(*permit, |seen| seen.ending = true),
            Fact::PerformanceEnded { permit, .. } => self.with_permit(*permit, |seen| seen.over = true),
            Fact::ActionEnded { permit, .. } => self.with_permit(*permit, |seen| seen.told = true),
            Fact::GateOpened(opened) => {
                let gate = SeenGate {
                    opened: opened.as_ref().clone(),
                    votes: BTreeSet::new(),
                    closed: false,
                    approved: false,
                    unsaid: false,
                };
                self.gates.insert(opened.gate, gate);
            }
            Fact::VoteCast { gate, by, .. } => {
                if let Some(gate) = self.gates.get_mut(gate) {
                    gate.votes.insert(by.clone());
                }
            }
            Fact::OperatorForgotten { name } => {
                for gate in self.gates.values_mut().filter(|gate| gate.votes.contains(name)) {
                    gate.unsaid |= gate.closed;
                    if !gate.closed {
                        gate.votes.remove(name);
                    }
                }
            }
            Fact::GateClosed { gate, outcome } => {
                if let Some(gate) = self.gates.get_mut(gate) {
                    if let (GateOutcome::Denied, Some(sought)) = (outcome, &gate.opened.sought) {
                        let thing = one_thing(sought.action, &sought.target);
                        self.denied.insert((gate.opened.run, sought.action, thing));
                    }
                    (gate.closed, gate.approved) = (true, *outcome == GateOutcome::Approved);
                }
            }
            _ => {}
        }
    }

    fn with_agent(&mut self, agent: AgentId, change: impl FnOnce(&mut SeenAgent)) {
        if let Some(seen) = self.agents.get_mut(&agent) {
            change(seen);
        }
    }

    fn with_permit(&mut self, permit: PermitId, change: impl FnOnce(&mut SeenPermit)) {
        if let Some(seen) = self.permits.get_mut(&permit) {
            change(seen);
        }
    }

    /// An agent's token, while what it asks for counts.
    pub(crate) fn token(&self, agent: AgentId) -> Option<&SeenToken> {
        self.agents.get(&agent).filter(|of| of.has_authority())?.token.as_ref()
    }

    /// How a stage stands.
    pub(crate) fn stage(&self, run: RunId, ix: StageIx) -> StageStatus {
        self.stages.get(&(run, ix)).copied().unwrap_or(StageStatus::Pending)
    }

    /// The agents that have not ended.
    pub(crate) fn alive(&self) -> impl Iterator<Item = (AgentId, &SeenAgent)> {
        self.agents.iter().filter(|(_, agent)| agent.alive).map(|(id, agent)| (*id, agent))
    }

    /// The gates that wait.
    pub(crate) fn open_gates(&self) -> impl Iterator<Item = &GateOpened> {
        self.gates.values().filter(|gate| !gate.closed).map(|gate| &gate.opened)
    }
}
