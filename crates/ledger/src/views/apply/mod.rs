//! What an entry means: one row for what was asked and decided, and the rows that its facts change.

mod agent;
mod gate;
mod people;
mod performance;
mod request;
mod run;
mod standing;
mod watched;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use eparch_domain::{AgentId, Digest, Name, Phase, StageStatus};
use eparch_governor::{AgentSpec, Effect, Event, Fact, Record, is_proven_by_files};
use eparch_pipeline::Pipeline;
use rusqlite::{Connection, OptionalExtension as _, ToSql, params};

use super::column::count;

/// An entry that has been read, with the definitions its facts need.
pub(super) struct Step {
    pub(super) seq: u64,
    pub(super) record: Record,
    pub(super) definitions: BTreeMap<Digest, Arc<Pipeline>>,
}

/// One entry being written.
pub(super) struct Writing<'w> {
    pub(super) sql: &'w Connection,
    pub(super) tenant: &'w str,
    pub(super) seq: i64,
    pub(super) ts: String,
    pub(super) record: &'w Record,
    next_no: Cell<i64>,
}

/// An agent as the views know it.
pub(super) struct AgentRow {
    pub(super) agent_id: String,
    pub(super) run_id: String,
    pub(super) agent_name: String,
    pub(super) agent_version: Option<String>,
    pub(super) tier: i64,
    pub(super) phase: String,
    ix: u16,
    program: Option<String>,
    params_digest: Option<String>,
    began_ms: i64,
    violations: i64,
    ending: bool,
    cut_off: bool,
    ended: bool,
    pub(super) standing: Option<String>,
    did: String,
    escalated: bool,
    acted: bool,
}

impl AgentRow {
    /// Whether anything that comes of it counts.
    fn is_followed(&self) -> bool {
        !self.ended && !self.cut_off
    }

    /// Whether what it says counts.
    fn may_speak(&self) -> bool {
        self.is_followed() && !self.ending && self.phase == Phase::Execute.as_str()
    }
}

/// Writes what an entry means.
pub(super) fn apply(sql: &Connection, tenant: &Name, step: &Step) -> Result<(), rusqlite::Error> {
    let record = &step.record;
    let to = Writing {
        sql,
        tenant: tenant.as_str(),
        seq: count(step.seq),
        ts: record.at.wall.to_string(),
        record,
        next_no: Cell::new(0),
    };
    request::asked(&to)?;
    if let Event::AgentAdvanced { agent, outcomes } = &record.event {
        agent::outcomes(&to, *agent, outcomes)?;
    }
    for (no, fact) in (0..).zip(&record.decision.facts) {
        found(&to, step, no, fact)?;
        if let Some((agent, status)) = fact.agent_status() {
            agent::stands(&to, agent, status)?;
        }
    }
    Ok(())
}

