//! Twelve planted faults, found in one go and at their exact places.

use crate::common::{checked, found};

/// A pipeline of these stages, each an agent named after its requirements.
fn requiring(stages: &[(&str, &str)]) -> String {
    let stage = |(name, requires): &(&str, &str)| {
        format!("- {{name: {name}, type: agent, requires: [{requires}], config: {{command: [c]}}}}\n")
    };
    format!("name: a\nstages:\n{}", stages.iter().map(stage).collect::<String>())
}

fn codes(text: &str) -> Vec<&'static str> {
    found(text).into_iter().map(|(code, ..)| code).collect()
}

#[test]
fn r018_another_type_of_stage_is_refused_with_its_line() {
    let text = requiring(&[("b", ""), ("d", "")]);
    let second = text.rfind("agent").unwrap();
    let text = format!("{}agnet{}", &text[..second], &text[second + 5..]);
    assert_eq!(found(&text), [("EP0113", 4, 19)]);
    assert_eq!(checked(&text).diagnostics[0].hint.as_deref(), Some("did you mean `agent`?"));
}

#[test]
fn r041_a_missing_name_or_list_of_stages_is_refused() {
    let sound = requiring(&[("b", "")]);
    assert_eq!(codes(&sound), [""; 0]);
    assert_eq!(codes(sound.trim_start_matches("name: a\n")), ["EP0111"]);
    assert_eq!(codes("name: a\n"), ["EP0111"]);
    assert_eq!(codes("name: a\nstages: []\n"), ["EP0116"]);
    assert_eq!(codes(&sound.replace("name: b, ", "")), ["EP0111"]);
}

#[test]
fn r042_a_field_that_is_not_known_is_refused_and_the_near_one_named() {
    for (wrong, line) in [
        ("name: a\ntimout: 1h\nstages: [{name: b, type: agent, config: {command: [c]}}]\n", 2),
        ("name: a\nstages:\n- {name: b, type: agent, require: [], config: {command: [c]}}\n", 3),
        ("name: a\nstages:\n- {name: b, type: agent, config: {command: [c], timeouts: 1h}}\n", 3),
    ] {
        let checked = checked(wrong);
        let one = &checked.diagnostics[0];
        assert_eq!((checked.diagnostics.len(), one.code, one.span.line), (1, "EP0110", line));
        assert!(one.hint.as_ref().is_some_and(|hint| hint.starts_with("did you mean `")), "{one:?}");
    }
}

#[test]
fn r045_circles_and_requirements_of_itself_or_of_nothing_are_refused() {
    for (stages, code) in [
        (&[("x", "z"), ("y", "x"), ("z", "y")][..], "EP0125"),
        (&[("x", "y"), ("y", "x")], "EP0125"),
        (&[("x", "x")], "EP0124"),
        (&[("x", ""), ("y", "w")], "EP0122"),
    ] {
        assert_eq!(codes(&requiring(stages)), [code], "{stages:?}");
    }
    assert_eq!(codes(&requiring(&[("x", ""), ("y", "x"), ("z", "x, y")])), [""; 0]);
}

#[test]
fn r058_twelve_planted_faults_are_twelve_diagnostics() {
    let text = include_str!("../fixtures/twelve-faults.yaml");
    assert_eq!(
        found(text),
        [
            ("EP0114", 1, 7),
            ("EP0114", 2, 10),
            ("EP0170", 4, 55),
            ("EP0140", 8, 15),
            ("EP0122", 11, 22),
            ("EP0115", 13, 13),
            ("EP0110", 14, 7),
            ("EP0131", 15, 35),
            ("EP0160", 16, 11),
            ("EP0130", 21, 34),
            ("EP0120", 23, 16),
            ("EP0125", 26, 16),
        ],
        "{}",
        checked(text).to_text()
    );
    assert!(checked(text).pipeline.is_none());
}
