//! Policies that somebody wants in force. Those of a holder that begins are in force at once: it reads them in the home, which is its
//! user's alone. A person's wait for another person, as long as there is one who could look at them; those in force stay meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use eparch_domain::{Digest, Moment, Name, limits};
use eparch_policy::{Decision as Says, PolicySet};
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
    /// A new epoch began: the holder that had read them has gone, or what it had not finished with its ledger.
    HolderLeft,
    /// Others came into force, by which it was never looked at who may.
    OthersInForce,
}

impl std::fmt::Display for ProposalEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ProposalEnd::Denied { by, rationale } => write!(f, "{by} denies them: {rationale}"),
            ProposalEnd::NotAnswered => f.write_str("nobody answered in time"),
            ProposalEnd::Replaced { by } => write!(f, "{by} wants others"),
            ProposalEnd::PersonLeft => f.write_str("whoever wanted them is known no longer"),
            ProposalEnd::HolderLeft => f.write_str("a new epoch began"),
            ProposalEnd::OthersInForce => f.write_str("others came into force"),
        }
    }
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

    /// Those policies themselves, as far as they are at hand.
    pub fn policies_offered(&self) -> Option<Arc<PolicySet>> {
        self.policies.get(&self.state.proposal.as_ref()?.proposed.policies).cloned()
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
        // To want what there is, is to want nothing else any more; of what somebody else wants it says nothing.
        let waits = turn.governor.state.proposal.as_ref();
        if waits.is_some_and(|waits| waits.proposed.by == admin.name) {
            over(turn, ProposalEnd::Replaced { by: admin.name });
        }
        return;
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
    let state = &governor.state;
    let hands = others.iter().filter_map(|name| hands_on_both(state, name, &admin.name)).min();
    let gone = state.gone_lookers.fewest_on_both(state, &admin.name);
    let was_further = gone.is_some_and(|gone| hands.is_none_or(|hands| gone < hands));
    if was_further || others.is_empty() && !state.gone_lookers.is_empty() {
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
    // Of somebody whose own key may have come through anybody's hands nobody is known to be another, where that is known of others.
    let known = |name: &Name| hands_on_both(&governor.state, name, name).is_some();
    if !known(&admin.name) && others.iter().any(|name| known(name)) {
        return Err(Box::new(Refusal::KeyFromAnywhere { name: admin.name.clone() }));
    }
    // That somebody looks is for code to say, whatever policy says: nobody changes alone what they are judged by (G5).
    for approvals in 1..=limits::ACTION_APPROVALS {
        if says(approvals).map_err(bad)?.0.decision == Says::Allow {
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

#[cfg(test)]
mod tests {
    use eparch_domain::{LedgerTime, OperatorRole, Tier, Timestamp};

    use super::*;
    use crate::operator::Key;
    use crate::person::note_key;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// A home with these admins, each known by the one before, and with the policies that ship in force.
    fn home(admins: &[&str]) -> Governor {
        let mut governor = Governor::new();
        let mut by: Option<Name> = None;
        for admin in admins.iter().map(|admin| name(admin)) {
            note_key(&mut governor.state, &admin, by.as_ref());
            let key = Key::Home { hash: Digest::of(admin.as_str().as_bytes()) };
            let (role, groups) = (OperatorRole::Admin, Vec::new());
            let operator = Operator { name: admin.clone(), role, groups, max_tier: Tier::T4, key };
            governor.state.operators.insert(admin.clone(), operator);
            by = Some(admin);
        }
        let policies = Arc::new(PolicySet::defaults());
        governor.state.policy = Some(policies.digest());
        governor.learn_policies(policies);
        governor
    }

    fn admin(governor: &Governor, who: &str) -> Operator {
        governor.state.operators[&name(who)].clone()
    }

    /// Somebody has their key pass through so many hands that nobody knows whose it is, and a puppet on the way approves.
    #[test]
    fn g5_a_key_from_anywhere_offers_nothing_where_others_are_known() {
        let puppets: Vec<String> = (0..=limits::KEY_HANDS).map(|number| format!("p{number}")).collect();
        let all: Vec<&str> = ["root", "ann"].into_iter().chain(puppets.iter().map(String::as_str)).collect();
        let mut governor = home(&all);
        let ann = admin(&governor, "ann");
        assert!(takes(&governor, &ann).unwrap().is_some());
        let last = name(all[all.len() - 1]);
        note_key(&mut governor.state, &ann.name, Some(&last));
        assert_eq!(*takes(&governor, &ann).unwrap_err(), Refusal::KeyFromAnywhere { name: ann.name });
        // Whoever is known goes on.
        assert!(takes(&governor, &admin(&governor, "root")).unwrap().is_some());
    }

    #[test]
    fn whoever_waits_is_woken_when_it_is_over_also_after_a_restart_and_when_the_clock_was_set_back() {
        let mut governor = home(&["root", "bob"]);
        let moment = |ms: u64, wall| Moment {
            ledger: LedgerTime::from_millis(ms),
            wall: Timestamp::from_millis(wall),
        };
        let (at, until) = (moment(1_000, 50_000), moment(9_000, 58_000));
        let proposed = PoliciesProposed {
            policies: Digest::of(b"x"),
            by: name("root"),
            at,
            until,
            approvals: 1,
            hands: None,
        };
        governor.apply(&Fact::PoliciesProposed(Box::new(proposed)), at);
        let wakes = |governor: &Governor| governor.next_deadline().map(|deadline| deadline.at);
        assert_eq!(wakes(&governor), Some(until.ledger));
        let mut restored = Governor::new();
        restored.restore(governor.snapshot()).unwrap();
        assert_eq!(wakes(&restored), Some(until.ledger));
        // Set back by forty seconds: by the wall clock it would be over forty seconds late.
        let now = moment(2_000, 11_000);
        restored.apply(&Fact::EndsSooner, now);
        assert_eq!(restored.policies_waiting().unwrap().0.until, moment(9_000, 18_000));
        restored.apply(
            &Fact::PoliciesProposalOver { policies: Digest::of(b"x"), because: ProposalEnd::NotAnswered },
            now,
        );
        assert_eq!(wakes(&restored), None);
    }
}
