//! What holds of everything that agents ask for: nothing without policies, and what is allowed once, by whom it was allowed
//! to, while it holds.

use eparch_domain::{Action, AgentId, Moment, PermitId, Phase, limits};
use eparch_governor::{Fact, PerformanceEnd, Ruled, Until};
use eparch_policy::Decision as Says;

use crate::ends;
use crate::glass::one_thing;
use crate::seen::{Seen, SeenPermit};

/// What a fact about an action may follow on.
///
/// # Errors
///
/// What does not hold, in words.
pub(crate) fn before(seen: &Seen, fact: &Fact, now: Moment) -> Result<(), String> {
    let wrong = match fact {
        Fact::ActionDecided(ruled) => decided(seen, ruled, now),
        Fact::PermitSpent { agent, permit } => spent(seen, *agent, *permit, now),
        Fact::PerformanceBegan { agent, permit, .. } => match seen.permits.get(permit) {
            Some(known) if known.agent != *agent || !known.spent || known.told || known.begun => {
                Some("something was performed without a permit that was spent for it")
            }
            Some(_) if executes(seen, *agent) => None,
            _ => Some("something was performed for an agent that may do nothing"),
        },
        Fact::PerformanceReleased { agent, permit, .. } => match seen.permits.get(permit) {
            Some(known) if known.agent != *agent || !known.is_performed() || known.released => {
                Some("what is not performed was let go, or was twice")
            }
            Some(known) if known.under != seen.policies => {
                Some("a command was let go under other policies than its permit was given under")
            }
            Some(known) if is_unsaid(seen, known) => {
                Some("a command was let go on the word of somebody who may act no longer")
            }
            Some(_) if executes(seen, *agent) => None,
            _ => Some("a command was let go for an agent that may do nothing"),
        },
        Fact::PerformanceEnded { agent, permit, end } => match seen.permits.get(permit) {
            Some(known) if known.agent == *agent && known.is_performed() => {
                let never_ran = matches!(end, PerformanceEnd::NeverRan { .. });
                (!known.released && !never_ran).then_some("what was never let go is said to have run")
            }
            _ => Some("what is not performed is over"),
        },
        Fact::AttemptEnded { agent, .. } => {
            let left = |known: &SeenPermit| known.agent == *agent && known.is_performed();
            seen.permits.values().any(left).then_some("something is performed for an agent that has ended")
        }
        Fact::ActionEnded { agent, permit, .. } => match seen.permits.get(permit) {
            Some(known) if known.agent == *agent && known.spent && !known.told && !known.begun => None,
            _ => Some("something was done without a permit, or twice"),
        },
        Fact::PermitRefused { agent, .. } if !has_authority(seen, *agent) => {
            Some("a permit was looked at for an agent without authority")
        }
        Fact::PoliciesInForce { policies, .. } if seen.policies == Some(*policies) => {
            Some("policies came into force twice")
        }
        Fact::PoliciesInForce { by: Some(by), approved_by, alone, .. }
            if *alone != approved_by.is_empty() || approved_by.contains(by) =>
        {
            Some("somebody put policies in force and nobody else looked, though somebody could have")
        }
        _ => None,
    };
    wrong.map_or(Ok(()), |why| Err(format!("{why}: {fact:?}")))
}

fn has_authority(seen: &Seen, agent: AgentId) -> bool {
    seen.agents.get(&agent).is_some_and(|of| of.has_authority())
}

fn executes(seen: &Seen, agent: AgentId) -> bool {
    seen.agents.get(&agent).is_some_and(|of| of.has_authority() && of.phase == Some(Phase::Execute))
}

