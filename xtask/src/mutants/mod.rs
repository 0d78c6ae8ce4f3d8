//! Tests of the tests: one place after the other is broken in a copy of the tree, and a test has to notice. Hours for all of
//! it, so on demand and in shards; what came out is kept as a raw file for each, and `docs/mutants.md` is made from those
//! alone.

mod again;
mod page;
mod rest;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::process;
use crate::steps::{Problem, StepResult};
use crate::tree::Tree;

/// Where the raw files are.
const RAW: &str = "bench/mutants";

/// The crates whose sources are broken; which files of theirs, and what never, stands in `.cargo/mutants.toml`.
const PACKAGES: [&str; 2] = ["eparch-policy", "eparch-governor"];

/// So many sets of generated policies are compared with plain Cedar for each mutant, of the two hundred that a million decisions
/// take: the tables are asked whole each time, and notice most of it first.
const SETS: &str = "12";

/// Everything was noticed; something was not; something never ended. All of them are results.
const RESULTS: [i32; 3] = [0, 2, 3];

/// `cargo xtask mutants [--shard K/N | --missed | --rest N | --page]`.
pub(crate) fn run(tree: &Tree, words: &[String]) -> StepResult {
    match words {
        [flag] if flag == "--missed" => return again::run(tree),
        [flag, most] if flag == "--rest" => return rest::run(tree, most.parse().map_err(|_| usage())?),
        // For whoever has written a reason: nothing is broken for it.
        [flag] if flag == "--page" => return page::write(tree),
        _ => {}
    }
    let shard = Shard::parse(words)?;
    let commit = tree.commit()?;
    let mut which = vec!["--no-shuffle".to_owned()];
    if shard.of > 1 {
        // Every so manieth: each shard has something of every file, and is a sample of the whole.
        let place = format!("{}/{}", shard.number, shard.of);
        which.extend(["--sharding", "round-robin", "--shard", &place].map(str::to_owned));
    }
    let raw = raw(&outcomes(tree, "mutants", &which)?, &shard.name(), &shard.command(), &commit)?;
    let file = format!("{RAW}/{}.json", shard.name());
    let text = serde_json::to_string_pretty(&raw)
        .map_err(|cause| Problem::while_doing(&format!("writing {file}"), &cause))?;
    tree.write(&file, &format!("{text}\n"))?;
    let note = page::write(tree)?;
    Ok(format!("wrote {file} and {}; {note}", page::PAGE))
}

/// Which part of the mutants is tested; the first of one is all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shard {
    /// From 0, as the tool counts.
    number: u32,
    of: u32,
}

impl Shard {
    fn parse(words: &[String]) -> Result<Shard, Problem> {
        let given = match words {
            [] => return Ok(Shard { number: 0, of: 1 }),
            [flag, given] if flag == "--shard" => given,
            _ => return Err(usage()),
        };
        let (number, of) = given.split_once('/').ok_or_else(usage)?;
        let (number, of) = number.parse().ok().zip(of.parse().ok()).ok_or_else(usage)?;
        if number < of { Ok(Shard { number, of }) } else { Err(usage()) }
    }

    fn name(self) -> String {
        if self.of == 1 { "all".to_owned() } else { format!("{}-of-{}", self.number, self.of) }
    }

    /// What somebody types to have the same again.
    fn command(self) -> String {
        match self.of {
            1 => "cargo xtask mutants".to_owned(),
            of => format!("cargo xtask mutants --shard {}/{of}", self.number),
        }
    }
}

fn usage() -> Problem {
    Problem::new("usage: cargo xtask mutants [--shard K/N | --missed | --rest N | --page], K from 0 to N - 1")
}

fn require_tool() -> Result<(), Problem> {
    let there = process::run(process::cargo(&["mutants", "--version"]).env("CARGO_TERM_COLOR", "never"))?;
    if there.status.success() {
        return Ok(());
    }
    Err(Problem::new("cargo-mutants is missing\ninstall it with `cargo install cargo-mutants --locked`"))
}

/// Every place that could be broken.
fn places(tree: &Tree) -> Result<Vec<String>, Problem> {
    require_tool()?;
    let mut command = process::cargo(&["mutants", "--annotations", "none", "--no-shuffle", "--list"]);
    PACKAGES.iter().for_each(|package| {
        command.args(["--package", package]);
    });
    // Names without colours: they are compared.
    let listed = process::run(command.current_dir(tree.root()).env("CARGO_TERM_COLOR", "never"))?;
    if !listed.status.success() {
        return Err(Problem::new(format!("{} ended with {}", process::shown(&command), listed.status)));
    }
    Ok(listed.stdout.lines().map(str::to_owned).collect())
}

/// Breaks these places of all that there are, and no others. Those that leave a field out the tool breaks whatever names it is given to
/// break; but what it noticed before it passes over, each by its place.
fn outcomes_of(tree: &Tree, tests: &str, all: &[String], now: &[&String]) -> Result<Value, Problem> {
    let now: BTreeSet<&String> = now.iter().copied().collect();
    let others: String =
        all.iter().filter(|name| !now.contains(name)).map(|name| format!("{name}\n")).collect();
    let kept = tree.target().join("mutants/mutants.out");
    let doing = |cause| Problem::while_doing("telling the tool what it need not break", &cause);
    if kept.exists() {
        std::fs::remove_dir_all(&kept).map_err(doing)?;
    }
    std::fs::create_dir_all(&kept).map_err(doing)?;
    std::fs::write(kept.join("caught.txt"), others).map_err(doing)?;
    outcomes(tree, tests, &["--iterate".to_owned(), "--no-shuffle".to_owned()])
}

