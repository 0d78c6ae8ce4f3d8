//! `docs/performance.md`, from the newest raw file of each program.

use std::collections::BTreeMap;

use serde_json::Value;

use super::RAW;
use super::rows::{Figure, PROGRAMS, Pick, Row, rows};
use crate::steps::Problem;
use crate::tree::{Tree, files_under};

pub(super) const PAGE: &str = "docs/performance.md";

/// The newest raw file of each program, with its path.
pub(super) fn newest(tree: &Tree) -> Result<BTreeMap<String, (String, Value)>, Problem> {
    let mut newest: BTreeMap<String, (String, Value)> = BTreeMap::new();
    let reading = |cause| Problem::while_doing("reading the raw files", &cause);
    for path in files_under(&tree.path(RAW), ".json").map_err(reading)? {
        let shown = path.strip_prefix(tree.root()).unwrap_or(&path).display().to_string();
        // Figures from somebody's own machine stay out of the page.
        if shown.starts_with("bench/raw/local/") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(reading)?;
        let raw: Value = serde_json::from_str(&text)
            .map_err(|cause| Problem::while_doing(&format!("reading {shown}"), &cause))?;
        let program = raw["program"].as_str().unwrap_or_default().to_owned();
        let age = |raw: &Value| raw["unix_secs"].as_u64();
        if newest.get(&program).is_none_or(|(_, earlier)| age(earlier) <= age(&raw)) {
            newest.insert(program, (shown, raw));
        }
    }
    Ok(newest)
}

/// The page.
pub(super) fn draw(raw: &BTreeMap<String, (String, Value)>) -> String {
    let mut page = String::from(
        "# Figures\n\n\
         Made by `cargo xtask bench` from the raw files under `bench/raw`; do not edit. *Now* is what the part is to show when\n\
         it is done, *aim* is where it is going. A figure is the median of all runs, with the lowest and the highest beside it;\n\
         its share of a floor is the median of the shares in each run.\n\n\
         | what | measured | now | aim |\n|---|---|---|---|\n",
    );
    for row in rows() {
        let measured =
            raw.get(row.program).map_or_else(|| "not measured yet".to_owned(), |(_, raw)| measured(row, raw));
        page.push_str(&format!("| {} | {measured} | {} | {} |\n", row.what, row.now, row.aim));
    }
    let noted: Vec<&Row> = rows().filter(|row| !row.note.is_empty()).collect();
    if !noted.is_empty() {
        page.push_str("\n## What has to be said\n\n");
        for row in noted {
            page.push_str(&format!("- **{}**: {}\n", row.what, row.note));
        }
    }
    page.push_str("\n## Where the figures come from\n\n");
    for program in PROGRAMS {
        let Some((path, raw)) = raw.get(program.name) else { continue };
        let text = |key: &str| raw[key].as_str().unwrap_or("unknown").to_owned();
        let floor = &raw["fsync_floor"];
        page.push_str(&format!(
            "- **{}**: [{path}](../{path}), {}, commit `{}`, `{}`; {}; load before it {}; one fsync takes {} {} (p99 {})\n",
            program.name,
            text("date"),
            text("commit"),
            text("command"),
            text("machine"),
            text("load_before"),
            floor["p50"],
            floor["unit"].as_str().unwrap_or_default(),
            floor["p99"],
        ));
    }
    page
}

fn measured(row: &Row, raw: &Value) -> String {
    row.figures.iter().map(|figure| shown(figure, raw)).collect::<Vec<_>>().join("<br>")
}

