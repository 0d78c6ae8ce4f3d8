//! What is known at the moment somebody asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use eparch_domain::{Action, Name, Phase, limits};
use serde::{Deserialize, Serialize};

/// What is known at the moment somebody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    /// Of the agent that asks; of the run that is asked about when a person asks.
    pub phase: Phase,
    /// There is an accepted plan whose digest is known, and this action is in it.
    pub planned: bool,
    /// How many people approved exactly this, the digest of plan and arguments; whoever asked for it is not among them.
    pub approvals: u32,
    /// What is sent leaves this tenant's machines.
    pub outside: bool,
    /// What the run has done.
    pub history: History,
    /// Tokens of models that the run has used.
    pub spent_tokens: u64,
    /// Money that the run has used, in millionths of a dollar.
    pub spent_microdollars: u64,
    /// The operator who asked for what is answered here.
    pub requester: Option<Name>,
}

impl Default for Circumstances {
    /// Nothing has happened yet: BOOTSTRAP, no plan, nobody's approval.
    fn default() -> Self {
        Circumstances {
            phase: Phase::Bootstrap,
            planned: false,
            approvals: 0,
            outside: false,
            history: History::default(),
            spent_tokens: 0,
            spent_microdollars: 0,
            requester: None,
        }
    }
}

/// What a run has done, as facts that a policy can ask for: `read_secret`, and `read_secret:inventory/hosts`.
///
/// It holds at most [`limits::HISTORY_FACTS`] facts of at most [`limits::HISTORY_FACT_BYTES`]. What does not fit is not
/// forgotten silently: the history says that it overflowed, and everything is denied from then on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// Shared: it goes into every request of a run, and is changed where something was done.
    facts: Arc<BTreeSet<Box<str>>>,
    overflowed: bool,
}

impl History {
    /// What nobody knows: anything may have been done, and everything is denied.
    pub fn unknown() -> History {
        History { overflowed: true, ..History::default() }
    }

    /// Notes that an action was done, and to what.
    pub fn note(&mut self, action: Action, resource: &str) {
        self.note_fact(action.as_str());
        self.note_fact(&format!("{action}:{resource}"));
    }

    /// Notes a fact as it is written.
    pub fn note_fact(&mut self, fact: &str) {
        if self.facts.contains(fact) {
            return;
        }
        if self.facts.len() >= limits::HISTORY_FACTS || fact.len() > limits::HISTORY_FACT_BYTES {
            self.overflowed = true;
            return;
        }
        Arc::make_mut(&mut self.facts).insert(fact.into());
    }

    /// Takes facts out again: what is about to be done is not held against itself.
    pub fn leave_out(&mut self, facts: &[String]) {
        for fact in facts {
            if self.facts.contains(fact.as_str()) {
                Arc::make_mut(&mut self.facts).remove(fact.as_str());
            }
        }
    }

    /// Whether it holds a fact.
    pub fn holds(&self, fact: &str) -> bool {
        self.facts.contains(fact)
    }

    /// The facts, in order.
    pub fn facts(&self) -> impl Iterator<Item = &str> {
        self.facts.iter().map(|fact| &**fact)
    }

    /// Whether something was done, or may have been, that it does not hold.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }
}
