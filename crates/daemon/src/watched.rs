//! How often watched policies (`@shadow`) spoke, and what was decided meanwhile: what whoever thinks of enforcing one wants to know
//! first. Counted since this holder began; the record has each of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use eparch_governor::Fact;

use crate::api::wire::WatchedShown;
use crate::driver::Done;

/// Kinds of what is counted, at most: some hundred policies, each with what it says and what was decided.
const KINDS: usize = 1_024;

/// By policy, what it would have said, and what was decided.
#[derive(Default)]
pub(crate) struct Watched(Mutex<BTreeMap<(String, &'static str, &'static str), u64>>);

impl Watched {
    /// Counts what watched policies said beside one decision.
    pub(crate) fn committed(&self, done: &Done) {
        for fact in &done.record.decision.facts {
            let Fact::ActionDecided(ruled) = fact else { continue };
            for shadow in &ruled.verdict.shadowed {
                let decided = ruled.verdict.decision.as_str();
                let kind = (shadow.policy.to_string(), shadow.decision.as_str(), decided);
                let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if counts.len() < KINDS || counts.contains_key(&kind) {
                    *counts.entry(kind).or_default() += 1;
                }
            }
        }
    }

    /// What was counted so far.
    pub(crate) fn shown(&self) -> Vec<WatchedShown> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = |((policy, would, decided), times): (&(String, &str, &str), &u64)| WatchedShown {
            policy: policy.clone(),
            would: (*would).to_owned(),
            decided: (*decided).to_owned(),
            times: *times,
        };
        counts.iter().map(shown).collect()
    }
}
