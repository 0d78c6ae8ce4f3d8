//! Who is another person, as far as keys can tell: where two people have to differ, one of them must not be the other's puppet.

use std::collections::BTreeSet;

use eparch_domain::{Name, limits};
use serde::{Deserialize, Serialize};

use crate::state::State;

/// How an operator came by their key. Whoever gave it to them may have kept it; so may whoever gave those theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyOrigin {
    /// Which key it was of all that were given, from 1.
    number: u64,
    /// Which key whoever gave it had themselves then; 0 for nobody's.
    giver: u64,
    /// Through whose hands it may have come, the nearest first and each once: whoever gave it, whoever gave those theirs, and so
    /// on to the home's first operator. `None` where that is not known, or is more than [`limits::KEY_HANDS`].
    #[serde(default)]
    hands: Option<Vec<Name>>,
}

/// How far apart two people have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Apart {
    /// They have two names. Where all keys lie in one home, keys can say no more.
    Named,
    /// And a key that came from the one since they asked is not the other's. One that was theirs before counts, whoever gave it:
    /// somebody has to have made everybody known.
    Since,
    /// And a key that ever came from the one is not the other's: whoever asks chooses when.
    Ever,
}

/// Who another person has to be told from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// Who.
    pub(crate) name: &'a Name,
    /// How many keys operators had been given when they asked.
    pub(crate) keys_before: u64,
}

/// Whether somebody is another person than the one who asked.
///
/// Somebody is not, as far as anybody can tell, who has the same name. Nor, unless two names are enough, is one whose key may be
/// the asker's own: it came from the asker's hands, whether they gave it themselves, or somebody did whose own key came from
/// them, however many there are between; or both it and the one with which it was given are younger than what was asked, so
/// that nobody could have looked at either. To take another key in place of one's own makes nobody another person. Where it is not
/// known through whose hands a key has come, it may have been anybody's.
///
/// That one who asks may be the puppet of the one who answers is not looked at: in a home in which one admin made everybody's key
/// that admin could then do nothing. The record says who gave whom their key.
pub(crate) fn is_another(state: &State, name: &Name, asker: Asker<'_>, apart: Apart) -> bool {
    if name == asker.name {
        return false;
    }
    let Some(origin) = state.key_origins.get(name) else { return apart == Apart::Named };
    let young = origin.number > asker.keys_before;
    let theirs = origin.hands.as_ref().is_none_or(|hands| hands.contains(asker.name));
    let from_the_young = young && origin.giver > asker.keys_before;
    match apart {
        Apart::Named => true,
        Apart::Since => !(from_the_young || young && theirs),
        Apart::Ever => !from_the_young && !theirs,
    }
}

/// Who may hold somebody's key: they, and those through whose hands it came. `None` where that is not known.
pub(crate) fn holders(state: &State, name: &Name) -> Option<BTreeSet<Name>> {
    let hands = state.key_origins.get(name)?.hands.as_ref()?;
    Some(hands.iter().chain([name]).cloned().collect())
}

/// How many people may hold both keys. `None` where that is not known.
pub(crate) fn hands_on_both(state: &State, one: &Name, other: &Name) -> Option<usize> {
    Some(holders(state, one)?.intersection(&holders(state, other)?).count())
}

/// An operator has been given a key: how they came by it. Whoever gives themselves another one stays who they were.
pub(crate) fn note_key(state: &mut State, to: &Name, by: Option<&Name>) {
    state.keys_given += 1;
    if by == Some(to) && state.key_origins.contains_key(to) {
        return;
    }
    let from = by.and_then(|by| state.key_origins.get(by));
    let hands = match by {
        // Of a home's first operator everything is known.
        None => state.key_origins.is_empty().then(Vec::new),
        Some(by) => from.and_then(|from| from.hands.as_deref()).and_then(|hands| passed_on(by, hands)),
    };
    let origin = KeyOrigin { number: state.keys_given, giver: from.map_or(0, |from| from.number), hands };
    state.key_origins.insert(to.clone(), origin);
}