fn found(to: &Writing<'_>, step: &Step, no: i64, fact: &Fact) -> Result<(), rusqlite::Error> {
    match fact {
        Fact::OperatorKnown { operator, .. } => people::known(to, no, operator),
        Fact::OperatorRekeyed { name, key, .. } => people::rekeyed(to, no, name, key),
        Fact::OperatorForgotten { name } => people::forgotten(to, name),
        Fact::RunSpawned(spawned) => {
            let pipeline = step
                .definitions
                .get(&spawned.pipeline)
                .expect("an entry is read with every definition it names");
            run::spawned(to, spawned, pipeline)
        }
        Fact::RunEnding { run, reason, by: None, .. } => run::ran_out(to, *run, reason),
        Fact::RunChanged { run, status, reason } => run::changed(to, *run, *status, reason),
        Fact::StageChanged { run, stage, status, reason } => {
            run::stage_changed(to, *run, *stage, *status, reason)
        }
        Fact::LockWaiting { run, stage, wait, .. } => {
            run::stage_changed(to, *run, *stage, StageStatus::Ready, &wait.to_string())
        }
        Fact::LockWaitOver { run, stage } => run::stage_changed(to, *run, *stage, StageStatus::Ready, ""),
        Fact::StageKept { run, stage, kept } => run::stage_kept(to, *run, *stage, kept),
        Fact::AttemptBegan { run, stage, agent, attempt, .. } => {
            agent::began(to, *run, *stage, *agent, *attempt)
        }
        Fact::PhaseEntered { agent, phase } => agent::entered(to, *agent, *phase),
        Fact::PlanSettled { agent, plan, .. } => agent::planned(to, *agent, plan),
        Fact::PlanClarified { agent, clarified, .. } => agent::clarified(to, *agent, clarified),
        Fact::ProgramReleased { agent, .. } => agent::released(to, *agent),
        Fact::AgentEnding { agent, .. } | Fact::AttemptSpoiled { agent, .. } => agent::ending(to, *agent),
        Fact::OutputSeen { agent, outputs, artifacts } => agent::put_out(to, *agent, outputs, artifacts),
        Fact::ErrorCounted { agent, .. } => agent::erred(to, *agent),
        Fact::HeartbeatSeen { agent } => agent::lives(to, *agent),
        Fact::HeartbeatsMissed { agent, .. } => agent::is_silent(to, *agent),
        Fact::ViolationFound { agent, violation, detail } => agent::violated(to, *agent, *violation, detail),
        Fact::AlertRaised { alert, agent, .. } => standing::alerted(to, *alert, *agent),
        Fact::StandingLowered { standing, from, to: lower, because } => {
            standing::lowered(to, no, *standing, (*from, *lower), because)
        }
        Fact::PromotionRequested(opened) => standing::requested(to, no, opened),
        Fact::PromotionAnswered { standing, by, decision, rationale, .. } => {
            standing::answered(to, no, *standing, (by, *decision), rationale)
        }
        Fact::PromotionApproved { standing, to: raised, by, .. } => {
            standing::decided(to, no, *standing, by, Some(*raised))
        }
        Fact::PromotionDenied { standing, by } => standing::decided(to, no, *standing, by.as_slice(), None),
        Fact::ActionDecided(ruled) => {
            standing::ruled(to, ruled)?;
            watched::spoke(to, no, ruled)
        }
        Fact::PermitSpent { agent, permit } => standing::sets_out(to, *agent, *permit),
        Fact::ActionEnded { agent, permit, ok, .. } => {
            standing::did(to, *agent, *permit, *ok, is_proven_by_files)
        }
        Fact::PerformanceEnded { agent, permit, end } => {
            standing::did(to, *agent, *permit, end.is_ok(), |_| true)
        }
        Fact::Packaged { agent, manifest } => agent::packaged(to, *agent, manifest),
        Fact::Reported { agent, report } => agent::reported(to, *agent, report),
        Fact::AttemptCutOff { agent } => agent::cut_off(to, *agent),
        Fact::AgentLingers { agent, asked, .. } => agent::lingers(to, *agent, *asked),
        Fact::OutputDropped { agent, outputs, artifacts } => agent::dropped(to, *agent, *outputs, *artifacts),
        Fact::AttemptEnded { agent, end } => agent::ended(to, *agent, end),
        Fact::GateOpened(opened) => gate::opened(to, no, opened),
        Fact::VoteCast { gate, by, decision, rationale, separation, .. } => {
            gate::voted(to, *gate, by, *decision, rationale, *separation)
        }
        Fact::GateClosed { gate, outcome } => gate::closed(to, *gate, *outcome),
        Fact::EndsSooner => gate::wait_less(to),
        // The row of what was asked says all there is to say of these, or another fact does.
        Fact::EpochBegan { .. }
        | Fact::PoliciesInForce { .. }
        | Fact::PoliciesProposed(_)
        | Fact::PoliciesApproved { .. }
        | Fact::PoliciesProposalOver { .. }
        | Fact::DiagnosticKnown { .. }
        | Fact::DiagnosisSkipped { .. }
        | Fact::PerformanceBegan { .. }
        | Fact::PerformanceReleased { .. }
        | Fact::PerformanceEnding { .. }
        | Fact::PermitRefused { .. }
        | Fact::CallsLimited { .. }
        | Fact::Revoked { .. }
        | Fact::AllStopped { .. }
        | Fact::StoppingGoesOn { .. }
        | Fact::AllLifted { .. }
        | Fact::BreakGlassAsked(_)
        | Fact::BreakGlassOpened { .. }
        | Fact::BreakGlassBound { .. }
        | Fact::BreakGlassOver { .. }
        | Fact::AlarmRaised { .. }
        | Fact::SecretGranted { .. }
        | Fact::LockAcquired { .. }
        | Fact::LocksRenewed { .. }
        | Fact::LockLost { .. }
        | Fact::LockMissed { .. }
        | Fact::LockReleased { .. }
        | Fact::LeaseBegan { .. }
        | Fact::LeaseRenewed { .. }
        | Fact::LeaseEnded { .. }
        | Fact::TokenIssued { .. }
        | Fact::TokenRenewed { .. }
        | Fact::CredentialKnown { .. }
        | Fact::CredentialEnding(_)
        | Fact::CredentialEnded { .. }
        | Fact::EndingGoesOn { .. }
        | Fact::CredentialLost { .. }
        | Fact::ClockSetBack { .. }
        | Fact::ClockDoubted { .. }
        | Fact::ClockTrusted { .. }
        | Fact::RunEnding { .. }
        | Fact::ConditionDecided { .. }
        | Fact::TreeKnown { .. }
        | Fact::ProgressSeen { .. }
        | Fact::StageEnding { .. }
        | Fact::ReportMisplaced { .. }
        | Fact::StageExpired { .. }
        | Fact::RetryScheduled { .. }
        | Fact::BackoffOver { .. } => Ok(()),
    }
}

