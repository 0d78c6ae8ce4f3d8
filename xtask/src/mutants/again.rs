//! Breaks those places again that no test noticed, and keeps of each what noticed it since: tests are added for what lives, and
//! hours need not be spent on all the others for that; and those that take long look at these alone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::page::{self, without_place};
use super::{RAW, of_kind, outcomes_of, places, read};
use crate::steps::{Problem, StepResult};
use crate::tree::{Tree, files_under};

/// `cargo xtask mutants --missed`.
pub(super) fn run(tree: &Tree) -> StepResult {
    let commit = tree.commit()?;
    let reading = |cause| Problem::while_doing("reading the raw files", &cause);
    let paths = files_under(&tree.path(RAW), ".json").map_err(reading)?;
    let mut shards = Vec::new();
    for path in paths {
        shards.push((path.clone(), read(&path)?));
    }
    let names: BTreeSet<String> =
        shards.iter().flat_map(|(_, shard)| page::missed(shard)).map(without_place).collect();
    if names.is_empty() {
        return Ok("none lives".to_owned());
    }
    // Wherever a name's place is by now.
    let there = places(tree)?;
    let again: Vec<&String> = there.iter().filter(|place| names.contains(&without_place(place))).collect();
    let outcomes = match again.is_empty() {
        // The tool has nothing to say of nothing.
        true => json!({ "outcomes": [] }),
        false => outcomes_of(tree, "mutants-missed", &there, &again)?,
    };
    for (path, shard) in &mut shards {
        settle(shard, &outcomes, &commit);
        let text = serde_json::to_string_pretty(shard)
            .map_err(|cause| Problem::while_doing("writing a raw file", &cause))?;
        let shown = path.strip_prefix(tree.root()).unwrap_or(path).display().to_string();
        tree.write(&shown, &format!("{text}\n"))?;
    }
    let note = page::write(tree)?;
    Ok(format!("{} were broken again; {note}", again.len()))
}

/// Moves from those that live what was noticed this time, everywhere it can be under that name, and what is no more.
fn settle(shard: &mut Value, outcomes: &Value, commit: &str) {
    let named =
        |kind: &str| -> BTreeSet<String> { of_kind(outcomes, kind).into_iter().map(without_place).collect() };
    let lives = named("MissedMutant");
    let noticed: BTreeSet<String> = named("CaughtMutant").union(&named("Timeout")).cloned().collect();
    let before: Vec<String> = page::missed(shard).map(str::to_owned).collect();
    let mut keep = |key: &str, name: &str| {
        let entry = json!({ "name": name, "commit": commit });
        match shard[key].as_array_mut() {
            Some(all) => all.push(entry),
            None => shard[key] = json!([entry]),
        }
    };
    let mut missed = Vec::new();
    for name in before {
        let key = without_place(&name);
        if lives.contains(&key) {
            missed.push(name);
        } else if noticed.contains(&key) {
            keep("noticed_since", &name);
        } else {
            keep("gone_since", &name);
        }
    }
    shard["missed"] = json!(missed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lived_lives_on_was_noticed_or_is_gone() {
        let mutant = |name: &str, summary: &str| json!({ "scenario": { "Mutant": { "name": name } }, "summary": summary });
        let outcomes = json!({ "outcomes": [
            mutant("a.rs:9:9: delete ! in f", "MissedMutant"),
            mutant("a.rs:19:9: delete ! in f", "CaughtMutant"),
            mutant("a.rs:12:4: replace c with d", "CaughtMutant"),
            mutant("b.rs:1:1: replace += with *=", "Timeout"),
        ] });
        let mut shard = json!({ "caught": 5, "timed_out": 0, "missed": [
            "a.rs:1:2: delete ! in f", "a.rs:3:4: replace c with d", "b.rs:7:7: replace += with *=", "c.rs:1:1: gone",
        ] });
        settle(&mut shard, &outcomes, "abc");
        assert_eq!(shard["missed"], json!(["a.rs:1:2: delete ! in f"]));
        let since = [("a.rs:3:4: replace c with d"), ("b.rs:7:7: replace += with *=")];
        assert_eq!(shard["noticed_since"], json!(since.map(|name| json!({ "name": name, "commit": "abc" }))));
        assert_eq!(shard["gone_since"], json!([{ "name": "c.rs:1:1: gone", "commit": "abc" }]));
    }
}