/// `one at a time: 3,100 entries/s (3,000 to 3,200), 0.78 of bare commits`.
fn shown(figure: &Figure, raw: &Value) -> String {
    let runs: Vec<&Value> = raw["runs"].as_array().into_iter().flatten().collect();
    let all: Vec<f64> = runs.iter().flat_map(|run| picked(&figure.pick, run)).collect();
    // What is counted has no fractions to show.
    let number = if all.iter().all(|number| number.fract() == 0.0) { count } else { number };
    let Some((lowest, median, highest)) = spread(all) else {
        return format!("{}: not measured", figure.label);
    };
    let mut text = format!("{}: {} {}", figure.label, number(median), figure.unit).trim_end().to_owned();
    match (number(lowest), number(highest)) {
        (lowest, highest) if lowest == highest => text.push_str(" (each time)"),
        (lowest, highest) => text.push_str(&format!(" ({lowest} to {highest})")),
    }
    if let Some((name, floor)) = &figure.floor {
        let shares = runs.iter().filter_map(|run| {
            let (_, figure, _) = spread(picked(&figure.pick, run))?;
            let (_, floor, _) = spread(picked(floor, run))?;
            (floor > 0.0).then(|| figure / floor)
        });
        if let Some((_, share, _)) = spread(shares.collect()) {
            text.push_str(&format!(", {share:.2} of {name}"));
        }
    }
    text
}

/// Every number in one run's lines that a pick means; a list of numbers is as many of them.
fn picked(pick: &Pick, run: &Value) -> Vec<f64> {
    let written = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let says = |line: &Value, key: &str, wanted: &str| written(&line[key]) == wanted;
    let lines = run.as_array().into_iter().flatten();
    lines
        .filter(|line| pick.wanted.iter().all(|(key, wanted)| says(line, key, wanted)))
        .flat_map(|line| match &line[pick.field] {
            Value::Array(each) => each.iter().filter_map(Value::as_f64).collect(),
            one => one.as_f64().into_iter().collect::<Vec<f64>>(),
        })
        .collect()
}

/// The lowest, the median and the highest.
fn spread(mut numbers: Vec<f64>) -> Option<(f64, f64, f64)> {
    numbers.sort_by(f64::total_cmp);
    Some((*numbers.first()?, numbers[numbers.len() / 2], *numbers.last()?))
}

/// Three digits are enough for a figure that wobbles; thousands are set apart.
fn number(value: f64) -> String {
    if value.abs() < 1_000.0 {
        let places = if value.abs() >= 100.0 { 0 } else { 2 };
        return format!("{value:.places$}");
    }
    count(value)
}

fn count(value: f64) -> String {
    let plain = format!("{value:.0}");
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |digits| ("-", digits));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_figure_is_shown_with_its_spread_and_its_share_of_the_floor() {
        let append = Pick { wanted: &[("what", "append"), ("size", "1")], field: "rate" };
        let commits = Pick { wanted: &[("what", "floor")], field: "rate" };
        let gone = Pick { wanted: &[("what", "gone")], field: "rate" };
        let figure = |pick, floor| Figure { label: "append", pick, unit: "entries/s", floor };
        let run = |rate: u32| json!([{ "what": "append", "size": 1, "rate": rate }, { "what": "floor", "rate": 4_000 }]);
        let raw = json!({ "runs": [run(3_000), run(1_000), run(2_000)] });
        let text = shown(&figure(append, Some(("commits", commits))), &raw);
        assert_eq!(text, "append: 2,000 entries/s (1,000 to 3,000), 0.50 of commits");
        assert_eq!(shown(&figure(gone, None), &raw), "append: not measured");
    }

    #[test]
    fn what_came_out_each_time_counts_each_time_and_no_spread_is_said_to_be_none() {
        let pick = |field| Pick { wanted: &[("what", "start")], field };
        let figure = |label, field, unit| Figure { label, pick: pick(field), unit, floor: None };
        let run = |ms: [f64; 3]| json!([{ "what": "start", "ms": ms, "entries": 12 }]);
        let raw = json!({ "runs": [run([11.0, 12.0, 900.0]), run([10.5, 13.0, 14.0])] });
        assert_eq!(shown(&figure("home", "ms", "ms"), &raw), "home: 13.00 ms (10.50 to 900)");
        assert_eq!(shown(&figure("in it", "entries", ""), &raw), "in it: 12 (each time)");
    }

    #[test]
    fn numbers_are_short_and_readable() {
        for (value, text) in
            [(0.5, "0.50"), (12.345, "12.35"), (999.4, "999"), (1_000.0, "1,000"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(number(value), text);
        }
    }
}
