//! Promotion and demotion: one person asks, another answers, and the evidence has to suffice both times.

use std::collections::BTreeMap;

use eparch_domain::{Digest, LedgerTime, Name, StandingId, Tier, limits};
use serde::{Deserialize, Serialize};

use crate::decision::Refusal;
use crate::event::{GateDecision, SignedAnswer};
use crate::evidence::{Evidence, needs, next_tier, tier_below};
use crate::fact::Fact;
use crate::governor::Turn;
use crate::operator::Separation;
use crate::operators;
use crate::people::{self, Wish};
use crate::person::{Apart, Asker};
use crate::proof;
use crate::standing::{Lowered, Standing};
use crate::state::Vote;
use crate::stop_all;

/// A promotion is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotionOpened {
    /// Whose.
    pub standing: StandingId,
    /// The tier it has.
    pub from: Tier,
    /// The tier it would have: the next one, always.
    pub to: Tier,
    /// Who asked.
    pub by: Name,
    /// Why.
    pub rationale: String,
    /// When. An answer to one request is none to a later one that reads the same.
    pub at: LedgerTime,
    /// What was known of it then.
    pub evidence: Evidence,
    /// How many approvals it takes.
    pub approvals: u16,
    /// The least separation an answer must have.
    pub separation: Separation,
    /// The digest of all of this: what an approval is of.
    pub subject: Digest,
}

/// Somebody's answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotionAnswer {
    /// Whose promotion.
    pub standing: StandingId,
    /// Who answers, as proven by their key.
    pub by: Name,
    /// What proved it, for a key that this home never held; `None` for a key of this home.
    pub signed: Option<SignedAnswer>,
    /// What they say.
    pub decision: GateDecision,
    /// The digest of what they saw.
    pub subject: Digest,
    /// Why.
    pub rationale: String,
}

/// A promotion that waits for answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Promotion {
    pub(crate) opened: PromotionOpened,
    /// How many keys operators had been given when it was asked for.
    pub(crate) keys_before: u64,
    pub(crate) votes: BTreeMap<Name, Vote>,
}

impl Standing {
    /// The promotion that waits, and who has approved it.
    pub fn waiting(&self) -> Option<(&PromotionOpened, Vec<&Name>)> {
        let waits = self.waits.as_ref()?;
        Some((&waits.opened, waits.votes.keys().collect()))
    }
}

/// From T3 on only answers signed by a key this home never held count, as at gates.
fn least_separation(to: Tier) -> Separation {
    if to >= Tier::T3 { Separation::RemoteKey } else { Separation::SameHome }
}

/// Somebody asks for a promotion; to the next tier, whether they name it or not.
pub(crate) fn requested(
    turn: &mut Turn<'_>,
    standing: StandingId,
    by: &Name,
    to: Option<Tier>,
    rationale: &str,
) {
    match examine_request(turn, standing, by, to, rationale) {
        Err(Some(refusal)) => turn.refuse(refusal),
        Err(None) => {}
        Ok(opened) => turn.record(Fact::PromotionRequested(Box::new(opened))),
    }
}

/// The promotion that is asked for; or why there is none, if that has not been said.
fn examine_request(
    turn: &mut Turn<'_>,
    standing: StandingId,
    by: &Name,
    wanted: Option<Tier>,
    rationale: &str,
) -> Result<PromotionOpened, Option<Refusal>> {
    let asking =
        operators::require(turn, by, "ask for promotions", |known| known.role.may_run()).ok_or(None)?;
    if let Some(stopped) = stop_all::refusal(turn.governor) {
        return Err(Some(stopped));
    }
    let known = turn.governor.state.standings.get(standing);
    let known = known.ok_or(Some(Refusal::UnknownStanding { standing }))?;
    check_rationale(rationale).map_err(Some)?;
    let (Some(to), from) = (next_tier(known.tier), known.tier) else {
        return Err(Some(Refusal::NotTheNextTier { from: known.tier, next: None }));
    };
    if wanted.is_some_and(|wanted| wanted != to) {
        return Err(Some(Refusal::NotTheNextTier { from, next: Some(to) }));
    }
    if asking.max_tier < to {
        return Err(Some(Refusal::BeyondOwnTier { name: asking.name, max: asking.max_tier }));
    }
    if let Some((opened, _)) = known.waiting() {
        return Err(Some(Refusal::PromotionWaits { standing, by: opened.by.clone() }));
    }
    let (evidence, missing) = (known.evidence.clone(), known.evidence.missing(to, turn.now.ledger));
    if !missing.is_empty() {
        return Err(Some(Refusal::EvidenceTooThin { standing, to, missing }));
    }
    let takes = needs(to).ok_or(Some(Refusal::NotTheNextTier { from, next: None }))?;
    let (by, rationale, at) = (by.clone(), rationale.to_owned(), turn.now.ledger);
    let written = serde_json::to_vec(&(standing, from, to, &by, &rationale, at, &evidence));
    let subject = Digest::of_parts(&[b"promotion", &written.expect("evidence is plain data")]);
    let (approvals, separation) = (takes.approvals, least_separation(to));
    Ok(PromotionOpened { standing, from, to, by, rationale, at, evidence, approvals, separation, subject })
}

fn check_rationale(rationale: &str) -> Result<(), Refusal> {
    if rationale.trim().is_empty() || rationale.len() > limits::RATIONALE_BYTES {
        return Err(Refusal::BadRationale { limit: limits::RATIONALE_BYTES });
    }
    Ok(())
}

