//! What somebody looks at before they approve policies: what would change, in the words of the policies themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use eparch_daemon::wire::OfferedPolicies;
use eparch_domain::Digest;
use eparch_policy::{PolicySet, Rule};
use serde_json::json;

use super::load;
use crate::args::WaitingPolicies;
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::paint;
use crate::when;

/// `eparch policy waiting`.
pub(super) async fn carry_out(context: &Context, asked: &WaitingPolicies) -> Result<u8, Failure> {
    let offered: OfferedPolicies = Desk::open(context)?.get("/api/policies/waiting").await?;
    let waits = &offered.waiting;
    // What is shown is what is approved, whoever sent it.
    if Digest::of(offered.document.as_bytes()) != waits.digest {
        let message = format!("what the holder shows is not {}", waits.digest);
        return Err(Failure::new("EP0816", message).hint("approve nothing that was not shown"));
    }
    let new = read(&offered.document)?;
    let old = offered.in_force.as_deref().map(read).transpose()?;
    if let Some(dir) = &asked.write {
        write(&new, dir)?;
    }
    let changes = changes(old.as_ref(), &new);
    if context.is_json() {
        let changed: Vec<_> = changes.iter().map(Change::to_json).collect();
        print_json(&json!({ "waiting": waits, "changes": changed, "policies": new.rules().len() }))?;
        return Ok(exit::DONE);
    }
    let count = new.rules().len();
    outln!("{count} policies, offered by {} {}", waits.offered_by, when::ago(waits.at));
    changes.iter().for_each(Change::tell);
    if changes.is_empty() {
        outln!("No policy changes: files differ in their names, their order or what is no policy.");
    }
    outln!();
    load::tell(waits);
    if let Some(dir) = &asked.write {
        outln!("Their files are in {}; `eparch policy test FILE --policies DIR` asks them.", dir.display());
    }
    Ok(exit::DONE)
}

fn read(document: &str) -> Result<PolicySet, Failure> {
    PolicySet::from_bytes(document.as_bytes()).map_err(|problem| {
        Failure::new("EP0811", format!("what the holder shows cannot be read: {problem}"))
            .hint("`eparch version` of whoever looks and of the holder have to be the same")
    })
}

/// A policy that would be another one.
#[derive(Debug)]
struct Change<'s> {
    old: Option<&'s Rule>,
    new: Option<&'s Rule>,
}

/// Every policy that would come, go or say something else, by id.
fn changes<'s>(old: Option<&'s PolicySet>, new: &'s PolicySet) -> Vec<Change<'s>> {
    let mut all: BTreeMap<&str, Change<'s>> = BTreeMap::new();
    for rule in old.into_iter().flat_map(PolicySet::rules) {
        all.insert(&rule.id, Change { old: Some(rule), new: None });
    }
    for rule in new.rules() {
        all.entry(&rule.id).or_insert(Change { old: None, new: None }).new = Some(rule);
    }
    all.into_values().filter(|change| said(change.old) != said(change.new)).collect()
}

/// What a policy says.
fn said(rule: Option<&Rule>) -> Option<&str> {
    rule.map(|rule| rule.text.trim())
}

impl Change<'_> {
    fn what(&self) -> &'static str {
        match (self.old, self.new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let rule = self.new.or(self.old);
        json!({
            "policy": rule.map(|rule| rule.id.to_string()),
            "change": self.what(),
            "old": said(self.old),
            "new": said(self.new),
        })
    }

    fn tell(&self) {
        let paint = paint::out();
        let Some(rule) = self.new.or(self.old) else { return };
        let place = paint::harmless(&format!("{}:{}", rule.file, rule.line)).into_owned();
        outln!("\n{} {} ({place})", self.what(), paint.bold(&rule.id));
        let lines = |rule: Option<&Rule>| -> Vec<String> {
            let text = said(rule).map(paint::harmless_lines);
            text.unwrap_or_default().lines().map(str::to_owned).collect()
        };
        let (old, new) = (lines(self.old), lines(self.new));
        let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let tails = old[head..].iter().rev().zip(new[head..].iter().rev());
        let tail = tails.take_while(|(old, new)| old == new).count();
        old[..head].iter().for_each(|line| outln!("    {line}"));
        old[head..old.len() - tail].iter().for_each(|line| outln!("{}", paint.bad(&format!("  - {line}"))));
        new[head..new.len() - tail].iter().for_each(|line| outln!("{}", paint.good(&format!("  + {line}"))));
        old[old.len() - tail..].iter().for_each(|line| outln!("    {line}"));
    }
}

/// Writes the files into a new folder, by the last part of their names, which have to differ.
fn write(set: &PolicySet, dir: &Path) -> Result<(), Failure> {
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::new("EP0712", format!("cannot write the policies to {}: {why}", dir.display()))
            .hint("name a folder that is not there yet")
    };
    let mut files = BTreeMap::new();
    for (name, text) in set.files() {
        let last = Path::new(&name).file_name().ok_or_else(|| cannot(&"a file of them has no name"))?;
        if files.insert(last.to_owned(), text).is_some() {
            return Err(cannot(&format!("two files of them have the name {}", Path::new(last).display())));
        }
    }
    fs::create_dir(dir).map_err(|problem| cannot(&problem))?;
    for (name, text) in files {
        fs::write(dir.join(name), text).map_err(|problem| cannot(&problem))?;
    }
    Ok(())
}
