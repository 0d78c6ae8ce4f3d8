//! One tenant's history: every entry, the tree over them, and every claim about it, in one pass.

use std::collections::BTreeMap;

use eparch_domain::Digest;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::claims::{AnchorFile, Claim, read_note};
use super::report::{Finding, Report, TenantReport, Wrong};
use crate::entry::{SEQ_MAX, place, seq_of, to_sql};
use crate::note::VerifierKey;
use crate::read;
use crate::seal;
use crate::tree::{self, Frontier, Hash};

/// One tenant being verified.
pub(crate) struct History<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) tenant: &'a str,
    pub(crate) id: i64,
    pub(crate) keys: &'a [VerifierKey],
    /// The chain over boots, by epoch.
    pub(crate) boots: &'a [Hash],
    pub(crate) report: &'a mut Report,
}

impl History<'_> {
    /// Reads everything and reports.
    pub(crate) fn verify(mut self, anchors: &[AnchorFile]) -> TenantReport {
        let stored = self.checkpoints();
        self.compare(&stored, anchors);
        let mut claims: BTreeMap<u64, Vec<Claim>> = BTreeMap::new();
        let outside = anchors.iter().flat_map(|file| &file.claims);
        for (size, claim) in stored.iter().chain(outside) {
            let known = claims.entry(*size).or_default();
            if !known.contains(claim) {
                known.push(*claim);
            }
        }
        let frontier = self.entries(&claims);
        let documents = self.documents(frontier.size());
        self.claims_beside(&claims, &documents);
        self.work(frontier.size());
        let anchored = anchors.iter().filter_map(|file| file.claims.last_key_value());
        let anchored = anchored.map(|(size, _)| *size).max().unwrap_or(0);
        TenantReport {
            tenant: self.tenant.to_owned(),
            entries: frontier.size(),
            root: Digest::from_bytes(frontier.root()),
            checkpoints: claims.values().map(|claims| claims.len() as u64).sum(),
            anchored,
            beyond_last_anchor: frontier.size().saturating_sub(anchored),
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

    /// The valid checkpoints in the database.
    fn checkpoints(&mut self) -> BTreeMap<u64, Claim> {
        let mut claims = BTreeMap::new();
        let query = "SELECT size, root, note FROM checkpoint WHERE tenant = ?1 ORDER BY size";
        self.rows(query, Wrong::Checkpoint, |this, row| {
            let size = row.get::<_, i64>(0)?.unsigned_abs();
            let read = match row.get_ref(2)? {
                ValueRef::Text(note) => match std::str::from_utf8(note) {
                    Ok(note) => read_note(this.tenant, note, this.keys),
                    Err(_) => Err("its note is not text".to_owned()),
                },
                _ => Err("its note is not text".to_owned()),
            };
            match read {
                Ok((noted, claim)) if noted == size && row.get::<_, Hash>(1)? == claim.root => {
                    claims.insert(size, claim);
                }
                Ok(_) => {
                    this.found(
                        Wrong::Checkpoint,
                        None,
                        format!("checkpoint {size} does not say what its note says"),
                    );
                }
                Err(why) => this.found(Wrong::Checkpoint, None, format!("checkpoint {size}: {why}")),
            }
            Ok(())
        });
        claims
    }

    /// The database and every anchor file must have the same notes; a file may merely be behind.
    fn compare(&mut self, stored: &BTreeMap<u64, Claim>, anchors: &[AnchorFile]) {
        for file in anchors {
            let name = file.path.display();
            for (size, claim) in &file.claims {
                if stored.get(size).is_none_or(|known| known.note != claim.note) {
                    let what = format!("{name} has a checkpoint of {size} entries that the journal lacks");
                    self.found(Wrong::Checkpoint, None, what);
                }
            }
            let last = file.claims.last_key_value().map_or(0, |(size, _)| *size);
            for size in
                stored.range(..last).map(|(size, _)| size).filter(|size| !file.claims.contains_key(size))
            {
                let what = format!("{name} lacks the checkpoint of {size} entries between others");
                self.found(Wrong::Anchor, None, what);
            }
            let behind = stored.range(last + 1..).count();
            if behind > 0 {
                let notice = format!(
                    "{name} is {behind} checkpoints behind the journal; an opening brings it up to date"
                );
                self.report.notices.push(notice);
            }
        }
    }

    /// Recomputes the tree from the entries' bodies and compares it with every claim on the way.
    fn entries(&mut self, claims: &BTreeMap<u64, Vec<Claim>>) -> Frontier {
        let mut pass =
            Pass { bodies: Frontier::default(), leaves: None, good: 0, unsure: false, subtrees: 0 };
        let mut due = claims.iter().peekable();
        let connection = self.connection;
        let query = "SELECT place, body, leaf FROM entry WHERE place BETWEEN ?1 AND ?2 ORDER BY place";
        let read = connection.prepare(query).and_then(|mut rows| {
            let mut rows = rows.query([place(self.id, 0), place(self.id, SEQ_MAX)])?;
            while let Some(row) = rows.next()? {
                self.entry(&mut pass, row)?;
                let size = pass.bodies.size();
                while let Some((_, claims)) = due.next_if(|(claimed, _)| **claimed <= size) {
                    self.claimed(&mut pass, claims);
                }
            }
            Ok(())
        });
        if let Err(error) = read {
            let seq = pass.bodies.size() + 1;
            self.found(Wrong::File, Some(seq), format!("entry {seq} cannot be read: {error}"));
            pass.unsure = true;
        } else if let Some((cut, _)) = claims.last_key_value().filter(|(size, _)| **size > pass.bodies.size())
        {
            let (size, good) = (pass.bodies.size(), pass.good);
            let what = format!(
                "the history ends at entry {size}, but a signed checkpoint covers {cut}; the newest that still holds covers {good}"
            );
            self.found(Wrong::Cut, Some(size + 1), what);
        }
        self.count_subtrees(&pass);
        pass.bodies
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

    fn claimed(&mut self, pass: &mut Pass, claims: &[Claim]) {
        if pass.unsure {
            return;
        }
        let size = pass.bodies.size();
        let root = pass.bodies.root();
        // Where the stored leaves still have the signed root, the entries that differ from theirs are named already.
        let explained = pass.leaves.as_ref().map(Frontier::root);
        let good = |claim: &Claim| claim.root == root || Some(claim.root) == explained;
        if claims.iter().all(good) {
            pass.good = size;
        } else {
            let (from, to) = (pass.good + 1, size);
            let what = format!("entries from {from} to {to} are not those that were signed for");
            self.found(Wrong::Rewritten, Some(from), what);
            pass.unsure = true;
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
    fn documents(&mut self, head: u64) -> Vec<Hash> {
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

    /// What checkpoints say beside the root: documents and boots.
    fn claims_beside(&mut self, claims: &BTreeMap<u64, Vec<Claim>>, documents: &[Hash]) {
        let boots = self.boots;
        let holds = |chains: &[Hash], (count, chain): (u64, Hash)| {
            usize::try_from(count).is_ok_and(|count| chains.get(count) == Some(&chain))
        };
        for (size, claim) in
            claims.iter().flat_map(|(size, claims)| claims.iter().map(move |claim| (size, claim)))
        {
            if !documents.is_empty() && !holds(documents, claim.documents) {
                let count = claim.documents.0;
                let what = format!(
                    "the first {count} documents are not those that checkpoint {size} was signed for"
                );
                return self.found(Wrong::Document, None, what);
            }
            if !holds(boots, claim.boots) {
                let count = claim.boots.0;
                let what =
                    format!("the first {count} boots are not those that checkpoint {size} was signed for");
                return self.found(Wrong::Boot, None, what);
            }
        }
    }

    /// The outbox and the snapshots: not history, but nothing in the file goes unchecked.
    fn work(&mut self, head: u64) {
        let (mut effects, mut snapshots) = (seal::NOTHING, seal::NOTHING);
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
        let query = "SELECT seq, body, seal FROM snapshot WHERE tenant = ?1 ORDER BY seq";
        self.rows(query, Wrong::Snapshot, |this, row| {
            let seq: i64 = row.get(0)?;
            let seal = row.get::<_, Hash>(2)?;
            seal::toggle(&mut snapshots, &seal);
            let sealed =
                matches!(row.get_ref(1)?, ValueRef::Blob(body) if seal::snapshot(this.id, seq, body) == seal);
            if !sealed || !(0..=to_sql(head)).contains(&seq) {
                this.found(
                    Wrong::Snapshot,
                    None,
                    format!("the snapshot after entry {seq} is not what was saved"),
                );
            }
            Ok(())
        });
        match read::tally(self.connection, self.id) {
            Ok(tally) => {
                if tally.0 != effects {
                    self.found(
                        Wrong::Outbox,
                        None,
                        "the outbox has lost effects, or has some that were never written",
                    );
                }
                if tally.1 != snapshots {
                    self.found(
                        Wrong::Snapshot,
                        None,
                        "snapshots are missing, or are not those that were saved",
                    );
                }
            }
            Err(error) => self.found(Wrong::Outbox, None, super::file::chain(&error)),
        }
    }
}

/// Where the pass over the entries stands.
struct Pass {
    /// The tree of what the bodies hash to.
    bodies: Frontier,
    /// The tree of the stored leaves, once they differ.
    leaves: Option<Frontier>,
    /// The newest size at which every claim held.
    good: u64,
    /// Nothing can be said about roots any more.
    unsure: bool,
    /// Stored hashes that the entries explain.
    subtrees: u64,
}
