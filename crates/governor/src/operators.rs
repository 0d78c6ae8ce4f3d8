//! Who may act, and who may say so.

use eparch_domain::Name;

use crate::decision::Refusal;
use crate::fact::Fact;
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
    turn.record(Fact::OperatorKnown { operator: operator.clone() });
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
    turn.record(Fact::OperatorRekeyed { name: name.clone(), key: key.clone() });
}

pub(crate) fn remove(turn: &mut Turn<'_>, by: &Name, name: &Name) {
    if require(turn, by, "remove operators", |known| known.role.may_administer()).is_none() {
        return;
    }
    let operators = &turn.governor.state.operators;
    let Some(leaving) = operators.get(name) else {
        return turn.refuse(Refusal::UnknownOperator { name: name.clone() });
    };
    let admins = operators.values().filter(|operator| operator.role.may_administer()).count();
    if leaving.role.may_administer() && admins == 1 {
        return turn.refuse(Refusal::LastAdmin { name: name.clone() });
    }
    turn.record(Fact::OperatorForgotten { name: name.clone() });
}
