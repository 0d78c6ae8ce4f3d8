//! Policies that somebody wants in force. Those of a holder that begins are in force at once: it reads them in the home, which is its
//! user's alone. A person's wait for another person, as long as there is one who could look at them; those in force stay meanwhile.

use std::collections::BTreeMap;

use eparch_domain::{Digest, Moment, Name, limits};
use eparch_policy::Decision as Says;
use serde::{Deserialize, Serialize};

use crate::asking;
use crate::decision::Refusal;
use crate::event::{GateDecision, SignedAnswer};
use crate::fact::Fact;
use crate::governor::{Governor, Turn};
use crate::operator::{Operator, Separation};
use crate::operators;
use crate::people::{self, Wish};
use crate::person::{Apart, Asker, hands_on_both, is_another};
use crate::proof;
use crate::state::Vote;
use crate::until::{end, is_over};

/// Somebody wants policies in force, and others have to approve them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoliciesProposed {
    /// The set, by the digest of its document: what an approval is of.
    pub policies: Digest,
    /// Who wants them.
    pub by: Name,
    /// Since when.
    pub at: Moment,
    /// Unless they are approved before, it is over then.
    pub until: Moment,
    /// How many others have to approve them, as the policies in force say; one at least.
    pub approvals: u16,
    /// Of somebody who could approve no more people than so many may hold both keys: theirs, and that of whoever offers. Only of
    /// whom that is so counts: the puppets of one maker have one more. Nothing where it is known of nobody.
    pub hands: Option<usize>,
}

/// Somebody's answer to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoliciesAnswer {
    /// Who answers, as proven by their key.
    pub by: Name,
    /// What proved it, for a key that this home never held; `None` for a key of this home.
    pub signed: Option<SignedAnswer>,
    /// What they say.
    pub decision: GateDecision,
    /// The set that they looked at, by the digest of its document.
    pub policies: Digest,
    /// Why.
    pub rationale: String,
}

/// Why policies wait no longer that did not come into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum ProposalEnd {
    /// Somebody said no, or whoever wanted them took them back.
    Denied {
        /// Who.
        by: Name,
        /// Why.
        rationale: String,
    },
    /// Nobody answered in time.
    NotAnswered,
    /// Others were offered in their place.
    Replaced {
        /// Who offered those.
        by: Name,
    },
    /// Whoever wanted them is known here no longer.
    PersonLeft,
    /// The holder that had read them has gone; the next one begins with what lies in the home.
    HolderLeft,
    /// Others came into force, by which it was never looked at who may.
    OthersInForce,
}

/// Policies that wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Proposal {
    pub(crate) proposed: PoliciesProposed,
    /// How many keys operators had been given when they were offered.
    pub(crate) keys_before: u64,
    pub(crate) votes: BTreeMap<Name, Vote>,
}

impl Governor {
    /// The policies that wait for another person, and who has approved them so far.
    pub fn policies_waiting(&self) -> Option<(&PoliciesProposed, Vec<&Name>)> {
        let waits = self.state.proposal.as_ref()?;
        Some((&waits.proposed, waits.votes.keys().collect()))
    }
}

/// Policies are to be in force. Whoever offers them has them at hand.
pub(crate) fn offered(turn: &mut Turn<'_>, by: Option<&Name>, policies: Digest) {
    let may = |known: &Operator| known.role.may_administer();
    let admin = match by {
        None => None,
        Some(by) => match operators::require(turn, by, "put policies in force", may) {
            None => return,
            admin => admin,
        },
    };
    if !turn.governor.policies.contains_key(&policies) {
        return turn.refuse(Refusal::UnknownPolicies { policies });
    }
    let Some(admin) = admin else {
        if turn.governor.state.policy != Some(policies) {
            over(turn, ProposalEnd::OthersInForce);
            in_force(turn, policies, None, Vec::new(), false);
        }
        return;
    };
    if turn.governor.state.policy == Some(policies) {
        // To want what there is, is to want nothing else any more.
        return over(turn, ProposalEnd::Replaced { by: admin.name });
    }
    match takes(turn.governor, &admin) {
        Err(refusal) => turn.refuse(*refusal),
        Ok(None) => {
            over(turn, ProposalEnd::Replaced { by: admin.name.clone() });
            in_force(turn, policies, Some(admin.name), Vec::new(), true);
        }
        Ok(Some((approvals, hands))) => propose(turn, policies, admin.name, approvals, hands),
    }
}

