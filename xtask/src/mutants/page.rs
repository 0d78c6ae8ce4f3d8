//! `docs/mutants.md`: how many mutants the tests noticed, and why the others live.

use std::collections::BTreeMap;

use serde_json::Value;

use super::RAW;
use super::rest::WHOLE;
use crate::steps::Problem;
use crate::tree::{Tree, files_under};

pub(super) const PAGE: &str = "docs/mutants.md";

/// Why a mutant may live: its name without the line and column, a tab, the reason.
const REASONS: &str = "bench/mutants/survivors.tsv";

/// Of those that build, so many percent are to be noticed.
const WANTED: f64 = 90.0;

/// Writes the page; what it says in one line.
pub(super) fn write(tree: &Tree) -> Result<String, Problem> {
    let mut shards = BTreeMap::new();
    let reading = |cause| Problem::while_doing("reading the raw files", &cause);
    for path in files_under(&tree.path(RAW), ".json").map_err(reading)? {
        let shown = path.strip_prefix(tree.root()).unwrap_or(&path).display().to_string();
        shards.insert(shown, super::read(&path)?);
    }
    let reasons = if tree.path(REASONS).exists() { reasons(&tree.read(REASONS)?)? } else { BTreeMap::new() };
    let sum = Sum::of(shards.values());
    let whole = if tree.path(WHOLE).exists() { tree.read(WHOLE)? } else { String::new() };
    tree.write(PAGE, &draw(&shards, &sum, &reasons, &whole))?;
    Ok(format!("{} of {} noticed, {:.1} %", sum.noticed, sum.viable, sum.percent()))
}

/// The reasons by the names of mutants.
fn reasons(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let mut reasons = BTreeMap::new();
    for (number, line) in
        text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        let at = |why: &str| Problem::new(format!("{REASONS}:{}: {why}", number + 1));
        let (name, reason) =
            line.split_once('\t').ok_or_else(|| at("a mutant, a tab and a reason belong here"))?;
        if reason.trim().is_empty() {
            return Err(at("the reason is empty"));
        }
        if reasons.insert(name.to_owned(), reason.trim().to_owned()).is_some() {
            return Err(at("the same mutant stands here twice"));
        }
    }
    Ok(reasons)
}

/// What all shards come to.
#[derive(Default)]
struct Sum {
    /// Those that could be built.
    viable: u64,
    /// A test failed, or never ended.
    noticed: u64,
}

impl Sum {
    fn of<'v>(shards: impl Iterator<Item = &'v Value>) -> Sum {
        let mut sum = Sum::default();
        for shard in shards {
            let since = shard["noticed_since"].as_array().map_or(0, Vec::len) as u64;
            let noticed = number(shard, "caught") + number(shard, "timed_out") + since;
            sum.noticed += noticed;
            sum.viable += noticed + missed(shard).count() as u64;
        }
        sum
    }

    fn percent(&self) -> f64 {
        if self.viable == 0 { 0.0 } else { self.noticed as f64 * 100.0 / self.viable as f64 }
    }
}

fn number(shard: &Value, key: &str) -> u64 {
    shard[key].as_u64().unwrap_or_default()
}

pub(super) fn missed(shard: &Value) -> impl Iterator<Item = &str> {
    shard["missed"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// `a.rs:3:4: replace c with d` without the line and the column, which move.
pub(super) fn without_place(name: &str) -> String {
    match name.splitn(4, ':').collect::<Vec<_>>()[..] {
        [file, _, _, what] => format!("{file}:{what}"),
        _ => name.to_owned(),
    }
}

fn draw(
    shards: &BTreeMap<String, Value>,
    sum: &Sum,
    reasons: &BTreeMap<String, String>,
    whole: &str,
) -> String {
    let mut page = format!(
        "# Mutants\n\n\
         Made by `cargo xtask mutants` from the raw files under `{RAW}`; do not edit. The tool breaks one place of the crate\n\
         `policy` or of the governor's rules at a time, and the tests of that crate have to notice. What is never broken, and\n\
         why, stands in `.cargo/mutants.toml`; why one that lives may live stands in `{REASONS}`.\n\n\
         **{} of {} noticed, {:.1} %**; at least {WANTED:.0} % is what they are to show. Those that do not build count as\n\
         nothing. *Noticed since* were those that lived, and were broken again when there were tests for them.\n{whole}\n\
         | raw file | commit | tested | noticed | never ended | noticed since | do not build | live |\n|---|---|---|---|---|---|---|---|\n",
        sum.noticed,
        sum.viable,
        sum.percent(),
    );
    for (path, shard) in shards {
        page.push_str(&format!(
            "| [{path}](../{path}) | `{}` | {} | {} | {} | {} | {} | {} |\n",
            shard["commit"].as_str().unwrap_or("unknown"),
            number(shard, "tested"),
            number(shard, "caught"),
            number(shard, "timed_out"),
            shard["noticed_since"].as_array().map_or(0, Vec::len),
            number(shard, "unviable"),
            missed(shard).count(),
        ));
    }
    page.push_str("\n## Those that live\n\n");
    let mut living: Vec<(&str, String)> =
        shards.values().flat_map(missed).map(|name| (name, without_place(name))).collect();
    living.sort();
    living.dedup();
    if living.is_empty() {
        page.push_str("None.\n");
    }
    for (name, key) in &living {
        let reason = reasons.get(key).map_or("no reason yet: a test is missing", String::as_str);
        page.push_str(&format!("- `{name}`: {reason}\n"));
    }
    let stale: Vec<&String> =
        reasons.keys().filter(|known| !living.iter().any(|(_, key)| key == *known)).collect();
    if !stale.is_empty() {
        page.push_str(
            "\n## Reasons that nothing needs\n\nNo shard that is kept has these among those that live.\n\n",
        );
        for name in stale {
            page.push_str(&format!("- `{name}`\n"));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_counts_what_builds_and_lists_what_lives_with_its_reason() {
        let shard = json!({
            "commit": "abc", "tested": 10, "caught": 6, "timed_out": 1, "unviable": 1,
            "missed": ["a.rs:3:4: replace c with d in f", "a.rs:7:1: delete ! in g"],
        });
        let shards = BTreeMap::from([("bench/mutants/all.json".to_owned(), shard)]);
        let text =
            "# of a file\na.rs: replace c with d in f\tthey are the same thing\nb.rs: gone\tlong ago\n";
        let reasons = reasons(text).unwrap();
        let sum = Sum::of(shards.values());
        let page = draw(&shards, &sum, &reasons, "Three are left.\n");
        assert!(page.contains("**7 of 9 noticed, 77.8 %**"), "{page}");
        assert!(page.contains("- `a.rs:3:4: replace c with d in f`: they are the same thing\n"), "{page}");
        assert!(page.contains("- `a.rs:7:1: delete ! in g`: no reason yet"), "{page}");
        assert!(page.contains("nothing needs") && page.contains("- `b.rs: gone`"), "{page}");
        assert!(page.contains("tests for them.\nThree are left.\n\n| raw file"), "{page}");
    }

    #[test]
    fn a_reason_without_a_word_or_given_twice_is_refused() {
        for wrong in ["a.rs: delete !", "a.rs: delete !\t ", "a\tb\na\tc"] {
            assert!(reasons(wrong).is_err(), "{wrong}");
        }
    }
}
