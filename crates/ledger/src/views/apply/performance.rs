//! The rows of what is performed for agents outside their own cages.

use eparch_domain::{AgentId, PermitId};
use eparch_governor::{Answer, Measure, PerformanceEnd, command_params};

use super::Writing;
use super::request::{answered, unknown};
use crate::views::action::NewAction;
use crate::views::audit::ActionResult;

/// An agent showed a permit and what it is for.
pub(super) fn asked(
    to: &Writing<'_>,
    agent: AgentId,
    permit: PermitId,
    command: &[String],
) -> Result<i64, rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return unknown(to, "perform", agent) };
    let (target, params_digest) = (Some(permit.to_string()), Some(command_params(command).to_string()));
    answered(to, NewAction { target, params_digest, ..NewAction::by(&row, "perform") })
}

/// Its cage is open.
pub(super) fn ready(
    to: &Writing<'_>,
    agent: AgentId,
    permit: PermitId,
    confinement: &[Measure],
) -> Result<i64, rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return unknown(to, "let_perform", agent) };
    let held = confinement.iter().filter(|measure| measure.in_force).count();
    let mut action = NewAction { target: Some(permit.to_string()), ..NewAction::by(&row, "let_perform") };
    if to.record.decision.answer == Answer::Taken {
        action.reason = Some(format!("{held} of {} measures in force", confinement.len()));
    }
    answered(to, action)
}

/// It is over.
pub(super) fn ended(
    to: &Writing<'_>,
    agent: AgentId,
    permit: PermitId,
    end: &PerformanceEnd,
) -> Result<i64, rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return unknown(to, "end_performance", agent) };
    let mut action = NewAction { target: Some(permit.to_string()), ..NewAction::by(&row, "end_performance") };
    match end.is_ok() {
        true => action.result = Some(ActionResult::Ok),
        false => action.failed(end.code().unwrap_or("performance_failed"), end.to_string()),
    }
    action.write(to)
}
