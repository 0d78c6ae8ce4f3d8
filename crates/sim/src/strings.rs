//! Who may pull whose strings: every key that somebody was given, in order, and by whom. Nothing of it is ever summed up; what is
//! asked is looked for among all of it.

use std::collections::BTreeSet;

use eparch_domain::Name;

/// Every key that anybody was ever given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Strings {
    given: Vec<Given>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    to: Name,
    by: Option<Name>,
    /// When, by a count of the asker's own.
    when: u64,
}

impl Strings {
    pub(crate) fn give(&mut self, to: &Name, by: Option<&Name>, when: u64) {
        self.given.push(Given { to: to.clone(), by: by.cloned(), when });
    }

    /// The last key, of the first so many, that somebody else gave them.
    fn given_by_another(&self, name: &Name, before: usize) -> Option<usize> {
        let of_another = |given: &Given| given.to == *name && given.by.as_ref() != Some(name);
        self.given[..before].iter().rposition(of_another)
    }

    /// Everybody who may have had somebody's present key before them.
    pub(crate) fn pulled_by(&self, name: &Name) -> BTreeSet<Name> {
        let (mut found, mut puppet, mut before) = (BTreeSet::new(), name.clone(), self.given.len());
        while let Some(at) = self.given_by_another(&puppet, before) {
            let Some(maker) = self.given[at].by.clone() else { break };
            found.insert(maker.clone());
            (puppet, before) = (maker, at);
        }
        found
    }

    /// Whether somebody got their present place after that, and from somebody who got theirs after it, too.
    fn is_of_the_new(&self, name: &Name, when: u64) -> bool {
        let newly = |at: &usize| self.given[*at].when > when;
        let Some(at) = self.given_by_another(name, self.given.len()).filter(newly) else { return false };
        let maker = self.given[at].by.as_ref();
        maker.and_then(|maker| self.given_by_another(maker, at)).filter(newly).is_some()
    }

    /// Whether somebody may be whoever asked then, in any way.
    pub(crate) fn may_be(&self, name: &Name, asker: &Name, asked: u64) -> bool {
        name == asker || self.pulled_by(name).contains(asker) || self.is_of_the_new(name, asked)
    }

    /// Whether they may be by what has happened since.
    pub(crate) fn may_have_become(&self, name: &Name, asker: &Name, asked: u64) -> bool {
        let place = self.given_by_another(name, self.given.len()).map(|at| self.given[at].when);
        place.is_some_and(|when| when > asked) && self.may_be(name, asker, asked)
    }
}
