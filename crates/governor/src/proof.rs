//! How far apart whoever answers is from whoever asked, as far as keys can say it: at gates, and where a promotion is asked
//! for.

use std::collections::BTreeMap;

use eparch_domain::Name;

use crate::decision::Refusal;
use crate::event::SignedAnswer;
use crate::operator::{Key, Operator, Separation};
use crate::state::{State, Vote};

/// What an answer is held against.
pub(crate) struct Asked<'a> {
    /// Who asked.
    pub(crate) requester: &'a Name,
    /// How many keys operators had been given then.
    pub(crate) keys_before: u64,
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
    // Where keys are to be kept apart from whoever asks, one that has come from them since proves nothing.
    let origin = state.key_origins.get(&operator.name);
    if asked.separation == Separation::RemoteKey
        && origin.is_none_or(|origin| origin.may_be_of(asked.requester, asked.keys_before))
    {
        let (name, requester) = (operator.name.clone(), asked.requester.clone());
        return Err(Refusal::KeyTooYoung { name, requester });
    }
    Ok(separation)
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
