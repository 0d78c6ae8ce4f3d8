//! Scenario files: a timed script and the trace it leaves. See `tests/scenarios/README.md` for the notation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::home::Home;
use crate::notation;
use crate::script;
use crate::show;
use crate::trace;
use crate::words::{clock, millis, words};

/// Who is known in every scenario that does not say otherwise.
const PEOPLE: [&str; 6] = [
    "add root role=admin tier=T4",
    "add alice role=operator tier=T4 by=root",
    "add bob role=approver by=root",
    "add carol role=approver groups=leads by=root",
    "add dave role=viewer by=root",
    "add erin role=approver remote by=root",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// Every scenario file, by name; only `$SCENARIO` when that is set.
pub(crate) fn files() -> BTreeMap<String, PathBuf> {
    let only = std::env::var("SCENARIO").ok();
    let entries = std::fs::read_dir(folder()).expect("the scenarios are there");
    let paths = entries.map(|entry| entry.expect("a folder can be listed").path());
    let scenarios = paths.filter(|path| path.extension().is_some_and(|ending| ending == "scn"));
    let named = scenarios
        .map(|path| (path.file_stem().expect("a file has a name").to_string_lossy().into_owned(), path));
    named.filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)).collect()
}

/// Plays a scenario; the text it should have, which is the text it has when all is well. A line that is none of a
/// scenario's would be found where it was written, and nobody would see that it says nothing.
pub(crate) fn play(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let script = lines.iter().position(|line| is_event(line)).unwrap_or(lines.len());
    let (header, body) = lines.split_at(script);
    let mut home = set_up_with(header, body.iter().any(|line| offers_policies(line)));
    let mut played: Vec<String> = header.iter().map(|line| (*line).to_owned()).collect();
    let mut now = 0;
    for line in body.iter().filter(|line| !is_trace(line)) {
        played.push((*line).to_owned());
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = words(line);
        let at = words.first().filter(|_| is_event(line)).and_then(|time| millis(time));
        now = at
            .filter(|at| *at >= now)
            .unwrap_or_else(|| panic!("no event and no trace, or back in time: {line}"));
        words.remove(0);
        play_line(&mut home, words, now, &mut played);
    }
    played.join("\n") + "\n"
}

/// A home with the pipelines of a header, and with everybody known unless it is `bare`.
pub(crate) fn set_up(header: &[&str]) -> Home {
    set_up_with(header, false)
}

/// [`set_up`], with the policies that ship in force unless the script is about policies: nobody may do anything before.
fn set_up_with(header: &[&str], offers_policies: bool) -> Home {
    let mut home = Home::new(pipelines(header));
    home.tells_leases = header.iter().any(|line| line.trim() == "leases");
    if !header.iter().any(|line| line.trim() == "bare") {
        let boot = header.iter().find(|line| line.starts_with("boot")).copied().unwrap_or("boot");
        let policies: &[&str] = if offers_policies { &[] } else { &["policies defaults"] };
        for line in [boot].iter().chain(&PEOPLE).chain(policies) {
            for event in script::events(&mut home, &words(line)) {
                let decision = home.handle(&event, 0);
                assert_eq!(decision.answer, eparch_governor::Answer::Taken, "{line}");
            }
        }
    }
    home
}

fn play_line(home: &mut Home, mut words: Vec<String>, now: u64, played: &mut Vec<String>) {
    let short = words[0] == "briefly";
    if short {
        words.remove(0);
    }
    if words[0] == "look" {
        played.push(format!("       = {}", look(home)));
        return;
    }
    if words[0] == "show" {
        let now = home.moment(now);
        played.extend(show::lines(home, now).iter().map(|line| format!("       = {line}")));
        return;
    }
    for event in script::events(home, &words) {
        let decision = home.handle(&event, now);
        let lines = if short { trace::outline(home, &decision) } else { trace::lines(home, &decision) };
        played.extend(lines.iter().map(|line| format!("       {line}")));
    }
}

/// What the governor says of itself when asked.
fn look(home: &mut Home) -> String {
    let agents: Vec<String> =
        home.governor.live_agents().map(|(agent, _)| home.names.agents[&agent].clone()).collect();
    let agents = if agents.is_empty() { "nobody".to_owned() } else { agents.join(", ") };
    let wake = home
        .governor
        .next_deadline()
        .map(|deadline| format!("{} for {}", clock(deadline.at.millis()), deadline.why));
    let runs = home.governor.live_runs();
    format!("{runs} runs, {agents} at work, wakes at {}", wake.unwrap_or_else(|| "no time".to_owned()))
}

/// Whether a line of a script has a set of policies offered.
fn offers_policies(line: &str) -> bool {
    is_event(line) && line.split_whitespace().nth(1) == Some("policies")
}

fn is_event(line: &str) -> bool {
    line.trim_start().starts_with(|letter: char| letter.is_ascii_digit())
}

fn is_trace(line: &str) -> bool {
    ["→", "⇒", "="].iter().any(|mark| line.trim_start().starts_with(mark))
}

fn pipelines(header: &[&str]) -> BTreeMap<String, Arc<eparch_pipeline::Pipeline>> {
    let mut found = BTreeMap::new();
    let lines: Vec<&str> =
        header.iter().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).copied().collect();
    let starts: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("pipeline")).collect();
    for from in starts {
        let length = 1 + lines[from + 1..].iter().take_while(|line| line.starts_with(' ')).count();
        let pipeline = notation::pipeline(&lines[from..from + length]);
        found.insert(pipeline.name.to_string(), Arc::new(pipeline));
    }
    found
}

/// The lines in which two texts differ, with their neighbours.
pub(crate) fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(left, right)| left == right).count();
    let tail = expected[same..]
        .iter()
        .rev()
        .zip(found[same..].iter().rev())
        .take_while(|(left, right)| left == right)
        .count();
    let mut text = String::new();
    for line in &expected[same.saturating_sub(3)..same] {
        text.push_str(&format!("   {line}\n"));
    }
    for line in &expected[same..expected.len() - tail] {
        text.push_str(&format!(" - {line}\n"));
    }
    for line in &found[same..found.len() - tail] {
        text.push_str(&format!(" + {line}\n"));
    }
    text
}
