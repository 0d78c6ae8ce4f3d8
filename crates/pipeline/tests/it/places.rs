//! Problems inside texts are placed at the exact character, however the text is written.

use crate::common::{checked, found};

/// The place of the one problem in a pipeline whose agent has this objective, which begins on line 7.
fn place(objective: &str) -> (usize, usize) {
    let head = "name: a\nstages:\n  - name: b\n    type: agent\n    config:\n      command: [c]\n";
    let text = format!("{head}      objective: {objective}\n");
    match found(&text).as_slice() {
        [("EP0130" | "EP0131", line, column)] => (*line, *column),
        other => panic!("{text}\n{other:?}"),
    }
}

/// A mark stands under its place also where letters take two cells of a line, or none.
#[test]
fn r058_marks_stand_under_what_they_mean() {
    for (before, cells) in [("abc", 3), ("日本語😀", 8), ("e\u{301}e\u{301}", 2), ("한", 2)] {
        let text = format!(
            "name: a\nstages:\n- {{name: b, type: agent, config: {{command: [c, '{before}${{{{ inputs.x }}}}']}}}}\n"
        );
        let told = checked(&text).to_text();
        let mark = told.lines().find(|line| line.trim_start_matches(['|', ' ']).starts_with('^')).unwrap();
        let head = "  | - {name: b, type: agent, config: {command: [c, '${{ inputs.".len();
        assert_eq!(mark.find('^'), Some(head + cells), "{told}");
        assert_eq!(mark.matches('^').count(), 1, "{told}");
    }
}

/// A carriage return alone ends a line, as it does for YAML.
#[test]
fn r058_lines_are_counted_as_yaml_counts_them() {
    let text = "name: a\rstages:\r  - {name: b, typo: x, type: agent, config: {command: [c]}}\r";
    assert_eq!(found(text), [("EP0110", 3, 15)]);
    assert_eq!(found(&text.replace('\r', "\r\n")), [("EP0110", 3, 15)]);
}

#[test]
fn r058_problems_in_texts_have_exact_places() {
    for (objective, line, column) in [
        // plain
        ("say ${{ input.x }}", 7, 26),
        ("sä\u{1F600}y ${{ input.x }}", 7, 27),
        ("${{ inputs.x }}", 7, 29),
        // quoted, with and without escapes
        ("'say ${{ input.x }}'", 7, 27),
        ("'it''s ${{ input.x }}'", 7, 29),
        ("\"say ${{ input.x }}\"", 7, 27),
        (r#""\"a\u00e4\t\U0001F600 ${{ input.x }}" # ${{"#, 7, 45),
        (r#""${{ inputs[\"x\"] }}""#, 7, 30),
        // literal blocks
        ("|\n        one\n        two ${{ input.x }}", 9, 17),
        ("|\n\n\n        ä\n\n          deep ${{ input.x }}\n        end", 12, 20),
        ("|-\n        ${{ input.x }}", 8, 13),
        ("|2\n          ${{ input.x }}", 8, 15),
        // what is folded has no exact place inside; the text's own start is told
        (">\n        one\n        two ${{ input.x }}", 8, 9),
        ("one\n        two ${{ input.x }}", 7, 18),
    ] {
        assert_eq!(place(objective), (line, column), "{objective}");
    }
}
