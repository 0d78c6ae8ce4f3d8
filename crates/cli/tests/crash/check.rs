//! What has to hold after a drill, as the ledger itself tells it.

use serde_json::Value;

use crate::home::{DrillHome, shown};

/// One entry: its place, and the record it holds.
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) record: Value,
}

/// The ledger is clean and decides the same again; its entries.
pub(crate) fn verified(home: &DrillHome, replay: &str) -> Vec<Entry> {
    home.stop_holder();
    let verified = home.output(&["ledger", "verify", "--replay"]);
    assert!(verified.status.success(), "{replay}\n{}", shown(&verified));
    entries(home)
}

/// What the ledger holds now.
pub(crate) fn entries(home: &DrillHome) -> Vec<Entry> {
    let export = home.expect(&["ledger", "export"]);
    let lines = export.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    // An entry's body is the record's exact text.
    let entry = |line: Value| {
        let entry = &line["entry"];
        Some(Entry {
            seq: entry["seq"].as_u64()?,
            record: serde_json::from_str(entry["body"].as_str()?).ok()?,
        })
    };
    lines.filter_map(entry).collect()
}

/// Nothing happened more often than the ledger says it was let go.
pub(crate) fn within_the_record(home: &DrillHome, stages: &[&str], entries: &[Entry], replay: &str) {
    for name in stages {
        let (happened, releases) = (home.count(name), released(entries, name));
        assert!(
            happened <= releases,
            "{replay}: {name} happened {happened} times, but was let go {releases} times"
        );
    }
}

/// No stage of a run was completed twice.
pub(crate) fn completed_once(entries: &[Entry], replay: &str) {
    let mut completed: Vec<(String, String)> = facts(entries, "stage_changed")
        .filter(|fact| fact["status"] == "COMPLETED")
        .map(|fact| (fact["run"].to_string(), fact["stage"].to_string()))
        .collect();
    let count = completed.len();
    completed.sort();
    completed.dedup();
    assert_eq!(completed.len(), count, "{replay}: a stage completed twice");
}

/// The facts of one kind.
pub(crate) fn facts<'r>(entries: &'r [Entry], kind: &'r str) -> impl Iterator<Item = &'r Value> {
    entries
        .iter()
        .flat_map(|entry| entry.record["facts"].as_array().into_iter().flatten())
        .filter(move |fact| fact["type"] == kind)
}

/// How often a stage's program was let go, as the ledger has it.
pub(crate) fn released(entries: &[Entry], stage: &str) -> usize {
    let effects = entries.iter().flat_map(|entry| entry.record["effects"].as_array().into_iter().flatten());
    let prepared = effects.filter(|effect| effect["type"] == "prepare" && effect["name"] == stage);
    let agents: Vec<&Value> = prepared.map(|effect| &effect["agent"]).collect();
    facts(entries, "program_released").filter(|fact| agents.contains(&&fact["agent"])).count()
}