/// What it takes that somebody's policies come into force: so many others, and how far from them by keys; nothing where nobody else
/// could look at them.
fn takes(governor: &Governor, admin: &Operator) -> Result<Option<(u16, Option<usize>)>, Box<Refusal>> {
    let says = |approvals: u16| {
        let wish = Wish::govern(u32::from(approvals));
        people::verdict(governor, admin, &wish).map(|verdict| (verdict, wish))
    };
    let bad = |why: eparch_policy::BadResource| {
        let action = eparch_domain::Action::ModifyGovernance;
        Box::new(Refusal::BadTarget { action, why: why.to_string() })
    };
    let others = others(governor, &admin.name);
    if others.is_empty() && governor.state.lookers_left {
        return Err(Box::new(Refusal::NobodyLooks { name: admin.name.clone() }));
    }
    if others.is_empty() {
        let (verdict, wish) = says(0).map_err(bad)?;
        // Policy asks for somebody who is not there: whoever is alone with a home is not shut out of it.
        return match verdict.decision {
            Says::Allow | Says::Ask => Ok(None),
            Says::Modify | Says::Deny => Err(Box::new(people::denied(admin, &wish, &verdict))),
        };
    }
    // That somebody looks is for code to say, whatever policy says: nobody changes alone what they are judged by (G5).
    for approvals in 1..=limits::ACTION_APPROVALS {
        if says(approvals).map_err(bad)?.0.decision == Says::Allow {
            let hands =
                others.iter().filter_map(|name| hands_on_both(&governor.state, name, &admin.name)).min();
            return Ok(Some((approvals, hands)));
        }
    }
    let (verdict, wish) = says(1).map_err(bad)?;
    Err(Box::new(people::denied(admin, &wish, &verdict)))
}

/// Whoever else could approve, by role and as far as keys can tell. Policy is not asked who of them may: what forbids everybody to
/// approve leaves nobody alone with it.
fn others<'g>(governor: &'g Governor, by: &Name) -> Vec<&'g Name> {
    let state = &governor.state;
    let asker = Asker { name: by, keys_before: state.keys_given };
    let others = state.operators.values().filter(|known| known.role.may_vouch());
    others.map(|known| &known.name).filter(|name| is_another(state, name, asker, Apart::Since)).collect()
}

fn propose(turn: &mut Turn<'_>, policies: Digest, by: Name, approvals: u16, hands: Option<usize>) {
    let waits = turn.governor.state.proposal.as_ref();
    if waits.is_some_and(|waits| waits.proposed.policies == policies) {
        return;
    }
    over(turn, ProposalEnd::Replaced { by: by.clone() });
    let (at, until) = (turn.now, end(turn.now, limits::POLICIES_WAIT));
    let proposed = PoliciesProposed { policies, by, at, until, approvals, hands };
    turn.record(Fact::PoliciesProposed(Box::new(proposed)));
}

fn in_force(turn: &mut Turn<'_>, policies: Digest, by: Option<Name>, approved_by: Vec<Name>, alone: bool) {
    turn.record(Fact::PoliciesInForce { policies, by, approved_by, alone });
    asking::policies_changed(turn);
}

/// Policies wait no longer, if any do.
fn over(turn: &mut Turn<'_>, because: ProposalEnd) {
    let Some(waits) = &turn.governor.state.proposal else { return };
    let policies = waits.proposed.policies;
    turn.record(Fact::PoliciesProposalOver { policies, because });
}

