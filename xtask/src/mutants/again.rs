//! Breaks those places again that no test noticed, and keeps of each what noticed it since: tests are added for what lives, and
//! hours need not be spent on all the others for that; and those that take long look at these alone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::page::{self, without_place};
use super::{RAW, of_kind, outcomes, read};
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
    let which: Vec<String> = names.iter().flat_map(|name| ["--re".to_owned(), pattern(name)]).collect();
    let outcomes = outcomes(tree, "mutants-missed", &which)?;
    for (path, shard) in &mut shards {
        settle(shard, &outcomes, &commit);
        let text = serde_json::to_string_pretty(shard)
            .map_err(|cause| Problem::while_doing("writing a raw file", &cause))?;
        let shown = path.strip_prefix(tree.root()).unwrap_or(path).display().to_string();
        tree.write(&shown, &format!("{text}\n"))?;
    }
    let note = page::write(tree)?;
    Ok(format!("{} were broken again; {note}", names.len()))
}

/// What finds a mutant by its name without its place: wherever that is by now.
fn pattern(name: &str) -> String {
    let Some((file, what)) = name.split_once(':') else { return escaped(name) };
    format!("^{}:[0-9]+:[0-9]+:{}$", escaped(file), escaped(what))
}

pub(super) fn escaped(text: &str) -> String {
    let escape = |letter: char| match r"\.+*?()|[]{}^$#&-~".contains(letter) {
        true => format!("\\{letter}"),
        false => letter.to_string(),
    };
    text.chars().map(escape).collect()
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

    #[test]
    fn a_name_is_found_wherever_it_stands_and_nothing_else_is() {
        let pattern = pattern("src/a.rs: replace + with * in <impl X for Y<'_>>::z");
        assert_eq!(pattern, r"^src/a\.rs:[0-9]+:[0-9]+: replace \+ with \* in <impl X for Y<'_>>::z$");
    }
}
