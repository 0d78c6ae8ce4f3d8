//! The row every entry has: who asked for what, and what was decided.

use eparch_domain::{AgentId, Name, PermitId, RunId, StandingId, limits};
use eparch_governor::{
    ActionAsked, Answer, Bearer, CredentialOutcome, Event, Fact, GateAnswer, GateDecision, Outcome,
    SecretAccess, SecretOutcome, Signal,
};

use super::{Writing, performance};
use crate::views::action::NewAction;
use crate::views::audit::{ActionResult, Ruling};

/// Writes it. Called before anything else of the entry is, so that it sees how things stood.
pub(super) fn asked(to: &Writing<'_>) -> Result<(), rusqlite::Error> {
    match &to.record.event {
        Event::Booted { version, .. } => by_the_home("boot", Some(version.clone())).write(to)?,
        Event::ClockTurned => by_the_home("clock_turned", None).write(to)?,
        Event::ClockJumped { by_ms } => by_the_home("clock_jumped", Some(format!("{by_ms} ms"))).write(to)?,
        Event::OperatorAdded { by, operator } => {
            let actor = by.as_ref().map(Name::to_string);
            answered(to, NewAction { actor, ..about("operator_add", &operator.name) })?
        }
        Event::OperatorRotated { by, name, .. } => {
            answered(to, NewAction { actor: Some(by.to_string()), ..about("operator_rotate", name) })?
        }
        Event::OperatorRemoved { by, name } => {
            answered(to, NewAction { actor: Some(by.to_string()), ..about("operator_remove", name) })?
        }
        Event::RunRequested(request) => {
            let plan = eparch_pipeline::plan_id(&request.pipeline, &request.inputs, &request.env);
            let action = NewAction {
                target: Some(request.pipeline.to_string()),
                params_digest: Some(plan.to_string()),
                ..of_run("spawn", &request.requester, request.run)
            };
            answered(to, action)?
        }
        Event::StopRequested { run, by, reason } => {
            let reason = (!reason.is_empty()).then(|| reason.clone());
            answered(to, NewAction { target: Some(run.to_string()), reason, ..of_run("stop", by, *run) })?
        }
        Event::RevokeRequested { bearer, by, reason } => revoke(to, bearer, by, reason)?,
        Event::StopAllRequested { by, reason } => answered(to, for_all("stop_all", by, reason))?,
        Event::StopAllLifted { by, reason } => answered(to, for_all("lift_stop", by, reason))?,
        Event::BreakGlassRequested(request) => {
            let asked = to.record.decision.facts.iter().find_map(|fact| match fact {
                Fact::BreakGlassAsked(asked) => Some((asked.grant.to_string(), asked.subject.to_string())),
                _ => None,
            });
            let (target, params_digest) = asked.unzip();
            let action = for_all("ask_break_glass", &request.by, &request.reason);
            answered(to, NewAction { target, params_digest, ..action })?
        }
        Event::BreakGlassAnswered(answer) => {
            let action = match answer.decision {
                GateDecision::Approve => "approve_break_glass",
                GateDecision::Deny => "deny_break_glass",
            };
            let (target, params_digest) = (Some(answer.grant.to_string()), Some(answer.subject.to_string()));
            let action = for_all(action, &answer.by, &answer.rationale);
            answered(to, NewAction { target, params_digest, ..action })?
        }
        Event::BreakGlassEndRequested { grant, by, reason } => {
            let target = Some(grant.to_string());
            answered(to, NewAction { target, ..for_all("end_break_glass", by, reason) })?
        }
        Event::PromotionRequested { standing, by, rationale, .. } => {
            answered(to, of_standing("promote", standing, by, rationale))?
        }
        Event::PromotionAnswered(answer) => {
            let action = match answer.decision {
                GateDecision::Approve => "approve_promotion",
                GateDecision::Deny => "deny_promotion",
            };
            let params_digest = Some(answer.subject.to_string());
            let action = of_standing(action, &answer.standing, &answer.by, &answer.rationale);
            answered(to, NewAction { params_digest, ..action })?
        }
        Event::DemotionRequested { standing, by, reason } => {
            answered(to, of_standing("demote", standing, by, reason))?
        }
        Event::PoliciesOffered { by, policies } => {
            let (actor, target) = (by.as_ref().map(Name::to_string), Some(policies.to_string()));
            answered(
                to,
                NewAction { action: "put_policies_in_force", actor, target, ..NewAction::default() },
            )?
        }
        Event::PoliciesAnswered(answer) => {
            let action = match answer.decision {
                GateDecision::Approve => "approve_policies",
                GateDecision::Deny => "deny_policies",
            };
            let target = Some(answer.policies.to_string());
            answered(to, NewAction { target, ..for_all(action, &answer.by, &answer.rationale) })?
        }
        Event::ActionAsked(asked) => action_asked(to, asked)?,
        Event::PermitUsed { agent, permit, params } => {
            let Some(row) = to.agent(*agent)? else { return unknown(to, "use_permit", *agent).map(drop) };
            let (target, params_digest) = (Some(permit.to_string()), Some(params.to_string()));
            answered(to, NewAction { target, params_digest, ..NewAction::by(&row, "use_permit") })?
        }
        Event::PerformanceAsked { agent, permit, command } => {
            performance::asked(to, *agent, *permit, command)?
        }
        Event::PerformanceReady { agent, permit, confinement, .. } => {
            performance::ready(to, *agent, *permit, confinement)?
        }
        Event::PerformanceEnded { agent, permit, end, .. } => performance::ended(to, *agent, *permit, end)?,
        Event::ActionEnded { agent, permit, ok, detail } => action_ended(to, *agent, *permit, *ok, detail)?,
        Event::SecretAsked { by, path, access, .. } => {
            let action = match access {
                SecretAccess::Read { .. } => "secret_read",
                SecretAccess::Write { .. } => "secret_write",
            };
            answered(to, of_secret(action, by, path))?
        }
        Event::SecretServed { by, path, outcome, .. } => secret_served(to, by, path, outcome)?,
        Event::LockReleaseRequested { lock, by, reason } => lock_released(to, lock, by, reason)?,
        Event::CredentialIssued { credential, .. } => {
            let (run, target) = (Some(credential.run.to_string()), Some(credential.accessor.clone()));
            answered(to, NewAction { action: "credential_issued", run, target, ..NewAction::default() })?
        }
        Event::CredentialTold { accessor, outcome } => credential_told(to, accessor, outcome)?,
        Event::CredentialsFound { found } => {
            let target = Some(format!("{} tokens", found.len()));
            answered(to, NewAction { action: "credentials_found", target, ..NewAction::default() })?
        }
        Event::ClockVouched { by } => {
            let actor = Some(by.to_string());
            answered(to, NewAction { action: "vouch_for_clock", actor, ..NewAction::default() })?
        }
        Event::CallsLimited { agent } => limited(to, *agent)?,
        Event::TokenShown { agent, .. } => token_shown(to, *agent)?,
        Event::GateAnswered(answer) => gate_answered(to, answer)?,
        Event::AgentAdvanced { agent, outcomes } => advanced(to, *agent, outcomes)?,
        Event::AgentSignalled { agent, signal } => signalled(to, *agent, signal)?,
        Event::DiagnosticOffered { pipeline } => {
            let target = Some(pipeline.to_string());
            answered(to, NewAction { action: "offer_diagnostic", target, ..NewAction::default() })?
        }
        Event::TreeProvenDead { agent, killed } => proven_dead(to, *agent, *killed)?,
    };
    Ok(())
}

