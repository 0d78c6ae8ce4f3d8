//! The governor, proven: scenario files first, then what a script cannot say.

mod clocks;
mod denials;
mod emergencies;
mod formats;
mod home;
mod notation;
mod repeats;
mod rows;
mod scenario;
mod script;
mod show;
mod sizes;
mod standing;
mod trace;
mod turns;
mod words;

/// How many there are at least: one that is lost is missed. Raise it with each that is added.
const SCENARIOS: usize = 278;

/// Plays every file in `tests/scenarios`. `UPDATE_SCENARIOS=1` writes the traces, which people then read;
/// `SCENARIO=name` plays one, and `SCENARIO_FIRST=1` no more after one that differs.
#[test]
fn scenarios_leave_the_traces_they_say() {
    let update = std::env::var_os("UPDATE_SCENARIOS").is_some();
    let first = std::env::var_os("SCENARIO_FIRST").is_some();
    let files = scenario::files();
    assert!(
        std::env::var_os("SCENARIO").is_some() || files.len() >= SCENARIOS,
        "only {} scenarios were found",
        files.len()
    );
    let mut failures = String::new();
    for (name, path) in files {
        if first && !failures.is_empty() {
            break;
        }
        let expected = std::fs::read_to_string(&path).expect("a scenario can be read");
        assert!(expected.starts_with("# "), "{name} does not say what it proves");
        let found = std::panic::catch_unwind(|| scenario::play(&expected));
        let replay = format!("SCENARIO={name} cargo test -p eparch-governor --test it scenarios");
        match found {
            Err(_) => failures.push_str(&format!("\n{name} could not be played\nreplay: {replay}\n")),
            Ok(found) if found == expected => {}
            Ok(found) if update => std::fs::write(&path, found).expect("a scenario can be written"),
            Ok(found) => {
                let difference = scenario::difference(&expected, &found);
                failures.push_str(&format!("\n{name} leaves another trace:\n{difference}replay: {replay}\n"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