/// Somebody answers.
pub(crate) fn answered(turn: &mut Turn<'_>, answer: &PromotionAnswer) {
    let (opened, separation) = match examine(turn, answer) {
        Err(refusal) => return turn.refuse(refusal),
        Ok(found) => found,
    };
    let (standing, by, decision) = (answer.standing, answer.by.clone(), answer.decision);
    turn.record(Fact::PromotionAnswered {
        standing,
        by: by.clone(),
        decision,
        rationale: answer.rationale.clone(),
        separation,
        public_key: answer.signed.as_ref().map(|signed| signed.public_key.clone()),
    });
    if decision == GateDecision::Deny {
        return turn.record(Fact::PromotionDenied { standing, by: Some(by) });
    }
    let known = turn.governor.state.standings.get(standing);
    let approvers = known.and_then(|known| known.waits.as_ref()).map(|waits| waits.votes.keys().cloned());
    let operators = &turn.governor.state.operators;
    let approvers: Vec<Name> =
        approvers.into_iter().flatten().filter(|name| operators.contains_key(name)).collect();
    if approvers.len() >= usize::from(opened.approvals) {
        let (from, to) = (opened.from, opened.to);
        turn.record(Fact::PromotionApproved { standing, from, to, by: approvers });
    }
}

/// Whether the answer counts, to what, and how far apart whoever gave it is.
fn examine(turn: &Turn<'_>, answer: &PromotionAnswer) -> Result<(PromotionOpened, Separation), Refusal> {
    let (standing, state) = (answer.standing, &turn.governor.state);
    let known = state.standings.get(standing).ok_or(Refusal::UnknownStanding { standing })?;
    let waits = known.waits.as_ref().ok_or(Refusal::NoPromotionWaits { standing })?;
    let opened = &waits.opened;
    let operator = state.operators.get(&answer.by);
    let operator = operator.ok_or_else(|| Refusal::UnknownOperator { name: answer.by.clone() })?;
    let (name, approves) = (operator.name.clone(), answer.decision == GateDecision::Approve);
    // Whoever asked may take it back, and nothing else.
    let own = name == opened.by;
    if own && approves {
        return Err(Refusal::OwnPromotion { name });
    }
    if !own && !operator.role.may_vouch() {
        let role = operator.role.as_str().to_owned();
        return Err(Refusal::RoleForbids {
            name,
            role,
            what: "answer requests to promote agents".to_owned(),
        });
    }
    if approves && let Some(stopped) = stop_all::refusal(turn.governor) {
        return Err(stopped);
    }
    if approves && operator.max_tier < opened.to {
        return Err(Refusal::BeyondOwnTier { name, max: operator.max_tier });
    }
    if waits.votes.contains_key(&answer.by) {
        return Err(Refusal::PromotionAnsweredBefore { name });
    }
    if answer.subject != opened.subject {
        return Err(Refusal::PromotionDiffers { expected: opened.subject, found: answer.subject });
    }
    check_rationale(&answer.rationale)?;
    // To take back is to give nobody anything: any key of theirs proves enough.
    let separation = if own { Separation::SameHome } else { opened.separation };
    let asker = Asker { name: &opened.by, keys_before: waits.keys_before };
    let askers = if own { &[][..] } else { &[asker][..] };
    // What is recorded to be signed elsewhere was said by somebody else.
    let apart = if own || answer.signed.is_none() { Apart::Named } else { Apart::Ever };
    let asked = proof::Asked { askers, apart, separation, votes: &waits.votes };
    let separation = proof::examine(state, operator, answer.signed.as_ref(), &asked)?;
    // It may have come to less since it was asked for.
    let missing = known.evidence.missing(opened.to, turn.now.ledger);
    if approves && !missing.is_empty() {
        return Err(Refusal::EvidenceTooThin { standing, to: opened.to, missing });
    }
    if approves {
        let wish = Wish::promote(standing, opened.to, &opened.by);
        people::refusal(turn.governor, operator, &wish).map_or(Ok(()), Err)?;
    }
    Ok((opened.clone(), separation))
}

/// Somebody lowers a standing by one tier.
pub(crate) fn demoted(turn: &mut Turn<'_>, standing: StandingId, by: &Name, reason: &str) {
    if operators::require(turn, by, "demote agents", |known| known.role.may_answer()).is_none() {
        return;
    }
    let Some(known) = turn.governor.state.standings.get(standing) else {
        return turn.refuse(Refusal::UnknownStanding { standing });
    };
    let from = known.tier;
    if from == Tier::T0 {
        return turn.refuse(Refusal::NothingToLower { standing });
    }
    let reason = crate::ending::cut(reason, limits::RATIONALE_BYTES).to_owned();
    let because = Lowered::Person { by: by.clone(), reason };
    lower(turn, standing, from, tier_below(from), because);
}

/// Lowers a standing. What was asked for on the strength of it is void.
pub(crate) fn lower(turn: &mut Turn<'_>, standing: StandingId, from: Tier, to: Tier, because: Lowered) {
    let waits = turn.governor.state.standings.get(standing).is_some_and(|known| known.waits.is_some());
    if waits {
        turn.record(Fact::PromotionDenied { standing, by: None });
    }
    turn.record(Fact::StandingLowered { standing, from, to, because });
}
