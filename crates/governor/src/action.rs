//! What an agent asks to do. Policy answers, at the moment it is asked and again at the moment it is done; what is allowed is
//! allowed once, by a permit bound to exactly what was asked.

use std::sync::Arc;

use eparch_domain::{Action, AgentId, Digest, RunId, ViolationType, limits};
use eparch_policy::{Decision as Says, Verdict};

use crate::asking;
use crate::break_glass;
use crate::decision::Refusal;
use crate::denials;
use crate::event::ActionAsked;
use crate::fact::{Fact, Permit, Ruled};
use crate::governor::Turn;
use crate::lock;
use crate::permit::{Asked, permit_id};
use crate::question::{Question, answer};
use crate::revocation;
use crate::stop_all;
use crate::target;
use crate::until::{self, Until};

/// An agent asks whether it may do something.
pub(crate) fn asked(turn: &mut Turn<'_>, asked: &ActionAsked) {
    let (agent, now) = (asked.agent, turn.now);
    let Some(run) = with_authority(turn, agent) else { return };
    let Some(live) = turn.governor.run(run) else { return };
    // Another spelling is the same thing: to people who said no to it, to those who count, and to what the run has done.
    let target = target::one_name(asked.action, &asked.target, &live.spawned.root);
    let asked = &ActionAsked { target, ..asked.clone() };
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    if let Some(before) = attempt.actions.asked(&asked.key) {
        let ruled = before.ruled.clone();
        let same =
            ruled.action == asked.action && ruled.target == asked.target && ruled.params == asked.params;
        return match same {
            true => asking::asked_again(turn, run, &ruled),
            false => turn.refuse(Refusal::ActionKeyReused { key: asked.key.clone() }),
        };
    }
    // What people are shown is what the approval is of.
    let found = asked.given.as_ref().map(|given| Digest::of(given.as_bytes()));
    if let Some(found) = found.filter(|found| *found != asked.params) {
        return turn.refuse(Refusal::ArgumentsDiffer { expected: asked.params, found });
    }
    if attempt.actions.open(now) >= limits::OPEN_PERMITS {
        return turn.refuse(Refusal::TooManyPermits { limit: limits::OPEN_PERMITS });
    }
    let verdict = match answer(turn, &Question::new(asked)) {
        Ok(verdict) => verdict,
        Err(bad) => return turn.refuse(Refusal::BadTarget { action: asked.action, why: bad.to_string() }),
    };
    // A person's no outweighs whatever else would let it be done; what policy itself denies it says.
    let no = denials::by_whom(turn, run, asked.action, &asked.target);
    let (verdict, decided_by) = match no {
        Some(by) if verdict.decision != Says::Deny => (denials::said_no(), by),
        _ => (verdict, Vec::new()),
    };
    let asks = verdict.decision == Says::Ask;
    let ruled = Ruled {
        agent,
        key: asked.key.clone(),
        tenant: asked.tenant.clone(),
        project: asked.project.clone(),
        action: asked.action,
        target: asked.target.clone(),
        params: asked.params,
        verdict,
        policy: turn.governor.state.policy,
        permit: None,
        gate: None,
        approvals: 0,
        seen: false,
        break_glass: None,
        decided_by,
    };
    if asks { asking::ask(turn, run, ruled, asked.given.as_deref()) } else { settle(turn, ruled) }
}

/// Records an answer: with a permit, when it lets the agent do what it asked for.
pub(crate) fn settle(turn: &mut Turn<'_>, mut ruled: Ruled) {
    let Some((_, _, attempt)) = turn.governor.attempt(ruled.agent) else { return };
    let permitted = matches!(ruled.verdict.decision, Says::Allow | Says::Modify);
    let permit = permit_id(ruled.agent, attempt.actions.count());
    let under = break_glass::under(turn, &ruled);
    let left = under.as_ref().map_or(limits::PERMIT_TTL, |(_, ends)| until::left(*ends, turn.now));
    let expires = Until::after(turn.now, left.min(limits::PERMIT_TTL));
    ruled.permit = permitted.then_some(Permit { permit, expires });
    ruled.break_glass = under.map(|(under, _)| under);
    let ruled = Arc::new(ruled);
    turn.record(Fact::ActionDecided(Arc::clone(&ruled)));
    break_glass::note_use(turn, &ruled);
    if counts_against_it(&ruled) {
        look_at_repeats(turn, &ruled);
    }
}

