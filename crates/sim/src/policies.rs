//! The policies that people of a world offer: those that ship, a few of them, or those few without what they permit.

use std::sync::{Arc, OnceLock};

use eparch_domain::Digest;
use eparch_policy::{DEFAULTS, PolicySet, PolicyText};

/// A set that may be in force in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Those that ship.
    Defaults,
    /// Of those that ship what speaks of the things that agents of these worlds ask for. It decides on them as all of them do,
    /// and a holder that recovers reads it ten times as fast, which is most of what such a world costs.
    Few,
    /// The few without those that permit something: nobody may do anything but take authority away.
    Closed,
}

/// The few that are enough.
const FEW: [&str; 16] = [
    "never-04-modify-governance",
    "never-05-people-only",
    "people-above-own-tier",
    "people-not-own-request",
    "phase-1-inside-life",
    "phase-2-effects-in-execute",
    "phase-3-plan-first",
    "admin-govern-approved",
    "admin-govern-ask",
    "admin-run",
    "admin-secret",
    "operator-run",
    "people-answer",
    "t0-look-in-docs",
    "t2-staging-approved",
    "t2-staging-ask",
];
/// So many of them permit nothing.
const FEW_THAT_FORBID: usize = 7;

impl Rules {
    const ALL: [Rules; 3] = [Rules::Defaults, Rules::Few, Rules::Closed];

    /// The set itself, read once: it never differs.
    pub(crate) fn set(self) -> Arc<PolicySet> {
        static SETS: [OnceLock<Arc<PolicySet>>; 3] = [const { OnceLock::new() }; 3];
        let few = |ids: &[&str]| {
            let text: String = ids.iter().map(|id| shipped(id)).collect();
            PolicySet::load(&[PolicyText { name: "few.cedar", text: &text }])
        };
        let load = || match self {
            Rules::Defaults => Ok(PolicySet::defaults()),
            Rules::Few => few(&FEW),
            Rules::Closed => few(&FEW[..FEW_THAT_FORBID]),
        };
        let set = SETS[self as usize]
            .get_or_init(|| Arc::new(load().expect("the policies that ship are without fault")));
        Arc::clone(set)
    }

    /// The set of a digest.
    pub(crate) fn of(digest: Digest) -> Option<Rules> {
        Rules::ALL.into_iter().find(|rules| rules.set().digest() == digest)
    }
}

/// One of the policies that ship, as it is written.
fn shipped(id: &str) -> &'static str {
    let begins = format!("@id(\"{id}\")");
    let find = |file: &PolicyText<'static>| {
        let from = &file.text[file.text.find(&begins)?..];
        from.find(";\n").map(|end| &from[..end + 2])
    };
    DEFAULTS.iter().find_map(find).expect("it ships")
}
