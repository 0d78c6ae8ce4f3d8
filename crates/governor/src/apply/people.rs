//! What people said: it is remembered where it was a no to an agent, and counts no more once they may act no longer.

use std::collections::BTreeMap;
use std::sync::Arc;

use eparch_domain::{AgentId, GateId, Name};

use crate::asking::who_said;
use crate::event::GateDecision;
use crate::fact::Fact;
use crate::governing::Proposal;
use crate::governor::Governor;
use crate::state::Vote;
use crate::timers::Timer;

/// Takes the votes of somebody who is known no longer from every gate and promotion that waits, and marks what they approved
/// and was not done yet: whoever is called like them later is somebody else.
pub(super) fn forgotten(governor: &mut Governor, name: &Name) {
    let voted_at =
        |gate: &GateId| governor.open_gate(*gate).is_some_and(|open| open.votes.contains_key(name));
    let gates: Vec<GateId> = governor.gates.keys().copied().filter(voted_at).collect();
    for gate in gates {
        if let Some(open) = governor.open_gate_mut(gate) {
            open.votes.remove(name);
        }
    }
    let agents: Vec<AgentId> = governor.agents.keys().copied().collect();
    for agent in agents {
        let rests = governor
            .attempt(agent)
            .is_some_and(|(_, _, attempt)| attempt.questions.rest_on(name) || attempt.actions.rest_on(name));
        if let (true, Some(attempt)) = (rests, governor.attempt_mut(agent)) {
            attempt.questions.withdraw(name);
            attempt.actions.withdraw(name);
        }
    }
    governor.state.standings.forget_votes(name);
    if let Some(waits) = &mut governor.state.proposal {
        waits.votes.remove(name);
    }
}

/// Policies wait for another person, have been approved by one, or wait no longer.
pub(super) fn policies_wait(governor: &mut Governor, fact: &Fact) {
    let state = &mut governor.state;
    match fact {
        Fact::PoliciesProposed(proposed) => {
            governor.timers.set_until(Timer::Policies, proposed.until.into());
            let (proposed, votes) = (proposed.as_ref().clone(), BTreeMap::new());
            state.proposal = Some(Proposal { proposed, keys_before: state.keys_given, votes });
        }
        Fact::PoliciesApproved { by, public_key, .. } => {
            if let Some(waits) = &mut state.proposal {
                let vote = Vote { decision: GateDecision::Approve, public_key: public_key.clone() };
                waits.votes.insert(by.clone(), vote);
            }
        }
        Fact::PoliciesProposalOver { .. } | Fact::PoliciesInForce { .. } => {
            governor.timers.clear(Timer::Policies);
            state.proposal = None;
        }
        _ => {}
    }
}

/// Somebody said no to what an agent seeks to do: its run remembers that.
pub(super) fn denied(governor: &mut Governor, gate: GateId) {
    let Some(open) = governor.open_gate(gate) else { return };
    let Some(sought) = &open.opened.sought else { return };
    let (run, action, target) = (open.opened.run, sought.action, sought.target.clone());
    let by = who_said(open, GateDecision::Deny);
    if let Some(live) = governor.state.runs.get_mut(&run) {
        Arc::make_mut(live).denials.note(action, &target, by);
    }
}
