//! One agent: eight phases in order, and the ways out of them.

use std::collections::BTreeMap;

use eparch_domain::{AgentId, Digest, LedgerTime, Phase, RunId, Span, StageStatus, limits};
use eparch_governor::{AttemptEnd, Ended, GatePurpose, Outcome, Signal};
use eparch_pipeline::{AgentWork, OnInterrupt, StageIx, Work};
use serde_json::Value;

use super::{Doing, Due, Hints, Model};

#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) id: AgentId,
    pub(super) cut_off: bool,
    /// How many phases it has behind it: 3 is in EXECUTE.
    behind: usize,
    start_by: LedgerTime,
    execute_by: Option<LedgerTime>,
    idle_by: Option<LedgerTime>,
    /// How it will have ended, once that is settled.
    fate: Option<AttemptEnd>,
    killed: bool,
    violations: u32,
    errors: BTreeMap<String, u32>,
    outputs: BTreeMap<String, Value>,
    package: Option<Digest>,
}

const EXECUTE: usize = 3;
const EXIT: usize = 7;

fn place(phase: Phase) -> usize {
    eparch_domain::phase::AGENT_PHASES_ORDERED.iter().position(|known| *known == phase).unwrap_or(usize::MAX)
}

fn failed() -> AttemptEnd {
    AttemptEnd::Failed { code: String::new(), reason: String::new() }
}

impl Agent {
    pub(super) fn begun(id: AgentId, start_by: LedgerTime) -> Agent {
        Agent {
            id,
            cut_off: false,
            behind: 0,
            start_by,
            execute_by: None,
            idle_by: None,
            fate: None,
            killed: false,
            violations: 0,
            errors: BTreeMap::new(),
            outputs: BTreeMap::new(),
            package: None,
        }
    }

    pub(super) fn due(&self) -> Option<(LedgerTime, Due)> {
        if self.fate.is_some() || self.cut_off || self.behind > EXECUTE {
            return None;
        }
        let own = match self.execute_by {
            Some(at) => (at, Due::Execute(self.id)),
            None => (self.start_by, Due::Start(self.id)),
        };
        [Some(own), self.idle_by.map(|at| (at, Due::Idle(self.id)))].into_iter().flatten().min()
    }

    pub(super) fn time_out(&mut self, limit: &str) {
        if !self.killed {
            self.killed = true;
            self.fate = Some(AttemptEnd::TimedOut { limit: limit.to_owned(), allowed: Span::ZERO });
        }
    }

    pub(super) fn cancel(&mut self) {
        if !self.killed || matches!(self.fate, Some(AttemptEnd::TimedOut { .. })) {
            self.killed = true;
            self.fate = Some(AttemptEnd::Cancelled { reason: String::new() });
        }
    }

    /// Eight errors, two of a kind and one violation are within the budget (2.C rule 1).
    fn revoke_if_over_budget(&mut self) {
        let total: u32 = self.errors.values().sum();
        let over = total > 8 || self.violations > 1 || self.errors.values().any(|count| *count > 2);
        if over && self.fate.is_none() && self.behind < EXIT {
            self.killed = true;
            self.fate = Some(AttemptEnd::Revoked { reason: String::new() });
        }
    }

    fn is_revoked(&self) -> bool {
        matches!(self.fate, Some(AttemptEnd::Revoked { .. }))
    }

    /// Takes one outcome of the phase it is in; how the attempt ends, if it does.
    fn outcome(&mut self, outcome: &Outcome, work: &AgentWork, now: LedgerTime) -> Option<AttemptEnd> {
        if self.is_revoked() && self.behind >= EXECUTE {
            return self.fate.clone();
        }
        let bad_check = |checks: &[eparch_governor::Check]| checks.iter().any(|check| !check.ok);
        let settled = |agent: &Agent, end: AttemptEnd| Some(agent.fate.clone().unwrap_or(end));
        match outcome {
            Outcome::Failed { in_phase: Phase::Execute, .. } => {
                self.fate.get_or_insert_with(failed);
            }
            Outcome::Failed { .. } => return settled(self, failed()),
            Outcome::Preflight { checks, .. } if bad_check(checks) => return settled(self, failed()),
            Outcome::Plan { problem: Some(_), .. } => return settled(self, failed()),
            Outcome::Plan { .. } => {
                if self.fate.is_some() {
                    return self.fate.clone();
                }
                self.execute_by = Some(now.after(work.attempt_timeout.unwrap_or(work.timeout)));
                self.moved(work, now);
            }
            Outcome::Execute { ended, outputs, .. } => {
                self.outputs.extend(outputs.clone());
                match ended {
                    Ended::Code { code: 0 } => {}
                    Ended::Killed => {
                        self.fate.get_or_insert(AttemptEnd::Cancelled { reason: String::new() });
                    }
                    Ended::Code { .. } | Ended::Signal { .. } => {
                        self.fate.get_or_insert_with(failed);
                    }
                }
            }
            Outcome::Verify { checks } if bad_check(checks) => {
                self.fate.get_or_insert_with(failed);
            }
            Outcome::Package { manifest } => self.package = Some(*manifest),
            Outcome::Report { package, .. } if self.package != Some(*package) => {
                return settled(self, failed());
            }
            Outcome::Exit => return settled(self, AttemptEnd::Completed),
            Outcome::Bootstrap { .. }
            | Outcome::Preflight { .. }
            | Outcome::Verify { .. }
            | Outcome::Report { .. } => {}
        }
        self.behind += 1;
        if self.behind > EXECUTE {
            self.idle_by = None;
        }
        None
    }

