//! Breaks what was not broken yet. A shard is every so manieth place of one commit: the shards of several commits overlap, and leave
//! gaps. What each raw file broke it names, and what none names is the rest.

use std::collections::BTreeMap;

use serde_json::Value;

use super::page::{self, without_place};
use super::{RAW, outcomes_of, places, raw, read};
use crate::steps::{Problem, StepResult};
use crate::tree::{Tree, files_under};

/// What is known of the whole, for the page: one sentence.
pub(super) const WHOLE: &str = "bench/mutants/whole.txt";

/// `cargo xtask mutants --rest N`: so many of the rest, from all over it; with 0 it is only counted.
pub(super) fn run(tree: &Tree, most: usize) -> StepResult {
    let commit = tree.commit()?;
    let (there, mut kept) = (places(tree)?, Vec::new());
    let reading = |cause| Problem::while_doing("reading the raw files", &cause);
    for path in files_under(&tree.path(RAW), ".json").map_err(reading)? {
        kept.push(read(&path)?);
    }
    let rest = rest(&there, &kept);
    let now = spread(&rest, most);
    if !now.is_empty() {
        let outcomes = outcomes_of(tree, "mutants", &there, &now)?;
        let name = (1..).map(|number| format!("rest-{number}"));
        let name = name.into_iter().find(|name| !tree.path(&format!("{RAW}/{name}.json")).exists());
        let name = name.expect("there is always a next number");
        let raw = raw(&outcomes, &name, &format!("cargo xtask mutants --rest {most}"), &commit)?;
        let text = serde_json::to_string_pretty(&raw)
            .map_err(|cause| Problem::while_doing("writing a raw file", &cause))?;
        tree.write(&format!("{RAW}/{name}.json"), &format!("{text}\n"))?;
        kept.push(raw);
    }
    let left = self::rest(&there, &kept).len();
    tree.write(WHOLE, &whole(&commit, there.len(), left))?;
    let note = page::write(tree)?;
    Ok(format!("{left} of {} are not broken yet; {note}", there.len()))
}

fn whole(commit: &str, there: usize, left: usize) -> String {
    match left {
        0 => format!("Of the {there} places that there are at `{commit}`, each has been broken.\n"),
        left => format!(
            "Of the {there} places that there are at `{commit}`, {left} have not been broken yet: the files are of\n\
             several commits, so that some have the same place, and others none.\n"
        ),
    }
}

/// What no file names. Places move, so that they are compared without; of several that are called the same, as many are broken as
/// files name.
fn rest(there: &[String], kept: &[Value]) -> Vec<String> {
    let named = kept.iter().flat_map(|raw| raw["names"].as_array().into_iter().flatten());
    let mut broken: BTreeMap<String, usize> = BTreeMap::new();
    for name in named.filter_map(Value::as_str) {
        *broken.entry(without_place(name)).or_default() += 1;
    }
    let is_left = |name: &&String| match broken.get_mut(&without_place(name)) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    };
    there.iter().filter(is_left).cloned().collect()
}

/// So many, from all over.
fn spread(all: &[String], most: usize) -> Vec<&String> {
    let most = most.min(all.len());
    (0..most).map(|number| &all[number * all.len() / most]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rest_is_what_no_file_names_wherever_it_stands_now() {
        let there = ["a.rs:1:1: x", "a.rs:2:1: x", "a.rs:3:1: x", "b.rs:1:1: y"].map(str::to_owned);
        let kept = [json!({ "names": ["a.rs:9:9: x", "c.rs:1:1: z"] }), json!({ "names": ["a.rs:7:7: x"] })];
        assert_eq!(rest(&there, &kept), ["a.rs:3:1: x", "b.rs:1:1: y"]);
        assert_eq!(rest(&there, &[json!({})]), there);
    }

    #[test]
    fn some_of_the_rest_are_from_all_over_it_and_none_is_there_twice() {
        let all: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(spread(&all, 4), ["0", "2", "5", "7"]);
        assert_eq!(spread(&all, 20).len(), 10);
        assert!(spread(&all, 0).is_empty() && spread(&[], 3).is_empty());
    }

    #[test]
    fn the_page_is_told_how_much_of_the_whole_there_is() {
        assert!(whole("abc", 10, 3).contains("10 places that there are at `abc`, 3 have not"));
        assert!(whole("abc", 10, 0).contains("each has been broken"));
    }
}