/// The hands through which a key has come that somebody gave whose own has come through these.
fn passed_on(by: &Name, hands: &[Name]) -> Option<Vec<Name>> {
    let others = hands.iter().filter(|hand| *hand != by);
    let all: Vec<Name> = [by].into_iter().chain(others).cloned().collect();
    (all.len() <= limits::KEY_HANDS).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// A home in which these keys were given, in this order, each by the other.
    fn home(given: &[(&str, &str)]) -> State {
        let mut state = State::default();
        note_key(&mut state, &name("root"), None);
        for (to, by) in given {
            note_key(&mut state, &name(to), Some(&name(by)));
        }
        state
    }

    fn differ(state: &State, who: &str, asker: &str, before: u64, apart: Apart) -> bool {
        is_another(state, &name(who), Asker { name: &name(asker), keys_before: before }, apart)
    }

    #[test]
    fn g5_a_puppet_of_a_puppet_is_its_maker_and_so_is_one_with_another_key_of_its_own() {
        let state = home(&[("ann", "root"), ("ben", "ann"), ("cid", "ben"), ("cid", "cid"), ("eve", "root")]);
        for puppet in ["ann", "ben", "cid"] {
            assert!(!differ(&state, puppet, "ann", 9, Apart::Ever), "{puppet}");
            assert!(!differ(&state, puppet, "root", 9, Apart::Ever), "{puppet}");
        }
        assert!(differ(&state, "eve", "ann", 9, Apart::Ever));
        // Whoever asks may be a puppet: that is not looked at.
        assert!(
            differ(&state, "ann", "ben", 9, Apart::Ever) && differ(&state, "root", "ann", 9, Apart::Ever)
        );
        // Given before they asked: that counts where only what came since does not.
        assert!(
            differ(&state, "cid", "ann", 9, Apart::Since) && !differ(&state, "cid", "ann", 2, Apart::Since)
        );
        assert!(
            differ(&state, "cid", "ann", 2, Apart::Named) && !differ(&state, "ann", "ann", 9, Apart::Named)
        );
    }

    #[test]
    fn g5_another_key_of_ones_own_is_no_younger_than_the_first() {
        let state = home(&[("ann", "root"), ("ben", "ann"), ("ben", "ben"), ("ben", "ben")]);
        assert!(
            differ(&state, "ben", "ann", 3, Apart::Since) && !differ(&state, "ben", "ann", 2, Apart::Since)
        );
        let state = home(&[("ann", "root"), ("ben", "ann"), ("ben", "root")]);
        assert!(differ(&state, "ben", "ann", 9, Apart::Ever), "somebody else gave them the key they have");
    }

    #[test]
    fn what_was_given_with_a_key_as_young_as_itself_is_nobodys() {
        let state = home(&[("ann", "root"), ("zoe", "root"), ("yan", "zoe")]);
        assert!(
            !differ(&state, "yan", "ann", 2, Apart::Since) && !differ(&state, "yan", "ann", 2, Apart::Ever)
        );
        assert!(
            differ(&state, "yan", "ann", 3, Apart::Since) && differ(&state, "zoe", "ann", 2, Apart::Ever)
        );
    }

    #[test]
    fn g5_puppets_of_one_maker_have_one_more_who_may_hold_both_keys() {
        let state = home(&[("ann", "root"), ("pup", "ann"), ("doll", "ann"), ("bob", "root")]);
        let shared = |one: &str, other: &str| hands_on_both(&state, &name(one), &name(other));
        assert_eq!((shared("pup", "doll"), shared("pup", "ann")), (Some(2), Some(2)));
        assert_eq!(
            (shared("pup", "bob"), shared("pup", "root"), shared("root", "bob")),
            (Some(1), Some(1), Some(1))
        );
        assert_eq!(shared("pup", "ghost"), None);
    }

    #[test]
    fn a_key_that_went_through_more_hands_than_are_remembered_may_be_anybodys() {
        let people: Vec<String> = (0..limits::KEY_HANDS + 2).map(|n| format!("p{n}")).collect();
        let mut given = vec![("p0", "root")];
        given.extend(people.windows(2).map(|pair| (&*pair[1], &*pair[0])));
        let state = home(&given);
        let (last, too_far) = (&people[limits::KEY_HANDS - 1], &people[limits::KEY_HANDS]);
        assert!(
            differ(&state, last, "nobody", 99, Apart::Ever) && !differ(&state, last, "p0", 99, Apart::Ever)
        );
        for far in [too_far, &people[limits::KEY_HANDS + 1]] {
            assert!(!differ(&state, far, "nobody", 99, Apart::Ever), "{far}");
            assert!(
                !differ(&state, far, "nobody", 1, Apart::Since)
                    && differ(&state, far, "nobody", 99, Apart::Since)
            );
        }
    }

    #[test]
    fn what_an_earlier_version_remembered_of_a_key_is_not_enough() {
        let before = r#"{"by":"root","number":2,"giver":1}"#;
        let mut state = home(&[]);
        state.key_origins.insert(name("bob"), serde_json::from_str(before).expect("it is read"));
        assert!(
            !differ(&state, "bob", "ann", 9, Apart::Ever) && differ(&state, "bob", "ann", 9, Apart::Since)
        );
        assert!(
            !differ(&state, "ghost", "ann", 9, Apart::Since)
                && !differ(&state, "ghost", "ann", 9, Apart::Ever)
        );
        note_key(&mut state, &name("cid"), Some(&name("bob")));
        assert!(!differ(&state, "cid", "ann", 9, Apart::Ever), "nor is it of one they gave");
        note_key(&mut state, &name("bob"), Some(&name("root")));
        assert!(differ(&state, "bob", "ann", 9, Apart::Ever));
    }
}