/// Breaks these places, and has the tests look that a profile of nextest names.
fn outcomes(tree: &Tree, tests: &str, which: &[String]) -> Result<Value, Problem> {
    require_tool()?;
    let target = tree.target().join("mutants");
    let mut command = command(tree, tests, which, &target);
    let status = process::watched(&mut command)?;
    if !status.code().is_some_and(|code| RESULTS.contains(&code)) {
        return Err(Problem::new(format!(
            "{} ended with {status}; its own files are in {}",
            process::shown(&command),
            target.join("mutants.out").display()
        )));
    }
    read(&target.join("mutants.out/outcomes.json"))
}

fn command(tree: &Tree, tests: &str, which: &[String], target: &Path) -> Command {
    let mut command = process::cargo(&["mutants", "--annotations", "none"]);
    command.args(which);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    command.arg("--output").arg(target);
    // Kept from one shard to the next: what the copy of the tree stands on is built once.
    command.env("CARGO_TARGET_DIR", target.join("build")).current_dir(tree.root());
    command.env("CARGO_INCREMENTAL", "1").env("EPARCH_POLICY_SETS", SETS);
    command.env("NEXTEST_PROFILE", tests);
    // One that differs is as good as all of them.
    command.env("SCENARIO_FIRST", "1");
    command
}

fn read(path: &PathBuf) -> Result<Value, Problem> {
    let doing = format!("reading {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|cause| Problem::while_doing(&doing, &cause))?;
    serde_json::from_str(&text).map_err(|cause| Problem::while_doing(&doing, &cause))
}

/// What is kept of a run: what was broken, how many of each kind there were, and the names of those that no test noticed.
fn raw(outcomes: &Value, shard: &str, command: &str, commit: &str) -> Result<Value, Problem> {
    let count = |key: &str| {
        let number = outcomes[key].as_u64();
        number.ok_or_else(|| Problem::new(format!("what cargo-mutants wrote has no number {key}")))
    };
    Ok(json!({
        "commit": commit,
        "command": command,
        "version": outcomes["cargo_mutants_version"],
        "begun": outcomes["start_time"],
        "ended": outcomes["end_time"],
        "shard": shard,
        "names": all(outcomes).map(|(name, _)| name).collect::<Vec<_>>(),
        "tested": count("total_mutants")?,
        "caught": count("caught")?,
        "timed_out": count("timeout")?,
        "unviable": count("unviable")?,
        "missed": of_kind(outcomes, "MissedMutant"),
        "timed_out_names": of_kind(outcomes, "Timeout"),
    }))
}

/// The names of those of whom this came.
fn of_kind<'o>(outcomes: &'o Value, kind: &str) -> Vec<&'o str> {
    all(outcomes).filter(|(_, came)| *came == kind).map(|(name, _)| name).collect()
}

/// What was broken, and what came of it.
fn all(outcomes: &Value) -> impl Iterator<Item = (&str, &str)> {
    let all = outcomes["outcomes"].as_array().into_iter().flatten();
    all.filter_map(|one| Some((one["scenario"]["Mutant"]["name"].as_str()?, one["summary"].as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_one_of_so_many_or_everything() {
        let parse =
            |text: &[&str]| Shard::parse(&text.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&[]).unwrap().name(), "all");
        assert_eq!(parse(&["--shard", "3/40"]).unwrap().name(), "3-of-40");
        for wrong in
            [&["--shard"][..], &["--shard", "4/4"], &["--shard", "0/0"], &["--shard", "x/4"], &["all"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_raw_file_has_the_counts_and_the_names_of_what_was_not_noticed() {
        let mutant = |name: &str, summary: &str| json!({ "scenario": { "Mutant": { "name": name } }, "summary": summary });
        let outcomes = json!({
            "outcomes": [
                { "scenario": "Baseline", "summary": "Success" },
                mutant("a.rs:1:2: replace a with b", "CaughtMutant"),
                mutant("a.rs:3:4: replace c with d", "MissedMutant"),
                mutant("a.rs:5:6: delete !", "Timeout"),
            ],
            "total_mutants": 3, "caught": 1, "missed": 1, "timeout": 1, "unviable": 0,
            "cargo_mutants_version": "27.1.0",
        });
        let raw = raw(&outcomes, "all", "cargo xtask mutants", "abc").unwrap();
        assert_eq!(raw["names"].as_array().map(Vec::len), Some(3));
        assert_eq!(raw["command"], "cargo xtask mutants");
        assert_eq!(raw["missed"], json!(["a.rs:3:4: replace c with d"]));
        assert_eq!(raw["timed_out_names"], json!(["a.rs:5:6: delete !"]));
        assert_eq!((&raw["tested"], &raw["caught"]), (&json!(3), &json!(1)));
        assert!(super::raw(&json!({}), "all", "", "abc").is_err());
    }
}