/// Somebody answers.
pub(crate) fn answered(turn: &mut Turn<'_>, answer: &PoliciesAnswer) {
    let (proposed, separation) = match examine(turn, answer) {
        Err(refusal) => return turn.refuse(refusal),
        Ok(found) => found,
    };
    let (policies, by, rationale) = (answer.policies, answer.by.clone(), answer.rationale.clone());
    if answer.decision == GateDecision::Deny {
        return over(turn, ProposalEnd::Denied { by, rationale });
    }
    let public_key = answer.signed.as_ref().map(|signed| signed.public_key.clone());
    turn.record(Fact::PoliciesApproved { policies, by, rationale, separation, public_key });
    let waits = turn.governor.state.proposal.as_ref();
    let approved_by: Vec<Name> = waits.map(|waits| waits.votes.keys().cloned().collect()).unwrap_or_default();
    // Whose they are may still offer them, with as many approvals: by the policies in force, which are those that were asked.
    if approved_by.len() >= usize::from(proposed.approvals) {
        in_force(turn, policies, Some(proposed.by), approved_by, false);
    }
}

/// Whether the answer counts, to what, and how far apart whoever gave it is.
fn examine(turn: &Turn<'_>, answer: &PoliciesAnswer) -> Result<(PoliciesProposed, Separation), Refusal> {
    let state = &turn.governor.state;
    let waits = state.proposal.as_ref().filter(|waits| !is_over(waits.proposed.until, turn.now));
    let waits = waits.ok_or(Refusal::NoPoliciesWait { policies: answer.policies })?;
    let (proposed, approves) = (&waits.proposed, answer.decision == GateDecision::Approve);
    let operator = state.operators.get(&answer.by);
    let operator = operator.ok_or_else(|| Refusal::UnknownOperator { name: answer.by.clone() })?;
    let name = operator.name.clone();
    // Whoever offered them may take them back, and nothing else.
    let own = name == proposed.by;
    if own && approves {
        return Err(Refusal::OwnPolicies { name });
    }
    if !own && !operator.role.may_vouch() {
        let role = operator.role.as_str().to_owned();
        return Err(Refusal::RoleForbids { name, role, what: "approve policies".to_owned() });
    }
    if waits.votes.contains_key(&name) && approves {
        return Err(Refusal::AnsweredBefore { name });
    }
    if answer.policies != proposed.policies {
        return Err(Refusal::PoliciesDiffer { expected: proposed.policies, found: answer.policies });
    }
    if answer.rationale.trim().is_empty() || answer.rationale.len() > limits::RATIONALE_BYTES {
        return Err(Refusal::BadRationale { limit: limits::RATIONALE_BYTES });
    }
    let asker = Asker { name: &proposed.by, keys_before: waits.keys_before };
    // A no gives nobody anything: any key proves enough.
    let (askers, apart) = if approves { (&[asker][..], Apart::Since) } else { (&[][..], Apart::Named) };
    let (separation, nobody) = (Separation::SameHome, BTreeMap::new());
    let votes = if approves { &waits.votes } else { &nobody };
    let asked = proof::Asked { askers, apart, separation, votes };
    let separation = proof::examine(state, operator, answer.signed.as_ref(), &asked)?;
    if approves {
        let too_near =
            |most: usize| hands_on_both(state, &name, &proposed.by).is_none_or(|hands| hands > most);
        if proposed.hands.is_some_and(too_near) {
            return Err(Refusal::KeyTooYoung { name, requester: proposed.by.clone() });
        }
        let wish = Wish::approve_policies(&proposed.policies, &proposed.by);
        people::refusal(turn.governor, operator, &wish).map_or(Ok(()), Err)?;
        if !turn.governor.policies.contains_key(&proposed.policies) {
            return Err(Refusal::UnknownPolicies { policies: proposed.policies });
        }
    }
    Ok((proposed.clone(), separation))
}

/// A holder begins: what another had read and was waiting is gone with it.
pub(crate) fn booted(turn: &mut Turn<'_>) {
    over(turn, ProposalEnd::HolderLeft);
}

/// Somebody is known here no longer: what they offered waits no more.
pub(crate) fn person_left(turn: &mut Turn<'_>, name: &Name) {
    if turn.governor.state.proposal.as_ref().is_some_and(|waits| waits.proposed.by == *name) {
        over(turn, ProposalEnd::PersonLeft);
    }
}

/// Whether they have waited long enough, by either clock.
pub(crate) fn look(turn: &mut Turn<'_>) {
    let until = turn.governor.state.proposal.as_ref().map(|waits| waits.proposed.until);
    if until.is_some_and(|until| is_over(until, turn.now)) {
        over(turn, ProposalEnd::NotAnswered);
    }
}
