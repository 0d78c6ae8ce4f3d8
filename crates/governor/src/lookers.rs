//! Whoever could have looked at policies and cannot any more, since the holder began: nobody gets rid of those who would have to look,
//! and then offers what their own puppet approves.

use std::collections::BTreeSet;

use eparch_domain::{Name, limits};
use serde::{Deserialize, Serialize};

use crate::person::holders;
use crate::state::State;

/// Those who are known no longer, or have another key from somebody else: they may be somebody else by now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoneLookers {
    /// Of each: who may have held their key, they among them.
    keys: BTreeSet<BTreeSet<Name>>,
    /// There was one of whom that is not known.
    unknown: bool,
    /// There were more than [`limits::LOOKERS_REMEMBERED`].
    too_many: bool,
}

impl GoneLookers {
    /// Whether there is anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.unknown
    }

    /// Of one of them only so many people may hold both keys, theirs and this person's, and of nobody fewer. 0 where they were too
    /// many to know; `None` where it is known of nobody.
    pub(crate) fn fewest_on_both(&self, state: &State, name: &Name) -> Option<usize> {
        if self.too_many {
            return Some(0);
        }
        let own = holders(state, name)?;
        self.keys.iter().map(|keys| keys.intersection(&own).count()).min()
    }
}

/// Somebody leaves, or is given another key by somebody else. To be called while they are known as they were.
pub(crate) fn note(state: &mut State, name: &Name) {
    if !state.operators.get(name).is_some_and(|known| known.role.may_vouch()) {
        return;
    }
    let keys = holders(state, name);
    let gone = &mut state.gone_lookers;
    match keys {
        None => gone.unknown = true,
        Some(keys) if gone.keys.len() < limits::LOOKERS_REMEMBERED => drop(gone.keys.insert(keys)),
        Some(keys) => gone.too_many |= !gone.keys.contains(&keys),
    }
}
