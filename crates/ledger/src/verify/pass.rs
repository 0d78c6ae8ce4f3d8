//! What is remembered while a tenant's entries are read.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Frontier, Hash};

/// Where the pass over the entries stands.
pub(crate) struct Pass {
    /// The tree of what the bodies hash to.
    pub(crate) bodies: Frontier,
    /// The tree of the stored leaves, once they differ.
    pub(crate) leaves: Option<Frontier>,
    /// The newest size at which every claim held.
    pub(crate) good: u64,
    /// Nothing can be said about roots any more.
    pub(crate) unsure: bool,
    /// Stored hashes that the entries explain.
    pub(crate) subtrees: u64,
    /// Claims that were met.
    pub(crate) checkpoints: u64,
    /// The newest size at which a claim from outside the database held, one from outside the home, and one from where
    /// whoever verifies said that it lies.
    pub(crate) anchored: u64,
    pub(crate) anchored_outside_home: u64,
    pub(crate) anchored_independently: u64,
    /// Documents or boots are not what was signed for.
    pub(crate) differs_beside: bool,
    /// Sizes at which states were saved.
    pub(crate) saved: BTreeSet<u64>,
    /// The roots there: of the bodies, and of the stored leaves where they differ.
    pub(crate) roots: BTreeMap<u64, Vec<Hash>>,
}

impl Pass {
    pub(crate) fn new(saved: BTreeSet<u64>) -> Pass {
        Pass {
            bodies: Frontier::default(),
            leaves: None,
            good: 0,
            unsure: false,
            subtrees: 0,
            checkpoints: 0,
            anchored: 0,
            anchored_outside_home: 0,
            anchored_independently: 0,
            differs_beside: false,
            saved,
            roots: BTreeMap::new(),
        }
    }

    /// Remembers the root where a state was saved.
    pub(crate) fn remember(&mut self) {
        let size = self.bodies.size();
        if !self.unsure && self.saved.contains(&size) {
            let roots = std::iter::once(self.bodies.root()).chain(self.leaves.as_ref().map(Frontier::root));
            self.roots.insert(size, roots.collect());
        }
    }
}