/// Whether a denial is held against whoever asks again. Where a retry can help, asking again is what it takes; and where people
/// were being asked when somebody said no to the same, in other words or to another agent, nobody has insisted yet.
pub(crate) fn counts_against_it(ruled: &Ruled) -> bool {
    let verdict = &ruled.verdict;
    let was_asked = ruled.gate.is_some() && &*verdict.reason == denials::SAID_NO;
    verdict.decision == Says::Deny && !verdict.retryable && !was_asked
}

/// Asking is how an agent finds its limits; asking for the same again and again is trying to get past them (1.4).
fn look_at_repeats(turn: &mut Turn<'_>, ruled: &Ruled) {
    let (agent, action, reason) = (ruled.agent, ruled.action, &*ruled.verdict.reason);
    let Some((_, _, attempt)) = turn.governor.attempt(agent) else { return };
    let repeats = attempt.actions.denied(action, &ruled.target).saturating_sub(1);
    if repeats < limits::DENIED_REPEATS {
        return;
    }
    let detail = format!("{action} was asked for again {repeats} times after it was denied: {reason}");
    let violation = violation_of(turn, ruled);
    revocation::violation(turn, agent, violation, &detail);
}

/// Which violation it is to insist on what is denied: the gravest that a policy which denied it says. No policy makes less of what
/// governs and of the vault's root.
fn violation_of(turn: &Turn<'_>, ruled: &Ruled) -> ViolationType {
    let by_action = match ruled.action {
        Action::ModifyGovernance => ViolationType::GovernanceTampering,
        Action::AccessVaultRoot => ViolationType::RootSecretAccess,
        _ => ViolationType::ForbiddenAction,
    };
    let policies = turn.governor.policies_in_force();
    let said = ruled.verdict.policies.iter().filter_map(|id| policies.as_ref()?.rule(id)?.violation);
    // Of those that are as grave the first that says so, and what is said before what is not.
    let gravest = said.reduce(|first, other| if other.severity() > first.severity() { other } else { first });
    match gravest {
        Some(said)
            if by_action == ViolationType::ForbiddenAction || said.severity() > by_action.severity() =>
        {
            said
        }
        _ => by_action,
    }
}

/// Whether policy lets an agent do to another place what it was let do to one.
pub(crate) fn allows_as_well(turn: &Turn<'_>, run: RunId, asked: &Asked, target: &str) -> bool {
    let ruled = &asked.ruled;
    if denials::by_whom(turn, run, ruled.action, target).is_some() {
        return false;
    }
    // People approved that one thing, and nothing beside it; and what they let pass is asked for by its name.
    let verdict = answer(turn, &Question::of(ruled, 0).leaving_out(&asked.noted).about(ruled.action, target));
    let allows = |verdict: &Verdict| verdict.decision == Says::Allow && verdict.changes.is_empty();
    verdict.is_ok_and(|verdict| allows(&verdict) && !break_glass::is(&verdict))
}

/// The agent's run, if what it asks for counts; otherwise it is told.
pub(crate) fn with_authority(turn: &mut Turn<'_>, agent: AgentId) -> Option<RunId> {
    // What stops everything is told before what is held against somebody.
    if stop_all::refusal(turn.governor).is_none() {
        lock::asks_without(turn, agent);
    }
    authority_of(turn, agent)
}

/// The same for what is asked on its behalf, which is not held against it.
pub(crate) fn authority_of(turn: &mut Turn<'_>, agent: AgentId) -> Option<RunId> {
    if let Some(stopped) = stop_all::refusal(turn.governor) {
        turn.refuse(stopped);
        return None;
    }
    let refusal = match turn.governor.attempt(agent) {
        None => Refusal::UnknownAgent { agent },
        Some((_, _, attempt)) if attempt.end.is_some() || attempt.cut_off => match lock::lost(attempt) {
            Some(lock) => Refusal::LockLost { agent, lock: lock.clone() },
            None => Refusal::AuthorityOver { agent },
        },
        Some((_, _, attempt)) if crate::lease::has_expired(attempt, turn.now) => {
            Refusal::TokenExpired { agent }
        }
        Some((run, ..)) => return Some(run),
    };
    turn.refuse(refusal);
    None
}

/// Notes what a run is doing, as policies may ask for it. Looking at ever more files is one fact, so that it does not fill
/// the history. Returns what was not in it before.
pub(crate) fn note(history: &mut eparch_policy::History, ruled: &Ruled) -> Vec<String> {
    let before = history.clone();
    match ruled.action {
        Action::ReadFile | Action::ListDirectory | Action::SearchCode | Action::WriteFile => {
            history.note_fact(ruled.action.as_str());
        }
        action => history.note(action, &ruled.target),
    }
    let news = history.facts().filter(|fact| !before.holds(fact));
    news.map(str::to_owned).collect()
}