fn by_the_home(action: &'static str, target: Option<String>) -> NewAction<'static> {
    NewAction { action, target, result: Some(ActionResult::Ok), ..NewAction::default() }
}

fn about(action: &'static str, target: &Name) -> NewAction<'static> {
    NewAction { action, target: Some(target.to_string()), ..NewAction::default() }
}

fn of_run(action: &'static str, by: &Name, run: RunId) -> NewAction<'static> {
    NewAction { action, actor: Some(by.to_string()), run: Some(run.to_string()), ..NewAction::default() }
}

/// What somebody does that is about no run.
fn for_all(action: &'static str, by: &Name, why: &str) -> NewAction<'static> {
    let reason = (!why.is_empty()).then(|| why.to_owned());
    NewAction { action, actor: Some(by.to_string()), reason, ..NewAction::default() }
}

fn of_standing(action: &'static str, standing: &StandingId, by: &Name, why: &str) -> NewAction<'static> {
    let (actor, target) = (Some(by.to_string()), Some(standing.to_string()));
    let reason = (!why.is_empty()).then(|| why.to_owned());
    NewAction { action, actor, target, reason, ..NewAction::default() }
}

fn of_secret(action: &'static str, by: &Name, path: &str) -> NewAction<'static> {
    NewAction { action, actor: Some(by.to_string()), target: Some(path.to_owned()), ..NewAction::default() }
}

/// What came of what was asked of a vault.
fn credential_told(
    to: &Writing<'_>,
    accessor: &str,
    outcome: &CredentialOutcome,
) -> Result<i64, rusqlite::Error> {
    let name = match outcome {
        CredentialOutcome::Renewed { .. } => "credential_renewed",
        CredentialOutcome::Ended => "credential_ended",
        CredentialOutcome::Over { .. } => "credential_not_renewed",
    };
    let mut action = by_the_home(name, Some(accessor.to_owned()));
    if let CredentialOutcome::Over { code } = outcome {
        action.failed(code, "the vault has ended it, or forgotten it".to_owned());
    }
    action.write(to)
}

/// What came of a wish for a secret: which version was read or written, or why none was.
fn secret_served(
    to: &Writing<'_>,
    by: &Name,
    path: &str,
    outcome: &SecretOutcome,
) -> Result<i64, rusqlite::Error> {
    let (name, version) = match outcome {
        SecretOutcome::Read { version } => ("secret_was_read", Some(version)),
        SecretOutcome::Written { version } => ("secret_was_written", Some(version)),
        SecretOutcome::Failed { .. } => ("secret_not_served", None),
    };
    let mut action = of_secret(name, by, path);
    action.result = Some(ActionResult::Ok);
    action.reason = version.map(|version| format!("version {version}"));
    if let SecretOutcome::Failed { code } = outcome {
        action.failed(code, "the vault did not do it, or nobody knows whether it did".to_owned());
    }
    action.write(to)
}

/// Writes an action of somebody who was told what was decided.
pub(super) fn answered(to: &Writing<'_>, mut action: NewAction<'_>) -> Result<i64, rusqlite::Error> {
    match &to.record.decision.answer {
        Answer::Taken | Answer::Ruled(_) => action.result = Some(ActionResult::Ok),
        Answer::Already { run } => {
            action.result = Some(ActionResult::Ok);
            action.reason = Some("already".to_owned());
            action.run = Some(run.to_string());
        }
        Answer::Refused(refusal) => action.denied(refusal.code(), refusal.to_string()),
    }
    action.write(to)
}

fn gate_answered(to: &Writing<'_>, answer: &GateAnswer) -> Result<i64, rusqlite::Error> {
    let gate = answer.gate.to_string();
    let action = NewAction {
        action: match answer.decision {
            GateDecision::Approve => "approve",
            GateDecision::Deny => "deny",
        },
        actor: Some(answer.by.to_string()),
        run: to.run_of_gate(&gate)?,
        target: Some(gate),
        params_digest: Some(answer.subject.to_string()),
        reason: Some(answer.rationale.clone()),
        ..NewAction::default()
    };
    answered(to, action)
}

fn revoke(to: &Writing<'_>, bearer: &Bearer, by: &Name, reason: &str) -> Result<i64, rusqlite::Error> {
    let (target, run) = match bearer {
        Bearer::Agent { agent } => (agent.to_string(), to.agent(*agent)?.map(|row| row.run_id)),
        Bearer::Run { run } => (run.to_string(), Some(run.to_string())),
    };
    let (actor, target) = (Some(by.to_string()), Some(target));
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    answered(to, NewAction { action: "revoke", actor, target, run, reason, ..NewAction::default() })
}

/// Somebody takes a lock away; the row is of the run that had it.
fn lock_released(to: &Writing<'_>, lock: &Name, by: &Name, reason: &str) -> Result<i64, rusqlite::Error> {
    let lost = to.record.decision.facts.iter().find_map(|fact| match fact {
        Fact::LockLost { lock: lost, agent, .. } if lost == lock => Some(*agent),
        _ => None,
    });
    let row = lost.map(|agent| to.agent(agent)).transpose()?.flatten();
    let (actor, run) = (Some(by.to_string()), row.map(|row| row.run_id));
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    answered(to, NewAction { actor, run, reason, ..about("release_lock", lock) })
}

/// An agent asked to do something; the row is of what it wants to do, and what policy said.
fn action_asked(to: &Writing<'_>, asked: &ActionAsked) -> Result<i64, rusqlite::Error> {
    let Some(row) = to.agent(asked.agent)? else { return unknown(to, asked.action.as_str(), asked.agent) };
    let mut action = NewAction {
        target: Some(asked.target.clone()),
        params_digest: Some(asked.params.to_string()),
        ..NewAction::by(&row, asked.action.as_str())
    };
    let decided = to.record.decision.facts.iter().find_map(|fact| match fact {
        Fact::ActionDecided(ruled) if (ruled.agent, &ruled.key) == (asked.agent, &asked.key) => {
            Some(ruled.as_ref())
        }
        _ => None,
    });
    let before = match &to.record.decision.answer {
        Answer::Ruled(ruled) => Some(ruled.as_ref()),
        _ => None,
    };
    let Some(ruled) = decided.or(before) else { return answered(to, action) };
    let reason = ruled.verdict.reason.to_string();
    match ruled.permit {
        // What came of it is told later, by the row of its end.
        Some(_) => {
            let under = ruled.break_glass.as_ref().map(ToString::to_string);
            action.reason = Some(under.unwrap_or(reason));
        }
        None => action.denied(&reason, format!("policy says {}", ruled.verdict.decision)),
    }
    action.write(to)
}

/// What was done under a permit has ended.
fn action_ended(
    to: &Writing<'_>,
    agent: AgentId,
    permit: PermitId,
    ok: bool,
    detail: &str,
) -> Result<i64, rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return unknown(to, "end_action", agent) };
    let mut action = NewAction { target: Some(permit.to_string()), ..NewAction::by(&row, "end_action") };
    if !ok && to.record.decision.answer == Answer::Taken {
        action.failed("action_failed", detail.to_owned());
        return action.write(to);
    }
    answered(to, action)
}

/// The home kept an agent from calling.
fn limited(to: &Writing<'_>, agent: AgentId) -> Result<i64, rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return unknown(to, "call_limited", agent) };
    let mut action = NewAction::by(&row, "call_limited");
    action.denied("rate_limited", format!("more than {} calls in a minute", limits::CALLS_PER_MINUTE));
    action.write(to)
}

/// An agent showed another's token. By then its end may be decided, and nothing more is found of it.
fn token_shown(to: &Writing<'_>, agent: AgentId) -> Result<i64, rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return unknown(to, "show_token", agent) };
    let mut action = NewAction::by(&row, "show_token");
    let found = to.record.decision.facts.iter().find_map(|fact| match fact {
        Fact::ViolationFound { agent: of, detail, .. } if *of == agent => Some(detail.clone()),
        _ => None,
    });
    action
        .denied("token_of_another", found.unwrap_or_else(|| "it had lost its authority by then".to_owned()));
    action.write(to)
}

/// The shell tells what came of phases. What is told of an agent that has ended is late.
fn advanced(to: &Writing<'_>, agent: AgentId, outcomes: &[Outcome]) -> Result<i64, rusqlite::Error> {
    let phases: Vec<&str> = outcomes.iter().map(|outcome| outcome.phase().as_str()).collect();
    let Some(row) = to.agent(agent)? else { return unknown(to, "report_outcome", agent) };
    let mut action = NewAction { target: Some(phases.join(" ")), ..NewAction::by(&row, "report_outcome") };
    let refused = to.record.decision.facts.iter().find_map(|fact| match fact {
        Fact::ViolationFound { agent: by, violation, detail } if *by == agent => {
            Some((violation.as_str(), detail))
        }
        Fact::ReportMisplaced { agent: of, detail } if *of == agent => Some(("out_of_order", detail)),
        _ => None,
    });
    let failed = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Failed { code, reason, .. } => Some((code, reason)),
        _ => None,
    });
    match (refused, failed) {
        _ if !row.is_followed() => late(&mut action),
        (Some((why, detail)), _) => action.denied(why, detail.clone()),
        (None, Some((code, reason))) => action.failed(code, reason.clone()),
        (None, None) => action.result = Some(ActionResult::Ok),
    }
    action.write(to)
}

/// An agent says something on its own listener.
fn signalled(to: &Writing<'_>, agent: AgentId, signal: &Signal) -> Result<i64, rusqlite::Error> {
    let (name, target) = match signal {
        Signal::Heartbeat => ("heartbeat", None),
        Signal::Progress => ("progress", None),
        Signal::Output { name, .. } => ("output", Some(name.clone())),
        Signal::Message { to, .. } => ("message", to.clone()),
        Signal::Error { code } => ("report_error", Some(code.clone())),
    };
    let Some(row) = to.agent(agent)? else { return unknown(to, name, agent) };
    let mut action = NewAction { target, ..NewAction::by(&row, name) };
    if let Signal::Message { content, .. } = signal {
        action.params_digest = Some(content.to_string());
    }
    if row.may_speak() {
        action.result = Some(ActionResult::Ok);
    } else {
        late(&mut action);
    }
    action.write(to)
}

/// The home proved the process tree of an agent that was cut off dead.
fn proven_dead(to: &Writing<'_>, agent: AgentId, killed: bool) -> Result<i64, rusqlite::Error> {
    let Some(row) = to.agent(agent)? else { return unknown(to, "prove_dead", agent) };
    let target = Some(if killed { "killed" } else { "found dead" }.to_owned());
    NewAction { actor: None, target, result: Some(ActionResult::Ok), ..NewAction::by(&row, "prove_dead") }
        .write(to)
}

fn late(action: &mut NewAction<'_>) {
    action.ruling = Ruling::Deny;
    action.reason = Some("late".to_owned());
    action.result = Some(ActionResult::Denied);
}

/// Something is told of an agent that never was.
pub(super) fn unknown(to: &Writing<'_>, name: &'static str, agent: AgentId) -> Result<i64, rusqlite::Error> {
    let mut action = NewAction { action: name, actor: Some(agent.to_string()), ..NewAction::default() };
    late(&mut action);
    action.reason = Some("unknown_agent".to_owned());
    action.write(to)
}
