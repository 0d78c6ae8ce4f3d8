//! How far apart whoever answers is from whoever asked, as far as keys can say it: at gates, and where a promotion is asked
//! for.

use std::collections::BTreeMap;

use eparch_domain::Name;

use crate::decision::Refusal;
use crate::event::{GateDecision, SignedAnswer};
use crate::operator::{Key, Operator, Separation};
use crate::person::{Apart, Asker, is_another};
use crate::state::{State, Vote};

/// What an answer is held against.
pub(crate) struct Asked<'a> {
    /// Whose wish it is: somebody else has to answer than each of them.
    pub(crate) askers: &'a [Asker<'a>],
    /// How far apart from them.
    pub(crate) apart: Apart,
    /// The least separation an answer must have.
    pub(crate) separation: Separation,
    /// Who answered so far.
    pub(crate) votes: &'a BTreeMap<Name, Vote>,
}

/// How far apart an answer is, with the key its operator has now; or why it proves too little.
pub(crate) fn examine(
    state: &State,
    operator: &Operator,
    signed: Option<&SignedAnswer>,
    asked: &Asked<'_>,
) -> Result<Separation, Refusal> {
    let separation = proven(signed, operator)?;
    if separation < asked.separation {
        return Err(Refusal::SeparationTooWeak { needed: asked.separation });
    }
    if let Some(name) = answered_with(asked.votes, signed) {
        return Err(Refusal::KeyAnsweredBefore { name });
    }
    let may_be = |asker: &&Asker<'_>| !is_another(state, &operator.name, **asker, asked.apart);
    if let Some(asker) = asked.askers.iter().find(may_be) {
        let (name, requester) = (operator.name.clone(), asker.name.clone());
        return Err(Refusal::KeyTooYoung { name, requester });
    }
    match also_answered_as(state, operator, asked) {
        Some(other) => Err(Refusal::KeyTooYoung { name: operator.name.clone(), requester: other }),
        None => Ok(separation),
    }
}

/// Who has said yes already and may be whoever answers now: where it takes several people, one is not two of them, whichever of
/// the two keys came from the other.
fn also_answered_as(state: &State, operator: &Operator, asked: &Asked<'_>) -> Option<Name> {
    if asked.apart == Apart::Named {
        return None;
    }
    // When they answered says nothing of which key is whose.
    let told_from = |name: &Name, other: &Name| {
        let asker = Asker { name: other, keys_before: u64::MAX };
        is_another(state, name, asker, Apart::Ever)
    };
    let said_yes = asked.votes.iter().filter(|(_, vote)| vote.decision == GateDecision::Approve);
    let mut names = said_yes.map(|(name, _)| name).filter(|name| state.operators.contains_key(*name));
    let same = |other: &&Name| !told_from(&operator.name, other) || !told_from(other, &operator.name);
    names.find(same).cloned()
}

/// How far apart the answer was proven to be, with the key that its operator has now: when the shell looked it may have
/// been another.
fn proven(signed: Option<&SignedAnswer>, operator: &Operator) -> Result<Separation, Refusal> {
    match (signed, &operator.key) {
        (None, Key::Home { .. }) => Ok(Separation::SameHome),
        (Some(signed), Key::Remote { public_key }) if signed.public_key == *public_key => {
            Ok(Separation::RemoteKey)
        }
        _ => Err(Refusal::KeyDiffers { name: operator.name.clone() }),
    }
}

/// As whom the key of a signed answer has answered before: somebody may be removed and known anew in another name.
fn answered_with(votes: &BTreeMap<Name, Vote>, signed: Option<&SignedAnswer>) -> Option<Name> {
    let key = &signed?.public_key;
    let same = |vote: &Vote| vote.public_key.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(key));
    votes.iter().find(|(_, vote)| same(vote)).map(|(name, _)| name.clone())
}
