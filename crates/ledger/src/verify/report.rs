//! What a verification found.

use eparch_domain::Digest;
use serde::Serialize;

/// Findings kept in a report; later ones are only counted, but for the one with the lowest place. That is what matters,
/// the rest shows the extent.
const KEPT: usize = 100;

/// The outcome of a verification.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Each tenant that was looked at, by name.
    pub tenants: Vec<TenantReport>,
    /// True when a checkpoint from outside the home, in a folder that whoever verifies named, holds for every tenant that
    /// has a history: only such a one binds somebody who controls the whole home.
    pub anchors_outside_home: bool,
    /// True when a checkpoint from outside the home holds for every tenant that has a history, even if only the home says
    /// where it lies.
    pub witnessed: bool,
    /// What is wrong, at most a hundred, in the order of finding; the lowest place is always among them.
    pub findings: Vec<Finding>,
    /// Findings past those.
    pub more: u64,
    /// What is not wrong but worth knowing, such as an anchor folder that could not be read.
    pub notices: Vec<String>,
}

/// One tenant's history.
#[derive(Debug, Clone, Serialize)]
pub struct TenantReport {
    /// Its name.
    pub tenant: String,
    /// Entries that were read.
    pub entries: u64,
    /// The root over them, recomputed from their bodies.
    pub root: Digest,
    /// Checkpoints checked, in the database and outside; the same note in two places counts once.
    pub checkpoints: u64,
    /// How many entries the newest checkpoint outside the database covers that holds.
    pub anchored: u64,
    /// How many entries the newest checkpoint outside the home covers that holds.
    pub anchored_outside_home: u64,
    /// How many entries the newest checkpoint covers that holds and lies outside the home in a folder that whoever
    /// verifies named.
    pub anchored_independently: u64,
    /// Entries that nothing outside the database vouches for.
    pub beyond_last_anchor: u64,
    /// Entries that no signed checkpoint covers, wherever it lies: nothing vouches for them.
    pub beyond_last_checkpoint: u64,
}

/// What is wrong, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// The file's own structure is damaged.
    File,
    /// Tables or triggers are not those of this version.
    Schema,
    /// An entry is not what was written.
    Entry,
    /// An entry is missing between others.
    Gap,
    /// The newest entries are missing.
    Cut,
    /// Entries were replaced and their hashes recomputed.
    Rewritten,
    /// A stored hash of the tree is wrong.
    Tree,
    /// A document is missing or not what was written.
    Document,
    /// A checkpoint in the database is missing or wrong.
    Checkpoint,
    /// A checkpoint outside is wrong.
    Anchor,
    /// The record of boots is wrong.
    Boot,
    /// The list of tenants is wrong.
    Tenant,
    /// The outbox is damaged.
    Outbox,
    /// A snapshot is damaged.
    Snapshot,
}

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What, in a word.
    pub wrong: Wrong,
    /// Whose history; `None` for the file as a whole.
    pub tenant: Option<String>,
    /// The first seq that cannot be relied on, where one can be named.
    pub seq: Option<u64>,
    /// What and where, in a sentence.
    pub what: String,
}

impl Report {
    /// True when nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The finding to show first: the lowest seq of the first tenant concerned, else the first of any kind.
    pub fn first_bad(&self) -> Option<&Finding> {
        let placed = self.findings.iter().filter(|finding| finding.seq.is_some());
        placed.min_by_key(|finding| (&finding.tenant, finding.seq)).or_else(|| self.findings.first())
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        if self.findings.len() < KEPT {
            self.findings.push(finding);
            return;
        }
        self.more += 1;
        let place = |finding: &Finding| finding.seq.map(|seq| (finding.tenant.clone(), seq));
        let lowest = self.first_bad().and_then(place);
        if place(&finding).is_some_and(|place| lowest.is_none_or(|lowest| place < lowest)) {
            self.findings[KEPT - 1] = finding;
        }
    }

    /// Something about the file as a whole.
    pub(crate) fn file(&mut self, wrong: Wrong, what: impl Into<String>) {
        self.add(Finding { wrong, tenant: None, seq: None, what: what.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r121_the_lowest_place_is_kept_whatever_was_found_before_it() {
        let mut report = Report::default();
        let found =
            |seq| Finding { wrong: Wrong::Entry, tenant: Some("acme".to_owned()), seq, what: String::new() };
        (0..150).for_each(|_| report.add(found(None)));
        for seq in [900, 40, 500, 17, 18] {
            report.add(found(Some(seq)));
        }
        assert_eq!(report.first_bad().unwrap().seq, Some(17));
        assert_eq!((report.findings.len(), report.more), (100, 55));
    }
}