fn decided(seen: &Seen, ruled: &Ruled, now: Moment) -> Option<&'static str> {
    let permitted = matches!(ruled.verdict.decision, Says::Allow | Says::Modify);
    if !has_authority(seen, ruled.agent) {
        return Some("an agent without authority was answered");
    }
    if ruled.policy != seen.policies {
        return Some("an action was decided on under policies that are not in force");
    }
    if seen.policies.is_none() && ruled.verdict.decision != Says::Deny {
        return Some("something was not denied although no policies are in force");
    }
    let run = seen.agents.get(&ruled.agent).map(|of| of.run);
    let thing = run.map(|run| (run, ruled.action, one_thing(ruled.action, &ruled.target)));
    if ruled.verdict.decision != Says::Deny && thing.is_some_and(|thing| seen.denied.contains(&thing)) {
        return Some("what a person said no to was let be done, or asked for again, in the same run");
    }
    let takes_approval = ruled.action == Action::AnsibleRun && ruled.break_glass.is_none();
    if permitted && takes_approval && !is_approved(seen, ruled, now) {
        return Some("what takes people's approval was let be done without it, or with one that was used");
    }
    match ruled.permit {
        None if permitted => Some("what is allowed has no permit"),
        None => None,
        Some(_) if !permitted => Some("what is not allowed has a permit"),
        Some(given) if seen.permits.contains_key(&given.permit) => Some("a permit was given twice"),
        // What people let pass ends with their grant; when that is the model knows.
        Some(given) if !is_rightly_long(given.expires, ruled, now) => {
            Some("a permit holds for longer or shorter than it should")
        }
        Some(_) => None,
    }
}

/// Whether a permit ends a minute from now by both clocks, or before that where it was let pass.
fn is_rightly_long(expires: Until, ruled: &Ruled, now: Moment) -> bool {
    let most = limits::PERMIT_TTL.millis();
    let ledger = expires.ledger.since(now.ledger).millis();
    let wall = expires.wall.map(|wall| wall.millis() - now.wall.millis());
    let within = ledger <= most && wall == Some(ledger.cast_signed());
    within && (ruled.break_glass.is_some() || ledger == most)
}

/// Whether people approved exactly this, for this agent, under these policies, in time, and nothing was let be done for it yet.
fn is_approved(seen: &Seen, ruled: &Ruled, now: Moment) -> bool {
    let gate = ruled.gate.filter(|gate| !seen.used_approvals.contains(gate));
    let gate = gate.and_then(|gate| seen.gates.get(&gate)).filter(|gate| gate.approved && !gate.unsaid);
    let gate = gate.filter(|gate| !ends::is_over(gate.opened.deadline, now));
    let (asker, yes) =
        (gate.and_then(|gate| gate.opened.sought.as_deref()), gate.map_or(0, |gate| gate.votes.len()));
    asker.is_some_and(|sought| {
        yes > 0
            && (sought.agent, sought.action, &sought.target, sought.params, Some(sought.policy))
                == (ruled.agent, ruled.action, &ruled.target, ruled.params, ruled.policy)
    })
}

/// Whether somebody who approved what a permit is for may act no longer.
fn is_unsaid(seen: &Seen, permit: &SeenPermit) -> bool {
    permit.gate.and_then(|gate| seen.gates.get(&gate)).is_some_and(|gate| gate.unsaid)
}

fn spent(seen: &Seen, agent: AgentId, permit: PermitId, now: Moment) -> Option<&'static str> {
    match seen.permits.get(&permit) {
        None => Some("a permit that nobody was given was used"),
        Some(SeenPermit { agent: owner, .. }) if *owner != agent => Some("another agent's permit was used"),
        Some(known) if known.spent => Some("a permit was used twice"),
        Some(known) if ends::is_over(known.expires, now) => Some("a permit was used when its time was over"),
        Some(known) if known.under.is_none() || known.under != seen.policies => {
            Some("a permit was used under other policies than it was given under")
        }
        Some(known) if is_unsaid(seen, known) => {
            Some("a permit was used on the word of somebody who may act no longer")
        }
        Some(_) if !has_authority(seen, agent) => Some("an agent without authority used a permit"),
        Some(_) => None,
    }
}
