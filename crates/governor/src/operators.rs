//! Who may act, and who may say so.

use eparch_domain::Name;

use crate::break_glass;
use crate::decision::Refusal;
use crate::fact::Fact;
use crate::governing;
use crate::governor::Turn;
use crate::operator::{Key, Operator};

/// The operator, if they are known and `may`; otherwise the refusal is the answer.
pub(crate) fn require(
    turn: &mut Turn<'_>,
    name: &Name,
    what: &str,
    may: impl Fn(&Operator) -> bool,
) -> Option<Operator> {
    match turn.governor.state.operators.get(name) {
        None => turn.refuse(Refusal::UnknownOperator { name: name.clone() }),
        Some(operator) if may(operator) => return Some(operator.clone()),
        Some(operator) => {
            let role = operator.role.as_str().to_owned();
            turn.refuse(Refusal::RoleForbids { name: name.clone(), role, what: what.to_owned() });
        }
    }
    None
}

pub(crate) fn add(turn: &mut Turn<'_>, by: Option<&Name>, operator: &Operator) {
    let operators = &turn.governor.state.operators;
    if operators.contains_key(&operator.name) {
        return turn.refuse(Refusal::OperatorExists { name: operator.name.clone() });
    }
    match by {
        // A home's first operator has nobody to be added by; everybody later has.
        None if operators.is_empty() => {}
        None => return turn.refuse(Refusal::UnknownOperator { name: operator.name.clone() }),
        Some(by) => {
            let Some(admin) = require(turn, by, "add operators", |known| known.role.may_administer()) else {
                return;
            };
            if operator.max_tier > admin.max_tier {
                return turn.refuse(Refusal::BeyondOwnTier { name: admin.name, max: admin.max_tier });
            }
        }
    }
    if let Some(refusal) = taken(turn, &operator.name, &operator.key) {
        return turn.refuse(refusal);
    }
    turn.record(Fact::OperatorKnown { operator: operator.clone(), by: by.cloned() });
}

/// One key is one person: with a key that is somebody else's, one of them could answer as both.
fn taken(turn: &Turn<'_>, name: &Name, key: &Key) -> Option<Refusal> {
    let mut others = turn.governor.state.operators.values().filter(|known| known.name != *name);
    others.find(|known| known.key.is(key)).map(|known| Refusal::KeyTaken { name: known.name.clone() })
}

/// Whether anybody but `name` may administer this home and can: only a key of this home opens its doors.
fn others_administer(turn: &Turn<'_>, name: &Name) -> bool {
    let mut others = turn.governor.state.operators.values().filter(|known| known.name != *name);
    others.any(|known| known.role.may_administer() && known.key.is_home())
}

pub(crate) fn rotate(turn: &mut Turn<'_>, by: &Name, name: &Name, key: &Key) {
    let itself = by == name;
    let Some(asking) = require(turn, by, "rotate keys", |known| itself || known.role.may_administer()) else {
        return;
    };
    let Some(holder) = turn.governor.state.operators.get(name) else {
        return turn.refuse(Refusal::UnknownOperator { name: name.clone() });
    };
    // Whoever sets somebody's key can act as them: that is giving oneself their tier (G5).
    if holder.max_tier > asking.max_tier {
        return turn.refuse(Refusal::BeyondOwnTier { name: asking.name, max: asking.max_tier });
    }
    if holder.role.may_administer() && !key.is_home() && !others_administer(turn, name) {
        return turn.refuse(Refusal::LastAdmin { name: name.clone() });
    }
    if let Some(refusal) = taken(turn, name, key) {
        return turn.refuse(refusal);
    }
    turn.record(Fact::OperatorRekeyed { name: name.clone(), key: key.clone(), by: Some(by.clone()) });
}

pub(crate) fn remove(turn: &mut Turn<'_>, by: &Name, name: &Name) {
    let Some(admin) = require(turn, by, "remove operators", |known| known.role.may_administer()) else {
        return;
    };
    let Some(leaving) = turn.governor.state.operators.get(name) else {
        return turn.refuse(Refusal::UnknownOperator { name: name.clone() });
    };
    // Whoever removes somebody can add them again with a key of their own choice.
    if leaving.max_tier > admin.max_tier {
        return turn.refuse(Refusal::BeyondOwnTier { name: admin.name, max: admin.max_tier });
    }
    if leaving.role.may_administer() && !others_administer(turn, name) {
        return turn.refuse(Refusal::LastAdmin { name: name.clone() });
    }
    turn.record(Fact::OperatorForgotten { name: name.clone() });
    break_glass::person_left(turn, name);
    governing::person_left(turn, name);
}
