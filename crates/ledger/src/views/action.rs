//! One row of the audit trail, as it is written.

use rusqlite::named_params;

use super::apply::{AgentRow, Writing};
use super::audit::{ActionResult, Ruling};
use super::column::word;

/// What somebody did, asked for or was let do, and what was decided about it. What is left out is not known.
#[derive(Default)]
pub(super) struct NewAction<'a> {
    pub(super) action: &'static str,
    pub(super) actor: Option<String>,
    pub(super) agent: Option<&'a AgentRow>,
    /// The run, when no agent says it.
    pub(super) run: Option<String>,
    pub(super) phase: Option<String>,
    pub(super) target: Option<String>,
    pub(super) ruling: Ruling,
    pub(super) reason: Option<String>,
    pub(super) params_digest: Option<String>,
    pub(super) result: Option<ActionResult>,
    pub(super) error_type: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) duration_ms: Option<i64>,
}

impl NewAction<'_> {
    /// An action of an agent.
    pub(super) fn by<'a>(agent: &'a AgentRow, action: &'static str) -> NewAction<'a> {
        NewAction {
            action,
            actor: Some(agent.agent_id.clone()),
            agent: Some(agent),
            phase: Some(agent.phase.clone()),
            ..NewAction::default()
        }
    }

    pub(super) fn failed(&mut self, kind: &str, message: String) {
        self.result = Some(ActionResult::Error);
        self.error_type = Some(kind.to_owned());
        self.error_message = Some(message);
    }

    /// Refused, for a reason with a code.
    pub(super) fn denied(&mut self, code: &str, message: String) {
        self.ruling = Ruling::Deny;
        self.reason = Some(code.to_owned());
        self.result = Some(ActionResult::Denied);
        self.error_type = Some(code.to_owned());
        self.error_message = Some(message);
    }

    /// Writes the row; returns its number in its entry.
    pub(super) fn write(self, to: &Writing<'_>) -> Result<i64, rusqlite::Error> {
        let no = to.next_no();
        let agent = self.agent;
        let mut row = to.sql.prepare_cached(
            "INSERT INTO agent_actions (tenant_id, journal_seq, no, ts, actor, agent_id, agent_name, agent_version, tier, \
             session_id, pipeline_id, phase, action, target, decision, decision_reason, params_digest, result, error_type, \
             error_message, duration_ms) VALUES (:tenant, :seq, :no, :ts, :actor, :agent, :agent_name, :agent_version, \
             :tier, :session, :run, :phase, :action, :target, :decision, :reason, :params, :result, :error_type, \
             :error_message, :duration)",
        )?;
        row.execute(named_params! {
            ":tenant": to.tenant,
            ":seq": to.seq,
            ":no": no,
            ":ts": to.ts,
            ":actor": self.actor,
            ":agent": agent.map(|agent| &agent.agent_id),
            ":agent_name": agent.map(|agent| &agent.agent_name),
            ":agent_version": agent.and_then(|agent| agent.agent_version.as_ref()),
            ":tier": agent.map(|agent| agent.tier),
            ":session": to.record.epoch.to_string(),
            ":run": self.run.as_ref().or(agent.map(|agent| &agent.run_id)),
            ":phase": self.phase,
            ":action": self.action,
            ":target": self.target,
            ":decision": word(&self.ruling),
            ":reason": self.reason,
            ":params": self.params_digest,
            ":result": self.result.map(|result| word(&result)),
            ":error_type": self.error_type,
            ":error_message": self.error_message,
            ":duration": self.duration_ms,
        })?;
        Ok(no)
    }
}
