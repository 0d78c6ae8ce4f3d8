//! Measures. Each program runs in release on a quiet machine; what it prints is kept as a raw file with the machine,
//! the commit and the command, and `docs/performance.md` is made from the raw files alone. A figure without its raw
//! file is not a figure.

mod authority;
mod clean_build;
mod machine;
mod page;
mod rows;

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::process;
use crate::steps::{Problem, StepResult};
use crate::tree::Tree;
use rows::{PROGRAMS, Program, Way};

const RAW: &str = "bench/raw";

/// How often a program is run, so that a figure has a spread.
const RUNS: usize = 3;

/// `cargo xtask bench [NAME…]`: the named programs, or all. With `--page` alone nothing is measured: the page is drawn of what there
/// is.
pub(crate) fn run(tree: &Tree, names: &[String]) -> StepResult {
    if names == ["--page"] {
        tree.write(page::PAGE, &page::draw(&page::newest(tree)?))?;
        return Ok(format!("drew {}", page::PAGE));
    }
    if let Some(unknown) = names.iter().find(|name| !PROGRAMS.iter().any(|program| program.name == **name)) {
        let known: Vec<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        return Err(Problem::new(format!("no benchmark {unknown}; there are {}", known.join(", "))));
    }
    let chosen =
        PROGRAMS.iter().filter(|program| names.is_empty() || names.iter().any(|name| name == program.name));
    let commit = tree.commit()?;
    let folder = format!("{RAW}/{}-{commit}", today());
    let mut written = Vec::new();
    for program in chosen {
        let file = format!("{folder}/{}.json", program.name);
        let raw = measure(tree, program, &commit)?;
        let text = serde_json::to_string_pretty(&raw)
            .map_err(|cause| Problem::while_doing(&format!("writing {file}"), &cause))?;
        tree.write(&file, &format!("{text}\n"))?;
        written.push(file);
    }
    tree.write(page::PAGE, &page::draw(&page::newest(tree)?))?;
    written.push(page::PAGE.to_owned());
    Ok(format!("wrote {}", written.join(", ")))
}

/// Measures the machine's own floor, then a program a few times, and keeps every line it printed.
fn measure(tree: &Tree, program: &Program, commit: &str) -> Result<Value, Problem> {
    eprintln!("preparing {}", program.name);
    let mut command = prepare(tree, program)?;
    let load = machine::load();
    let floor = machine::fsync_floor(&std::env::temp_dir())?;
    let mut runs = Vec::new();
    for number in 1..=RUNS {
        eprintln!("measuring {}, {number} of {RUNS}", program.name);
        runs.push(match program.way {
            Way::Example { .. } => printed_lines(&process::output(&mut command)?)?,
            Way::CleanBuild => vec![clean_build::measure(&mut command)?],
        });
    }
    Ok(json!({
        "program": program.name,
        "command": process::shown(&command).trim_matches('`'),
        "commit": commit,
        "date": today(),
        "unix_secs": unix_secs(),
        "machine": machine::line(),
        "load_before": load,
        "fsync_floor": floor,
        "runs": runs,
    }))
}

/// The command that is measured, after everything that is not.
fn prepare(tree: &Tree, program: &Program) -> Result<Command, Problem> {
    let Way::Example { package, example, binary } = program.way else {
        return clean_build::prepare(tree);
    };
    let release = ["--quiet", "--release", "--package", package];
    let build = |what: [&str; 2]| {
        let words = [&["build"], release.as_slice(), what.as_slice()].concat();
        process::output(process::cargo(&words).current_dir(tree.root()))
    };
    build(["--example", example])?;
    if let Some(binary) = binary {
        build(["--bin", binary])?;
    }
    let mut command = process::cargo(&[&["run"], release.as_slice(), &["--example", example, "--"]].concat());
    command.current_dir(tree.root());
    Ok(command)
}

/// The JSON objects among what a program printed.
fn printed_lines(printed: &str) -> Result<Vec<Value>, Problem> {
    let lines = printed.lines().filter(|line| line.starts_with('{'));
    let read = |line: &str| {
        serde_json::from_str(line).map_err(|cause| Problem::while_doing(&format!("reading {line}"), &cause))
    };
    let lines: Vec<Value> = lines.map(read).collect::<Result<_, Problem>>()?;
    if lines.is_empty() { Err(Problem::new("the program printed no JSON line")) } else { Ok(lines) }
}

/// Today's date in UTC, `2026-11-21`.
fn today() -> String {
    date_of(unix_secs() / 86_400)
}

/// Seconds since 1970; zero on a machine whose clock stands before.
fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The date of a day since 1970, by the days of each year and month in turn.
fn date_of(mut day: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_over_leap_years() {
        for (day, date) in
            [(0, "1970-01-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01"), (20_778, "2026-11-21")]
        {
            assert_eq!(date_of(day), date);
        }
    }

    #[test]
    fn the_json_lines_are_kept_and_broken_ones_refused() {
        let printed = "warming up\n{\"what\": \"append\", \"entries_per_s\": 1.5}\n";
        assert_eq!(printed_lines(printed).unwrap()[0]["entries_per_s"], 1.5);
        assert!(printed_lines("{\"what\": ").is_err());
        assert!(printed_lines("nothing").is_err());
    }
}
