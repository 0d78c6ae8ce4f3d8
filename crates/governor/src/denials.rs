//! What people said no to in a run. A no is of the thing itself, whatever it was to be done with, and stands for as long as the
//! run does: for every agent of it, and for every attempt (decision 0021).

use std::collections::{BTreeMap, BTreeSet};

use eparch_domain::{Action, Name, RunId, limits};
use eparch_policy::{Decision as Says, Verdict, reasons};
use serde::{Deserialize, Serialize};

use crate::governor::Turn;
use crate::performance::THIS_MACHINE;
use crate::plan::is_look;
use crate::state::{Doing, Run};

/// Somebody who may answer said no to this very thing before.
pub(crate) const SAID_NO: &str = reasons::PEOPLE_SAID_NO;
/// People said no so often that one more could not be remembered.
const TOO_MANY: &str = reasons::TOO_MANY_DENIALS;

/// What people said no to, and who did: at most [`limits::DENIALS_REMEMBERED`] things, none of which is ever forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Denials {
    by_thing: BTreeMap<Action, BTreeMap<String, BTreeSet<Name>>>,
}

impl Denials {
    /// Somebody said no. Where there is room for no more, nobody is asked, so that what is dropped here was written down by a
    /// version that knew no bound.
    pub(crate) fn note(&mut self, action: Action, target: &str, by: BTreeSet<Name>) {
        if self.of(action, target).is_none() && self.len() >= limits::DENIALS_REMEMBERED {
            return;
        }
        let things = self.by_thing.entry(counted_as(action, target)).or_default();
        things.entry(target.to_owned()).or_default().extend(by);
    }

    /// Who said no to this, if anybody did.
    pub(crate) fn of(&self, action: Action, target: &str) -> Option<&BTreeSet<Name>> {
        self.by_thing.get(&counted_as(action, target))?.get(target)
    }

    /// How many things people said no to.
    pub(crate) fn len(&self) -> usize {
        self.by_thing.values().map(BTreeMap::len).sum()
    }

    /// The targets of all that people said no to, of these actions.
    pub(crate) fn targets(&self, of: impl Fn(Action) -> bool) -> impl Iterator<Item = &str> {
        let things = self.by_thing.iter().filter(move |(action, _)| of(**action));
        things.flat_map(|(_, targets)| targets.keys().map(String::as_str))
    }
}

/// Looking is looking, however it is done; and work on this machine is a command, whatever it is called.
fn counted_as(action: Action, target: &str) -> Action {
    match action {
        _ if is_look(action) => Action::ReadFile,
        Action::AnsibleCheck
        | Action::AnsibleRun
        | Action::TerraformPlan
        | Action::TerraformApply
        | Action::DockerRun
            if target == THIS_MACHINE =>
        {
            Action::ExecuteCommand
        }
        _ => action,
    }
}

/// Whether two agents want the same done.
pub(crate) fn is_same((action, target): (Action, &str), (other, to): (Action, &str)) -> bool {
    (counted_as(action, target), target) == (counted_as(other, to), to)
}

/// Who said no to this in the run: then nothing that policy says lets it be done there.
pub(crate) fn by_whom(turn: &Turn<'_>, run: RunId, action: Action, target: &str) -> Option<Vec<Name>> {
    let by = turn.governor.run(run)?.denials.of(action, target)?;
    Some(by.iter().cloned().collect())
}

/// The answer to whoever asks for what a person said no to.
pub(crate) fn said_no() -> Verdict {
    let unlock = "another run, started by somebody who may: in it an approver or an admin is asked anew; in this one the no stands";
    denied(SAID_NO, false, unlock)
}

/// The answer where one more no could not be remembered, if that is so: everything that people are asked now might be denied.
pub(crate) fn no_room(live: &Run) -> Option<Verdict> {
    let asked = |doing: &Doing| match doing {
        Doing::Attempt(attempt) => attempt.questions.open.len(),
        _ => 0,
    };
    let (said, open) =
        (live.denials.len(), live.stages.iter().map(|stage| asked(&stage.doing)).sum::<usize>());
    if said + open < limits::DENIALS_REMEMBERED {
        return None;
    }
    // Those who are asked now may say yes.
    let may_pass = said < limits::DENIALS_REMEMBERED;
    Some(denied(TOO_MANY, may_pass, "another run: people said no in this one as often as can be remembered"))
}

fn denied(reason: &str, retryable: bool, unlock: &str) -> Verdict {
    Verdict {
        decision: Says::Deny,
        reason: reason.into(),
        policies: Vec::new(),
        retryable,
        unlock: Some(unlock.to_owned()),
        changes: Vec::new(),
        candidates: 0,
        shadowed: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(name: &str) -> BTreeSet<Name> {
        [Name::new(name).unwrap()].into()
    }

    #[test]
    fn a_no_is_of_action_and_target_and_looking_is_one_action() {
        let mut denials = Denials::default();
        denials.note(Action::SearchCode, "src/x", by("bob"));
        denials.note(Action::AnsibleRun, "staging-1", by("bob"));
        denials.note(Action::AnsibleRun, "staging-1", by("carol"));
        assert!(denials.of(Action::ReadFile, "src/x").is_some());
        assert!(denials.of(Action::WriteFile, "src/x").is_none());
        assert_eq!(denials.of(Action::AnsibleRun, "staging-1").unwrap().len(), 2);
        assert!(denials.of(Action::AnsibleCheck, "staging-1").is_none());
        assert_eq!(denials.len(), 2);
        assert_eq!(denials.targets(is_look).collect::<Vec<_>>(), ["src/x"]);
        let written = serde_json::to_vec(&denials).unwrap();
        assert_eq!(serde_json::from_slice::<Denials>(&written).unwrap(), denials);
    }

    #[test]
    fn what_was_said_no_to_is_never_forgotten_for_what_came_later() {
        let mut denials = Denials::default();
        for n in 0..=limits::DENIALS_REMEMBERED {
            denials.note(Action::AnsibleRun, &format!("staging-{n}"), by("bob"));
        }
        assert_eq!(denials.len(), limits::DENIALS_REMEMBERED);
        assert!(denials.of(Action::AnsibleRun, "staging-0").is_some());
        denials.note(Action::AnsibleRun, "staging-0", by("carol"));
        assert_eq!(denials.of(Action::AnsibleRun, "staging-0").unwrap().len(), 2);
    }
}