    /// Something moved: the idle timeout begins anew.
    fn moved(&mut self, work: &AgentWork, now: LedgerTime) {
        self.idle_by = work.idle_timeout.map(|idle| now.after(idle));
    }
}

impl Model {
    /// Where an agent works, while it lives.
    fn place_of(&self, id: AgentId) -> Option<(RunId, StageIx, AgentWork)> {
        let (run, ix, _) = self.agents().find(|(_, _, agent)| agent.id == id)?;
        match &self.runs[&run].pipeline.stage(ix).work {
            Work::Agent(work) => Some((run, ix, work.as_ref().clone())),
            _ => None,
        }
    }

    fn agent(&mut self, id: AgentId) -> Option<&mut Agent> {
        self.agents_mut().find(|agent| agent.id == id)
    }

    pub(super) fn advanced(
        &mut self,
        id: AgentId,
        outcomes: &[Outcome],
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let Some((run, ix, work)) = self.place_of(id) else { return Ok(()) };
        for outcome in outcomes {
            let Some(agent) = self.agent(id).filter(|agent| !agent.cut_off) else { return Ok(()) };
            if place(outcome.phase()) != agent.behind {
                agent.violations += 1;
                agent.revoke_if_over_budget();
                return Ok(());
            }
            if let Some(end) = agent.outcome(outcome, &work, now) {
                return self.end_agent(run, ix, &end, now, hints);
            }
        }
        Ok(())
    }

    fn end_agent(
        &mut self,
        run: RunId,
        ix: StageIx,
        end: &AttemptEnd,
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let cell = self.cell(run, ix);
        let Doing::Agent(agent) = std::mem::replace(&mut cell.doing, Doing::Nothing) else { return Ok(()) };
        if *end == AttemptEnd::Completed {
            cell.outputs = agent.outputs;
        }
        self.attempt_ended((run, ix), end, now, hints)
    }

    pub(super) fn signalled(&mut self, id: AgentId, signal: &Signal, now: LedgerTime) {
        let Some((_, _, work)) = self.place_of(id) else { return };
        let Some(agent) = self.agent(id) else { return };
        if agent.fate.is_some() || agent.cut_off || agent.behind != EXECUTE {
            return;
        }
        match signal {
            Signal::Heartbeat => {}
            Signal::Progress | Signal::Message { .. } => agent.moved(&work, now),
            Signal::Output { name, value } => {
                if agent.outputs.len() < limits::STAGE_OUTPUTS || agent.outputs.contains_key(name) {
                    agent.outputs.insert(name.clone(), value.clone());
                    agent.moved(&work, now);
                }
            }
            Signal::Error { code } => {
                *agent.errors.entry(code.clone()).or_default() += 1;
                agent.revoke_if_over_budget();
            }
        }
    }

    pub(super) fn proven_dead(
        &mut self,
        id: AgentId,
        now: LedgerTime,
        hints: &mut Hints,
    ) -> Result<(), String> {
        let Some((run, ix, work)) = self.place_of(id) else { return Ok(()) };
        let Some(agent) = self.agent(id).filter(|agent| agent.cut_off) else { return Ok(()) };
        let (ran, fate) = (agent.execute_by.is_some(), agent.fate.clone());
        if let Some(end) = fate {
            return self.end_agent(run, ix, &end, now, hints);
        }
        let (ending, turn) = (self.runs[&run].ending.is_some(), self.turn);
        let cell = self.cell(run, ix);
        cell.interruptions += 1;
        cell.doing = Doing::Nothing;
        if ending {
            self.end_stage(run, ix, StageStatus::Cancelled);
            return Ok(());
        }
        match (work.on_interrupt(), ran) {
            (OnInterrupt::Retry, _) | (_, false) => {
                (cell.status, cell.doing) = (StageStatus::Ready, Doing::Queued(turn));
                Ok(())
            }
            (OnInterrupt::Fail, true) => {
                self.end_stage(run, ix, StageStatus::Failed);
                Ok(())
            }
            (OnInterrupt::Ask, true) => {
                let deadline = now.after(limits::GATE_TIMEOUT);
                self.open_gate((run, ix), GatePurpose::Interrupted, deadline, hints)
            }
        }
    }
}