impl Writing<'_> {
    /// The next number for an action of this entry.
    pub(super) fn next_no(&self) -> i64 {
        self.next_no.replace(self.next_no.get() + 1)
    }

    /// Runs a statement whose first three parameters are the tenant, the entry's seq and its time.
    fn run(&self, statement: &str, more: &[&dyn ToSql]) -> Result<usize, rusqlite::Error> {
        let first: [&dyn ToSql; 3] = [&self.tenant, &self.seq, &self.ts];
        let values: Vec<&dyn ToSql> = first.iter().chain(more).copied().collect();
        self.sql.prepare_cached(statement)?.execute(values.as_slice())
    }

    /// What this entry asks to be made ready for an agent.
    fn spec(&self, agent: AgentId) -> Option<&AgentSpec> {
        self.record.decision.effects.iter().find_map(|effect| match effect {
            Effect::Prepare(spec) if spec.agent == agent => Some(spec.as_ref()),
            _ => None,
        })
    }

    /// What is known of an agent.
    fn agent(&self, agent: AgentId) -> Result<Option<AgentRow>, rusqlite::Error> {
        let mut row = self.sql.prepare_cached(
            "SELECT agent_id, run_id, agent_name, agent_version, tier, phase, ix, program, params_digest, began_ms, \
             violations, ending, cut_off, ended_at IS NOT NULL, standing, did, escalated, acted FROM agents WHERE tenant_id = ?1 AND agent_id = ?2",
        )?;
        let row = row.query_row(params![self.tenant, agent.to_string()], |row| {
            Ok(AgentRow {
                agent_id: row.get(0)?,
                run_id: row.get(1)?,
                agent_name: row.get(2)?,
                agent_version: row.get(3)?,
                tier: row.get(4)?,
                phase: row.get(5)?,
                ix: row.get(6)?,
                program: row.get(7)?,
                params_digest: row.get(8)?,
                began_ms: row.get(9)?,
                violations: row.get(10)?,
                ending: row.get(11)?,
                cut_off: row.get(12)?,
                ended: row.get(13)?,
                standing: row.get(14)?,
                did: row.get(15)?,
                escalated: row.get(16)?,
                acted: row.get(17)?,
            })
        });
        row.optional()
    }

    /// The run of a gate.
    fn run_of_gate(&self, gate: &str) -> Result<Option<String>, rusqlite::Error> {
        let mut row =
            self.sql.prepare_cached("SELECT run_id FROM approvals WHERE tenant_id = ?1 AND gate_id = ?2")?;
        row.query_row(params![self.tenant, gate], |row| row.get(0)).optional()
    }
}
