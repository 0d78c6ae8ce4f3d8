//! One tenant's history: every entry, the tree over them, and every claim about it, in one pass.

use std::collections::BTreeSet;

use eparch_domain::Digest;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::anchors::{AnchorFile, Place};
use super::claims::{About, Claim, Claimed, Claims, FileClaims};
use super::pass::Pass;
use super::report::{Finding, Report, TenantReport, Wrong};
use crate::entry::{SEQ_MAX, place, seq_of, to_sql};
use crate::note::VerifierKey;
use crate::read;
use crate::seal;
use crate::snapshots::{self, Found, Snapshots};
use crate::tree::{self, Frontier, Hash};

/// One tenant being verified.
pub(crate) struct History<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) tenant: &'a str,
    pub(crate) id: i64,
    pub(crate) keys: &'a [VerifierKey],
    /// The chain over boots, by epoch.
    pub(crate) boots: &'a [Hash],
    pub(crate) snapshots: &'a Snapshots,
    /// The seqs of saved states, as they were before the journal was read.
    pub(crate) saved: BTreeSet<u64>,
    pub(crate) report: &'a mut Report,
}

impl History<'_> {
    /// Reads everything and reports.
    pub(crate) fn verify(mut self, anchors: &[AnchorFile]) -> TenantReport {
        let documents = self.documents();
        let mut pass = Pass::new(self.saved.clone());
        let about = About { tenant: self.tenant, keys: self.keys };
        let files = anchors.iter().map(|file| FileClaims::open(about, file, self.report)).collect();
        let connection = self.connection;
        let query = "SELECT size, root, note FROM checkpoint WHERE tenant = ?1 ORDER BY size";
        let mut stored = connection.prepare(query);
        let stored = match &mut stored {
            Ok(stored) => stored.query([self.id]),
            Err(error) => Err(std::mem::replace(error, rusqlite::Error::InvalidQuery)),
        };
        let stored = match stored {
            Ok(stored) => Some(stored),
            Err(error) => {
                self.found(Wrong::Checkpoint, None, format!("the checkpoints cannot be read: {error}"));
                None
            }
        };
        let mut claims = Claims::new(about, stored, files, self.report);
        self.entries(&mut pass, &mut claims, &documents);
        // The writer signs a tenant's first entries in the commit that adds them: without any checkpoint, they are not its.
        if pass.bodies.size() > 0 && claims.believed == 0 {
            let seq = (pass.checkpoints == 0).then_some(1);
            let entries = pass.bodies.size();
            self.found(
                Wrong::Checkpoint,
                seq,
                format!("the journal has {entries} entries and no signed checkpoint of them"),
            );
        }
        self.outbox(&pass);
        self.saved_states(&pass);
        TenantReport {
            tenant: self.tenant.to_owned(),
            entries: pass.bodies.size(),
            root: Digest::from_bytes(pass.bodies.root()),
            checkpoints: pass.checkpoints,
            anchored: pass.anchored,
            anchored_outside_home: pass.anchored_outside_home,
            anchored_independently: pass.anchored_independently,
            beyond_last_anchor: pass.bodies.size().saturating_sub(pass.anchored),
            beyond_last_checkpoint: pass.bodies.size().saturating_sub(pass.good),
        }
    }

    fn found(&mut self, wrong: Wrong, seq: Option<u64>, what: impl Into<String>) {
        self.report.add(Finding { wrong, tenant: Some(self.tenant.to_owned()), seq, what: what.into() });
    }

    /// Calls `each` with every row of a query by this tenant, and reports when one cannot be read.
    fn rows(
        &mut self,
        query: &str,
        wrong: Wrong,
        mut each: impl FnMut(&mut Self, &Row<'_>) -> Result<(), rusqlite::Error>,
    ) {
        let connection = self.connection;
        let read = connection.prepare(query).and_then(|mut rows| {
            let mut rows = rows.query([self.id])?;
            while let Some(row) = rows.next()? {
                each(self, row)?;
            }
            Ok(())
        });
        if let Err(error) = read {
            self.found(wrong, None, format!("a row cannot be read: {error}"));
        }
    }

    /// Recomputes the tree from the entries' bodies and compares it with every claim on the way.
    fn entries(&mut self, pass: &mut Pass, claims: &mut Claims<'_>, documents: &[Hash]) {
        let connection = self.connection;
        let query = "SELECT place, body, leaf FROM entry WHERE place BETWEEN ?1 AND ?2 ORDER BY place";
        let read = connection.prepare(query).and_then(|mut rows| {
            let mut rows = rows.query([place(self.id, 0), place(self.id, SEQ_MAX)])?;
            pass.remember();
            while let Some(row) = rows.next()? {
                self.entry(pass, row)?;
                pass.remember();
                while claims.size().is_some_and(|claimed| claimed <= pass.bodies.size()) {
                    let Some(claimed) = claims.next(self.report) else { break };
                    self.claimed(pass, &claimed, documents);
                }
            }
            Ok(())
        });
        let size = pass.bodies.size();
        if let Err(error) = read {
            let seq = size + 1;
            self.found(Wrong::File, Some(seq), format!("entry {seq} cannot be read: {error}"));
            pass.unsure = true;
        }
        let mut cut = None;
        while let Some(claimed) = claims.next(self.report) {
            cut = Some(claimed.size);
            self.beside(pass, &claimed, documents);
        }
        // After a gap the entries are counted from there on, and the last one's number says nothing.
        if let Some(cut) = cut.filter(|_| !pass.unsure) {
            let good = pass.good;
            let what = format!(
                "the history ends at entry {size}, but a signed checkpoint covers {cut}; the newest that still holds covers {good}"
            );
            self.found(Wrong::Cut, Some(size + 1), what);
        }
        self.count_subtrees(pass);
    }

    fn entry(&mut self, pass: &mut Pass, row: &Row<'_>) -> Result<(), rusqlite::Error> {
        let seq = seq_of(row.get(0)?);
        let expected = pass.bodies.size() + 1;
        if seq != expected && !pass.unsure {
            // From here on nothing stands where it stood; the claims would all fail for this one reason.
            let what = format!("entry {expected} is missing; the next one is {seq}");
            self.found(Wrong::Gap, Some(expected), what);
            pass.unsure = true;
        }
        let (ValueRef::Blob(body), ValueRef::Blob(stored)) = (row.get_ref(1)?, row.get_ref(2)?) else {
            self.found(Wrong::Entry, Some(seq), format!("entry {seq} has values of another type"));
            pass.unsure = true;
            pass.bodies.push([0; 32], |_| ());
            return Ok(());
        };
        let leaf = tree::leaf_hash(body);
        let told = if leaf == stored {
            leaf
        } else {
            self.found(Wrong::Entry, Some(seq), format!("entry {seq} is not what was written"));
            pass.leaves.get_or_insert_with(|| pass.bodies.clone());
            stored.try_into().unwrap_or([0; 32])
        };
        let mut completed = Vec::new();
        let mut told_instead = Vec::new();
        pass.bodies.push(leaf, |subtree| completed.push(subtree));
        if let Some(leaves) = &mut pass.leaves {
            leaves.push(told, |subtree| told_instead.push(subtree));
        }
        for (index, subtree) in completed.into_iter().enumerate() {
            let stored: Option<Hash> = self
                .connection
                .prepare_cached("SELECT hash FROM subtree WHERE tenant = ?1 AND level = ?2 AND idx = ?3")?
                .query_row(params![self.id, subtree.level, to_sql(subtree.index)], |row| row.get(0))
                .optional()?;
            pass.subtrees += u64::from(stored.is_some());
            let explained = told_instead.get(index).map(|subtree| subtree.hash);
            let known = stored.is_some() && (stored == Some(subtree.hash) || stored == explained);
            if !known && !pass.unsure {
                let (level, index) = (subtree.level, subtree.index);
                let what = format!(
                    "hash {index} of level {level} of the tree, completed by entry {seq}, is missing or wrong"
                );
                self.found(Wrong::Tree, None, what);
            }
        }
        Ok(())
    }

    fn claimed(&mut self, pass: &mut Pass, claimed: &Claimed, documents: &[Hash]) {
        self.beside(pass, claimed, documents);
        if pass.unsure {
            return;
        }
        let size = pass.bodies.size();
        let root = pass.bodies.root();
        // Where the stored leaves still have the signed root, the entries that differ from theirs are named already.
        let explained = pass.leaves.as_ref().map(Frontier::root);
        let good = |claim: &Claim| claim.root == root || Some(claim.root) == explained;
        if claimed.claims.iter().all(good) {
            pass.good = size;
            if claimed.outside.is_some() {
                pass.anchored = size;
            }
            if claimed.outside >= Some(Place::Outside) {
                pass.anchored_outside_home = size;
            }
            if claimed.outside == Some(Place::Independent) {
                pass.anchored_independently = size;
            }
        } else {
            let (from, to) = (pass.good + 1, size);
            let what = format!("entries from {from} to {to} are not those that were signed for");
            self.found(Wrong::Rewritten, Some(from), what);
            pass.unsure = true;
        }
    }

    /// What checkpoints say beside the root: documents and boots. One that differs is told, and none after it.
    fn beside(&mut self, pass: &mut Pass, claimed: &Claimed, documents: &[Hash]) {
        let boots = self.boots;
        let holds = |chains: &[Hash], (count, chain): (u64, Hash)| {
            usize::try_from(count).is_ok_and(|count| chains.get(count) == Some(&chain))
        };
        let size = claimed.size;
        pass.checkpoints += claimed.claims.len() as u64;
        for claim in &claimed.claims {
            let (wrong, count, what) = if !documents.is_empty() && !holds(documents, claim.documents) {
                (Wrong::Document, claim.documents.0, "documents")
            } else if !holds(boots, claim.boots) {
                (Wrong::Boot, claim.boots.0, "boots")
            } else {
                continue;
            };
            if !std::mem::replace(&mut pass.differs_beside, true) {
                let what =
                    format!("the first {count} {what} are not those that checkpoint {size} was signed for");
                self.found(wrong, None, what);
            }
        }
    }

    fn count_subtrees(&mut self, pass: &Pass) {
        let count =
            self.connection.query_row("SELECT count(*) FROM subtree WHERE tenant = ?1", [self.id], |row| {
                row.get::<_, i64>(0)
            });
        match count {
            Ok(count) if count == to_sql(pass.subtrees) || pass.unsure => {}
            Ok(count) => {
                let extra = count - to_sql(pass.subtrees);
                self.found(
                    Wrong::Tree,
                    None,
                    format!("the tree has {extra} hashes more than the entries explain"),
                );
            }
            Err(error) => self.found(Wrong::File, None, format!("the tree cannot be read: {error}")),
        }
    }

    /// Recomputes the chain over documents; index 0 is the chain before the first.
    fn documents(&mut self) -> Vec<Hash> {
        // Where that cannot be read, the entries say so.
        let head = read::head(self.connection, self.id).unwrap_or(u64::MAX);
        let mut chains = vec![seal::START];
        let mut broken = false;
        let query = "SELECT no, seq, digest, kind, bytes, chain FROM document WHERE tenant = ?1 ORDER BY no";
        self.rows(query, Wrong::Document, |this, row| {
            if broken {
                return Ok(());
            }
            let no = chains.len() as u64;
            let before = chains[chains.len() - 1];
            let (found, seq): (i64, i64) = (row.get(0)?, row.get(1)?);
            let digest: Hash = row.get(2)?;
            let kind: String = row.get(3)?;
            let sound =
                matches!(row.get_ref(4)?, ValueRef::Blob(bytes) if Digest::of(bytes).as_bytes() == &digest);
            let chain = seal::document(&before, found, seq, &digest, &kind);
            if found != to_sql(no) || !sound || row.get::<_, Hash>(5)? != chain {
                this.found(
                    Wrong::Document,
                    None,
                    format!("document {no} is missing or not what was written"),
                );
                broken = true;
            } else if seq.unsigned_abs() > head {
                this.found(
                    Wrong::Document,
                    None,
                    format!("document {no} came with entry {seq}, which is not there"),
                );
            }
            chains.push(chain);
            Ok(())
        });
        if broken {
            // The claims about later documents would all fail for this one reason.
            chains.clear();
        }
        chains
    }

    /// The outbox: not history, but nothing in the file goes unchecked.
    fn outbox(&mut self, pass: &Pass) {
        let head = pass.bodies.size();
        let mut effects = seal::NOTHING;
        let query = "SELECT seq, idx, seal FROM outbox WHERE tenant = ?1 ORDER BY seq, idx";
        self.rows(query, Wrong::Outbox, |this, row| {
            let (seq, idx): (i64, i64) = (row.get(0)?, row.get(1)?);
            let seal = row.get::<_, Hash>(2)?;
            seal::toggle(&mut effects, &seal);
            if seal != seal::outbox(this.id, seq, idx) || !(1..=to_sql(head)).contains(&seq) {
                this.found(
                    Wrong::Outbox,
                    None,
                    format!("effect {seq}/{idx} in the outbox was never written"),
                );
            }
            Ok(())
        });
        match read::tally(self.connection, self.id) {
            Ok(tally) if tally == effects => {}
            Ok(_) => {
                let what = "the outbox has lost effects, or has some that were never written";
                self.found(Wrong::Outbox, None, what);
            }
            Err(error) => self.found(Wrong::Outbox, None, eparch_domain::in_full(&error)),
        }
    }

    /// The states that were saved beside the journal: each is what was signed for the entries before it, or gone since.
    fn saved_states(&mut self, pass: &Pass) {
        for seq in std::mem::take(&mut self.saved) {
            let wrong = match self.snapshots.read(self.id, seq) {
                Ok(None) => continue,
                Ok(Some(found)) if self.is_signed(pass, seq, &found) => continue,
                Ok(Some(_)) => "is not what was saved".to_owned(),
                Err(error) => format!("cannot be read ({error})"),
            };
            let file = self.snapshots.path(self.id, seq);
            let what = format!("the snapshot after entry {seq} {wrong}: remove {}", file.display());
            self.found(Wrong::Snapshot, None, what);
        }
    }
}

impl History<'_> {
    /// Whether a saved state was signed for the entries before it; true where nothing can be said about those.
    fn is_signed(&self, pass: &Pass, seq: u64, found: &Found) -> bool {
        let Some(roots) = pass.roots.get(&seq) else { return pass.unsure };
        let is_of = |root: &Hash| {
            found.is_signed(self.tenant, seq, &snapshots::Place::new(self.id, *root), self.keys)
        };
        roots.iter().any(is_of)
    }
}
